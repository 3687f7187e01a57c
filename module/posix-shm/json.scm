;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm json) - writing JSON, for what else the project prints.

(define-module (posix-shm json)
  #:use-module (ice-9 format)
  #:export (write-json))

(define (write-character c port)
  (let ((code (char->integer c)))
    (cond ((memv c '(#\" #\\)) (format port "\\~a" c))
          ((<= 32 code 126) (display c port))
          ((< code #x10000) (format port "\\u~4,'0x" code))
          (else
           ;; A pair of surrogates.
           (let ((rest (- code #x10000)))
             (format port "\\u~4,'0x\\u~4,'0x" (+ #xd800 (ash rest -10))
                     (+ #xdc00 (logand rest #x3ff))))))))

(define (write-members open members write-member close port)
  (display open port)
  (let next ((members members) (separator ""))
    (unless (null? members)
      (display separator port)
      (write-member (car members))
      (next (cdr members) ", ")))
  (display close port))

(define* (write-json value #:optional (port (current-output-port)))
  "Write VALUE to PORT as JSON, in ASCII: a boolean, the symbol null or
another, a string, a real number, a vector, or an alist whose keys are
strings."
  (cond ((boolean? value) (display (if value "true" "false") port))
        ((eq? value 'null) (display "null" port))
        ((symbol? value) (write-json (symbol->string value) port))
        ((string? value)
         (display #\" port)
         (string-for-each (lambda (c) (write-character c port)) value)
         (display #\" port))
        ((number? value)
         (if (integer? value)
             (display (inexact->exact value) port)
             (format port "~,6f" (exact->inexact value))))
        ((vector? value)
         (write-members "[" (vector->list value)
                        (lambda (element) (write-json element port)) "]" port))
        (else
         (write-members "{" value
                        (lambda (member)
                          (write-json (car member) port)
                          (display ": " port)
                          (write-json (cdr member) port))
                        "}" port))))

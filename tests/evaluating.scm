;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests evaluating) - the examples of a document, run and compared.

(define-module (tests evaluating)
  #:use-module (ice-9 match)
  #:use-module ((ice-9 popen) #:select (close-pipe))
  #:use-module ((posix-shm) #:select (shm-unlink))
  #:use-module ((posix-shm semaphore) #:select (semaphore-unlink))
  #:use-module ((srfi srfi-1) #:select (filter-map))
  #:use-module (srfi srfi-64)
  #:use-module (tests support)
  #:export (one-line
            read-all
            test-examples))

(define (read-all text)
  (call-with-input-string text
    (lambda (port)
      (let next ((data '()))
        (match (read port)
          ((? eof-object?) (reverse data))
          (datum (next (cons datum data))))))))

(define (one-line text)
  (string-join (string-tokenize text) " "))

;; What a new Guile does with BLOCKS, each (NEEDS FIRST STEPS).  It writes a datum for each block: a list of (result TEXT) or (error
;; TEXT) of the steps that have an outcome, then, if another one raised
;; something, of that; or the symbol skip.  What the examples print goes to the
;; log.
(define (evaluator prefix blocks)
  `(let ((results (duplicate-port (current-output-port) "w"))
         (user (make-fresh-user-module)))
     (define (conditions exception)
       (filter (lambda (type)
                 (string-prefix? "&shm-" (symbol->string type)))
               (map (lambda (part) (record-type-name (struct-vtable part)))
                    (simple-exceptions exception))))
     (define (told exception)
       (if (and (pair? (conditions exception))
                (exception-with-message? exception))
           (format #f "~a: ~a" (car (conditions exception))
                   (exception-message exception))
           (call-with-output-string
             (lambda (port)
               (print-exception port #f (exception-kind exception)
                                (exception-args exception))))))
     (define (shown text)
       ;; Without the prefix.
       (let next ((text text))
         (let ((at (string-contains text ,prefix)))
           (if at
               (string-append (substring text 0 at) "/"
                              (next (substring text
                                               (+ at ,(string-length prefix)))))
               text))))
     (define (evaluate expressions)
       (let next ((expressions expressions) (result *unspecified*))
         (if (null? expressions)
             (list 'result (shown (object->string result)))
             (next (cdr expressions)
                   (call-with-values (lambda () (eval (car expressions) user))
                     (lambda values
                       (if (pair? values) (car values) *unspecified*)))))))
     (define (outcome expressions)
       (with-exception-handler
           (lambda (exception)
             (if (quit-exception? exception)
                 (raise-exception exception)
                 (list 'error (shown (told exception)))))
         (lambda () (evaluate expressions))
         #:unwind? #t))
     (define (run-steps steps)
       (let next ((steps steps) (outcomes '()))
         (if (null? steps)
             (reverse outcomes)
             (let ((this (outcome (car (car steps)))))
               (cond ((cadr (car steps)) (next (cdr steps) (cons this outcomes)))
                     ((eq? (car this) 'error) (reverse (cons this outcomes)))
                     (else (next (cdr steps) outcomes)))))))
     (set-current-output-port (current-error-port))
     (set-current-module user)
     (for-each
      (lambda (block)
        ;; What raises is missing, too.
        (let ((there? (outcome (list (car block)))))
          (write (if (or (eq? (car there?) 'error)
                         (equal? (cadr there?) "#f"))
                     'skip
                     (run-steps (cons (list (cadr block) #f) (caddr block))))
                 results))
        (newline results)
        (force-output results))
      ',blocks)
     ;; No finalizers, nor anything that an example has asked for.
     (force-output (current-error-port))
     (primitive-_exit 0)))

;; Messages of the system are in English there.
(define (start-evaluating prefix blocks)
  (setenv "LC_ALL" "C")
  (start-guile
   OPEN_READ
   '(use-modules (ice-9 exceptions) ((srfi srfi-1) #:select (filter)))
   (evaluator prefix blocks)))

(define (normal outcome)
  (match outcome
    ((kind text) (list kind (one-line text)))))

(define (test-examples what prefix examples names)
  "Run EXAMPLES, those of WHAT, one after the other in a Guile of their own.
Each is a list of a name, an expression that is false where the example cannot
run, a list of expressions to evaluate first, and a list of steps: each a list
of expressions and (result TEXT), (error TEXT) or #f.  PREFIX is what names of
objects have for their slash, and NAMES are those to unlink afterwards."
  (let ((pipe (start-evaluating prefix (map cdr examples))))
    (for-each (match-lambda
                ((name _ _ steps)
                 (match (read pipe)
                   ('skip
                    (test-skip 1)
                    (test-assert name #f))
                   ((? eof-object?)
                    (test-assert (string-append name ": it came to its end")
                      #f))
                   (outcomes
                    (test-equal name (filter-map cadr steps)
                                (map normal outcomes))))))
              examples)
    (test-equal (string-append what ": Guile came to its end") 0
      (close-pipe pipe))
    (for-each (lambda (name)
                (false-if-exception (shm-unlink name))
                (false-if-exception (semaphore-unlink name)))
              names)))

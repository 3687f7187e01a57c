;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm datum) - a datum as the text of a message, and back.

(define-module (posix-shm datum)
  #:use-module ((ice-9 control) #:select (call-with-escape-continuation))
  #:use-module ((ice-9 match) #:select (match-lambda))
  #:use-module ((posix-shm exceptions) #:select (shown wrong-type))
  #:use-module ((rnrs bytevectors) #:select (utf8->string))
  #:use-module ((system vm vm) #:select (call-with-stack-overflow-handler))
  #:export (datum->text
            bytes->text
            read-all))

;; Limits for a datum, of which a peer sends any: the stack of the reader, and
;; how deep lists nest, since write crashes on too many.
(define max-stack 10000000)            ; words
(define max-nesting 10000)

(define digit (string->char-set "0123456789"))
(define lower (string->char-set "abcdefghijklmnopqrstuvwxyz"))

(define (claims-too-much? text)
  "Return whether an array in TEXT, which begins as in #2(...) or
#2f64:3@1:4(...), claims to be larger than TEXT by its rank or its dimensions."
  (define end (string-length text))
  (define (char-at i)
    (if (< i end) (string-ref text i) #\space))
  (define (after i set)
    (or (and (< i end) (string-skip text set i)) end))
  (define (number i j)
    (cond ((>= i j) 0)
          ((> (- j i) 12) (+ end 1))
          (else (string->number (substring text i j)))))
  (define (dimensions-too-large? k size)
    (case (char-at k)
      ((#\@)
       (dimensions-too-large?
        (after (if (char=? #\- (char-at (+ k 1))) (+ k 2) (+ k 1)) digit)
        size))
      ((#\:)
       (let* ((next (after (+ k 1) digit))
              (size (* size (number (+ k 1) next))))
         (or (> size end)
             (dimensions-too-large? next size))))
      (else (any-after? k))))
  (define (any-after? k)
    (let ((i (and (< k end) (string-index text #\# k))))
      (and i
           (let ((rank (after (+ i 1) digit)))
             (or (> (number (+ i 1) rank) end)
                 (dimensions-too-large? (after (after rank lower) digit) 1))))))
  (any-after? 0))

(define (read-all text)
  "Return the one datum that is written in TEXT, a string, in a list, or #f if
there is not just one.  Nothing in there is evaluated."
  (call-with-escape-continuation
   (lambda (return)
     (define (refuse . _)
       (return #f))
     (when (claims-too-much? text)
       (refuse))
     ;; What is raised is the reader's, and of no signal's handler.
     (call-with-blocked-asyncs
      (lambda ()
        (with-exception-handler refuse
          (lambda ()
            (call-with-stack-overflow-handler max-stack
              (lambda ()
                (parameterize ((read-hash-procedures '()))
                  (with-fluids ((read-eval? #f))
                    (let* ((port (open-input-string text))
                           (datum (read port)))
                      (and (not (eof-object? datum))
                           (eof-object? (read port))
                           (list datum))))))
              refuse))))))))

(define (too-deep? datum depth)
  "Return whether lists or vectors in DATUM are more than DEPTH deep."
  (cond ((zero? depth) #t)
        ((pair? datum)
         ;; By two steps and by one, since a list may be a circle.
         (let next ((fast datum) (slow datum) (odd? #f))
           (cond ((not (pair? fast)) (too-deep? fast (- depth 1)))
                 ((too-deep? (car fast) (- depth 1)) #t)
                 ((and odd? (eq? (cdr fast) slow)) #t)
                 (else (next (cdr fast) (if odd? (cdr slow) slow)
                             (not odd?))))))
        ((vector? datum)
         (let next ((i 0))
           (and (< i (vector-length datum))
                (or (too-deep? (vector-ref datum i) (- depth 1))
                    (next (+ i 1))))))
        ((array-of-objects? datum)
         (too-deep? (array->list datum) (- depth 1)))
        (else #f)))

(define (array-of-objects? datum)
  (and (array? datum)
       (eq? #t (array-type datum))))

;; write and read depend on options that a program sets, as guile --r7rs does.
;; So characters, and those of symbols and strings that a reader may take for
;; something else, are written in the one way that all readers take.

(define plain (char-set-adjoin lower #\-))

(define (plain? name)
  (and (not (string-null? name))
       (char-set-contains? lower (string-ref name 0))
       (string-every plain name)))

(define (write-symbol symbol port)
  (let ((name (symbol->string symbol)))
    (if (plain? name)
        (display name port)
        (begin
          (display "#{" port)
          (string-for-each (lambda (c)
                             (display (string-append
                                       "\\x"
                                       (number->string (char->integer c) 16)
                                       ";")
                                      port))
                           name)
          (display "}#" port)))))

(define (write-string string port)
  (write-char #\" port)
  (string-for-each (lambda (c)
                     (when (memv c '(#\" #\\))
                       (write-char #\\ port))
                     (write-char c port))
                   string)
  (write-char #\" port))

(define (write-array array port)
  (write-char #\# port)
  (display (array-rank array) port)
  (for-each (match-lambda
              ((lower upper)
               (display (string-append "@" (number->string lower) ":"
                                       (number->string (1+ (- upper lower))))
                        port)))
            (array-shape array))
  (write-portably (if (zero? (array-rank array))
                      (list (array-ref array))
                      (array->list array))
                  port))

(define (write-portably datum port)
  "Write DATUM to PORT so that any Guile reads it back."
  (define (write-next datum)
    (write-char #\space port)
    (write-portably datum port))
  (cond ((pair? datum)
         (write-char #\( port)
         (write-portably (car datum) port)
         (let next ((rest (cdr datum)))
           (cond ((pair? rest)
                  (write-next (car rest))
                  (next (cdr rest)))
                 ((not (null? rest))
                  (display " ." port)
                  (write-next rest))))
         (write-char #\) port))
        ((vector? datum)
         (write-char #\# port)
         (write-portably (vector->list datum) port))
        ((string? datum) (write-string datum port))
        ((symbol? datum) (write-symbol datum port))
        ((keyword? datum)
         (display "#:" port)
         (write-symbol (keyword->symbol datum) port))
        ((char? datum)
         (display (string-append "#\\x"
                                 (number->string (char->integer datum) 16))
                  port))
        ((array-of-objects? datum) (write-array datum port))
        (else (write datum port))))

(define (datum->text datum)
  "Return DATUM, written so that it can be read back."
  (let ((text (and (not (too-deep? datum max-nesting))
                   (call-with-output-string
                     (lambda (port) (write-portably datum port))))))
    (unless (and text (equal? (list datum) (read-all text)))
      (wrong-type "shm-channel-send-datum!" "what can be written and read back"
                  datum 2
                  #:as (if text
                           (shown datum)
                           "a list in which too many are, or itself")))
    text))

(define (bytes->text bytes)
  "Return the text that BYTES are in UTF-8, or #f."
  (catch 'decoding-error
    (lambda () (utf8->string bytes))
    (const #f)))

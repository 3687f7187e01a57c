;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm exceptions) - exceptions, and what messages show.

(define-module (posix-shm exceptions)
  #:use-module ((ice-9 binary-ports)
                #:select (make-custom-binary-output-port
                          open-bytevector-output-port
                          put-bytevector))
  #:use-module ((ice-9 control) #:select (let/ec))
  #:use-module ((ice-9 exceptions)
                #:select (&error
                          exception-predicate
                          make-exception
                          make-exception-type
                          make-exception-with-message
                          make-exception-with-origin))
  #:use-module ((ice-9 iconv) #:select (bytevector->string))
  #:use-module (posix-shm primitives)
  #:use-module ((rnrs bytevectors) #:select (bytevector-length bytevector?))
  #:export (&shm-format-error
            shm-format-error?
            &shm-abandoned
            shm-abandoned?
            &shm-closed
            shm-closed?

            ;; For other components.
            check-procedure
            raise-abandoned
            raise-format
            raise-format-error
            raise-no-datum
            raise-system-error
            shown
            with-error-context
            wrong-type))

(define max-shown 80)                   ; characters
(define max-elements 8)

(define (written object)
  "Return OBJECT as write has it, or only the beginning if that is long."
  (define size 0)
  (define-values (bytes get-bytes) (open-bytevector-output-port))
  (let/ec return
    (define (write-bytes bv start count)
      (put-bytevector bytes bv start count)
      (set! size (+ size count))
      (when (> size (* 4 max-shown))
        (return *unspecified*))
      count)
    (let ((port (make-custom-binary-output-port "message" write-bytes #f #f
                                                #f)))
      (set-port-encoding! port "UTF-8")
      (write object port)
      (force-output port)))
  (string-map (lambda (c)
                (if (char-set-contains? char-set:iso-control c) #\space c))
              (bytevector->string (get-bytes) "UTF-8" 'substitute)))

(define* (shown object #:key (nested? #f))
  "Return the string that stands for OBJECT in a message: as write has it, but
part of a line, however large OBJECT is."
  (define (elements list)
    (string-append "("
                   (string-join (map (lambda (element)
                                       (shown element #:nested? #t))
                                     list))
                   ")"))
  (define (truncated text)
    (if (> (string-length text) max-shown)
        (string-append (string-take text (- max-shown 3)) "...")
        text))
  (define (sized kind size unit)
    (string-append "a" kind " of " size unit))
  (cond
   ((bytevector? object)
    (sized " bytevector" (number->string (bytevector-length object)) " bytes"))
   ((string? object)
    (truncated
     (written (if (> (string-length object) max-shown)
                  (string-take object max-shown)
                  object))))
   ((and (list? object) (not nested?) (<= (length object) max-elements))
    (truncated (elements object)))
   ((list? object)
    (sized " list" (number->string (length object)) " elements"))
   ((pair? object)
    "a pair")
   ((array? object)
    (sized (if (vector? object) " vector" "n array")
           (string-join (map number->string (lengths object)) " x ")
           " elements"))
   (else (truncated (written object)))))

(define (lengths array)
  "Return how many elements ARRAY has in each dimension."
  (map (lambda (bounds) (1+ (- (cadr bounds) (car bounds))))
       (array-shape array)))

(define* (wrong-type subr expected object #:optional position
                     #:key (as (shown object)))
  "Raise wrong-type-arg in the name of SUBR: OBJECT, its argument at POSITION,
is not what is EXPECTED, a string.  The message shows OBJECT AS another one."
  (scm-error 'wrong-type-arg subr
             (string-append "Wrong type argument "
                            (if position "in position ~A " "")
                            "(expecting ~A): ~A")
             (append (if position (list position) '())
                     (list expected as))
             (list object)))

(define (check-procedure subr object)
  "Raise wrong-type-arg in the name of SUBR unless OBJECT is a procedure."
  (unless (procedure? object)
    (wrong-type subr "procedure" object)))

(define (raise-system-error errno what)
  "Raise system-error for ERRNO; WHAT, a string, is what the call failed on."
  (scm-error 'system-error #f "~A: ~A" (list (strerror errno) what)
             (list errno)))

(define-syntax-rule (with-error-context what body ...)
  ;; Guile's procedures do not tell which file or stream they failed on.
  (catch 'system-error
    (lambda () body ...)
    (lambda arguments
      (raise-system-error (system-error-errno arguments) what))))

;; Shared memory does not contain what it should.
(define &shm-format-error
  (make-exception-type '&shm-format-error &error '()))

(define make-shm-format-error (record-constructor &shm-format-error))
(define format-error? (exception-predicate &shm-format-error))

(define (shm-format-error? object)
  "Return #t if OBJECT is an exception of type &shm-format-error, else #f.  It
says that shared memory does not contain what a procedure expects there."
  (format-error? object))

;; The owner of a lock died.
(define &shm-abandoned
  (make-exception-type '&shm-abandoned &error '()))

(define make-shm-abandoned (record-constructor &shm-abandoned))
(define abandoned? (exception-predicate &shm-abandoned))

(define (shm-abandoned? object)
  "Return #t if OBJECT is an exception of type &shm-abandoned, else #f.  It
says that the owner of a lock died."
  (abandoned? object))

;; Nothing can be sent to a channel or broadcast any more.
(define &shm-closed
  (make-exception-type '&shm-closed &error '()))

(define make-shm-closed (record-constructor &shm-closed))
(define closed? (exception-predicate &shm-closed))

(define (shm-closed? object)
  "Return #t if OBJECT is an exception of type &shm-closed, else #f.  It says
that a channel or broadcast is closed, so that nothing can be sent to it."
  (closed? object))

(define (raise-with make procedure message . arguments)
  (raise-exception
   (make-exception (make)
                   (make-exception-with-origin procedure)
                   (make-exception-with-message
                    (apply format #f message arguments)))))

(define (raise-format-error procedure message . arguments)
  "Raise &shm-format-error with MESSAGE, for format with ARGUMENTS."
  (apply raise-with make-shm-format-error procedure message arguments))

(define (raise-format procedure what where offset)
  "Raise &shm-format-error: there is no WHAT at OFFSET of WHERE, both strings."
  (raise-format-error
   procedure
   "There is no ~a at offset ~a of ~a: make one with shm-~a, unless other data \
was stored there"
   what offset where
   (cond ((string=? what "read-write lock") "rwlock-init!")
         ((string=? what "condition variable") "condition-variable-init!")
         ((string=? what "broadcast") "broadcast-create")
         (else (string-append what "-init!")))))

(define (raise-no-datum procedure size reason offset)
  "Raise &shm-format-error: a message of SIZE bytes is not a datum, for REASON,
found before byte OFFSET."
  (raise-format-error
   procedure "There is no datum in a message of ~a bytes: ~a, before byte ~a"
   size reason offset))

(define (raise-closed procedure what where)
  (raise-with make-shm-closed procedure
              "The ~a in ~a is closed: nothing can be sent any more"
              what where))

(%shm-show-with! shown)
(%shm-raise-with! raise-format raise-closed)

(define (raise-abandoned procedure what where offset)
  "Raise &shm-abandoned for the WHAT at OFFSET of WHERE, both strings."
  (raise-with make-shm-abandoned procedure
              "The owner of the ~a at offset ~a of ~a died, and the data that \
it guards may be inconsistent: #:on-abandoned takes a procedure that recovers \
it"
              what offset where))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm exceptions) - the conditions that more than one room raises.

(define-module (posix-shm exceptions)
  #:use-module ((ice-9 exceptions)
                #:select (&error
                          exception-predicate
                          make-exception
                          make-exception-type
                          make-exception-with-irritants
                          make-exception-with-message
                          make-exception-with-origin))
  #:use-module (posix-shm primitives)
  #:export (&shm-format
            shm-format-error?
            &shm-abandoned
            shm-abandoned?
            &shm-closed
            shm-closed?

            ;; For the other rooms.
            check-procedure
            document
            raise-abandoned
            raise-format
            raise-no-datum))

(define-syntax-rule (document procedure text)
  (set-procedure-property! procedure 'documentation text))

(define (check-procedure subr object)
  "Raise wrong-type-arg in the name of SUBR unless OBJECT is a procedure."
  (unless (procedure? object)
    (scm-error 'wrong-type-arg subr
               "Wrong type argument (expecting procedure): ~S" (list object)
               (list object))))

;; The type of the condition for memory that does not hold what it should.
(define &shm-format
  (make-exception-type '&shm-format &error '()))

(define make-shm-format (record-constructor &shm-format))

(define shm-format-error? (exception-predicate &shm-format))
(document shm-format-error?
  "Return #t if the argument, any object, is a condition of type
@code{&shm-format}: shared memory does not hold what a procedure was told that
it does.")

;; The type of the condition for a lock whose owner died.
(define &shm-abandoned
  (make-exception-type '&shm-abandoned &error '()))

(define make-shm-abandoned (record-constructor &shm-abandoned))

(define shm-abandoned? (exception-predicate &shm-abandoned))
(document shm-abandoned?
  "Return #t if the argument, any object, is a condition of type
@code{&shm-abandoned}: a thread died holding a lock.")

;; The type of the condition for a channel to which nothing can be sent.
(define &shm-closed
  (make-exception-type '&shm-closed &error '()))

(define make-shm-closed (record-constructor &shm-closed))

(define shm-closed? (exception-predicate &shm-closed))
(document shm-closed?
  "Return #t if the argument, any object, is a condition of type
@code{&shm-closed}: somebody closed the channel to which something was to be
sent.")

(define (raise-with make procedure message . arguments)
  (raise-exception
   (make-exception (make)
                   (make-exception-with-origin procedure)
                   (make-exception-with-message
                    (apply format #f message arguments))
                   ;; The message has all of them.
                   (make-exception-with-irritants '()))))

(define (raise-format procedure what where offset)
  (raise-with make-shm-format procedure
              "There is no ~a at offset ~a of ~a: it was not initialized, or \
something else was stored there"
              what offset where))

;; The message is gone, so that there is no offset to name.
(define (raise-no-datum procedure size)
  (raise-with make-shm-format procedure
              "There is no datum in a message of ~a bytes" size))

(define (raise-closed procedure where)
  (raise-with make-shm-closed procedure
              "The channel in ~a is closed: nothing can be sent any more"
              where))

(%shm-raise-with! raise-format raise-closed)

(define (raise-abandoned procedure where offset)
  "Raise the condition for a mutex at OFFSET in WHERE, a string."
  (raise-with make-shm-abandoned procedure
              "The thread that held the mutex at offset ~a of ~a died, and \
what the mutex guards may be half done"
              offset where))

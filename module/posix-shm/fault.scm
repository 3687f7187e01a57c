;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm fault) - bad memory becomes a condition.

(define-module (posix-shm fault)
  #:use-module ((ice-9 exceptions)
                #:select (&error
                          exception-accessor
                          exception-predicate
                          make-exception
                          make-exception-type
                          make-exception-with-message))
  #:use-module ((posix-shm exceptions) #:select (document shown wrong-type))
  #:use-module (posix-shm primitives)
  #:export (;; The condition.
            &shm-fault
            shm-fault?
            shm-fault-kind
            shm-fault-name
            shm-fault-offset

            ;; The guard.
            shm-fault-guard))

;; The type of the condition that a thread raises after it touched memory of a
;; mapping that could not be had, or not be written.
(define &shm-fault
  (make-exception-type '&shm-fault &error '(kind name offset)))

(define make-shm-fault (record-constructor &shm-fault))

(define shm-fault? (exception-predicate &shm-fault))
(document shm-fault?
  "Return #t if the argument, any object, is a condition of type
@code{&shm-fault}, else #f.")

(define-syntax-rule (define-accessor name field text)
  (begin
    (define name
      (exception-accessor &shm-fault (record-accessor &shm-fault 'field)))
    (document name text)))

(define-accessor shm-fault-kind kind
  "Return why the memory could not be accessed, a symbol: @code{lost} if the
object was cut shorter than the mapping, or the system has no page left for it;
@code{read-only} for a store into a mapping without write access.")

(define-accessor shm-fault-name name
  "Return the name of the object, a string, or #f where it has none or is not
known.")

(define-accessor shm-fault-offset offset
  "Return the place in the mapping that was touched first, an integer of
bytes.")

(define (message kind name offset)
  ;; Without format, whose lock another thread may have held when this one
  ;; forked.
  (let ((place (string-append "offset " (number->string offset) " of "
                              (if name
                                  (shown name)
                                  "anonymous shared memory"))))
    (case kind
      ((lost)
       (string-append "There is no memory at " place ": the object was cut \
shorter than the mapping, or the system has no memory left for it"))
      ((read-only)
       (string-append "Store at " place ", which is mapped for reading only; \
#:writable? #t maps it for writing")))))

;; Threads call this at their first safe point after a fault.
(define (raise-fault kind name offset)
  (raise-exception
   (make-exception (make-shm-fault kind name offset)
                   (make-exception-with-message (message kind name offset)))))

(%shm-fault-raiser! raise-fault)

(define* (shm-fault-guard #:optional (enabled? *unspecified*))
  "Return #t if faults in mappings become conditions of type @code{&shm-fault},
and #f if they go where they go without this library, which usually ends the
process.  If ENABLED?, a boolean, is there, set that, and return what it was
before.

The guard is a handler of the signals SIGBUS and SIGSEGV, installed with the
first mapping.  It passes what is not about a mapping on to the handler that
was there before.  #t also installs it again, in front of handlers that
replaced it.

Raise @code{wrong-type-arg} if ENABLED? is not a boolean, and
@code{system-error} with @code{ENOSYS} for #t where the system cannot do this."
  (unless (or (boolean? enabled?) (unspecified? enabled?))
    (wrong-type "shm-fault-guard" "boolean" enabled?))
  (%shm-fault-guard enabled?))

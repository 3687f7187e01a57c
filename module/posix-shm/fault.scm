;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm fault) - a page that is not accessible raises an exception.

(define-module (posix-shm fault)
  #:use-module ((ice-9 exceptions)
                #:select (&error
                          exception-accessor
                          exception-predicate
                          make-exception
                          make-exception-type
                          make-exception-with-message))
  #:use-module ((posix-shm exceptions) #:select (shown wrong-type))
  #:use-module (posix-shm primitives)
  #:export (;; The exception.
            &shm-fault
            shm-fault?
            shm-fault-kind
            shm-fault-name
            shm-fault-offset

            ;; The guard.
            shm-fault-guard))

(define &shm-fault
  (make-exception-type '&shm-fault &error '(kind name offset)))

(define make-shm-fault (record-constructor &shm-fault))
(define fault? (exception-predicate &shm-fault))

(define (shm-fault? object)
  "Return #t if OBJECT is an exception of type &shm-fault, else #f.  It says
that this thread accessed a page of a mapping that is not accessible."
  (fault? object))

(define-syntax-rule (define-accessor (name fault) accessor field text)
  (begin
    (define accessor
      (exception-accessor &shm-fault (record-accessor &shm-fault 'field)))
    (define (name fault) text (accessor fault))))

(define-accessor (shm-fault-kind fault) fault-kind kind
  "Return why the page was not accessible, a symbol: lost if the object was
truncated below the mapping's end, or the system has no page left for it;
read-only for a store into a mapping without write access.")

(define-accessor (shm-fault-name fault) fault-name name
  "Return the name of the object, a string, or #f if it has none or it is not
known.")

(define-accessor (shm-fault-offset fault) fault-offset offset
  "Return the byte offset in the mapping of the first faulting access, an exact
integer.")

(define (message kind name offset)
  ;; Without format: in the child of a fork its lock may be held for ever.
  (let ((location (string-append "offset " (number->string offset) " of "
                                 (if name
                                     (shown name)
                                     "anonymous shared memory"))))
    (case kind
      ((lost)
       (string-append "There is no memory at " location ": the object was \
truncated, or the system has no memory left for it"))
      ((read-only)
       (string-append "Store at " location ", which is mapped read-only; \
#:writable? #t maps it for writing")))))

;; Threads call this at their first safe point after a fault.
(define (raise-fault kind name offset)
  (raise-exception
   (make-exception (make-shm-fault kind name offset)
                   (make-exception-with-message (message kind name offset)))))

(%shm-fault-raiser! raise-fault)

(define* (shm-fault-guard #:optional (enabled? *unspecified*))
  "Return #t if faults in mappings raise exceptions of type &shm-fault, and #f
if they have the effect that they have without this library, which usually ends
the process.  With ENABLED?, a boolean, set that, and return the previous
value.

The guard is a handler of the signals SIGBUS and SIGSEGV, installed with the
first mapping.  It passes faults elsewhere on to the handler that it replaced.
#t also installs it again, in front of handlers that replaced it.

Raise wrong-type-arg if ENABLED? is not a boolean, and system-error with ENOSYS
for #t if the system cannot do this."
  (unless (or (boolean? enabled?) (unspecified? enabled?))
    (wrong-type "shm-fault-guard" "boolean" enabled?))
  (%shm-fault-guard enabled?))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm source) - channels and subscribers, and waiting for several.

(define-module (posix-shm source)
  #:use-module ((ice-9 fdes-finalizers) #:select (add-fdes-finalizer!))
  #:use-module ((ice-9 threads) #:select (make-mutex with-mutex))
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm object)
  #:use-module (posix-shm primitives)
  #:use-module ((rnrs bytevectors) #:select (bytevector?))
  #:use-module ((srfi srfi-1) #:select (filter-map))
  #:export (shm-select
            shm-ready-port

            ;; For other components.
            <shm-channel>
            <shm-subscriber>
            make-channel
            make-subscriber
            check-source
            copy-source
            exclusively
            of-type?
            or-armed
            source-bytevector
            source-state))

;; As the predicates and accessors that make-record-type offers, in line.

(define-syntax-rule (of-type? type object)
  (and (struct? object)
       (eq? (struct-vtable object) type)))

(define-syntax-rule (source-bytevector source)
  (struct-ref source 0))

(define-syntax-rule (source-state source)
  (struct-ref source 1))

(define-syntax-rule (source-watch source)
  (struct-ref source 2))

;; Both types have the same fields.  STATE is the size of a channel, or
;; the state of a subscriber, a bytevector.  WATCH is #f, or a pair of a watch,
;; which makes a port readable, and that port.

(define <shm-channel>
  (make-record-type
   '<shm-channel> '(bytevector state watch)
   (lambda (channel port)
     (format port "#<shm-channel of ~a bytes in ~a>" (source-state channel)
             (%shm-describe (source-bytevector channel))))))

(define <shm-subscriber>
  (make-record-type
   '<shm-subscriber> '(bytevector state watch)
   (lambda (subscriber port)
     (format port "#<shm-subscriber of ~a>"
             (%shm-describe (source-bytevector subscriber))))))

(define make-channel (record-constructor <shm-channel>))
(define make-subscriber (record-constructor <shm-subscriber>))

(define (check-source subr object)
  (unless (or (of-type? <shm-channel> object)
              (of-type? <shm-subscriber> object))
    (wrong-type subr "channel or subscriber" object)))

(define (copy-source source)
  "Return another SOURCE, with a port of its own."
  ((if (of-type? <shm-channel> source) make-channel make-subscriber)
   (source-bytevector source) (source-state source) #f))

(define (subscriber-state source)
  "Return the state of SOURCE if that is a subscriber, else #f."
  (let ((state (source-state source)))
    (and (bytevector? state) state)))

(define* (shm-select sources #:key timeout)
  "Wait until at least one of SOURCES, a list of channels and subscribers, is
ready, and return a list of all that are ready, in the order of SOURCES.  A
source is ready if a receiver need not wait: if it has a message, is closed, or
its memory is unmapped, inaccessible or overwritten.  Another receiver may take
the message first.  TIMEOUT is a real number of seconds; without it, or if it is
#f, wait for ever.  Return the empty list if TIMEOUT expires.

Raise wrong-type-arg if one of SOURCES is something else, out-of-range if there
is none and no TIMEOUT, and system-error with EDEADLK if none is ready and this
thread is in call-with-shm-slot or call-with-shm-message for one of them."
  (unless (list? sources)
    (wrong-type "shm-select" "list of channels and subscribers" sources))
  (for-each (lambda (source) (check-source "shm-select" source)) sources)
  (filter-map (lambda (source ready?) (and ready? source))
              sources
              (%shm-select (map (lambda (source)
                                  (cons (source-bytevector source)
                                        (subscriber-state source)))
                                sources)
                           timeout)))

(define (arm! source)
  "Make the port of SOURCE not readable, until there may be a message again."
  (%shm-watch-arm! (car (source-watch source)) (source-bytevector source)
                   (subscriber-state source)))

(define-syntax-rule (or-armed source result)
  ;; RESULT, of a try to receive from SOURCE.  If that is #f, arm its port.
  (or result
      (begin
        (when (source-watch source)
          (arm! source))
        #f)))

(define mutex (make-mutex))

(define-syntax-rule (exclusively mutex body ...)
  ;; No other thread that locks MUTEX comes in between, nor another fiber of
  ;; this thread.
  (without-asyncs
   (with-mutex mutex
     body ...)))

(define (make-port! source)
  (let* ((bv (source-bytevector source))
         (watch (%shm-watch bv))
         (fd (%shm-watch-descriptor watch bv))
         (port (fdopen fd "r0")))
    (add-fdes-finalizer! fd (lambda (fd) (%shm-watch-close! watch)))
    ;; A program may keep only the port.
    (%set-port-property! port 'shm-source source)
    (struct-set! source 2 (cons watch port))
    (arm! source)
    port))

(define (shm-ready-port source)
  "Return an input port that is readable when there may be a message to receive
from SOURCE, a channel or subscriber, or when SOURCE is closed: for select, and
for event loops.  Do not read from the port.  If it is readable, receive from
SOURCE with a timeout of 0, until that returns #f; then the port is not readable
until there may be another message.  Each call for SOURCE returns the same port,
until that is closed.  A child of a fork makes its own.  Close the port when it
is no longer needed; it takes two descriptors, or three without eventfd.

Raise system-error with EMFILE if the process has no descriptor left, and EAGAIN
if the system cannot start a thread."
  (check-source "shm-ready-port" source)
  (exclusively mutex
    (let ((now (source-watch source)))
      (if (and now (not (%shm-watch-dead? (car now))))
          (cdr now)
          (make-port! source)))))

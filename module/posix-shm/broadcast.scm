;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm broadcast) - messages that every subscriber sees.

;;; Commentary:
;;;
;;; Publish and subscribe: shm-broadcast-create makes a broadcast,
;;; shm-broadcast-send! sends a message to all subscribers, and
;;; shm-broadcast-subscribe makes one, from which shm-broadcast-receive! returns
;;; each message in turn and shm-broadcast-latest the newest.  Senders never
;;; wait for subscribers: they overwrite the oldest messages.  The manual is in
;;; Info: info guile-shm Broadcasts.
;;;
;;; Code:

(define-module (posix-shm broadcast)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm mapping)
  #:use-module (posix-shm object)
  #:use-module (posix-shm poll)
  #:use-module (posix-shm primitives)
  #:use-module (posix-shm source)
  #:re-export (;; Waiting for several.
               shm-select
               shm-ready-port

               ;; Exceptions.
               &shm-closed
               shm-closed?
               &shm-format-error
               shm-format-error?)
  #:export (;; Broadcasts.
            shm-broadcast?
            shm-broadcast-create
            shm-broadcast-attach
            shm-broadcast-close!

            ;; Subscribers.
            shm-subscriber?
            shm-broadcast-subscribe
            shm-broadcast-missed

            ;; Messages.
            shm-broadcast-send!
            shm-broadcast-receive!
            shm-broadcast-latest
            shm-broadcast-latest-into!

            ;; Data.
            shm-broadcast-send-datum!
            shm-broadcast-receive-datum!))


;;; Broadcasts.

(define <shm-broadcast>
  (make-record-type
   '<shm-broadcast> '(bytevector capacity)
   (lambda (broadcast port)
     (format port "#<shm-broadcast of ~a bytes in ~a>"
             (broadcast-capacity broadcast)
             (%shm-describe (source-bytevector broadcast))))))

(define make-broadcast (record-constructor <shm-broadcast>))
(define broadcast-capacity (record-accessor <shm-broadcast> 'capacity))

(define (shm-broadcast? object)
  "Return #t if OBJECT, any object, is a broadcast, as shm-broadcast-create and
shm-broadcast-attach return it, else #f."
  (of-type? <shm-broadcast> object))

(define (shm-subscriber? object)
  "Return #t if OBJECT, any object, is a subscriber of a broadcast, else #f."
  (of-type? <shm-subscriber> object))

(define-syntax-rule (broadcast-bytevector subr broadcast)
  ;; The bytevector that BROADCAST, the argument of SUBR, is in.
  (if (of-type? <shm-broadcast> broadcast)
      (source-bytevector broadcast)
      (refuse-broadcast subr broadcast)))

(define (refuse-broadcast subr object)
  (wrong-type subr
              (if (shm-subscriber? object)
                  "broadcast, as (shm-broadcast-attach name) returns"
                  "broadcast")
              object))

(define-syntax-rule (check-subscriber subr subscriber)
  (unless (of-type? <shm-subscriber> subscriber)
    (refuse-subscriber subr subscriber)))

(define (refuse-subscriber subr object)
  (wrong-type subr
              (if (shm-broadcast? object)
                  "subscriber, as (shm-broadcast-subscribe broadcast) returns"
                  "subscriber")
              object))

(define min-capacity 16)

(define* (shm-broadcast-create name capacity
                               #:key (mode #o600) (exists 'error) timeout)
  "Create the shared memory object NAME with an empty broadcast in it and return
the broadcast, to send to it.  Others can attach or subscribe to it by that
name.  If NAME is #f the broadcast is anonymous: only children of this process
share it.

CAPACITY, an integer of at least 16 bytes, is about how many bytes of the newest
messages stay readable: of each, rounded up to a multiple of 8, and 16 bytes
more for each.  The largest message has half of CAPACITY.  The object is about
half as large again.  MODE, EXISTS and TIMEOUT are as for shm-create.

Raise what shm-create does: system-error with EEXIST if NAME is taken,
out-of-range for an invalid CAPACITY, or one larger than that of a broadcast to
attach to; and &shm-format-error if EXISTS is attach and the object has
something else in it."
  (define subr "shm-broadcast-create")
  (require-shm subr name)
  (check-capacity subr capacity)
  (let* ((deadline (deadline-after subr (or timeout initialization-patience)))
         (bv (create-memory subr name (%shm-broadcast-size capacity)
                            #:mode mode #:exists exists #:timeout timeout
                            #:initialize
                            (lambda (bv)
                              (%shm-broadcast-init! bv capacity))))
         (broadcast (and bv (await-broadcast subr bv deadline))))
    (when (and broadcast (< (broadcast-capacity broadcast) capacity))
      (scm-error 'out-of-range subr
                 "The broadcast ~A has a capacity of ~A bytes, not ~A"
                 (list (shown name) (broadcast-capacity broadcast) capacity)
                 (list capacity)))
    broadcast))

(define (check-capacity subr capacity)
  (unless (exact-integer? capacity)
    (wrong-type subr "exact integer" capacity 2))
  (unless (<= min-capacity capacity)
    (scm-error 'out-of-range subr
               "A broadcast's capacity is at least ~A bytes: ~A"
               (list min-capacity (shown capacity))
               (list capacity))))

(define* (shm-broadcast-attach name #:key wait)
  "Return the broadcast in the shared memory object NAME, which another process
created, to send to it.  WAIT is a real number of seconds to wait for it; if it
expires, return #f.

Raise &shm-format-error if the object has something else in it, and system-error
as shm-attach does, with ENOENT if there is no such object and no WAIT, and
EACCES if this process may only read it: it can subscribe then."
  (define subr "shm-broadcast-attach")
  (require-shm subr name)
  (attach subr name #t wait (deadline-after subr (or wait 0))))

(define (attach subr name writable? wait deadline)
  (let ((bv (attach-memory subr name #:writable? writable? #:wait wait
                           #:raise-empty
                           (lambda ()
                             (raise-format subr "broadcast" (shown name) 0)))))
    (and bv (await-broadcast subr bv deadline))))

(define (await-broadcast subr bv deadline)
  "Return the broadcast in BV; if its creator has not initialized it yet, wait
for that until DEADLINE."
  (await-initialized bv deadline)
  (make-broadcast bv (%shm-broadcast-capacity bv subr)))

(define (shm-broadcast-close! broadcast)
  "Close BROADCAST, so that nothing more can be sent to it.  Subscribers get the
messages that are still there, and then the end-of-file object.  Blocked senders
raise &shm-closed.  Return #t, or #f if the broadcast was closed before.

The object and its name remain: see shm-unlink.  Raise &shm-format-error if
there is no broadcast any more."
  (%shm-broadcast-close!
   (broadcast-bytevector "shm-broadcast-close!" broadcast)))


;;; Subscribers.

(define* (shm-broadcast-subscribe source #:key wait (from 'now))
  "Return a new subscriber of the broadcast SOURCE: the name of a shared memory
object, which this process needs only permission to read; or a broadcast, as
shm-broadcast-create and shm-broadcast-attach return it.  FROM is the message
that the subscriber receives first: with now, the first that is sent from now
on; with latest, the newest one that was sent; with oldest, the oldest one that
is still there.  WAIT is a real number of seconds to wait for the object; if it
expires, return #f.

A subscriber belongs to one thread at a time, and a child of a fork has a copy
of it.

Raise &shm-format-error if the object has something else in it, and system-error
as shm-attach does, with ENOENT if there is no such object and no WAIT."
  (define subr "shm-broadcast-subscribe")
  (define first
    (or (assq-ref '((now . 0) (latest . 1) (oldest . 2)) from)
        (scm-error (if (symbol? from) 'out-of-range 'wrong-type-arg) subr
                   "from is not one of now, latest and oldest: ~A"
                   (list (shown from)) (list from))))
  (define deadline (deadline-after subr (or wait 0)))
  (define (subscriber-of broadcast writable?)
    (and broadcast
         (let ((bv (source-bytevector broadcast)))
           (make-subscriber
            bv (%shm-broadcast-subscribe bv first writable?) #f))))
  (define (attach-as writable?)
    (subscriber-of (attach subr source writable? wait deadline) writable?))
  (require-shm subr source)
  (if (shm-broadcast? source)
      (subscriber-of source #t)
      (or-read-only attach-as)))

(define (or-read-only proc)
  "Return what PROC returns for #t, or, if that is not permitted, for #f."
  (catch 'system-error
    (lambda () (proc #t))
    (lambda arguments
      (if (memv (system-error-errno arguments) (list EACCES EPERM EROFS))
          (proc #f)
          (apply throw arguments)))))

(define (shm-broadcast-missed subscriber)
  "Return how many messages were overwritten before SUBSCRIBER could receive
them, an integer.  It is counted when SUBSCRIBER receives the next one.  Those
that shm-broadcast-latest skips are not among them."
  (check-subscriber "shm-broadcast-missed" subscriber)
  (%shm-broadcast-missed (source-state subscriber)))


;;; Messages.

;; A procedure with keywords costs more to call, even if none is given; hence
;; the first clauses.

(define shm-broadcast-send!
  (case-lambda*
    "Send COUNT bytes of the bytevector BV from byte START on, by default all
from there, as a message to all subscribers of BROADCAST.  This never waits for
subscribers: it overwrites the oldest messages.  TIMEOUT is a real number of
seconds to wait for other senders; without it, or if it is #f, wait for ever.
Return #t once the message is sent, or #f if TIMEOUT expires.

Raise out-of-range for a message that is larger than half the capacity, or not
within BV; &shm-closed if BROADCAST is closed; and &shm-format-error if there is
no broadcast any more."
    ((broadcast bv)
     (%shm-broadcast-send!
      (broadcast-bytevector "shm-broadcast-send!" broadcast) bv 0 #f #f))
    ((broadcast bv #:optional (start 0) count #:key timeout)
     (%shm-broadcast-send!
      (broadcast-bytevector "shm-broadcast-send!" broadcast) bv start count
      timeout))))

(define shm-broadcast-receive!
  (case-lambda*
    "Return the next message for SUBSCRIBER, a new bytevector.  If there is
none, wait for a sender.  TIMEOUT is a real number of seconds; without it, or if
it is #f, wait for ever.  Return #f if TIMEOUT expires, and the end-of-file
object if the broadcast is closed and SUBSCRIBER has received all.  If messages
were overwritten before this, return the oldest one that is still there, and
count the others: see shm-broadcast-missed.

Raise &shm-format-error if there is no broadcast any more, or its contents are
invalid."
    ((subscriber)
     (check-subscriber "shm-broadcast-receive!" subscriber)
     (%shm-broadcast-receive! (source-bytevector subscriber)
                              (source-state subscriber) #f))
    ((subscriber #:key timeout)
     (check-subscriber "shm-broadcast-receive!" subscriber)
     (or-armed subscriber
               (%shm-broadcast-receive! (source-bytevector subscriber)
                                        (source-state subscriber) timeout)))))

(define (shm-broadcast-latest subscriber)
  "Return the newest message of SUBSCRIBER's broadcast, a new bytevector, also
if SUBSCRIBER has received it before or the broadcast is closed; or #f if none
was sent.  This does not wait.  Skip the messages before it, so that
shm-broadcast-receive! returns the one after it.

Raise what shm-broadcast-receive! raises."
  (check-subscriber "shm-broadcast-latest" subscriber)
  (%shm-broadcast-latest (source-bytevector subscriber)
                         (source-state subscriber)))

(define* (shm-broadcast-latest-into! subscriber bv #:optional (start 0))
  "Store the newest message of SUBSCRIBER's broadcast in the bytevector BV from
byte START on, and return how many bytes it has, or #f if none was sent.  Beyond
these bytes, or if this raises an exception, BV may have changed, too.  Skip
other messages as shm-broadcast-latest does.

Raise out-of-range if BV is too short, and what shm-broadcast-receive! raises."
  (check-subscriber "shm-broadcast-latest-into!" subscriber)
  (%shm-broadcast-latest-into! (source-bytevector subscriber)
                               (source-state subscriber) bv start))


;;; Data.

(define* (shm-broadcast-send-datum! broadcast datum #:key timeout)
  "Send DATUM, as shm-channel-send-datum! does, as a message to all subscribers
of BROADCAST.  TIMEOUT and the result are as for shm-broadcast-send!.

Raise wrong-type-arg if DATUM cannot be sent, and what shm-broadcast-send!
raises."
  (%shm-broadcast-send-datum!
   (broadcast-bytevector "shm-broadcast-send-datum!" broadcast) datum timeout))

(define* (shm-broadcast-receive-datum! subscriber #:key timeout timeout-value)
  "Return the datum that is the next message for SUBSCRIBER, as
shm-channel-receive-datum! does.  TIMEOUT is as for shm-broadcast-receive!; if
it expires, return TIMEOUT-VALUE, by default #f.  Return the end-of-file object
if the broadcast is closed and SUBSCRIBER has received all.

Raise &shm-format-error if the message is not one datum; it is skipped then.
Raise what shm-broadcast-receive! raises."
  (check-subscriber "shm-broadcast-receive-datum!" subscriber)
  (let ((result (or-armed subscriber
                          (%shm-broadcast-receive-datum!
                           (source-bytevector subscriber)
                           (source-state subscriber) timeout
                           raise-not-datum))))
    (cond ((pair? result) (car result))
          ((eof-object? result) result)
          (else timeout-value))))

(define (raise-not-datum size reason offset)
  (raise-no-datum "shm-broadcast-receive-datum!" size reason offset))

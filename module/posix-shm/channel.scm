;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm channel) - messages between processes, first in first out.

;;; Commentary:
;;;
;;; Messages from any number of processes to any number: shm-channel-create
;;; makes a channel, shm-channel-attach finds it, shm-channel-send-datum! and
;;; shm-channel-receive-datum! carry what can be written and read.  The manual
;;; is in Info: info guile-shm Channels.
;;;
;;; Code:

(define-module (posix-shm channel)
  #:use-module ((ice-9 binary-ports)
                #:select (make-custom-binary-output-port))
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm hold)
  #:use-module (posix-shm mapping)
  #:use-module (posix-shm object)
  #:use-module (posix-shm poll)
  #:use-module (posix-shm primitives)
  #:use-module (posix-shm source)
  #:use-module ((rnrs bytevectors)
                #:select (bytevector-copy! bytevector-length bytevector?))
  #:re-export (;; Sizes.
               shm-channel-header-size
               shm-message-header-size

               ;; Waiting for several.
               shm-select
               shm-ready-port

               ;; Exceptions.
               &shm-closed
               shm-closed?
               &shm-format-error
               shm-format-error?)
  #:export (;; Channels.
            shm-channel?
            shm-channel-create
            shm-channel-attach
            shm-channel-init!
            shm-channel
            shm-channel-map
            shm-channel-close!
            shm-channel-closed?
            shm-channel-capacity
            shm-channel-statistics

            ;; Messages.
            shm-channel-send!
            shm-channel-receive!
            shm-channel-receive-into!

            ;; Loaned messages.
            call-with-shm-slot
            call-with-shm-message

            ;; Data.
            shm-channel-send-datum!
            shm-channel-receive-datum!

            ;; Ports.
            shm-channel-input-port
            shm-channel-output-port))


;;; Channels.

(define-syntax-rule (channel? object)
  (of-type? <shm-channel> object))

(define-syntax-rule (channel-size channel)
  (source-state channel))

(define (shm-channel? object)
  "Return #t if OBJECT, any object, is a channel, else #f."
  (channel? object))

(define-syntax-rule (bytevector-of subr ch)
  ;; The bytevector that CH, the argument of SUBR, is in.
  (if (channel? ch)
      (source-bytevector ch)
      (wrong-type subr
                  (if (bytevector? ch)
                      "channel, as (shm-channel bv) returns"
                      "channel")
                  ch)))

(define (channel-in subr bv)
  (make-channel bv (%shm-channel-size bv subr) #f))

(define (ring-size subr capacity)
  "Return CAPACITY, as the argument of SUBR, rounded up to what a ring can
have."
  (unless (exact-integer? capacity)
    (wrong-type subr "exact integer" capacity 2))
  (unless (<= shm-message-header-size capacity)
    (scm-error 'out-of-range subr
               "A channel's capacity is at least ~A bytes: ~A"
               (list shm-message-header-size (shown capacity))
               (list capacity)))
  (* 8 (ceiling-quotient capacity 8)))

(define* (shm-channel-create name capacity
                             #:key (mode #o600) (exists 'error) timeout)
  "Create the shared memory object NAME with an empty channel in it and return
the channel, to which others can attach by that name.  If NAME is #f the
channel is anonymous: only children of this process share it.

CAPACITY, an integer of at least 8 bytes, is the size of the messages that can
be in flight: of each, rounded up to a multiple of 8, and 8 bytes more for
each.  So the largest message has CAPACITY less 8 bytes.  MODE, EXISTS and
TIMEOUT are as for shm-create.

Raise what shm-create does: system-error with EEXIST if NAME is taken,
out-of-range for an invalid CAPACITY, or one larger than that of a channel to
attach to; and &shm-format-error if EXISTS is attach and the object has
something else in it."
  (define subr "shm-channel-create")
  (require-shm subr name)
  (let* ((size (+ shm-channel-header-size (ring-size subr capacity)))
         (deadline (deadline-after subr (or timeout initialization-patience)))
         (bv (create-memory subr name size #:mode mode #:exists exists
                            #:timeout timeout #:initialize shm-channel-init!))
         (ch (and bv (await-channel subr bv deadline))))
    (when (and ch (< (shm-channel-capacity ch) capacity))
      (scm-error 'out-of-range subr
                 "The channel ~A has a capacity of ~A bytes, not ~A"
                 (list (shown name) (shm-channel-capacity ch) capacity)
                 (list capacity)))
    ch))

(define* (shm-channel-attach name #:key wait)
  "Return the channel in the shared memory object NAME, which another process
created.  WAIT is a real number of seconds to wait for it; if it expires,
return #f.

Raise &shm-format-error if the object has something else in it, or part of a
channel, and system-error as shm-attach does, with ENOENT if there is no such
object and no WAIT."
  (define subr "shm-channel-attach")
  (require-shm subr name)
  (let* ((deadline (deadline-after subr (or wait 0)))
         (bv (attach-memory subr name #:writable? #t #:wait wait
                            #:raise-empty
                            (lambda ()
                              (raise-format subr "channel" (shown name) 0)))))
    (and bv (await-channel subr bv deadline))))

(define (await-channel subr bv deadline)
  "Return the channel in BV; if its creator has not initialized it yet, wait
for that until DEADLINE."
  (await-initialized bv deadline)
  (channel-in subr bv))

(define (shm-channel-map fd)
  "Return the channel in the object behind FD, a file descriptor or file port
open for reading and writing, which may be closed afterwards.

Raise &shm-format-error if the object has something else in it, and what
shm-map does."
  (define subr "shm-channel-map")
  (require-shm subr fd)
  (channel-in subr (with-errors-from subr fd (shm-map fd #:writable? #t))))

(define (shm-channel-init! bv)
  "Make the bytevector BV, usually a mapping, an empty channel.
shm-channel-header-size bytes of it are for the channel itself, the others, at
least 8, are the capacity, as for shm-channel-create.  Do this once, before any
thread uses it.

Raise out-of-range if BV is too short, or not at a multiple of 8 bytes."
  (%shm-channel-init! bv))

(define (shm-channel bv)
  "Return the channel in the bytevector BV, usually a mapping, that
shm-channel-init! made there.

Raise &shm-format-error if there is none."
  (unless (bytevector? bv)
    (wrong-type "shm-channel" "bytevector" bv))
  (channel-in "shm-channel" bv))

(define (shm-channel-close! ch)
  "Close the channel CH, so that nothing more can be sent to it.  What was sent
before can still be received; then, receivers get the end-of-file object.
Blocked senders raise &shm-closed.  Return #t, or #f if the channel was closed
before.

The object and its name remain: see shm-unlink.  Raise &shm-format-error if
there is no channel any more."
  (%shm-channel-close! (bytevector-of "shm-channel-close!" ch)))

(define (shm-channel-closed? ch)
  "Return #t if the channel CH was closed, else #f.

Raise &shm-format-error if there is no channel any more."
  (%shm-channel-closed? (bytevector-of "shm-channel-closed?" ch)))

(define (shm-channel-capacity ch)
  "Return the capacity of the channel CH in bytes, as for shm-channel-create."
  ;; For the error if CH is not a channel.
  (bytevector-of "shm-channel-capacity" ch)
  (channel-size ch))

(define (shm-channel-statistics ch)
  "Return an association list of symbols that describes the channel CH.  Its
values are integers: capacity, in bytes; messages-in, bytes-in, messages-out
and bytes-out, how much was ever sent and received, bytes being those of the
messages alone; messages-in-flight and bytes-in-flight, how much was sent and
not yet received; waiting-senders and waiting-receivers, how many live threads
are blocked, at most 64 of each; and closed?, a boolean.  Other threads may
have changed all of it when this returns.

Raise &shm-format-error if there is no channel any more."
  (apply (lambda (messages-in bytes-in messages-out bytes-out senders receivers
                  closed?)
           `((capacity . ,(channel-size ch))
             (messages-in . ,messages-in)
             (bytes-in . ,bytes-in)
             (messages-out . ,messages-out)
             (bytes-out . ,bytes-out)
             (messages-in-flight . ,(- messages-in messages-out))
             (bytes-in-flight . ,(- bytes-in bytes-out))
             (waiting-senders . ,senders)
             (waiting-receivers . ,receivers)
             (closed? . ,closed?)))
         (%shm-channel-statistics
          (bytevector-of "shm-channel-statistics" ch))))


;;; Messages.

;; A procedure with keywords costs more to call, even if none is given; hence
;; the first clauses.

(define shm-channel-send!
  (case-lambda*
    "Send COUNT bytes of the bytevector BV from byte START on, by default all
from there, as a message to the channel CH.  If the channel is full, wait for
receivers.  TIMEOUT is a real number of seconds; without it, or if it is #f,
wait for ever.  Return #t once the message is sent, or #f if TIMEOUT expires.

Raise out-of-range for a message that is larger than the channel, or not within
BV; &shm-closed if the channel is closed; &shm-format-error if there is no
channel any more; and system-error with EDEADLK if this thread is in
call-with-shm-slot of CH, or would wait for itself."
    ((ch bv)
     (%shm-channel-send! (bytevector-of "shm-channel-send!" ch) bv 0 #f #f))
    ((ch bv #:optional (start 0) count #:key timeout)
     (%shm-channel-send! (bytevector-of "shm-channel-send!" ch) bv start count
                         timeout))))

(define shm-channel-receive!
  (case-lambda*
    "Receive the next message from the channel CH and return it, a new
bytevector.  No other receiver gets it.  If the channel is empty, wait for a
sender.  TIMEOUT is a real number of seconds; without it, or if it is #f, wait
for ever.  Return #f if TIMEOUT expires, and the end-of-file object if the
channel is closed and empty.

Raise &shm-format-error if there is no channel any more, or its contents are
invalid; system-error with EDEADLK if this thread is in call-with-shm-message
of CH, or would wait for itself."
    ((ch)
     (%shm-channel-receive! (bytevector-of "shm-channel-receive!" ch) #f))
    ((ch #:key timeout)
     (or-armed ch
               (%shm-channel-receive! (bytevector-of "shm-channel-receive!" ch)
                                      timeout)))))

(define shm-channel-receive-into!
  (case-lambda*
    "Receive the next message from the channel CH into the bytevector BV from
byte START on, and return how many bytes it has.  TIMEOUT, the result without a
message, and the exceptions are those of shm-channel-receive!.

Raise out-of-range if BV is too short; the message stays in the channel then."
    ((ch bv)
     (%shm-channel-receive-into!
      (bytevector-of "shm-channel-receive-into!" ch) bv 0 #f))
    ((ch bv #:optional (start 0) #:key timeout)
     (or-armed ch
               (%shm-channel-receive-into!
                (bytevector-of "shm-channel-receive-into!" ch) bv start
                timeout)))))


;;; Loaned messages.

(define* (call-with-shm-slot ch size proc #:key timeout timeout-value)
  "Send a message of SIZE bytes to the channel CH without copying it: call PROC
with a bytevector that is the message's slot in the channel, of any contents,
for PROC to fill.  When PROC returns, the message is sent, and the bytevector
is empty from then on.  Other senders wait meanwhile.  Return #t; or
TIMEOUT-VALUE, by default #f, without calling PROC, if the channel stays full
until TIMEOUT, as for shm-channel-send!, expires.  If PROC does not return,
nothing is sent.

Raise what shm-channel-send! and PROC raise."
  (let ((hold (%shm-hold-slot (bytevector-of "call-with-shm-slot" ch) size)))
    (check-procedure "call-with-shm-slot" proc)
    (with-hold hold
      (fill-slot hold proc timeout timeout-value))))

(define (fill-slot hold proc timeout timeout-value)
  (let ((slot (%shm-hold-begin! hold timeout)))
    (if slot
        (end-with hold
          (begin
            (proc slot)
            #t))
        (list timeout-value))))

(define* (call-with-shm-message ch proc #:key timeout timeout-value)
  "Receive a message from the channel CH without copying it: call PROC with a
bytevector that is the message in the channel, and return what PROC returns.
The message is gone then, and the bytevector is empty from then on.  Other
receivers wait meanwhile, and senders cannot use the message's memory.  Return
TIMEOUT-VALUE, by default #f, if TIMEOUT, as for shm-channel-receive!, expires,
and the end-of-file object if the channel is closed and empty.  If PROC does
not return, the message stays and is received next.

Raise what shm-channel-receive! and PROC raise."
  (let ((hold (%shm-hold-message (bytevector-of "call-with-shm-message" ch))))
    (check-procedure "call-with-shm-message" proc)
    (with-hold hold
      (use-message ch hold proc timeout timeout-value))))

(define (use-message ch hold proc timeout timeout-value)
  (let ((message (or-armed ch (%shm-hold-begin! hold timeout))))
    (if (bytevector? message)
        (end-with hold (proc message))
        (list (or message timeout-value)))))


;;; Data.

(define* (shm-channel-send-datum! ch datum #:key timeout)
  "Send DATUM as a message, in CBOR (RFC 8949): a number, string, symbol,
keyword, character, boolean, #nil, the unspecified value, a bytevector or
uniform vector; or a list, pair, vector or hash table of such data.  TIMEOUT and
the result are as for shm-channel-send!.

Raise wrong-type-arg if DATUM is something else, such as a procedure, or is
nested more than 10,000 deep, and what shm-channel-send! raises."
  (%shm-channel-send-datum! (bytevector-of "shm-channel-send-datum!" ch) datum
                            timeout))

(define* (shm-channel-receive-datum! ch #:key timeout timeout-value)
  "Return the datum that is the next message from the channel CH, in CBOR (RFC
8949).  TIMEOUT is as for shm-channel-receive!; if it expires, return
TIMEOUT-VALUE, by default #f.  Return the end-of-file object if the channel is
closed and empty.

Raise &shm-format-error if the message is not one datum; it is gone then.  Raise
what shm-channel-receive! raises."
  (let ((result (or-armed ch
                          (%shm-channel-receive-datum!
                           (bytevector-of "shm-channel-receive-datum!" ch)
                           timeout raise-not-datum))))
    (cond ((pair? result) (car result))
          ((eof-object? result) result)
          (else timeout-value))))

(define (raise-not-datum size reason offset)
  (raise-no-datum "shm-channel-receive-datum!" size reason offset))


;;; Ports.

(define (shm-channel-input-port ch)
  "Return a binary input port from which the bytes of all messages from the
channel CH are read, one after the other.  It ends when the channel is closed
and empty.  char-ready? tells whether reading would block, and may receive the
next message.  Closing the port does not close the channel.

Reading raises what shm-channel-receive! raises."
  (define bv (bytevector-of "shm-channel-input-port" ch))
  (define message #f)                   ; what is left of it, from OFFSET on
  (define offset 0)
  (define (ready?)
    (or (eof-object? message)
        (and message (< offset (bytevector-length message)))))
  (define (receive! timeout)
    ;; After an exception nothing is read twice.
    (set! message #f)
    (set! message (%shm-channel-receive! bv timeout))
    (set! offset 0)
    message)
  (define (read! target start count)
    (cond ((not (ready?))
           (receive! #f)
           (read! target start count))
          ((eof-object? message) 0)
          (else
           (let ((n (min count (- (bytevector-length message) offset))))
             (bytevector-copy! message offset target start n)
             (set! offset (+ offset n))
             n))))
  (define (ready-now? tries)
    ;; Others may send empty messages for ever.
    (or (ready?)
        (and (positive? tries)
             (receive! 0)
             (ready-now? (- tries 1)))))
  (%shm-channel-input-port read! (lambda () (ready-now? 100))))

(define (shm-channel-output-port ch)
  "Return a binary output port that sends the bytes written to it to the
channel CH, in messages, when its buffer is full or it is flushed: see
force-output and setvbuf.  Closing the port does not close the channel.

Writing raises what shm-channel-send! raises."
  (define bv (bytevector-of "shm-channel-output-port" ch))
  (define largest (- (channel-size ch) shm-message-header-size))
  (when (zero? largest)
    (scm-error 'out-of-range "shm-channel-output-port"
               "A channel of ~A bytes carries only empty messages"
               (list (channel-size ch)) (list ch)))
  (define (write! source start count)
    (let ((n (min count largest)))
      (when (> n 0)
        (%shm-channel-send! bv source start n #f))
      n))
  (make-custom-binary-output-port "shm-channel" write! #f #f #f))

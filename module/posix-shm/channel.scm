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
  #:use-module (posix-shm atomic)
  #:use-module (posix-shm datum)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm mapping)
  #:use-module (posix-shm object)
  #:use-module (posix-shm poll)
  #:use-module (posix-shm primitives)
  #:use-module ((rnrs bytevectors)
                #:select (bytevector-copy!
                          bytevector-length
                          bytevector?
                          string->utf8))
  #:re-export (;; Sizes.
               shm-channel-header-size
               shm-message-header-size

               ;; Conditions.
               &shm-closed
               shm-closed?
               &shm-format
               shm-format-error?)
  #:export (;; Channels.
            shm-channel?
            shm-channel-create
            shm-channel-attach
            shm-channel-init!
            shm-channel
            shm-channel-close!
            shm-channel-statistics

            ;; Messages.
            shm-channel-send!
            shm-channel-receive!
            shm-channel-receive-into!

            ;; Messages in place.
            call-with-shm-slot
            call-with-shm-message

            ;; Data.
            shm-channel-send-datum!
            shm-channel-receive-datum!

            ;; Ports.
            shm-channel-input-port
            shm-channel-output-port))


;;; Channels.

;; As the accessor that make-record-type offers, in line.
(define-syntax-rule (channel-bytevector channel)
  (struct-ref channel 0))

(define <shm-channel>
  (make-record-type
   '<shm-channel> '(bytevector size)
   (lambda (channel port)
     (format port "#<shm-channel of ~a bytes in ~a>" (channel-size channel)
             (%shm-describe (channel-bytevector channel))))))

(define make-channel (record-constructor <shm-channel>))
(define channel-size (record-accessor <shm-channel> 'size))

(define-syntax-rule (channel? object)
  ;; Likewise, the predicate.
  (and (struct? object)
       (eq? (struct-vtable object) <shm-channel>)))

(define (shm-channel? object)
  "Return #t if OBJECT, any object, is a channel, else #f."
  (channel? object))

(define-syntax-rule (bytevector-of subr ch)
  ;; The bytevector that CH, the argument of SUBR, is in.
  (if (channel? ch)
      (channel-bytevector ch)
      (wrong-type subr
                  (if (bytevector? ch)
                      "channel, as (shm-channel bv) returns"
                      "channel")
                  ch)))

(define (channel-in subr bv)
  (make-channel bv (%shm-channel-size bv subr)))

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

(define* (shm-channel-create name capacity #:key (mode #o600))
  "Make the shared memory object NAME with an empty channel in it and return
the channel, to which others can attach by that name.  If NAME is #f there is
no name, and only children of this process share the channel.

CAPACITY, an integer of bytes that is at least 8, is the size of what can be
sent before something is received: of each message, rounded up to a multiple of
8, and 8 bytes more for each.  So the largest message has CAPACITY less 8
bytes.  MODE is as for @code{shm-create}.

Raise what @code{shm-create} does: @code{system-error} with @code{EEXIST} if
there is an object NAME, @code{out-of-range} for a CAPACITY that cannot be."
  (require-shm "shm-channel-create" name)
  (let ((size (+ shm-channel-header-size
                 (ring-size "shm-channel-create" capacity))))
    (channel-in "shm-channel-create"
                (if name
                    (with-errors-from "shm-channel-create" name
                      (shm-create name size #:mode mode
                                  #:initialize shm-channel-init!))
                    (anonymous size)))))

(define (anonymous size)
  (define label "guile-shm-channel")
  (with-errors-from "shm-channel-create" label
    ;; A signal's handler that leaves by an exception leaves no descriptor.
    (call-with-blocked-asyncs
     (lambda ()
       (let ((fd (shm-open-anonymous #:size size #:label label)))
         (dynamic-wind
           (const #t)
           (lambda ()
             (let ((bv (shm-map fd)))
               (shm-channel-init! bv)
               bv))
           (lambda () (close-fdes fd))))))))

(define* (shm-channel-attach name #:key wait)
  "Return the channel in the shared memory object NAME, which another process
has made.  WAIT is a real number of seconds to wait for it; if there is none in
time, return #f.

Raise @code{&shm-format} if there is something else in the object, or part of a
channel, and @code{system-error} as @code{shm-attach} does, with @code{ENOENT}
if there is no such object and no WAIT."
  (define subr "shm-channel-attach")
  (define (begun? bv)
    ;; The first word of an object is 0 until its creator initializes it.
    (and (>= (bytevector-length bv) 8)
         (not (zero? (atomic-u64-ref bv 0)))))
  (require-shm subr name)
  (let* ((deadline (deadline-after subr wait))
         (bv (catch 'out-of-range
               (lambda ()
                 (with-errors-from subr name
                   (shm-attach name #:writable? #t #:wait wait)))
               (lambda arguments
                 (if wait
                     (apply throw arguments)
                     ;; The object is empty.
                     (raise-format subr "channel" (shown name) 0))))))
    ;; Test BV before the loop: Guile 3.0.10 hoists the load of its length.
    (and bv
         (begin
           (when wait
             (poll-until deadline (lambda () (begun? bv))))
           (channel-in subr bv)))))

(define (shm-channel-init! bv)
  "Make the bytevector BV, usually a mapping, an empty channel.  Of its bytes
@code{shm-channel-header-size} are for the channel itself, the others, at least
8, are the capacity, as for @code{shm-channel-create}.  Do this once, before
any thread uses it.

Raise @code{out-of-range} if there are too few bytes, or if they are not at a
multiple of 8."
  (%shm-channel-init! bv))

(define (shm-channel bv)
  "Return the channel in the bytevector BV, usually a mapping, that
@code{shm-channel-init!} made there.

Raise @code{&shm-format} if there is none."
  (unless (bytevector? bv)
    (wrong-type "shm-channel" "bytevector" bv))
  (channel-in "shm-channel" bv))

(define (shm-channel-close! ch)
  "Close the channel CH, so that nothing more can be sent to it.  What was sent
before can still be received; then, receivers get the end-of-file object.
Senders that wait raise @code{&shm-closed}.  Return #t, or #f if the channel
was closed before.

The object and its name stay: see @code{shm-unlink}.  Raise @code{&shm-format}
if the channel is no more."
  (%shm-channel-close! (bytevector-of "shm-channel-close!" ch)))

(define (shm-channel-statistics ch)
  "Return what there is to know of the channel CH, an association list of
symbols.  Its values are integers: @code{capacity}, in bytes;
@code{messages-in}, @code{bytes-in}, @code{messages-out} and @code{bytes-out},
how much was ever sent and received, bytes being those of the messages alone;
@code{messages-in-flight} and @code{bytes-in-flight}, how much was sent and not
received yet; @code{waiting-senders} and @code{waiting-receivers}, how many
threads that live sleep until they can go on, at most 64 of each; and
@code{closed?}, a boolean.  Others may have changed all this when it returns.

Raise @code{&shm-format} if the channel is no more."
  (apply (lambda (capacity messages-in bytes-in messages-out bytes-out senders
                           receivers closed?)
           `((capacity . ,capacity)
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

;; A procedure with keywords costs more to call, even where none is given;
;; hence the first clauses.

(define shm-channel-send!
  (case-lambda*
    "Send a message to the channel CH: COUNT bytes of the bytevector BV from
START on, by default all from there.  If there is no room for it, wait until
there is.  TIMEOUT is a real number of seconds; without it, or if it is #f,
wait for ever.  Return #t once the message is sent, or #f if TIMEOUT is over
and it is not.

Raise @code{out-of-range} for a message that the channel can never hold, or
that is not within BV; @code{&shm-closed} if the channel is closed;
@code{&shm-format} if there is no channel any more; and @code{system-error}
with @code{EDEADLK} if this thread has a slot of it, or would wait for itself."
    ((ch bv)
     (%shm-channel-send! (bytevector-of "shm-channel-send!" ch) bv 0 #f #f #f))
    ((ch bv #:optional (start 0) count #:key timeout)
     (%shm-channel-send! (bytevector-of "shm-channel-send!" ch) bv start count
                         timeout #f))))

(define shm-channel-receive!
  (case-lambda*
    "Return the next message from the channel CH, a new bytevector, that no
other receiver gets.  If there is none, wait for one.  TIMEOUT is a real number
of seconds; without it, or if it is #f, wait for ever.  Return #f if TIMEOUT is
over, and the end-of-file object if the channel is closed and nothing is left
in it.

Raise @code{&shm-format} if there is no channel any more, or nonsense in it;
@code{system-error} with @code{EDEADLK} if this thread has a message of it in
place, or would wait for itself."
    ((ch)
     (%shm-channel-receive! (bytevector-of "shm-channel-receive!" ch) #f #f))
    ((ch #:key timeout)
     (%shm-channel-receive! (bytevector-of "shm-channel-receive!" ch) timeout
                            #f))))

(define shm-channel-receive-into!
  (case-lambda*
    "Store the next message from the channel CH in the bytevector BV from the
byte START on, and return how many bytes it has.  TIMEOUT, what is returned
without a message, and what is raised, are as for @code{shm-channel-receive!}.

Raise @code{out-of-range} if there is not enough room in BV; the message stays
in the channel then."
    ((ch bv)
     (%shm-channel-receive-into!
      (bytevector-of "shm-channel-receive-into!" ch) bv 0 #f))
    ((ch bv #:optional (start 0) #:key timeout)
     (%shm-channel-receive-into!
      (bytevector-of "shm-channel-receive-into!" ch) bv start timeout))))


;;; Messages in place.

(define (in-place subr bv sender? begin-it proc end-it)
  "Call BEGIN-IT, and with the message in place that it returns PROC; then
END-IT with that; return what PROC returns.  If BEGIN-IT returns something else
return that.  However PROC is left, the message is not in place after that."
  (define view #f)
  (define entered? #f)
  (define (enter)
    (when entered?
      (scm-error 'misc-error subr
                 "A continuation was entered again, where a message was \
in place"
                 '() #f)))
  (define ended? #f)
  (define (leave)
    (unless ended?
      (%shm-channel-leave! bv view sender?)))
  (when (%shm-channel-mine? bv sender?)
    ;; This raises, before there is something to leave.
    (begin-it))
  ;; Twice, since a signal's handler may leave by an exception at any place.
  (dynamic-wind
    enter
    (lambda ()
      (dynamic-wind
        (const #t)
        (lambda ()
          (set! entered? #t)
          (set! view (begin-it))
          (if (bytevector? view)
              (call-with-values (lambda () (proc view))
                (lambda results
                  (end-it view)
                  (set! ended? #t)
                  (apply values results)))
              (begin
                (set! ended? #t)
                view)))
        leave))
    leave))

(define* (call-with-shm-slot ch size proc #:key timeout)
  "Send a message of SIZE bytes to the channel CH without copying it: call PROC
with a bytevector that is the message's place, holding anything, for PROC to
fill.  It is sent when PROC returns, and the bytevector is empty from then on.
Other senders wait meanwhile.  Return #t; or #f, without calling PROC, if there
is no room before TIMEOUT, as for @code{shm-channel-send!}, is over.  If PROC
does not return, nothing is sent.

Raise what @code{shm-channel-send!} and PROC raise."
  (let ((bv (bytevector-of "call-with-shm-slot" ch))
        (sent? #f))
    (check-procedure "call-with-shm-slot" proc)
    (in-place "call-with-shm-slot" bv #t
              (lambda () (%shm-channel-begin-slot! bv size timeout))
              (lambda (view)
                (proc view)
                (set! sent? #t))
              (lambda (view) (%shm-channel-end-slot! bv view size)))
    sent?))

(define* (call-with-shm-message ch proc #:key timeout)
  "Receive a message from the channel CH without copying it: call PROC with a
bytevector that is the message, and return what PROC returns.  The message is
gone then, and the bytevector is empty from then on.  Other receivers wait
meanwhile, and senders have the message's bytes less room.  Without a message,
return what @code{shm-channel-receive!} does; TIMEOUT is as there.  If PROC
does not return, the message stays and is received next.

Raise what @code{shm-channel-receive!} and PROC raise."
  (let ((bv (bytevector-of "call-with-shm-message" ch)))
    (check-procedure "call-with-shm-message" proc)
    (in-place "call-with-shm-message" bv #f
              (lambda () (%shm-channel-begin-message! bv timeout))
              proc
              (lambda (view) (%shm-channel-end-message! bv view)))))


;;; Data.

(define* (shm-channel-send-datum! ch datum #:key timeout)
  "Send DATUM, what @code{write} writes and @code{read} reads back: numbers,
strings, symbols, lists, vectors, bytevectors and the like.  The message is its
text in UTF-8.  TIMEOUT and what is returned are as for
@code{shm-channel-send!}.

Raise @code{wrong-type-arg} if what is read back is not @code{equal?} to DATUM,
as for a procedure, and what @code{shm-channel-send!} raises."
  (let ((bv (bytevector-of "shm-channel-send-datum!" ch)))
    (%shm-channel-send! bv (string->utf8 (datum->text datum)) 0 #f timeout
                        #t)))

(define* (shm-channel-receive-datum! ch #:key timeout timeout-value)
  "Return the datum that is the next message from the channel CH, which is read
without evaluating anything.  TIMEOUT is as for @code{shm-channel-receive!}; if
it is over, return TIMEOUT-VALUE, by default #f.  Return the end-of-file object
if the channel is closed and nothing is left in it.

Raise @code{&shm-format} if the message is not one datum; it is gone then.
Raise what @code{shm-channel-receive!} raises."
  (let* ((bv (bytevector-of "shm-channel-receive-datum!" ch))
         (message (%shm-channel-receive! bv timeout #t)))
    (cond ((not message) timeout-value)
          ((eof-object? message) message)
          ((and=> (bytes->text message) read-all) => car)
          (else
           (raise-no-datum "shm-channel-receive-datum!"
                           (bytevector-length message))))))


;;; Ports.

(define (shm-channel-input-port ch)
  "Return a binary input port from which the bytes of all messages from the
channel CH are read, one after the other.  It ends when the channel is closed
and nothing is left in it.  @code{char-ready?} tells whether reading would
wait; it may receive the next message.  Closing the port does not close the
channel.

Reading raises what @code{shm-channel-receive!} raises."
  (define bv (bytevector-of "shm-channel-input-port" ch))
  (define message #f)                   ; what is left of it, from OFFSET on
  (define offset 0)
  (define (ready?)
    (or (eof-object? message)
        (and message (< offset (bytevector-length message)))))
  (define (receive! timeout)
    ;; What is raised here leaves nothing to be read twice.
    (set! message #f)
    (set! message (%shm-channel-receive! bv timeout #f))
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
@code{force-output} and @code{setvbuf}.  Closing the port does not close the
channel.

Writing raises what @code{shm-channel-send!} raises."
  (define bv (bytevector-of "shm-channel-output-port" ch))
  (define largest (- (channel-size ch) shm-message-header-size))
  (when (zero? largest)
    (scm-error 'out-of-range "shm-channel-output-port"
               "A channel of ~A bytes carries only empty messages"
               (list (channel-size ch)) (list ch)))
  (define (write! source start count)
    (let ((n (min count largest)))
      (when (> n 0)
        (%shm-channel-send! bv source start n #f #f))
      n))
  (make-custom-binary-output-port "shm-channel" write! #f #f #f))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm fibers) - sending and receiving, as operations of guile-fibers.

;;; Commentary:
;;;
;;; For perform-operation, choice-operation and wrap-operation of (fibers
;;; operations), beside timers and fibers' own channels.  The manual is in Info:
;;; info guile-shm Fibers.
;;;
;;; Code:

(define-module (posix-shm fibers)
  #:use-module (ice-9 atomic)
  #:use-module (ice-9 match)
  #:use-module (ice-9 threads)
  #:use-module (posix-shm broadcast)
  #:use-module (posix-shm channel)
  #:use-module (posix-shm exceptions)
  #:use-module ((posix-shm object) #:select (without-asyncs))
  #:use-module (posix-shm source)
  #:use-module ((srfi srfi-1) #:select (find partition remove))
  #:use-module (srfi srfi-9)
  #:use-module ((srfi srfi-11) #:select (let-values))
  #:export (shm-receive-operation
            shm-receive-datum-operation
            shm-send-operation
            shm-send-datum-operation))

;; Looked up when this is loaded, so that it can be compiled without fibers.
(define (from module name)
  (resolve-interface module)            ; says what is missing
  (eval name (resolve-module module)))  ; NAME may be a macro

(define make-base-operation
  (from '(fibers operations) 'make-base-operation))
(define schedule-task-when-fd-readable
  (from '(fibers scheduler) 'schedule-task-when-fd-readable))
(define spawn-fiber (from '(fibers) 'spawn-fiber))
(define fibers-sleep (from '(fibers timers) 'sleep))


;;; Attempts.

;; An operation of a fiber, or of a thread that runs no fibers, which has found
;; nothing at once.  FLAG is an atomic box: W while the operation waits, C while
;; one of a choice is attempted, S when one is done.  TRY returns a thunk that
;; returns the result, or #f.  RESUME gets that thunk.
(define-record-type <attempt>
  (make-attempt scheduler flag try resume)
  attempt?
  (scheduler attempt-scheduler)
  (flag attempt-flag)
  (try attempt-try)
  (resume attempt-resume))

(define (over? attempt)
  (eq? (atomic-box-ref (attempt-flag attempt)) 'S))

(define (thunk-or-raiser try)
  "Return what TRY returns, or a thunk that raises what TRY raises."
  (with-exception-handler (lambda (e) (lambda () (raise-exception e)))
    try
    #:unwind? #t))

(define* (attempt! attempt #:optional (try (attempt-try attempt)))
  "Return #t, or #f if it has to be attempted again.  What TRY raises is raised
where the operation is performed."
  (match attempt
    (($ <attempt> _ flag _ resume)
     ;; No other fiber of this thread may find the flag C: it would spin.
     (without-asyncs
      (match (atomic-box-compare-and-swap! flag 'W 'C)
        ('W
         (let ((thunk (thunk-or-raiser try)))
           (atomic-box-set! flag (if thunk 'S 'W))
           (when thunk
             (resume thunk))
           (->bool thunk)))
        ('C #f)
        ('S #t))))))

(define (wait-or-fail attempt wait)
  "Call WAIT.  What it raises is raised where the operation of ATTEMPT is
performed."
  (match (thunk-or-raiser (lambda () (wait) #f))
    (#f #t)
    (raiser
     (let again ()
       (unless (attempt! attempt (const raiser))
         (again))))))


;;; Waiting for a source.

;; SOURCE is a copy, with a port of its own, which a program cannot close.
;; ATTEMPTS wait for its port, the newest first.  A scheduler waits once, so
;; that operations which were not chosen leave little behind, however many.
(define-record-type <queue>
  (make-queue source attempts)
  queue?
  (source queue-source)
  (attempts queue-attempts set-queue-attempts!))

(define queues (make-weak-key-hash-table)) ; by source; none refers to it
(define mutex (make-mutex))

(define (queue-of source)
  (exclusively mutex
    (or (hashq-ref queues source)
        (let ((queue (make-queue (copy-source source) '())))
          (hashq-set! queues source queue)
          queue))))

(define (of-scheduler scheduler)
  (lambda (attempt)
    (eq? (attempt-scheduler attempt) scheduler)))

(define (add-attempt! queue scheduler attempt)
  "Let SCHEDULER, that of this thread, run ATTEMPT when the source of QUEUE may
have a message."
  (define port (shm-ready-port (queue-source queue)))
  (unless (find (of-scheduler scheduler) (queue-attempts queue))
    ;; This may raise an exception.
    (schedule-task-when-fd-readable
     scheduler (fileno port)
     (lambda () (run-attempts! queue scheduler))))
  (exclusively mutex
    (set-queue-attempts! queue
                         (cons attempt
                               (remove over? (queue-attempts queue))))))

(define (take-attempts! queue scheduler)
  "Return those of SCHEDULER, the newest first."
  (exclusively mutex
    (let-values (((ours others)
                  (partition (of-scheduler scheduler) (queue-attempts queue))))
      (set-queue-attempts! queue others)
      ours)))

(define (run-attempts! queue scheduler)
  (match (remove attempt! (reverse (take-attempts! queue scheduler)))
    (() #t)
    (again
     (for-each (lambda (attempt)
                 (wait-or-fail attempt
                               (lambda ()
                                 (add-attempt! queue scheduler attempt))))
               again))))


;;; Operations.

(define-syntax-rule (in-thread body ...)
  ;; For a thread that performs an operation and runs no fibers.
  (call-with-new-thread (lambda () body ...)))

(define (receive-operation source receive)
  "Return an operation that receives from SOURCE, by RECEIVE, which returns a
thunk that returns what it received, or #f."
  (define queue (queue-of source))
  (define (try)
    (receive (queue-source queue)))
  (make-base-operation
   #f
   try
   (lambda (flag scheduler resume)
     (let ((attempt (make-attempt scheduler flag try resume)))
       (if scheduler
           (wait-or-fail attempt
                         (lambda ()
                           (add-attempt! queue scheduler attempt)))
           (in-thread
            (let again ()
              (unless (attempt! attempt)
                (wait-or-fail attempt
                              (lambda ()
                                (shm-select (list (queue-source queue))
                                            #:timeout 0.05)))
                (again)))))))))

;; No thread wakes one that does not block: try again after these times, in
;; seconds.
(define first-pause 0.001)
(define longest-pause 0.01)

(define (send-operation try)
  (make-base-operation
   #f
   try
   (lambda (flag scheduler resume)
     (let ((attempt (make-attempt scheduler flag try resume)))
       (define (attempt-with sleep)
         (let again ((pause first-pause))
           (unless (attempt! attempt)
             (sleep pause)
             (again (min longest-pause (* 2 pause))))))
       (if scheduler
           (spawn-fiber (lambda () (attempt-with fibers-sleep)) scheduler)
           (in-thread
            (attempt-with (lambda (pause)
                            (usleep (inexact->exact (* pause 1e6)))))))))))

(define (check-channel subr object)
  (unless (shm-channel? object)
    (wrong-type subr "channel" object)))

(define (shm-receive-operation source)
  "Return an operation that receives a message from SOURCE, a channel or
subscriber, as shm-channel-receive! and shm-broadcast-receive! do: its value is
a new bytevector, or the end-of-file object.  If another operation of a choice
is done, none is received.

Performing it raises what these raise."
  (check-source "shm-receive-operation" source)
  (let ((receive! (if (shm-channel? source)
                      shm-channel-receive!
                      shm-broadcast-receive!)))
    (receive-operation source
                       (lambda (source)
                         (let ((message (receive! source #:timeout 0)))
                           (and message (lambda () message)))))))

(define (shm-receive-datum-operation source)
  "Return an operation that receives a message from SOURCE, a channel or
subscriber, as shm-channel-receive-datum! and shm-broadcast-receive-datum! do:
its value is a datum, or the end-of-file object.  If another operation of a
choice is done, none is received.

Performing it raises what these raise."
  (check-source "shm-receive-datum-operation" source)
  (let ((receive! (if (shm-channel? source)
                      shm-channel-receive-datum!
                      shm-broadcast-receive-datum!))
        (none (list 'none)))
    (receive-operation source
                       (lambda (source)
                         (let ((datum (receive! source #:timeout 0
                                                #:timeout-value none)))
                           (and (not (eq? datum none))
                                (lambda () datum)))))))

(define* (shm-send-operation ch bv #:optional (start 0) count)
  "Return an operation that sends COUNT bytes of the bytevector BV from byte
START on, all by default, to the channel CH, as shm-channel-send! does: its
value is #t.  If another operation of a choice is done, nothing is sent.  While
the channel is full, it is attempted again each 1 to 10 ms.

Performing it raises what shm-channel-send! raises."
  (check-channel "shm-send-operation" ch)
  (send-operation
   (lambda ()
     (and (if count
              (shm-channel-send! ch bv start count #:timeout 0)
              (shm-channel-send! ch bv start #:timeout 0))
          (const #t)))))

(define (shm-send-datum-operation ch datum)
  "Return an operation that sends DATUM to the channel CH, as
shm-channel-send-datum! does: its value is #t.  If another operation of a choice
is done, nothing is sent.  While the channel is full, it is attempted again each
1 to 10 ms.

Performing it raises what shm-channel-send-datum! raises."
  (check-channel "shm-send-datum-operation" ch)
  (send-operation
   (lambda ()
     (and (shm-channel-send-datum! ch datum #:timeout 0)
          (const #t)))))

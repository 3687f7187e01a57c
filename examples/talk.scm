;;; SPDX-License-Identifier: BSD-3-Clause
;;; talk.scm - two terminals that talk.
;;;
;;; Usage: guile talk.scm NAME
;;;
;;; Start this in two terminals, with the same NAME, such as /talk, and type.
;;; Each line that you type in one is shown in the other.  Ctrl-D ends what you
;;; have to say; when both have done so, both programs end.
;;;
;;; The first one makes a shared memory object with two channels, one for each
;;; direction.  The second removes the name when it has the channels, so that
;;; NAME is free for others.

(use-modules ((ice-9 format) #:select (format))
             (ice-9 match)
             ((ice-9 rdelim) #:select (read-line))
             (ice-9 threads)
             (posix-shm)
             (posix-shm channel))

(define-shm-layout talk
  (to-second (channel 65536))
  (to-first (channel 65536)))

(define (say message . arguments)
  (format #t "~?~%" message arguments)
  (force-output))

(define (converse out in)
  "Send what is read by the channel OUT, and show what comes by IN."
  (define listener
    (call-with-new-thread
     (lambda ()
       (let next ()
         (match (shm-channel-receive-datum! in)
           ((? eof-object?) (say "(The other side has no more to say.)"))
           (line (say "> ~a" line) (next)))))))
  (let next ()
    (match (read-line)
      ((? eof-object?) (shm-channel-close! out))
      (line (shm-channel-send-datum! out line) (next))))
  (join-thread listener))

(define (begin-talk name)
  ;; Remove the name at the end if no other process has.
  (call-with-shm name #f
    (lambda (bv)
      (say "(You are the first.)")
      (converse (talk-to-second bv) (talk-to-first bv)))
    #:layout talk))

(define (join-talk name)
  (let ((bv (shm-attach name #:writable? #t #:layout talk)))
    (shm-unlink name)
    (say "(You are the second.)")
    (converse (talk-to-first bv) (talk-to-second bv))))

(define (main name)
  ;; By Ctrl-C, too, leave in order.
  (sigaction SIGINT (lambda (signal) (exit 130)))
  (catch 'system-error
    (lambda () (begin-talk name))
    (lambda arguments
      (if (= (system-error-errno arguments) EEXIST)
          (join-talk name)
          (apply throw arguments)))))

(match (command-line)
  ((_ (? (lambda (name) (string-prefix? "/" name)) name))
   (main name))
  (_
   (format (current-error-port) "Usage: guile talk.scm /NAME~%")
   (exit 2)))

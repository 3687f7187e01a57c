;;; SPDX-License-Identifier: BSD-3-Clause
;;; telemetry.scm - a feed that any number of processes read, from any time on.
;;;
;;; Usage: guile telemetry.scm
;;;
;;; A probe sends readings.  One subscriber is there from the beginning; one
;;; comes late, and begins with the oldest reading that is still there; one is
;;; slow, and looks only at the newest.  The probe waits for none of them.

(use-modules (ice-9 format)
             (ice-9 match)
             (posix-shm)
             (posix-shm broadcast))

;; Children of this process share it.
(define feed (shm-broadcast-create #f 4096))

(define (probe)
  (do ((i 0 (+ i 1)))
      ((= i 300))
    (shm-broadcast-send-datum! feed (list 'reading i (* 0.1 i)))
    (usleep 500))
  (shm-broadcast-close! feed))

(define (follow name subscriber)
  "Receive all that SUBSCRIBER can, and report that as NAME."
  (let next ((received 0))
    (match (shm-broadcast-receive-datum! subscriber)
      (('reading i value) (next (+ received 1)))
      ((? eof-object?)
       (format #t "~a: ~a received, ~a missed~%" name received
               (shm-broadcast-missed subscriber))))))

(define (glance name subscriber)
  (let next ((glances 1))
    (shm-broadcast-latest subscriber)
    (usleep 20000)
    (match (shm-broadcast-receive-datum! subscriber #:timeout 0)
      ((? eof-object?) (format #t "~a: saw the end~%" name))
      (_ (next (+ glances 1))))))

(define (start thunk)
  (match (primitive-fork)
    (0 (dynamic-wind
         (const #t)
         (lambda () (thunk) (force-output))
         (lambda () (primitive-_exit 0))))
    (pid pid)))

(define early (shm-broadcast-subscribe feed))
(define pids
  (list (start probe)
        (start (lambda () (follow "early" early)))
        (start (lambda ()
                 (sleep 1)              ; the probe is done by then
                 (follow "late" (shm-broadcast-subscribe feed #:from 'oldest))))
        (start (lambda () (glance "slow" (shm-broadcast-subscribe feed))))))
(for-each waitpid pids)

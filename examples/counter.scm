;;; SPDX-License-Identifier: BSD-3-Clause
;;; counter.scm - a count that stays right though processes are killed.
;;;
;;; Usage: guile counter.scm [KILLS]
;;;
;;; Four workers count, each its own number and, in a second step, the total.
;;; A mutex guards both.  The parent kills KILLS of them, by default 20, one
;;; after the other and at any instant, as kill -9 does, and starts others
;;; instead.  The next owner of the mutex is told that the last one died, and
;;; recovers the data, which may be inconsistent.

(use-modules (ice-9 format)
             (ice-9 match)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm sync)
             (srfi srfi-4))

(define-shm-layout counter
  (lock mutex)
  (total u64)                           ; guarded by the lock
  (own u64 4)                           ; likewise: what each worker counted
  (recoveries u64)                      ; likewise
  (said u64)                            ; what the workers say that they counted
  (stop u64))                           ; whether to stop

(define workers 4)

(define (sum bv)
  (apply + (u64vector->list (counter-own bv))))

(define (recover! bv)
  ;; The dead owner may have counted its own number and not yet the total.
  (set-counter-total! bv (sum bv))
  (set-counter-recoveries! bv (+ 1 (counter-recoveries bv))))

(define (count! bv i)
  (with-shm-mutex bv counter-lock-offset
    #:on-abandoned (lambda () (recover! bv))
    (let ((own (counter-own bv)))
      (u64vector-set! own i (+ 1 (u64vector-ref own i))))
    (usleep 100)                        ; a good time to be killed
    (set-counter-total! bv (+ 1 (counter-total bv)))))

(define (work bv i parent)
  (let again ()
    ;; Nor go on for a parent that was killed itself.
    (when (and (zero? (atomic-u64-ref bv counter-stop-offset))
               (= parent (getppid)))
      (count! bv i)
      (atomic-u64-fetch-add! bv counter-said-offset 1)
      (again))))

(define (start-worker bv i)
  "Start a process that is worker number I, and return its id."
  (let ((parent (getpid)))
    (match (primitive-fork)
      (0
       (dynamic-wind
         (const #t)
         (lambda () (work bv i parent) (primitive-_exit 0))
         (lambda () (primitive-_exit 1))))
      (pid pid))))

(define (main kills)
  (let* ((bv (shm-create #f #f #:layout counter))
         (pids (make-vector workers)))
    (define (start! i)
      (vector-set! pids i (start-worker bv i)))
    (for-each start! (iota workers))
    (set! *random-state* (random-state-from-platform))
    (do ((n 0 (+ n 1)))
        ((= n kills))
      (usleep (random 20000))
      (let* ((i (random workers))
             (pid (vector-ref pids i)))
        (kill pid SIGKILL)
        (waitpid pid)
        (start! i)))
    (atomic-u64-set! bv counter-stop-offset 1)
    (for-each waitpid (vector->list pids))
    (report bv kills)))

(define (report bv kills)
  (with-shm-mutex bv counter-lock-offset
    #:on-abandoned (lambda () (recover! bv))
    (let ((total (counter-total bv))
          (said (counter-said bv)))
      (format #t "~d worker~:p ~:*~[were~;was~:;were~] killed, ~
                  ~d of them while counting.~%"
              kills (counter-recoveries bv))
      (format #t "They said that they counted ~d; the total is ~d.~%"
              said total)
      ;; Each that was killed may have counted one of which it said nothing.
      (cond ((and (= total (sum bv))
                  (<= said total (+ said kills)))
             (display "Nothing was lost.\n"))
            (else
             (display "That is wrong!\n")
             (exit 1))))))

(match (command-line)
  ((_) (main 20))
  ((_ (= string->number (? exact-integer? (? (negate negative?) kills))))
   (main kills))
  (_
   (format (current-error-port) "Usage: guile counter.scm [KILLS]~%")
   (exit 2)))

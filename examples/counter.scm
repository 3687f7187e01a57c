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
             (rnrs bytevectors))

(define workers 4)

;; Offsets of the mutex; of the data that it guards: the total, the number of
;; recoveries, and a number for each worker; and of data that it does not guard:
;; how much the workers say that they counted, and whether to stop.
(define mutex-k 0)
(define total-k shm-mutex-size)
(define recovered-k (+ total-k 8))
(define said-k (+ recovered-k 8))
(define stop-k (+ said-k 8))
(define (own-k i) (+ stop-k 8 (* 8 i)))
(define size (own-k workers))

(define (make-shared)
  "Return anonymous shared memory with a mutex in it."
  (shm-create #f size #:initialize (lambda (bv) (shm-mutex-init! bv mutex-k))))

(define (value bv k) (bytevector-u64-native-ref bv k))
(define (add-1! bv k) (bytevector-u64-native-set! bv k (+ 1 (value bv k))))

(define (sum bv)
  (apply + (map (lambda (i) (value bv (own-k i))) (iota workers))))

(define (recover! bv)
  ;; The dead owner may have counted its own number and not yet the total.
  (bytevector-u64-native-set! bv total-k (sum bv))
  (add-1! bv recovered-k))

(define (count! bv i)
  (with-shm-mutex bv mutex-k
    #:on-abandoned (lambda () (recover! bv))
    (add-1! bv (own-k i))
    (usleep 100)                        ; a good time to be killed
    (add-1! bv total-k)))

(define (work bv i parent)
  (let again ()
    ;; Nor go on for a parent that was killed itself.
    (when (and (zero? (atomic-u64-ref bv stop-k))
               (= parent (getppid)))
      (count! bv i)
      (atomic-u64-fetch-add! bv said-k 1)
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
  (let* ((bv (make-shared))
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
    (atomic-u64-set! bv stop-k 1)
    (for-each waitpid (vector->list pids))
    (report bv kills)))

(define (report bv kills)
  (with-shm-mutex bv mutex-k
    #:on-abandoned (lambda () (recover! bv))
    (let ((total (value bv total-k))
          (said (atomic-u64-ref bv said-k)))
      (format #t "~d worker~:p ~:*~[were~;was~:;were~] killed, ~
                  ~d of them while counting.~%"
              kills (value bv recovered-k))
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

;;; SPDX-License-Identifier: BSD-3-Clause
;;; killing.scm - processes that use everything and are killed at any instant.

;;; A killed process never harms the others: they go on, exclude each other,
;;; find inconsistent data only if they are told so, and are told each time.

(use-modules (ice-9 match)
             (posix-shm atomic)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define kills
  (or (and=> (getenv "GSHM_KILLS") string->number) 1000))

(define workers 5)

;; Where things are.
(define mutex 0)
(define condition 64)
(define semaphore 128)
(define rwlock 4096)
(define barrier 8192)
(define size 16384)

;; Words: what the mutex guards, two that are equal, and the worker
;; inside; the same for the read-write lock; how often a worker was told that a
;; mutex was abandoned; what went wrong; the progress of each worker.
(define-values (guarded other-guarded inside
                written other-written writer
                reports wrong progress)
  (apply values (map (lambda (i) (+ 12288 (* 64 i))) (iota 9))))

(define (initialize! bv)
  (shm-mutex-init! bv mutex)
  (shm-condition-variable-init! bv condition)
  (shm-semaphore-init! bv semaphore 0)
  (shm-rwlock-init! bv rwlock)
  (shm-barrier-init! bv barrier 3))

(define (progress-of bv i) (atomic-u64-ref bv (+ progress (* 8 i))))


;;; A worker.

(define (value bv k) (bytevector-u64-native-ref bv k))
(define (set-value! bv k n) (bytevector-u64-native-set! bv k n))

;; Make two words equal again.
(define (recover bv a b inside)
  (let ((n (max (value bv a) (value bv b))))
    (set-value! bv a n)
    (set-value! bv b n)
    (set-value! bv inside 0)))

(define (change bv me state a b inside)
  (set-value! bv inside (+ me 1))
  (set-value! bv a (+ 1 (value bv a)))
  (when (zero? (random 50 state)) (usleep (random 300 state)))
  (set-value! bv b (+ 1 (value bv b)))
  (set-value! bv inside 0))

;; End this process, and say WHAT was wrong, unless EXPRESSION holds.
(define-syntax-rule (check bv what expression)
  (unless expression
    (atomic-u64-compare-and-swap! bv wrong 0 what)
    (primitive-_exit 1)))

(define (report bv)
  (atomic-u64-fetch-add! bv reports 1)
  (recover bv guarded other-guarded inside))

(define (locked bv outcome)
  (match outcome
    ('abandoned (report bv))
    (#t
     ;; The death of a worker inside must have been reported.
     (check bv 1 (zero? (value bv inside)))
     (check bv 2 (= (value bv guarded) (value bv other-guarded))))
    (#f (check bv 3 #f))))

(define (entered bv outcome)
  (match outcome
    ('abandoned (recover bv written other-written writer))
    (#t
     (check bv 4 (zero? (value bv writer)))
     (check bv 5 (= (value bv written) (value bv other-written))))
    (#f (check bv 6 #f))))

(define patience 60)
(define moment 0.003)

(define (operations bv me state)
  "Return a vector of what the worker ME does, each a thunk."
  (define (change-guarded)
    (change bv me state guarded other-guarded inside))
  (define (change-written)
    (change bv me state written other-written writer))
  (vector
   (lambda ()
     (locked bv (shm-mutex-lock! bv mutex patience))
     (change-guarded)
     (shm-mutex-unlock! bv mutex))
   (lambda ()
     (with-shm-mutex bv mutex
       #:on-abandoned (lambda () (report bv)) #:timeout patience
       (locked bv #t)
       (change-guarded)))
   (lambda ()
     (match (shm-mutex-lock! bv mutex 0)
       (#f #t)
       (outcome
        (locked bv outcome)
        (change-guarded)
        (shm-mutex-unlock! bv mutex))))
   (lambda ()
     (locked bv (shm-mutex-lock! bv mutex patience))
     (match (shm-condition-variable-wait! bv condition mutex moment)
       ('abandoned (report bv))
       (_ (locked bv #t)))
     (change-guarded)
     (shm-mutex-unlock! bv mutex))
   (lambda () (shm-condition-variable-signal! bv condition))
   (lambda () (shm-condition-variable-broadcast! bv condition))
   (lambda ()
     (when (< (shm-semaphore-value bv semaphore) 100)
       (shm-semaphore-post! bv semaphore)))
   (lambda () (shm-semaphore-wait! bv semaphore moment))
   (lambda () (shm-barrier-wait! bv barrier moment))
   (lambda ()
     (entered bv (shm-rwlock-read-lock! bv rwlock patience))
     (when (zero? (random 50 state)) (usleep (random 300 state)))
     (check bv 7 (= (value bv written) (value bv other-written)))
     (shm-rwlock-unlock! bv rwlock))
   (lambda ()
     (entered bv (shm-rwlock-write-lock! bv rwlock patience))
     (change-written)
     (shm-rwlock-unlock! bv rwlock))
   (lambda ()
     (when (zero? (random 100 state)) (gc)))))

(define (work bv me)
  (let* ((state (seed->random-state
                 (format #f "~a ~a ~a" me (getpid) (gettimeofday))))
         (operations (operations bv me state)))
    (let loop ()
      ((vector-ref operations (random (vector-length operations) state)))
      (atomic-u64-fetch-add! bv (+ progress (* 8 me)) 1)
      (loop))))


;;; Killing.

(define (start-worker bv i)
  (start-process (lambda () (work bv i))))

(define (all-go-on? bv)
  "Wait until each worker has come on, and return #f if something went wrong."
  (let ((before (map (lambda (i) (progress-of bv i)) (iota workers))))
    (let again ()
      (cond ((not (zero? (atomic-u64-ref bv wrong))) #f)
            ((every (lambda (i n) (> (progress-of bv i) (+ n 5)))
                    (iota workers) before)
             #t)
            ;; A worker that ended by itself has failed.
            ((not (match (waitpid WAIT_ANY WNOHANG) ((pid . _) (zero? pid))))
             #f)
            (else
             (usleep 1000)
             (again))))))

(define (kill-some bv)
  (let ((pids (make-vector workers))
        (state (random-state-from-platform)))
    (for-each (lambda (i) (vector-set! pids i (start-worker bv i)))
              (iota workers))
    (let ((result
           (let next ((n 0))
             (cond ((= n kills) (all-go-on? bv))
                   ((and (zero? (modulo n 20)) (not (all-go-on? bv))) #f)
                   (else
                    (let ((victim (random workers state)))
                      (usleep (random 3000 state))
                      (and (killed? (vector-ref pids victim))
                           (begin
                             (vector-set! pids victim (start-worker bv victim))
                             (next (+ n 1))))))))))
      (every identity (cons result (map killed? (vector->list pids)))))))

(define (test-killing bv)
  (initialize! bv)
  (test-assert (format #f "~a are killed, the others go on" kills)
    (kill-some bv))
  (test-equal "nothing was wrong" 0 (atomic-u64-ref bv wrong))
  (test-assert "not more reports of an abandoned mutex than deaths"
    (<= 0 (atomic-u64-ref bv reports) (+ kills workers)))
  (format #t "reports: ~a, progress: ~a~%" (atomic-u64-ref bv reports)
          (map (lambda (i) (progress-of bv i)) (iota workers)))
  (test-assert "the mutex is free, or abandoned"
    (shm-mutex-lock! bv mutex 60))
  (test-equal "and then locked and unlocked as ever" '(EDEADLK #t)
    (let ((twice (match (raised (lambda () (shm-mutex-lock! bv mutex)))
                   ((_ _ _ errno) (and (= errno EDEADLK) 'EDEADLK)))))
      (shm-mutex-unlock! bv mutex)
      (list twice (shm-mutex-lock! bv mutex 0))))
  (test-assert "the read-write lock is free, or abandoned"
    (let ((entered (shm-rwlock-write-lock! bv rwlock 60)))
      (shm-rwlock-unlock! bv rwlock)
      entered))
  (test-assert "the semaphore counts on"
    (let ((n (shm-semaphore-value bv semaphore)))
      (shm-semaphore-post! bv semaphore)
      (= (+ n 1) (shm-semaphore-value bv semaphore))))
  (test-equal "the barrier counts live threads" #f
    (begin
      (usleep 120000)
      (shm-barrier-wait! bv barrier 0.2))))

(test-begin "killing")

(when-posix-shm
  (call-with-mapping size test-killing))

(test-end "killing")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; condition.scm - conditions in shared memory, tested.

(use-modules (ice-9 match)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm sync)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))

(define (waiting bv)
  (logand #xffff (ash (atomic-u64-ref bv (+ condition 8)) -32)))

(define (await-waiting bv n)
  (await (= (waiting bv) n)))

(define (await-contention bv)
  "Wait until a thread sleeps for the mutex; without a futex, whose word says so,
give it a tenth of a second, which makes that likely."
  (if (equal? (getenv "HAVE_FUTEX") "1")
      (await (logbit? 0 (atomic-u64-ref bv (+ mutex 8))))
      (usleep 100000)))

;; Threads that wait once and count what they got in word 1, 2 or 3.
(define (waiter bv . timeout)
  (in-thread
   (with-shm-mutex bv mutex #:on-abandoned (const #t)
     (add-to-word! bv (match (apply shm-condition-variable-wait! bv condition mutex
                                    timeout)
                        (#t 1) (#f 2) ('abandoned 3))
                   1))))

(define (test-signals)
  (with-structures (bv)
    (test-raises "without the mutex"
      `(system-error "shm-condition-variable-wait!" ,(format #f "Operation not permitted: the mutex at \
offset 0 of ~s (this thread does not own it)" (shm-name bv)) ,EPERM)
      (shm-condition-variable-wait! bv condition mutex 0))
    (test-equal "a timeout, after which the mutex is held" '(#f #f EDEADLK)
      (begin
        (shm-mutex-lock! bv mutex)
        (let* ((a (shm-condition-variable-wait! bv condition mutex 0))
               (b (shm-condition-variable-wait! bv condition mutex 0.07))
               (c (kind (shm-mutex-lock! bv mutex))))
          (shm-mutex-unlock! bv mutex)
          (list a b c))))
    (test-equal "a signal without a waiter is gone" #f
      (begin
        (shm-condition-variable-signal! bv condition)
        (shm-condition-variable-broadcast! bv condition)
        (with-shm-mutex bv mutex
          (shm-condition-variable-wait! bv condition mutex 0.12))))
    (test-equal "each signal wakes one" '(1 2 3)
      (let ((threads (map (lambda (i) (waiter bv)) (iota 3))))
        (await-waiting bv 3)
        (let ((counts (map (lambda (n)
                             (shm-condition-variable-signal! bv condition)
                             (await-word bv 1 n)
                             ;; Three slices in which another might wake.
                             (usleep 150000)
                             (word bv 1))
                           '(1 2 3))))
          (for-each join-thread threads)
          counts)))
    (test-equal "a broadcast wakes all" 5
      (begin
        (set-word! bv 1 0)
        (let ((threads (map (lambda (i) (waiter bv)) (iota 5))))
          (await-waiting bv 5)
          (shm-condition-variable-broadcast! bv condition)
          (for-each join-thread threads)
          (word bv 1))))
    (test-equal "the mutex is waited for" '(#f #t)
      (let ((thread (waiter bv)))
        (await-waiting bv 1)
        (shm-mutex-lock! bv mutex)
        (shm-condition-variable-signal! bv condition)
        (await-contention bv)
        (let ((early? (thread-exited? thread)))
          (shm-mutex-unlock! bv mutex)
          (join-thread thread)
          (list early? #t))))))

(define (test-deaths)
  (with-structures (bv)
    (test-equal "it goes on when its waiters were killed"
      (map (const #t) (iota rounds))
      (map (lambda (i)
             (let ((before (waiting bv)))
               (let ((pids (map (lambda (i)
                                  (start-process
                                   (lambda ()
                                     (shm-mutex-lock! bv mutex)
                                     (shm-condition-variable-wait! bv condition mutex))))
                                '(1 2))))
                 (await-waiting bv (+ before 2))
                 ;; One of them may have been woken when it dies.
                 (when (even? i) (shm-condition-variable-signal! bv condition))
                 (for-each kill-process pids)))
             (set-word! bv 1 0)
             (set-word! bv 3 0)
             (let* ((before (waiting bv))
                    (thread (waiter bv)))
               (await-waiting bv (+ before 1))
               (shm-condition-variable-signal! bv condition)
               (join-thread thread)
               (= 1 (+ (word bv 1) (word bv 3)))))
           (iota rounds)))
    (test-equal "a mutex whose owner died ends the wait" '(abandoned #t)
      (with-structures (bv)
        (let ((thread (in-thread
                       (shm-mutex-lock! bv mutex)
                       (let ((result (shm-condition-variable-wait! bv condition mutex)))
                         (shm-mutex-unlock! bv mutex)
                         result))))
          (await-waiting bv 1)
          (killed-after bv (lambda () (shm-mutex-lock! bv mutex)))
          (list (join-thread thread) (shm-mutex-lock! bv mutex)))))))

(define (test-fork-in-handler)
  ;; It forks while it waits for the mutex, after it was woken, and lets the
  ;; child have that first.
  (test-equal "a handler's child does not get the signal of its parent" '(#t #t 0)
    (with-structures (bv)
      (let ((pid (start-process
                  (lambda ()
                    (define parent (getpid))
                    (define child #f)
                    (sigaction SIGUSR1
                      (lambda _
                        (set! child (primitive-fork))
                        (cond ((zero? child) (set-word! bv 0 1))
                              ;; Until the child has come, or taken what is
                              ;; not its own.
                              (else
                               (await (not (= 1 (waiting bv))))))))
                    (shm-mutex-lock! bv mutex)
                    (let ((result (shm-condition-variable-wait! bv condition mutex)))
                      (shm-mutex-unlock! bv mutex)
                      (when (= parent (getpid))
                        (set-word! bv 1 (if (eq? result #t) 1 2))
                        (shm-condition-variable-broadcast! bv condition)
                        (waitpid child)))))))
        (await-waiting bv 1)
        (shm-mutex-lock! bv mutex)
        (shm-condition-variable-signal! bv condition)
        (await-contention bv)
        (kill pid SIGUSR1)
        (await-word bv 0 1)
        (shm-mutex-unlock! bv mutex)
        (let ((ended (zero? (cdr (waitpid pid)))))
          (list ended (= 1 (word bv 1)) (waiting bv)))))))

(define (test-turns)
  ;; Each takes turns with the other, by one condition.
  (test-equal "two processes take turns" '(#t 4000)
    (with-structures (bv)
      (let ((ended?
             (in-processes
              2 (lambda (me)
                  (let loop ((n 0))
                    (when (< n 2000)
                      (shm-mutex-lock! bv mutex)
                      (let again ()
                        (unless (= me (modulo (word bv 0) 2))
                          (shm-condition-variable-wait! bv condition mutex)
                          (again)))
                      (add-to-word! bv 0 1)
                      (shm-condition-variable-signal! bv condition)
                      (shm-mutex-unlock! bv mutex)
                      (loop (+ n 1))))))))
        (list ended? (word bv 0)))))
  (test-equal "producers and consumers lose nothing" '(#t 0 12000)
    (with-structures (bv)
      (let ((ended?
             (in-processes
              4 (lambda (me)
                  (let loop ((n 0))
                    (when (< n 6000)
                      (shm-mutex-lock! bv mutex)
                      (cond ((even? me)
                             (add-to-word! bv 0 1)
                             (shm-condition-variable-signal! bv condition))
                            (else
                             (let again ()
                               (when (zero? (word bv 0))
                                 (shm-condition-variable-wait! bv condition mutex)
                                 (again)))
                             (add-to-word! bv 1 1)
                             (atomic-u32-fetch-sub! bv scratch 1)))
                      (shm-mutex-unlock! bv mutex)
                      (loop (+ n 1))))))))
        (list ended? (word bv 0) (word bv 1))))))

(test-begin "condition")

(when-posix-shm
  (test-group "conditions"
    (test-signals)
    (test-deaths)
    (test-fork-in-handler)
    (test-turns)))

(test-end "condition")

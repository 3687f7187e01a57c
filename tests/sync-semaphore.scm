;;; SPDX-License-Identifier: BSD-3-Clause
;;; sync-semaphore.scm - semaphores in shared memory, tested.
;;; The system's named semaphores are in semaphore.scm.

(use-modules (ice-9 threads)
             (posix-shm)
             (posix-shm sync)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))

(define (test-semaphores)
  (with-structures (bv)
    (test-equal "values" '(0 #f 1 2 #t #t #f 0)
      (let* ((a (shm-semaphore-value bv semaphore))
             (b (shm-semaphore-wait! bv semaphore 0))
             (c (begin (shm-semaphore-post! bv semaphore)
                       (shm-semaphore-value bv semaphore)))
             (d (begin (shm-semaphore-post! bv semaphore)
                       (shm-semaphore-value bv semaphore)))
             (e (shm-semaphore-wait! bv semaphore))
             (f (shm-semaphore-wait! bv semaphore 0))
             (g (shm-semaphore-wait! bv semaphore 0.07))
             (h (shm-semaphore-value bv semaphore)))
        (list a b c d e f g h)))
    (test-raises "the largest value"
      `(system-error "shm-semaphore-post!" ,(format #f "Value too large for defined data type: \
the semaphore at offset 128 of ~s (its value is the largest \
possible)" (shm-name bv)) ,EOVERFLOW)
      (begin
        (shm-semaphore-init! bv semaphore (- (expt 2 31) 1))
        (shm-semaphore-post! bv semaphore)))
    (test-equal "two that wait get two, posted at once" '(#t #t)
      (begin
        (shm-semaphore-init! bv semaphore 0)
        (let ((threads (map (lambda (i)
                              (in-thread (shm-semaphore-wait! bv semaphore)))
                            '(1 2))))
          (await-sleepers 2)
          (shm-semaphore-post! bv semaphore)
          (shm-semaphore-post! bv semaphore)
          (map join-thread threads))))
    (test-equal "those that were killed take nothing with them" '(1 #t 0)
      (begin
        (for-each (lambda (i)
                    (let ((pid (start-process
                                (lambda ()
                                  (shm-semaphore-wait! bv semaphore)))))
                      (await-sleepers 1 pid)
                      (kill-process pid)))
                  (iota 3))
        (shm-semaphore-post! bv semaphore)
        (let* ((a (shm-semaphore-value bv semaphore))
               (b (shm-semaphore-wait! bv semaphore 0))
               (c (shm-semaphore-value bv semaphore)))
          (list a b c)))))
  (test-equal "posts and waits of 4 processes" '(#t 0)
    (with-structures (bv)
      (let ((ended? (in-processes
                     4 (lambda (me)
                         (let loop ((n 0))
                           (when (< n 50000)
                             (if (even? me)
                                 (shm-semaphore-post! bv semaphore)
                                 (shm-semaphore-wait! bv semaphore))
                             (loop (+ n 1))))))))
        (list ended? (shm-semaphore-value bv semaphore))))))

(test-begin "sync-semaphore")

(when-posix-shm
  (test-group "semaphores" (test-semaphores)))

(test-end "sync-semaphore")

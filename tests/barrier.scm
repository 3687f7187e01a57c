;;; SPDX-License-Identifier: BSD-3-Clause
;;; barrier.scm - barriers in shared memory, tested.

(use-modules (ice-9 threads)
             (posix-shm atomic)
             (posix-shm sync)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))

(define (test-barriers)
  (define (arrived bv)
    (count (lambda (i)
             (not (zero? (atomic-u64-ref bv (+ barrier 32 (* 8 i))))))
           (iota 256)))
  (with-structures (bv)
    (test-equal "a timeout, after which it waits for two again" '(#f #f #t #t)
      (let* ((a (shm-barrier-wait! bv barrier 0))
             (b (shm-barrier-wait! bv barrier 0.07))
             (thread (in-thread (shm-barrier-wait! bv barrier)))
             (c (shm-barrier-wait! bv barrier)))
        (list a b c (join-thread thread))))
    (test-equal "for one" '(#t #t)
      (begin
        (shm-barrier-init! bv barrier 1)
        (let* ((a (shm-barrier-wait! bv barrier))
               (b (shm-barrier-wait! bv barrier 0)))
          (list a b))))
    (test-equal "one that was killed does not count" '(#f #t #t)
      (begin
        (shm-barrier-init! bv barrier 2)
        (let ((pid (start-process (lambda () (shm-barrier-wait! bv barrier)))))
          (await (positive? (arrived bv)))
          (kill-process pid))
        ;; A tenth of a second may pass before that is seen: as if it had.
        (atomic-u32-fetch-sub! bv (+ barrier 24) 200)
        (let* ((a (shm-barrier-wait! bv barrier 0.3))
               (thread (in-thread (shm-barrier-wait! bv barrier)))
               (b (shm-barrier-wait! bv barrier)))
          (list a b (join-thread thread)))))
    (test-equal "more threads than it is for" '(6 #t)
      (begin
        (shm-barrier-init! bv barrier 3)
        (let ((threads (map (lambda (i)
                              (in-thread (shm-barrier-wait! bv barrier)))
                            (iota 6))))
          (list (count (lambda (x) (eq? x #t)) (map join-thread threads))
                (not (shm-barrier-wait! bv barrier 0))))))
    (test-equal "256" #t
      (begin
        (shm-barrier-init! bv barrier 256)
        (not (shm-barrier-wait! bv barrier 0)))))
  (test-equal "4 processes pass 2,000 times, together" '(#t 8000)
    (with-structures (bv)
      (shm-barrier-init! bv barrier 4)
      (let ((ended?
             (in-processes
              4 (lambda (me)
                  (let loop ((n 0))
                    (when (< n 2000)
                      (add-to-word! bv 0 1)
                      (shm-barrier-wait! bv barrier)
                      ;; All have added, and none goes on before all have seen.
                      (unless (= (word bv 0) (* 4 (+ n 1)))
                        (error "not together"))
                      (shm-barrier-wait! bv barrier)
                      (loop (+ n 1))))))))
        (list ended? (word bv 0))))))

(test-begin "barrier")

(when-posix-shm
  (test-group "barriers" (test-barriers)))

(test-end "barrier")

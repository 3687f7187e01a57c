;;; SPDX-License-Identifier: BSD-3-Clause
;;; rwlock.scm - read-write locks in shared memory, tested.

(use-modules (ice-9 threads)
             (posix-shm atomic)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))

(define (read-lock bv . timeout)
  (apply shm-rwlock-read-lock! bv rwlock timeout))

(define (write-lock bv . timeout)
  (apply shm-rwlock-write-lock! bv rwlock timeout))

(define (unlock bv)
  (shm-rwlock-unlock! bv rwlock))

(define (locked-and-unlocked bv locked)
  (when locked (unlock bv))
  locked)

(define (test-sharing)
  (with-structures (bv)
    (test-equal "readers share, writers do not" '(#t #t #f #t #f #f #t)
      (let* ((a (read-lock bv))
             (b (elsewhere (locked-and-unlocked bv (read-lock bv))))
             (c (elsewhere (locked-and-unlocked bv (write-lock bv 0.02))))
             (d (begin (unlock bv) (write-lock bv)))
             (e (elsewhere (locked-and-unlocked bv (read-lock bv 0.02))))
             (f (elsewhere (locked-and-unlocked bv (write-lock bv 0))))
             (g (begin (unlock bv) (locked-and-unlocked bv (read-lock bv)))))
        (list a b c d e f g)))
    (test-equal "locked twice" '(EDEADLK EDEADLK EDEADLK EDEADLK)
      (let* ((a (begin (read-lock bv) (kind (read-lock bv))))
             (b (kind (write-lock bv)))
             (c (begin (unlock bv) (write-lock bv) (kind (read-lock bv))))
             (d (kind (write-lock bv))))
        (unlock bv)
        (list a b c d)))
    (test-equal "unlocked when free, and by another" '(EPERM EPERM EPERM)
      (let* ((a (kind (unlock bv)))
             (b (begin (read-lock bv) (elsewhere (kind (unlock bv)))))
             (c (begin
                  (unlock bv)
                  (write-lock bv)
                  (elsewhere (kind (unlock bv))))))
        (unlock bv)
        (list a b c)))
    (test-equal "a writer that waits keeps further readers out" '(#f #t #t)
      (begin
        (read-lock bv)
        (let ((writer (in-thread (locked-and-unlocked bv (write-lock bv)))))
          (let again ()
            ;; The writer is known.
            (when (zero? (atomic-u64-ref bv (+ rwlock 8))) (usleep 500) (again)))
          (let ((reader (elsewhere (read-lock bv 0.02))))
            (unlock bv)
            (list reader (join-thread writer)
                  (locked-and-unlocked bv (read-lock bv)))))))
    (test-equal "one that gives up lets them in" '(#f #t)
      (begin
        (read-lock bv)
        (let* ((a (elsewhere (write-lock bv 0.07)))
               (b (elsewhere (locked-and-unlocked bv (read-lock bv)))))
          (unlock bv)
          (list a b))))))

(define (test-deaths)
  (with-structures (bv)
    (test-equal "a writer that died, and which caller is told" '(abandoned abandoned #t)
      (let* ((a (begin
                  (killed-after bv (lambda () (write-lock bv)))
                  (locked-and-unlocked bv (write-lock bv))))
             (b (begin
                  (killed-after bv (lambda () (write-lock bv)))
                  ;; A reader has it alone.
                  (let* ((b (read-lock bv))
                         (alone? (not (elsewhere (read-lock bv 0)))))
                    (unlock bv)
                    (and alone? b))))
             (c (locked-and-unlocked bv (read-lock bv))))
        (list a b c)))
    (test-equal "a reader that died just stops counting" '(#t #t)
      (let* ((a (begin
                  (killed-after bv (lambda () (read-lock bv)))
                  (locked-and-unlocked bv (write-lock bv))))
             (b (locked-and-unlocked bv (read-lock bv))))
        (list a b)))
    (test-equal "a writer that died while it waited" '(#t #t)
      (begin
        (read-lock bv)
        (set-word! bv 0 0)
        (let ((pid (start-process (lambda () (write-lock bv)))))
          (let again ()
            (when (zero? (atomic-u64-ref bv (+ rwlock 8))) (usleep 500) (again)))
          (kill-process pid))
        (let ((a (elsewhere (locked-and-unlocked bv (read-lock bv)))))
          (unlock bv)
          (list a (locked-and-unlocked bv (write-lock bv))))))))

(define (test-many)
  (with-structures (bv)
    (test-equal "128 readers, and one that waits until one leaves" '(128 #f #t)
      (begin
        (set-word! bv 1 0)
        (set-word! bv 2 0)
        (let ((threads (map (lambda (i)
                              (in-thread
                               (read-lock bv)
                               (add-to-word! bv 1 1)
                               (let again ()
                                 (when (zero? (word bv 2))
                                   (usleep 20000)
                                   (again)))
                               (unlock bv)))
                            (iota 128))))
          (await-word bv 1 128)
          (let* ((early (read-lock bv 0.07))
                 (last (begin
                         (set-word! bv 2 1)
                         (locked-and-unlocked bv (read-lock bv)))))
            (for-each join-thread threads)
            (list (word bv 1) early last))))))
  (test-equal "4 processes read and write, nothing torn" '(#t #t)
    (with-structures (bv)
      (let ((ended?
             (in-processes
              4 (lambda (me)
                  (let loop ((n 0))
                    (when (< n 10000)
                      (if (zero? (modulo (+ n me) 4))
                          (begin
                            (shm-rwlock-write-lock! bv rwlock)
                            (let ((x (+ 1 (bytevector-u32-native-ref bv scratch))))
                              (bytevector-u32-native-set! bv scratch x)
                              (bytevector-u32-native-set! bv (+ scratch 4) x)))
                          (begin
                            (shm-rwlock-read-lock! bv rwlock)
                            (unless (= (bytevector-u32-native-ref bv scratch)
                                       (bytevector-u32-native-ref
                                        bv (+ scratch 4)))
                              (error "torn"))))
                      (shm-rwlock-unlock! bv rwlock)
                      (loop (+ n 1))))))))
        (list ended? (= 10000 (word bv 0) (word bv 1)))))))

(test-begin "rwlock")

(when-posix-shm
  (test-group "read-write locks"
    (test-sharing)
    (test-deaths)
    (test-many)))

(test-end "rwlock")

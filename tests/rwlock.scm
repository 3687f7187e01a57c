;;; SPDX-License-Identifier: BSD-3-Clause
;;; rwlock.scm - read-write locks in shared memory, tested.

(use-modules (ice-9 exceptions)
             (ice-9 threads)
             (posix-shm)
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
          ;; The writer is known.
          (await (positive? (atomic-u64-ref bv (+ rwlock 8))))
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
          (await (positive? (atomic-u64-ref bv (+ rwlock 8))))
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
                               (await (positive? (word bv 2)))
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

;;; Forms.

(define (free? bv)
  "Return whether a thread that owns nothing can lock as a writer."
  (elsewhere (locked-and-unlocked bv (write-lock bv 0))))

(define (abandon bv)
  (killed-after bv (lambda () (write-lock bv))))

(define (test-forms)
  (with-structures (bv)
    (test-equal "the body's values, and the lock is free afterwards"
      '((1 2) #t #f #t)
      (let* ((a (call-with-values
                    (lambda () (with-shm-read-lock bv rwlock (values 1 2)))
                  list))
             (b (with-shm-read-lock bv rwlock
                  (elsewhere (locked-and-unlocked bv (read-lock bv 0)))))
             (c (with-shm-write-lock bv rwlock
                  (elsewhere (locked-and-unlocked bv (read-lock bv 0))))))
        (list a b c (free? bv))))
    (test-equal "left by an exception, it is unlocked" '((oops) (oops) #t)
      (let* ((a (catch #t
                  (lambda () (with-shm-read-lock bv rwlock (throw 'oops)))
                  list))
             (b (catch #t
                  (lambda () (with-shm-write-lock bv rwlock (throw 'oops)))
                  list)))
        (list a b (free? bv))))
    (test-equal "when the timeout expires" '(#f late #f late #t)
      (begin
        (write-lock bv)
        (let ((results
               (elsewhere
                (list (with-shm-read-lock bv rwlock #:timeout 0 1)
                      (with-shm-read-lock bv rwlock #:timeout 0.01
                        #:timeout-value 'late 1)
                      (call-with-shm-write-lock bv rwlock (const 1) #:timeout 0)
                      (with-shm-write-lock bv rwlock #:timeout-value 'late
                        #:timeout 0.01 1)))))
          (unlock bv)
          (append results (list (free? bv))))))
    (test-equal "this thread owns it already" '(EDEADLK EDEADLK EDEADLK #t)
      (let* ((a (with-shm-read-lock bv rwlock
                  (kind (with-shm-read-lock bv rwlock 1))))
             (b (with-shm-read-lock bv rwlock
                  (kind (with-shm-write-lock bv rwlock 1))))
             (c (with-shm-write-lock bv rwlock
                  (kind (with-shm-write-lock bv rwlock 1)))))
        (list a b c (free? bv))))
    (test-equal "unlocked within" '(EPERM EPERM #t)
      (let* ((a (kind (with-shm-read-lock bv rwlock (unlock bv))))
             (b (kind (with-shm-write-lock bv rwlock (unlock bv)))))
        (list a b (free? bv))))
    (test-equal "unmapped within, an exception passes" '(oops oops)
      (map (lambda (call)
             (call-with-shm #f size
               (lambda (bv)
                 (initialize! bv)
                 (catch 'oops
                   (lambda ()
                     (call bv rwlock (lambda () (shm-unmap! bv) (throw 'oops))))
                   (lambda (key) key)))))
           (list call-with-shm-read-lock call-with-shm-write-lock)))))

(define (test-recovery)
  (with-structures (bv)
    (test-equal "an abandoned lock is recovered first, alone"
      '((body #f recovered) (body #f recovered))
      (map (lambda (call)
             (let ((steps '()))
               (define (step what)
                 (set! steps (cons what steps)))
               (abandon bv)
               (call bv rwlock
                     (lambda ()
                       (step (elsewhere (read-lock bv 0)))
                       (step 'body))
                     #:on-abandoned (lambda () (step 'recovered)))
               (if (free? bv) steps 'locked)))
           (list call-with-shm-read-lock call-with-shm-write-lock)))
    (test-equal "without on-abandoned it raises each time, and is unlocked"
      '((abandoned abandoned abandoned) (abandoned abandoned abandoned))
      (map (lambda (call)
             (abandon bv)
             (let* ((first (kind (call bv rwlock (const 1))))
                    (second (kind (call bv rwlock (const 1))))
                    (third (shm-rwlock-write-lock! bv rwlock 0)))
               (shm-rwlock-unlock! bv rwlock)
               (list first second third)))
           (list call-with-shm-read-lock call-with-shm-write-lock)))
    (test-equal "its message"
      (format #f "The owner of the read-write lock at offset ~a of ~s died, and \
the data that it guards may be inconsistent: #:on-abandoned takes a procedure \
that recovers it" rwlock (shm-name bv))
      (begin
        (abandon bv)
        (guard (c ((shm-abandoned? c) (exception-message c)))
          (with-shm-read-lock bv rwlock 1))))
    (test-equal "if recovery fails, the next owner is told, in any process"
      '((oops abandoned) (oops abandoned))
      (map (lambda (call)
             (abandon bv)
             (let* ((key (catch #t
                           (lambda ()
                             (call bv rwlock (const 1)
                                   #:on-abandoned (lambda () (throw 'oops))))
                           (lambda (key . _) key)))
                    (next (elsewhere
                           (locked-and-unlocked bv (read-lock bv 0)))))
               (list key next)))
           (list call-with-shm-read-lock call-with-shm-write-lock)))
    (test-equal "asyncs that throw at any instant leave it unlocked"
      '((returned stopped) #t)
      (let ((result (throw-at-any-instant (* 50 rounds)
                      (lambda ()
                        (with-shm-write-lock bv rwlock (word bv 1))
                        (with-shm-read-lock bv rwlock (word bv 1))))))
        (list result (free? bv))))
    (test-equal "asyncs that throw at any instant leave it abandoned"
      '((returned stopped) 0)
      (let ((recover (lambda () (throw 'not-recovered)))
            (use-data (lambda () (set-word! bv 2 1))))
        (abandon bv)
        (list (throw-at-any-instant (* 50 rounds)
                (lambda ()
                  (for-each
                   (lambda (call)
                     (catch 'not-recovered
                       (lambda ()
                         (call bv rwlock use-data #:on-abandoned recover))
                       (const #f)))
                   (list call-with-shm-read-lock call-with-shm-write-lock))))
              (word bv 2))))))

(test-begin "rwlock")

(when-posix-shm
  (test-group "read-write locks"
    (test-sharing)
    (test-deaths)
    (test-many))
  (test-group "forms"
    (test-forms)
    (test-recovery)))

(test-end "rwlock")

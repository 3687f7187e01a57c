;;; SPDX-License-Identifier: BSD-3-Clause
;;; sync.scm - locks and their like, tested with threads and processes.

(use-modules (ice-9 exceptions)
             (ice-9 match)
             (ice-9 popen)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm semaphore)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))


;;; What there is, and what is none.

(define operations
  `(("shm-mutex-lock!" ,(lambda (bv k) (shm-mutex-lock! bv k 0)))
    ("shm-mutex-unlock!" ,shm-mutex-unlock!)
    ("call-with-shm-mutex" ,(lambda (bv k) (call-with-shm-mutex bv k list)))
    ("shm-condition-signal!" ,shm-condition-signal!)
    ("shm-condition-broadcast!" ,shm-condition-broadcast!)
    ("shm-condition-wait!" ,(lambda (bv k) (shm-condition-wait! bv k mutex 0)))
    ("shm-semaphore-post!" ,shm-semaphore-post!)
    ("shm-semaphore-wait!" ,(lambda (bv k) (shm-semaphore-wait! bv k 0)))
    ("shm-semaphore-value" ,shm-semaphore-value)
    ("shm-barrier-wait!" ,(lambda (bv k) (shm-barrier-wait! bv k 0)))
    ("shm-rwlock-read-lock!" ,(lambda (bv k) (shm-rwlock-read-lock! bv k 0)))
    ("shm-rwlock-write-lock!" ,(lambda (bv k) (shm-rwlock-write-lock! bv k 0)))
    ("shm-rwlock-unlock!" ,shm-rwlock-unlock!)))

(define initializers
  `(("shm-mutex-init!" ,shm-mutex-init! ,shm-mutex-size)
    ("shm-condition-init!" ,shm-condition-init! ,shm-condition-size)
    ("shm-semaphore-init!" ,(lambda (bv k) (shm-semaphore-init! bv k 0))
     ,shm-semaphore-size)
    ("shm-barrier-init!" ,(lambda (bv k) (shm-barrier-init! bv k 1))
     ,shm-barrier-size)
    ("shm-rwlock-init!" ,shm-rwlock-init! ,shm-rwlock-size)))

(define (test-formats)
  (define zeros (make-bytevector size 0))
  (define garbage (make-bytevector size #xa5))
  (for-each
   (match-lambda
     ((name proc)
      (with-structures (bv)
        (let ((spare 12288))
          (define (on-bytes bytes)
            (bytevector-copy! bytes 0 bv spare 2048)
            (let ((kind (kind (proc bv spare))))
              (list kind
                    (every (lambda (i)
                             (= (bytevector-u8-ref bytes i)
                                (bytevector-u8-ref bv (+ spare i))))
                           (iota 2048)))))
          (test-equal (string-append name ": zeros") '(format #t)
            (on-bytes zeros))
          (test-equal (string-append name ": garbage") '(format #t)
            (on-bytes garbage))
          (test-equal (string-append name ": another kind, and its own")
            (if (member name '("call-with-shm-mutex"))
                '(4 1)
                '(4 1))
            (let ((kinds (map (lambda (k) (kind (proc bv k)))
                              (list mutex condition semaphore barrier rwlock))))
              (list (count (lambda (kind) (eq? kind 'format)) kinds)
                    (count (lambda (kind) (not (eq? kind 'format))) kinds))))
          (test-equal (string-append name ": no place")
            '(out-of-range out-of-range out-of-range out-of-range wrong-type-arg
                           wrong-type-arg)
            (list (kind (proc bv 4)) (kind (proc bv -8)) (kind (proc bv size))
                  (kind (proc bv (expt 2 64))) (kind (proc bv 0.0))
                  (kind (proc "string" 0))))))))
   operations)
  (for-each
   (match-lambda
     ((name init size)
      (test-equal (string-append name ": no place")
        '(out-of-range out-of-range out-of-range wrong-type-arg)
        (let ((bv (make-bytevector (+ size 8) 0)))
          (list (kind (init bv 4)) (kind (init bv 16)) (kind (init bv -8))
                (kind (init 'bv 0)))))
      (test-equal (string-append name ": as many bytes as it says") #t
        (let ((bv (make-bytevector (+ size 16) 7)))
          (init bv 8)
          (and (= 7 (bytevector-u8-ref bv 7))
               (= 7 (bytevector-u8-ref bv (+ size 8))))))))
   initializers)
  (test-equal "numbers that cannot be"
    '(out-of-range out-of-range wrong-type-arg out-of-range out-of-range
                   wrong-type-arg)
    (with-mapping (bv size)
      (list (kind (shm-semaphore-init! bv 0 -1))
            (kind (shm-semaphore-init! bv 0 (expt 2 31)))
            (kind (shm-semaphore-init! bv 0 1.0))
            (kind (shm-barrier-init! bv 0 0))
            (kind (shm-barrier-init! bv 0 257))
            (kind (shm-barrier-init! bv 0 #f)))))
  (test-equal "timeouts that cannot be"
    '(wrong-type-arg out-of-range wrong-type-arg)
    (with-structures (bv)
      (list (kind (shm-mutex-lock! bv mutex 'soon))
            (kind (shm-semaphore-wait! bv semaphore +nan.0))
            (kind (shm-barrier-wait! bv barrier 1+i)))))
  (test-equal "a message says what is missing where"
    "There is no semaphore at offset 8 of a bytevector: make one with \
shm-semaphore-init!, unless something else was stored over it"
    (guard (c (#t (exception-message c)))
      (shm-semaphore-post! (make-bytevector 64 0) 8)))
  (test-equal "a message names the object" #t
    (with-fresh-name name
      (let ((bv (shm-create name 64)))
        (->bool (string-contains
                 (guard (c (#t (exception-message c)))
                   (shm-mutex-lock! bv 0))
                 (format #f "~s" name))))))
  (unless (shm-fault-guard) (test-skip 1))
  (test-equal "in a mapping for reading" '(fault 0 1)
    (with-fresh-name name
      (let ((bv (shm-create name size)))
        (initialize! bv)
        (shm-semaphore-post! bv semaphore)
        (let* ((view (shm-attach name))
               (kind (kind (shm-mutex-lock! view mutex) (gc))))
          (list kind
                (atomic-u64-ref bv 8)
                (shm-semaphore-value view semaphore))))))
  (test-equal "in an unmapped view" 'out-of-range
    (let* ((bv (shm-create #f size))
           (view (shm-view bv 'vu8)))
      (shm-unlink (shm-name bv))
      (initialize! bv)
      (shm-unmap! bv)
      (kind (shm-mutex-lock! view mutex))))
  (unless (shm-fault-guard) (test-skip 1))
  (test-equal "in memory that is lost" '(fault fault)
    (with-fresh-name name
      (let* ((bv (shm-create name size))
             (fd (shm-open name (list O_RDWR))))
        (initialize! bv)
        (shm-resize! fd 0)
        (close-fdes fd)
        (list (kind (shm-mutex-lock! bv mutex))
              (kind (shm-semaphore-wait! bv semaphore)))))))


;;; Mutexes.

(define (test-mutexes)
  (with-structures (bv)
    (test-equal "locked, and by nobody else" '(#t #f #f #t #t)
      (let* ((a (shm-mutex-lock! bv mutex))
             (b (elsewhere (shm-mutex-lock! bv mutex 0)))
             (c (elsewhere (shm-mutex-lock! bv mutex 0.02)))
             (d (begin
                  (shm-mutex-unlock! bv mutex)
                  (elsewhere (let ((locked (shm-mutex-lock! bv mutex)))
                               (shm-mutex-unlock! bv mutex)
                               locked))))
             (e (shm-mutex-lock! bv mutex 0)))
        (shm-mutex-unlock! bv mutex)
        (list a b c d e)))
    (test-raises "locked twice"
      `(system-error "shm-mutex-lock!" ,(format #f "Resource deadlock avoided: the mutex at \
offset 0 of ~s (this thread holds it already)" (shm-name bv)) ,EDEADLK)
      (dynamic-wind
        (lambda () (shm-mutex-lock! bv mutex))
        (lambda () (shm-mutex-lock! bv mutex))
        (lambda () (shm-mutex-unlock! bv mutex))))
    (test-raises "unlocked by nobody"
      `(system-error "shm-mutex-unlock!" ,(format #f "Operation not permitted: the mutex at \
offset 0 of ~s (this thread does not hold it)" (shm-name bv)) ,EPERM)
      (shm-mutex-unlock! bv mutex))
    (test-equal "unlocked by another thread" 'EPERM
      (begin
        (shm-mutex-lock! bv mutex)
        (let ((kind (elsewhere (kind (shm-mutex-unlock! bv mutex)))))
          (shm-mutex-unlock! bv mutex)
          kind)))
    (test-equal "a thread that ends holding it is dead" '(abandoned #t)
      (begin
        (join-thread (in-thread (shm-mutex-lock! bv mutex)))
        (let* ((first (shm-mutex-lock! bv mutex))
               (second (begin
                         (shm-mutex-unlock! bv mutex)
                         (shm-mutex-lock! bv mutex))))
          (shm-mutex-unlock! bv mutex)
          (list first second))))
    (test-equal "a process that is killed holding it is dead, once each time"
      (map (const '(abandoned #t)) (iota rounds))
      (map (lambda (i)
             (killed-after bv (lambda () (shm-mutex-lock! bv mutex)))
             (let* ((first (if (even? i)
                               (shm-mutex-lock! bv mutex)
                               (shm-mutex-lock! bv mutex 0)))
                    (second (begin
                              (shm-mutex-unlock! bv mutex)
                              (shm-mutex-lock! bv mutex))))
               (shm-mutex-unlock! bv mutex)
               (list first second)))
           (iota rounds)))
    (test-equal "one that takes over and dies as well" 'abandoned
      (begin
        (killed-after bv (lambda () (shm-mutex-lock! bv mutex)))
        (killed-after bv (lambda () (shm-mutex-lock! bv mutex)))
        (let ((locked (shm-mutex-lock! bv mutex)))
          (shm-mutex-unlock! bv mutex)
          locked)))
    (test-equal "a zombie is dead" 'abandoned
      (let ((pid (start-process (lambda ()
                                  (shm-mutex-lock! bv mutex)))))
        ;; It is not waited for.
        (let ((locked (begin
                        (let again ()
                          (when (zero? (atomic-u64-ref bv 8))
                            (usleep 500)
                            (again)))
                        (shm-mutex-lock! bv mutex))))
          (waitpid pid)
          (shm-mutex-unlock! bv mutex)
          locked)))
    (test-equal "of many that wait for a dead one's, one is told" '(1 7)
      (begin
        (set-word! bv 1 0)
        (set-word! bv 2 0)
        (set-word! bv 3 0)
        (let ((owner (start-process
                      (lambda ()
                        (shm-mutex-lock! bv mutex)
                        (set-word! bv 3 1)
                        (sleep 1000)))))
          (await-word bv 3 1)
          (let ((pids (map (lambda (i)
                             (start-process
                              (lambda ()
                                (add-to-word! bv 3 1)
                                (add-to-word! bv (match (shm-mutex-lock! bv mutex)
                                                   ('abandoned 1)
                                                   (#t 2))
                                              1)
                                (shm-mutex-unlock! bv mutex))))
                           (iota 8))))
            (await-word bv 3 9)
            (kill-process owner)
            (for-each waitpid pids)
            (list (word bv 1) (word bv 2))))))
    (test-equal "the child of a fork does not hold it" '(EPERM #f 0 #t)
      (begin
        (shm-mutex-lock! bv mutex)
        (set-word! bv 1 0)
        (let* ((pid (start-process
                     (lambda ()
                       (unless (eq? (kind (shm-mutex-unlock! bv mutex)) 'EPERM)
                         (set-word! bv 1 1))
                       (when (shm-mutex-lock! bv mutex 0.12)
                         (set-word! bv 1 2)))))
               (status (cdr (waitpid pid)))
               (wrong (word bv 1)))
          (shm-mutex-unlock! bv mutex)
          (list (if (= wrong 1) 'unlocked 'EPERM) (= wrong 2) status
                (let ((locked (shm-mutex-lock! bv mutex)))
                  (shm-mutex-unlock! bv mutex)
                  locked)))))
    (test-equal "unmapped while it is held" 'abandoned
      (with-fresh-name name
        (let ((bv (shm-create name size)))
          (initialize! bv)
          (join-thread (in-thread
                        (let ((bv (shm-attach name #:writable? #t)))
                          (shm-mutex-lock! bv mutex)
                          (shm-unmap! bv))))
          (shm-mutex-lock! bv mutex)))))

  (test-equal "8 processes, 100,000 times each, lose nothing" '(#t 800000)
    (with-structures (bv)
      (let ((ended? (in-processes
                     8 (lambda (i)
                         (let loop ((n 0))
                           (when (< n 100000)
                             (shm-mutex-lock! bv mutex)
                             (bytevector-u32-native-set!
                              bv scratch
                              (+ 1 (bytevector-u32-native-ref bv scratch)))
                             (shm-mutex-unlock! bv mutex)
                             (when (zero? (modulo n 25000)) (gc))
                             (loop (+ n 1))))))))
        (list ended? (word bv 0)))))
  (test-in-bytevector))

(define (test-in-bytevector)
  (test-equal "4 threads, 20,000 times each, in an ordinary bytevector" 80000
    (let ((bv (make-bytevector size 0)))
      (initialize! bv)
      (for-each join-thread
                (map (lambda (i)
                       (in-thread
                        (let loop ((n 0))
                          (when (< n 20000)
                            (with-shm-mutex bv mutex
                              (set-word! bv 0 (+ 1 (word bv 0))))
                            (loop (+ n 1))))))
                     (iota 4)))
      (word bv 0))))

(define (test-with-mutex)
  (with-structures (bv)
    (define (free?)
      (zero? (atomic-u64-ref bv 8)))
    (define (abandon)
      (join-thread (in-thread (shm-mutex-lock! bv mutex))))
    (test-equal "all values are returned" '(1 2 #t)
      (call-with-values
          (lambda ()
            (call-with-shm-mutex bv mutex (lambda () (values 1 2))))
        (lambda (a b) (list a b (free?)))))
    (test-equal "with-shm-mutex" '(#f #t)
      (let ((held (with-shm-mutex bv mutex (free?))))
        (list held (free?))))
    (test-equal "procedures that are none" '(wrong-type-arg wrong-type-arg #t)
      (list (kind (call-with-shm-mutex bv mutex 5))
            (kind (with-shm-mutex bv mutex #:on-abandoned 5 1))
            (free?)))
    (test-equal "with-shm-mutex without a body, or a keyword's value"
      '(syntax-error syntax-error)
      (map (lambda (form)
             (kind (eval form (resolve-interface '(posix-shm sync)))))
           '((with-shm-mutex #f 0) (with-shm-mutex #f 0 #:timeout))))
    (test-equal "left by an exception" '((oops) #t)
      (let ((key (catch #t
                   (lambda () (with-shm-mutex bv mutex (throw 'oops)))
                   list)))
        (list key (free?))))
    (test-equal "within itself it raises, and the outer goes on" '(EDEADLK #f #t)
      (let* ((inner #f)
             (held (with-shm-mutex bv mutex
                     (set! inner (kind (with-shm-mutex bv mutex 1)))
                     (free?))))
        (list inner held (free?))))
    (test-equal "a timeout" '(#f #f)
      (begin
        (shm-mutex-lock! bv mutex)
        (let ((result (elsewhere
                       (let* ((called? #f)
                              (result (with-shm-mutex bv mutex #:timeout 0.01
                                        (set! called? #t)
                                        1)))
                         (list result called?)))))
          (shm-mutex-unlock! bv mutex)
          result)))
    (test-equal "an abandoned one is mended first" '((body mended) #t)
      (let ((steps '()))
        (abandon)
        (with-shm-mutex bv mutex
          #:on-abandoned (lambda () (set! steps (cons 'mended steps)))
          (set! steps (cons 'body steps)))
        (list steps (free?))))
    (test-equal "without that it raises, and is unlocked" '(abandoned #f #t #t)
      (let ((called? #f))
        (abandon)
        (let ((kind (kind (call-with-shm-mutex
                           bv mutex (lambda () (set! called? #t))))))
          (list kind called? (free?) (eq? #t (shm-mutex-lock! bv mutex))))))
    (shm-mutex-unlock! bv mutex)
    (test-equal "the message of that"
      (format #f "The thread that held the mutex at offset 0 of ~s died, and what \
the mutex guards may be half done" (shm-name bv))
      (begin
        (abandon)
        (guard (c ((shm-abandoned? c) (exception-message c)))
          (with-shm-mutex bv mutex 1))))
    (test-equal "where mending fails the next is told" '((oops) mended 1 #t)
      (let ((key #f) (next #f))
        (abandon)
        (set! key (catch #t
                    (lambda ()
                      (with-shm-mutex bv mutex
                        #:on-abandoned (lambda () (throw 'oops))
                        1))
                    list))
        (let ((result (with-shm-mutex bv mutex
                        #:on-abandoned (lambda () (set! next 'mended))
                        1)))
          (list key next result (free?)))))
    (test-equal "left before mending begins, the next is told" 'abandoned
      (begin
        (abandon)
        (join-thread (in-thread
                      (catch 'interrupted
                        (lambda ()
                          (with-shm-mutex bv mutex
                            #:on-abandoned (lambda () (throw 'interrupted))
                            1))
                        (const 'interrupted))))
        (let ((locked (shm-mutex-lock! bv mutex 0)))
          (shm-mutex-unlock! bv mutex)
          locked)))
    (test-equal "others are told while the one that mends waits"
      '(abandoned gave-up)
      (begin
        (abandon)
        (let* ((other #f)
               (left (catch 'gave-up
                       (lambda ()
                         (with-shm-mutex bv mutex
                           #:on-abandoned
                           (lambda ()
                             (set! other
                               (in-thread
                                (let ((locked (shm-mutex-lock! bv mutex)))
                                  (shm-mutex-unlock! bv mutex)
                                  (shm-condition-signal! bv condition)
                                  locked)))
                             (shm-condition-wait! bv condition mutex)
                             (throw 'gave-up))
                           1))
                       (lambda (key) key))))
          (list (join-thread other) left))))
    (test-equal "and still, if it gives up having waited" 'abandoned
      (begin
        (abandon)
        (catch 'gave-up
          (lambda ()
            (with-shm-mutex bv mutex
              #:on-abandoned (lambda ()
                               (shm-condition-wait! bv condition mutex 0.1)
                               (throw 'gave-up))
              1))
          (const #f))
        (let ((locked (shm-mutex-lock! bv mutex)))
          (shm-mutex-unlock! bv mutex)
          locked)))
    (test-equal "an exception passes, whatever became of the memory"
      '((oops) (oops))
      (list
       (let ((bv (shm-create #f size)))
         (shm-unlink (shm-name bv))
         (initialize! bv)
         (catch #t
           (lambda ()
             (with-shm-mutex bv mutex (shm-unmap! bv) (throw 'oops)))
           list))
       (with-structures (bv)
         (catch #t
           (lambda ()
             (with-shm-mutex bv mutex
               (bytevector-fill! bv #xa5)
               (throw 'oops)))
           list))))
    (test-equal "unlocked within" '(EPERM #t)
      (let ((kind (kind (with-shm-mutex bv mutex
                          (shm-mutex-unlock! bv mutex)))))
        (list kind (free?))))
    (test-equal "entered again, it is locked again" '((#f #t #f #t) #t)
      (let ((again #f) (held '()) (times 0))
        (with-shm-mutex bv mutex
          (call/cc (lambda (k) (set! again k)))
          (set! held (cons (free?) held)))
        (set! held (cons (free?) held))
        (set! times (+ times 1))
        (when (= times 1) (again #f))
        (list (reverse held) (free?))))
    (test-equal "asyncs that throw at any instant leave it unlocked"
      '((returned stopped) #t #t)
      (let ((result (throw-at-any-instant (* 100 rounds)
                      (lambda ()
                        (with-shm-mutex bv mutex
                          (set-word! bv 1 (+ 1 (word bv 1))))))))
        (list result (positive? (word bv 1)) (free?))))))


;;; Conditions.

(define (test-conditions)
  (define (waiting bv)
    (logand #xffff (ash (atomic-u64-ref bv (+ condition 8)) -32)))
  (define (await-waiting bv n)
    (unless (= (waiting bv) n)
      (usleep 500)
      (await-waiting bv n)))
  (define (await-contention bv)
    "Wait until somebody sleeps for the mutex; where nobody says so, give them a
tenth of a second, which makes that likely."
    (if (equal? (getenv "HAVE_FUTEX") "1")
        (let again ()
          (unless (logbit? 0 (atomic-u64-ref bv (+ mutex 8)))
            (usleep 500)
            (again)))
        (usleep 100000)))
  ;; Threads that wait once and count what they got in word 1, 2 or 3.
  (define (waiter bv . timeout)
    (in-thread
     (with-shm-mutex bv mutex #:on-abandoned (const #t)
       (add-to-word! bv (match (apply shm-condition-wait! bv condition mutex
                                      timeout)
                          (#t 1) (#f 2) ('abandoned 3))
                     1))))
  (with-structures (bv)
    (test-raises "without the mutex"
      `(system-error "shm-condition-wait!" ,(format #f "Operation not permitted: the mutex at \
offset 0 of ~s (this thread does not hold it)" (shm-name bv)) ,EPERM)
      (shm-condition-wait! bv condition mutex 0))
    (test-equal "a timeout, after which the mutex is held" '(#f #f EDEADLK)
      (begin
        (shm-mutex-lock! bv mutex)
        (let* ((a (shm-condition-wait! bv condition mutex 0))
               (b (shm-condition-wait! bv condition mutex 0.07))
               (c (kind (shm-mutex-lock! bv mutex))))
          (shm-mutex-unlock! bv mutex)
          (list a b c))))
    (test-equal "a signal that nobody waits for is gone" #f
      (begin
        (shm-condition-signal! bv condition)
        (shm-condition-broadcast! bv condition)
        (with-shm-mutex bv mutex
          (shm-condition-wait! bv condition mutex 0.12))))
    (test-equal "each signal wakes one" '(1 2 3)
      (let ((threads (map (lambda (i) (waiter bv)) (iota 3))))
        (await-waiting bv 3)
        (let ((counts (map (lambda (n)
                             (shm-condition-signal! bv condition)
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
          (shm-condition-broadcast! bv condition)
          (for-each join-thread threads)
          (word bv 1))))
    (test-equal "the mutex is waited for" '(#f #t)
      (let ((thread (waiter bv)))
        (await-waiting bv 1)
        (shm-mutex-lock! bv mutex)
        (shm-condition-signal! bv condition)
        (await-contention bv)
        (let ((early? (thread-exited? thread)))
          (shm-mutex-unlock! bv mutex)
          (join-thread thread)
          (list early? #t))))
    (test-equal "it goes on when its waiters were killed"
      (map (const #t) (iota rounds))
      (map (lambda (i)
             (let ((before (waiting bv)))
               (let ((pids (map (lambda (i)
                                  (start-process
                                   (lambda ()
                                     (shm-mutex-lock! bv mutex)
                                     (shm-condition-wait! bv condition mutex))))
                                '(1 2))))
                 (await-waiting bv (+ before 2))
                 ;; One of them may have been woken when it dies.
                 (when (even? i) (shm-condition-signal! bv condition))
                 (for-each kill-process pids)))
             (set-word! bv 1 0)
             (set-word! bv 3 0)
             (let* ((before (waiting bv))
                    (thread (waiter bv)))
               (await-waiting bv (+ before 1))
               (shm-condition-signal! bv condition)
               (join-thread thread)
               (= 1 (+ (word bv 1) (word bv 3)))))
           (iota rounds)))
    (test-equal "a mutex whose owner died ends the wait" '(abandoned #t)
      (with-structures (bv)
        (let ((thread (in-thread
                       (shm-mutex-lock! bv mutex)
                       (let ((result (shm-condition-wait! bv condition mutex)))
                         (shm-mutex-unlock! bv mutex)
                         result))))
          (await-waiting bv 1)
          (killed-after bv (lambda () (shm-mutex-lock! bv mutex)))
          (list (join-thread thread) (shm-mutex-lock! bv mutex))))))

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
                               (let again ()
                                 (when (= 1 (waiting bv))
                                   (usleep 500)
                                   (again)))))))
                    (shm-mutex-lock! bv mutex)
                    (let ((result (shm-condition-wait! bv condition mutex)))
                      (shm-mutex-unlock! bv mutex)
                      (when (= parent (getpid))
                        (set-word! bv 1 (if (eq? result #t) 1 2))
                        (shm-condition-broadcast! bv condition)
                        (waitpid child)))))))
        (await-waiting bv 1)
        (shm-mutex-lock! bv mutex)
        (shm-condition-signal! bv condition)
        (await-contention bv)
        (kill pid SIGUSR1)
        (await-word bv 0 1)
        (shm-mutex-unlock! bv mutex)
        (let ((ended (zero? (cdr (waitpid pid)))))
          (list ended (= 1 (word bv 1)) (waiting bv))))))

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
                          (shm-condition-wait! bv condition mutex)
                          (again)))
                      (add-to-word! bv 0 1)
                      (shm-condition-signal! bv condition)
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
                             (shm-condition-signal! bv condition))
                            (else
                             (let again ()
                               (when (zero? (word bv 0))
                                 (shm-condition-wait! bv condition mutex)
                                 (again)))
                             (add-to-word! bv 1 1)
                             (atomic-u32-fetch-sub! bv scratch 1)))
                      (shm-mutex-unlock! bv mutex)
                      (loop (+ n 1))))))))
        (list ended? (word bv 0) (word bv 1))))))


;;; Semaphores.

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
that there is)" (shm-name bv)) ,EOVERFLOW)
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


;;; Barriers.

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
          (let again ()
            (when (zero? (arrived bv)) (usleep 500) (again)))
          (kill-process pid))
        ;; A tenth of a second may pass before that is seen.
        (usleep 120000)
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


;;; Read-write locks.

(define (test-rwlocks)
  (with-structures (bv)
    (define (read-lock . timeout)
      (apply shm-rwlock-read-lock! bv rwlock timeout))
    (define (write-lock . timeout)
      (apply shm-rwlock-write-lock! bv rwlock timeout))
    (define (unlock)
      (shm-rwlock-unlock! bv rwlock))
    (define (locked-and-unlocked locked)
      (when locked (unlock))
      locked)
    (test-equal "readers share, writers do not" '(#t #t #f #t #f #f #t)
      (let* ((a (read-lock))
             (b (elsewhere (locked-and-unlocked (read-lock))))
             (c (elsewhere (locked-and-unlocked (write-lock 0.02))))
             (d (begin (unlock) (write-lock)))
             (e (elsewhere (locked-and-unlocked (read-lock 0.02))))
             (f (elsewhere (locked-and-unlocked (write-lock 0))))
             (g (begin (unlock) (locked-and-unlocked (read-lock)))))
        (list a b c d e f g)))
    (test-equal "locked twice" '(EDEADLK EDEADLK EDEADLK EDEADLK)
      (let* ((a (begin (read-lock) (kind (read-lock))))
             (b (kind (write-lock)))
             (c (begin (unlock) (write-lock) (kind (read-lock))))
             (d (kind (write-lock))))
        (unlock)
        (list a b c d)))
    (test-equal "unlocked by nobody, and by another" '(EPERM EPERM EPERM)
      (let* ((a (kind (unlock)))
             (b (begin (read-lock) (elsewhere (kind (unlock)))))
             (c (begin (unlock) (write-lock) (elsewhere (kind (unlock))))))
        (unlock)
        (list a b c)))
    (test-equal "a writer that waits keeps further readers out" '(#f #t #t)
      (begin
        (read-lock)
        (let ((writer (in-thread (locked-and-unlocked (write-lock)))))
          (let again ()
            ;; The writer is known.
            (when (zero? (atomic-u64-ref bv (+ rwlock 8))) (usleep 500) (again)))
          (let ((reader (elsewhere (read-lock 0.02))))
            (unlock)
            (list reader (join-thread writer)
                  (locked-and-unlocked (read-lock)))))))
    (test-equal "one that gives up lets them in" '(#f #t)
      (begin
        (read-lock)
        (let* ((a (elsewhere (write-lock 0.07)))
               (b (elsewhere (locked-and-unlocked (read-lock)))))
          (unlock)
          (list a b))))
    (test-equal "a writer that died, and who is told" '(abandoned abandoned #t)
      (let* ((a (begin
                  (killed-after bv write-lock)
                  (locked-and-unlocked (write-lock))))
             (b (begin
                  (killed-after bv write-lock)
                  ;; A reader has it alone.
                  (let* ((b (read-lock))
                         (alone? (not (elsewhere (read-lock 0)))))
                    (unlock)
                    (and alone? b))))
             (c (locked-and-unlocked (read-lock))))
        (list a b c)))
    (test-equal "a reader that died just stops counting" '(#t #t)
      (let* ((a (begin
                  (killed-after bv read-lock)
                  (locked-and-unlocked (write-lock))))
             (b (locked-and-unlocked (read-lock))))
        (list a b)))
    (test-equal "a writer that died while it waited" '(#t #t)
      (begin
        (read-lock)
        (set-word! bv 0 0)
        (let ((pid (start-process (lambda () (write-lock)))))
          (let again ()
            (when (zero? (atomic-u64-ref bv (+ rwlock 8))) (usleep 500) (again)))
          (kill-process pid))
        (let ((a (elsewhere (locked-and-unlocked (read-lock)))))
          (unlock)
          (list a (locked-and-unlocked (write-lock))))))
    (test-equal "128 readers, and one that waits until one leaves" '(128 #f #t)
      (begin
        (set-word! bv 1 0)
        (set-word! bv 2 0)
        (let ((threads (map (lambda (i)
                              (in-thread
                               (read-lock)
                               (add-to-word! bv 1 1)
                               (let again ()
                                 (when (zero? (word bv 2))
                                   (usleep 20000)
                                   (again)))
                               (unlock)))
                            (iota 128))))
          (await-word bv 1 128)
          (let* ((early (read-lock 0.07))
                 (last (begin
                         (set-word! bv 2 1)
                         (locked-and-unlocked (read-lock)))))
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


;;; Leaving a wait.

;; Each way to wait, in a mapping where all is held by somebody else, and what
;; it comes to when that is given back.
(define waits
  `(("atomic-u32-wait"
     ,(lambda (bv) (atomic-u32-wait bv scratch 0)))
    ("shm-mutex-lock!"
     ,(lambda (bv) (shm-mutex-lock! bv mutex)))
    ("with-shm-mutex"
     ,(lambda (bv) (with-shm-mutex bv mutex #t)))
    ("shm-condition-wait!"
     ,(lambda (bv)
        (let ((mine 192))
          (shm-mutex-init! bv mine)
          (shm-mutex-lock! bv mine)
          (shm-condition-wait! bv condition mine))))
    ("shm-semaphore-wait!"
     ,(lambda (bv) (shm-semaphore-wait! bv semaphore)))
    ("shm-barrier-wait!"
     ,(lambda (bv) (shm-barrier-wait! bv barrier)))
    ("shm-rwlock-read-lock!"
     ,(lambda (bv) (shm-rwlock-read-lock! bv rwlock)))
    ("shm-rwlock-write-lock!"
     ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock)))
    ("semaphore-wait!"
     ,(lambda (bv) (semaphore-wait! named)))))

(define named #f)

(define (make-named!)
  (let ((name (fresh-name)))
    (set! named (semaphore-open name (list O_CREAT O_EXCL)))
    (semaphore-unlink name)))

;; A thread that holds the mutex and the read-write lock until it is told.
(define-syntax-rule (with-holder (bv) body ...)
  (let ((holder (in-thread
                 (shm-mutex-lock! bv mutex)
                 (shm-rwlock-write-lock! bv rwlock)
                 (set-word! bv 7 1)
                 (let again ()
                   (when (= 1 (word bv 7))
                     (usleep 5000)
                     (again)))
                 (shm-rwlock-unlock! bv rwlock)
                 (shm-mutex-unlock! bv mutex))))
    (await-word bv 7 1)
    (let ((result (begin body ...)))
      (set-word! bv 7 2)
      (join-thread holder)
      result)))

(define (usable? bv)
  ;; All is as if nobody had ever waited.
  (and (eq? #t (shm-mutex-lock! bv mutex))
       (begin (shm-mutex-unlock! bv mutex) #t)
       (eq? #t (shm-rwlock-write-lock! bv rwlock))
       (begin (shm-rwlock-unlock! bv rwlock) #t)
       (not (shm-semaphore-wait! bv semaphore 0))
       (begin (shm-semaphore-post! bv semaphore)
              (shm-semaphore-wait! bv semaphore 0))
       (not (shm-barrier-wait! bv barrier 0))
       (zero? (ash (atomic-u64-ref bv (+ condition 8)) -32))))

(define (test-interrupts)
  ;; Here, where no async makes it half.
  (make-named!)
  (for-each
   (match-lambda
     ((name wait)
      (for-each
       (match-lambda
         ((what . interrupt)
          (test-assert (format #f "~a: ~a" name what)
            (with-structures (bv)
              (let ((times (with-holder (bv)
                             (map (lambda (i)
                                    (interrupt (lambda () (wait bv)) i))
                                  (iota rounds)))))
                (format #t "~a: ~a: at most ~a ms~%" name what
                        (apply max times))
                (usable? bv))))))
       interrupts)))
   waits)

  (for-each
   (match-lambda
     ((name wait)
      (test-equal (string-append name ": an async that returns changes nothing")
        '(10 #f)
        (with-structures (bv)
          (with-holder (bv)
            (let ((thread (in-thread (wait bv))) (runs 0))
              (for-each (lambda (i)
                          (await-sleepers 1)
                          (system-async-mark (lambda () (set! runs (+ runs 1)))
                                             thread)
                          (let again ()
                            (unless (= runs (+ i 1)) (usleep 500) (again))))
                        (iota 10))
              (let ((exited? (thread-exited? thread)))
                (cancel-thread thread)
                (call-with-values (lambda () (join-thread thread)) list)
                (list runs exited?))))))))
   waits)
  (for-each
   (match-lambda
     ((name wait)
      (unless (string=? name "semaphore-wait!")
        (test-equal (string-append name ": unmapped while it waits")
          '(out-of-range "unmapped")
          (let ((bv (shm-create #f size)))
            (shm-unlink (shm-name bv))
            (initialize! bv)
            (let ((holder (in-thread
                           (shm-mutex-lock! bv mutex)
                           (shm-rwlock-write-lock! bv rwlock)
                           (set-word! bv 7 1)
                           (sleep 1000))))
              (await-word bv 7 1)
              (let ((thread (in-thread (raised (lambda () (wait bv))))))
                (await-sleepers 1)
                (shm-unmap! bv)
                (cancel-thread holder)
                (call-with-values (lambda () (join-thread holder)) list)
                (match (join-thread thread)
                  ((key _ message . _)
                   (list key (if (string-contains message "was unmapped")
                                 "unmapped"
                                 message)))))))))))
   waits)
  (for-each
   (match-lambda
     ((name wait)
      (unless (or (string=? name "semaphore-wait!") (not (shm-fault-guard)))
        (test-equal (string-append name ": cut short while it waits") '(fault #t)
          (with-fresh-name object
            (let ((bv (shm-create object size))
                  (other (make-bytevector size 0)))
              (initialize! bv)
              (let* ((holder (in-thread
                              (shm-mutex-lock! bv mutex)
                              (shm-rwlock-write-lock! bv rwlock)
                              (shm-mutex-init! other mutex)
                              (shm-mutex-lock! other mutex)
                              (sleep 1000)))
                     (thread (begin
                               (let again ()
                                 (when (zero? (atomic-u64-ref other 8))
                                   (usleep 500)
                                   (again)))
                               (in-thread
                                (let ((kind (kind (wait bv))))
                                  ;; Nothing comes after it.
                                  (list kind #t))))))
                (await-sleepers 1)
                (let ((fd (shm-open object (list O_RDWR))))
                  (shm-resize! fd 0)
                  (close-fdes fd))
                (let ((result (join-thread thread)))
                  (cancel-thread holder)
                  (call-with-values (lambda () (join-thread holder)) list)
                  result))))))))
   waits)
  (test-equal "a deadline does not move" #t
    (with-structures (bv)
      (let* ((start (get-internal-real-time))
             (thread (in-thread (shm-semaphore-wait! bv semaphore 0.3))))
        (let again ()
          (unless (thread-exited? thread)
            (system-async-mark (lambda () #t) thread)
            (usleep 1000)
            (again)))
        (and (not (join-thread thread))
             (>= (milliseconds-since start) 290))))))

(define (test-unmapping)
  (define (until-unmapped fd try)
    (let* ((bv (shm-map fd))
           (begun? #f)
           (thread (in-thread
                    (kind
                     (set! begun? #t)
                     (let again ()
                       (unless (try bv) (again)))))))
      ;; A thread's first attempt takes longest, since it looks up who it is.
      (let await ()
        (unless begun? (await)))
      (shm-unmap! bv)
      (join-thread thread)))
  ;; This thread holds it all the time, so that no other one gets it, at
  ;; whatever instant the memory in which that one tries becomes another.
  (for-each
   (match-lambda
     ((name hold try)
      (test-equal (string-append name ": unmapped while it tries")
        '(out-of-range)
        (call-with-descriptor (shm-open-anonymous #:size size)
          (lambda (fd)
            (let ((bv (shm-map fd)))
              (initialize! bv)
              (hold bv)
              (delete-duplicates
               (map (lambda (_) (until-unmapped fd try))
                    (iota (* 20 rounds))))))))))
   `(("shm-mutex-lock!"
      ,(lambda (bv) (shm-mutex-lock! bv mutex))
      ,(lambda (bv) (shm-mutex-lock! bv mutex 0)))
     ("shm-rwlock-read-lock!"
      ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock))
      ,(lambda (bv) (shm-rwlock-read-lock! bv rwlock 0)))
     ("shm-rwlock-write-lock!"
      ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock))
      ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock 0))))))

(define (test-ctrl-c)
  ;; As the first Ctrl-C at a REPL: a process of its own, with Guile's handler.
  (for-each
   (match-lambda
     ((name . expressions)
      (test-equal (string-append name ": Ctrl-C") 'interrupted
        (with-fresh-name object
          (let* ((port (apply start-guile OPEN_READ
                              `((use-modules (posix-shm atomic) (posix-shm sync))
                                (define bv (shm-create ,object 8192))
                                (sigaction SIGINT (lambda (s) (throw 'interrupted)))
                                (catch 'interrupted
                                  (lambda ()
                                    (write (getpid))
                                    (newline)
                                    (force-output)
                                    ,@expressions)
                                  (lambda (key) (write key))))))
                 (pid (read port)))
            (await-sleepers 1 pid)
            (kill pid SIGINT)
            (let ((said (read port)))
              (close-pipe port)
              said))))))
   '(("atomic-u32-wait" (atomic-u32-wait bv 0 0))
     ("shm-semaphore-wait!"
      (shm-semaphore-init! bv 0 0) (shm-semaphore-wait! bv 0))
     ("shm-barrier-wait!"
      (shm-barrier-init! bv 0 2) (shm-barrier-wait! bv 0)))))

;;; Other namespaces.

(define (test-namespaces)
  ;; After shell commands.  With none both are process 1 of their own.
  (define (in-namespace before name . expressions)
    (open-pipe* OPEN_READ "unshare" "--mount" "--fork" "--pid"
                "sh" "-c" (string-append before " exec \"$0\" \"$@\"")
                guile "--no-auto-compile"
                "-c" (program `((use-modules (posix-shm sync))
                                (define bv (shm-attach ,name #:writable? #t))
                                ,@expressions))))
  (define (exclude? before-holder before-other)
    (with-fresh-name name
      (let ((bv (shm-create name size)))
        (initialize! bv)
        (let* ((holder (in-namespace
                        before-holder name
                        `(write (shm-mutex-lock! bv ,mutex))
                        '(newline)
                        '(force-output)
                        `(let again ()
                           (when (zero? ((@ (posix-shm atomic) atomic-u32-ref)
                                         bv ,scratch))
                             (usleep 1000)
                             (again)))
                        `(shm-mutex-unlock! bv ,mutex)))
               (held (read holder))
               (other (in-namespace
                       before-other name
                       `(write (list (shm-mutex-lock! bv ,mutex 0.2)
                                     (catch #t
                                       (lambda () (shm-mutex-unlock! bv ,mutex))
                                       (lambda (key . rest) key))))))
               (refused (read other)))
          (set-word! bv 0 1)
          (close-pipe holder)
          (close-pipe other)
          (list held refused (shm-mutex-lock! bv mutex 1))))))
  (define without-proc "umount -l /proc;")
  (define others "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done;")
  (for-each
   (match-lambda
     ((what before-holder before-other)
      (unless (and root? (search-path (parse-path (getenv "PATH")) "unshare")
                   (zero? (status:exit-val
                           (system* "unshare" "--mount" "--fork" "--pid"
                                    "true"))))
        (test-skip 1))
      (test-equal (string-append "processes of two PID namespaces exclude each \
other: " what)
        '(#t (#f system-error) #t)
        (exclude? before-holder before-other))))
   `(("with the /proc of neither" "" "")
     ("without /proc" ,without-proc ,without-proc)
     ("without /proc, of other ids" ,without-proc
      ,(string-append without-proc others))))
  (unless (and root? (zero? (status:exit-val
                             (system* "sh" "-c" "unshare --time --boottime 9 \
--fork true 2> /dev/null"))))
    (test-skip 1))
  (test-equal "owners of another time namespace: one that lives, one that died"
    '(#f abandoned)
    (with-fresh-name name
      (let ((bv (shm-create name size)))
        (initialize! bv)
        (shm-mutex-lock! bv mutex)
        (let* ((pipe (open-pipe* OPEN_READ "unshare" "--time" "--boottime"
                                 "1000" "--fork" guile "--no-auto-compile" "-c"
                                 (program
                                  `((use-modules (posix-shm sync))
                                    (define bv
                                      (shm-attach ,name #:writable? #t))
                                    (write (shm-mutex-lock! bv ,mutex 0.3))
                                    (newline)
                                    (force-output)
                                    (shm-mutex-lock! bv ,mutex)
                                    (kill (getpid) SIGKILL)))))
               (stolen (read pipe)))
          (shm-mutex-unlock! bv mutex)
          (close-pipe pipe)
          (list stolen (shm-mutex-lock! bv mutex 60))))))
  (unless (string=? (utsname:sysname (uname)) "Linux")
    (test-skip 1))
  (test-equal "a thread learns what it is with no descriptor free" '(#t abandoned)
    (guile-says
     '(use-modules (posix-shm sync) (ice-9 match))
     '(define fd (shm-open-anonymous #:size 64))
     '(define bv (shm-map fd))
     set-descriptor-limit
     '(define held (fill))
     '(shm-mutex-init! bv 0)
     '(define locked (shm-mutex-lock! bv 0))
     '(shm-mutex-unlock! bv 0)
     '(define pid
        (match (primitive-fork)
          (0 (shm-mutex-lock! bv 0)
             (kill (getpid) SIGKILL))
          (pid pid)))
     '(waitpid pid)
     '(define then (shm-mutex-lock! bv 0 60))
     '(for-each close-fdes held)
     '(write (list locked then))))
  (unless (string=? (utsname:sysname (uname)) "Linux")
    (test-skip 1))
  (test-equal "an owner that was killed and not waited for, with no descriptor"
    'abandoned
    (guile-says
     '(use-modules (posix-shm sync) (ice-9 match))
     '(define fd (shm-open-anonymous #:size 64))
     '(define bv (shm-map fd))
     '(shm-mutex-init! bv 0)
     set-descriptor-limit
     '(define ends (pipe))
     '(define pid
        (match (primitive-fork)
          (0 (shm-mutex-lock! bv 0)
             (display "locked\n" (cdr ends))
             (force-output (cdr ends))
             (kill (getpid) SIGKILL))
          (pid pid)))
     '(read (car ends))
     '(define held (fill))
     '(define locked (shm-mutex-lock! bv 0 60))
     '(for-each close-fdes held)
     '(waitpid pid)
     '(write locked))))


;;; What peers may write.

(define (test-hostile)
  ;; In a process of its own, which must come to its end.
  (define (scribble! bv start count state)
    ;; Random words, often ones that mean something.
    (for-each
     (lambda (i)
       (let ((k (+ start 8 (* 8 i))))
         (atomic-u64-set!
          bv k
          (case (random 8 state)
            ((0) 0)
            ((1) (random (expt 2 64) state))
            ((2) (- (expt 2 64) 1))
            ((3) (ash (getpid) 3))
            ((4) (logior 1 (ash (getppid) 3)))
            ((5) (random 8 state))
            ((6) (ash (random 512 state) 32))
            (else (atomic-u64-ref bv k))))))
     (iota count)))
  (define (use bv)
    (for-each
     (match-lambda
       ((name . proc)
        (let ((result (kind (proc))))
          (unless (memq result '(returned EPERM EDEADLK EOVERFLOW format))
            (error "not documented" name result)))))
     `((lock . ,(lambda () (shm-mutex-lock! bv mutex 1/1000)))
       (unlock . ,(lambda () (shm-mutex-unlock! bv mutex)))
       (wait . ,(lambda () (shm-condition-wait! bv condition mutex 1/1000)))
       (signal . ,(lambda () (shm-condition-signal! bv condition)))
       (broadcast . ,(lambda () (shm-condition-broadcast! bv condition)))
       (post . ,(lambda () (shm-semaphore-post! bv semaphore)))
       (take . ,(lambda () (shm-semaphore-wait! bv semaphore 1/1000)))
       (value . ,(lambda () (shm-semaphore-value bv semaphore)))
       (barrier . ,(lambda () (shm-barrier-wait! bv barrier 1/1000)))
       (read . ,(lambda () (shm-rwlock-read-lock! bv rwlock 1/1000)))
       (read-unlock . ,(lambda () (shm-rwlock-unlock! bv rwlock)))
       (write . ,(lambda () (shm-rwlock-write-lock! bv rwlock 1/1000)))
       (write-unlock . ,(lambda () (shm-rwlock-unlock! bv rwlock))))))
  (define (scribble-all! bv state)
    (scribble! bv mutex 2 state)
    (scribble! bv condition 2 state)
    (scribble! bv semaphore 1 state)
    (scribble! bv barrier 259 state)
    (scribble! bv rwlock 130 state))
  (test-equal "whatever was written there" 0
    (with-structures (bv)
      (cdr (waitpid (start-process
                     (lambda ()
                       (let ((state (seed->random-state (getpid))))
                         (let loop ((n 0))
                           (when (< n (* 5 rounds))
                             (scribble-all! bv state)
                             (use bv)
                             (loop (+ n 1)))))))))))
  (test-equal "and is written meanwhile" 0
    (with-structures (bv)
      (call-beside-process
       (lambda ()
         (let ((state (seed->random-state (getpid))))
           (let loop ()
             (scribble-all! bv state)
             (loop))))
       (lambda ()
         (cdr (waitpid (start-process
                        (lambda ()
                          (let loop ((n 0))
                            (when (< n (* 5 rounds))
                              (use bv)
                              (loop (+ n 1)))))))))))))

(test-begin "sync")

(cond (posix-shm?
       ;; First, while this process has one thread, what forks most.
       (test-group "mutexes" (test-mutexes))
       (test-group "with a mutex" (test-with-mutex))
       (test-group "semaphores" (test-semaphores))
       (test-group "barriers" (test-barriers))
       (test-group "read-write locks" (test-rwlocks))
       (test-group "conditions" (test-conditions))
       (test-group "namespaces" (test-namespaces))
       (test-group "what peers write" (test-hostile))
       (test-group "formats" (test-formats))
       (test-group "interrupts" (test-interrupts))
       (test-group "unmapping" (test-unmapping))
       (test-group "Ctrl-C" (test-ctrl-c)))
      (else
       (test-group "without shared memory" (test-in-bytevector))))

(test-end "sync")

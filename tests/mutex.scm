;;; SPDX-License-Identifier: BSD-3-Clause
;;; mutex.scm - mutexes in shared memory, tested.

(use-modules (ice-9 exceptions)
             (ice-9 match)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))

(define (test-locking)
  (with-structures (bv)
    (test-equal "locked, and by no other thread" '(#t #f #f #t #t)
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
offset 0 of ~s (this thread owns it already)" (shm-name bv)) ,EDEADLK)
      (dynamic-wind
        (lambda () (shm-mutex-lock! bv mutex))
        (lambda () (shm-mutex-lock! bv mutex))
        (lambda () (shm-mutex-unlock! bv mutex))))
    (test-raises "unlocked when free"
      `(system-error "shm-mutex-unlock!" ,(format #f "Operation not permitted: the mutex at \
offset 0 of ~s (this thread does not own it)" (shm-name bv)) ,EPERM)
      (shm-mutex-unlock! bv mutex))
    (test-equal "unlocked by another thread" 'EPERM
      (begin
        (shm-mutex-lock! bv mutex)
        (let ((kind (elsewhere (kind (shm-mutex-unlock! bv mutex)))))
          (shm-mutex-unlock! bv mutex)
          kind)))))

(define (test-dead-owners)
  (with-structures (bv)
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
                        (await (positive? (atomic-u64-ref bv 8)))
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
            (list (word bv 1) (word bv 2))))))))

(define (test-forks-and-unmapping)
  (with-structures (bv)
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
          (shm-mutex-lock! bv mutex))))))

(define (test-many)
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
        (list ended? (word bv 0))))))

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

(define (free? bv)
  (zero? (atomic-u64-ref bv 8)))

(define (abandon bv)
  (join-thread (in-thread (shm-mutex-lock! bv mutex))))

(define (test-with-mutex)
  (with-structures (bv)
    (test-equal "all values are returned" '(1 2 #t)
      (call-with-values
          (lambda ()
            (call-with-shm-mutex bv mutex (lambda () (values 1 2))))
        (lambda (a b) (list a b (free? bv)))))
    (test-equal "with-shm-mutex" '(#f #t)
      (let ((held (with-shm-mutex bv mutex (free? bv))))
        (list held (free? bv))))
    (test-equal "procedures that are none" '(wrong-type-arg wrong-type-arg #t)
      (list (kind (call-with-shm-mutex bv mutex 5))
            (kind (with-shm-mutex bv mutex #:on-abandoned 5 1))
            (free? bv)))
    (test-equal "with-shm-mutex without a body, or a keyword's value"
      '(syntax-error syntax-error)
      (map (lambda (form)
             (kind (eval form (resolve-interface '(posix-shm sync)))))
           '((with-shm-mutex #f 0) (with-shm-mutex #f 0 #:timeout))))
    (test-equal "left by an exception" '((oops) #t)
      (let ((key (catch #t
                   (lambda () (with-shm-mutex bv mutex (throw 'oops)))
                   list)))
        (list key (free? bv))))
    (test-equal "within itself it raises, and the outer goes on" '(EDEADLK #f #t)
      (let* ((inner #f)
             (held (with-shm-mutex bv mutex
                     (set! inner (kind (with-shm-mutex bv mutex 1)))
                     (free? bv))))
        (list inner held (free? bv))))
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
          result)))))

(define (test-mending)
  (with-structures (bv)
    (test-equal "an abandoned one is mended first" '((body mended) #t)
      (let ((steps '()))
        (abandon bv)
        (with-shm-mutex bv mutex
          #:on-abandoned (lambda () (set! steps (cons 'mended steps)))
          (set! steps (cons 'body steps)))
        (list steps (free? bv))))
    (test-equal "without that it raises each time, and is unlocked"
      '(abandoned abandoned #f abandoned)
      (let ((called? #f))
        (define (call)
          (kind (call-with-shm-mutex bv mutex (lambda () (set! called? #t)))))
        (abandon bv)
        (let* ((first (call)) (second (call)))
          (list first second called? (shm-mutex-lock! bv mutex 0)))))
    (shm-mutex-unlock! bv mutex)
    (test-equal "the message of that"
      (format #f "The owner of the mutex at offset 0 of ~s died, and the data \
that it guards may be inconsistent: #:on-abandoned takes a procedure that \
recovers it" (shm-name bv))
      (begin
        (abandon bv)
        (guard (c ((shm-abandoned? c) (exception-message c)))
          (with-shm-mutex bv mutex 1))))
    (test-equal "where mending fails the next is told" '((oops) mended 1 #t)
      (let ((key #f) (next #f))
        (abandon bv)
        (set! key (catch #t
                    (lambda ()
                      (with-shm-mutex bv mutex
                        #:on-abandoned (lambda () (throw 'oops))
                        1))
                    list))
        (let ((result (with-shm-mutex bv mutex
                        #:on-abandoned (lambda () (set! next 'mended))
                        1)))
          (list key next result (free? bv)))))
    (test-equal "left before mending begins, the next is told" 'abandoned
      (begin
        (abandon bv)
        (join-thread (in-thread
                      (catch 'interrupted
                        (lambda ()
                          (with-shm-mutex bv mutex
                            #:on-abandoned (lambda () (throw 'interrupted))
                            1))
                        (const 'interrupted))))
        (let ((locked (shm-mutex-lock! bv mutex 0)))
          (shm-mutex-unlock! bv mutex)
          locked)))))

(define (test-waiting-while-mending)
  (with-structures (bv)
    (test-equal "others are told while the one that mends waits"
      '(abandoned gave-up)
      (begin
        (abandon bv)
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
                                  (shm-condition-variable-signal! bv condition)
                                  locked)))
                             (shm-condition-variable-wait! bv condition mutex)
                             (throw 'gave-up))
                           1))
                       (lambda (key) key))))
          (list (join-thread other) left))))
    (test-equal "and still, if it gives up having waited" 'abandoned
      (begin
        (abandon bv)
        (catch 'gave-up
          (lambda ()
            (with-shm-mutex bv mutex
              #:on-abandoned (lambda ()
                               (shm-condition-variable-wait! bv condition mutex 0.1)
                               (throw 'gave-up))
              1))
          (const #f))
        (let ((locked (shm-mutex-lock! bv mutex)))
          (shm-mutex-unlock! bv mutex)
          locked)))))

(define (test-entering-again)
  (with-structures (bv)
    (test-equal "entered again after it returned" '(misc-error #t 1)
      (let ((again #f) (times 0))
        (let ((result (catch #t
                        (lambda ()
                          (with-shm-mutex bv mutex
                            (call/cc (lambda (k) (set! again k)))
                            (set! times (+ times 1)))
                          (again #f))
                        (lambda (key . _) key))))
          (list result (free? bv) times))))
    (test-equal "entered again after it was left, nested, and in a thread"
      '(misc-error (misc-error misc-error) #t)
      (let* ((tag (make-prompt-tag))
             (enter (call-with-prompt tag
                      (lambda ()
                        (with-shm-mutex bv mutex ((abort-to-prompt tag))))
                      (lambda (k) k)))
             (kind-of (lambda (thunk)
                        (catch #t thunk (lambda (key . _) key)))))
        (list (kind-of (lambda () (enter (const #t))))
              (list (kind-of (lambda () (enter (lambda () (enter (const #t))))))
                    (join-thread
                     (call-with-new-thread
                      (lambda ()
                        (kind-of (lambda () (enter (const #t))))))))
              (free? bv))))
    (test-equal "suspended and resumed by asyncs before it is locked" '(() #t)
      (let ((tag (make-prompt-tag)) (main (current-thread)) (stop? #f))
        (define (run thunk)
          (call-with-prompt tag thunk
            (lambda (k) (run (lambda () (k))))))
        (define suspender
          (call-with-new-thread
           (lambda ()
             (let loop ()
               (unless stop?
                 ;; Without the prompt, as between two times, this raises.
                 (system-async-mark
                  (lambda ()
                    (catch 'misc-error
                      (lambda () (abort-to-prompt tag))
                      (const #f)))
                  main)
                 (usleep 100)
                 (loop))))))
        ;; What was suspended with the mutex locked cannot go on, nor what was
        ;; suspended in C.
        (define kinds
          (filter-map (lambda (_)
                        (catch #t
                          (lambda ()
                            (run (lambda () (with-shm-mutex bv mutex 1)))
                            #f)
                          (lambda (key . _)
                            (and (eq? key 'system-error) key))))
                      (iota 20000)))
        (set! stop? #t)
        (join-thread suspender)
        (list kinds (free? bv))))))

(define (test-leaving)
  (with-structures (bv)
    (test-equal "an exception passes, whatever became of the memory"
      '((oops) (oops))
      (list
       (let ((bv (shm-create #f size)))
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
        (list kind (free? bv))))
    (test-equal "asyncs that throw at any instant leave it unlocked"
      '((returned stopped) #t #t)
      (let ((result (throw-at-any-instant (* 100 rounds)
                      (lambda ()
                        (with-shm-mutex bv mutex
                          (set-word! bv 1 (+ 1 (word bv 1))))))))
        (list result (positive? (word bv 1)) (free? bv))))
    (test-equal "also while an exception unwinds"
      '((returned stopped) #t)
      (let ((result (throw-at-any-instant (* 100 rounds)
                      (lambda ()
                        (catch 'oops
                          (lambda ()
                            (with-shm-mutex bv mutex (throw 'oops)))
                          (const #f))))))
        (list result (free? bv))))))

(test-begin "mutex")

(cond (posix-shm?
       ;; First, while this process has one thread, what forks most.
       (test-group "mutexes"
         (test-locking)
         (test-dead-owners)
         (test-forks-and-unmapping)
         (test-many)
         (test-in-bytevector))
       (test-group "with a mutex"
         (test-with-mutex)
         (test-mending)
         (test-waiting-while-mending)
         (test-leaving)
         (test-entering-again)))
      (else
       (test-group "without shared memory" (test-in-bytevector))))

(test-end "mutex")

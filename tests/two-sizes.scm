;;; SPDX-License-Identifier: BSD-3-Clause
;;; two-sizes.scm - two processes, of 32 and of 64 bits, use the same locks and
;;; channels; and so do this one and a program in C, the peer of languages.scm.
;;; Usage: guile two-sizes.scm NAME PID|other   (see build-aux/two-sizes)
;;; PID is the process that the other one comes from.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm channel)
             (posix-shm sync)
             (rnrs bytevectors)
             ((system foreign) #:select (sizeof size_t))
             ((tests peer) #:prefix peer:))

(define patience 60)

;; A process of the other size attaches only if it finds the same layout.
(define-shm-layout shared
  (padding u8)
  (mutex mutex)
  (condition condition-variable)
  (semaphores semaphore 2)
  (rwlock rwlock)
  (barrier (barrier 2))
  (words u64 11)
  (channels (channel 2432) 2))          ; there and back

(define mutex shared-mutex-offset)
(define condition shared-condition-offset)
(define rwlock shared-rwlock-offset)
(define barrier shared-barrier-offset)
(define (word i) (shared-words-offset i))

(define (repeat n proc)
  (let loop ((i 0))
    (when (< i n)
      (proc i)
      (loop (+ i 1)))))

(define (add! bv k)
  (bytevector-u64-native-set! bv k (+ 1 (bytevector-u64-native-ref bv k))))

(define (await bv k n)
  (let ((seen (atomic-u32-ref bv k)))
    (unless (= seen n)
      (must (atomic-u32-wait bv k seen patience))
      (await bv k n))))

(define (say! bv k n)
  (atomic-u32-set! bv k n)
  (atomic-u32-notify! bv k))

(define (must value)
  (unless value
    (error "waited in vain")))

;; What both do, ME being 0 or 1.
(define (together bv me)
  (repeat 20000 (lambda (i)
                  (must (shm-mutex-lock! bv mutex patience))
                  (add! bv (word 0))
                  (shm-mutex-unlock! bv mutex)))
  (repeat 20000 (lambda (i) (atomic-u64-fetch-add! bv (word 1) (expt 2 40))))
  (repeat 1000 (lambda (i)
                 (when (zero? me) (say! bv (word 2) (+ 1 (* 2 i))))
                 (await bv (word 2) (+ (* 2 i) (- 2 me)))
                 (when (= me 1) (say! bv (word 2) (+ 2 (* 2 i))))
                 (must (shm-barrier-wait! bv barrier patience))))
  (repeat 5000 (lambda (i)
                 (shm-semaphore-post! bv (shared-semaphores-offset me))
                 (must (shm-semaphore-wait! bv (shared-semaphores-offset (- 1 me))
                                            patience))))
  (repeat 1000 (lambda (i)
                 (with-shm-mutex bv mutex
                   (let again ()
                     (unless (= me (modulo (bytevector-u64-native-ref bv (word 3))
                                           2))
                       (must (shm-condition-variable-wait! bv condition mutex patience))
                       (again)))
                   (add! bv (word 3))
                   (shm-condition-variable-signal! bv condition))))
  (repeat 5000 (lambda (i)
                 (if (= me (modulo i 2))
                     (begin
                       (must (shm-rwlock-write-lock! bv rwlock patience))
                       (add! bv (word 4))
                       (add! bv (word 5)))
                     (begin
                       (must (shm-rwlock-read-lock! bv rwlock patience))
                       (must (= (bytevector-u64-native-ref bv (word 4))
                                (bytevector-u64-native-ref bv (word 5))))))
                 (shm-rwlock-unlock! bv rwlock)))
  (exchange bv me)
  (must (shm-barrier-wait! bv barrier patience)))

;; Messages of all sizes, each of which comes back.
(define (exchange bv me)
  (define (message i) (make-bytevector (modulo (* 7 i) 700) (modulo i 251)))
  (define there (shared-channels bv me))
  (define back (shared-channels bv (- 1 me)))
  (repeat 10000
          (lambda (i)
            (if (zero? me)
                (begin
                  (must (shm-channel-send! there (message i)
                                           #:timeout patience))
                  (must (equal? (message i)
                                (shm-channel-receive! back #:timeout patience))))
                (let ((got (shm-channel-receive! back #:timeout patience)))
                  (must (call-with-shm-slot
                         there (bytevector-length got)
                         (lambda (slot)
                           (bytevector-copy! got 0 slot 0
                                             (bytevector-length got)))
                         #:timeout patience)))))))

;; One whose owner, of the size of this process, was killed.
(define (leave-abandoned bv)
  (let ((pid (primitive-fork)))
    (when (zero? pid)
      (shm-mutex-lock! bv mutex)
      (shm-rwlock-write-lock! bv rwlock)
      (say! bv (word 6) 1)
      (sleep 1000))
    (await bv (word 6) 1)
    (kill pid SIGKILL)
    (waitpid pid)
    (atomic-u32-set! bv (word 6) 0)))

(define (take-abandoned bv)
  (let ((locked (shm-mutex-lock! bv mutex patience))
        (entered (shm-rwlock-read-lock! bv rwlock patience)))
    (shm-mutex-unlock! bv mutex)
    (shm-rwlock-unlock! bv rwlock)
    (list locked entered)))

(define passed 0)
(define failed 0)

(define (test what expected actual)
  (let ((good? (equal? expected actual)))
    (if good?
        (set! passed (+ passed 1))
        (set! failed (+ failed 1)))
    (format #t "~a: ~a~a~%" (if good? "PASS" "FAIL") what
            (if good? "" (format #f ": ~s" actual)))))

(define bits (* 8 (sizeof size_t)))

(define (lives? pid)
  (not (eqv? ESRCH (catch 'system-error
                     (lambda () (kill pid 0))
                     (lambda arguments (system-error-errno arguments))))))

;; It may have to be built first, which takes as long as it takes.
(define (has-come? bv pid)
  (or (atomic-u32-wait bv (word 7) 0 1)
      (and (lives? pid)
           (has-come? bv pid))))

(define messages 20000)

;; The peer receives, sends and locks, in this order.
(define (work-with-peer name)
  (define channel (string-append name "-channel"))
  (define lock (string-append name "-lock"))
  (dynamic-wind
    (lambda ()
      (shm-channel-create channel 10000)
      (shm-create lock 4096 #:initialize (lambda (bv) (shm-mutex-init! bv 0))))
    (lambda ()
      (peer:send channel messages)
      (peer:receive channel messages)
      (test "messages to and from a program in C" (* 2 messages)
            (assq-ref (shm-channel-statistics (shm-channel-attach channel))
                      'messages-out))
      (peer:lock lock messages)
      (let ((bv (shm-attach lock)))
        (define (total) (atomic-u64-ref bv 24))
        (let again ((left 600))
          (unless (or (= (total) (* 2 messages)) (zero? left))
            (usleep 100000)
            (again (- left 1))))
        (test "what that program and this one counted" (* 2 messages) (total))))
    (lambda ()
      (shm-unlink channel)
      (shm-unlink lock))))

(define (main name pid)
  (call-with-shm name #f
    (lambda (bv)
      (test "the other has come" #t (has-come? bv pid))
      (test "the other's size is another" #f
            (= bits (atomic-u32-ref bv (word 7))))
      (together bv 0)
      (test "what a mutex guards" 40000 (atomic-u64-ref bv (word 0)))
      (test "atomic additions" (* 40000 (expt 2 40))
            (atomic-u64-ref bv (word 1)))
      (test "turns by a condition" 2000 (atomic-u64-ref bv (word 3)))
      (test "what a read-write lock guards" '(5000 5000)
            (map (lambda (i) (atomic-u64-ref bv (word i))) '(4 5)))
      (test "messages there and back" '(10000 10000)
            (map (lambda (i)
                   (assq-ref (shm-channel-statistics (shared-channels bv i))
                             'messages-out))
                 '(0 1)))
      (leave-abandoned bv)
      (say! bv (word 8) 1)
      (await bv (word 8) 2)
      (test "the other takes over from one of this size" '(abandoned abandoned)
            (map (lambda (i) (if (= 1 (atomic-u32-ref bv (word i)))
                                 'abandoned
                                 #f))
                 '(9 10)))
      (await bv (word 8) 3)
      (test "this takes over from one of the other's" '(abandoned abandoned)
            (take-abandoned bv))
      (say! bv (word 8) 4))
    #:layout shared)
  (work-with-peer name)
  (format #t "~a passed, ~a failed~%" passed failed)
  (exit (and (zero? failed) (positive? passed))))

(define (other name)
  (let ((bv (shm-attach name #:writable? #t #:wait 60 #:layout shared)))
    (say! bv (word 7) bits)
    (together bv 1)
    (await bv (word 8) 1)
    (for-each (lambda (i outcome)
                (when (eq? outcome 'abandoned)
                  (atomic-u32-set! bv (word i) 1)))
              '(9 10) (take-abandoned bv))
    (say! bv (word 8) 2)
    (leave-abandoned bv)
    (say! bv (word 8) 3)
    (await bv (word 8) 4)))

(match (command-line)
  ((_ name "other") (other name))
  ((_ name pid) (main name (string->number pid))))

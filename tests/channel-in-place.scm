;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel-in-place.scm - messages written and read in place, tested.

(use-modules (ice-9 threads)
             (posix-shm atomic)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

(define (slot ch string . timeout)
  (let ((bytes (text string)))
    (apply call-with-shm-slot ch (bytevector-length bytes)
           (lambda (bv)
             (bytevector-copy! bytes 0 bv 0 (bytevector-length bytes))
             'ignored)
           timeout)))

(define (message ch) (call-with-shm-message ch utf8->string #:timeout 0))

(define (free? ch)
  ;; Both sides' locks.
  (and (send! ch "?" 0)
       (join-thread (in-thread (send! ch "!" 0)))
       (let drain ((got (receive! ch 0)))
         (if (eof-object? got) #f (or (not got) (drain (receive! ch 0)))))))

(define (test-in-place)
  (test-equal "sent and received" '(#t "hello" #t "" #f)
    (with-channel (ch 100)
      (let* ((a (slot ch "hello")) (b (message ch))
             (c (slot ch "")) (d (message ch)))
        (list a b c d (message ch)))))
  (test-equal "round and round" #t
    (with-channel (ch 136)
      (every (lambda (i)
               (let ((bytes (some-bytes (modulo i 60) i)))
                 (call-with-shm-slot
                  ch (bytevector-length bytes)
                  (lambda (bv)
                    (bytevector-copy! bytes 0 bv 0 (bytevector-length bytes))))
                 (call-with-shm-message
                  ch (lambda (bv) (equal? bv bytes)))))
             (iota 300))))
  (test-equal "the size" '(7 7)
    (with-channel (ch 100)
      (let ((size #f))
        (call-with-shm-slot ch 7 (lambda (bv) (set! size (bytevector-length bv))))
        (list size (call-with-shm-message ch bytevector-length)))))
  (test-equal "all values are returned" '(1 2)
    (with-channel (ch 100)
      (send! ch "x")
      (call-with-values
          (lambda () (call-with-shm-message ch (lambda (bv) (values 1 2))))
        list)))
  (test-equal "full, and empty" '(#f late #f late #vu8(1))
    (with-channel (ch 16)
      (define (message . options)
        (apply call-with-shm-message ch list #:timeout 0.01 options))
      (send! ch "12345678")
      (let* ((a (slot ch "x" #:timeout 0.01))
             (b (call-with-shm-slot ch 1 list #:timeout 0
                                    #:timeout-value 'late)))
        (receive! ch)
        (list a b (message) (message #:timeout-value 'late)
              ;; Which is not the message.
              (message #:timeout-value #vu8(1))))))
  (test-equal "both are empty afterwards" '(0 0)
    (with-channel (ch 100)
      (let ((kept '()))
        (define (keep bv) (set! kept (cons bv kept)))
        (call-with-shm-slot ch 8 keep)
        (call-with-shm-message ch keep)
        (map bytevector-length kept)))))

(define (test-leaving)
  (test-equal "an exception: nothing is sent, the message stays"
    '((oops) 0 (oops) "x" #t 0)
    (with-channel (ch 100)
      (let* ((kept #f)
             (leave (lambda (bv) (set! kept bv) (throw 'oops)))
             (a (catch 'oops (lambda () (call-with-shm-slot ch 8 leave)) list))
             (b (statistic ch 'messages-in))
             (c (begin
                  (send! ch "x")
                  (catch 'oops (lambda () (call-with-shm-message ch leave))
                    list)))
             (d (receive! ch 0)))
        (list a b c d (free? ch) (bytevector-length kept)))))
  (test-equal "what is wrong is refused, and leaves it free"
    '(wrong-type-arg wrong-type-arg wrong-type-arg out-of-range out-of-range #t)
    (with-channel (ch 100)
      (let ((kinds (list (kind (call-with-shm-slot ch 8 1))
                         (kind (call-with-shm-message ch 1))
                         (kind (call-with-shm-slot ch "8" list))
                         (kind (call-with-shm-slot ch -1 list))
                         (kind (call-with-shm-slot ch 97 list)))))
        (append kinds (list (free? ch))))))
  (test-equal "no procedure, where there is no room or no message"
    '(wrong-type-arg wrong-type-arg)
    (with-channel (ch 8)
      (let ((a (kind (call-with-shm-message ch 1 #:timeout 0))))
        (send! ch "")
        (list a (kind (call-with-shm-slot ch 0 1 #:timeout 0)))))))

(define (test-nesting)
  (test-equal "one in another" '(EDEADLK EDEADLK EDEADLK EDEADLK "ab" #t)
    (with-channel (ch 100)
      (send! ch "ab")
      (let* ((kinds '())
             (add! (lambda (kind) (set! kinds (cons kind kinds))))
             (got (call-with-shm-message
                   ch (lambda (bv)
                        (add! (kind (receive! ch 0)))
                        (add! (kind (call-with-shm-message ch list)))
                        (call-with-shm-slot
                         ch 1 (lambda (bv)
                                (add! (kind (send! ch "x" 0)))
                                (add! (kind (call-with-shm-slot ch 1 list)))
                                (bytevector-u8-set! bv 0 65)))
                        (utf8->string bv)))))
        (append kinds (list got (free? ch))))))
  (test-raises "the message of that"
    `(system-error "shm-channel-send!" "Resource deadlock avoided: the channel \
at offset 0 of anonymous shared memory (this thread is sending to it \
already: the message or call-with-shm-slot must end first)" ,EDEADLK)
    (with-channel (ch 100)
      (call-with-shm-slot ch 1 (lambda (bv) (send! ch "x")))))
  (test-equal "a caller that would wait for itself" '(EDEADLK #f EDEADLK #f #t)
    (with-channel (ch 16)
      (send! ch "12345678")
      (let* ((a (call-with-shm-message ch (lambda (bv) (kind (send! ch "x")))))
             (b (begin
                  (send! ch "12345678")
                  (call-with-shm-message ch (lambda (bv) (send! ch "x" 0)))))
             (c #f) (d #t))
        (call-with-shm-slot ch 0 (lambda (bv)
                                   (set! c (kind (receive! ch)))
                                   (set! d (receive! ch 0))))
        (receive! ch)
        (list a b c d (zero? (statistic ch 'messages-in-flight))))))
  (test-equal "a continuation entered again" '(misc-error misc-error #t)
    (with-channel (ch 100)
      (define (enter-again use)
        (let ((again #f) (times 0))
          (kind
           (use (lambda (bv) (call/cc (lambda (k) (set! again k)))))
           (set! times (+ times 1))
           (when (= times 1) (again #f)))))
      (let* ((a (enter-again (lambda (proc) (call-with-shm-slot ch 1 proc))))
             (b (begin
                  (send! ch "x")
                  (enter-again (lambda (proc) (call-with-shm-message ch proc))))))
        (list a b (free? ch))))))

(define (test-others)
  (test-equal "other threads wait meanwhile" '(#f #f "x")
    (with-channel (ch 100)
      (let* ((a #t) (b #t))
        (call-with-shm-slot
         ch 1 (lambda (bv)
                (bytevector-u8-set! bv 0 120)
                (set! a (join-thread (in-thread (send! ch "y" 0.02))))))
        (let ((got (call-with-shm-message
                    ch (lambda (bv)
                         (set! b (join-thread (in-thread (receive! ch 0.02))))
                         (utf8->string bv)))))
          (list a b got)))))
  (test-equal "the child of a fork has neither" '(0 0 "x" 1 #t)
    (with-channel (ch 100)
      (let ((statuses '()) (here (getpid)))
        (define (fork! use)
          (set! statuses
                (cons (cdr (waitpid (start-process use))) statuses)))
        (define (must expected actual)
          (unless (eq? expected actual)
            (error "the child" expected actual)))
        (send! ch "x")
        (let ((got (call-with-shm-message
                    ch (lambda (bv)
                         (fork! (lambda () (must #f (receive! ch 0))))
                         (utf8->string bv)))))
          (call-with-shm-slot
           ch 1 (lambda (bv)
                  (fork! (lambda () (must #f (send! ch "y" 0.02))))))
          (let ((sent (statistic ch 'messages-in-flight)))
            (receive! ch)
            (append statuses (list got sent (free? ch))))))))
  (test-equal "a child that returns from it has sent nothing" '(EPERM 1 #t)
    (with-channel (ch 100)
      (let* ((pid #f)
             (result (kind
                      (call-with-shm-slot
                       ch 1 (lambda (bv) (set! pid (primitive-fork)))))))
        (when (eqv? pid 0)
          (primitive-_exit (if (eq? result 'EPERM) 7 8)))
        (let ((status (status:exit-val (cdr (waitpid pid))))
              (sent (statistic ch 'messages-in)))
          (receive! ch)
          (list (if (= status 7) 'EPERM status) sent (free? ch)))))))

(define (hold-for-ever flag)
  "Change the u32 that FLAG begins with from 0, and do not return."
  (atomic-u32-set! flag 0 1)
  (atomic-u32-notify! flag 0)
  (atomic-u32-wait flag 4 0))

(define (test-ending)
  (test-equal "a thread that ends in one has neither" '("x" #t)
    (with-channel (ch 100)
      (send! ch "x")
      (let* ((flag (make-bytevector 8 0))
             (thread (in-thread
                      (call-with-shm-slot
                       ch 1 (lambda (bv)
                              (call-with-shm-message
                               ch (lambda (bv) (hold-for-ever flag))))))))
        (atomic-u32-wait flag 0 0)
        (cancel-thread thread)
        (call-with-values (lambda () (join-thread thread)) list)
        (list (receive! ch) (send! ch "y")))))
  (test-equal "a process that is killed in one has neither" '("x" #t "y")
    (with-channel (ch 100)
      (with-mapping (flag 8)
        (send! ch "x")
        (let ((pid (start-process
                    (lambda ()
                      (call-with-shm-slot
                       ch 1
                       (lambda (bv)
                         (call-with-shm-message
                          ch (lambda (bv) (hold-for-ever flag)))))))))
          (atomic-u32-wait flag 0 0)
          (kill-process pid)
          (let* ((a (receive! ch)) (b (send! ch "y")))
            (list a b (receive! ch)))))))
  (test-equal "asyncs that throw at any instant leave both free"
    '((returned stopped) #t #t)
    (with-channel (ch 100)
      (let* ((count 0)
             (result (throw-at-any-instant (* 100 rounds)
                       (lambda ()
                         ;; It is full after some messages that were sent and
                         ;; not received.
                         (call-with-shm-slot ch 1 list #:timeout 0)
                         (call-with-shm-message ch list #:timeout 0)
                         (set! count (+ count 1))))))
        (let drain () (when (receive! ch 0) (drain)))
        (list result (positive? count) (free? ch))))))

(test-begin "channel-in-place")

(when-posix-shm
  (test-group "in place"
    (test-in-place)
    (test-leaving)
    (test-nesting)
    (test-others)
    (test-ending)))

(test-end "channel-in-place")

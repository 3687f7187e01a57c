;;; SPDX-License-Identifier: BSD-3-Clause
;;; fibers.scm - operations of guile-fibers, tested.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm broadcast)
             (posix-shm channel)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define prelude
  '((use-modules (fibers) (fibers channels) (fibers operations) (fibers timers)
                 (ice-9 exceptions) (ice-9 match) (ice-9 threads)
                 (rnrs bytevectors) (srfi srfi-1)
                 (posix-shm) (posix-shm broadcast) (posix-shm channel)
                 (posix-shm fibers))
    (define (receive source)
      (perform-operation (shm-receive-datum-operation source)))
    (define (or-after seconds operation)
      (choice-operation operation
                        (wrap-operation (sleep-operation seconds)
                                        (const 'timeout))))
    ;; Call THUNK in N fibers; return what they return.
    (define (in-fibers n proc)
      (let ((results (make-channel)))
        (for-each (lambda (i)
                    (spawn-fiber (lambda () (put-message results (proc i)))))
                  (iota n))
        (map (lambda (_) (get-message results)) (iota n))))
    ;; In a fiber: wait until another waits for SOURCE.
    (define (await-fiber source)
      (when (null? ((@@ (posix-shm fibers) queue-attempts)
                    ((@@ (posix-shm fibers) queue-of) source)))
        (sleep 0.001)
        (await-fiber source)))
    ;; Wait until a thread that runs no fibers waits for the channel CH.
    (define (await-thread ch)
      (when (zero? (assq-ref (shm-channel-statistics ch) 'waiting-receivers))
        (usleep 500)
        (await-thread ch)))
    (define (kind thunk)
      (catch #t thunk (lambda (key . rest) key)))))

;; In a process of its own, since fibers start threads.
(define-syntax-rule (fibers-return definitions expression)
  "Return what EXPRESSION, of a fiber, returns after DEFINITIONS."
  (apply eval-in-new-guile
         `(,@prelude ,@definitions
           ;; With more, fibers themselves may wait for ever for the others.
           (write (run-fibers (lambda () ,expression) #:parallelism 1)))))

(define (attach name)
  `(define ch (shm-channel-attach ,name)))

;; A channel named NAME, which is CH in the fibers' process.
(define-syntax-rule (with-channel (ch name capacity) body ...)
  (with-fresh-name name
    (let ((ch (shm-channel-create name capacity)))
      body ...)))

(define (test-receiving)
  (test-equal "what was sent before, a bytevector and data" '(#vu8(1 2) (a 1) #f)
    (with-channel (ch name 1000)
      (shm-channel-send! ch #vu8(1 2))
      (shm-channel-send-datum! ch '(a 1))
      (shm-channel-send-datum! ch #f)
      (fibers-return (list (attach name))
                     '(list (perform-operation (shm-receive-operation ch))
                            (receive ch) (receive ch)))))
  (test-equal "what is sent later, while another fiber runs" '(hello #t)
    (with-channel (ch name 1000)
      (fibers-return
       (list (attach name))
       '(let ((turns 0))
          (spawn-fiber (lambda ()
                         (let again ()
                           (set! turns (+ turns 1))
                           (sleep 0.001)
                           (when (= turns 10)
                             (shm-channel-send-datum! ch 'hello))
                           (again))))
          (let ((datum (receive ch)))
            (list datum (>= turns 10)))))))
  (test-equal "the end of a closed channel, and of a broadcast" '(#t #t)
    (fibers-return
     '((define ch (shm-channel-create #f 1000))
       (define feed (shm-broadcast-create #f 1000))
       (define s (shm-broadcast-subscribe feed)))
     '(begin
        (spawn-fiber (lambda ()
                       (await-fiber ch)
                       (shm-channel-close! ch)
                       (await-fiber s)
                       (shm-broadcast-close! feed)))
        (list (eof-object? (receive ch))
              (eof-object? (perform-operation (shm-receive-operation s)))))))
  (test-equal "a subscriber" '(1 2 #vu8(3))
    (fibers-return
     '((define feed (shm-broadcast-create #f 1000))
       (define s (shm-broadcast-subscribe feed)))
     '(begin
        (spawn-fiber (lambda ()
                       (shm-broadcast-send-datum! feed 1)
                       (await-fiber s)
                       (shm-broadcast-send-datum! feed 2)
                       (await-fiber s)
                       (shm-broadcast-send! feed #vu8(3))))
        (let* ((a (receive s)) (b (receive s)))
          (list a b (perform-operation (shm-receive-operation s)))))))
  (test-equal "a thread that runs no fibers" '(one two timeout three)
    (apply eval-in-new-guile
           `(,@prelude
             (define ch (shm-channel-create #f 1000))
             (shm-channel-send-datum! ch 'one)
             (call-with-new-thread
              (lambda ()
                (await-thread ch)
                (shm-channel-send-datum! ch 'two)))
             (write
              (let* ((one (receive ch))
                     (two (receive ch))
                     (none (perform-operation
                            (or-after 0.01 (shm-receive-datum-operation ch)))))
                (usleep 100000)         ; in which the helper must have ended
                (shm-channel-send-datum! ch 'three)
                (list one two none (receive ch))))))))

(define (test-choices)
  (test-equal "an operation that is not chosen receives nothing" '(timeout 1)
    (fibers-return
     '((define ch (shm-channel-create #f 1000)))
     '(let ((none (perform-operation
                   (or-after 0.01 (shm-receive-datum-operation ch)))))
        (shm-channel-send-datum! ch 1)
        (sleep 0.02)
        (list none (shm-channel-receive-datum! ch #:timeout 0)))))
  (test-equal "one of two channels and a channel of fibers" '((a b c) 0)
    (fibers-return
     '((define a (shm-channel-create #f 1000))
       (define b (shm-channel-create #f 1000))
       (define c (make-channel)))
     '(let* ((next (lambda ()
                     (perform-operation
                      (choice-operation (shm-receive-datum-operation a)
                                        (shm-receive-datum-operation b)
                                        (get-operation c))))))
        (spawn-fiber (lambda ()
                       (shm-channel-send-datum! a 'a)
                       (shm-channel-send-datum! b 'b)
                       (put-message c 'c)))
        (let* ((x (next)) (y (next)) (z (next)))
          (list (sort (list x y z)
                      (lambda (x y)
                        (string<? (symbol->string x) (symbol->string y))))
                (length (shm-select (list a b) #:timeout 0)))))))
  (test-equal "timeouts leave nothing behind" '(200 #t)
    (fibers-return
     '((define ch (shm-channel-create #f 1000)))
     '(let again ((i 0))
        (if (< i 200)
            (begin
              (perform-operation
               (or-after 0.0001 (shm-receive-datum-operation ch)))
              (again (+ i 1)))
            (list i (<= (length ((@@ (posix-shm fibers) queue-attempts)
                                 ((@@ (posix-shm fibers) queue-of) ch)))
                        1)))))))

;; A child sends the numbers below N, some at once and some when receivers wait.
;; Fibers receive each, against a timer that runs out about as often.
(define (race fibers n)
  (with-channel (ch name 1000)
    (let* ((pid (start-process
                 (lambda ()
                   (for-each (lambda (i)
                               (shm-channel-send-datum! ch i)
                               (when (zero? (modulo i 7))
                                 (usleep 20)))
                             (iota n))
                   (shm-channel-close! ch))))
           (result
            (fibers-return
             (list (attach name))
             `(let* ((received
                      (in-fibers ,fibers
                        (lambda (i)
                          (let next ((data '()) (timeouts 0))
                            (match (perform-operation
                                    (or-after 0.00003
                                              (shm-receive-datum-operation ch)))
                              ('timeout (next data (+ timeouts 1)))
                              ((? eof-object?) (cons timeouts (reverse data)))
                              (i (next (cons i data) timeouts)))))))
                     (data (append-map cdr received)))
                (list (every (lambda (one) (or (null? (cdr one))
                                               (apply < (cdr one))))
                             received)
                      (length data)
                      (apply + data)
                      (positive? (apply + (map car received))))))))
      (append result (list (cdr (waitpid pid)))))))

(define (test-races)
  (for-each
   (lambda (fibers)
     (let ((n (* rounds 100)))
       (test-equal (format #f "~a messages and timers, ~a fibers" n fibers)
         (list #t n (/ (* n (- n 1)) 2) #t 0)
         (race fibers n))))
   '(1 4)))

(define (test-schedulers)
  (test-equal "two schedulers that wait for the same source" '(0 1)
    (apply eval-in-new-guile
           `(,@prelude
             (define (race)
               (let* ((ch (shm-channel-create #f 1000))
                      (threads
                       (map (lambda (_)
                              (call-with-new-thread
                               (lambda ()
                                 ;; The thread that preempts fibers is
                                 ;; cancelled at the end, perhaps with
                                 ;; Guile's lock for modules (see
                                 ;; throw-at-any-instant): do without it.
                                 (run-fibers (lambda () (receive ch))
                                             #:parallelism 1 #:hz 0))))
                            (iota 2))))
                 (gc)
                 (for-each (lambda (i) (shm-channel-send-datum! ch i)) '(0 1))
                 (sort (map join-thread threads) <)))
             (for-each (lambda (_) (race)) (iota ,(quotient rounds 4)))
             (write (race))))))

(define (test-many)
  (test-equal "a hundred fibers, each with a channel, and one that ticks"
    '(10000 #t)
    (fibers-return
     '((define channels
         (map (lambda (_) (shm-channel-create #f 1000)) (iota 100))))
     '(let ((ticks 0))
        (call-with-new-thread
         (lambda ()
           (for-each (lambda (i)
                       (for-each (lambda (ch) (shm-channel-send-datum! ch i))
                                 channels)
                       (usleep 100))
                     (iota 100))
           (for-each shm-channel-close! channels)))
        (spawn-fiber (lambda ()
                       (let again ()
                         (sleep 0.001)
                         (set! ticks (+ ticks 1))
                         (again))))
        (let ((counts (in-fibers 100
                        (lambda (i)
                          (let next ((n 0))
                            (if (eof-object? (receive (list-ref channels i)))
                                n
                                (next (+ n 1))))))))
          (list (apply + counts) (positive? ticks)))))))

(define (test-sending)
  (test-equal "to a channel that is full" '(#t #t (0 1 2))
    (fibers-return
     '((define ch (shm-channel-create #f 32)))
     '(let* ((sent (in-fibers 1
                     (lambda (_)
                       (every (lambda (i)
                                (perform-operation
                                 (shm-send-datum-operation ch i)))
                              '(0 1)))))
             (last (make-channel)))
        (spawn-fiber (lambda ()
                       (put-message last
                                    (perform-operation
                                     (shm-send-datum-operation ch 2)))))
        (sleep 0.01)
        (let* ((a (shm-channel-receive-datum! ch))
               (sent? (get-message last))
               (b (shm-channel-receive-datum! ch))
               (c (shm-channel-receive-datum! ch)))
          (list (first sent) sent? (list a b c))))))
  (test-equal "an operation that is not chosen sends nothing" '(timeout 0 #f)
    (fibers-return
     '((define ch (shm-channel-create #f 8)))
     '(begin
        (shm-channel-send! ch #vu8())
        (let* ((result (perform-operation
                        (or-after 0.01 (shm-send-operation ch #vu8()))))
               (first (bytevector-length (shm-channel-receive! ch))))
          (sleep 0.03)
          (list result first (shm-channel-receive! ch #:timeout 0))))))
  (test-equal "a part of a bytevector, and from a thread without fibers"
    '(#vu8(2 3) #vu8(3) #vu8(1))
    (apply eval-in-new-guile
           `(,@prelude
             (define ch (shm-channel-create #f 16))
             (define (send . arguments)
               (perform-operation (apply shm-send-operation ch arguments)))
             (write
              (let* ((a (begin (send #vu8(1 2 3) 1) (shm-channel-receive! ch)))
                     (b (begin (send #vu8(1 2 3) 2 1)
                               (shm-channel-receive! ch))))
                (shm-channel-send! ch #vu8(1))
                (call-with-new-thread
                 (lambda () (usleep 10000) (shm-channel-receive! ch)))
                (send #vu8(1))
                (list a b (shm-channel-receive! ch))))))))

(define (test-mistakes)
  (test-equal "arguments" '(wrong-type-arg wrong-type-arg wrong-type-arg)
    (fibers-return
     '((define feed (shm-broadcast-create #f 1000)))
     '(list (kind (lambda () (shm-receive-operation 3)))
            (kind (lambda () (shm-receive-datum-operation feed)))
            (kind (lambda () (shm-send-operation feed #vu8()))))))
  (test-equal "a message that is too large" 'out-of-range
    (fibers-return
     '((define ch (shm-channel-create #f 8)))
     '(kind (lambda ()
              (perform-operation (shm-send-operation ch (make-bytevector 9)))))))
  (test-equal "the memory is unmapped while a fiber waits" '(out-of-range 1)
    (fibers-return
     '((define bv (shm-create #f 4096 #:initialize shm-channel-init!))
       (define ch (shm-channel bv)))
     '(begin
        (spawn-fiber (lambda () (await-fiber ch) (shm-unmap! bv)))
        (list (kind (lambda ()
                      (perform-operation (shm-receive-operation ch))))
              1))))
  (test-equal "no descriptor is left, and then there is one" '(system-error late)
    (apply eval-in-new-guile
           `(,@prelude
             (define ch (shm-channel-create #f 1000))
             (define result
               (run-fibers
                (lambda ()
                  (setrlimit 'nofile
                             (+ 1 (fileno (dup (current-input-port)))) 4096)
                  (let ((raised (kind (lambda () (receive ch)))))
                    (setrlimit 'nofile 1024 4096)
                    (spawn-fiber (lambda ()
                                   (await-fiber ch)
                                   (shm-channel-send-datum! ch 'late)))
                    (list raised (receive ch))))
                #:parallelism 1))
             (write result))))
  (when (shm-fault-guard)
    (test-equal "a thread without fibers, and an object that is cut short" #t
      (with-channel (ch name 5000)
        (apply eval-in-new-guile
               `(,@prelude
                 ,(attach name)
                 (define thread
                   (call-with-new-thread
                    (lambda ()
                      (guard (c ((shm-fault? c) #t))
                        (receive ch)))))
                 (await-thread ch)
                 (let ((fd (shm-open ,name (list O_RDWR))))
                   (truncate-file fd 0)
                   (close-fdes fd))
                 (write (join-thread thread)))))))
  (test-equal "the program's port is closed while a fiber waits" 'late
    (fibers-return
     '((define ch (shm-channel-create #f 1000)))
     '(begin
        (spawn-fiber (lambda ()
                       (await-fiber ch)
                       (close-port (shm-ready-port ch))
                       (shm-channel-send-datum! ch 'late)))
        (receive ch)))))

(test-begin "fibers")

(cond
 ((not (false-if-exception (resolve-interface '(fibers))))
  (test-skip 1)
  (test-assert "fibers are not installed" #t))
 (else
  (when-posix-shm
    (test-group "receiving" (test-receiving))
    (test-group "choices" (test-choices))
    (test-group "races" (test-races))
    (test-group "schedulers" (test-schedulers))
    (test-group "many" (test-many))
    (test-group "sending" (test-sending))
    (test-group "mistakes" (test-mistakes)))))

(test-end "fibers")

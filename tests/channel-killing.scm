;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel-killing.scm - senders and receivers that are killed at any instant.

;;; A killed process never harms the others: no message is torn, or received
;;; twice, or out of order, or lost after it was sent, but for one that a
;;; killed receiver had taken; what the channel counts is exact; and all others
;;; go on.

(use-modules (ice-9 match)
             (posix-shm atomic)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             ((tests channel-support) #:select (all-go-on?))
             (tests support))

(define kills
  (or (and=> (getenv "GSHM_KILLS") string->number) 1000))

(define senders 3)
(define receivers 3)
(define most 4000000)                   ; messages of a sender

;; Words in a mapping: of each sender, the number of the message that it may be
;; sending and how many it knows that it has sent; how much each receiver got;
;; what went wrong.  Then a byte for each message: how often it was received.
(define (sending i) (* 128 i))
(define (sent i) (+ 8 (* 128 i)))
(define (received i) (+ 1024 (* 128 i)))
(define wrong 2048)
(define (seen sender n) (+ 4096 n (* most sender)))
(define size (seen senders 0))


;;; Workers.

(define (message-size sender n)
  (+ 8 (modulo (* 7 (+ sender 1) n) 150)))

(define (fill! message sender n)
  (bytevector-fill! message (logand n 255))
  (bytevector-u32-native-set! message 0 sender)
  (bytevector-u32-native-set! message 4 n))

(define (send ch state i)
  (define (send-one n)
    (let ((size (message-size i n)))
      (if (odd? n)
          (let ((message (make-bytevector size)))
            (fill! message i n)
            (shm-channel-send! ch message))
          (call-with-shm-slot ch size (lambda (bv) (fill! bv i n))))))
  (let next ((n (+ 1 (atomic-u64-ref state (sending i)))))
    (when (< n most)
      (atomic-u64-set! state (sending i) n)
      (send-one n)
      (atomic-u64-fetch-add! state (sent i) 1)
      ;; Slower than the receivers now and then.
      (when (zero? (modulo n 20))
        (usleep 100))
      (next (+ n 1)))))

(define (receive ch state i)
  (define last (make-vector senders -1))
  (define target (make-bytevector 200))
  (define (check message)
    (let* ((sender (bytevector-u32-native-ref message 0))
           (n (bytevector-u32-native-ref message 4))
           (whole (make-bytevector (bytevector-length message))))
      (unless (and (< sender senders)
                   (= (message-size sender n) (bytevector-length message))
                   (begin (fill! whole sender n) (equal? message whole)))
        (error "torn" sender n))
      (unless (< (vector-ref last sender) n)
        (error "out of order" sender n))
      (vector-set! last sender n)
      (unless (zero? (bytevector-u8-ref state (seen sender n)))
        (error "received twice" sender n))
      (bytevector-u8-set! state (seen sender n) 1)
      (atomic-u64-fetch-add! state (received i) 1)))
  (let next ((n 0))
    (match (case (modulo n 3)
             ((0) (shm-channel-receive! ch))
             ((1) (match (shm-channel-receive-into! ch target)
                    ((? integer? n)
                     (let ((message (make-bytevector n)))
                       (bytevector-copy! target 0 message 0 n)
                       message))
                    (end end)))
             (else (call-with-shm-message ch bytevector-copy)))
      ((? eof-object?) #t)
      (message (check message)
               (next (+ n 1))))))

;; Worker I is a sender or a receiver.
(define (start-worker ch state i)
  (start-process
   (lambda ()
     (catch #t
       (lambda ()
         (if (< i senders)
             (send ch state i)
             (receive ch state (- i senders))))
       (lambda arguments
         (atomic-u64-set! state wrong 1)
         (format (current-error-port) "worker ~a: ~s~%" i arguments)
         (primitive-_exit 1))))))


;;; The test.

(define workers (+ senders receivers))

(define (progress state)
  (append (map (lambda (i) (atomic-u64-ref state (sent i))) (iota senders))
          (map (lambda (i) (atomic-u64-ref state (received i)))
               (iota receivers))))

(define (kill-some ch state)
  "Kill workers, others in their place, and return how many receivers that
were, or #f if not all went on."
  (let ((random-state (seed->random-state (getpid)))
        (pids (list->vector (map (lambda (i) (start-worker ch state i))
                                 (iota workers)))))
    (define (stop from to)
      (every identity (map (lambda (i) (killed? (vector-ref pids i)))
                           (iota (- to from) from))))
    (let next ((n 0) (killed 0))
      (cond ((and (or (= n kills) (zero? (modulo n 20)))
                  (not (all-go-on?
                        (lambda () (progress state))
                        (lambda ()
                          (positive? (atomic-u64-ref state wrong))))))
             (stop 0 workers)
             #f)
            ((= n kills)
             (let ((going-on? (stop 0 senders)))
               (shm-channel-close! ch)
               (let ((ended (map (lambda (i)
                                   (cdr (waitpid (vector-ref pids i))))
                                 (iota receivers senders))))
                 (and going-on? (every zero? ended) killed))))
            (else
             (let ((victim (random workers random-state)))
               (usleep (random 3000 random-state))
               (cond ((killed? (vector-ref pids victim))
                      (vector-set! pids victim (start-worker ch state victim))
                      (next (+ n 1)
                            (if (< victim senders) killed (+ killed 1))))
                     (else
                      (stop 0 workers)
                      #f))))))))

(define (test-killing ch state)
  (let* ((killed (kill-some ch state))
         (known (apply + (map (lambda (i) (atomic-u64-ref state (sent i)))
                              (iota senders))))
         (begun (apply + (map (lambda (i) (atomic-u64-ref state (sending i)))
                              (iota senders))))
         (got (count (lambda (i) (= 1 (bytevector-u8-ref state i)))
                     (iota (* senders most) 4096)))
         (statistics (shm-channel-statistics ch))
         (in (assq-ref statistics 'messages-in))
         (out (assq-ref statistics 'messages-out)))
    (format #t "begun: ~a, known as sent: ~a, sent: ~a, received: ~a, seen: ~a, \
killed receivers: ~a~%" begun known in out got killed)
    (test-assert (format #f "~a are killed, the others go on" kills) killed)
    (test-equal "no message was torn, received twice or out of order" 0
      (atomic-u64-ref state wrong))
    (test-assert "what was sent is counted" (<= known in begun))
    (test-equal "and all was received" in out)
    (test-assert "but for what killed receivers had taken"
      (and killed (<= 0 (- out got) killed)))
    (test-equal "no waiter is left" '(0 0)
      (list (assq-ref statistics 'waiting-senders)
            (assq-ref statistics 'waiting-receivers)))))

(test-begin "channel-killing")

(when-posix-shm
  (call-with-mapping
   size
   (lambda (state)
     (test-killing (shm-channel-create #f 1000) state))))

(test-end "channel-killing")

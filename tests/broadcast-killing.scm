;;; SPDX-License-Identifier: BSD-3-Clause
;;; broadcast-killing.scm - many messages, and senders killed at any instant.

;;; Each subscriber receives or misses each message: none is torn, or comes
;;; twice, or out of order; and a killed sender harms no other process.

(use-modules (ice-9 match)
             (posix-shm atomic)
             (posix-shm broadcast)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             ((tests channel-support) #:select (all-go-on?))
             (tests support))

(define kills
  (or (and=> (getenv "GSHM_KILLS") string->number) 300))

(define messages (* 500 rounds))

(define senders 3)
(define subscribers 3)

;; Words in a mapping.  Of each sender: the number of the message that it may be
;; sending, and how many it knows that it has sent.  Of each subscriber: how
;; many it has received so far, and at the end received and missed.  What went
;; wrong, and how many subscribers there are.
(define (sending i) (* 128 i))
(define (sent i) (+ 8 (* 128 i)))
(define (received i) (+ 1024 (* 128 i)))
(define (total i) (+ 1032 (* 128 i)))
(define wrong 512)
(define ready 640)
(define size (received 64))


;;; Messages.

(define largest 300)

(define (message-size sender n)
  (+ 12 (modulo (* 7 (+ sender 1) n) (- largest 12))))

(define (checksum message)
  (let next ((i 12) (sum 1))
    (if (< i (bytevector-length message))
        (next (+ i 1)
              (logand #xffffff (+ (* 31 sum) (bytevector-u8-ref message i))))
        sum)))

(define (make-message sender n)
  (let* ((size (message-size sender n))
         (message (make-bytevector size (logand n 255))))
    (bytevector-u32-native-set! message 0 sender)
    (bytevector-u32-native-set! message 4 n)
    (bytevector-u8-set! message (- size 1) (logand 255 (* 7 n)))
    (bytevector-u32-native-set! message 8 (checksum message))
    message))

(define (check! message last may-repeat?)
  "Raise an exception if MESSAGE is torn, or not after what the vector LAST has
of its sender."
  (let ((sender (bytevector-u32-native-ref message 0))
        (n (bytevector-u32-native-ref message 4)))
    (unless (and (< sender senders)
                 (= (bytevector-length message) (message-size sender n))
                 (= (checksum message) (bytevector-u32-native-ref message 8)))
      (error "torn" sender n))
    (unless ((if may-repeat? <= <) (vector-ref last sender) n)
      (error "out of order" sender n (vector-ref last sender)))
    (vector-set! last sender n)))


;;; Workers.

(define* (send-all b state i last #:optional pause)
  (let next ((n (+ 1 (atomic-u64-ref state (sending i)))))
    (when (<= n last)
      (atomic-u64-set! state (sending i) n)
      (shm-broadcast-send! b (make-message i n))
      (atomic-u64-fetch-add! state (sent i) 1)
      (when (and pause (zero? (modulo n 20)))
        (usleep pause))
      (next (+ n 1)))))

(define (receive-all b state i)
  (let ((s (shm-broadcast-subscribe b))
        (last (make-vector senders 0)))
    (atomic-u64-fetch-add! state ready 1)
    (let next ()
      (match (shm-broadcast-receive! s)
        ((? eof-object?)
         (atomic-u64-set! state (total i)
                          (+ (atomic-u64-ref state (received i))
                             (shm-broadcast-missed s))))
        (message
         (check! message last #f)
         (atomic-u64-fetch-add! state (received i) 1)
         (next))))))

(define (read-latest b state i)
  (let ((s (shm-broadcast-subscribe b))
        (last (make-vector senders 0)))
    (let next ()
      (let ((message (shm-broadcast-latest s)))
        (cond (message
               (check! message last #t)
               (atomic-u64-fetch-add! state (received i) 1)))
        (unless (zero? (shm-broadcast-missed s))
          (error "missed what it skipped"))
        (next)))))

(define (start state proc . arguments)
  (start-process
   (lambda ()
     (catch #t
       (lambda () (apply proc arguments))
       (lambda exception
         (atomic-u64-set! state wrong 1)
         (format (current-error-port) "~a: ~s~%" (procedure-name proc)
                 exception)
         (primitive-_exit 1))))))

(define (start-subscribers b state n)
  (let ((pids (map (lambda (i) (start state receive-all b state i)) (iota n))))
    (await (or (= n (atomic-u64-ref state ready))
               (positive? (atomic-u64-ref state wrong))))
    pids))

(define (statuses pids)
  (delete-duplicates (map (lambda (pid) (cdr (waitpid pid))) pids)))

(define (totals state n)
  (delete-duplicates
   (map (lambda (i) (atomic-u64-ref state (total i))) (iota n))))


;;; One sender.

(define (test-many n)
  (test-equal (format #f "~a messages to ~a subscribers" messages n)
    (list '(0) (list messages))
    (call-with-mapping size
      (lambda (state)
        (let* ((b (shm-broadcast-create #f 3000))
               (pids (start-subscribers b state n)))
          (send-all b state 0 messages)
          (shm-broadcast-close! b)
          (let ((statuses (statuses pids)))
            (format #t "received of ~a: ~a~%" messages
                    (map (lambda (i) (atomic-u64-ref state (received i)))
                         (iota n)))
            (list statuses (totals state n))))))))


;;; Senders that are killed.

;; The last worker reads the latest.
(define workers (+ senders 1))

(define (start-worker b state i)
  (if (< i senders)
      (start state send-all b state i most-positive-fixnum 100)
      (start state read-latest b state subscribers)))

(define (progress state)
  (append (map (lambda (i) (atomic-u64-ref state (sent i))) (iota senders))
          (map (lambda (i) (atomic-u64-ref state (received i)))
               (iota (+ subscribers 1)))))

(define (kill-some b state)
  "Kill workers, start others in their place, and return whether all went on."
  (let* ((random-state (seed->random-state (getpid)))
         (pids (list->vector (map (lambda (i) (start-worker b state i))
                                  (iota workers)))))
    (define (stop)
      (every identity (map killed? (vector->list pids))))
    (let next ((n 0))
      (cond ((and (or (= n kills) (zero? (modulo n 20)))
                  (not (all-go-on?
                        (lambda () (progress state))
                        (lambda ()
                          (positive? (atomic-u64-ref state wrong))))))
             (stop)
             #f)
            ((= n kills)
             (stop))
            (else
             (let ((victim (random workers random-state)))
               (usleep (random 3000 random-state))
               (cond ((killed? (vector-ref pids victim))
                      (vector-set! pids victim (start-worker b state victim))
                      (next (+ n 1)))
                     (else
                      (stop)
                      #f))))))))

(define (sum state word)
  (apply + (map (lambda (i) (atomic-u64-ref state (word i))) (iota senders))))

(define (test-killing)
  (call-with-mapping size
    (lambda (state)
      (let* ((b (shm-broadcast-create #f 3000))
             (pids (start-subscribers b state subscribers))
             (go-on? (kill-some b state)))
        (shm-broadcast-close! b)
        (let ((statuses (statuses pids))
              (known (sum state sent))
              (begun (sum state sending))
              (totals (totals state subscribers)))
          (format #t "begun: ~a, known as sent: ~a, received and missed: ~a, \
received: ~a~%"
                  begun known totals
                  (map (lambda (i) (atomic-u64-ref state (received i)))
                       (iota subscribers)))
          (test-assert (format #f "~a are killed, the others go on" kills)
            go-on?)
          (test-equal "no message was torn, received twice or out of order"
            '((0) 0)
            (list statuses (atomic-u64-ref state wrong)))
          (test-equal "for all subscribers the same messages were sent" 1
            (length totals))
          (test-assert "those that senders know of, and of killed senders one"
            (<= known (first totals) begun))))))
  ;; The broadcast works when all senders were killed.
  (test-equal "and the next sender goes on" #t
    (call-with-mapping size
      (lambda (state)
        (let ((b (shm-broadcast-create #f 1000)))
          (every (lambda (i)
                   (let ((pid (start-worker b state 0)))
                     (await (< i (atomic-u64-ref state (sent 0))))
                     (kill-process pid)
                     (shm-broadcast-send! b (make-bytevector 400)
                                          #:timeout 60)))
                 (iota rounds)))))))

(test-begin "broadcast-killing")

(when-posix-shm
  (test-group "one sender" (for-each test-many '(1 8 64)))
  (test-group "killing" (test-killing)))

(test-end "broadcast-killing")

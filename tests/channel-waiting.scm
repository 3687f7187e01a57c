;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel-waiting.scm - how waits for messages or room end early, tested.

(use-modules (ice-9 match)
             (ice-9 popen)
             (ice-9 threads)
             (posix-shm)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

(define waits
  `(("shm-channel-receive!" 0 ,(lambda (ch) (shm-channel-receive! ch)))
    ("shm-channel-receive-into!" 0
     ,(lambda (ch) (shm-channel-receive-into! ch (make-bytevector 100))))
    ("call-with-shm-message" 0 ,(lambda (ch) (call-with-shm-message ch list)))
    ("shm-channel-send!" 1 ,(lambda (ch) (shm-channel-send! ch (text "x"))))
    ("call-with-shm-slot" 1 ,(lambda (ch) (call-with-shm-slot ch 1 list)))))

;; As many messages as leave no room for one more.
(define (fill! ch full)
  (unless (zero? full)
    (send! ch "12345678")))

(define (usable? ch full)
  (and (or (zero? full) (equal? "12345678" (receive! ch 0)))
       (send! ch "again" 0)
       (equal? "again" (receive! ch 0))
       (= 0 (statistic ch 'waiting-senders) (statistic ch 'waiting-receivers))))

(define (test-interrupts)
  (for-each
   (match-lambda
     ((name full wait)
      (for-each
       (match-lambda
         ((what . interrupt)
          (test-assert (format #f "~a: ~a" name what)
            (with-channel (ch 16)
              (fill! ch full)
              (let ((times (map (lambda (i)
                                  (interrupt (lambda () (wait ch)) i))
                                (iota rounds))))
                (format #t "~a: ~a: at most ~a ms~%" name what
                        (apply max times))
                (usable? ch full))))))
       interrupts)))
   waits))

(define (test-lost)
  (for-each
   (match-lambda
     ((name full wait)
      (test-equal (string-append name ": unmapped while it waits") 'out-of-range
        (let ((bv (shm-create #f (+ shm-channel-header-size 16))))
          (shm-channel-init! bv)
          (let ((ch (shm-channel bv)))
            (fill! ch full)
            (let ((thread (in-thread (kind (wait ch)))))
              (await-sleepers 1)
              (shm-unmap! bv)
              (join-thread thread)))))
      (when (shm-fault-guard)
        (test-equal (string-append name ": cut short while it waits") 'fault
          (with-fresh-name object
            (let ((ch (shm-channel-create object 16)))
              (fill! ch full)
              (let ((thread (in-thread (kind (wait ch)))))
                (await-sleepers 1)
                (cut! object 0)
                (join-thread thread))))))
      (test-equal (string-append name ": something else is there while it waits")
        'format
        (let ((bv (make-bytevector (+ shm-channel-header-size 16))))
          (shm-channel-init! bv)
          (let ((ch (shm-channel bv)))
            (fill! ch full)
            (let ((thread (in-thread (kind (wait ch)))))
              (await-sleepers 1)
              (bytevector-fill! bv 0)
              (join-thread thread)))))))
   waits))

(define (test-handlers)
  (test-equal "a handler may not send while its thread waits to send"
    '(EDEADLK EDEADLK 24 16 33 #t)
    (with-channel (ch 64)
      (for-each (lambda (n) (shm-channel-send! ch (make-bytevector n)))
                '(24 16))
      (let* ((refused '())
             (thread (in-thread (shm-channel-send! ch (make-bytevector 33))))
             (handler
              (lambda ()
                (set! refused
                      (list (kind (send! ch "handler" 0))
                            (kind (call-with-shm-slot ch 1 identity)))))))
        (await-statistic ch 'waiting-senders 1)
        (system-async-mark handler thread)
        (await (pair? refused))
        (append refused
                (map (lambda (_)
                       (bytevector-length (shm-channel-receive! ch)))
                     (iota 3))
                (list (join-thread thread))))))
  (test-equal "but may receive, if not wait for what only its thread can send"
    '("12345678" EDEADLK #f #t)
    (with-channel (ch 32)
      (send! ch "12345678")
      (let* ((got '())
             (thread (in-thread (shm-channel-send! ch (make-bytevector 24))))
             (handler (lambda ()
                        (let ((first (receive! ch)))
                          (set! got (list first (kind (receive! ch))
                                          (receive! ch 0)))))))
        (await-statistic ch 'waiting-senders 1)
        (system-async-mark handler thread)
        (await (pair? got))
        (shm-channel-receive! ch)
        (append got (list (join-thread thread))))))
  (test-equal "and may receive while its thread waits to receive" '("a" "b")
    (with-channel (ch 100)
      (let* ((handled #f)
             (thread (in-thread (receive! ch)))
             (handler (lambda ()
                        (send! ch "a")
                        (set! handled (receive! ch)))))
        (await-statistic ch 'waiting-receivers 1)
        (system-async-mark handler thread)
        (await handled)
        (send! ch "b")
        (list handled (join-thread thread))))))

(define (test-fairness)
  (test-equal "a large message is not passed by small ones for ever" '(#t #t)
    (with-channel (ch 256)
      (let* ((stop? #f)
             (small (map (lambda (_)
                           (in-thread
                            (let again ()
                              (unless stop?
                                (send! ch "small")
                                (again)))))
                         (iota 2)))
             (large (in-thread (shm-channel-send! ch (make-bytevector 248)))))
        (let again ((n 0))
          (let ((length (bytevector-length (shm-channel-receive! ch))))
            (if (= length 248)
                (set! stop? #t)
                (again (+ n 1)))))
        (let drain ()
          (receive! ch 0)
          (unless (every thread-exited? small) (drain)))
        (list (join-thread large) #t)))))

(define (test-ctrl-c)
  (for-each
   (match-lambda
     ((name . expression)
      (test-equal (string-append name ": Ctrl-C") 'interrupted
        (let* ((port (start-guile OPEN_READ
                                  '(use-modules (posix-shm channel))
                                  '(define ch (shm-channel-create #f 16))
                                  '(sigaction SIGINT
                                     (lambda (s) (throw 'interrupted)))
                                  `(catch 'interrupted
                                     (lambda ()
                                       (write (getpid))
                                       (newline)
                                       (force-output)
                                       ,expression)
                                     (lambda (key) (write key)))))
               (pid (read port)))
          (await-sleepers 1 pid)
          (kill pid SIGINT)
          (let ((said (read port)))
            (close-pipe port)
            said)))))
   '(("shm-channel-receive!" shm-channel-receive! ch)
     ("shm-channel-send!"
      let again () (shm-channel-send! ch #vu8(1)) (again)))))

(test-begin "channel-waiting")

(when-posix-shm
  (test-group "waiting"
    (test-interrupts)
    (test-lost)
    (test-handlers)
    (test-fairness)
    (test-ctrl-c)))

(test-end "channel-waiting")

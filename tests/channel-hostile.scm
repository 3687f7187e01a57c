;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel-hostile.scm - channels in memory that peers change, tested.

(use-modules (posix-shm)
             (posix-shm atomic)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

;; What peers write: a process receives and sends, while another scribbles.
(define (test-hostile)
  (define (use ch)
    (define target (make-bytevector 3000))
    (for-each
     (lambda (proc)
       (let ((result (kind (proc))))
         (unless (memq result '(returned format closed EDEADLK EPERM
                                         out-of-range))
           (error "not documented" result))))
     (list (lambda () (shm-channel-send! ch (text "hello") #:timeout 1/1000))
           (lambda () (shm-channel-send! ch target 0 500 #:timeout 0))
           (lambda () (shm-channel-receive! ch #:timeout 1/1000))
           (lambda () (shm-channel-receive-into! ch target #:timeout 0))
           (lambda () (call-with-shm-slot ch 9 list #:timeout 1/1000))
           (lambda () (call-with-shm-message ch list #:timeout 0))
           (lambda () (shm-channel-statistics ch)))))
  (define (initialize! bv)
    ;; There is something beyond the ring, which no operation touches.
    (bytevector-fill! bv 0)
    (shm-channel-init! (shm-view bv 'vu8 4096 4096)))
  (define (beyond-untouched? bv)
    (every (lambda (k) (zero? (bytevector-u64-native-ref bv k)))
           (append (iota 512 0 8) (iota 512 8192 8))))
  (define (test-process name proc)
    (test-equal name '(0 #t)
      (with-mapping (bv 12288)
        (initialize! bv)
        (let ((status (proc bv (shm-view bv 'vu8 4096 4096))))
          (list status (beyond-untouched? bv))))))
  (define (many-times thunk)
    (let loop ((n 0))
      (when (< n (* 10 rounds))
        (thunk)
        (loop (+ n 1)))))
  (test-process
   "whatever was written there"
   (lambda (bv part)
     (cdr (waitpid
           (start-process
            (lambda ()
              (let ((state (seed->random-state (getpid))))
                (many-times
                 (lambda ()
                   (initialize! bv)
                   (let ((ch (shm-channel part)))
                     (many-times
                      (lambda ()
                        (scribble! part state 300)
                        (scribble! (shm-view part 'vu8 0 1728) state 300)))
                     (use ch)))))))))))
  (test-process
   "and is written meanwhile"
   (lambda (bv part)
     (let ((ch (shm-channel part)))
       (call-beside-process
        (lambda ()
          (let ((state (seed->random-state (getpid))))
            (let loop ((n 0))
              (when (zero? (modulo n 50))
                (initialize! bv))
              (scribble! part state 300)
              (scribble! (shm-view part 'vu8 8 1720) state 300)
              (loop (+ n 1)))))
        (lambda ()
          (cdr (waitpid (start-process
                         (lambda ()
                           (many-times (lambda () (use ch)))))))))))))


;;; Memory that goes away.

(define (test-faults)
  (test-equal "cut short" '(fault fault fault fault fault)
    (map (lambda (use)
           (with-fresh-name name
             (let ((ch (shm-channel-create name 100000)))
               (cut! name 0)
               (kind (use ch)))))
         (list (lambda (ch) (send! ch "x"))
               (lambda (ch) (receive! ch))
               (lambda (ch) (call-with-shm-slot ch 1 list))
               shm-channel-close! shm-channel-statistics)))
  (test-equal "cut short within the ring: nothing is sent" '(fault 0)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 100000)))
        (cut! name 4096)
        (let ((kind (kind (shm-channel-send! ch (make-bytevector 50000 1)))))
          (list kind (statistic ch 'messages-in))))))
  (test-equal "cut short within the ring: nothing is received" '(fault 1)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 100000)))
        (shm-channel-send! ch (make-bytevector 50000 1))
        (cut! name 4096)
        (let ((kind (kind (receive! ch))))
          (list kind (statistic ch 'messages-in-flight))))))
  (test-equal "cut short where what is to be skipped begins: nothing is sent"
    '(fault 2 0)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 12288)))
        ;; The head is in the last page, and the next message goes to the
        ;; start.
        (shm-channel-send! ch (make-bytevector 9000))
        (receive! ch)
        (shm-channel-send! ch (make-bytevector 2000))
        (receive! ch)
        (cut! name 8192)
        (let ((kind (kind (shm-channel-send! ch (make-bytevector 9000)))))
          (cut! name (+ shm-channel-header-size 12288))
          (list kind (statistic ch 'messages-in)
                (statistic ch 'messages-in-flight))))))
  (test-equal "an untouched slot is not sent if it is lost" '(fault 0)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 12288)))
        (shm-channel-send! ch (make-bytevector 8000))
        (receive! ch)
        (let ((kind (kind (call-with-shm-slot
                           ch 1000 (lambda (bv) (cut! name 8192))))))
          (list kind (statistic ch 'messages-in-flight))))))
  (test-equal "while in place" '(fault fault)
    (map (lambda (use)
           (with-fresh-name name
             (let ((ch (shm-channel-create name 100000)))
               (shm-channel-send! ch (make-bytevector 5000 1))
               (kind (use ch (lambda (bv)
                               (cut! name 0)
                               (bytevector-u8-set! bv 4999 2)))))))
         (list (lambda (ch proc) (call-with-shm-slot ch 5000 proc))
               call-with-shm-message)))
  (test-equal "what is sent from memory that is lost is not sent" '(fault 0 #t)
    (with-fresh-name name
      (let ((bv (shm-create name 8192)))
        (with-channel (ch 10000)
          (cut! name 4096)
          (let* ((kind (kind (shm-channel-send! ch bv)))
                 (sent (statistic ch 'messages-in)))
            (list kind sent (send! ch "x")))))))
  (test-equal "what is received into read-only memory stays" '(fault "hello")
    (with-fresh-name name
      (shm-create name 4096)
      (let ((bv (shm-attach name)))
        (with-channel (ch 10000)
          (send! ch "hello")
          (let ((kind (kind (shm-channel-receive-into! ch bv))))
            (list kind (receive! ch)))))))
  (test-equal "a channel in read-only memory" '(fault fault)
    (with-fresh-name name
      (shm-channel-create name 100)
      (let ((ch (shm-channel (shm-attach name))))
        (list (kind (send! ch "x")) (kind (shm-channel-close! ch)))))))

(test-begin "channel-hostile")

(when-posix-shm
  (test-group "what peers write" (test-hostile))
  (when (shm-fault-guard)
    (test-group "faults" (test-faults))))

(test-end "channel-hostile")

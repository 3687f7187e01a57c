;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests peer) - one side of what languages.scm and two-sizes.scm test, in Guile;
;;; those in C and Python are peer.c and peer.py.

(define-module (tests peer)
  #:use-module (ice-9 match)
  #:use-module (posix-shm)
  #:use-module (posix-shm atomic)
  #:use-module (posix-shm broadcast)
  #:use-module (posix-shm channel)
  #:use-module (posix-shm sync)
  #:use-module (rnrs bytevectors)
  #:export (channel-offset
            commands
            each
            send
            receive
            lock))

(define pattern
  (u8-list->bytevector (map (lambda (i) (modulo i 256)) (iota 3500))))

(define (message i)
  (let* ((size (if (zero? (modulo i 1000)) 3000 (modulo (* i 7919) 301)))
         (bv (make-bytevector (+ 8 size))))
    (bytevector-u64-set! bv 0 i (endianness little))
    (bytevector-copy! pattern (modulo i 256) bv 8 size)
    bv))

(define (number bv)
  (bytevector-u64-ref bv 0 (endianness little)))

(define (check bv i)
  (unless (equal? bv (message i))
    (error "another message:" i bv)))

(define (each count proc)
  (do ((i 0 (+ i 1)))
      ((= i count))
    (proc i)))

(define (send name count)
  (let ((ch (shm-channel-attach name)))
    (each count
          (lambda (i)
            (let ((bv (message i)))
              (if (zero? (modulo i 3))
                  (call-with-shm-slot ch (bytevector-length bv)
                    (lambda (slot)
                      (bytevector-copy! bv 0 slot 0 (bytevector-length bv))))
                  (shm-channel-send! ch bv)))))))

(define (receive name count)
  (let ((ch (shm-channel-attach name)))
    (each count
          (lambda (i)
            (if (zero? (modulo i 3))
                (call-with-shm-message ch (lambda (bv) (check bv i)))
                (check (shm-channel-receive! ch) i))))))

(define (publish name count)
  (let ((b (shm-broadcast-attach name)))
    (each count (lambda (i) (shm-broadcast-send! b (message i))))
    (shm-broadcast-close! b)))

(define (subscribe name count)
  (let ((s (shm-broadcast-subscribe name #:from 'oldest)))
    (let next ((following count) (missed 0))
      (match (shm-broadcast-receive! s)
        ((? eof-object?)
         (unless (= following count)
           (error "not the last one:" following)))
        (bv
         (let* ((i (number bv))
                (skipped (- (shm-broadcast-missed s) missed)))
           (check bv i)
           (unless (or (= following count) (= i (+ following skipped)))
             (error "missed:" i following skipped))
           (next (+ i 1) (+ missed skipped))))))))

(define (add-1! bv k)
  (bytevector-u64-native-set! bv k (+ 1 (bytevector-u64-native-ref bv k))))

(define (lock name count)
  (let ((bv (shm-attach name #:writable? #t)))
    (each count (lambda (i) (with-shm-mutex bv 0 (add-1! bv 24))))))

;; In the object of locks: a mutex; two numbers that it guards; a third that says
;; whether it is over; and one for each peer.
(define channel-offset 4096)

(define (work name slot)
  (let* ((bv (shm-attach name #:writable? #t))
         (ch (shm-channel (shm-view bv 'vu8 channel-offset))))
    (define (repair)
      (bytevector-u64-native-set! bv 32 (bytevector-u64-native-ref bv 24)))
    (let again ((n 0))
      (when (zero? (atomic-u64-ref bv 40))
        (call-with-shm-mutex bv 0
          (lambda ()
            (unless (= (bytevector-u64-native-ref bv 24)
                       (bytevector-u64-native-ref bv 32))
              (error "inconsistent"))
            (add-1! bv 24)
            (add-1! bv 32))
          #:on-abandoned repair)
        (shm-channel-send! ch (message n) #:timeout 0.01)
        (let ((received (shm-channel-receive! ch #:timeout 0.01)))
          (when received
            (check received (number received))))
        (add-1! bv (+ 48 (* 8 slot)))
        (again (+ n 1))))))

(define commands
  `((send . ,send) (receive . ,receive) (publish . ,publish)
    (subscribe . ,subscribe) (lock . ,lock) (work . ,work)))

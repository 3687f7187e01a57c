;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests channel-support) - what the tests of channels share.

(define-module (tests channel-support)
  #:use-module (ice-9 match)
  #:use-module (posix-shm)
  #:use-module (posix-shm channel)
  #:use-module (rnrs bytevectors)
  #:use-module ((tests support) #:select (await))
  #:export (with-channel
            text
            send!
            receive!
            statistic
            await-statistic
            cut!
            some-bytes))

(define-syntax-rule (with-channel (ch capacity) body ...)
  ;; Shared with children of a fork.
  (let ((ch (shm-channel-create #f capacity)))
    body ...))

(define (text string) (string->utf8 string))

(define* (send! ch message #:optional timeout)
  (shm-channel-send! ch (text message) #:timeout timeout))

(define* (receive! ch #:optional (timeout 60))
  (match (shm-channel-receive! ch #:timeout timeout)
    ((? bytevector? message) (utf8->string message))
    (other other)))

(define (statistic ch name)
  (assq-ref (shm-channel-statistics ch) name))

(define (await-statistic ch name n)
  (await (= (statistic ch name) n)))

(define (cut! name size)
  (let ((fd (shm-open name (list O_RDWR))))
    (shm-resize! fd size)
    (close-fdes fd)))

;; Of N bytes that SEED determines.
(define (some-bytes n seed)
  (let ((bv (make-bytevector n)))
    (let next ((i 0) (x (+ seed 1)))
      (when (< i n)
        (bytevector-u8-set! bv i (logand 255 (ash x -7)))
        (next (+ i 1) (logand #xffffff (+ 12345 (* x 1103515245))))))
    bv))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests channel-support) - what the tests of channels share.

(define-module (tests channel-support)
  #:use-module (ice-9 match)
  #:use-module (posix-shm)
  #:use-module (posix-shm atomic)
  #:use-module (posix-shm channel)
  #:use-module (rnrs bytevectors)
  #:use-module ((srfi srfi-1) #:select (every))
  #:use-module ((tests support) #:select (await))
  #:export (with-channel
            text
            send!
            receive!
            statistic
            await-statistic
            cut!
            some-bytes
            scribble!
            all-go-on?))

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

(define (scribble! bv state words)
  "Store, as a hostile peer might, something in a word of BV: often a position
in a ring of fewer than WORDS words.  STATE is a random state."
  (let ((k (* 8 (random (quotient (bytevector-length bv) 8) state))))
    (atomic-u64-set!
     bv k
     (case (random 8 state)
       ((0) 0)
       ((1) (random (expt 2 64) state))
       ((2) (- (expt 2 64) 1))
       ((3) (* 8 (random words state)))
       ((4) (ash (getppid) 3))
       ((5) (random 8 state))
       ((6) (- (expt 2 64) (* 8 (+ 1 (random words state)))))
       (else (logand (- (expt 2 64) 1) (+ 8 (atomic-u64-ref bv k))))))))

(define (all-go-on? progress wrong?)
  "Return whether each number of those that PROGRESS returns grows within a
minute; return #f if WRONG? returns true before."
  (let ((before (progress)))
    (let again ((tries 60000))
      (cond ((every > (progress) before) #t)
            ((or (zero? tries) (wrong?)) #f)
            (else (usleep 1000)
                  (again (- tries 1)))))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; service.scm - a server and three clients, of which one is killed.
;;;
;;; Usage: guile service.scm
;;;
;;; Each client makes a channel for the replies, and names it in its requests.
;;; The server unlinks that name at the first request, so that a client leaves
;;; nothing behind, even if it is killed.

(use-modules (ice-9 format)
             (ice-9 match)
             (posix-shm)
             (posix-shm channel))

;; Children of this process share it.
(define requests (shm-channel-create #f 4096))

(define (replies-of name clients)
  "Return the channel of the client NAME, and unlink it."
  (or (hash-ref clients name)
      (let ((replies (shm-channel-attach name)))
        (shm-unlink name)
        (hash-set! clients name replies)
        replies)))

(define (serve)
  (define clients (make-hash-table))
  (let next ((served 0))
    (match (shm-channel-receive-datum! requests)
      ((? eof-object?) (format #t "~a requests served~%" served))
      ((name number)
       (define replies (replies-of name clients))
       ;; A client that was killed makes no space.  Do not wait for it.
       (shm-channel-send-datum! replies (* number number) #:timeout 0)
       (next (+ served 1))))))

(define (client numbers at-the-end)
  (define name (shm-fresh-name))
  (define replies (shm-channel-create name 256))
  (define (ask number)
    (and (shm-channel-send-datum! requests (list name number) #:timeout 5)
         (shm-channel-receive-datum! replies #:timeout 5)))
  (format #t "squares: ~a~%" (map ask numbers))
  (force-output)
  (at-the-end))

(define (start thunk)
  (match (primitive-fork)
    (0 (dynamic-wind (const #t) thunk (lambda () (primitive-_exit 0))))
    (pid pid)))

(define server (start (lambda () (serve) (force-output))))
(define clients
  (list (start (lambda () (client '(1 2 3) (const #t))))
        (start (lambda () (client '(4) (lambda () (kill (getpid) SIGKILL)))))
        (start (lambda () (client '(5 6 7) (const #t))))))
(for-each waitpid clients)
(shm-channel-close! requests)
(waitpid server)

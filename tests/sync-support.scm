;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests sync-support) - what the tests of locks in shared memory share.

(define-module (tests sync-support)
  #:use-module (ice-9 match)
  #:use-module (ice-9 threads)
  #:use-module (posix-shm atomic)
  #:use-module (posix-shm sync)
  #:use-module (tests support)
  #:export (;; A mapping with one structure of each kind.
            mutex
            condition
            semaphore
            barrier
            rwlock
            scratch
            size
            initialize!
            with-structures

            ;; Words of the tests' own.
            word
            set-word!
            add-to-word!
            await-word

            ;; Other threads and processes.
            elsewhere
            killed-after))

;; Where each structure is in a mapping of `size' bytes.
(define mutex 0)
(define condition 64)
(define semaphore 128)
(define barrier 4096)
(define rwlock 8192)
(define scratch 16384)                  ; words of the tests' own
(define size 20480)

(define (initialize! bv)
  (shm-mutex-init! bv mutex)
  (shm-condition-variable-init! bv condition)
  (shm-semaphore-init! bv semaphore 0)
  (shm-barrier-init! bv barrier 2)
  (shm-rwlock-init! bv rwlock))

(define-syntax-rule (with-structures (bv) body ...)
  (with-mapping (bv size)
    (initialize! bv)
    body ...))

(define (word bv i) (atomic-u32-ref bv (+ scratch (* 4 i))))
(define (set-word! bv i n) (atomic-u32-set! bv (+ scratch (* 4 i)) n))
(define (add-to-word! bv i n) (atomic-u32-fetch-add! bv (+ scratch (* 4 i)) n))

(define (await-word bv i n)
  (await (= (word bv i) n)))

(define-syntax-rule (elsewhere body ...)
  ;; What BODY returns, or raises, in another thread.
  (join-thread (in-thread (match (raised (lambda () body ...))
                            (('returned value) value)
                            (other other)))))

;; A process that does THUNK, says that it did, and is killed.
(define (killed-after bv thunk)
  (set-word! bv 0 0)
  (let ((pid (start-process (lambda ()
                              (thunk)
                              (set-word! bv 0 1)
                              (sleep 1000)))))
    (await-word bv 0 1)
    (kill-process pid)))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; atomic.scm - atomic operations, wait and notify, tested.

(use-modules (ice-9 match)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))



;;; Operations.

(define-syntax-rule (table (name procedure ... bits signed?) ...)
  (list (list 'name procedure ... bits signed?) ...))

(define types
  (table
   (u32 atomic-u32-ref atomic-u32-set! atomic-u32-swap!
        atomic-u32-compare-and-swap! atomic-u32-fetch-add! atomic-u32-fetch-sub!
        atomic-u32-fetch-and! atomic-u32-fetch-or! atomic-u32-fetch-xor! 32 #f)
   (s32 atomic-s32-ref atomic-s32-set! atomic-s32-swap!
        atomic-s32-compare-and-swap! atomic-s32-fetch-add! atomic-s32-fetch-sub!
        atomic-s32-fetch-and! atomic-s32-fetch-or! atomic-s32-fetch-xor! 32 #t)
   (u64 atomic-u64-ref atomic-u64-set! atomic-u64-swap!
        atomic-u64-compare-and-swap! atomic-u64-fetch-add! atomic-u64-fetch-sub!
        atomic-u64-fetch-and! atomic-u64-fetch-or! atomic-u64-fetch-xor! 64 #f)
   (s64 atomic-s64-ref atomic-s64-set! atomic-s64-swap!
        atomic-s64-compare-and-swap! atomic-s64-fetch-add! atomic-s64-fetch-sub!
        atomic-s64-fetch-and! atomic-s64-fetch-or! atomic-s64-fetch-xor! 64 #t)))

(define (wrap n bits signed?)
  (let ((n (modulo n (expt 2 bits))))
    (if (and signed? (>= n (expt 2 (- bits 1))))
        (- n (expt 2 bits))
        n)))

(define (samples bits signed?)
  (let ((low (if signed? (- (expt 2 (- bits 1))) 0))
        (high (- (expt 2 (if signed? (- bits 1) bits)) 1)))
    (delete-duplicates
     (filter (lambda (n) (<= low n high))
             (list low (+ low 1) -5 -1 0 1 2 7 255 65536
                   (expt 2 29) (- (expt 2 29)) (expt 2 31) (expt 2 61)
                   (expt 2 62) (- (expt 2 61)) (- (expt 2 62)) (expt 2 63)
                   (quotient high 3) (- high 1) high)))))

(define (test-operations what bv k)
  (for-each
   (match-lambda
     ((name ref set swap compare add sub and* or* xor bits signed?)
      (let ((samples (samples bits signed?))
            (wrap (lambda (n) (wrap n bits signed?))))
        (define (check operation expected)
          ;; For each pair: what was there, what is stored.
          (every (lambda (a)
                   (every (lambda (b)
                            (set bv k a)
                            (let ((before (operation bv k b)))
                              (equal? (list before (ref bv k))
                                      (list a (wrap (expected a b))))))
                          samples))
                 samples))
        (test-assert (format #f "~a: ~a: set!, which returns nothing" what name)
          (every (lambda (a)
                   (and (unspecified? (set bv k a))
                        (= a (ref bv k))))
                 samples))
        (test-assert (format #f "~a: ~a: swap!" what name)
          (check swap (lambda (a b) b)))
        (test-assert (format #f "~a: ~a: fetch-add! and fetch-sub!" what name)
          (and (check add +) (check sub -)))
        (test-assert (format #f "~a: ~a: fetch-and!, -or! and -xor!" what name)
          (and (check and* logand) (check or* logior) (check xor logxor)))
        (test-assert (format #f "~a: ~a: compare-and-swap!" what name)
          (every (lambda (a)
                   (every (lambda (b)
                            (set bv k a)
                            (let* ((before (compare bv k b 1))
                                   (after (ref bv k)))
                              (equal? (list before after)
                                      (list a (if (= a b) 1 a)))))
                          samples))
                 samples)))))
   types))

(define (test-neighbours)
  ;; A 32-bit operation leaves the other half of the 64 bits alone.
  (with-mapping (bv 64)
    (test-equal "what is beside it stays" (list #xff00000000000000 1 0 #xffff)
      (begin
        (atomic-u64-set! bv 0 #xff00000000000000)
        (atomic-u64-set! bv 16 #xffff)
        (atomic-u32-fetch-add! bv 8 1)
        (list (atomic-u64-ref bv 0) (atomic-u32-ref bv 8)
              (atomic-u32-ref bv 12) (atomic-u64-ref bv 16))))
    (test-equal "in native byte order"
      (let ((bv (make-bytevector 8 0)))
        (bytevector-u64-native-set! bv 0 #x0102030405060708)
        bv)
      (let ((bv (make-bytevector 8 0)))
        (atomic-u64-set! bv 0 #x0102030405060708)
        bv))))


;;; Misuse.

(define out-of-memory (expt 2 70))

(define (out-of-range subr message)
  (list 'out-of-range subr message))

(define (place-errors subr call size)
  (with-mapping (bv 4096)
    (define (kind k)
      (car (raised (lambda () (call bv k)))))
    (test-equal (string-append subr ": places that are none")
      (map (const 'out-of-range) (iota 8))
      (map kind (list -1 (- size) 1 (/ size 2) (- 4096 (/ size 2)) 4096
                      (expt 2 62) out-of-memory)))
    (test-equal (string-append subr ": offsets that are no integers")
      '(wrong-type-arg wrong-type-arg wrong-type-arg)
      (map kind '(0.0 a 1/2)))
    (test-equal (string-append subr ": no bytevector") 'wrong-type-arg
      (car (raised (lambda () (call "string" 0)))))
    (test-equal (string-append subr ": the last place") 'returned
      (car (raised (lambda () (call bv (- 4096 size))))))
    (test-equal (string-append subr ": an empty bytevector") 'out-of-range
      (car (raised (lambda () (call (make-bytevector 0) 0)))))))

(define (test-misuse)
  (place-errors "atomic-u32-ref" atomic-u32-ref 4)
  (place-errors "atomic-s64-ref" atomic-s64-ref 8)
  (place-errors "atomic-s32-set!" (lambda (bv k) (atomic-s32-set! bv k 1)) 4)
  (place-errors "atomic-u64-fetch-add!"
                (lambda (bv k) (atomic-u64-fetch-add! bv k 1)) 8)
  (place-errors "atomic-u64-compare-and-swap!"
                (lambda (bv k) (atomic-u64-compare-and-swap! bv k 0 1)) 8)
  (place-errors "atomic-u32-wait" (lambda (bv k) (atomic-u32-wait bv k 0 0)) 4)
  (place-errors "atomic-u32-notify!" (lambda (bv k) (atomic-u32-notify! bv k)) 4)

  (with-mapping (bv 64)
    (for-each
     (match-lambda
       ((name ref set exchange compare add . rest)
        (let* ((bits (list-ref rest 4))
               (signed? (list-ref rest 5))
               (high (expt 2 (if signed? (- bits 1) bits)))
               (low (if signed? (- high) 0)))
          (test-equal (format #f "~a: values that do not fit" name)
            (map (const 'out-of-range) (iota 7))
            (map (lambda (thunk) (car (raised thunk)))
                 (list (lambda () (set bv 0 high))
                       (lambda () (exchange bv 0 (- low 1)))
                       (lambda () (add bv 0 high))
                       (lambda () (add bv 0 (- low 1)))
                       (lambda () (compare bv 0 high 0))
                       (lambda () (compare bv 0 0 (- low 1)))
                       (lambda () (set bv 0 (expt 10 100))))))
          (test-equal (format #f "~a: values of other types" name)
            '(wrong-type-arg wrong-type-arg wrong-type-arg)
            (map (lambda (value) (car (raised (lambda () (set bv 0 value)))))
                 '(1.0 a 1/2))))))
     types)
    (test-equal "nothing was stored" 0 (atomic-u64-ref bv 0)))

  (test-raises "a value that does not fit is named"
    (out-of-range "atomic-u32-set!" "Not a value of type u32: -1")
    (atomic-u32-set! (make-bytevector 4) 0 -1))
  (test-raises "an offset that is not a multiple is named"
    (out-of-range "atomic-u64-ref" "Offset is not a multiple of 8: 4")
    (atomic-u64-ref (make-bytevector 16) 4))
  (test-raises "an offset beyond the end is named"
    (out-of-range "atomic-u64-ref" "There are not 8 bytes from offset 16 on in a \
bytevector of 16")
    (atomic-u64-ref (make-bytevector 16) 16))
  (call-with-descriptor (shm-open-anonymous #:size 64)
    (lambda (fd)
      (test-raises "memory that is not aligned"
        (out-of-range "atomic-u64-ref"
                      "The bytevector's memory is not at a multiple of 8 bytes: \
0")
        (atomic-u64-ref (shm-map fd 16 #:offset 4) 0))))

  (unless (shm-fault-guard) (test-skip 1))
  (test-equal "in a mapping for reading, a store is a condition"
    '((read-only 8) 0 0 #f)
    (eval-in-new-guile
     '(use-modules (posix-shm atomic) (ice-9 exceptions))
     `(let* ((fd (shm-open-anonymous #:size 64))
             (bv (shm-map fd #:writable? #f)))
        (write (list (guard (c ((shm-fault? c)
                                (list (shm-fault-kind c)
                                      (shm-fault-offset c))))
                       (atomic-u32-fetch-add! bv 8 1))
                     (atomic-u64-ref bv 8)
                     (atomic-u32-ref bv 8)
                     (atomic-u32-wait bv 8 0 1/1000)))))))


;;; Waiting.

;; A thread that returns what a wait for the word at K not to be OLD comes to.
(define (start-waiter bv k old . timeout)
  (call-with-new-thread
   (lambda ()
     (apply atomic-u32-wait bv k old timeout))))

(define (change! bv k value . count)
  (atomic-u32-set! bv k value)
  (apply atomic-u32-notify! bv k count))

(define (seconds-since start)
  (/ (- (get-internal-real-time) start)
     (exact->inexact internal-time-units-per-second)))

(define (test-waiting what bv)
  (test-equal (string-append what ": another value comes before the timeout")
    '(#t #t #t)
    (list (atomic-u32-wait bv 0 1 0) (atomic-u32-wait bv 0 1)
          (atomic-u32-wait bv 0 1 -1)))
  (test-equal (string-append what ": a timeout of 0, or less")
    '(#f #f #f #f)
    (map (lambda (timeout) (atomic-u32-wait bv 0 0 timeout))
         '(0 0.0 -1 -inf.0)))
  (for-each
   (lambda (timeout)
     (test-assert (format #f "~a: a timeout of ~a is waited for" what timeout)
       (let ((start (get-internal-real-time)))
         (and (not (atomic-u32-wait bv 0 0 timeout))
              ;; Another clock measures it, in ticks of a millisecond.
              (>= (seconds-since start) (* 9/10 timeout))))))
   '(1/10 0.02))
  (test-equal (string-append what ": a timeout too short to be measured") #f
    (atomic-u32-wait bv 0 0 1e-9))
  (test-equal (string-append what ": numbers of seconds that are none")
    '((out-of-range "atomic-u32-wait" "Not a number of seconds: +nan.0")
      (wrong-type-arg "atomic-u32-wait" "Wrong type argument in position 4 \
(expecting real number of seconds, or #f): 1.0+1.0i")
      (wrong-type-arg "atomic-u32-wait" "Wrong type argument in position 4 \
(expecting real number of seconds, or #f): soon"))
    (map (lambda (timeout)
           (raised (lambda () (atomic-u32-wait bv 0 0 timeout))))
         '(+nan.0 1.0+1.0i soon)))
  (test-equal (string-append what ": an old value that does not fit")
    '((out-of-range "atomic-u32-wait" "Not a value of type u32: -1")
      (out-of-range "atomic-u32-wait" "Not a value of type u32: 4294967296"))
    (map (lambda (old)
           (raised (lambda () (atomic-u32-wait bv 0 old 0))))
         (list -1 (expt 2 32))))
  (test-assert (string-append what ": no waiter")
    (every unspecified?
           (list (atomic-u32-notify! bv 0) (atomic-u32-notify! bv 0 0)
                 (atomic-u32-notify! bv 0 +inf.0))))
  (test-equal (string-append what ": a count that is none")
    '(out-of-range wrong-type-arg wrong-type-arg)
    (map (lambda (count)
           (car (raised (lambda () (atomic-u32-notify! bv 0 count)))))
         '(-1 1.5 many))))

(define (test-notifying what bv)
  (for-each
   (lambda (timeout)
     (test-equal (format #f "~a: changed in spite of a timeout of ~a" what
                         timeout)
       #t
       (let ((waiter (start-waiter bv 0 0 timeout)))
         (await-sleepers 1)
         (change! bv 0 1)
         (let ((result (join-thread waiter)))
           (atomic-u32-set! bv 0 0)
           result))))
   (list #f +inf.0 (expt 10 12) (expt 10 400)))
  ;; If it returned before the change it would read the old value.
  (test-equal (string-append what ": notifications without a change") '(#t 1)
    (let ((waiter (in-thread
                   (let ((result (atomic-u32-wait bv 0 0)))
                     (list result (atomic-u32-ref bv 0))))))
      (await-sleepers 1)
      (for-each (lambda (_)
                  (atomic-u32-notify! bv 0)
                  (yield))
                (iota 1000))
      (change! bv 0 1)
      (let ((result (join-thread waiter)))
        (atomic-u32-set! bv 0 0)
        result)))
  (test-equal (string-append what ": a change that no one notifies of") #t
    (let ((waiter (start-waiter bv 0 0)))
      (await-sleepers 1)
      (atomic-u32-set! bv 0 1)
      (let ((result (join-thread waiter)))
        (atomic-u32-set! bv 0 0)
        result)))
  (test-equal (string-append what ": all waiters, or one after the other")
    '((#t #t #t #t #t) (#t #t #t))
    (map (lambda (n . count)
           (let ((waiters (map (lambda (_) (start-waiter bv 0 0)) (iota n))))
             (await-sleepers n)
             (apply change! bv 0 1 count)
             (let ((results (map join-thread waiters)))
               (atomic-u32-set! bv 0 0)
               results)))
         '(5 3) '(#f 1))))

(define (test-between-processes)
  (test-equal "processes wake each other" '(0 #t)
    (with-mapping (bv 64)
      (let ((pid (start-process
                  (lambda ()
                    (atomic-u32-wait bv 0 0)
                    (change! bv 8 1 1)))))
        (await-sleepers 1 pid)
        (change! bv 0 1 1)
        (let ((result (atomic-u32-wait bv 8 0)))
          (list (cdr (waitpid pid)) result))))))


;;; With other processes.

(define (test-processes)
  (with-mapping (bv 256)
    (test-equal "8 processes add 100,000 times each" '(#t 800000 -800000 0)
      (let ((ended? (in-processes
                     8 (lambda (i)
                         (let loop ((n 0))
                           (when (< n 100000)
                             (atomic-u64-fetch-add! bv 0 1)
                             (atomic-s64-fetch-sub! bv 64 1)
                             (atomic-u32-fetch-xor! bv 128 (ash 1 i))
                             (when (zero? (modulo n 20000)) (gc))
                             (loop (+ n 1))))))))
        (list ended? (atomic-u64-ref bv 0) (atomic-s64-ref bv 64)
              (atomic-u32-ref bv 128)))))

  ;; Two take from a count what two put there, without a timeout, so that a
  ;; wake-up that is lost is a hang.
  (with-mapping (bv 256)
    (define rounds 500000)
    (define (put)
      (atomic-u32-fetch-add! bv 0 1)
      (atomic-u32-notify! bv 0 1))
    (define (take)
      (let ((n (atomic-u32-ref bv 0)))
        (if (zero? n)
            (begin
              (atomic-u32-wait bv 0 0)
              (take))
            (unless (= n (atomic-u32-compare-and-swap! bv 0 n (- n 1)))
              (take)))))
    (test-equal "two wakers and two waiters, a million rounds" '(#t 0)
      (let ((ended? (in-processes
                     4 (lambda (i)
                         (let loop ((n 0))
                           (when (< n rounds)
                             (if (even? i) (put) (take))
                             (loop (+ n 1))))))))
        (list ended? (atomic-u32-ref bv 0))))))


;;; Leaving a wait.

(define (test-unmapping)
  (define (unmapped-while-waited what waited unmapped)
    (test-equal what
      '(out-of-range "atomic-u32-wait" "The memory at offset 8 was unmapped")
      (let ((thread (call-with-new-thread
                     (lambda ()
                       (raised (lambda () (atomic-u32-wait waited 8 0)))))))
        (await-sleepers 1)
        (shm-unmap! unmapped)
        (join-thread thread))))
  (let ((bv (shm-create #f 4096)))
    (unmapped-while-waited "unmapped while a thread waits" bv bv)
    (test-raises "a bytevector that was unmapped"
      '(out-of-range "atomic-u32-ref" "The memory at offset 0 was unmapped")
      (atomic-u32-ref bv 0)))
  (let* ((bv (shm-create #f 4096))
         (view (shm-view bv 'u32)))
    (unmapped-while-waited "unmapped while a thread waits in a view" view bv)
    (test-raises "an unmapped view is not waited in"
      '(out-of-range "atomic-u32-wait" "The memory at offset 8 was unmapped")
      (atomic-u32-wait view 8 0))))

(test-begin "atomic")

(cond (posix-shm?
       (test-group "operations"
         (test-operations "a bytevector" (make-bytevector 64 0) 16)
         (with-mapping (bv 4096)
           (test-operations "a mapping" bv 4088))
         (test-neighbours))
       (test-group "misuse" (test-misuse))
       (test-group "processes"
         (test-processes)
         (test-between-processes))
       (test-group "waiting"
         (let ((bv (make-bytevector 64 0)))
           (test-waiting "a bytevector" bv)
           (test-notifying "a bytevector" bv))
         (with-mapping (bv 4096)
           (test-waiting "a mapping" bv)
           (test-notifying "a mapping" bv))
         (test-unmapping)))
      (else
       (test-group "without shared memory"
         (test-operations "a bytevector" (make-bytevector 64 0) 16)
         (let ((bv (make-bytevector 64 0)))
           (test-waiting "a bytevector" bv)
           (test-notifying "a bytevector" bv)))))

(test-end "atomic")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; ratios.scm - how long Guile takes for what C does, as ratios in one run.
;;; Usage: guile ratios.scm TWIN NOTHING [COUNT]   (see bench/twin.c, nothing.c)

;;; Guile and C take turns, COUNT rounds each; a ratio is that of one turn of
;;; each, so that what slows the machine slows both.

(use-modules ((ice-9 format) #:select (format))
             (ice-9 match)
             (ice-9 popen)
             ((ice-9 threads)
              #:select (make-mutex lock-mutex unlock-mutex))
             (posix-shm)
             (posix-shm atomic)
             (posix-shm semaphore)
             (posix-shm sync)
             ((rnrs bytevectors)
              #:select (bytevector-length bytevector-u8-ref
                        bytevector-u8-set! bytevector-copy!
                        bytevector-u64-native-ref bytevector-u64-native-set!
                        make-bytevector))
             ((posix-shm chicken)
              #:select (open/rdwr open/creat open/rdonly open/excl
                        file-truncate file-write file-read file-close))
             (srfi srfi-1))

(define repetitions 201)

(define name (format #f "/gshm-bench-~a" (getpid)))

(define (life-cycle)
  (close-fdes (shm-open name (list O_RDWR O_CREAT O_EXCL) #o600))
  (shm-unlink name))

(define (egg)
  (let* ((str "Hello, world!")
         (path name)
         (fd (shm-open path (list open/rdwr open/creat))))
    (file-truncate fd (string-length str))
    (file-write fd str)
    (file-close fd)
    (let ((fd (shm-open path (list open/rdonly open/excl))))
      (file-read fd (string-length str))
      (file-close fd)
      (shm-unlink path))))

(define object (shm-open-anonymous #:size 1048576))

(define (map-and-touch size)
  (let ((bv (shm-map object size)))
    (let loop ((i 0))
      (when (< i size)
        (bytevector-u8-set! bv i 1)
        (loop (+ i 4096))))
    (shm-unmap! bv)))

(define (create)
  (let ((bv (shm-create name 4096)))
    (bytevector-u8-set! bv 0 1)
    (shm-unmap! bv)
    (shm-unlink name)))

;; What processes share, each on a line of the cache of its own.
(define shared (shm-create #f 4096))
(shm-unlink (shm-name shared))
(define-values (mutex semaphore ping pong guarded)
  (values 0 64 128 192 256))
(shm-mutex-init! shared mutex)
(shm-semaphore-init! shared semaphore 0)
(define named (semaphore-open name (list O_CREAT O_EXCL)))
(semaphore-unlink name)

(define-syntax-rule (time-expression count expression)
  (let ((start (nanoseconds)))
    (let next ((i 0))
      (when (< i count)
        expression
        (next (+ i 1))))
    (- (nanoseconds) start)))

(define (lock-and-unlock count)
  (time-expression count (begin (shm-mutex-lock! shared mutex)
                                (shm-mutex-unlock! shared mutex))))

(define (post-and-wait count)
  (time-expression count (begin (shm-semaphore-post! shared semaphore)
                                (shm-semaphore-wait! shared semaphore))))

(define (post-and-wait-named count)
  (time-expression count (begin (semaphore-post! named)
                                (semaphore-wait! named))))

(define (await k value)
  (let ((seen (atomic-u32-ref shared k)))
    (unless (= seen value)
      (atomic-wait shared k seen)
      (await k value))))

(define (say k value)
  (atomic-u32-set! shared k value)
  (atomic-notify! shared k 1))

(define-syntax-rule (in-child body ...)
  (let ((pid (primitive-fork)))
    (when (zero? pid)
      body ...
      (primitive-_exit 0))
    pid))

(define warming-up 500)

(define (ping-pong count)
  (define (from-to first last round)
    (let next ((i first))
      (when (<= i last)
        (round i)
        (next (+ i 1)))))
  (define (serve i)
    (say ping i)
    (await pong i))
  (say ping 0)
  (say pong 0)
  (let* ((last (+ warming-up count))
         (pid (in-child
               (from-to 1 last
                        (lambda (i)
                          (await ping i)
                          (say pong i))))))
    ;; What a fork makes slow at first is not what is measured.
    (from-to 1 warming-up serve)
    (let ((start (nanoseconds)))
      (from-to (+ warming-up 1) last serve)
      (let ((time (- (nanoseconds) start)))
        (waitpid pid)
        time))))

(define (ping-pong-on-one-processor count)
  (let ((before (getaffinity 0)))
    (setaffinity 0 (make-bitvector 1 #t))
    (let ((time (ping-pong count)))
      (setaffinity 0 before)
      time)))

(define (contended count)
  (define (work)
    (let next ((i 0))
      (when (< i count)
        (shm-mutex-lock! shared mutex)
        (bytevector-u64-native-set!
         shared guarded (+ 1 (bytevector-u64-native-ref shared guarded)))
        (shm-mutex-unlock! shared mutex)
        (next (+ i 1)))))
  (let* ((start (nanoseconds))
         (one (in-child (work)))
         (other (in-child (work))))
    (waitpid one)
    (waitpid other)
    (- (nanoseconds) start)))

;; What is measured, by a procedure that does it once, or by one that does it as
;; often as it is told and returns the nanoseconds that took; the ratio that is the
;; goal; and for how many times fewer rounds.
(define measurements
  `(("life-cycle" ,life-cycle 1.08 1)
    ("egg" ,egg 1.5 1)
    ("map-4K" ,(lambda () (map-and-touch 4096)) 1.25 1)
    ("map-1M" ,(lambda () (map-and-touch 1048576)) 1.05 20)
    ("create" ,create 1.5 1)
    ("create-whole" ,create 1.15 1)
    ("mutex" (rounds ,lock-and-unlock) 2.5 1/100)
    ("semaphore" (rounds ,post-and-wait) 4 1/100)
    ("named" (rounds ,post-and-wait-named) 4 1/100)
    ("ping-pong-spin" (rounds ,ping-pong) "1 µs" 1/20)
    ("ping-pong-sleep" (rounds ,ping-pong-on-one-processor) 1.15 1/5)
    ("contended" (rounds ,contended) 1.5 1/1000)))

(define (nanoseconds)
  (* (get-internal-real-time)
     (/ 1000000000 internal-time-units-per-second)))

(define (time-guile round count)
  (match round
    (('rounds proc) (proc count))
    (proc (time-rounds proc count))))

(define (time-rounds round count)
  (let ((start (nanoseconds)))
    (let next ((i 0))
      (when (< i count)
        (round)
        (next (+ i 1))))
    (- (nanoseconds) start)))

(define (time-twin twin measurement count)
  (format twin "~a ~a~%" measurement count)
  (force-output twin)
  (read twin))

(define (median numbers)
  (list-ref (sort numbers <) (quotient (length numbers) 2)))

(define (measure twin count)
  (match-lambda
    ((measurement round goal divisor)
     (let* ((count (max 1 (floor (/ count divisor))))
            (turns (list-tabulate repetitions
                                  (lambda (i)
                                    (cons (time-guile round count)
                                          (time-twin twin measurement count)))))
            (ratios (map (match-lambda ((guile . c) (/ guile c))) turns)))
       (format #t "~12a ~7,2f µs ~7,2f µs   ~5,3f (~5,3f to ~5,3f)   ~a~%"
               measurement
               (/ (median (map car turns)) count 1000.)
               (/ (median (map cdr turns)) count 1000.)
               (median ratios) (apply min ratios) (apply max ratios)
               goal)))))

(define (main twin nothing count)
  (let ((twin (open-pipe* OPEN_BOTH twin)))
    (format #t "             Guile      C            ratio: median (range)    \
goal~%")
    (for-each (measure twin count) measurements)
    (close-pipe twin))
  (format #t "~%             mapping    ordinary~%")
  (for-each (compare count) comparisons)
  (load-extension nothing "gshm_nothing_init")
  (primitives (* 100 count))
  (many))

;; Guile against Guile: a mapping, and a bytevector of its own.
(define (sum bv)
  (let ((n (bytevector-length bv)))
    (let loop ((i 0) (sum 0))
      (if (< i n)
          (loop (+ i 1) (logxor sum (bytevector-u8-ref bv i)))
          sum))))

(define target (make-bytevector 1048576))

(define (copy bv)
  (bytevector-copy! bv 0 target 0 1048576))

(define comparisons
  `(("elements" ,sum 1.02)
    ("copying" ,copy 1.02)))

(define (compare count)
  (let ((mapping (shm-map object)) (ordinary (make-bytevector 1048576 1)))
    (match-lambda
      ((name proc goal)
       (let* ((rounds (max 1 (quotient count 100)))
              (turns (list-tabulate
                      repetitions
                      (lambda (i)
                        (cons (time-guile (lambda () (proc mapping)) rounds)
                              (time-guile (lambda () (proc ordinary))
                                          rounds)))))
              (ratios (map (match-lambda ((a . b) (/ a b))) turns)))
         (format #t "~12a ~7,2f µs ~7,2f µs   ~5,3f (~5,3f to ~5,3f)   ~a~%"
                 name
                 (/ (median (map car turns)) rounds 1000.)
                 (/ (median (map cdr turns)) rounds 1000.)
                 (median ratios) (apply min ratios) (apply max ratios)
                 goal))))))

;; Guile's own, for as long as a loop takes.
(define guile-mutex (make-mutex))

(define (primitives count)
  (define nothing (module-ref (current-module) 'nothing))
  (define (report name goal one other)
    (let ((ratios (map / one other)))
      (format #t "~28a ~5,1f ns ~5,1f ns   ~5,3f (~5,3f to ~5,3f)   ~a~%" name
              (/ (median one) count 1.) (/ (median other) count 1.)
              (median ratios) (apply min ratios) (apply max ratios) goal)))
  (define-syntax-rule (compare name goal expression reference)
    (let ((turns (list-tabulate
                  repetitions
                  (lambda (i)
                    (cons (time-expression count expression)
                          (time-expression count reference))))))
      (report name goal (map car turns) (map cdr turns))))
  (newline)
  (compare "fetch-add / empty primitive" 1.5
           (atomic-u64-fetch-add! shared guarded 1)
           (nothing shared guarded 1))
  (compare "mutex / Guile's own mutex" 1
           (begin (shm-mutex-lock! shared mutex)
                  (shm-mutex-unlock! shared mutex))
           (begin (lock-mutex guile-mutex)
                  (unlock-mutex guile-mutex))))

;; The cost of a mapping, alone and with 50,000 others.
(define (many)
  (define (cost)
    (median (list-tabulate repetitions
              (lambda (i)
                (time-guile (lambda () (map-and-touch 4096)) 50)))))
  (let* ((alone (cost))
         (others (list-tabulate 50000 (lambda (i) (shm-map object 4096))))
         (among (cost)))
    (format #t "~%one mapping with ~a others: ~5,3f of alone (goal 1.5)~%"
            (length others) (/ among alone 1.))))

(match (command-line)
  ((_ twin nothing) (main twin nothing 200))
  ((_ twin nothing count) (main twin nothing (string->number count))))

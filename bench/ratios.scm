;;; SPDX-License-Identifier: BSD-3-Clause
;;; ratios.scm - how long Guile takes for what C does, as ratios in one run.
;;; Usage: guile ratios.scm TWIN [COUNT]   (see bench/twin.c)

;;; Guile and C take turns, COUNT rounds each; a ratio is that of one turn of
;;; each, so that what slows the machine slows both.

(use-modules ((ice-9 format) #:select (format))
             (ice-9 match)
             (ice-9 popen)
             (posix-shm)
             ((rnrs bytevectors)
              #:select (bytevector-length bytevector-u8-ref
                        bytevector-u8-set! bytevector-copy!
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

;; What is measured, the ratio that is the goal, and for how many times fewer
;; rounds.
(define measurements
  `(("life-cycle" ,life-cycle 1.08 1)
    ("egg" ,egg 1.5 1)
    ("map-4K" ,(lambda () (map-and-touch 4096)) 1.25 1)
    ("map-1M" ,(lambda () (map-and-touch 1048576)) 1.05 20)
    ("create" ,create 1.5 1)
    ("create-whole" ,create 1.15 1)))

(define (nanoseconds)
  (* (get-internal-real-time)
     (/ 1000000000 internal-time-units-per-second)))

(define (time-guile round count)
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
     (let* ((count (max 1 (quotient count divisor)))
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

(define (main twin count)
  (let ((twin (open-pipe* OPEN_BOTH twin)))
    (format #t "             Guile      C            ratio: median (range)    \
goal~%")
    (for-each (measure twin count) measurements)
    (close-pipe twin))
  (format #t "~%             mapping    ordinary~%")
  (for-each (compare count) comparisons)
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
  ((_ twin) (main twin 200))
  ((_ twin count) (main twin (string->number count))))

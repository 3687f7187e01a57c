;;; SPDX-License-Identifier: BSD-3-Clause
;;; ratios.scm - how long Guile takes for what C does, as ratios in one run.
;;; Usage: guile ratios.scm TWIN [COUNT]   (see bench/twin.c)

;;; Guile and C take turns, COUNT rounds each; a ratio is that of one turn of
;;; each, so that what slows the machine slows both.

(use-modules ((ice-9 format) #:select (format))
             (ice-9 match)
             (ice-9 popen)
             (posix-shm)
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

;; What is measured, and the ratio that is the goal.
(define measurements
  `(("life-cycle" ,life-cycle 1.08)
    ("egg" ,egg 1.5)))

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
    ((measurement round goal)
     (let* ((turns (list-tabulate repetitions
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
    (close-pipe twin)))

(match (command-line)
  ((_ twin) (main twin 200))
  ((_ twin count) (main twin (string->number count))))

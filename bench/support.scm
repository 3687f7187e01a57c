;;; SPDX-License-Identifier: BSD-3-Clause
;;; (bench support) - what the peers of bench/run that are written in Guile share.

(define-module (bench support)
  #:use-module (ice-9 format)
  #:use-module (ice-9 match)
  #:use-module (ice-9 rdelim)
  #:use-module (srfi srfi-1)
  #:export (fresh-name
            wrong
            check

            ;; Time, in nanoseconds.
            now
            repeat
            mean
            latencies

            ;; Processors and processes.
            pin!
            in-child
            finish
            share-of

            serve))

(define names 0)

(define (fresh-name)
  (set! names (+ names 1))
  (format #f "/gshm-bench-~a-~a" (getpid) names))

(define (remove-objects)
  (for-each (lambda (i)
              (false-if-exception
               (delete-file (format #f "/dev/shm/gshm-bench-~a-~a" (getpid) i))))
            (iota names 1)))

(define (wrong what)
  (throw 'wrong what))

(define-syntax-rule (check good? what)
  (unless good? (wrong what)))


(define (now)
  (* (get-internal-real-time)
     (quotient 1000000000 internal-time-units-per-second)))

(define-syntax-rule (repeat count body ...)
  (let next ((i 0))
    (when (< i count)
      body ...
      (next (+ i 1)))))

(define-syntax-rule (mean count body ...)
  ;; Nanoseconds of BODY, once.
  (let ((start (now)))
    (repeat count body ...)
    (/ (- (now) start) count 1.)))

;; What a fork makes slow at first is not what is measured.
(define warming-up 200)

(define (percentiles times)
  (let* ((sorted (list->vector (sort times <)))
         (n (vector-length sorted)))
    (map (lambda (thousandths)
           (vector-ref sorted (quotient (* n thousandths) 1000)))
         '(500 990 999))))

(define sparse-pause 500)               ; microseconds

;; The processors of this process and of its child; #f is for all.
(define (processors placement)
  (case placement
    ((across) '(0 1))
    ((together) '(0 0))
    ((anywhere sparse) '(#f #f))))

(define (processor-time)
  (* (get-internal-run-time)
     (quotient 1000000000 internal-time-units-per-second)))

(define* (latencies count serve answer #:key (placement 'across))
  "Have a child call ANSWER, and this process SERVE, COUNT times, with the
number of the time from 1 on, on the processors that PLACEMENT says.  SERVE
returns the nanoseconds that it took; return three percentiles of these or, if
PLACEMENT is sparse, pause before each, and return two percentiles and the
processor time of both processes for one time."
  (define sparse? (eq? placement 'sparse))
  (define last-one (+ warming-up count))
  (define times (make-vector count 0))
  (define (each proc)
    "Call PROC, and return the processor time of the last COUNT times."
    (let next ((i 1) (start 0))
      (cond ((> i last-one) (- (processor-time) start))
            (else
             (let ((start (if (= i (+ warming-up 1)) (processor-time) start)))
               (proc i)
               (next (+ i 1) start))))))
  (define (measure i)
    (when sparse?
      (usleep sparse-pause))
    (let ((time (serve i)))
      (when (> i warming-up)
        (vector-set! times (- i warming-up 1) time))))
  (let* ((pipe (pipe))
         (pid (in-child (second (processors placement))
                (lambda ()
                  (write (each answer) (cdr pipe))
                  (force-output (cdr pipe))))))
    (pin! (first (processors placement)))
    (let ((time (each measure)))
      (close-port (cdr pipe))
      (finish pid)
      (let ((child-time (read (car pipe)))
            (percentiles (percentiles (vector->list times))))
        (close-port (car pipe))
        (if sparse?
            (list (first percentiles) (second percentiles)
                  (quotient (+ time child-time) count))
            percentiles)))))


(define all-processors (getaffinity 0))

(define (pin! n)
  "Stay on the Nth processor of those that there are, or the last; on all if N
is #f."
  (setaffinity
   0
   (if n
       (let* ((those (filter (lambda (i) (bitvector-bit-set? all-processors i))
                             (iota (bitvector-length all-processors))))
              (one (list-ref those (min n (- (length those) 1))))
              (mask (make-bitvector (+ one 1) #f)))
         (bitvector-set-bit! mask one)
         mask)
       all-processors)))

(define (in-child processor thunk)
  "Start a process that calls THUNK, on PROCESSOR as @code{pin!} has it.
Return its process id."
  (force-output)
  (let ((pid (primitive-fork)))
    (when (zero? pid)
      (catch #t
        (lambda ()
          (pin! processor)
          (thunk)
          (primitive-_exit 0))
        (lambda arguments
          (format (current-error-port) "child: ~s~%" arguments)
          (force-output (current-error-port))
          (primitive-_exit 1))))
    pid))

(define (finish pid)
  "Wait for the process PID, and go back to all processors."
  (check (zero? (cdr (waitpid pid))) "a child failed")
  (pin! #f))


(define (share-of count i n)
  "Return how many the Ith of N senders sends: as many as are measured go
before."
  (+ (quotient (* 2 count) n)
     (if (< i (modulo (* 2 count) n)) 1 0)))


(define (serve version rows)
  "Print VERSION; then read lines that each have the name of a row, how often
to do it, and an argument, and answer them by the procedures of the alist ROWS,
which return a number of nanoseconds, a list of some, or @code{killed}."
  (define (answer row count argument)
    (catch #t
      (lambda ()
        (let* ((proc (assoc-ref rows row))
               (result (if proc (proc count argument) '-)))
          (cond ((list? result) (string-join (map number->string result)))
                ((symbol? result) (symbol->string result))
                (else (number->string (exact->inexact result))))))
      (lambda arguments
        (remove-objects)
        (format #f "wrong ~s" arguments))))
  (define (say line)
    (display line)
    (newline)
    (force-output))
  (say version)
  (let next ()
    (let ((line (read-line)))
      (unless (eof-object? line)
        (say (match (string-tokenize line)
               ((row count argument)
                (answer row (string->number count) (string->number argument)))))
        (next)))))

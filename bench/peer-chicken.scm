;;; SPDX-License-Identifier: BSD-3-Clause
;;; peer-chicken.scm - what CHICKEN with the egg posix-shm does of the rows.
;;;
;;; Run it as `csi -script peer-chicken.scm'.  It prints a line that names it,
;;; then reads lines "ROW COUNT ARGUMENT" and answers each with nanoseconds per
;;; operation, or with "-" or "wrong WHY".  It exits with 77 where there is no
;;; egg.

(import (chicken base)
        (chicken condition)
        (chicken file)
        (chicken file posix)
        (chicken io)
        (chicken platform)
        (chicken port)
        (chicken process-context posix)
        (chicken process signal)
        (chicken string)
        (chicken time))

(handle-exceptions _ (exit 77)
  (eval '(import posix-shm)))

(define text "Hello, world!")
(define name (conc "/gshm-bench-" (current-process-id) "-chicken"))

(define (remove-name)
  (handle-exceptions _ #f (shm-unlink name)))

(define (check good why)
  (unless good (error why)))

(define (check-name)
  (check (not (file-exists? (string-append "/dev/shm" name)))
         "the name is still there"))

(define (life-cycle)
  (file-close (shm-open name (list open/rdwr open/creat open/excl)))
  (shm-unlink name))

(define (egg)
  (let ((fd (shm-open name (list open/rdwr open/creat))))
    (file-truncate fd (string-length text))
    (file-write fd text)
    (file-close fd)
    (let* ((fd (shm-open name (list open/rdonly)))
           (got (file-read fd (string-length text))))
      (check (and (= (cadr got) (string-length text))
                  (string=? (car got) text))
             "something else was read")
      (file-close fd)
      (shm-unlink name))))

;; The clock has only milliseconds, so that COUNT rounds are repeated until
;; they have taken a hundred.
(define (measure round count)
  (define start (current-process-milliseconds))
  (let next ((rounds 0))
    (let ((elapsed (- (current-process-milliseconds) start)))
      (cond
       ((or (zero? rounds) (< elapsed 100))
        (do ((i 0 (+ i 1)))
            ((= i count))
          (round))
        (next (+ rounds count)))
       (else
        (check-name)
        (/ (* elapsed 1e6) rounds))))))

(define rows
  (list (cons "life-cycle" life-cycle)
        (cons "egg" egg)))

(define (why condition)
  (apply conc (get-condition-property condition 'exn 'message "?") " "
         (intersperse
          (map ->string
               (get-condition-property condition 'exn 'arguments '()))
          " ")))

(define (answer row count)
  (handle-exceptions condition
      (begin
        (remove-name)
        (string-append "wrong " (why condition)))
    (if row
        (number->string (measure (cdr row) count))
        "-")))

(define (say line)
  (print line)
  (flush-output))

;; Also who is told to end removes what it made.
(on-exit remove-name)
(for-each (lambda (signal) (set-signal-handler! signal (lambda (_) (exit 1))))
          (list signal/hup signal/int signal/term))

(say (string-append "CHICKEN " (chicken-version)))
(let next ()
  (let ((line (read-line)))
    (unless (eof-object? line)
      (let ((words (string-split line)))
        (say (answer (assoc (car words) rows)
                     (string->number (cadr words)))))
      (next))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; matrix.scm - a matrix that processes share, as an array of Guile's.
;;;
;;; Usage: guile matrix.scm [N]
;;;
;;; Two processes fill a multiplication table of N rows and columns, by default
;;; 1000: one the upper half of the rows, the other the lower one.  The parent
;;; then shows a corner of it, and the sum of all.

(use-modules (ice-9 match)
             (posix-shm))

(define (submatrix matrix top left rows columns)
  "Return a part of MATRIX, on the same memory."
  (make-shared-array matrix
                     (lambda (i j) (list (+ top i) (+ left j)))
                     rows columns))

(define (fill-rows! matrix from to)
  (let ((rows (submatrix matrix from 0
                         (- to from) (cadr (array-dimensions matrix)))))
    (array-index-map! rows (lambda (i j) (* 1.0 (+ from i 1) (+ j 1))))))

(define (start-process thunk)
  (match (primitive-fork)
    (0
     (dynamic-wind
       (const #t)
       (lambda () (thunk) (primitive-_exit 0))
       (lambda () (primitive-_exit 1))))
    (pid pid)))

(define (main n)
  (let* ((matrix (shm-create #f #f #:type 'f64 #:dimensions (list n n)))
         (half (quotient n 2))
         (pids (list (start-process (lambda () (fill-rows! matrix 0 half)))
                     (start-process (lambda () (fill-rows! matrix half n)))))
         (good? (map (lambda (pid) (zero? (cdr (waitpid pid)))) pids)))
    (unless (equal? good? '(#t #t))
      (display "matrix.scm: a process failed\n" (current-error-port))
      (exit 1))
    (format #t "The last corner: ~a~%"
            (array->list (submatrix matrix (- n 2) (- n 2) 2 2)))
    (let ((sum 0))
      (array-for-each (lambda (x) (set! sum (+ sum x))) matrix)
      (format #t "The sum of all: ~a~%" (inexact->exact sum)))))

(match (command-line)
  ((_) (main 1000))
  ((_ (= string->number (? exact-integer? (? (lambda (n) (>= n 2)) n))))
   (main n))
  (_
   (format (current-error-port) "Usage: guile matrix.scm [N], N at least 2~%")
   (exit 2)))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm shape) - bytevectors in the shape of arrays.

(define-module (posix-shm shape)
  #:use-module ((posix-shm exceptions) #:select (shown wrong-type))
  #:use-module ((srfi srfi-1) #:select (every fold))
  #:export (check-dimensions
            elements
            in-shape))

(define (check-dimensions subr dimensions)
  (unless (and (list? dimensions)
               (pair? dimensions)
               (every exact-integer? dimensions))
    (wrong-type subr "dimensions, a list of lengths such as (480 640)"
                dimensions))
  (unless (every positive? dimensions)
    (scm-error 'out-of-range subr "A dimension is not positive: ~A"
               (list (shown dimensions)) (list dimensions))))

(define (elements dimensions)
  "Return how many elements an array of DIMENSIONS has."
  (apply * dimensions))

(define (in-shape bv dimensions)
  "Return BV, or an array of DIMENSIONS on its elements, row by row."
  (define (index . indices)
    (list (fold (lambda (i length sum) (+ (* sum length) i))
                0 indices dimensions)))
  (if dimensions
      (apply make-shared-array bv index dimensions)
      bv))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm hold) - locks and loans that end however a procedure is left.

(define-module (posix-shm hold)
  #:use-module (posix-shm primitives)
  #:export (with-hold
            end-with))

(define-syntax-rule (with-hold hold results)
  ;; Evaluate RESULTS, which begins HOLD and returns a list, and return the
  ;; values in that.  However RESULTS is left, HOLD has ended after that.  If it
  ;; was left with HOLD begun, it cannot be entered again.
  ;;
  ;; A list passes through dynamic-wind faster than values do, and a single
  ;; value is returned faster without `apply'.
  (let* ((guard hold)
         (list (dynamic-wind
                 (lambda () (%shm-hold-enter! guard))
                 (lambda () results)
                 guard)))
    (if (and (pair? list) (null? (cdr list)))
        (car list)
        (apply values list))))

(define-syntax-rule (end-with hold expression)
  ;; Evaluate EXPRESSION, then end HOLD, and return the list of the values.
  (call-with-values (lambda () expression)
    (lambda results
      (%shm-hold-end! hold)
      results)))

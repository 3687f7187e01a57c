;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests mapping-support) - what the tests of objects and mappings share.

(define-module (tests mapping-support)
  #:use-module (ice-9 match)
  #:use-module (posix-shm)
  #:use-module (srfi srfi-64)
  #:use-module (tests support)
  #:export (with-descriptor
            test-out-of-range
            test-errno
            exists?
            unnamed?))

;; Whether the system can make an object first and give it its name later.
(define unnamed?
  (and posix-shm?
       (and=> ((@@ (posix-shm create) %shm-open-unnamed) (fresh-name) #o600
                                                       #f)
              (lambda (fd) (close-fdes fd) #t))))

(define-syntax-rule (with-descriptor (fd size) body ...)
  (call-with-descriptor (shm-open-anonymous #:size size)
    (lambda (fd) body ...)))

(define-syntax-rule (test-out-of-range name expression)
  (test-equal name 'out-of-range (car (raised (lambda () expression)))))

(define-syntax-rule (test-errno name errno expression)
  (test-equal name (list 'system-error errno)
    (match (raised (lambda () expression))
      ((key subr message errno) (list key errno))
      (other other))))

(define (exists? name)
  (->bool (member name (shm-list))))

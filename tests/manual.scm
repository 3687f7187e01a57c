;;; SPDX-License-Identifier: BSD-3-Clause
;;; manual.scm - the manual and the docstrings, compared with the modules.

(use-modules ((ice-9 ftw) #:select (scandir))
             (ice-9 regex)
             (ice-9 textual-ports)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define srcdir (or (getenv "abs_top_srcdir") "."))

(define modules
  '((posix-shm) (posix-shm atomic) (posix-shm channel) (posix-shm chicken)
    (posix-shm semaphore) (posix-shm sync)))

(define (exports module)
  (sort (module-map (lambda (name variable) name)
                    (resolve-interface module))
        (lambda (a b) (string<? (symbol->string a) (symbol->string b)))))

(define all-exports
  (delete-duplicates (append-map exports modules)))

(define manual
  (map (lambda (file)
         (call-with-input-file (string-append srcdir "/doc/" file)
           get-string-all))
       (scandir (string-append srcdir "/doc")
                (lambda (file) (string-suffix? ".texi" file)))))

;; @deffn Procedure shm-open name oflags, @defvrx Constant open/rdwr, ...
(define definition
  (make-regexp "^@def(fn|vr)x? (Procedure|Constant|Syntax|\\{Exception Type\\}) ([^ \n]+)(.*)$"
               regexp/newline))

(define documented
  (append-map (lambda (text)
                (map (lambda (m)
                       (string->symbol (match:substring m 3)))
                     (list-matches definition text)))
              manual))

(define (docstring name)
  (let ((value (any (lambda (module)
                      (and=> (module-variable (resolve-interface module) name)
                             variable-ref))
                    modules)))
    (if (procedure? value)
        (procedure-documentation value)
        'none)))

(test-begin "manual")

(test-assert "there are exports" (pair? all-exports))
(test-equal "every export is in the manual" '()
  (lset-difference eq? all-exports documented))
(test-equal "what is in the manual is exported" '()
  (lset-difference eq? documented all-exports))
(test-equal "every procedure has a docstring" '()
  (filter (lambda (name) (not (docstring name))) all-exports))

(test-end "manual")

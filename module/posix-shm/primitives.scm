;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm primitives) - the procedures of the C extension.

(define-module (posix-shm primitives)
  #:use-module ((posix-shm config)
                #:select (%extension-directory %site-directory))
  #:use-module ((srfi srfi-1) #:select (break))
  #:export (document))

;; The extension is in the directory that the environment names, as in a build
;; tree; or where it was installed, below the DESTDIR, if any, of the modules;
;; or where Guile looks.
(define (extension)
  (define (staging-root)
    (let* ((config "/posix-shm/config.scm")
           (installed (string-append %site-directory config))
           (found (or (%search-load-path "posix-shm/config.scm") "")))
      (if (string-suffix? installed found)
          (string-drop-right found (string-length installed))
          "")))
  (or (search-path (append (parse-path (getenv "GUILE_EXTENSIONS_PATH") '())
                           (list (string-append (staging-root)
                                                %extension-directory)))
                   "libguile-shm.so")
      "libguile-shm"))

;; The extension defines its primitives in this module, and exports them.  The
;; compiler loads this module with those that import it, and so knows the
;; names.
(load-extension (extension) "gshm_init")

(define (document procedure arguments text)
  "Make TEXT, with a first line that shows the call, the documentation of
PROCEDURE, which C defines.  ARGUMENTS, as in (bv k #:optional timeout), are
the names that procedure-arguments shows."
  (call-with-values (lambda () (break keyword? arguments))
    (lambda (required rest)
      (let ((optional (if (null? rest) '() (cdr rest))))
        ;; Required, optional and keyword arguments, whether others are
        ;; allowed, and the rest argument.
        (set-procedure-property! procedure 'arglist
                                 (list required optional '() #f #f))
        (set-procedure-property! procedure 'documentation
                                 (string-append
                                  (call-line (procedure-name procedure)
                                             required optional)
                                  "\n\n" text))))))

(define (call-line name required optional)
  (define (argument name)
    (string-upcase (symbol->string name)))
  (string-append "("
                 (string-join
                  (append (list (symbol->string name))
                          (map argument required)
                          (map (lambda (name)
                                 (string-append "[" (argument name) "]"))
                               optional)))
                 ")"))

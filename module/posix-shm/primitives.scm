;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm primitives) - the %procedures of the C extension.

(define-module (posix-shm primitives)
  #:use-module ((posix-shm config)
                #:select (%extension-directory %site-directory)))

;; Where to look for the extension, in this order: where the environment says,
;; as in a build tree; where it was installed, below the DESTDIR, if any, that
;; the modules are in; where Guile looks.
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

;; The extension exports what it defines here.  The compiler loads this module
;; with those that import it, and so knows the names.
(load-extension (extension) "gshm_init")

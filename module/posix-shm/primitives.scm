;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm primitives) - the C extension's %procedures, for the rooms.

(define-module (posix-shm primitives)
  #:use-module ((posix-shm config)
                #:select (%extension-directory %site-directory)))

;; Where the extension is, most wanted first: where the environment says, as a
;; build tree does; where it was installed to, below the directory, if any,
;; that the whole installation was moved into (DESTDIR); where Guile looks.
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

;; The extension exports what it defines here.  Loading it when a room is
;; compiled, too, tells the compiler which names there are.
(load-extension (extension) "gshm_init")

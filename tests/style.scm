;;; SPDX-License-Identifier: BSD-3-Clause
;;; style.scm - the source tree, tested: licences, lengths, layers.

(use-modules (ice-9 ftw)
             (ice-9 match)
             (ice-9 rdelim)
             (ice-9 regex)
             (srfi srfi-1)
             (srfi srfi-64))

(define srcdir (or (getenv "abs_top_srcdir") "."))

(define max-file-lines 600)
(define max-form-lines 80)
(define max-function-lines 60)


;;; Files.

;; What a build leaves beside them has other names.
(define source
  (make-regexp "\\.(c|h|in|pl|pml|py|scm)$|^(plot|run)$"))

(define (in-tree path)
  (string-append srcdir "/" path))

(define (directory? path)
  (and=> (stat (in-tree path) #f)
         (lambda (status) (eq? 'directory (stat:type status)))))

(define (entries folder)
  "Return the paths of what is in FOLDER, but for hidden files."
  (map (lambda (name) (string-append folder "/" name))
       (scandir (in-tree folder)
                (lambda (name) (not (string-prefix? "." name))))))

(define (files-below folder)
  "Return the paths of the source files below FOLDER."
  (append-map (lambda (path)
                (cond ((directory? path) (files-below path))
                      ((regexp-exec source (basename path)) (list path))
                      (else '())))
              (entries folder)))

(define (scheme-files folder)
  "Return the paths of the Scheme files in FOLDER."
  (filter (lambda (path) (string-suffix? ".scm" path)) (entries folder)))

(define sources
  (append '("libguile-shm.c")
          (scheme-files "build-aux")
          (append-map files-below
                      '("src" "module" "tests" "bench" "examples"))))

(define (call-with-file path proc)
  (call-with-input-file (in-tree path) proc #:encoding "UTF-8"))


;;; Licences.

(define licence
  (make-regexp "^(;;;|#|/\\*) SPDX-License-Identifier: BSD-3-Clause( \\*/)?$"))

(define (licensed? port)
  "Return whether PORT begins with a licence alone on its line.  A script's
interpreter comes first."
  (define (next-line)
    (let ((line (read-line port)))
      (if (eof-object? line) "" line)))
  (let* ((first (next-line))
         (line (if (string-prefix? "#!" first)
                   (let next ((line (next-line)) (left 3))
                     (if (or (zero? left) (string-contains line "SPDX"))
                         line
                         (next (next-line) (- left 1))))
                   first)))
    (->bool (regexp-exec licence line))))

(define (test-licences)
  (test-equal "lines that are one, and lines that are none"
    '(#t #t #t #t #t #f #f #f #f)
    (map (lambda (text) (call-with-input-string text licensed?))
         '("/* SPDX-License-Identifier: BSD-3-Clause\n   a.c - a file.  */\n"
           "/* SPDX-License-Identifier: BSD-3-Clause */\n"
           ";;; SPDX-License-Identifier: BSD-3-Clause\n"
           "#!/bin/sh\n# SPDX-License-Identifier: BSD-3-Clause\n"
           "#!/bin/sh\nexec guile\n!#\n\
;;; SPDX-License-Identifier: BSD-3-Clause\n"
           "/* SPDX-License-Identifier: BSD-3-Clause a.c - a file.  */\n"
           "\n/* SPDX-License-Identifier: BSD-3-Clause */\n"
           "#!/bin/sh\n# SPDX-License-Identifier: BSD-3-Clause - a file.\n"
           "")))
  (test-equal "some of the files that are looked at" '()
    (lset-difference string=?
                     '("bench/run" "build-aux/run-test.scm"
                       "examples/camera.py" "libguile-shm.c"
                       "module/posix-shm/config.scm.in" "src/init.h"
                       "tests/models/wait.pml" "tests/style.scm")
                     sources))
  (test-equal "files whose licence is not alone on its line" '()
    (remove (lambda (path) (call-with-file path licensed?)) sources)))


;;; Lengths.

(define (line-count port)
  (let next ((lines 0))
    (if (eof-object? (read-line port))
        lines
        (next (+ lines 1)))))

(define (name-of form)
  (match form
    ((_ (name . _) . _) name)
    ((_ name . _) name)
    (_ form)))

(define (forms port)
  "Return the name and the number of lines of each form that PORT has."
  (let next ((forms '()))
    (match (read port)
      ((? eof-object?) (reverse forms))
      (form
       (next (cons (list (name-of form)
                         (+ 1 (- (port-line port)
                                 (source-property form 'line))))
                   forms))))))

(define (long-forms path)
  (filter-map (match-lambda
                ((name lines)
                 (and (> lines max-form-lines) (list path name lines))))
              (call-with-file path forms)))

(define (functions port)
  "Return the number of lines of each function that PORT has, with its braces,
which stand alone on their lines."
  (let next ((lines '()) (number 0) (start #f))
    (match (read-line port)
      ((? eof-object?) (reverse lines))
      ("{" (next lines (+ number 1) number))
      ("}" (next (if start (cons (- number start -1) lines) lines)
                 (+ number 1) #f))
      (_ (next lines (+ number 1) start)))))

(define (test-lengths-of-c)
  (define files
    (cons "libguile-shm.c" (files-below "src")))
  (test-equal "how long functions are" '(3 2)
    (call-with-input-string
     "int\nf (void)\n{\n  return 0;\n}\nstruct s\n{\n};\nint\ng (void)\n{\n}\n"
     functions))
  (test-equal "files that are too long" '()
    (filter (lambda (path) (> (call-with-file path line-count) max-file-lines))
            files))
  (test-equal "functions that are too long" '()
    (filter (lambda (path)
              (any (lambda (lines) (> lines max-function-lines))
                   (call-with-file path functions)))
            files)))

(define (test-lengths)
  (test-equal "how long forms are" '((a 3) (b 1) (group 2))
    (call-with-input-string
     "(define (a)\n  ;; One.\n  1)\n\n;; Two.\n(define b 2)\n(f group\n  3)\n"
     forms))
  (test-equal "tests that are too long" '()
    (filter (lambda (path)
              (> (call-with-file path line-count) max-file-lines))
            (scheme-files "tests")))
  (test-equal "procedures of tests that are too long" '()
    (append-map long-forms (scheme-files "tests"))))



;;; Layers.

;; Each, and those that it may include.
(define layers
  '(("core")
    ("c" "core")
    ("base" "core")
    ("memory" "core" "base")
    ("bindings" "core" "base" "memory")))

(define include
  (make-regexp "^#[ \t]*include[ \t]*[<\"]([^>\"]+)[>\"]"))

(define (includes port)
  "Return the files that PORT, C, includes."
  (let next ((found '()))
    (match (read-line port)
      ((? eof-object?) (reverse found))
      (line (next (match (regexp-exec include line)
                    (#f found)
                    (m (cons (match:substring m 1) found))))))))

(define (runs-up? layer file)
  "Return whether a file in LAYER must not include FILE."
  (or (and (member layer '("core" "c")) (string=? file "libguile.h"))
      (match (string-split file #\/)
        ((folder _)
         (and (assoc folder layers)
              (not (member folder (assoc layer layers)))))
        (_ #f))))

(define (includes-up layer)
  (append-map (lambda (path)
                (filter-map (lambda (file)
                              (and (runs-up? layer file) (list path file)))
                            (call-with-file path includes)))
              (files-below (string-append "src/" layer))))

(define (test-layers)
  (test-equal "what runs up" '(#t #t #f #f #f #t #t #f)
    (map runs-up?
         '("core" "core" "memory" "bindings" "base" "base" "c" "c")
         '("libguile.h" "base/error.h" "core/owner.h" "memory/place.h"
           "libguile.h" "memory/place.h" "base/error.h" "c/face.h")))
  (test-assert "there are files in each layer"
    (every (lambda (layer) (pair? (files-below (string-append "src/" layer))))
           (map car layers)))
  (test-equal "includes that run up" '()
    (append-map includes-up (map car layers))))

(test-begin "style")

(test-group "licences" (test-licences))
(test-group "lengths" (test-lengths))
(test-group "lengths of C" (test-lengths-of-c))
(test-group "layers" (test-layers))

(test-end "style")

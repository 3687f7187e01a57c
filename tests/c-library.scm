;;; SPDX-License-Identifier: BSD-3-Clause
;;; c-library.scm - the library for C programs, tested.

(use-modules (ice-9 regex)
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             (srfi srfi-1)
             (srfi srfi-11)
             (srfi srfi-64)
             ((tests mapping-support) #:select (unnamed?))
             (tests support))

(define builddir (or (getenv "abs_top_builddir") "."))
(define srcdir (or (getenv "abs_top_srcdir") "."))

(define (matches pattern text)
  "Return the first groups of the matches of PATTERN in TEXT, sorted."
  (sort (delete-duplicates
         (map (lambda (m) (match:substring m 1)) (list-matches pattern text)))
        string<?))

(define (text-of file)
  (call-with-input-file (string-append srcdir file) get-string-all))

(define (test-checks)
  (with-fresh-name name
    (test-verdicts "all checks have run"
                   (string-append builddir "/tests/c-library") name
                   (if unnamed? "1" "0")
                   (or (getenv "HAVE_MEMFD_CREATE") "1"))))

;; Declarations begin a line, or their names do.
(define declared
  (matches "\n(gshm_[a-z_]+) \\("
           (regexp-substitute/global #f "\n(int |void |size_t |uint64_t |const char \\*)"
                                     (text-of "/src/c/gshm.h") 'pre "\n"
                                     'post)))

(define (test-exports)
  (test-assert "gshm.h declares functions" (> (length declared) 30))
  (test-equal "the map exports what gshm.h declares" declared
    (matches "\n +(gshm_[a-z_]+);" (text-of "/src/c/libgshm.map")))
  (let-values (((symbols status)
                (run "nm" "-D" "--defined-only"
                     (string-append builddir "/.libs/libgshm.so"))))
    (unless (zero? status)
      (test-skip 1))
    (test-equal "the library exports that and no more" declared
      (matches " [TDBR] ([A-Za-z_]+)" symbols))))

(define (compiles? language compiler)
  (let-values (((output status)
                (run "sh" "-c"
                     (string-append
                      "echo '#include <gshm.h>
struct program { char c; struct gshm_mutex mutex; };
int main () { return gshm_mutex_init (0) == 0; }' | " compiler
                      " -x " language " -Wall -Werror -fsyntax-only -I" srcdir
                      "/src/c - 2>&1"))))
    (or (zero? status) output)))

(define (test-header)
  (define (exists? compiler)
    (zero? (system* "sh" "-c" (string-append "command -v " compiler
                                             " > /dev/null"))))
  (test-equal "a C program includes gshm.h" #t
    (compiles? "c" (or (getenv "CC") "cc")))
  (unless (exists? "c++")
    (test-skip 1))
  (test-equal "a C++ program does" #t (compiles? "c++" "c++")))

(test-begin "c-library")

(when-posix-shm
  (test-checks)
  (test-exports)
  (test-header))

(test-end "c-library")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; links.scm - the links of the manual, as HTML, and of the other documents.

(use-modules (ice-9 regex)
             ((ice-9 textual-ports) #:select (get-string-all))
             (srfi srfi-1)
             (srfi srfi-11)
             (srfi srfi-64)
             (tests support))

(define srcdir (or (getenv "abs_top_srcdir") "."))

(define (text-of file)
  (call-with-input-file file get-string-all))

(define (matches pattern text)
  (delete-duplicates
   (map (lambda (m) (match:substring m 1)) (list-matches pattern text))))

;; The manual in one page; or what makeinfo says, if it fails.  Its leaks are not
;; to be found by what build-aux/with-sanitizers preloads.
(define html
  (let*-values (((file) (format #f "~a/gshm-links-~a.html"
                                (or (getenv "TMPDIR") "/tmp") (getpid)))
                ((said status)
                 (run "sh" "-c" "env -u LD_PRELOAD makeinfo --html --no-split --no-number-sections \
-I \"$0/examples\" -I \"$0/doc\" -o \"$1\" \"$0/doc/guile-shm.texi\" 2>&1"
                      srcdir file)))
    (if (zero? status)
        (let ((text (text-of file)))
          (delete-file file)
          text)
        said)))

(define makeinfo?
  (zero? (system* "sh" "-c" "command -v makeinfo > /dev/null")))

(define (test-manual)
  (define targets (matches "id=[\"']([^\"']+)" html))
  (define links (matches "href=\"([^\"]+)\"" html))
  (test-equal "the manual is converted" #t
    (or (> (length links) 100)
        (string-take html (min 200 (string-length html)))))
  (test-equal "links within the manual that lead nowhere" '()
    (remove (lambda (link)
              (or (not (string-prefix? "#" link))
                  (member (string-drop link 1) targets)))
            links))
  (test-equal "links out of it that are not to a site" '()
    (remove (lambda (link)
              (or (string-prefix? "#" link) (string-prefix? "https://" link)))
            links))
  (test-equal "pictures that are not there" '()
    (remove (lambda (picture)
              (file-exists? (string-append srcdir "/doc/" (basename picture))))
            (matches "src=\"([^\"]+)\"" html))))

(define (test-markdown file)
  (test-equal (string-append "files that are not there: " file) '()
    (remove (lambda (link)
              (or (string-prefix? "https://" link)
                  (file-exists? (string-append srcdir "/" (dirname file) "/"
                                               link))))
            (matches "\\]\\(([^)#]+)\\)" (text-of (string-append srcdir "/"
                                                                 file))))))

(test-begin "links")

(if makeinfo?
    (test-manual)
    (begin
      (test-skip 1)
      (test-assert "makeinfo" #f)))
(for-each test-markdown
          '("README.md" "HACKING.md" "bench/README.md" "bench/RESULTS.md"
            "python/README.md"))

(test-end "links")

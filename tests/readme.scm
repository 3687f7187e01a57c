;;; SPDX-License-Identifier: BSD-3-Clause
;;; readme.scm - the examples of README.md, run.

;;; All blocks marked scheme run one after the other in one Guile, and those
;;; marked python in between.  After an expression stands what it returns, in a
;;; comment that begins with an arrow.  What is marked sh is run elsewhere: see
;;; build-aux/readme-commands.

(use-modules (ice-9 match)
             (ice-9 regex)
             (ice-9 textual-ports)
             ((posix-shm) #:select (posix-shm?))
             (srfi srfi-1)
             (srfi srfi-64)
             (tests evaluating)
             (tests support))

(define readme
  (call-with-input-file (string-append (or (getenv "abs_top_srcdir") ".")
                                       "/README.md")
    get-string-all))

(define block
  (make-regexp "^```(scheme|python)\n(([^`\n][^\n]*)?\n)*```$" regexp/newline))

(define (content text)
  "Return TEXT, a block, without its first line and its last one."
  (string-join (drop-right (cdr (string-split text #\newline)) 1) "\n"))

(define names
  (delete-duplicates
   (map (lambda (m) (match:substring m 1))
        (list-matches "\"(/[a-z]+)\\\\?\"" readme))))

(define (with-prefix prefix text)
  "Return TEXT with PREFIX for the slash of all names of objects."
  (fold (lambda (name text)
          (regexp-substitute/global
           #f (string-append "(/dev/shm)?" name "(\\\\?\")") text 'pre
           (lambda (m) (or (match:substring m 1) ""))
           prefix (string-drop name 1) 2 'post))
        text names))

(define (steps text)
  "Return the steps in TEXT, Scheme with results in comments."
  (let next ((lines (string-split text #\newline)) (code '()) (steps '()))
    (define (step outcome)
      (cons (list (read-all (string-join (reverse code) "\n")) outcome) steps))
    (match lines
      (() (reverse (step #f)))
      ((line . rest)
       (if (string-prefix? "; ⇒ " line)
           (next rest '() (step (list 'result (one-line (string-drop line 4)))))
           (next rest (cons line code) steps))))))

(define python (find-python "numpy"))

(define (examples prefix)
  "Return the examples, as test-examples takes them.  What comes after a block in
Python needs that, too."
  (define (example m number needs)
    (let ((text (with-prefix prefix (content (match:substring m)))))
      (list (format #f "block ~a" number)
            needs
            '()
            (if (is-python? m)
                `((((zero? (status:exit-val
                            (system* ,python "-c" ,text))))
                   (result "#t")))
                (steps text)))))
  (let ((blocks (list-matches block readme)))
    (map (lambda (m before number)
           (example m number
                    (->bool (or python
                                (not (or (is-python? m)
                                         (and before (is-python? before))))))))
         blocks (cons #f blocks) (iota 100 1))))

(define (is-python? m)
  (string=? "python" (match:substring m 1)))

(test-begin "readme")

(test-equal "blocks" '("python" "scheme" "scheme" "scheme" "scheme" "scheme")
  (sort (map (lambda (m) (match:substring m 1)) (list-matches block readme))
        string<?))
(cond ((not posix-shm?)
       (test-skip 1)
       (test-assert "there is shared memory" #f))
      (else
       (let ((prefix (string-append (fresh-name) "-")))
         (test-examples "README.md" prefix (examples prefix)
                        (map (lambda (name)
                               (string-append prefix (string-drop name 1)))
                             names)))))

(test-end "readme")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; trouble.scm - the messages of exceptions in the source are all in the manual's
;;; chapter on what can go wrong.

(use-modules (ice-9 ftw)
             (ice-9 match)
             (ice-9 regex)
             ((ice-9 textual-ports) #:select (get-string-all))
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define srcdir (or (getenv "abs_top_srcdir") "."))

(define (text-of file)
  (call-with-input-file (string-append srcdir "/" file) get-string-all))

(define (files folder suffix)
  (map (lambda (file) (string-append folder "/" file))
       (scandir (string-append srcdir "/" folder)
                (lambda (file) (string-suffix? suffix file)))))

(define (without pattern text)
  (regexp-substitute/global #f pattern text 'pre " " 'post))

(define (message? text)
  "Return whether TEXT, a string constant, has three words and no line end."
  (and (not (string-index text #\newline))
       (>= (length (string-tokenize text)) 3)))

;; What is in C a constant: strings one after the other.
(define constant
  (make-regexp "\"([^\"\\\\]|\\\\.)*\"([ \n\t]*\"([^\"\\\\]|\\\\.)*\")*"))

(define (c-messages file)
  (define text
    ;; Types of arguments are told in the same words by all procedures.
    (without "gshm_wrong_type \\([^;]*;"
             (without "gshm_require_type \\([^;]*;"
                      (without "/\\*([^*]|\\*+[^*/])*\\*+/" (text-of file)))))
  (filter message?
          (map (lambda (m)
                 (string-concatenate
                  (map (lambda (s)
                         (let ((s (match:substring s)))
                           (call-with-input-string s read)))
                       (list-matches "\"([^\"\\\\]|\\\\.)*\""
                                     (match:substring m)))))
               (fold-matches constant text '() cons))))

(define (scheme-messages file)
  (define (strings form)
    (match form
      ((or ((or 'define 'define*) (_ . _) (? string?) . body)
           ((or 'define-syntax-rule) (_ . _) (? string?) . body))
       (append-map strings body))
      (('document . _) '())
      ((? string? s) (list s))
      ((a . b) (append (strings a) (strings b)))
      (_ '())))
  (call-with-input-file (string-append srcdir "/" file)
    (lambda (port)
      (let next ((found '()))
        (match (read port)
          ((? eof-object?)
           (filter (lambda (s)
                     (and (message? s) (char-upper-case? (string-ref s 0))))
                   found))
          (form (next (append (strings form) found))))))))

;; What no exception says: names of objects, docstrings of atomics, assertions.
;; Last, the hints that the chapter has in one sentence.
(define others
  '("anonymous shared memory"
    "Return the value." "Store V and return the previous value."
    "Add V and return the previous value.  The sum wraps."
    "Store its bitwise and with V; return the previous value."
    "Store its bitwise or with V; return the previous value."
    "atomic integers are as large as others"
    "atomic operations on 64 bits need no lock"
    "an atomic word is as large as another"
    "this system has no named semaphores" "this system has no seals"
    "this system has no huge pages" "this system cannot replace an object atomically"
    "this system does not tell whether an object is in use"
    "there is an invalid chunk of a string" "there is an invalid character"
    "there is an invalid rational number"))

(define messages
  (lset-difference
   string=?
   (delete-duplicates
    (append (append-map c-messages
                        (append-map (lambda (folder) (files folder ".c"))
                                    '("src/base" "src/bindings" "src/memory")))
            (append-map scheme-messages
                        (remove (lambda (file) (string-contains file "-source"))
                                (files "module/posix-shm" ".scm")))))
   others))

(define chapter
  (string-join
   (string-tokenize
    (without "[{}@]" (without "@(code|var|file|dfn|samp|command|ref|pxref)\\{"
                              (text-of "doc/trouble.texi"))))
   " "))

(define (pieces message)
  "Return what MESSAGE has between its directives."
  (filter (lambda (piece) (> (string-length piece) 2))
          (map (lambda (piece) (string-join (string-tokenize piece) " "))
               (string-split (regexp-substitute/global
                              #f "~[aAsS]|%[a-z]+|\"" message 'pre "\0" 'post)
                             #\nul))))

(define (in-chapter? message)
  (let next ((pieces (pieces message)) (start 0))
    (match pieces
      (() #t)
      ((piece . rest)
       (let find ((at (string-contains chapter piece start)))
         (and at
              (or (next rest (+ at (string-length piece)))
                  (find (string-contains chapter piece (+ at 1))))))))))

(test-begin "trouble")

(test-assert "there are messages" (> (length messages) 80))
(test-equal "messages that the chapter does not have" '()
  (remove in-chapter? messages))

(test-end "trouble")

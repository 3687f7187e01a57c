;;; SPDX-License-Identifier: BSD-3-Clause
;;; manual.scm - the manual, compared with the modules, and its examples, run.

;;; Every @lisp block of the manual is evaluated: those of a chapter one after
;;; the other, in a Guile of its own.  After an expression stands what it
;;; returns, at @result{}, or raises, at @error{}; further lines of that begin
;;; with white space.  A condition of this library is written as its type, a
;;; colon and its message.  Names such as "/numbers" get a prefix, so that
;;; nobody else has them, and are unlinked when the chapter is done.  Comments
;;; right before @lisp can say more:
;;;
;;;   @c first: EXPRESSIONS    evaluate these before the block: what readers know
;;;   @c needs: EXPRESSION     skip the block where this is false
;;;   @c not run: WHY          do not evaluate the block

(use-modules ((ice-9 ftw) #:select (scandir))
             (ice-9 match)
             (ice-9 regex)
             ((ice-9 session) #:select (procedure-arguments))
             (ice-9 textual-ports)
             ((posix-shm) #:select (posix-shm?))
             (srfi srfi-1)
             (srfi srfi-9)
             (srfi srfi-11)
             (srfi srfi-64)
             ((system vm program) #:select (program-arguments-alists))
             (tests evaluating)
             (tests support))

(define srcdir (or (getenv "abs_top_srcdir") "."))

(define always
  '((posix-shm) (posix-shm atomic) (posix-shm broadcast) (posix-shm channel)
    (posix-shm chicken)
    (posix-shm semaphore) (posix-shm sync)))

;; This one can be loaded only where fibers are installed.
(define modules
  (if (false-if-exception (resolve-interface '(fibers)))
      (cons '(posix-shm fibers) always)
      always))

;; What a module that may not be loaded exports, read from its definition.
(define fibers-exports
  (match (call-with-input-file
             (string-append srcdir "/module/posix-shm/fibers.scm")
           read)
    (('define-module _ . options)
     (cadr (memq #:export options)))))

(define (exports module)
  (sort (module-map (lambda (name variable) name)
                    (resolve-interface module))
        (lambda (a b) (string<? (symbol->string a) (symbol->string b)))))

(define all-exports
  (delete-duplicates (append-map exports modules)))

(define (value-of name)
  (any (lambda (module)
         (and=> (module-variable (resolve-interface module) name)
                variable-ref))
       modules))

;; Each chapter: the name of its file, and the text.
(define manual
  (map (lambda (file)
         (cons file
               (call-with-input-file (string-append srcdir "/doc/" file)
                 get-string-all)))
       (scandir (string-append srcdir "/doc")
                (lambda (file) (and (string-suffix? ".texi" file)
                                    (not (string=? file "version.texi")))))))


;;; Definitions.

;; @deffn Procedure shm-open name oflags, @defvrx Constant open/rdwr, ...
(define definition
  (make-regexp "^@def(fn|vr)x? (Procedure|Constant|Syntax|\\{Exception Type\\}) ([^ \n]+)(.*)$"
               regexp/newline))

(define definitions
  (append-map (lambda (chapter)
                (map (lambda (m)
                       (list (string->symbol (match:substring m 3))
                             (match:substring m 2)
                             (match:substring m 4)))
                     (list-matches definition (cdr chapter))))
              manual))

(define documented (map first definitions))

(define (docstring name)
  (let ((value (value-of name)))
    (if (procedure? value)
        (procedure-documentation value)
        'none)))

(define (described-arguments text)
  "Return what TEXT, as name [mode] [#:wait] more @dots{}, says: a list of the
required arguments, the optional ones, the keywords, and whether there may be
more."
  (define tokens
    (map match:substring (list-matches "[][]|[^][ ]+" text)))
  (let next ((tokens tokens) (depth 0) (keyword? #f)
             (required '()) (optional '()) (keywords '()))
    (match tokens
      (() (list (reverse required) (reverse optional) (reverse keywords) #f))
      (("[" . rest)
       (next rest (+ depth 1) #f required optional keywords))
      (("]" . rest)
       (next rest (- depth 1) #f required optional keywords))
      (("@dots{}")
       (list (reverse (cdr required)) (reverse optional) (reverse keywords) #t))
      ((token . rest)
       (cond ((string-prefix? "#:" token)
              (next rest depth #t required optional
                    (cons (symbol->keyword
                           (string->symbol
                            (string-drop (first (string-split token #\=)) 2)))
                          keywords)))
             ;; What stands for a keyword's value.
             (keyword? (next rest depth #t required optional keywords))
             ((zero? depth)
              (next rest depth #f (cons (string->symbol token) required) optional
                    keywords))
             (else
              (next rest depth #f required (cons (string->symbol token) optional)
                    keywords)))))))

(define (documented-arguments name)
  "Return what all entries for the procedure NAME together say."
  (match (filter-map (match-lambda
                       ((n "Procedure" text)
                        (and (eq? n name) (described-arguments text)))
                       (_ #f))
                     definitions)
    (() #f)
    (((required optional keywords rest?) ...)
     (list (first required)
           (delete-duplicates (concatenate optional))
           (delete-duplicates (concatenate keywords))
           (any identity rest?)))))

(define (last-arguments procedure)
  ;; Of a case-lambda* the last clause takes the most.
  (if (procedure-with-setter? procedure)
      (last-arguments (getter procedure))
      (match (false-if-exception (program-arguments-alists procedure))
        ((or #f ()) (procedure-arguments procedure))
        (all (last all)))))

(define (not-told name)
  "Return the arguments of the procedure NAME, as the manual has them, that its
docstring does not name in capitals."
  (define text (docstring name))
  (define (told? argument)
    (string-contains text (string-upcase (symbol->string argument))))
  (match (documented-arguments name)
    ((required optional keywords _)
     (remove told?
             (append (if (string-contains text "the argument,") '() required)
                     optional
                     (if (string-contains text "keywords are")
                         '()
                         (map keyword->symbol keywords)))))))

;; Accessors of conditions, and what means the argument of another procedure.
(define not-telling
  '(shm-fault-kind shm-fault-name shm-fault-offset shm-channel-send-datum!))

(define getter (@ (guile) procedure))

(define (real-arguments procedure)
  "Return the same of PROCEDURE, as its code has it; where the code is C's the
arguments have no names."
  (let* ((alist (last-arguments procedure))
         (all (lambda (key) (or (assq-ref alist key) '()))))
    (list (all 'required) (all 'optional) (map car (all 'keyword))
          (and (assq-ref alist 'rest) #t))))

(define (nameless arguments)
  (match arguments
    ((required optional keywords rest?)
     (list (length required) (length optional) keywords rest?))))

(define (agrees? name)
  (let* ((procedure (value-of name))
         (real (real-arguments procedure))
         (said (documented-arguments name)))
    (or (equal? real said)
        ;; Where the code is C's, or is that of a record's accessors.
        (and (every (lambda (argument) (memq argument '(_ #f obj)))
                    (append (first real) (second real)))
             (equal? (nameless real) (nameless said))))))


;;; Examples.

(define-record-type <block>
  (make-block chapter node number first needs not-run steps)
  block?
  (chapter block-chapter)
  (node block-node)
  (number block-number)                 ; from 1 on, in the node
  (first block-first)                   ; expressions
  (needs block-needs)                   ; an expression
  (not-run block-not-run)               ; why, or #f
  (steps block-steps))                  ; see below

(define (block-name block)
  (format #f "~a, example ~a" (block-node block) (block-number block)))

(define (unescape line)
  "Return LINE as it is printed."
  (let next ((line line)
             (rules '(("@dots\\{\\}" . "...") ("@([@{}])" . 1))))
    (match rules
      (() line)
      (((pattern . replacement) . rules)
       (next (regexp-substitute/global #f pattern line 'pre replacement 'post)
             rules)))))

(define outcome (make-regexp "^@(result|error)\\{\\}(.*)$"))

(define (steps lines)
  "Return the steps in LINES of a block, each a list of expressions and what
the last of them does: (result TEXT), (error TEXT), or #f."
  (let next ((lines lines) (code '()) (steps '()))
    (define (step outcome)
      (cons (list (read-all (string-join (reverse code) "\n")) outcome)
            steps))
    (match lines
      (() (reverse (if (null? code) steps (step #f))))
      ((line . rest)
       (match (regexp-exec outcome line)
         (#f (next rest (cons (unescape line) code) steps))
         (m
          (let-values (((more rest)
                        (span (lambda (line) (string-prefix? " " line)) rest)))
            (next rest '()
                  (step (list (string->symbol (match:substring m 1))
                              (one-line
                               (unescape
                                (string-join (cons (match:substring m 2) more)
                                             " ")))))))))))))

(define (comment-with prefix comments)
  (filter-map (lambda (line)
                (and (string-prefix? prefix line)
                     (string-drop line (string-length prefix))))
              comments))

(define (blocks chapter text)
  "Return the blocks of CHAPTER, whose source is TEXT."
  (let next ((lines (string-split text #\newline))
             (node "?") (number 1) (comments '()) (blocks '()))
    (match lines
      (() (reverse blocks))
      (("@lisp" . rest)
       (let-values (((code rest)
                     (break (lambda (line) (string=? line "@end lisp")) rest)))
         (next rest node (+ number 1) '()
               (cons (make-block
                      chapter node number
                      (append-map read-all (comment-with "@c first: " comments))
                      (match (append-map read-all
                                         (comment-with "@c needs: " comments))
                        (() #t)
                        (all `(and ,@all)))
                      (match (comment-with "@c not run: " comments)
                        (() #f)
                        ((why . _) why))
                      (steps code))
                     blocks))))
      ((line . rest)
       (cond ((string-prefix? "@node " line)
              (next rest (string-drop line 6) 1 '() blocks))
             ((string-prefix? "@c " line)
              (next rest node number (append comments (list line)) blocks))
             (else (next rest node number '() blocks)))))))

(define all-blocks
  (append-map (match-lambda ((chapter . text) (blocks chapter text)))
              manual))

(define (symbols-in datum)
  (cond ((symbol? datum) (list datum))
        ((pair? datum) (append (symbols-in (car datum)) (symbols-in (cdr datum))))
        (else '())))

(define (code-of block)
  (append-map first (block-steps block)))

(define (nodes-of-definitions)
  "Return a list of (NAME . NODE)."
  (append-map
   (match-lambda
     ((chapter . text)
      (let next ((lines (string-split text #\newline)) (node "?") (found '()))
        (match lines
          (() found)
          ((line . rest)
           (cond ((string-prefix? "@node " line)
                  (next rest (string-drop line 6) found))
                 ((regexp-exec definition line)
                  => (lambda (m)
                       (next rest node
                             (acons (string->symbol (match:substring m 3)) node
                                    found))))
                 (else (next rest node found))))))))
   manual))

(define (without-example)
  "Return the names with an entry in a node in which no example that is run has
them."
  (filter-map
   (match-lambda
     ((name . node)
      (and (not (string-prefix? "&" (symbol->string name)))
           (not (any (lambda (block)
                       (and (equal? (block-node block) node)
                            (not (block-not-run block))
                            (memq name (symbols-in (code-of block)))))
                     all-blocks))
           name)))
   (nodes-of-definitions)))


;;; Running them.

(define (object-name? string)
  (string-match "^/[^/]+$" string))

(define (prefix-names prefix datum)
  "Return DATUM with PREFIX in all names of objects, for their slash."
  (let prefixed ((datum datum))
    (cond ((and (string? datum) (object-name? datum))
           (string-append prefix (string-drop datum 1)))
          ((pair? datum)
           (cons (prefixed (car datum)) (prefixed (cdr datum))))
          ((vector? datum) (vector-map prefixed datum))
          (else datum))))

(define (vector-map proc vector)
  (list->vector (map proc (vector->list vector))))

(define (names-in datum)
  (cond ((and (string? datum) (object-name? datum)) (list datum))
        ((pair? datum) (append (names-in (car datum)) (names-in (cdr datum))))
        ((vector? datum) (append-map names-in (vector->list datum)))
        (else '())))

(define (test-chapter chapter)
  (let ((blocks (filter (lambda (block)
                          (and (equal? (block-chapter block) chapter)
                               (not (block-not-run block))))
                        all-blocks))
        (prefix (string-append (fresh-name) "-")))
    (test-examples
     chapter prefix
     (map (lambda (block)
            (cons (block-name block)
                  (prefix-names prefix
                                (list (block-needs block) (block-first block)
                                      (block-steps block)))))
          blocks)
     (prefix-names prefix
                   (delete-duplicates
                    (append-map (lambda (block)
                                  (names-in (list (block-first block)
                                                  (code-of block))))
                                blocks))))))

(define most-not-run 3)

(test-begin "manual")

(test-assert "there are exports" (pair? all-exports))
(test-equal "every export is in the manual" '()
  (lset-difference eq? all-exports documented))
(test-equal "what is in the manual is exported" '()
  (lset-difference eq? documented all-exports fibers-exports))
(test-equal "every procedure has a docstring" '()
  (filter (lambda (name) (not (docstring name))) all-exports))

(test-equal "what has arguments is described as a procedure" '()
  (filter (lambda (name)
            (and (procedure? (value-of name))
                 (not (documented-arguments name))))
          all-exports))
(for-each (lambda (name)
            (when (documented-arguments name)
              (if (agrees? name)
                  (test-assert (format #f "the arguments of ~a" name) #t)
                  (test-equal (format #f "the arguments of ~a" name)
                    (real-arguments (value-of name))
                    (documented-arguments name)))))
          all-exports)

(test-equal "every docstring tells of all arguments" '()
  (filter-map (lambda (name)
                (and (documented-arguments name)
                     (not (memq name not-telling))
                     (match (not-told name)
                       (() #f)
                       (arguments (cons name arguments)))))
              all-exports))

(test-assert "there are examples" (pair? all-blocks))
(test-equal "every name has an example that is run" '()
  (without-example))
(test-assert "nearly all examples are run"
  (<= (count block-not-run all-blocks) most-not-run))

(cond (posix-shm?
       (for-each test-chapter
                 (delete-duplicates (map block-chapter all-blocks))))
      (else
       (test-skip 1)
       (test-assert "the examples: there is no shared memory here" #f)))

(test-end "manual")

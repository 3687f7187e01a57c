;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm text) - names, sizes and tables, as guild shm prints them.

(define-module (posix-shm text)
  #:use-module ((ice-9 format) #:select (format))
  #:use-module (ice-9 match)
  #:export (age-name
            column-lines
            emphasized
            group-name
            mode-name
            printable
            short-size
            user-name))

;; Names and commands may contain control sequences of a terminal.
(define (printable text)
  "Return TEXT with escapes for backslashes and for what is neither graphic nor
a space."
  (string-concatenate
   (map (lambda (c)
          (cond ((char=? c #\newline) "\\n")
                ((char=? c #\tab) "\\t")
                ((char=? c #\\) "\\\\")
                ((or (char-set-contains? char-set:graphic c)
                     (char=? c #\space))
                 (string c))
                ((< (char->integer c) 256)
                 (format #f "\\x~2,'0x" (char->integer c)))
                ((< (char->integer c) 65536)
                 (format #f "\\u~4,'0x" (char->integer c)))
                (else (format #f "\\U~8,'0x" (char->integer c)))))
        (string->list text))))

(define (emphasized text)
  (if (and (isatty? (current-output-port))
           (member (getenv "NO_COLOR") '(#f ""))
           (not (equal? (getenv "TERM") "dumb")))
      (string-append "\x1b[1m" text "\x1b[m")
      text))

(define (short-size bytes)
  (let next ((n bytes) (units '("" "K" "M" "G" "T" "P" "E")))
    (cond ((or (< n 1024) (null? (cdr units)))
           (if (or (integer? n) (>= n 10))
               (format #f "~d~a" (ceiling n) (car units))
               (format #f "~,1f~a" (/ (ceiling (* n 10)) 10.) (car units))))
          (else (next (/ n 1024) (cdr units))))))

(define (age-name seconds)
  (let next ((n (max 0 seconds))
             (units '((60 . "s") (60 . "m") (24 . "h") (#f . "d"))))
    (match units
      (((limit . unit) . rest)
       (if (and limit (>= n limit))
           (next (quotient n limit) rest)
           (format #f "~d~a" n unit))))))

(define (mode-name mode)
  (list->string
   (map (lambda (bit letter) (if (zero? (logand mode bit)) #\- letter))
        '(#o400 #o200 #o100 #o40 #o20 #o10 #o4 #o2 #o1)
        (string->list "rwxrwxrwx"))))

(define (user-name uid)
  (or (false-if-exception (passwd:name (getpwuid uid))) (number->string uid)))

(define (group-name gid)
  (or (false-if-exception (group:name (getgrgid gid))) (number->string gid)))

(define (column-lines alignments rows)
  "Return the lines of a table of ROWS, lists of strings.  ALIGNMENTS has left
or right for each column, or #f to leave it as it is."
  (define widths
    (apply map (lambda cells (apply max (map string-length cells))) rows))
  (map (lambda (row)
         (string-join (map (lambda (cell width alignment)
                             (case alignment
                               ((right) (string-pad cell width))
                               ((left) (string-pad-right cell width))
                               (else cell)))
                           row widths alignments)
                      "  "))
       rows))

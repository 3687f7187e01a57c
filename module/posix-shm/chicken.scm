;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm chicken) - the CHICKEN egg, for programs that were written
;;; for CHICKEN: its three names and the file operations used with them.

;;; Commentary:
;;;
;;; What programs that were written for the CHICKEN egg posix-shm need: the
;;; egg's names, and those of CHICKEN's file operations.  The manual is in
;;; Info: info guile-shm "CHICKEN programs".
;;;
;;; Code:

(define-module (posix-shm chicken)
  #:use-module (ice-9 match)
  #:use-module ((posix-shm exceptions) #:select (shown wrong-type))
  #:use-module (posix-shm object)
  #:use-module (posix-shm primitives)
  #:use-module ((srfi srfi-1) #:select (drop-while))
  #:re-export (;; The egg.
               posix-shm?
               shm-open
               shm-unlink)
  #:export (;; Flags for shm-open.
            open/rdonly
            open/rdwr
            open/creat
            open/excl
            open/trunc

            ;; Permission bits.
            perm/irusr perm/iwusr perm/ixusr perm/irwxu
            perm/irgrp perm/iwgrp perm/ixgrp perm/irwxg
            perm/iroth perm/iwoth perm/ixoth perm/irwxo

            ;; Descriptors.
            file-truncate
            file-write
            file-read
            file-close
            file-size

            ;; Positions.
            set-file-position!
            seek/set
            seek/cur
            seek/end

            ;; Strings.
            sprintf)
  #:replace (;; Guile has one of its own, for ports only.
             file-position))

(define open/rdonly O_RDONLY)
(define open/rdwr O_RDWR)
(define open/creat O_CREAT)
(define open/excl O_EXCL)
(define open/trunc O_TRUNC)

;; POSIX fixes these values (sys/stat.h).
(define perm/irusr #o400)
(define perm/iwusr #o200)
(define perm/ixusr #o100)
(define perm/irwxu #o700)
(define perm/irgrp #o040)
(define perm/iwgrp #o020)
(define perm/ixgrp #o010)
(define perm/irwxg #o070)
(define perm/iroth #o004)
(define perm/iwoth #o002)
(define perm/ixoth #o001)
(define perm/irwxo #o007)

(define seek/set SEEK_SET)
(define seek/cur SEEK_CUR)
(define seek/end SEEK_END)

(define (file-truncate file size)
  "Set the size of FILE, a file descriptor or a string that names a file, to
SIZE bytes.  Raise system-error where the system refuses."
  (%file-truncate file size))

(define* (file-write fd buffer #:optional size)
  "Write the first SIZE bytes of BUFFER, a bytevector or a string of characters
up to #\\xff, or all of it, to the file descriptor FD, and return how many that
are.

Raise out-of-range for a SIZE above the length of BUFFER or a character above
#\\xff, and system-error where not all could be written; the message tells how
much was."
  (%file-write fd buffer size))

(define* (file-read fd size #:optional buffer)
  "Read up to SIZE bytes from the file descriptor FD into BUFFER, a bytevector
or a string, by default a new string of SIZE characters, and return a list: the
buffer, and how many bytes were read, 0 at the end of the file.  In a string
each byte is the character of that number; characters beyond the count are
spaces in a new string and left as they are in BUFFER.

Raise out-of-range for a SIZE above the length of BUFFER, and system-error
where the system refuses."
  (%file-read fd size buffer))

(define (file-close fd)
  "Close the file descriptor FD.  Raise system-error where it is not open."
  (%file-close fd))

(define (file-size file)
  "Return the size in bytes of FILE, a file descriptor, a port or a string that
names a file.  Raise system-error where there is none."
  (with-errors-from "file-size" file (stat:size (stat file))))

(define* (set-file-position! fd position #:optional (whence seek/set))
  "Set the position of FD, a file descriptor or port, to POSITION, an integer
of bytes counted from WHENCE: the start (seek/set), the present position
(seek/cur) or the end of the file (seek/end).  Raise system-error where there
can be no such position."
  (with-errors-from "set-file-position!" fd (seek fd position whence))
  *unspecified*)

(define file-position
  (make-procedure-with-setter
   (lambda (fd)
     "Return the position of FD, a file descriptor or port, in bytes.  Raise
system-error where it has none.  It can be set with set!, as by
set-file-position!."
     (with-errors-from "file-position" fd (seek fd 0 SEEK_CUR)))
   set-file-position!))

(define (sprintf template . arguments)
  "Return the string TEMPLATE with each directive replaced by the next of
ARGUMENTS: ~A as displayed, ~S as written, ~B, ~O and ~X a number in binary,
octal and hexadecimal, ~C a character, ~? a template and its list of arguments;
and ~% or ~N a line break, ~~ a tilde, ~! nothing, a tilde and white space
nothing, a tilde at the end itself.  Raise misc-error for what is none of these
and for too few arguments, and wrong-type-arg for an argument that is not what
its directive needs."
  (define (refuse message directive)
    (scm-error 'misc-error "sprintf" (string-append message " ~~~A in ~A")
               (list directive (shown template)) #f))
  (define (check predicate what object)
    (unless (predicate object)
      (wrong-type "sprintf" what object))
    object)
  (define (in-radix radix n)
    (number->string (check number? "number" n) radix))

  (define (expand directive arguments port)
    "Write what DIRECTIVE stands for and return the arguments that are left."
    (define (next-argument arguments)
      (if (pair? arguments)
          (car arguments)
          (refuse "Too few arguments for" directive)))
    (define-syntax-rule (with-argument argument expression)
      (let ((argument (next-argument arguments)))
        (display expression port)
        (cdr arguments)))
    (case (char-upcase directive)
      ((#\A) (with-argument object object))
      ((#\S) (with-argument object (object->string object)))
      ((#\B) (with-argument n (in-radix 2 n)))
      ((#\O) (with-argument n (in-radix 8 n)))
      ((#\X) (with-argument n (in-radix 16 n)))
      ((#\C) (with-argument char (check char? "character" char)))
      ((#\?)
       (let ((template (next-argument arguments))
             (list (next-argument (cdr arguments))))
         (display (apply sprintf template (check list? "list" list)) port)
         (cddr arguments)))
      ((#\% #\N) (newline port) arguments)
      ((#\~) (write-char #\~ port) arguments)
      ((#\!) arguments)
      (else (refuse "There is no directive" directive))))

  (check string? "string" template)
  (call-with-output-string
    (lambda (port)
      (let next ((chars (string->list template)) (arguments arguments))
        (match chars
          (() #t)
          ((#\~ (? char-whitespace?) . rest)
           (next (drop-while char-whitespace? rest) arguments))
          ((#\~ directive . rest)
           (next rest (expand directive arguments port)))
          ((char . rest)
           (write-char char port)
           (next rest arguments)))))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (scripts shm) - guild shm, a command for shared memory objects.

;;; Commentary:

;; List, describe, create, remove and copy shared memory objects, and list the
;; processes that use them.

;;; Code:

(define-module (scripts shm)
  #:use-module ((ice-9 format) #:select (format))
  #:use-module ((ice-9 iconv) #:select (string->bytevector))
  #:use-module (ice-9 match)
  #:use-module (ice-9 regex)
  #:use-module ((ice-9 textual-ports) #:select (get-string-all))
  #:use-module (posix-shm)
  #:use-module ((posix-shm config) #:select (%version))
  #:use-module (posix-shm copy)
  #:use-module ((posix-shm exceptions)
                #:select (raise-system-error with-error-context))
  #:use-module (posix-shm holders)
  #:use-module (posix-shm json)
  #:use-module ((posix-shm object) #:select (with-errors-from))
  #:use-module (posix-shm text)
  #:use-module (rnrs bytevectors)
  #:use-module (srfi srfi-1)
  #:use-module (srfi srfi-37)
  #:export (main))

(define %summary "List, create, remove and copy shared memory objects.")
(define %synopsis "shm COMMAND [OPTION]... [ARGUMENT]...")
(define %help "
Commands:
  list, ls             list all objects and named semaphores
      --long           also the processes that use each
  info NAME...         describe objects
  who NAME...          list the processes that map objects or have them open
  create NAME SIZE     create an object of SIZE bytes, which are 0
      --mode=MODE      with these permissions, an octal number (default 600)
      --reserve        allocate its memory now
  remove, rm NAME...   unlink objects; their memory goes with the last user
  prune [PATTERN...]   unlink your objects that no process uses and whose names
                       match a pattern; without one, only list all such objects
      --older-than=AGE unless they are younger than AGE (default 1h)
  dump NAME            copy an object to standard output
  load NAME            create an object from standard input

A NAME or PATTERN, as in '/app-*', begins with a slash, which may be omitted,
but not before a hyphen.
A SIZE is a number of bytes, or of KiB, MiB or GiB with K, M or G after it; an
AGE a number of seconds, or of minutes, hours or days with m, h or d after it.
list, info and who take --json.

      --help           print this
      --version        print the version of Guile-SHM

Exit status: 0 if all went well, 1 if something did not, 2 for a mistake in the
command line.
")


;;; Errors.

(define (usage-error message . arguments)
  "End the command with an error in the command line.  MESSAGE is for format
with ARGUMENTS."
  (throw 'usage (apply format #f message arguments)))

(define (complain message . arguments)
  "Print MESSAGE to standard error, after what standard output has."
  (with-error-context "standard output" (force-output))
  (format (current-error-port) "guild shm: ~?~%" message arguments))

(define (message-of key arguments)
  (match arguments
    ((_ (? string? message) message-arguments . _)
     (apply format #f message (or message-arguments '())))
    (_ (format #f "~a ~s" key arguments))))

(define (unwritten? arguments)
  "Return whether ARGUMENTS are those of a system-error that Guile raised when
it wrote the buffer of a port, which they do not name."
  (match arguments
    (("fport_write" . _) #t)
    (_ #f)))

(define (call-reporting thunk)
  "Call THUNK and return #t; or, if it raises an exception, print that and
return #f."
  (catch #t
    (lambda ()
      (thunk)
      #t)
    (lambda (key . arguments)
      (cond ((or (memq key '(quit usage signal)) (unwritten? arguments))
             (apply throw key arguments))
            (else
             (complain "~a" (message-of key arguments))
             #f)))))

(define (for-all names proc)
  "Call PROC with each of NAMES, also after it raised an exception for one, and
return the status to exit with."
  (status (fold (lambda (name good?)
                  (and (call-reporting (lambda () (proc name))) good?))
                #t names)))

(define (status good?)
  (if good? 0 1))

(define (call-writing thunk)
  "Call THUNK, which writes to standard output and returns a status to exit
with.  Return that, or 1 if THUNK raises an exception or writing fails."
  (define none (and (closed-at-start? 1) (open-output-string)))
  (let ((result 1))
    (call-reporting
     (lambda ()
       (let ((status (catch 'system-error
                       (lambda ()
                         (parameterize ((current-output-port
                                         (or none (current-output-port))))
                           (thunk)))
                       (lambda (key . arguments)
                         (if (unwritten? arguments)
                             (raise-system-error
                              (system-error-errno (cons key arguments))
                              "standard output")
                             (apply throw key arguments))))))
         (when (and none (not (string-null? (get-output-string none))))
           (raise-system-error EBADF "standard output"))
         ;; Guile would write it at exit, whose status does not tell if that
         ;; fails.
         (with-error-context "standard output" (force-output))
         (set! result status))))
    result))


;;; Objects and their users.

(define (displayed-name object)
  (string-append (emphasized (printable (object-name object)))
                 (if (string=? "object" (object-kind object))
                     ""
                     (string-append " (" (object-kind object) ")"))))

(define (how-held holder object)
  (string-join (append (if (holder-maps? holder object) '("mapped") '())
                       (if (holder-has-open? holder object) '("open") '()))
               ", "))

(define (print-holders object holders)
  (unless (null? holders)
    (for-each (lambda (line) (format #t "  ~a~%" line))
              (column-lines '(right left #f)
                            (map (lambda (holder)
                                   (list (number->string (holder-pid holder))
                                         (how-held holder object)
                                         (printable (holder-command holder))))
                                 holders)))))

(define (warn-of-others all?)
  (unless all?
    (complain "processes of other users could not be looked into; there may \
be more that hold objects")))


;;; JSON.

(define (holder-json object holder)
  `(("pid" . ,(holder-pid holder))
    ("command" . ,(holder-command holder))
    ("mapped" . ,(holder-maps? holder object))
    ("open" . ,(holder-has-open? holder object))))

(define (object-json object holders all?)
  `(("name" . ,(object-name object))
    ("kind" . ,(object-kind object))
    ("size" . ,(object-size object))
    ("used" . ,(object-used object))
    ("mode" . ,(number->string (object-mode object) 8))
    ("user" . ,(user-name (object-user object)))
    ("group" . ,(group-name (object-group object)))
    ("changed" . ,(object-changed object))
    ("contents" . ,(match (object-contents object)
                     ((_ . (? pair? description)) description)
                     (_ 'null)))
    ("holders" . ,(if holders
                      (list->vector (map (lambda (holder)
                                           (holder-json object holder))
                                         (holders-of object holders)))
                      'null))
    ("holders-complete" . ,(and holders all?))))

(define (print-json objects holders all?)
  (write-json (list->vector (map (lambda (object)
                                   (object-json object holders all?))
                                 objects)))
  (newline))


;;; Commands.

(define (list-objects options)
  (let ((objects (all-objects)))
    (call-with-values all-holders
      (lambda (holders all?)
        (define (row object)
          (list (short-size (object-size object))
                (short-size (object-used object))
                (mode-name (object-mode object))
                (user-name (object-user object))
                (age-name (- (current-time) (object-changed object)))
                (if holders
                    (format #f "~a~a" (length (holders-of object holders))
                            (if all? "" "+"))
                    "?")
                (displayed-name object)))
        (define rows
          (cons '("SIZE" "USED" "MODE" "OWNER" "AGE" "HELD" "NAME")
                (map row objects)))
        (cond ((assq-ref options 'json) (print-json objects holders all?))
              ((pair? objects)
               (for-each
                (lambda (line object)
                  (format #t "~a~%" line)
                  (when (and object holders (assq-ref options 'long))
                    (print-holders object (holders-of object holders))))
                (column-lines '(right right left left right right #f) rows)
                (cons #f objects))))
        0))))

(define (print-contents object)
  (match (object-contents object)
    (#f #t)
    (("layout" ("name" . name) ("size" . size) ("fields" . fields))
     (format #t "  ~11a~a, ~a bytes~%" "layout:" (printable name) size)
     (for-each (lambda (field) (format #t "    ~a~%" (printable field)))
               (vector->list fields)))
    ((kind . description)
     (format #t "  ~11a~a~%" "contents:" kind)
     (for-each (match-lambda
                 ((name . value)
                  (format #t "    ~a: ~a~%"
                          (string-map (lambda (c) (if (char=? c #\-) #\space c))
                                      name)
                          (match value (#t "yes") (#f "no") (n n)))))
               description))))

(define (print-info object holders all?)
  (format #t "~a~%" (displayed-name object))
  (for-each
   (match-lambda ((label text) (format #t "  ~11a~a~%" label text)))
   `(("size:" ,(format #f "~a bytes (~a)" (object-size object)
                       (short-size (object-size object))))
     ("used:" ,(format #f "~a bytes (~a)" (object-used object)
                       (short-size (object-used object))))
     ("mode:" ,(format #f "~a (~3,'0o)" (mode-name (object-mode object))
                       (object-mode object)))
     ("owner:" ,(format #f "~a, group ~a" (user-name (object-user object))
                        (group-name (object-group object))))
     ("changed:" ,(strftime "%Y-%m-%d %H:%M:%S"
                            (localtime (object-changed object))))
     ("held by:" ,(if holders
                      (let ((n (length (holders-of object holders))))
                        (format #f "~a ~a~a" n
                                (if (= n 1) "process" "processes")
                                (if all? "" ", or more")))
                      "this system does not tell"))))
  (print-contents object)
  (when holders
    (print-holders object (holders-of object holders))))

(define* (describe names options print #:key warn?)
  "Call PRINT with each object of NAMES that there is, the holders, and whether
those are all; or print JSON, if OPTIONS has that.  With WARN?, tell if there
may be more holders."
  (call-with-values all-holders
    (lambda (holders all?)
      (define objects '())
      (define result
        (for-all names
                 (lambda (name)
                   (let ((object (object-named name)))
                     (set! objects (cons object objects))
                     (unless (assq-ref options 'json)
                       (print object holders all?))))))
      (when (assq-ref options 'json)
        (print-json (reverse objects) holders all?))
      (when (and warn? holders (pair? objects))
        (warn-of-others all?))
      result)))

(define (info options . names)
  (describe names options print-info))

(define (print-who object holders all?)
  (unless holders
    (scm-error 'system-error "guild shm" "~A: ~A"
               (list "this system does not tell which processes use an object"
                     (printable (object-name object)))
               (list ENOSYS)))
  (let ((those (holders-of object holders)))
    (format #t "~a~a~%" (displayed-name object)
            (if (null? those) ": not in use" ""))
    (print-holders object those)))

(define (who options . names)
  (describe names options print-who #:warn? #t))

(define (parse-size text)
  (match (string-match "^([0-9]+)([KMGkmg]?)$" text)
    (#f (usage-error "create: not a size: ~a; see guild shm --help"
                     (printable text)))
    (found
     (let ((unit (string-upcase (match:substring found 2))))
       (* (string->number (match:substring found 1))
          (expt 1024 (list-index (lambda (known) (string=? unit known))
                                 '("" "K" "M" "G"))))))))

(define (parse-mode text)
  (let ((mode (and (string-match "^[0-7]+$" text) (string->number text 8))))
    (unless (and mode (<= mode #o777))
      (usage-error "create: not a mode: ~a; see guild shm --help"
                   (printable text)))
    mode))

(define (create options name size)
  (let ((size (parse-size size))
        (mode (and=> (assq-ref options 'mode) parse-mode)))
    (for-all (list name)
      (lambda (name)
        (call-with-new-object name
          (lambda (fd)
            (with-errors-from "guild shm" name
              (shm-resize! fd size #:reserve? (assq-ref options 'reserve))
              (when mode
                (chmod fd mode)))))))))

(define (remove-objects options . names)
  (for-all names shm-unlink))

(define (parse-age text)
  (match (string-match "^([0-9]+)([smhd]?)$" text)
    (#f (usage-error "prune: not an age: ~a; see guild shm --help"
                     (printable text)))
    (found
     (* (string->number (match:substring found 1))
        (assoc-ref '(("" . 1) ("s" . 1) ("m" . 60) ("h" . 3600) ("d" . 86400))
                   (match:substring found 2))))))

(define (prune options . patterns)
  (define latest
    (- (current-time) (parse-age (or (assq-ref options 'older-than) "1h"))))
  (define candidates
    (filter (lambda (object)
              (and (= (geteuid) (object-user object))
                   (<= (object-changed object) latest)
                   (not (semaphore? object))
                   (or (null? patterns)
                       (matches-any? (object-name object) patterns))))
            (all-objects)))
  (define found? #f)
  (define result
    (for-all candidates
      (lambda (object)
        (when (if (null? patterns)
                  (unused? object)
                  (remove-unused! object))
          (set! found? #t)
          (format #t "~a~%" (displayed-name object))))))
  (when (and (null? patterns) found?)
    (complain "no object was removed; a pattern, such as '/app-*', removes \
those that match"))
  result)

(define progress-interval (quotient internal-time-units-per-second 10))

(define (call-with-progress total proc)
  "Call PROC with a procedure that takes how many bytes have been copied, of
TOTAL or, if that is #f, of an unknown number.  It shows this if standard error
is a terminal."
  (define shown? (isatty? (current-error-port)))
  (define last #f)
  (define (show text)
    (format (current-error-port) "~30a\r" text)
    (force-output (current-error-port)))
  (define (done bytes)
    (format #f "~a~a" (short-size bytes)
            (if (and total (positive? total))
                (format #f " of ~a, ~a %" (short-size total)
                        (quotient (* 100 bytes) total))
                "")))
  (dynamic-wind
    (const #t)
    (lambda ()
      (proc (lambda (bytes)
              (let ((now (get-internal-real-time)))
                (when (and shown?
                           (or (not last)
                               (> (- now last) progress-interval)))
                  (set! last now)
                  (show (done bytes)))))))
    (lambda ()
      (when last
        (show "")))))

(define (dump options name)
  (when (isatty? (current-output-port))
    (usage-error "dump: standard output is a terminal; direct it to a file or \
a command"))
  (for-all (list name)
    (lambda (name) (dump-object name call-with-progress))))

(define (load-input options name)
  (for-all (list name)
    (lambda (name) (load-object name call-with-progress))))


;;; The command line.

;; The name, the options, the minimum and the maximum number of arguments, how
;; many of them at most are names, and the procedure.
(define commands
  `(("list" (json long) 0 0 0 ,list-objects)
    ("ls" (json long) 0 0 0 ,list-objects)
    ("info" (json) 1 #f #f ,info)
    ("who" (json) 1 #f #f ,who)
    ("create" (mode reserve) 2 2 1 ,create)
    ("remove" () 1 #f #f ,remove-objects)
    ("rm" () 1 #f #f ,remove-objects)
    ("prune" (older-than) 0 #f #f ,prune)
    ("dump" () 1 1 1 ,dump)
    ("load" () 1 1 1 ,load-input)))

(define (with-slash name)
  (if (string-prefix? "/" name)
      name
      (string-append "/" name)))

(define (flag name . spellings)
  (option spellings #f #f
          (lambda (option spelling argument options arguments)
            (values (acons name #t options) arguments))))

(define (option-with-argument name)
  (option (list (symbol->string name)) #t #f
          (lambda (option spelling argument options arguments)
            (values (acons name argument options) arguments))))

(define all-options
  `((json . ,(flag 'json "json"))
    (long . ,(flag 'long #\l "long"))
    (reserve . ,(flag 'reserve "reserve"))
    (mode . ,(option-with-argument 'mode))
    (older-than . ,(option-with-argument 'older-than))))

(define (parse command wanted rest)
  "Return the alist of options and the list of arguments in REST."
  (catch 'misc-error
    (lambda ()
      (args-fold rest
                 (map (lambda (name) (assq-ref all-options name)) wanted)
                 (lambda (option spelling argument options arguments)
                   (usage-error
                    "~a: there is no option ~a; see guild shm --help" command
                    (printable (if (char? spelling)
                                   (string #\- spelling)
                                   (string-append "--" spelling)))))
                 (lambda (argument options arguments)
                   (values options (append arguments (list argument))))
                 '()
                 '()))
    (lambda (key . arguments)
      (usage-error "~a: ~a" command (message-of key arguments)))))

;; Guile decodes arguments by the locale, with question marks for bytes that it
;; does not know; the result can be the name of another object.
(define (as-typed arguments)
  "Return ARGUMENTS, those of the process, decoded as UTF-8, which names are in
any locale."
  (define n (length arguments))
  (define (command-line-bytes)
    (string-split (call-with-input-file "/proc/self/cmdline" get-string-all
                                        #:encoding "ISO-8859-1")
                  #\nul))
  (define bytes
    (and (any (lambda (argument) (string-index argument #\?)) arguments)
         (false-if-exception (take-right (command-line-bytes) (+ n 1)))))
  (if (and bytes
           (equal? arguments
                   (false-if-exception (take-right (program-arguments) n))))
      (map (lambda (argument bytes)
             (if (= (string-count argument #\?) (string-count bytes #\?))
                 argument
                 (or (false-if-exception
                      (utf8->string (string->bytevector bytes "ISO-8859-1")))
                     (usage-error "not UTF-8: ~a" (printable argument)))))
           arguments (drop-right bytes 1))
      arguments))

(define (check-shm)
  (unless posix-shm?
    (scm-error 'system-error "guild shm" "~A (~A)"
               (list (strerror ENOSYS)
                     "this system has no POSIX shared memory")
               (list ENOSYS))))

(define (run-command command rest)
  (match (assoc command commands)
    (#f
     (usage-error "there is no command ~a; see guild shm --help"
                  (printable command)))
    ((_ wanted least most names proc)
     (call-with-values (lambda () (parse command wanted rest))
       (lambda (options arguments)
         (define n (length arguments))
         (define named (min n (or names n)))
         (when (< n least)
           (usage-error "~a: ~a; see guild shm --help" command
                        (if (zero? n)
                            "there is no name"
                            "there is no size")))
         (when (and most (> n most))
           (usage-error "~a: too many arguments: ~a" command
                        (printable (list-ref arguments most))))
         (check-shm)
         (apply proc options
                (append (map with-slash (take arguments named))
                        (drop arguments named))))))))

(define (print-help)
  (format #t "Usage: guild ~a~%~a~%~a" %synopsis %summary %help)
  0)

(define (print-version)
  (format #t "guild shm (Guile-SHM) ~a~%" %version)
  0)

(define (asked? option)
  (lambda (arguments)
    (member option
            (take-while (lambda (argument) (not (string=? argument "--")))
                        arguments))))

(define (main . arguments)
  (for-each (lambda (port) (set-port-conversion-strategy! port 'escape))
            (list (current-output-port) (current-error-port)))
  ;; Beyond RLIMIT_FSIZE, a write fails with EFBIG then.
  (sigaction SIGXFSZ SIG_IGN)
  (catch 'usage
    (lambda ()
      (match (as-typed arguments)
        (() (usage-error "there is no command; see guild shm --help"))
        ((? (asked? "--help"))
         (call-writing print-help))
        ((? (asked? "--version"))
         (call-writing print-version))
        ((command . rest)
         (call-writing (lambda () (run-command command rest))))))
    (lambda (key message)
      (complain "~a" message)
      2)))

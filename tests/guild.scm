;;; SPDX-License-Identifier: BSD-3-Clause
;;; guild.scm - the command guild shm, run as users run it.

(use-modules (ice-9 ftw)
             (ice-9 match)
             (ice-9 popen)
             (ice-9 regex)
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             (posix-shm semaphore)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define guild (or (getenv "GUILD") "guild"))

(define (output-of command . arguments)
  (let* ((port (apply open-pipe* OPEN_READ "sh" "-c" command guild arguments))
         (output (get-string-all port)))
    (list output (status:exit-val (close-pipe port)))))

(define (shm . arguments)
  "Return what guild shm prints on either port, and its status."
  (apply output-of "\"$0\" shm \"$@\" 2>&1 < /dev/null" arguments))

(define (shm-here . arguments)
  "Do the same in this process, which takes less time."
  (let* ((port (open-output-string))
         (status (parameterize ((current-output-port port)
                                (current-error-port port))
                   (apply (@ (scripts shm) main) arguments))))
    (list (get-output-string port) status)))

(define (shell command . arguments)
  "Return what the shell's COMMAND prints, in which $0 is guild, and its
status."
  (apply output-of command arguments))

(define (lines text)
  (string-split (string-trim-right text #\newline) #\newline))

(define (line-with text part)
  (find (lambda (line) (string-contains line part)) (lines text)))

(define (fields line)
  (string-tokenize line))

(define-syntax-rule (with-object (name size option ...) body ...)
  (with-fresh-name name
    (shm-unmap! (shm-create name size option ...))
    body ...))

(define (used name)
  "How many bytes of memory the object NAME has."
  (* 512 (stat:blocks (stat (string-append "/dev/shm" name)))))

(define (test-list)
  (with-object (a 8000 #:mode #o640)
    (with-object (b 5000000 #:reserve? #t)
      (match (shm "list")
        ((text status)
         (test-equal "its status" 0 status)
         (test-equal "size, memory, mode, owner, holders, name"
           `("7.9K" "0" "rw-r-----" ,(passwd:name (getpwuid (getuid))) "0" ,a)
           (match (fields (line-with text a))
             ((size memory mode owner age held name)
              (list size memory mode owner (string-trim-right held #\+) name))))
         (test-equal "memory that is set aside" '("4.8M" "4.8M")
           (take (fields (line-with text b)) 2))
         (test-equal "the columns line up" '(#t #t)
           (let ((column (string-contains (first (lines text)) "NAME")))
             (map (lambda (name)
                    (eqv? column (string-contains (line-with text name) name)))
                  (list a b))))
         (test-equal "no colours, as this is no terminal" #f
           (string-index text #\esc))))))
  (with-fresh-name name
    (let ((bv (shm-create name 8000)))
      (match (shm "list" "--long")
        ((text status)
         (test-equal "--long: the processes that use it, below it"
           (list (number->string (getpid)) "mapped")
           (take (fields (second (member (line-with text name) (lines text))))
                 2))))
      (test-equal "one holder" "1"
        (string-trim-right (sixth (fields (line-with (first (shm "list")) name)))
                           #\+))
      (match (shm "list" "--json")
        ((text status)
         (test-assert "--json: exact numbers"
           (string-contains text
             (format #f "{\"name\": ~s, \"kind\": \"object\", \
\"size\": 8000, \"used\": 0, \"mode\": \"600\""
                     name)))
         (test-assert "--json: the processes that use it"
           (string-match (format #f "\"pid\": ~a, \"command\": \"[^\n]*\", \
\"mapped\": true, \"open\": false" (getpid)) text))))
      (shm-unmap! bv))))

(define (test-info)
  (with-object (name 8000 #:mode #o640)
    (with-fresh-name none
      (match (shm "info" none name)
        ((text status)
         (test-equal "one that is not there: the others are told of" 1 status)
         (test-assert "and which it is"
           (string-contains text
             (format #f "guild shm: No such file or directory: ~s" none)))
         (test-assert "the size in bytes"
           (string-contains text "8000 bytes (7.9K)"))
         (test-assert "the mode" (string-contains text "rw-r----- (640)"))))
      (test-equal "a slash may be omitted" `(0 0 1)
        (list (second (shm-here "info" (string-drop name 1)))
              (second (shm-here "who" (string-drop name 1)))
              (second (shm-here "info" (string-drop none 1)))))
      (test-equal "what is no name" 1 (second (shm "info" "none/none")))
      (test-equal "one that is only shown with that name" '(0 1)
        (list (second (shell ": > \"/dev/shm$1$(printf '\\377')\"" name))
              (second (shm "info" (string-append name "?")))))
      (shell "rm \"/dev/shm$1$(printf '\\377')\"" name))))

(define (test-who)
  (with-fresh-name name
    (let* ((bv (shm-create name 8000))
           (fd (shm-open name (list O_RDONLY))))
      (define (how)
        (match (shm "who" name)
          ((text status)
           (let ((line (line-with text (format #f " ~a " (getpid)))))
             (string-drop line (string-contains line "mapped"))))))
      (test-assert "mapped and open" (string-prefix? "mapped, open " (how)))
      (close-fdes fd)
      (test-assert "mapped" (string-prefix? "mapped " (how)))
      (shm-unmap! bv)
      (gc)
      (test-equal "no process" (format #f "~a: not in use" name)
        (first (lines (first (shm "who" name)))))
      (shm-unlink name)
      (test-equal "no such object" 1 (second (shm "who" name))))))

(define (test-who-commands)
  (with-object (name 1)
    (match (shell "exec 3< \"/dev/shm$1\"
                   \"$0\" shm who --json \"$1\" \"$(printf '/\\303\\244')\" 2> /dev/null"
                  name)
      ((text status)
       (test-assert "a command that is not in ASCII"
         (string-contains text (string-append " --json " name " /\\u00e4\"")))))))

(define (test-hidden)
  (define (hiding command)
    (string-append "unshare -mpf --mount-proc sh -c '
                      mount -o remount,hidepid=2 /proc &&
                      setpriv --regid 1 --clear-groups --bounding-set=-all "
                   command "; exit' \"$0\""))
  (cond ((zero? (second (shell (string-append (hiding "true") " 2>&1"))))
         (test-assert "other users' processes that are not even shown"
           (string-contains (first (shell (hiding "\"$0\" shm list --json")))
                            "\"holders-complete\": false")))
        (else
         (test-skip 1)
         (test-assert "other users' processes that are not even shown" #f)))
  (cond ((zero? (system* "sh" "-c" "unshare -mpf --mount-proc true 2> /dev/null"))
         (test-assert "processes outside of a PID namespace"
           (string-contains
            (first (shell "unshare -mpf --mount-proc sh -c '
                             \"$0\" shm list --json; exit' \"$0\""))
            "\"holders-complete\": false")))
        (else
         (test-skip 1)
         (test-assert "processes outside of a PID namespace" #f))))

(define (test-create)
  (define (size-of argument)
    (with-fresh-name name
      (match (shm "create" name argument)
        (("" 0)
         (let ((fd (shm-open name (list O_RDONLY))))
           (let ((size (shm-size fd)))
             (close-fdes fd)
             size)))
        (other other))))
  (test-equal "sizes" '(0 1 3072 2097152 1073741824)
    (map size-of '("0" "1" "3K" "2m" "1G")))
  (with-fresh-name name
    (test-equal "--mode, --reserve" '(("" 0) #o640 65536)
      (let ((result (shm "create" "--mode=640" name "64K" "--reserve")))
        (list result
              (stat:perms (stat (string-append "/dev/shm" name)))
              (used name))))
    (with-fresh-name other
      (test-equal "--mode, whatever the umask" '(("" 0) #o666)
        (let ((result (shell "umask 77; \"$0\" shm create --mode=666 \"$1\" 1" other)))
          (list result (stat:perms (stat (string-append "/dev/shm" other))))))
      (test-equal "no --mode, less the umask" '(("" 0) #o400)
        (begin
          (shm-unlink other)
          (let ((result (shell "umask 277; \"$0\" shm create \"$1\" 1" other)))
            (list result (stat:perms (stat (string-append "/dev/shm" other))))))))
    (match (shm "create" name "1")
      ((text status)
       (test-equal "one that there is" 1 status)
       (test-equal "what is said of that"
         (format #f "guild shm: File exists: ~s (attach to it, or unlink the \
name first)\n" name) text)))
    (for-each
     (lambda (arguments)
       (match (apply shm-here "create" arguments)
         ((text status)
          (test-equal (format #f "in one line: ~s" arguments) '(2 1)
            (list status (length (lines text)))))))
     `((,name) () (,name "x") (,name "") (,name "-1") (,name "1.5") (,name "K")
       (,name "1T") (,name "1" "2") (,name "1" "--mode=9") (,name "1" "--mode=1777")
       (,name "1" "--mode=#x10") (,name "1" "--mode=10/2") (,name "1" "--mode=")
       (,name "1" "--mode") (,name "1" "--long") (,name "1" "-x")))))

(define (test-remove)
  (with-object (a 1)
    (with-object (b 1)
      (with-fresh-name none
        (match (shm "remove" a none b)
          ((text status)
           (test-equal "all that there are" '(1 #f)
             (list status (any (lambda (name) (member name (shm-list)))
                               (list a b))))
           (test-equal "what is said of the other"
             (format #f "guild shm: No such file or directory: ~s\n" none)
             text)))))))

(define (test-semaphores)
  (with-fresh-name name
    (semaphore-close! (semaphore-open name (list O_CREAT O_EXCL)))
    (let ((object (string-append "/sem." (string-drop name 1))))
      (test-equal "listed, marked" (string-append object " (semaphore)")
        (string-join (take-right (fields (line-with (first (shm-here "list"))
                                                    object))
                                 2)))
      (test-assert "marked in JSON"
        (string-contains (first (shm-here "ls" "--json"))
                         (format #f "{\"name\": ~s, \"kind\": \"semaphore\""
                                 object)))
      (test-equal "not pruned" #t
        (begin
          (shm-here "prune" "--older-than=0" object)
          (->bool (member object
                          (map car ((@@ (posix-shm holders) %shm-list)))))))
      (test-equal "removed by that name" '("" 0)
        (shm-here "rm" object)))))

(define (prune . arguments)
  "Return the names that guild shm prune prints."
  (match (apply shm-here "prune" "--older-than=0" arguments)
    ((text 0)
     (filter (lambda (line) (string-prefix? "/" line)) (lines text)))
    (other other)))

(define (test-prune)
  (define prefix (string-append (fresh-name) "-"))
  (define pattern (string-append prefix "*"))
  (with-object (a 1)
    (test-equal "without a pattern, unused objects are listed" '(#t #t)
      (list (->bool (member a (prune)))
            (->bool (member a (shm-list)))))
    (test-equal "younger than an hour, or than asked for" '("" 0)
      (shm-here "prune" a))
    (test-equal "of another name, or another user" '(())
      (list (prune (string-append a "?"))))
    (test-equal "those that match are removed" `((,a) #f)
      (list (prune (string-append (string-drop a 1) "*"))
            (->bool (member a (shm-list))))))
  (with-fresh-name name
    (let* ((fd (shm-open name (list O_RDWR O_CREAT O_EXCL)))
           (bv (begin (shm-resize! fd 10) (shm-map fd))))
      (test-equal "not while it is open, or mapped" '(() () ())
        (let* ((open (prune name))
               (mapped (begin (close-fdes fd) (prune name)))
               (read-only (let ((other (shm-attach name)))
                            (shm-unmap! bv)
                            (let ((result (prune name)))
                              (shm-unmap! other)
                              result))))
          (list open mapped read-only)))
      (test-equal "but then" (list name)
        (prune name))))
  (for-each
   (lambda (age)
     (test-equal (format #f "not an age: ~s" age) 2
       (second (shm-here "prune" (string-append "--older-than=" age) pattern))))
   '("" "x" "-1" "1w" "1.5h")))

(define (test-prune-namespaces)
  ;; A process of another PID namespace maps it, and has no descriptor of it.
  (define program
    (format #f "~s" '(begin
                       (use-modules (posix-shm))
                       (define bv (shm-attach (cadr (command-line))))
                       (display "mapped\n")
                       (force-output)
                       (read))))
  (if (zero? (system* "sh" "-c" "unshare --pid --fork true 2> /dev/null"))
      (with-object (name 10)
        (let ((port (open-pipe* OPEN_BOTH "unshare" "--pid" "--fork" "--mount"
                                "sh" "-c" "umount -l /proc; exec \"$@\"" "sh"
                                (or (getenv "GUILE") "guile")
                                "--no-auto-compile" "-c" program name)))
          (read port)
          (test-equal "mapped in another PID namespace, it stays" '()
            (prune name))
          (display "end\n" port)
          (close-pipe port))
        (test-equal "it is removed afterwards" (list name)
          (prune name)))
      (begin
        (test-skip 1)
        (test-assert "there are no namespaces" #f))))

(define (contents name)
  (let* ((bv (shm-attach name))
         (copy (bytevector-copy bv)))
    (shm-unmap! bv)
    copy))

(define (test-copying)
  (define size (+ 5000000 123))
  (with-fresh-name from
    (with-fresh-name to
      (let ((bv (shm-create from size)))
        (bytevector-u8-set! bv 0 1)
        (bytevector-u8-set! bv 2500000 2)
        (bytevector-u8-set! bv (- size 1) 3)
        (let* ((result (shell "\"$0\" shm dump \"$1\" | \"$0\" shm load \"$2\"" from to))
               (memory (map used (list from to))))
          (test-equal "dump and load, without a word" '("" 0) result)
          (test-equal "without filling holes" '(12288 12288) memory)
          (test-assert "all bytes" (bytevector=? bv (contents to)))
          (test-equal "for no other user" #o600
            (stat:perms (stat (string-append "/dev/shm" to)))))
        (match (shell "\"$0\" shm dump \"$1\" | \"$0\" shm load \"$2\" 2>&1" from to)
          ((text status)
           (test-equal "into one that there is" 1 status)
           (test-equal "what is said of that"
             (format #f "guild shm: File exists: ~s (attach to it, or unlink the \
name first)\n" to) text)))
        (let ((file (string-append "/tmp" from)))
          (test-equal "to a file and from it" '("" 0)
            (shell "\"$0\" shm dump \"$1\" > \"$3\" && \"$0\" shm remove \"$2\" &&
                    \"$0\" shm load \"$2\" < \"$3\""
                   from to file))
          (test-assert "whose holes stay holes, too"
            (< (* 512 (stat:blocks (stat file))) 200000))
          (test-assert "and bytes bytes" (bytevector=? bv (contents to)))
          (test-equal "after what is in a file" size
            (begin
              (shell "{ echo; \"$0\" shm dump \"$1\"; } > \"$2\"" from file)
              (- (stat:size (stat file)) 1)))
          (delete-file file))
        (shm-unmap! bv))))
  (with-fresh-name to
    (test-equal "nothing" '(("" 0) 0)
      (let ((result (shm "load" to)))
        (list result (stat:size (stat (string-append "/dev/shm" to)))))))
  (test-equal "no such object" 1 (second (shm "dump" "/gshm-test-none")))
  (test-equal "what is no name" 1 (second (shm "load" "none/none")))
  (with-fresh-name to
    (call-with-loading to
      (lambda (pid file)
        (test-equal "it ignores a signal that it is to ignore" 1
          (logand 1 (string->number
                     (match:substring
                      (string-match "SigIgn:\t([0-9a-f]*)"
                                    (call-with-input-file
                                        (format #f "/proc/~a/status" pid)
                                      get-string-all))
                      1)
                     16)))
        ;; Where the object has no name yet the system cleans up.
        (let ((unnamed? (string-suffix? " (deleted)" file)))
          (test-assert "it has no other name meanwhile"
            (or unnamed? (string=? file (string-append "/dev/shm" to))))
          (kill pid (if unnamed? SIGKILL SIGTERM)))
        (test-equal "stopped in the middle, it leaves nothing" '(#f #f)
          (list (eqv? 0 (status:exit-val (cdr (waitpid pid))))
                (file-exists? file)))))))

(define (call-with-loading name proc)
  "Call PROC with the process id of a guild shm load NAME that has begun, and
was started to ignore SIGHUP, and the file that it writes to."
  (match (pipe)
    ((in . out)
     (let ((pid (start-process
                 (lambda ()
                   (close-port out)
                   (dup2 (fileno in) 0)
                   (sigaction SIGHUP SIG_IGN)
                   (execlp guild guild "shm" "load" name)))))
       (define (file fd)
         (let ((file (false-if-exception (readlink (format #f "/proc/~a/fd/~a" pid fd)))))
           (and file (string-prefix? "/dev/shm/" file) file)))
       (close-port in)
       (display "some" out)
       (force-output out)
       (let await ()
         (match (filter-map file (scandir (format #f "/proc/~a/fd" pid)))
           (() (usleep 1000) (await))
           ((file . _) (proc pid file))))
       (close-port out)))))

(define (test-odd-names)
  (let ((name (string-append (fresh-name) "\n\x1b[31m \\ \"ä")))
    (dynamic-wind
      (lambda () (shm-unmap! (shm-create name 1)))
      (lambda ()
        (match (shm "list")
          ((text status)
           (test-equal "control characters do not reach the terminal" #f
             (string-index text #\esc))
           (test-assert "and are shown"
             (string-contains text "\\n\\x1b[31m \\\\ \""))))
        (match (shm "list" "--json")
          ((text status)
           (test-assert "JSON has them all"
             (string-contains text "\\u000a\\u001b[31m \\\\ \\\"\\u00e4\""))))
        (test-equal "as an argument" '("" 0)
          (begin
            (setenv "LC_ALL" "C.UTF-8")
            (let ((result (shm "remove" name)))
              (unsetenv "LC_ALL")
              result))))
      (lambda () (false-if-exception (shm-unlink name))))))

(define (test-bytes)
  (with-object (name 1)
    (define mark (string-append name "?"))
    (shm-unmap! (shm-create mark 1))
    (dynamic-wind
      (const #t)
      (lambda ()
        (for-each
         (lambda (locale)
           (test-equal (string-append "what is no UTF-8, " locale)
             (list (format #f "guild shm: not UTF-8: ~a\n" mark) 2)
             (shell (string-append "LC_ALL=" locale " \"$0\" shm remove "
                                   "\"$1$(printf '\\377')\" 2>&1")
                    name))
           (test-assert "does not remove another object"
             (member mark (shm-list))))
         '("C" "C.UTF-8"))
        (test-equal "a name means the same in each locale" '("" 0)
          (shell "n=\"$1$(printf '\\303\\244')\" &&
                  LC_ALL=C \"$0\" shm create \"$n\" 1 2>&1 &&
                  LC_ALL=C.UTF-8 \"$0\" shm remove \"$n\" 2>&1"
                 name))
        (test-equal "a question mark is one" '("" 0) (shm "remove" mark)))
      (lambda () (false-if-exception (shm-unlink mark))))))

(define (test-usage)
  (for-each
   (lambda (arguments)
     (match (apply shm-here arguments)
       ((text status)
        (test-equal (format #f "a mistake, told in one line: ~s" arguments)
          '(2 #t 1 #f)
          (list status (string-prefix? "guild shm: " text)
                (length (lines text)) (string-index text #\esc))))))
   '(() ("nonsense") ("--nonsense") ("list" "--nonsense") ("list" "-x") ("list" "-\x1b")
     ("list" "/x") ("info") ("who") ("remove") ("dump") ("load") ("dump" "/a" "/b")
     ("info" "--long" "/a")))
  (test-equal "a mistake, at the shell" 2 (second (shm "nonsense")))
  (for-each
   (lambda (arguments)
     (match (apply shm-here arguments)
       ((text status)
        (test-equal (format #f "help: ~s" arguments) '(0 #t)
          (list status
                (and (string-contains text "Usage: guild shm COMMAND") #t))))))
   '(("--help") ("list" "--help")))
  (test-equal "--version, of any command" (shm-here "--version")
    (shm-here "list" "--version"))
  (test-equal "after -- there are no options" 1 (second (shm-here "info" "--" "--help")))
  (test-assert "guild help shm"
    (string-contains (first (shell "\"$0\" help shm 2>&1")) "remove, rm NAME..."))
  (test-assert "guild list"
    (string-contains (first (shell "\"$0\" list 2>&1"))
                     "List, create, remove and copy shared memory objects."))
  (test-equal "--version" 0 (second (shm "--version"))))

(define (test-streams)
  (define (written error command . arguments)
    (test-equal (format #f "~a: ~a" command error)
      (list (format #f "guild shm: ~a\n" error) 1)
      (apply shell (string-append "{ " command "; } 2>&1") arguments)))
  (with-object (name 8000)
    (with-fresh-name none
      (when (file-exists? "/dev/full")
        (for-each
         (lambda (command)
           (written "No space left on device: standard output"
                    (string-append "\"$0\" shm " command " > /dev/full") name))
         '("--help" "--version" "list" "list --json" "info \"$1\"" "info --json \"$1\""
           "dump \"$1\""))
        (written "No space left on device: standard output"
                 "\"$0\" shm info \"$1\" \"$2\" > /dev/full" name none)
        ;; More than what is buffered.
        (for-each
         (lambda (option)
           (written "No space left on device: standard output"
                    (string-append "\"$0\" shm info " option
                                   " $(yes \"$1\" | head -200) > /dev/full")
                    name))
         '("" "--json")))
      (for-each
       (lambda (command)
         (written "Bad file descriptor: standard output"
                  (string-append "\"$0\" shm " command) name))
       '("--version >&-" "list >&-" "list <&- >&-" "dump \"$1\" >&-"
         "dump \"$1\" 1< /dev/null"))
      (for-each
       (lambda (command)
         (written "Bad file descriptor: standard input"
                  (string-append "timeout 60 \"$0\" shm " command) none))
       '("load \"$1\" <&-" "load \"$1\" 0> /dev/null"))
      (written "Is a directory: standard input" "\"$0\" shm load \"$1\" < /" none)
      (test-equal "and nothing is left" #f
        (and (member none (shm-list)) #t))
      (test-equal "nothing to say, nowhere to say it" '("" 0)
        (shell "\"$0\" shm remove \"$1\" <&- >&- 2>&-" name)))))

(define (test-terminal)
  (define (on-terminal . environment)
    (first (shell (string-append (string-join environment)
                                 " script -qec \"'$0' shm list\" /dev/null")
                  "x")))
  (unless (zero? (second (shell "command -v script > /dev/null")))
    (test-skip 3))
  (with-object (name 1)
    (test-equal "names are bold on a terminal, but with NO_COLOR" '(#t #t #f)
      (map (lambda (environment)
             (and (string-contains
                   (on-terminal "TERM=xterm" environment)
                   (string-append "\x1b[1m" name "\x1b[m"))
                  #t))
           '("" "NO_COLOR=" "NO_COLOR=1")))
    (test-equal "dump does not write to one" #t
      (and (string-contains
            (first (shell "script -qec \"'$0' shm dump $1\" /dev/null" name))
            "standard output is a terminal")
           #t)))
  (with-object (name 2097152)
    (test-equal "progress is shown in plain characters, and gone when it fails"
      '(#t #f #t)
      (let ((text (first (shell "SHELL=/bin/sh script -qec \"trap '' XFSZ; ulimit -f 3000;
                                 '$0' shm dump $1 >> /tmp$1; rm /tmp$1\" /dev/null"
                                name))))
        (list (and (string-contains text "1M of 2M, 50 %") #t)
              (string-index text #\esc)
              (and (string-contains text " \rguild shm: File too large: standard output")
                   #t))))))

(define (test-without)
  (match (shm "list")
    ((text status)
     (test-equal "where there are none" '(1 #t)
       (list status (and (string-contains text "no POSIX shared memory") #t))))))

(test-begin "guild")

(cond (posix-shm?
       (test-group "list" (test-list))
       (test-group "info" (test-info))
       (test-group "who" (test-who))
       (test-group "who: commands" (test-who-commands))
       (test-group "who: hidden" (with-object (name 1) (test-hidden)))
       (test-group "create" (test-create))
       (test-group "remove" (test-remove))
       (test-group "semaphores" (test-semaphores))
       (test-group "prune" (test-prune))
       (test-group "prune: namespaces" (test-prune-namespaces))
       (test-group "copying" (test-copying))
       (test-group "odd names" (test-odd-names))
       (test-group "bytes" (test-bytes))
       (test-group "usage" (test-usage))
       (test-group "streams" (test-streams))
       (test-group "terminal" (test-terminal)))
      (else
       (test-group "without shared memory" (test-without))))

(test-end "guild")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; object.scm - what users get wrong with names and descriptors, tested.
;;; What POSIX promises of them is in conformance.scm.

(use-modules (ice-9 match)
             (posix-shm)
             ((posix-shm exceptions) #:select (shown))
             (srfi srfi-64)
             (tests support))

(define make (list O_RDWR O_CREAT O_EXCL))

(define flags-by-value
  "flags by value, as in (list O_RDWR), not '(O_RDWR)")

(define name-hint
  "a name is \"/\" and then one or more bytes, none of them \"/\" or NUL, \
and not \"/.\" or \"/..\"")

(define* (refusal subr errno name #:optional hint)
  "What a call of SUBR raises that the system refuses for the object NAME."
  (list 'system-error subr
        (format #f "~a: ~a~@[ (~a)~]" (strerror errno) (shown name) hint)
        errno))

(define (open-and-remove name)
  "Make NAME, and return whether it was there and then was not."
  (call-with-descriptor (shm-open name make)
    (lambda (fd)
      (and (zero? (shm-unlink name))
           (equal? (raised (lambda () (shm-unlink name)))
                   (refusal "shm-unlink" ENOENT name))))))

(define (name-of-length bytes)
  "Return a fresh name of a slash and so many bytes."
  (string-pad-right (fresh-name) (+ bytes 1) #\x))

(define (test-names)
  (define (test-bad-name what name errno hint)
    (test-raises (string-append what ": shm-open")
      (refusal "shm-open" errno name hint)
      (shm-open name make))
    (test-raises (string-append what ": shm-unlink")
      (refusal "shm-unlink" errno name hint)
      (shm-unlink name)))

  (test-bad-name "without a slash" "frames" EINVAL name-hint)
  (test-bad-name "with a second slash" "/frames/1" EINVAL name-hint)
  (test-bad-name "with a slash at the end" "/frames/" EINVAL name-hint)
  (test-bad-name "with two slashes in front" "//frames" EINVAL name-hint)
  (test-bad-name "empty" "" EINVAL name-hint)
  (test-bad-name "only a slash" "/" EINVAL name-hint)
  (test-bad-name "the folder" "/." EINVAL name-hint)
  (test-bad-name "the folder above" "/.." EINVAL name-hint)
  (test-bad-name "with a NUL inside" "/fra\0mes" EINVAL name-hint)
  (test-bad-name "256 bytes" (name-of-length 256) ENAMETOOLONG #f)
  (test-bad-name "256 bytes of two-byte characters"
                 (string-append "/" (make-string 128 #\ä)) ENAMETOOLONG #f)

  (test-assert "254 bytes" (open-and-remove (name-of-length 254)))
  (test-assert "255 bytes" (open-and-remove (name-of-length 255)))
  (test-assert "three dots" (open-and-remove (string-append "/..." (string-drop (fresh-name) 1))))
  (test-assert "a space, a quote and a percent sign"
    (open-and-remove (string-append (fresh-name) " \"%s~a")))

  (for-each
   (match-lambda
     ((what value)
      (test-raises (format #f "~a instead of a name: shm-open" what)
        `(wrong-type-arg "shm-open"
          ,(format #f "Wrong type argument in position 1 (expecting string): ~s"
                   value))
        (shm-open value make))
      (test-raises (format #f "~a instead of a name: shm-unlink" what)
        `(wrong-type-arg "shm-unlink"
          ,(format #f "Wrong type argument in position 1 (expecting string): ~s"
                   value))
        (shm-unlink value))))
   '(("a symbol" frames) ("a number" 7) ("a boolean" #f))))

;; A name that is not ASCII means the same object whatever the locale: this
;; process makes it, and ones in both locales find it.
(define (test-locales)
  (define (found-in locale name)
    (let ((before (getenv "LC_ALL")))
      (dynamic-wind
        (lambda () (setenv "LC_ALL" locale))
        (lambda ()
          (eval-in-new-guile
           '(setlocale LC_ALL "")
           `(define name (list->string (map integer->char
                                            ',(map char->integer
                                                   (string->list name)))))
           '(let ((fd (shm-open name (list O_RDONLY))))
              (write (stat:size (stat fd))))))
        (lambda () (setenv "LC_ALL" before)))))

  (let ((name (string-append (fresh-name) "-bücher-λ-🐑")))
    (dynamic-wind
      (const #t)
      (lambda ()
        (call-with-descriptor (shm-open name make)
          (lambda (fd)
            (truncate-file fd 17)
            (test-equal "C" 17 (found-in "C" name))
            (test-equal "C.UTF-8" 17 (found-in "C.UTF-8" name)))))
      (lambda () (shm-unlink name)))
    (test-raises "the message names it" (refusal "shm-unlink" ENOENT name)
      (shm-unlink name))))

(define (test-flags)
  (define not-one
    "Flag is not one of O_RDONLY, O_RDWR, O_CREAT, O_EXCL and O_TRUNC: ")
  (define access "Flags must hold exactly one of O_RDONLY and O_RDWR: ")

  (define (out-of-range message object)
    `(out-of-range "shm-open" ,(format #f "~a~s" message object)))
  (define (wrong-type expected object)
    `(wrong-type-arg "shm-open"
      ,(format #f "Wrong type argument in position 2 (expecting ~a): ~a"
               expected (shown object))))
  (define (test-bad-flags what oflags expected)
    (with-fresh-name name
      (test-raises what expected (shm-open name oflags))
      (test-raises (string-append what ": nothing was made")
        (refusal "shm-unlink" ENOENT name)
        (shm-unlink name))))

  (test-bad-flags "neither access" (list O_CREAT)
                  (out-of-range access (list O_CREAT)))
  (test-bad-flags "no flag" '() (out-of-range access '()))
  (test-bad-flags "both accesses" (list O_RDONLY O_RDWR O_CREAT)
                  (out-of-range access (list O_RDONLY O_RDWR O_CREAT)))
  (test-bad-flags "O_WRONLY in a list" (list O_WRONLY O_CREAT)
                  (out-of-range not-one 'O_WRONLY))
  (test-bad-flags "O_WRONLY in an integer" (logior O_WRONLY O_CREAT)
                  (out-of-range not-one 'O_WRONLY))
  (test-bad-flags "O_APPEND" (list O_RDWR O_CREAT O_APPEND)
                  (out-of-range not-one 'O_APPEND))
  (test-bad-flags "O_SYNC in an integer" (logior O_RDWR O_CREAT O_SYNC)
                  (out-of-range not-one 'O_SYNC))
  (test-bad-flags "an unknown bit" (list O_RDWR O_CREAT (ash 1 30))
                  (out-of-range not-one (ash 1 30)))
  (test-bad-flags "an unknown bit in an integer" (logior O_RDWR (ash 1 30))
                  (out-of-range not-one (ash 1 30)))
  (test-bad-flags "a huge integer" (ash 1 70)
                  (out-of-range not-one (ash 1 70)))
  (test-bad-flags "a negative flag" (list O_RDWR -1) (out-of-range not-one -1))
  (test-bad-flags "all access bits in an integer" 3
                  (out-of-range access 3))
  (test-bad-flags "a symbol in a list" (list O_RDWR 'O_CREAT)
                  (wrong-type flags-by-value 'O_CREAT))
  (test-bad-flags "a fraction" (list 2.5)
                  (wrong-type flags-by-value 2.5))
  (test-bad-flags "a string" "r" (wrong-type flags-by-value "r"))
  (test-bad-flags "a dotted list" (cons O_RDWR O_CREAT)
                  (wrong-type flags-by-value
                              (cons O_RDWR O_CREAT)))
  (let ((circle (list O_RDWR O_CREAT)))
    (set-cdr! (cdr circle) circle)
    (with-fresh-name name
      (test-equal "a circular list" 'wrong-type-arg
        (car (raised (lambda () (shm-open name circle)))))))

  (with-fresh-name name
    (test-assert "a bare integer"
      (call-with-descriptor (shm-open name (logior O_RDWR O_CREAT O_EXCL))
        integer?))
    (test-assert "the integer 0, O_RDONLY"
      (call-with-descriptor (shm-open name O_RDONLY) integer?))
    (test-assert "O_RDONLY in a list"
      (call-with-descriptor (shm-open name (list O_RDONLY)) integer?))
    (test-assert "O_EXCL without O_CREAT, as the egg's example has it"
      (call-with-descriptor (shm-open name (list O_RDONLY O_EXCL)) integer?))))

(define (test-modes)
  (define (mode-of name)
    (call-with-descriptor (shm-open name (list O_RDONLY))
      (lambda (fd) (stat:perms (stat fd)))))
  (define-syntax-rule (mode-made argument ...)
    (with-fresh-name name
      (call-with-descriptor (shm-open name make argument ...)
        (lambda (fd) (stat:perms (stat fd))))))
  (define (test-bad-mode what mode expected)
    (with-fresh-name name
      (test-raises what expected (shm-open name make mode))
      (test-raises (string-append what ": nothing was made")
        (refusal "shm-unlink" ENOENT name)
        (shm-unlink name))))

  (with-umask 0
    (test-equal "by default" #o744 (mode-made))
    (test-equal "as an argument" #o620 (mode-made #o620))
    (test-equal "as a keyword" #o620 (mode-made #:mode #o620))
    (test-equal "#o777" #o777 (mode-made #o777)))
  (with-umask #o077
    (test-equal "umask 077" #o700 (mode-made))
    (test-equal "umask 077, #o666" #o600 (mode-made #o666)))

  (test-bad-mode "negative" -1
    '(out-of-range "shm-open" "Mode is not in the range 0 to #o777: -1"))
  (test-bad-mode "above #o777" #o1000
    '(out-of-range "shm-open" "Mode is not in the range 0 to #o777: 512"))
  (test-bad-mode "huge" (ash 1 64)
    `(out-of-range "shm-open"
      ,(format #f "Mode is not in the range 0 to #o777: ~a" (ash 1 64))))
  (test-bad-mode "not an integer" "rw"
    '(wrong-type-arg "shm-open"
      "Mode is not an exact integer: \"rw\""))
  (test-bad-mode "a real" 384.0
    '(wrong-type-arg "shm-open"
      "Mode is not an exact integer: 384.0")))

;; As another user, which only root can become.  The modules are loaded before,
;; since that user may not be allowed to read them.
(define (as-other-user expression)
  (eval-in-new-guile '(setgroups #())
                     '(setgid 65534)
                     '(setuid 65534)
                     `(catch 'system-error
                        (lambda () (write ,expression))
                        (lambda arguments
                          (write (cons (cadr arguments)
                                       (car (list-ref arguments 4))))))))

(define (test-permissions)
  (unless root?
    (test-skip 3))
  (with-fresh-name name
    (call-with-descriptor (shm-open name make #o600)
      (lambda (fd)
        (test-equal "shm-open for reading" (cons "shm-open" EACCES)
          (as-other-user `(shm-open ,name (list O_RDONLY))))
        (test-equal "shm-open for reading and writing" (cons "shm-open" EACCES)
          (as-other-user `(shm-open ,name (list O_RDWR O_CREAT))))
        ;; The sticky bit of /dev/shm gives EPERM, which POSIX calls EACCES.
        (test-equal "shm-unlink" (cons "shm-unlink" EACCES)
          (as-other-user `(shm-unlink ,name)))))))

(define (test-opening)
  (with-fresh-name name
    (test-raises "missing" (refusal "shm-open" ENOENT name)
      (shm-open name (list O_RDWR)))
    (call-with-descriptor (shm-open name make)
      (lambda (fd)
        (test-raises "there with O_EXCL" (refusal "shm-open" EEXIST name
                                                  "attach to it, or unlink \
the name first")
          (shm-open name make))))
    (test-equal "unlinked" 0 (shm-unlink name))
    (test-raises "unlinked twice" (refusal "shm-unlink" ENOENT name)
      (shm-unlink name)))

  (test-equal "errno by system-error-errno" ENOENT
    (catch 'system-error
      (lambda () (shm-unlink (fresh-name)))
      (lambda arguments (system-error-errno arguments)))))

(define (test-descriptor-limit)
  (with-fresh-name name
    (test-equal "too many descriptors" (refusal "shm-open" EMFILE name)
      (eval-in-new-guile
       set-descriptor-limit
       '(define held (fill))
       `(catch 'system-error
          (lambda () (shm-open ,name (list O_RDWR O_CREAT)))
          (lambda (key subr message arguments data)
            (for-each close-fdes (list-head held 5))
            (write (list key subr (apply format #f message arguments)
                         (car data)))))))
    (test-equal "unreachable ports are closed first" '(#t 0)
      (eval-in-new-guile
       set-descriptor-limit
       '(for-each (lambda (fd) (fdopen fd "r")) (fill))
       `(write (list (integer? (shm-open ,name (list O_RDWR O_CREAT)))
                     (shm-unlink ,name)))))))

(define (test-descriptors-of-guile)
  ;; The finalizer thread needs four, and Guile aborts if it has to start anew
  ;; and cannot get them.
  (test-equal "Guile's own descriptors are not taken" '(EMFILE EMFILE survived)
    (eval-in-new-guile
     set-descriptor-limit
     '(gc)
     '(define held (fill))
     '(define (try)
        (catch 'system-error
          (lambda () (shm-open "/gshm-test-there-is-no-such" (list O_RDONLY)))
          (lambda arguments
            (if (= (system-error-errno arguments) EMFILE) 'EMFILE 'other))))
     '(try)
     '(fill)
     '(let ((tries (list (try) (try)))
            (guardian (make-guardian)))
        (do ((i 0 (+ i 1)))
            ((= i 10))
          (guardian (list i))
          (gc))
        (for-each close-fdes (list-head held 5))
        (write (append tries '(survived))))))

  ;; Of which Guile's gc would run them itself.
  (test-equal "a fork meanwhile leaves finalizers running" '(#t #t)
    (eval-in-new-guile
     set-descriptor-limit
     '(use-modules (ice-9 threads) (system foreign))
     '(define notifier
        (pointer->procedure '* (dynamic-func "GC_get_finalizer_notifier"
                                             (dynamic-link))
                            '()))
     '(define sleep-in-finalizer (dynamic-func "usleep" (dynamic-link)))
     '(define (finalized?)
        (let ((guardian (make-guardian)))
          (do ((i 0 (+ i 1)))
              ((= i 10))
            (guardian (list i)))
          (let again ((i 0))
            (do ((j 0 (+ j 1)))
                ((= j 200))
              (make-vector 20000 0))
            (or (->bool (guardian))
                (and (< i 100)
                     (begin
                       (usleep 10000)
                       (again (+ i 1))))))))
     '(current-warning-port (%make-void-port "w"))
     '(define collecting
        (call-with-new-thread
         (lambda ()
           (let ((held (fill)))
             (do ((i 0 (+ i 1)))
                 ((= i 20))
               (make-pointer 50000 sleep-in-finalizer))
             (false-if-exception
              (shm-open "/gshm-test-there-is-no-such" (list O_RDONLY)))
             (for-each close-fdes held)))))
     '(let again ()
        (unless (or (null-pointer? (notifier)) (thread-exited? collecting))
          (usleep 1000)
          (again)))
     '(define child
        (let ((child (primitive-fork)))
          (when (zero? child)
            (primitive-_exit (if (finalized?) 0 1)))
          child))
     '(define childs (zero? (cdr (waitpid child))))
     '(join-thread collecting)
     '(write (list childs (finalized?))))))

(define (test-leaks)
  (define before (descriptor-count))
  (do ((i 0 (+ i 1)))
      ((= i 10000))
    (raised (lambda () (shm-open "/gshm-test-there-is-no-such" (list O_RDWR))))
    (raised (lambda () (shm-open "no-name" (list O_RDWR O_CREAT))))
    (raised (lambda () (shm-open "/gshm-test" (list O_RDWR O_APPEND)))))
  (test-equal "descriptors after 10,000 failures" before (descriptor-count))
  (test-assert "memory after 100,000 failures"
    (let ((name (name-of-length 255))
          (before (memory-in-use)))
      (do ((i 0 (+ i 1)))
          ((= i 100000))
        (raised (lambda () (shm-unlink name))))
      ;; A copy of the name each time would be 25 MB.
      (< (- (memory-in-use) before) 10000000))))

;; Built as on a system without shared memory.
(define (test-without)
  (define hint "this system has no POSIX shared memory")
  (test-raises "shm-open" (refusal "shm-open" ENOSYS "/frames" hint)
    (shm-open "/frames" make))
  (test-raises "shm-open with a mode" (refusal "shm-open" ENOSYS "/frames" hint)
    (shm-open "/frames" make #:mode #o600))
  (test-raises "shm-unlink" (refusal "shm-unlink" ENOSYS "/frames" hint)
    (shm-unlink "/frames")))

(test-begin "object")

(test-assert "posix-shm? is a boolean" (boolean? posix-shm?))
(test-equal "posix-shm? says what configure found"
  (not (equal? (getenv "HAVE_SHM_OPEN") "0")) posix-shm?)

(if posix-shm?
    (begin
      (test-group "names" (test-names))
      (test-group "locales" (test-locales))
      (test-group "flags" (test-flags))
      (test-group "modes" (test-modes))
      (test-group "permissions" (test-permissions))
      (test-group "opening" (test-opening))
      (test-group "descriptor limit" (test-descriptor-limit))
      (test-group "descriptors of Guile" (test-descriptors-of-guile))
      (test-group "leaks" (test-leaks)))
    (test-group "without shared memory" (test-without)))

(test-end "object")

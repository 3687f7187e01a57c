;;; SPDX-License-Identifier: BSD-3-Clause
;;; run-test.scm - run one SRFI-64 file for Automake's parallel test harness.

;;; The file runs in a child of this process, so that whatever becomes of it
;;; there is a verdict.  Each assertion is a result of its own; beyond these it
;;; is an error if the file asserts nothing, does not come to its end, takes
;;; longer than GSHM_TEST_TIMEOUT seconds (default 900), or leaves a shared
;;; memory object, a process or a descriptor behind.

(use-modules ((ice-9 format) #:select (format))
             (ice-9 getopt-long)
             (ice-9 match)
             ((ice-9 textual-ports) #:select (get-string-all))
             (ice-9 ftw)
             (srfi srfi-1)
             (srfi srfi-11)
             (srfi srfi-64)
             ((system foreign) #:select (pointer->procedure int unsigned-long)))

;; For (tests support).
(add-to-load-path (dirname (dirname (canonicalize-path (current-filename)))))

(define options
  (getopt-long (command-line)
               '((test-name (value #t))
                 (log-file (value #t))
                 (trs-file (value #t))
                 (color-tests (value #t))
                 (expect-failure (value #t))
                 (enable-hard-errors (value #t)))))

(define (option name default)
  (option-ref options name default))

;; The exit status of a child that came to the end of the file: one that no
;; file exits with by accident.
(define finished 113)

(define test-file (first (option '() '())))
(define test-name (option 'test-name test-file))
(define trs-port (open-output-file (option 'trs-file "/dev/null")))

(define colour
  (let ((codes '((PASS . "0;32") (XFAIL . "1;32") (SKIP . "1;34")
                 (FAIL . "0;31") (XPASS . "0;31") (ERROR . "0;35"))))
    (lambda (result)
      (if (string=? (option 'color-tests "no") "yes")
          (format #f "\x1b[~am~a\x1b[m" (assq-ref codes result) result)
          result))))

;; Standard output as it was when make called: the file's own goes to the log.
(define console (duplicate-port (current-output-port) "w"))

(define (report result description)
  (let ((description (string-map (lambda (c) (if (char=? c #\newline) #\space c))
                                 description)))
    (format trs-port ":test-result: ~a ~a~%" result description)
    (force-output trs-port)
    (format #t "~a: ~a~%" result description)
    (force-output)
    (unless (memq result '(PASS XFAIL))
      (format console "~a: ~a: ~a~%" (colour result) test-name description)
      (force-output console))))


;;; In the child.

(define (logging-runner)
  (define (show runner label property)
    (when (test-result-ref runner property)
      (format #t "  ~a: ~s~%" label (test-result-ref runner property))))
  (let ((runner (test-runner-null)))
    (test-runner-on-test-end! runner
      (lambda (runner)
        (report (match (test-result-kind runner)
                  ('pass 'PASS) ('xfail 'XFAIL) ('skip 'SKIP)
                  ('xpass 'XPASS) (_ 'FAIL))
                (string-join (append (test-runner-group-path runner)
                                     (list (test-runner-test-name runner)))
                             ": "))
        (when (memq (test-result-kind runner) '(fail xpass))
          (show runner "file" 'source-file)
          (show runner "line" 'source-line)
          (show runner "expression" 'source-form)
          (show runner "expected" 'expected-value)
          (show runner "actual" 'actual-value)
          (show runner "raised" 'actual-error)
          (force-output))))
    runner))

(define (assertions runner)
  (+ (test-runner-pass-count runner) (test-runner-fail-count runner)
     (test-runner-xpass-count runner) (test-runner-xfail-count runner)
     (test-runner-skip-count runner)))

;; What each descriptor of this process is open on, where that can be told.
(define (descriptors)
  (filter-map (lambda (fd)
                (and=> (false-if-exception
                        (readlink (string-append "/proc/self/fd/" fd)))
                       (lambda (target)
                         ;; What the library keeps for itself.
                         (and (not (string-prefix? "/memfd:guile-shm-reserve"
                                                   target))
                              (cons (string->number fd) target)))))
              (or (scandir "/proc/self/fd" string->number) '())))

;; Guile's threads for finalizers and for signals come and go with collections
;; and forks, and hold two pipes each, with both ends.
(define guile-pipes 4)

(define (left-open before after)
  "Return the descriptors among AFTER that are not among BEFORE, but for as
many pipes as Guile itself may have made."
  (define (both-ends? descriptor)
    (and (string-prefix? "pipe:" (cdr descriptor))
         (= 2 (count (lambda (other) (equal? (cdr other) (cdr descriptor)))
                     after))))
  (let-values (((whole others)
                (partition both-ends?
                           (lset-difference equal? after before))))
    (append others
            (drop whole (min (length whole) (* 2 guile-pipes))))))

(define (left-open-after-collection before)
  ;; The collector closes ports that cannot be reached any more.
  (let again ((tries 10))
    (let ((left (left-open before (descriptors))))
      (cond ((or (null? left) (zero? tries)) left)
            (else (gc) (again (- tries 1)))))))

(define (run-file)
  (let ((runner (logging-runner)))
    (let ((before (descriptors))
          (ended? #f))
      (test-runner-current runner)
      (catch #t
        (lambda ()
          ;; Its definitions must not replace those here.
          (save-module-excursion
           (lambda ()
             (set-current-module (make-fresh-user-module))
             (load (canonicalize-path test-file))))
          (set! ended? #t))
        (lambda arguments
          (report 'ERROR
                  (format #f "the file ends by an exception: ~s" arguments)))
        (lambda _ (backtrace)))
      (when ended?
        (let ((left (left-open-after-collection before)))
          (unless (null? left)
            (report 'ERROR (format #f "descriptors left open: ~s" left)))))
      (when (zero? (assertions runner))
        (report 'ERROR "the file asserts nothing")))))


;;; In the parent.

(define PR_SET_CHILD_SUBREAPER 36)

(define (adopt-orphans)
  ;; Linux: whatever the file leaves running becomes a child of this process.
  (let ((prctl (false-if-exception (dynamic-func "prctl" (dynamic-link)))))
    (when prctl
      ((pointer->procedure int prctl (list int unsigned-long))
       PR_SET_CHILD_SUBREAPER 1))))

(define (children)
  (filter (lambda (pid)
            (let ((status (false-if-exception
                           (call-with-input-file
                               (format #f "/proc/~a/status" pid)
                             get-string-all))))
              (and status
                   (string-contains status
                                    (format #f "\nPPid:\t~a\n" (getpid))))))
          (filter-map string->number (or (scandir "/proc") '()))))

(define (command pid)
  (or (false-if-exception
       (string-map (lambda (c) (if (char=? c #\nul) #\space c))
                   (call-with-input-file (format #f "/proc/~a/cmdline" pid)
                     get-string-all)))
      "?"))

(define (reap-orphans)
  (match (false-if-exception (waitpid WAIT_ANY WNOHANG))
    (#f #f)                             ; there are none
    ((0 . _)
     (for-each (lambda (pid)
                 (report 'ERROR
                         (format #f "process left running: ~a (~a)" pid
                                 (command pid)))
                 (false-if-exception (kill pid SIGKILL))
                 (false-if-exception (waitpid pid)))
               (children)))
    (_ (reap-orphans))))

(define (remove-objects pid)
  ;; The names that (tests support) gives to the objects of that process.
  (let* ((prefix (format #f "gshm-test-~a-" pid))
         (semaphore (string-append "sem." prefix)))
    (for-each (lambda (file)
                (report 'ERROR (format #f "object left behind: /~a" file))
                (false-if-exception
                 (delete-file (string-append "/dev/shm/" file))))
              (or (scandir "/dev/shm"
                           (lambda (f)
                             (or (string-prefix? prefix f)
                                 (string-prefix? semaphore f))))
                  '()))))

(define (results)
  (call-with-input-file (option 'trs-file "/dev/null")
    get-string-all))

(define (last-result)
  (let ((line (last (string-split (string-trim-right (results)) #\newline))))
    (if (string-null? line)
        "none"
        (string-drop line (string-length ":test-result: ")))))

;; Both in seconds.  Guile does not deliver a signal to a thread that is in
;; waitpid.
(define poll-interval 1/50)
(define timeout
  (or (and=> (getenv "GSHM_TEST_TIMEOUT") string->number) 900))

;; Where each thread of a process is: what Linux says of the system call that
;; it is in, if any.
(define (log-threads pid)
  (for-each (lambda (thread)
              (format #t "thread ~a of ~a: ~a~%" thread pid
                      (or (false-if-exception
                           (string-trim-right
                            (call-with-input-file
                                (format #f "/proc/~a/task/~a/syscall" pid thread)
                              get-string-all)))
                          "?")))
            (or (scandir (format #f "/proc/~a/task" pid) string->number) '()))
  (force-output))

(define (wait-for pid)
  "Return the status of the child PID, killed if it takes too long."
  (let again ((left (/ timeout poll-interval)))
    (match (waitpid pid (if (positive? left) WNOHANG 0))
      ((0 . _)
       (usleep (* poll-interval 1000000))
       (when (= left 1)
         (report 'ERROR (format #f "still running after ~a s; last result: ~a"
                                timeout (last-result)))
         (for-each log-threads (cons pid (children)))
         (kill pid SIGKILL))
       (again (- left 1)))
      ((_ . status) status))))

(define (run)
  (let ((log (open (option 'log-file "/dev/null")
                   (logior O_WRONLY O_CREAT O_TRUNC O_APPEND))))
    (for-each (lambda (port) (dup2 (fileno log) (fileno port)))
              (list (current-output-port) (current-error-port)))
    (close-port log)
    (adopt-orphans)
    (match (primitive-fork)
      (0
       (let ((nothing (open "/dev/null" O_RDONLY)))
         (dup2 (fileno nothing) 0)
         (close-port nothing))
       (run-file)
       (force-output)
       (force-output (current-error-port))
       (primitive-exit finished))
      (pid
       (let ((status (wait-for pid)))
         (cond ((status:term-sig status)
                => (lambda (signal)
                     (report 'ERROR (format #f "killed by signal ~a" signal))))
               ((not (eqv? (status:exit-val status) finished))
                (report 'ERROR
                        (format #f "left before its end, with status ~a"
                                (status:exit-val status)))))
         (reap-orphans)
         (remove-objects pid))
       (let* ((all (results))
              (found (find (lambda (result)
                             (string-contains all (format #f ": ~a " result)))
                           '(ERROR FAIL XPASS PASS XFAIL SKIP)))
              (good? (memq found '(PASS XFAIL SKIP))))
         (format trs-port ":global-test-result: ~a~%:copy-in-global-log: ~a~%"
                 found (if good? "no" "yes"))
         (close-port trs-port)
         (format console "~a: ~a~%" (colour found) test-name))))))

(run)

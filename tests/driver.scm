;;; SPDX-License-Identifier: BSD-3-Clause
;;; driver.scm - build-aux/run-test.scm, tested: what it must not let pass.

(use-modules (ice-9 ftw)
             (ice-9 match)
             (ice-9 textual-ports)
             (posix-shm)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             ((system foreign) #:select (bytevector->pointer int
                                         pointer->procedure))
             (tests support))

(define srcdir (or (getenv "abs_top_srcdir") "."))

;; Whether what a file leaves running comes to the driver.
(define PR_GET_CHILD_SUBREAPER 37)
(define adopts-orphans?
  (and=> (false-if-exception (dynamic-func "prctl" (dynamic-link)))
         (lambda (prctl)
           (zero? ((pointer->procedure int prctl (list int '*))
                   PR_GET_CHILD_SUBREAPER
                   (bytevector->pointer (make-bytevector 8 0)))))))

(define (call-with-folder proc)
  (let ((folder (mkdtemp (string-append (or (getenv "TMPDIR") "/tmp")
                                        "/gshm-test-XXXXXX"))))
    (dynamic-wind
      (const #t)
      (lambda () (proc folder))
      (lambda ()
        (for-each (lambda (file)
                    (delete-file (string-append folder "/" file)))
                  (scandir folder (lambda (file)
                                    (not (member file '("." ".."))))))
        (rmdir folder)))))

(define (write-test file expressions)
  (call-with-output-file file
    (lambda (port)
      (for-each (lambda (expression) (write expression port) (newline port))
                `((use-modules (posix-shm) (srfi srfi-64)) ,@expressions)))))

(define (verdicts . expressions)
  "Run a test of EXPRESSIONS and return its results in order, the last the
verdict on the whole file."
  (call-with-folder
   (lambda (folder)
     (define (file name) (string-append folder "/" name))
     (write-test (file "test.scm") expressions)
     (run guile "--no-auto-compile"
          (string-append srcdir "/build-aux/run-test.scm")
          "--test-name" "test" "--log-file" (file "log")
          "--trs-file" (file "trs") "--" (file "test.scm"))
     (filter-map (lambda (line)
                   (match (string-tokenize line)
                     ((":test-result:" result . description)
                      (list (string->symbol result) (string-join description)))
                     ((":global-test-result:" result)
                      (string->symbol result))
                     (_ #f)))
                 (string-split (call-with-input-file (file "trs")
                                 get-string-all)
                               #\newline)))))

(define (verdicts-within seconds . expressions)
  "Do the same with a time-out of so many SECONDS."
  (dynamic-wind
    (lambda () (setenv "GSHM_TEST_TIMEOUT" (number->string seconds)))
    (lambda () (apply verdicts expressions))
    (lambda () (unsetenv "GSHM_TEST_TIMEOUT"))))

(define-syntax-rule (test-verdicts name expected expression ...)
  (test-equal name expected (verdicts 'expression ...)))

;; The same with what the driver adds cut to its first words.
(define (outline results)
  (map (match-lambda
         ((result description)
          (list result
                (string-join (let ((words (string-tokenize description)))
                               (take words (min 3 (length words)))))))
         (result result))
       results))

(define-syntax-rule (test-outline name expected expression ...)
  (test-equal name expected (outline (verdicts 'expression ...))))

(test-begin "driver")

(test-group "assertions"
  (test-verdicts "each is counted" '((PASS "t: one") (PASS "t: two") PASS)
    (test-begin "t") (test-assert "one" #t) (test-equal "two" 2 2)
    (test-end "t"))
  (test-verdicts "one that fails" '((PASS "t: one") (FAIL "t: two") FAIL)
    (test-begin "t") (test-assert "one" #t) (test-equal "two" 2 3)
    (test-end "t"))
  (test-verdicts "one that raises" '((FAIL "t: one") (PASS "t: two") FAIL)
    (test-begin "t") (test-assert "one" (error "no")) (test-assert "two" #t)
    (test-end "t"))
  (test-verdicts "one that is skipped" '((SKIP "t: one") (PASS "t: two") PASS)
    (test-begin "t") (test-skip 1) (test-assert "one" #f)
    (test-assert "two" #t) (test-end "t"))
  (test-verdicts "all that are skipped" '((SKIP "t: one") SKIP)
    (test-begin "t") (test-skip 1) (test-assert "one" #f) (test-end "t"))
  (test-verdicts "one that is expected to fail" '((XFAIL "t: one") XFAIL)
    (test-begin "t") (test-expect-fail 1) (test-assert "one" #f)
    (test-end "t"))
  (test-verdicts "one that was expected to fail" '((XPASS "t: one") XPASS)
    (test-begin "t") (test-expect-fail 1) (test-assert "one" #t)
    (test-end "t"))
  (test-verdicts "a line break in a name" '((PASS "t: one two") PASS)
    (test-begin "t") (test-assert "one\ntwo" #t) (test-end "t"))
  (test-verdicts "none" '((ERROR "the file asserts nothing") ERROR)
    (test-begin "t") (test-end "t")))

(test-group "endings"
  (test-outline "by an exception"
    '((PASS "t: one") (ERROR "the file ends") ERROR)
    (test-begin "t") (test-assert "one" #t) (error "no") (test-end "t"))
  (test-verdicts "by leaving early"
    '((PASS "t: one") (ERROR "left before its end, with status 0") ERROR)
    (test-begin "t") (test-assert "one" #t) (primitive-exit 0))
  (test-outline "by exit"
    '((PASS "t: one") (ERROR "the file ends") ERROR)
    (test-begin "t") (test-assert "one" #t) (exit 0))
  (test-verdicts "by a signal"
    '((PASS "t: one") (ERROR "killed by signal 9") ERROR)
    (test-begin "t") (test-assert "one" #t) (kill (getpid) SIGKILL) (pause))
  (test-outline "by a syntax error" '((ERROR "the file ends") (ERROR "the file asserts") ERROR)
    (if))
  ;; A second need not take it to its assertion; then it gets more.
  (test-equal "never"
    '((PASS "t: one") still-running (ERROR "killed by signal 9") ERROR)
    (let again ((seconds 1))
      (define (still-running last)
        (list 'ERROR (format #f "still running after ~a s; last result: ~a"
                             seconds last)))
      (let ((results (verdicts-within seconds '(test-begin "t")
                                      '(test-assert "one" #t) '(pause))))
        (if (member (still-running "none") results)
            (again (* 2 seconds))
            (map (lambda (result)
                   (if (equal? result (still-running "PASS t: one"))
                       'still-running
                       result))
                 results))))))

(test-group "left behind"
  (test-outline "a descriptor" '((PASS "t: one") (ERROR "descriptors left open:") ERROR)
    (test-begin "t") (test-assert "one" (open-fdes "/dev/null" O_RDONLY))
    (test-end "t"))
  (test-verdicts "a port that is unreachable" '((PASS "t: one") PASS)
    (test-begin "t") (test-assert "one" (port? (open-input-file "/dev/null")))
    (test-end "t"))
  ;; They would hold the pipe that the verdicts come through.
  (unless adopts-orphans? (test-skip 2))
  (test-outline "a process" '((PASS "t: one") (ERROR "process left running:") ERROR)
    (test-begin "t")
    (test-assert "one" (or (positive? (primitive-fork))
                           (execlp "tail" "tail" "-f" "/dev/null")))
    (test-end "t"))
  (test-outline "a process whose parent has gone"
    '((PASS "t: one") (ERROR "process left running:") ERROR)
    (test-begin "t")
    (test-assert "one" (zero? (system "tail -f /dev/null < /dev/null & :")))
    (test-end "t"))
  (test-verdicts "a process that was awaited" '((PASS "t: one") PASS)
    (test-begin "t") (test-assert "one" (zero? (system "true")))
    (test-end "t"))
  (unless posix-shm?
    (test-skip 2))
  ;; One that nobody else has, as who tests another tree at the same time.
  (let ((end (format #f "-of-~a" (getpid))))
    (test-equal "an object" '((PASS "t: one") (ERROR "object left behind:") ERROR)
      (outline
       (verdicts '(test-begin "t")
                 `(test-assert "one"
                    (let ((name (format #f "/gshm-test-~a~a" (getpid) ,end)))
                      (close-fdes (shm-open name (list O_RDWR O_CREAT)))
                      #t))
                 '(test-end "t"))))
    (test-equal "which is removed" '()
      (filter (lambda (name) (string-suffix? end name)) (shm-list)))))

(test-end "driver")

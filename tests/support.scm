;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests support) - what the tests of all components share.

(define-module (tests support)
  #:use-module (ice-9 exceptions)
  #:use-module (ice-9 ftw)
  #:use-module (ice-9 match)
  #:use-module (ice-9 popen)
  #:use-module ((ice-9 rdelim) #:select (read-line))
  #:use-module (ice-9 regex)
  #:use-module ((ice-9 textual-ports) #:select (get-string-all))
  #:use-module (ice-9 threads)
  #:use-module (posix-shm)
  #:use-module ((posix-shm channel) #:select (shm-closed?))
  #:use-module ((posix-shm sync) #:select (shm-abandoned? shm-format-error?))
  #:use-module ((srfi srfi-1) #:select (any count every find remove))
  #:use-module (srfi srfi-11)
  #:use-module (srfi srfi-64)
  #:export (;; Objects.
            fresh-name
            call-with-fresh-name
            with-fresh-name
            unusual-size
            count-objects
            call-with-descriptor
            call-with-mapping
            with-mapping

            ;; Exceptions.
            raised
            test-raises
            kind

            ;; Processes.
            guile
            run
            test-verdicts
            find-python
            start-guile
            eval-in-new-guile
            await-finalizers
            set-descriptor-limit
            program
            in-processes
            start-process
            kill-process
            killed?
            call-beside-process
            await-sleepers
            await-sleep

            ;; Threads.
            await
            rounds
            in-thread
            throw-at-any-instant
            milliseconds-since
            interrupts

            ;; The system.
            when-posix-shm
            root?
            descriptor-count
            memory-in-use
            with-umask))


;; Wait until CONDITION holds, of which no thread notifies this one.
(define-syntax-rule (await condition)
  (let again ()
    (unless condition
      (usleep 500)
      (again))))


;;; Objects.

(define names 0)

(define (fresh-name)
  "Return a name that no other process and no other call uses."
  (set! names (+ names 1))
  (format #f "/gshm-test-~a-~a" (getpid) names))

(define (call-with-fresh-name proc)
  "Call PROC with a fresh name, and unlink it when PROC is left."
  (let ((name (fresh-name)))
    (dynamic-wind
      (const #t)
      (lambda () (proc name))
      (lambda () (false-if-exception (shm-unlink name))))))

(define (unusual-size)
  "Return a size that objects of no other test process have, a multiple of 8."
  (* 8 (+ 10000 (getpid))))

(define (count-objects size)
  "Return how many objects have SIZE bytes."
  (count (lambda (name)
           (false-if-exception
            (call-with-descriptor (shm-open name (list O_RDONLY))
              (lambda (fd) (= size (shm-size fd))))))
         (shm-list)))

(define-syntax-rule (with-fresh-name name body ...)
  (call-with-fresh-name (lambda (name) body ...)))

(define (call-with-descriptor fd proc)
  "Call PROC with the descriptor FD, and close it when PROC is left."
  (dynamic-wind
    (const #t)
    (lambda () (proc fd))
    (lambda () (false-if-exception (close-fdes fd)))))


(define (call-with-mapping size proc)
  "Call PROC with a mapping of a fresh object of SIZE bytes, which children of
a fork share, and unmap it when PROC is left in this process."
  (let* ((name (fresh-name))
         (bv (shm-create name size))
         (process (getpid)))
    ;; With a name, for messages.
    (shm-unlink name)
    (dynamic-wind
      (const #t)
      (lambda () (proc bv))
      (lambda ()
        (when (= process (getpid))
          (shm-unmap! bv))))))

(define-syntax-rule (with-mapping (bv size) body ...)
  (call-with-mapping size (lambda (bv) body ...)))


;;; Exceptions.

(define (raised thunk)
  "Call THUNK and return what it raises: a list of the exception's key, the
name of the procedure, the message and, of a system error, the errno.  If it
returns, return a list of the symbol @code{returned} and its value."
  (catch #t
    (lambda () (list 'returned (thunk)))
    (lambda (key . arguments)
      (match arguments
        ((subr (? string? message) message-arguments data)
         `(,key ,subr ,(apply format #f message (or message-arguments '()))
                ,@(if (eq? key 'system-error) data '())))
        (_ (cons key arguments))))))

(define-syntax-rule (test-raises name expected expression)
  (test-equal name expected (raised (lambda () expression))))

(define-syntax-rule (kind body ...)
  ;; What sort of exception BODY raises.
  (guard (c ((shm-format-error? c) 'format)
            ((shm-abandoned? c) 'abandoned)
            ((shm-closed? c) 'closed)
            ((shm-fault? c) 'fault)
            (#t (match (cons (exception-kind c) (exception-args c))
                  (('system-error _ _ _ (errno)) (or (assv-ref errnos errno)
                                                     'system-error))
                  ((kind . _) kind))))
    body ...
    'returned))

(define errnos
  `((,EPERM . EPERM) (,EDEADLK . EDEADLK) (,EOVERFLOW . EOVERFLOW)
    (,EINVAL . EINVAL) (,EEXIST . EEXIST) (,ENOENT . ENOENT)))


;;; Processes.

(define (run program . arguments)
  "Run PROGRAM and return what it prints and its exit status, as two values."
  (let* ((port (apply open-pipe* OPEN_READ program arguments))
         (output (get-string-all port)))
    (values output (status:exit-val (close-pipe port)))))

(define (find-python . modules)
  "Return the path of a Python that gshm.py is for, and that has MODULES, or #f."
  (define imports
    (string-join (cons "import sys" modules) "; import " 'infix))
  (find (lambda (program)
          (and (access? program X_OK)
               (zero? (system* "sh" "-c" "\"$0\" -c \"$1\" 2> /dev/null" program
                               (string-append
                                imports
                                "; sys.exit (sys.version_info < (3, 9))")))))
        (map (lambda (folder) (string-append folder "/python3"))
             (string-split (or (getenv "PATH") "") #\:))))

(define (test-verdicts end program . arguments)
  "Run PROGRAM, which prints \"PASS: \", \"FAIL: \" or \"SKIP: \" and a description
for each of its checks, and take these for those of tests.  END describes the
test that it has ended well."
  (let-values (((output status) (apply run program arguments)))
    (for-each (lambda (line)
                (match (string-split line #\:)
                  ((verdict rest ..1)
                   (when (string=? verdict "SKIP")
                     (test-skip 1))
                   (test-equal (string-trim (string-join rest ":"))
                     "PASS" verdict))))
              (remove string-null? (string-split output #\newline)))
    (test-equal end 0 status)))

(define guile
  (or (getenv "GUILE") "guile"))

(define (program expressions)
  (string-join (map (lambda (expression) (format #f "~s" expression))
                    `((use-modules (posix-shm)) ,@expressions))))

(define (start-guile mode . expressions)
  "Start a new guile that evaluates EXPRESSIONS, and return a pipe to it of
MODE, as open-pipe* has it."
  (open-pipe* mode guile "--no-auto-compile" "-c" (program expressions)))

(define (eval-in-new-guile . expressions)
  "Return the datum that a new guile writes when it evaluates EXPRESSIONS.  If
it does not exit with 0, return a list of the datum, the symbol @code{status}
and the status."
  (let* ((port (apply start-guile OPEN_READ expressions))
         (datum (read port))
         (status (close-pipe port)))
    (if (zero? status)
        datum
        (list datum 'status status))))

;; For a new guile.  Guile's thread for finalizers opens descriptors when it
;; begins to run, and aborts where there are none.  It runs once it has closed
;; one of these.
(define await-finalizers
  '(let ((ports (map (lambda (_) (fileno (open-file "/dev/null" "r")))
                     (iota 20))))
     (let again ()
       (when (and-map (lambda (fd)
                        (false-if-exception (fcntl fd F_GETFD)))
                      ports)
         (gc)
         (usleep 1000)
         (again)))))

;; For a new guile, whose limit of descriptors is low from here on.  Guile aborts
;; if its collector starts the finalizer thread when there is no descriptor left,
;; so that is started before.
(define set-descriptor-limit
  '(begin
     (use-modules (ice-9 ftw) (srfi srfi-1))
     ;; Two ends each of the main thread's, the finalizer thread's, and the one
     ;; that wakes it.
     (define (own-pipes)
       (let ((targets (filter-map
                       (lambda (fd)
                         (false-if-exception
                          (readlink (string-append "/proc/self/fd/" fd))))
                       (scandir "/proc/self/fd"))))
         (count (lambda (target)
                  (and (string-prefix? "pipe:" target)
                       (= 2 (count (lambda (t) (string=? t target))
                                   targets))))
                targets)))
     (let start-thread ()
       (open-input-file "/dev/null")
       (gc)
       (when (< (own-pipes) 6)
         (start-thread)))
     (setrlimit 'nofile 60 60)
     (define (fill)
       (let ((fd (false-if-exception (open-fdes "/dev/null" O_RDONLY))))
         (if fd (cons fd (fill)) '())))))


(define (start-process thunk)
  "Start a child of this process that calls THUNK, and exits with 0 if that
returns and 1 if it raises an exception.  Return its process id."
  (force-output (current-output-port))
  (match (primitive-fork)
    (0
     (catch #t
       (lambda ()
         (thunk)
         (primitive-_exit 0))
       (lambda arguments
         (format (current-error-port) "process: ~s~%" arguments)
         (force-output (current-error-port))
         (primitive-_exit 1))))
    (pid pid)))

(define (in-processes n proc)
  "Call PROC with each number from 0 to N-1 in N processes and return whether
all exit with 0."
  (let ((pids (map (lambda (i) (start-process (lambda () (proc i)))) (iota n))))
    (every (lambda (pid) (zero? (cdr (waitpid pid)))) pids)))

(define (kill-process pid)
  (kill pid SIGKILL)
  (waitpid pid))

(define (killed? pid)
  "Kill the process PID, and return whether it had not ended by itself."
  (match (false-if-exception (kill-process pid))
    ((_ . status) (eqv? (status:term-sig status) SIGKILL))
    (#f #f)))

(define (call-beside-process work proc)
  "Call PROC while a process calls WORK, which goes on for ever, and kill the
process when PROC is left.  Raise an exception if it had ended before."
  (let ((pid (start-process work))
        (status #f))
    (dynamic-wind
      (const #t)
      (lambda ()
        (let ((result (proc)))
          (set! status (cdr (kill-process pid)))
          (unless (eqv? (status:term-sig status) SIGKILL)
            (error "the process beside ended by itself" status))
          result))
      (lambda ()
        (unless status
          (kill-process pid))))))

;; How Linux shows a thread that sleeps until memory which processes share
;; changes: the system call futex, whose number is that of the machine, and its
;; operation, without the flag for a process's own memory.  The C library's
;; semaphores sleep on a word that is 0 or 1; its pthread_join does so in the
;; same way, on one that is a thread's number.  The system call futex_waitv has
;; the same number on all machines.
(define sleeping-call
  (make-regexp "^([0-9]+ 0x[0-9a-f]{5,} 0x(0 |(9|109) 0x[01] )|449 )"))

;; An emulator of another processor has a thread of its own in each process,
;; that sleeps on a word which is -1.
(define emulator-call
  (make-regexp "^[0-9]+ 0x[0-9a-f]{5,} 0x0 0xffffffff "))

(define (sleepers pid)
  "Return how many threads of the process PID sleep so, or #f where that cannot
be told."
  (let* ((folder (format #f "/proc/~a/task" pid))
         (calls (map (lambda (thread)
                       (false-if-exception
                        (call-with-input-file
                            (string-append folder "/" thread "/syscall")
                          get-string-all)))
                     (or (scandir folder string->number) '()))))
    (and (any identity calls)
         (count (lambda (call)
                  (and call (regexp-exec sleeping-call call)
                       (not (regexp-exec emulator-call call))))
                calls))))

(define* (await-sleepers n #:optional (pid (getpid)))
  "Wait until N threads of the process PID wait in shared memory and sleep.
Where that cannot be seen give them a tenth of a second; what is tested then
holds as well if they do not sleep yet."
  (match (and (equal? (getenv "HAVE_FUTEX") "1") (sleepers pid))
    (#f (usleep 100000))
    ((? (lambda (seen) (>= seen n))) #t)
    (_ (usleep 500)
       (await-sleepers n pid))))

(define (await-sleep pid)
  "Wait until the process PID, or its first thread, sleeps, as /proc has it.
Where that cannot be seen do not wait."
  (let ((state (false-if-exception
                (call-with-input-file (format #f "/proc/~a/stat" pid)
                  (lambda (port)
                    (let* ((fields (read-line port))
                           (after (+ 2 (string-rindex fields #\)))))
                      (string-ref fields after)))))))
    (unless (memv state '(#\S #f))
      (await-sleep pid))))


;;; Threads.

;; How often what depends on the instant is done.
(define rounds
  (or (and=> (getenv "GSHM_ROUNDS") string->number) 20))

(define-syntax-rule (in-thread body ...)
  (call-with-new-thread (lambda () body ...)))

(define (throw-at-any-instant times work)
  "Call WORK again and again in a thread, where an async throws TIMES times,
each time at some instant.  Return what becomes of the thread, as @code{raised}
has it: if all is well, @code{(returned stopped)}."
  (let* ((ready? #f)
         (stop? #f)
         (thread (in-thread
                  (raised
                   (lambda ()
                     ;; Code looks names up when it runs for the first time.
                     ;; Guile has a lock for that, which a thread keeps for
                     ;; ever if an async throws just when it has taken it.
                     (work)
                     (let loop ()
                       (catch 'interrupted
                         (lambda ()
                           (set! ready? #t)
                           (let loop ()
                             (unless stop?
                               (work))
                             (loop)))
                         (const #t))
                       (if stop? 'stopped (loop))))))))
    ;; One at a time, so that none comes where it is not caught.
    (let loop ((i 1))
      (await (or ready? (thread-exited? thread)))
      (set! ready? #f)
      (when (= i times)
        (set! stop? #t))
      (system-async-mark (lambda () (throw 'interrupted)) thread)
      (unless (or stop? (thread-exited? thread))
        (loop (+ i 1))))
    (join-thread thread)))

(define (milliseconds-since start)
  (quotient (* 1000 (- (get-internal-real-time) start))
            internal-time-units-per-second))

;; Guile's thread for signals starts with the first handler.  If another thread
;; ends in that moment, each of the two may wait for the other for ever.
(define (start-signal-thread)
  (sigaction SIGALRM identity)
  (sigaction SIGALRM SIG_DFL))

;; A thread that waits, or is about to.
(define (start-waiting wait)
  (start-signal-thread)
  (let* ((begun? #f)
         (thread (in-thread
                  (catch 'interrupted
                    (lambda ()
                      (set! begun? #t)
                      (wait))
                    (const 'interrupted)))))
    (await begun?)
    thread))

;; Microseconds, others for each number.
(define (some-time i)
  (* 200 (modulo (* i 37) 100)))

;; The first time names are looked up, which nothing may interrupt (see
;; throw-at-any-instant): then until the thread sleeps.
(define (let-wait i)
  (if (zero? i)
      (await-sleepers 1)
      (usleep (some-time i))))

;; Ways to interrupt a thunk that waits for ever: each a name and a procedure
;; that gets the thunk and a number, and returns how many milliseconds it took.
;; The last one relies on the others to have looked up the thunk's names.
(define interrupts
  `(("an async that another thread marks"
     . ,(lambda (wait i)
          (let ((thread (start-waiting wait)))
            (let-wait i)
            (let ((start (get-internal-real-time)))
              (system-async-mark (lambda () (throw 'interrupted)) thread)
              (unless (eq? (join-thread thread) 'interrupted)
                (error "not interrupted"))
              (milliseconds-since start)))))
    ("cancel-thread"
     . ,(lambda (wait i)
          (let ((thread (start-waiting wait)))
            (let-wait i)
            (let ((start (get-internal-real-time)))
              (cancel-thread thread)
              (call-with-values (lambda () (join-thread thread)) list)
              (milliseconds-since start)))))
    ("a signal"
     . ,(lambda (wait i)
          (let ((due #f))
            (dynamic-wind
              (lambda ()
                (sigaction SIGALRM (lambda (signal) (throw 'interrupted))))
              (lambda ()
                (catch 'interrupted
                  (lambda ()
                    (let ((after (+ 500 (some-time i))))
                      (set! due (+ (get-internal-real-time)
                                   (* after
                                      (quotient internal-time-units-per-second
                                                1000000))))
                      (setitimer ITIMER_REAL 0 0 0 after)
                      (wait)
                      (error "not interrupted")))
                  (const #t)))
              (lambda ()
                (sigaction SIGALRM SIG_DFL)))
            (milliseconds-since due))))))


;;; The system.

(define-syntax-rule (when-posix-shm body ...)
  ;; Where there is none, skip one test instead.
  (cond (posix-shm?
         body ...)
        (else
         (test-skip 1)
         (test-assert "there is no POSIX shared memory here" #f))))

(define root? (zero? (geteuid)))

(define (descriptor-count)
  "Return the number of open descriptors of this process, or #f where that
cannot be told."
  (and=> (scandir "/proc/self/fd" string->number) length))

(define (memory-in-use)
  "Return the bytes of memory that this process has in use, or 0 where that
cannot be told."
  (gc)
  (match (false-if-exception
          (call-with-input-file "/proc/self/statm"
            (lambda (port)
              (let* ((total (read port)) (resident (read port)))
                resident))))
    (#f 0)
    (pages (* pages 4096))))

(define-syntax-rule (with-umask mask body ...)
  (let ((before #f))
    (dynamic-wind
      (lambda () (set! before (umask mask)))
      (lambda () body ...)
      (lambda () (umask before)))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; guard.scm - the guard of faults beside other code, at limits, and attacked.

(use-modules (ice-9 match)
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             (srfi srfi-64)
             (tests fault-process)
             (tests support))

(define (test-limits)
  ;; Guile aborts if a thread of its own finds no descriptor.
  (with-object (name size)
    (test-equal "with no descriptor left" `((lost ,name 1) (lost ,name 5000) 50)
      (process `(define bv (shm-attach ,name))
               '(define (touch k)
                  (fault (bytevector-u8-ref bv k)))
               `(cut ,name 0)
               '(define first (touch 1))
               set-descriptor-limit
               '(define held (fill))
               '(define second (touch 5000))
               '(define more
                  (count (lambda (i)
                           (equal? (list 'lost (cadr first) i)
                                   (touch i)))
                         (iota 50)))
               '(for-each close-fdes held)
               '(say (list first second more))))))

(define (test-processes)
  (with-object (name size)
    (test-equal "in a child of primitive-fork"
      `((lost ,name 1) (lost ,name 2))
      (process `(define bv (shm-attach ,name))
               `(cut ,name 0)
               '(define result (fault (bytevector-u8-ref bv 1)))
               '(define ends (pipe))
               '(match (primitive-fork)
                  (0 (write (fault (bytevector-u8-ref bv 2)) (cdr ends))
                     (force-output (cdr ends))
                     (primitive-_exit 0))
                  (pid
                   (close-port (cdr ends))
                   (let ((childs (read (car ends))))
                     (waitpid pid)
                     (say (list result childs))))))))

  (with-object (name size)
    (test-equal "no thread is left that a fork would warn of" ""
      (let ((file (port-filename (mkstemp! (string-copy "/tmp/gshm-XXXXXX")))))
        (process `(define bv (shm-attach ,name))
                 '(do ((i 0 (+ i 1)))
                      ((= i 50))
                    (fault (bytevector-u8-set! bv i 1)))
                 `(redirect-port (open-output-file ,file) (current-error-port))
                 '(match (primitive-fork)
                    (0 (primitive-_exit 0))
                    (pid (waitpid pid)))
                 '(force-output (current-error-port)))
        (let ((warnings (call-with-input-file file get-string-all)))
          (delete-file file)
          warnings)))))

(define (test-elsewhere)
  (define bad-access
    '(bytevector-u8-ref
      ((@ (system foreign) pointer->bytevector)
       ((@ (system foreign) make-pointer) 8) 1)
      0))
  ;; A handler in C, since Guile's sigaction does nothing about these signals:
  ;; _exit, which then exits with the number of the signal.
  (define (exit-upon signal)
    `(((@ (system foreign) pointer->procedure)
       '* (dynamic-func "signal" (dynamic-link))
       (list (@ (system foreign) int) '*))
      ,signal (dynamic-func "_exit" (dynamic-link))))
  (test-assert "a fault outside ends the process by SIGSEGV, as ever"
    (ends-by SIGSEGV '(define bv (shm-map (shm-open-anonymous #:size 10)))
             bad-access))
  (test-assert "or goes to the handler that was there before"
    (ends-by (list SIGSEGV)
             (exit-upon 'SIGSEGV)
             '(define bv (shm-map (shm-open-anonymous #:size 10)))
             bad-access))
  (test-assert "a SIGBUS that is sent ends the process"
    (ends-by SIGBUS '(define bv (shm-map (shm-open-anonymous #:size 10)))
             '(kill (getpid) SIGBUS)
             '(pause)))
  (test-assert "or goes to the handler that was there before"
    (ends-by (list SIGBUS)
             (exit-upon 'SIGBUS)
             '(define bv (shm-map (shm-open-anonymous #:size 10)))
             '(kill (getpid) SIGBUS)
             '(pause)))
  (test-assert "as does what a thread of C's touches, which nobody can tell"
    (ends-by (list SIGBUS)
             (exit-upon 'SIGBUS)
             '(use-modules (system foreign))
             '(define fd (shm-open-anonymous #:size 10))
             '(define bv (shm-map fd))
             '(shm-resize! fd 0)
             '((pointer->procedure int
                                   (dynamic-func "pthread_create" (dynamic-link))
                                   '(* * * *))
               (bytevector->pointer (make-bytevector 8)) %null-pointer
               (dynamic-func "strlen" (dynamic-link)) (bytevector->pointer bv))
             '(sleep 60)))
  (test-equal "a handler that replaces the guard, until that is asked for again"
    '(lost #f 0)
    (process '(define fd (shm-open-anonymous #:size 10))
             '(define bv (shm-map fd))
             (exit-upon 'SIGBUS)
             '(shm-fault-guard #t)
             '(shm-resize! fd 0)
             '(say (fault (bytevector-u8-ref bv 0))))))

(define (test-guard)
  (test-equal "on, off, on" '(#t #t #f #f #t)
    (process '(let* ((a (shm-fault-guard)) (b (shm-fault-guard #f))
                     (c (shm-fault-guard)) (d (shm-fault-guard #t))
                     (e (shm-fault-guard)))
                (say (list a b c d e)))))
  (test-assert "off: the process ends by SIGBUS"
    (match (process '(shm-fault-guard #f)
                    '(define fd (shm-open-anonymous #:size 10))
                    '(define bv (shm-map fd))
                    '(shm-resize! fd 0)
                    '(say (fault (bytevector-u8-ref bv 0))))
      ((_ 'status status) (eqv? (status:term-sig status) SIGBUS))
      (_ #f)))
  (test-raises "no boolean"
    '(wrong-type-arg "shm-fault-guard"
      "Wrong type argument (expecting boolean): 1")
    (shm-fault-guard 1))

  (with-object (name size)
    (test-equal "while asyncs are blocked: raised when they no longer are"
      `((read-only ,name 3) went-on 7)
      (process `(define bv (shm-attach ,name))
               '(define state 'began)
               '(define result
                  (fault
                   (begin
                     (call-with-blocked-asyncs
                      (lambda ()
                        (bytevector-u8-set! bv 3 1)
                        (bytevector-u8-set! bv 5000 1)
                        (let loop ((i 0))
                          (when (< i 100000)
                            (loop (+ i 1))))
                        (set! state 'went-on)))
                     (set! state 'went-too-far))))
               '(say (list result state (bytevector-u8-ref bv 3))))))

  ;; SIGALRM ends a process that waits for ever.
  (test-equal "and a wait there does not last until then"
    '((lost #f 5000) (lost #f 4096) (lost #f 0))
    (process '(use-modules (posix-shm atomic) (posix-shm sync))
             '(define-syntax-rule (blocked expression)
                (fault (call-with-blocked-asyncs (lambda () expression))))
             '(define fd (shm-open-anonymous #:size 8192))
             '(define bv (shm-map fd))
             '(setitimer ITIMER_REAL 0 0 60 0)
             '(shm-semaphore-init! bv 4088 0)
             '(shm-resize! fd 4096)
             '(define before (blocked (atomic-u32-wait bv 5000 0)))
             '(define half (blocked (shm-semaphore-wait! bv 4088)))
             ;; If it does not wait by then the result is the same.
             '(call-with-new-thread
               (lambda ()
                 (usleep 200000)
                 (shm-resize! fd 0)))
             '(define meanwhile (blocked (atomic-u32-wait bv 0 0)))
             '(say (list before half meanwhile)))))

;;; What a store costs.

;; How much memory the process has had at most, and the object has, in MiB.
(define memory-procedures
  '(begin
     (define (status-line name)
       (call-with-input-file "/proc/self/status"
         (lambda (port)
           (let loop ()
             (let ((word (read port)))
               (if (eq? word name)
                   (quotient (read port) 1024)
                   (loop)))))))
     (define (peak) (status-line 'VmHWM:))
     (define (object-size fd)
       (quotient (stat:blocks (stat fd)) 2048))))

(define (test-cost)
  (test-equal "1 GiB is refused, and 64 MiB are enough for that"
    '((read-only #f 0) #t #t)
    (process memory-procedures
             '(define fd (shm-open-anonymous #:size (* 1024 1024 1024)))
             '(define bv (shm-map fd #:writable? #f))
             '(define before (peak))
             '(define result (fault (bytevector-fill! bv 1)))
             '(define after (peak))
             '(say (list result
                         (< (+ (object-size fd) (- after before)) 64)
                         (every (lambda (k) (zero? (bytevector-u8-ref bv k)))
                                (iota 100 0 10000019))))))
  (test-equal "as they are backwards" '((read-only #f) #t)
    (process memory-procedures
             '(define fd (shm-open-anonymous #:size (* 512 1024 1024)))
             '(define bv (shm-map fd #:writable? #f))
             '(define before (peak))
             '(define result
                (fault (bytevector-copy! bv 0 bv 64
                                         (- (bytevector-length bv) 64))))
             ;; What is read is the object's own, and is there afterwards.
             '(say (list (list-head result 2)
                         (< (- (peak) before (object-size fd)) 64)))))
  (test-equal "lost memory" '((lost #f 0) #t)
    (process memory-procedures
             '(define fd (shm-open-anonymous #:size (* 1024 1024 1024)))
             '(define bv (shm-map fd))
             '(shm-resize! fd 0)
             '(define before (peak))
             '(define result (fault (bytevector-fill! bv 1)))
             '(say (list result (< (- (peak) before) 64)))))
  (test-equal "what was unmapped" '((returned #t) #t)
    (process memory-procedures
             '(define fd (shm-open-anonymous #:size (* 1024 1024 1024)))
             '(define bv (shm-map fd))
             '(define view (shm-view bv 'u8))
             '(shm-unmap! bv)
             '(define before (peak))
             '(define result (fault (begin (bytevector-fill! view 1) #t)))
             '(say (list result (< (- (peak) before) 64)))))
  (test-equal "one store after another, while asyncs are blocked"
    '((read-only #f 0) #t 0)
    (process memory-procedures
             '(define fd (shm-open-anonymous #:size (* 128 1024 1024)))
             '(define bv (shm-map fd #:writable? #f))
             '(define before (peak))
             '(define result
                (fault (call-with-blocked-asyncs
                        (lambda ()
                          (do ((k 0 (+ k 4096)))
                              ((= k (bytevector-length bv)))
                            (bytevector-u8-set! bv k 1))))))
             '(say (list result
                         (< (+ (object-size fd) (- (peak) before)) 64)
                         (bytevector-u8-ref bv 4096))))))


;;; At the limit of ranges of memory.

;; With as many ranges as there may be but N, for each N: the mapping shows the
;; object again after a store that was refused, or the process ends.
(define (test-ranges)
  (test-equal "what was done can be undone" '()
    (process
     '(use-modules (system foreign))
     '(define (c result name . arguments)
        (pointer->procedure result (dynamic-func name (dynamic-link))
                            arguments))
     '(define mmap (c '* "mmap" '* size_t int int int long))
     '(define mprotect (c int "mprotect" '* size_t int))
     '(define (ranges)
        (call-with-input-file "/proc/self/maps"
          (lambda (port)
            (string-count (get-string-all port) #\newline))))
     '(define limit (call-with-input-file "/proc/sys/vm/max_map_count" read))
     '(define fd (shm-open-anonymous #:size 12288))
     '(define writer (shm-map fd))
     '(define bv (shm-map fd #:writable? #f))
     '(define (shows? value)
        (let ((result (fault (bytevector-u8-set! bv 4096 1))))
          (bytevector-u8-set! writer 4096 value)
          (and (equal? result '(read-only #f 4096))
               (= value (bytevector-u8-ref bv 4096)))))
     '(shows? 5)
     ;; Each second page of another protection is two more ranges.
     '(define (split! base i protection)
        (mprotect (make-pointer (+ base (* 4096 i))) 4096 protection))
     '(define (reserve pages)
        (pointer-address (mmap %null-pointer (* 4096 pages) 0 #x22 -1 0)))
     '(define area (reserve (* 2 limit)))
     '(define left (quotient (- limit 60 (ranges)) 2))
     '(do ((i 0 (+ i 1)))
          ((= i left))
        (split! area (* 2 i) 3))
     '(define edge (reserve 100))
     '(say (filter-map
            (lambda (n)
              (match (primitive-fork)
                (0 (do ((i 0 (+ i 1)))
                       ((= i n))
                     (split! edge i (if (even? i) 1 3)))
                   (primitive-_exit (if (shows? 77) 0 3)))
                (pid
                 (match (status:exit-val (cdr (waitpid pid)))
                   (3 n)
                   (_ #f)))))
            (iota 60))))))


;;; Code that is executed, other handlers, sandboxes.

(define handlers
  '(begin
     (use-modules (system foreign))
     (define library
       (dynamic-link (string-append (getcwd) "/tests/.libs/handlers")))
     (define (c result name . arguments)
       (pointer->procedure result (dynamic-func name library) arguments))
     (define probe (c int "probe" '*))
     (define install-probe (c void "install_probe" int))
     (define blocked? (c int "blocked_in_handler" int))
     (define install-chain (c void "install_chain" int))
     (define chained-calls (c long "chained_calls"))
     (define install-once (c void "install_once" int))
     (define start-touching (c int "start_touching" '* long))
     (define touch-once (c void "touch_once"))
     (define touch-wanted? (c int "touch_is_wanted"))
     (define refuse-reading-memory (c int "refuse_reading_memory"))
     (define (address bv k)
       (make-pointer (+ k (pointer-address (bytevector->pointer bv)))))
     (define nowhere (make-pointer 8))
     (define fd (shm-open-anonymous #:size 8192))
     (define bv (shm-map fd #:writable? #f))
     (define (execute bv)
       ((pointer->procedure void (bytevector->pointer bv) '())))))

(define (ends-by expected . expressions)
  (match (apply process expressions)
    ((_ 'status status)
     (equal? expected (or (status:term-sig status)
                          (list (status:exit-val status)))))
    (result
     (format (current-error-port) "~s~%" result)
     #f)))

(define (test-executing)
  (test-assert "a read-only mapping"
    (ends-by SIGSEGV handlers '(execute bv)))
  (test-assert "a writable mapping"
    (ends-by SIGSEGV handlers '(execute (shm-map fd))))
  (test-assert "what was unmapped"
    (ends-by SIGSEGV handlers
             '(define view (shm-view bv 'u8))
             '(shm-unmap! bv)
             '(execute view)))
  (test-assert "what is lost"
    (ends-by SIGSEGV handlers
             '(shm-resize! fd 0)
             '(execute bv)))
  (test-assert "what another thread has patched"
    (ends-by SIGSEGV handlers
             '(define ready? #f)
             '(call-with-new-thread
               (lambda ()
                 (call-with-blocked-asyncs
                  (lambda ()
                    (bytevector-u8-set! bv 0 1)
                    (set! ready? #t)
                    (sleep 60)))))
             '(let wait () (unless ready? (usleep 100) (wait)))
             '(execute bv))))

(define (test-handlers)
  (define (probes n)
    `(count (lambda (_) (= -1 (probe nowhere))) (iota ,n)))
  (define a-fault '(fault (bytevector-u8-set! bv 9 1)))

  (test-equal "installed before, left by siglongjmp 1,000 times"
    '(1000 (read-only #f 9) 1000)
    (process '(use-modules (system foreign))
             ;; Before the first mapping.
             '((pointer->procedure
                void
                (dynamic-func "install_probe"
                              (dynamic-link
                               (string-append (getcwd) "/tests/.libs/handlers")))
                (list int))
               0)
             handlers
             `(let* ((a ,(probes 1000)) (b ,a-fault) (c ,(probes 1000)))
                (say (list a b c)))))
  (test-equal "installed after, left by siglongjmp 1,000 times, the guard again"
    '(1000 1000 (read-only #f 9) 1000)
    (process handlers
             '(install-probe 0)
             `(let* ((a ,(probes 1000))
                     (other (shm-map fd))
                     (b ,(probes 1000))
                     (c (begin (shm-fault-guard #t) ,a-fault))
                     (d ,(probes 1000)))
                (say (list a b c d)))))
  (test-equal "called with its mask, and the signal blocked" '(1 1 0)
    (process handlers
             '(install-probe 0)
             '(shm-fault-guard #t)
             '(probe nowhere)
             `(say (map blocked? (list SIGUSR1 SIGSEGV SIGUSR2)))))
  (test-equal "or, with SA_NODEFER, not blocked" '(1 0 0)
    (process handlers
             '(install-probe #x40000000)
             '(shm-fault-guard #t)
             '(probe nowhere)
             `(say (map blocked? (list SIGUSR1 SIGSEGV SIGUSR2)))))
  (test-equal "one that calls the guard" '((read-only #f 9) #t)
    (process handlers
             '(install-chain SIGSEGV)
             `(let ((result ,a-fault))
                (say (list result (> (chained-calls) 0))))))
  (test-equal "one that calls the guard, which is before it" '((read-only #f 9) 0)
    (process handlers
             '(install-chain SIGSEGV)
             '(shm-fault-guard #t)
             `(let ((result ,a-fault))
                (say (list result (chained-calls))))))
  ;; If it went round for ever, the stack's end would be another signal.
  (test-assert "one that passes back what is not the guard's"
    (ends-by SIGBUS handlers
             '(install-chain SIGBUS)
             '(shm-fault-guard #t)
             '(kill (getpid) SIGBUS)
             '(pause)))
  (test-assert "one that is called once, and raises the signal again"
    (ends-by SIGSEGV handlers
             '(install-once SIGSEGV)
             '(shm-fault-guard #t)
             '((@ (rnrs bytevectors) bytevector-u8-ref)
               (pointer->bytevector nowhere 1) 0)))
  (test-assert "a page that may not be read any more is not one of zeros"
    (match (process handlers
                    '(define refused (refuse-reading-memory))
                    `(say (if (zero? refused) ,a-fault refused)))
      ((_ 'status status) (eqv? SIGSEGV (status:term-sig status)))
      ;; Where there are no such filters.
      ((? integer?) #t)
      (result (format (current-error-port) "~s~%" result) #f))))


;;; Handlers that touch memory whatever the thread does.

(define (test-nested)
  (define (caught work)
    (process
     handlers
     '(define ordinary (shm-create #f 4096))
     '(shm-unlink (shm-name ordinary))
     '(define named (shm-map fd))
     '(shm-resize! fd 4096)
     '(define refused (start-touching (address named 4096) 200000))
     `(define (work) ,work)
     ;; The next one comes only after this: none where it would not be caught.
     '(define (attempt)
        (fault
         (begin
           (touch-once)
           (let loop ()
             (work)
             (loop)))))
     '(say (or (positive? refused)
               (every (lambda (_)
                        (equal? '(lost #f 4096) (attempt)))
                      (iota 1000))))))
  (for-each
   (match-lambda
     ((what . work)
      (test-equal what #t (caught work))))
   '(("while its thread looks mappings up" . (shm-mapped? ordinary))
     ("while its thread allocates"
      . (begin (make-vector 10) (make-string 50) (cons 1 2)))
     ("while its thread collects" . (gc))
     ("while its thread maps and unmaps" . (shm-unmap! (shm-map fd)))
     ;; One that comes in the middle of the other is raised as the same.  It is
     ;; asked for again only where another one would have been raised.
     ("while its thread's own stores are refused"
      . (match (fault (bytevector-u8-set! bv 0 1))
          (('read-only . _)
           (when (zero? (touch-wanted?))
             (touch-once)))
          (('lost . _) (bytevector-u8-ref named 4096)))))))


;;; Other threads, and forks.

(define (test-threads)
  (test-equal "while others take the last descriptors" '(0 0 0)
    (map
     (lambda (_)
       (match (process
               '(define fd (shm-open-anonymous #:size 4096))
               '(define bv (shm-map fd #:writable? #f))
               '(define go? #f)
               '(gc-disable)
               '(call-with-new-thread
                 (lambda ()
                   (let loop ()
                     (when go?
                       (false-if-exception
                        (let* ((a (dup 0)) (b (dup 0)))
                          (close-fdes b)
                          (close-fdes a))))
                     (loop))))
               '(setrlimit 'nofile 40 40)
               '(define held
                  (let loop ((fds '()))
                    (let ((fd (false-if-exception (dup 0))))
                      (if fd (loop (cons fd fds)) fds))))
               '(close-fdes (car held))
               '(close-fdes (cadr held))
               '(set! go? #t)
               '(define missing
                  (count (lambda (_)
                           (not (equal? '(read-only #f 0)
                                        (fault (bytevector-u8-set! bv 0 1)))))
                         (iota 1000)))
               '(write missing)
               '(force-output)
               '(primitive-_exit 0))
         (0 0)
         (result result)))
     (iota 3)))
  (test-equal "while others unmap the same memory" '(returned done)
    (process '(define fd (shm-open-anonymous #:size 65536))
             '(define (store-in bv)
                (fault
                 (do ((k 0 (+ k 4096)))
                     ((= k 65536))
                   (bytevector-u8-set! bv k 1))))
             '(do ((i 0 (+ i 1)))
                  ((= i 500))
                (let* ((bv (shm-map fd #:writable? #f))
                       (views (list-tabulate 2 (lambda (_) (shm-view bv 'u8))))
                       (threads (map (lambda (view)
                                       (call-with-new-thread
                                        (lambda () (store-in view))))
                                     views)))
                  (shm-unmap! bv)
                  (for-each join-thread threads)))
             '(say '(returned done)))))

(define load-again
  `(begin
     (set! %load-path (cons ,(or (getenv "srcdir") ".") %load-path))
     (reload-module (resolve-module '(posix-shm primitives)))))

(define (test-forks)
  (test-equal "after the extension was loaded again" 0
    (process load-again
             '(match (primitive-fork)
                (0 (primitive-_exit 0))
                (pid (say (cdr (waitpid pid)))))))
  (test-equal "faults are raised after the extension was loaded again"
    '(read-only #f 3)
    (process '(define fd (shm-open-anonymous #:size 10))
             '(define bv (shm-map fd #:writable? #f))
             load-again
             '(say (fault (bytevector-u8-set! bv 3 1)))))
  ;; Guile's own locks are not safe in such a child, so it does little.
  (test-equal "while other threads fault, map and unmap" '()
    (process
     '(define fd (shm-open-anonymous #:size 16384))
     '(define writer (shm-map fd))
     '(define bv (shm-map fd #:writable? #f))
     '(define pinned (shm-map fd #:writable? #f))
     '(define stop? #f)
     '(define (repeat proc)
        (call-with-new-thread
         (lambda ()
           (let loop ()
             (unless stop? (proc) (loop))))))
     '(define threads
        (list (repeat (lambda () (fault (bytevector-u8-set! bv 0 1))))
              (repeat (lambda () (fault (bytevector-fill! bv 1))))
              (repeat (lambda () (shm-unmap! (shm-map fd))))
              (repeat (lambda ()
                        (let ((other (shm-map fd #:writable? #f)))
                          (fault (bytevector-u8-set! other 4096 1)))))))
     ;; With a fault that is not yet raised.
     '(define held
        (call-with-new-thread
         (lambda ()
           (fault
            (call-with-blocked-asyncs
             (lambda ()
               (bytevector-u8-set! pinned 0 1)
               (let loop ()
                 (unless stop? (usleep 100) (loop)))))))))
     '(define (child i)
        (bytevector-u8-set! writer 0 i)
        (primitive-_exit
         (if (and (= i (bytevector-u8-ref bv 0))
                  (= i (bytevector-u8-ref pinned 0))
                  (guard (c (#t #t))
                    (bytevector-u8-set! pinned 4096 1)
                    #f)
                  (= 0 (bytevector-u8-ref pinned 4096)))
             0
             1)))
     ;; Guile warns of forks beside threads.
     '(redirect-port (open-output-file "/dev/null") (current-error-port))
     '(define bad
        (filter-map
         (lambda (i)
           (match (primitive-fork)
             (0 (child (+ 1 (modulo i 200))))
             (pid
              (match (cdr (waitpid pid))
                (0 #f)
                (status (cons i status))))))
         (iota 200)))
     '(set! stop? #t)
     '(for-each join-thread (cons held threads))
     '(say bad))))


(test-begin "guard")

(cond ((not posix-shm?)
       (test-raises "without shared memory: #t"
         `(returned ,(shm-fault-guard))
         (shm-fault-guard)))
      ((not (shm-fault-guard))
       (test-raises "where the system cannot guard"
         `(system-error "shm-fault-guard"
           ,(format #f "~a: #t (this system can't move pages)"
                    (strerror ENOSYS))
           ,ENOSYS)
         (shm-fault-guard #t)))
      (else
       (test-group "limits" (test-limits))
       (test-group "processes" (test-processes))
       (test-group "elsewhere" (test-elsewhere))
       (test-group "guard" (test-guard))
       (test-group "cost" (test-cost))
       (test-group "ranges" (test-ranges))
       (test-group "executing" (test-executing))
       (test-group "handlers" (test-handlers))
       (test-group "nested" (test-nested))
       (test-group "threads" (test-threads))
       (test-group "forks" (test-forks))))

(test-end "guard")

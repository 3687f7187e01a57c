;;; SPDX-License-Identifier: BSD-3-Clause
;;; handlers.scm - the guard of faults beside other code's handlers, tested.

(use-modules (ice-9 match)
             (posix-shm)
             (srfi srfi-64)
             (tests fault-process)
             (tests support))

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
     (define touch-there (c void "touch_there" '*))
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

(define (probes n)
  `(count (lambda (_) (= -1 (probe nowhere))) (iota ,n)))

(define a-fault '(fault (bytevector-u8-set! bv 9 1)))

(define (test-handlers)
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
             `(say (map blocked? (list SIGUSR1 SIGSEGV SIGUSR2))))))

(define (test-chains)
  (test-equal "one that calls the guard" '((read-only #f 9) #t)
    (process handlers
             '(install-chain SIGSEGV)
             `(let ((result ,a-fault))
                (say (list result (> (chained-calls) 0))))))
  (test-equal "one that calls the guard, in threads, beside collections"
    '(300 300 300)
    (process handlers
             '(install-chain SIGSEGV)
             '(define threads
                (list-tabulate 3
                  (lambda (_)
                    (call-with-new-thread
                     (lambda ()
                       (let* ((own (shm-map fd #:writable? #f))
                              (store (lambda (_)
                                       (equal? '(read-only #f 9)
                                               (fault (bytevector-u8-set!
                                                       own 9 1))))))
                         (count store (iota 300))))))))
             '(let loop ()
                (unless (every thread-exited? threads)
                  (gc)
                  ;; libgc's lock is not fair.
                  (usleep 100)
                  (loop)))
             '(say (map join-thread threads))))
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
  (test-equal "one that calls one that leaves by siglongjmp" '(-1 -1 -1 -1)
    (process handlers
             '(install-probe 0)
             '(shm-fault-guard #t)
             '(say (map (lambda (i)
                          (when (= i 2)
                            (install-chain SIGSEGV))
                          (probe nowhere))
                        (iota 4)))))
  (test-equal "the same, and the guard before each" '(-1 -1)
    (process handlers
             '(install-probe 0)
             '(shm-fault-guard #t)
             '(install-chain SIGSEGV)
             '(shm-fault-guard #t)
             '(say (list (probe nowhere) (probe nowhere)))))
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
          (('lost . _) (bytevector-u8-ref named 4096))))))
  (test-equal "while its thread unmaps the very mapping" #t
    (process
     handlers
     '(define refused (start-touching (address bv 0) 100000))
     '(define (unmap-touched)
        (shm-resize! fd 4096)
        (let ((lost (shm-map fd)))
          (shm-resize! fd 0)
          (touch-there (address lost 0))
          (shm-unmap! lost)))
     '(define times 0)
     ;; A fault in a handler may be raised later, with the thread's next one.
     '(define (run)
        (fault
         (let loop ()
           (when (< times 20000)
             (set! times (+ times 1))
             (fault (unmap-touched))
             (loop))))
        (when (< times 20000)
          (run)))
     '(when (zero? refused)
        (run))
     '(fault (gc))
     '(say #t))))


;;; What is not the guard's.

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
  (test-assert "as does what a thread of C's touches, which has no safe point"
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

(test-begin "handlers")

(when-guarded
  (test-group "executing" (test-executing))
  (test-group "handlers"
    (test-handlers)
    (test-chains))
  (test-group "nested" (test-nested))
  (test-group "elsewhere" (test-elsewhere)))

(test-end "handlers")

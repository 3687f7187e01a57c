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
  (define (ends-by expected . expressions)
    (match (apply process expressions)
      ((_ 'status status)
       (equal? expected (or (status:term-sig status)
                            (list (status:exit-val status)))))
      (_ #f)))

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
             '(define before (blocked (atomic-wait bv 5000 0)))
             '(define half (blocked (shm-semaphore-wait! bv 4088)))
             ;; If it does not wait by then the result is the same.
             '(call-with-new-thread
               (lambda ()
                 (usleep 200000)
                 (shm-resize! fd 0)))
             '(define meanwhile (blocked (atomic-wait bv 0 0)))
             '(say (list before half meanwhile)))))

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
       (test-group "guard" (test-guard))))

(test-end "guard")

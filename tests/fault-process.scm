;;; SPDX-License-Identifier: BSD-3-Clause
;;; (tests fault-process) - processes that touch what they cannot access.

;;; Each case is a process of its own, which would die without the guard.

(define-module (tests fault-process)
  #:use-module (ice-9 popen)
  #:use-module (posix-shm)
  #:use-module (rnrs bytevectors)
  #:use-module (srfi srfi-64)
  #:use-module (tests support)
  #:export (prelude
            process
            process-with
            cut
            page
            size
            call-with-object
            with-object
            when-guarded))

;; What each process begins with.  (fault EXPRESSION) is what touching memory
;; comes to.
(define prelude
  '(begin
     (use-modules (rnrs bytevectors)
                  (srfi srfi-1)
                  (srfi srfi-4)
                  (ice-9 exceptions)
                  (ice-9 ftw)
                  (ice-9 match)
                  (ice-9 threads)
                  (ice-9 textual-ports)
                  ((system base compile) #:select (compile)))
     (define sink #f)
     (define-syntax-rule (fault expression)
       (guard (c ((shm-fault? c)
                  (list (shm-fault-kind c)
                        (shm-fault-name c)
                        (shm-fault-offset c))))
         (list 'returned expression)))
     (define-syntax-rule (compiled expression)
       (compile 'expression
                #:env (current-module)
                #:opts '(#:to-file? #f)
                #:optimization-level 2))
     (define (cut name size)
       (let ((fd (shm-open name (list O_RDWR))))
         (shm-resize! fd size)
         (close-fdes fd)))
     (define (say datum)
       (write datum)
       (newline)
       (force-output))
     ;; In another thread, say 'ready when LOOP, a thunk that never returns and
     ;; sets sink, has begun.  Return what it comes to.
     (define (fault-while loop)
       (let* ((thread (call-with-new-thread
                       (lambda ()
                         (let wait ()
                           (unless sink (usleep 100) (wait)))
                         (say 'ready))))
              (result (fault (loop))))
         (join-thread thread)
         result))))

(define (process . expressions)
  (apply eval-in-new-guile prelude expressions))

;; A process that meanwhile says "ready", upon which PROC is called with what
;; it says.
(define (process-with proc . expressions)
  (let* ((port (apply start-guile OPEN_READ prelude expressions))
         (ready (read port)))
    (proc)
    (let* ((result (read port))
           (status (close-pipe port)))
      (if (zero? status) result (list ready result 'status status)))))

(define (cut name size)
  (call-with-descriptor (shm-open name (list O_RDWR))
    (lambda (fd) (shm-resize! fd size))))

(define page 4096)
(define size (* 64 page))

(define (call-with-object bytes proc)
  "Call PROC with the fresh name of an object of BYTES bytes that are 7."
  (with-fresh-name name
    (shm-unmap! (shm-create name bytes
                            #:initialize (lambda (bv)
                                           (bytevector-fill! bv 7))))
    (proc name)))

(define-syntax-rule (with-object (name bytes) body ...)
  (call-with-object bytes (lambda (name) body ...)))

;; What is so without a guard is in fault.scm.
(define-syntax-rule (when-guarded body ...)
  (cond ((and posix-shm? (shm-fault-guard))
         body ...)
        (else
         (test-skip 1)
         (test-assert "there is a guard" #f))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; jobs.scm - a queue of jobs that loses none when workers are killed.
;;;
;;; Four processes do 100 jobs.  Ten times the parent kills one and starts
;;; another.  A worker that takes a job is its owner; if the owner dies before
;;; the job has a result, the parent frees the job.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm sync)
             ((srfi srfi-1) #:select (list-index))
             (srfi srfi-4))

(define-shm-layout queue
  (lock mutex)
  (owners u32 100)                      ; process ids; 0: free
  (results u64 100))                    ; 0: none yet

(define bv (shm-create #f #f #:layout queue)) ; children share it
(define owners (queue-owners bv))
(define results (queue-results bv))
;; With the lock held one number is stored, so there is nothing to recover.
(define-syntax-rule (with-lock body ...)
  (with-shm-mutex bv queue-lock-offset #:on-abandoned (const #t) body ...))

(define (work)
  (let ((job (with-lock
              (let ((job (list-index zero? (u32vector->list owners))))
                (when job (u32vector-set! owners job (getpid)))
                job))))
    (when job
      (usleep 5000)                     ; hard work
      (u64vector-set! results job (expt (+ job 1) 2))
      (work))))

(define (start-worker)
  (match (primitive-fork)
    (0 (dynamic-wind (const #t) work (lambda () (primitive-_exit 0))))
    (pid pid)))

(define (kill-one workers)
  "Kill the first of WORKERS, and return the others and a new one."
  (kill (car workers) SIGKILL)
  (waitpid (car workers))
  (with-lock
   (for-each (lambda (job)
               (when (and (= (u32vector-ref owners job) (car workers))
                          (zero? (u64vector-ref results job)))
                 (u32vector-set! owners job 0)))
             (iota 100)))
  (append (cdr workers) (list (start-worker))))

(let next ((workers (map (lambda (i) (start-worker)) (iota 4))) (kills 10))
  (usleep 9000)
  (if (positive? kills)
      (next (kill-one workers) (- kills 1))
      (for-each waitpid workers)))
(format #t "The results of 1 to 100: ~a~%" (u64vector->list results))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; sync-waiting.scm - how a wait for a lock or its like ends early, tested.

(use-modules (ice-9 match)
             (ice-9 popen)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm semaphore)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))

;; Each way to wait, in a mapping where another process holds everything, and what
;; it comes to when that is given back.
(define waits
  `(("atomic-u32-wait"
     ,(lambda (bv) (atomic-u32-wait bv scratch 0)))
    ("shm-mutex-lock!"
     ,(lambda (bv) (shm-mutex-lock! bv mutex)))
    ("with-shm-mutex"
     ,(lambda (bv) (with-shm-mutex bv mutex #t)))
    ("shm-condition-variable-wait!"
     ,(lambda (bv)
        (let ((mine 192))
          (shm-mutex-init! bv mine)
          (shm-mutex-lock! bv mine)
          (shm-condition-variable-wait! bv condition mine))))
    ("shm-semaphore-wait!"
     ,(lambda (bv) (shm-semaphore-wait! bv semaphore)))
    ("shm-barrier-wait!"
     ,(lambda (bv) (shm-barrier-wait! bv barrier)))
    ("shm-rwlock-read-lock!"
     ,(lambda (bv) (shm-rwlock-read-lock! bv rwlock)))
    ("shm-rwlock-write-lock!"
     ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock)))
    ("semaphore-wait!"
     ,(lambda (bv) (semaphore-wait! named)))))

(define named #f)

(define (make-named!)
  (let ((name (fresh-name)))
    (set! named (semaphore-open name (list O_CREAT O_EXCL)))
    (semaphore-unlink name)))

;; A thread that holds the mutex and the read-write lock until it is told.
(define-syntax-rule (with-holder (bv) body ...)
  (let ((holder (in-thread
                 (shm-mutex-lock! bv mutex)
                 (shm-rwlock-write-lock! bv rwlock)
                 (set-word! bv 7 1)
                 (await (not (= 1 (word bv 7))))
                 (shm-rwlock-unlock! bv rwlock)
                 (shm-mutex-unlock! bv mutex))))
    (await-word bv 7 1)
    (let ((result (begin body ...)))
      (set-word! bv 7 2)
      (join-thread holder)
      result)))

(define (usable? bv)
  ;; All is as if there had been no waiter.
  (and (eq? #t (shm-mutex-lock! bv mutex))
       (begin (shm-mutex-unlock! bv mutex) #t)
       (eq? #t (shm-rwlock-write-lock! bv rwlock))
       (begin (shm-rwlock-unlock! bv rwlock) #t)
       (not (shm-semaphore-wait! bv semaphore 0))
       (begin (shm-semaphore-post! bv semaphore)
              (shm-semaphore-wait! bv semaphore 0))
       (not (shm-barrier-wait! bv barrier 0))
       (zero? (ash (atomic-u64-ref bv (+ condition 8)) -32))))

(define (test-interrupts)
  (for-each
   (match-lambda
     ((name wait)
      (for-each
       (match-lambda
         ((what . interrupt)
          (test-assert (format #f "~a: ~a" name what)
            (with-structures (bv)
              (let ((times (with-holder (bv)
                             (map (lambda (i)
                                    (interrupt (lambda () (wait bv)) i))
                                  (iota rounds)))))
                (format #t "~a: ~a: at most ~a ms~%" name what
                        (apply max times))
                (usable? bv))))))
       interrupts)))
   waits))

(define (test-returning-asyncs)
  (for-each
   (match-lambda
     ((name wait)
      (test-equal (string-append name ": an async that returns changes nothing")
        '(10 #f)
        (with-structures (bv)
          (with-holder (bv)
            (let ((thread (in-thread (wait bv))) (runs 0))
              (for-each (lambda (i)
                          (await-sleepers 1)
                          (system-async-mark (lambda () (set! runs (+ runs 1)))
                                             thread)
                          (await (= runs (+ i 1))))
                        (iota 10))
              (let ((exited? (thread-exited? thread)))
                (cancel-thread thread)
                (call-with-values (lambda () (join-thread thread)) list)
                (list runs exited?))))))))
   waits))

(define (test-unmapped)
  (for-each
   (match-lambda
     ((name wait)
      (unless (string=? name "semaphore-wait!")
        (test-equal (string-append name ": unmapped while it waits")
          '(out-of-range "unmapped")
          (let ((bv (shm-create #f size)))
            (initialize! bv)
            (let ((holder (in-thread
                           (shm-mutex-lock! bv mutex)
                           (shm-rwlock-write-lock! bv rwlock)
                           (set-word! bv 7 1)
                           (sleep 1000))))
              (await-word bv 7 1)
              (let ((thread (in-thread (raised (lambda () (wait bv))))))
                (await-sleepers 1)
                (shm-unmap! bv)
                (cancel-thread holder)
                (call-with-values (lambda () (join-thread holder)) list)
                (match (join-thread thread)
                  ((key _ message . _)
                   (list key (if (string-contains message "was unmapped")
                                 "unmapped"
                                 message)))))))))))
   waits))

(define (test-cut-short)
  (for-each
   (match-lambda
     ((name wait)
      (unless (or (string=? name "semaphore-wait!") (not (shm-fault-guard)))
        (test-equal (string-append name ": cut short while it waits") '(fault #t)
          (with-fresh-name object
            (let ((bv (shm-create object size))
                  (other (make-bytevector size 0)))
              (initialize! bv)
              (let* ((holder (in-thread
                              (shm-mutex-lock! bv mutex)
                              (shm-rwlock-write-lock! bv rwlock)
                              (shm-mutex-init! other mutex)
                              (shm-mutex-lock! other mutex)
                              (sleep 1000)))
                     (thread (begin
                               (await (positive? (atomic-u64-ref other 8)))
                               (in-thread
                                (let ((kind (kind (wait bv))))
                                  ;; Nothing comes after it.
                                  (list kind #t))))))
                (await-sleepers 1)
                (let ((fd (shm-open object (list O_RDWR))))
                  (shm-resize! fd 0)
                  (close-fdes fd))
                (let ((result (join-thread thread)))
                  (cancel-thread holder)
                  (call-with-values (lambda () (join-thread holder)) list)
                  result))))))))
   waits))

(define (test-deadline)
  (test-equal "a deadline does not move" #t
    (with-structures (bv)
      (let* ((start (get-internal-real-time))
             (thread (in-thread (shm-semaphore-wait! bv semaphore 0.3))))
        (let again ()
          (unless (thread-exited? thread)
            (system-async-mark (lambda () #t) thread)
            (usleep 1000)
            (again)))
        (and (not (join-thread thread))
             (>= (milliseconds-since start) 290))))))

(define (test-unmapping)
  (define (until-unmapped fd try)
    (let* ((bv (shm-map fd))
           (begun? #f)
           (thread (in-thread
                    (kind
                     (set! begun? #t)
                     (let again ()
                       (unless (try bv) (again)))))))
      ;; A thread's first attempt takes longest, since it identifies itself.
      (let await ()
        (unless begun? (await)))
      (shm-unmap! bv)
      (join-thread thread)))
  ;; This thread holds it all the time, so that no other one gets it, at
  ;; whatever instant the memory in which that one tries becomes another.
  (for-each
   (match-lambda
     ((name hold try)
      (test-equal (string-append name ": unmapped while it tries")
        '(out-of-range)
        (call-with-descriptor (shm-open-anonymous #:size size)
          (lambda (fd)
            (let ((bv (shm-map fd)))
              (initialize! bv)
              (hold bv)
              (delete-duplicates
               (map (lambda (_) (until-unmapped fd try))
                    (iota (* 20 rounds))))))))))
   `(("shm-mutex-lock!"
      ,(lambda (bv) (shm-mutex-lock! bv mutex))
      ,(lambda (bv) (shm-mutex-lock! bv mutex 0)))
     ("shm-rwlock-read-lock!"
      ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock))
      ,(lambda (bv) (shm-rwlock-read-lock! bv rwlock 0)))
     ("shm-rwlock-write-lock!"
      ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock))
      ,(lambda (bv) (shm-rwlock-write-lock! bv rwlock 0))))))

(define (test-ctrl-c)
  ;; As the first Ctrl-C at a REPL: a process of its own, with Guile's handler.
  (for-each
   (match-lambda
     ((name . expressions)
      (test-equal (string-append name ": Ctrl-C") 'interrupted
        (with-fresh-name object
          (let* ((port (apply start-guile OPEN_READ
                              `((use-modules (posix-shm atomic) (posix-shm sync))
                                (define bv (shm-create ,object 8192))
                                (sigaction SIGINT (lambda (s) (throw 'interrupted)))
                                (catch 'interrupted
                                  (lambda ()
                                    (write (getpid))
                                    (newline)
                                    (force-output)
                                    ,@expressions)
                                  (lambda (key) (write key))))))
                 (pid (read port)))
            (await-sleepers 1 pid)
            (kill pid SIGINT)
            (let ((said (read port)))
              (close-pipe port)
              said))))))
   '(("atomic-u32-wait" (atomic-u32-wait bv 0 0))
     ("shm-semaphore-wait!"
      (shm-semaphore-init! bv 0 0) (shm-semaphore-wait! bv 0))
     ("shm-barrier-wait!"
      (shm-barrier-init! bv 0 2) (shm-barrier-wait! bv 0)))))

(test-begin "sync-waiting")

(when-posix-shm
  ;; Here, where no async makes it half.
  (make-named!)
  (test-group "interrupts"
    (test-interrupts)
    (test-returning-asyncs)
    (test-unmapped)
    (test-cut-short)
    (test-deadline))
  (test-group "unmapping" (test-unmapping))
  (test-group "Ctrl-C" (test-ctrl-c)))

(test-end "sync-waiting")

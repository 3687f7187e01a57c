;;; SPDX-License-Identifier: BSD-3-Clause
;;; sync.scm - what locks and their like have in common, tested.

(use-modules (ice-9 exceptions)
             (ice-9 match)
             (ice-9 popen)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support)
             (tests sync-support))


;;; What there is, and what is none.

(define operations
  `(("shm-mutex-lock!" ,(lambda (bv k) (shm-mutex-lock! bv k 0)))
    ("shm-mutex-unlock!" ,shm-mutex-unlock!)
    ("call-with-shm-mutex" ,(lambda (bv k) (call-with-shm-mutex bv k list)))
    ("shm-condition-variable-signal!" ,shm-condition-variable-signal!)
    ("shm-condition-variable-broadcast!" ,shm-condition-variable-broadcast!)
    ("shm-condition-variable-wait!" ,(lambda (bv k) (shm-condition-variable-wait! bv k mutex 0)))
    ("shm-semaphore-post!" ,shm-semaphore-post!)
    ("shm-semaphore-wait!" ,(lambda (bv k) (shm-semaphore-wait! bv k 0)))
    ("shm-semaphore-value" ,shm-semaphore-value)
    ("shm-barrier-wait!" ,(lambda (bv k) (shm-barrier-wait! bv k 0)))
    ("shm-rwlock-read-lock!" ,(lambda (bv k) (shm-rwlock-read-lock! bv k 0)))
    ("shm-rwlock-write-lock!" ,(lambda (bv k) (shm-rwlock-write-lock! bv k 0)))
    ("shm-rwlock-unlock!" ,shm-rwlock-unlock!)))

(define initializers
  `(("shm-mutex-init!" ,shm-mutex-init! ,shm-mutex-size)
    ("shm-condition-variable-init!" ,shm-condition-variable-init! ,shm-condition-variable-size)
    ("shm-semaphore-init!" ,(lambda (bv k) (shm-semaphore-init! bv k 0))
     ,shm-semaphore-size)
    ("shm-barrier-init!" ,(lambda (bv k) (shm-barrier-init! bv k 1))
     ,shm-barrier-size)
    ("shm-rwlock-init!" ,shm-rwlock-init! ,shm-rwlock-size)))

(define (test-formats)
  (define zeros (make-bytevector size 0))
  (define garbage (make-bytevector size #xa5))
  (for-each
   (match-lambda
     ((name proc)
      (with-structures (bv)
        (let ((spare 12288))
          (define (on-bytes bytes)
            (bytevector-copy! bytes 0 bv spare 2048)
            (let ((kind (kind (proc bv spare))))
              (list kind
                    (every (lambda (i)
                             (= (bytevector-u8-ref bytes i)
                                (bytevector-u8-ref bv (+ spare i))))
                           (iota 2048)))))
          (test-equal (string-append name ": zeros") '(format #t)
            (on-bytes zeros))
          (test-equal (string-append name ": garbage") '(format #t)
            (on-bytes garbage))
          (test-equal (string-append name ": another kind, and its own")
            (if (member name '("call-with-shm-mutex"))
                '(4 1)
                '(4 1))
            (let ((kinds (map (lambda (k) (kind (proc bv k)))
                              (list mutex condition semaphore barrier rwlock))))
              (list (count (lambda (kind) (eq? kind 'format)) kinds)
                    (count (lambda (kind) (not (eq? kind 'format))) kinds))))
          (test-equal (string-append name ": no place")
            '(out-of-range out-of-range out-of-range out-of-range wrong-type-arg
                           wrong-type-arg)
            (list (kind (proc bv 4)) (kind (proc bv -8)) (kind (proc bv size))
                  (kind (proc bv (expt 2 64))) (kind (proc bv 0.0))
                  (kind (proc "string" 0))))))))
   operations))

(define (test-initializers)
  (for-each
   (match-lambda
     ((name init size)
      (test-equal (string-append name ": no place")
        '(out-of-range out-of-range out-of-range wrong-type-arg)
        (let ((bv (make-bytevector (+ size 8) 0)))
          (list (kind (init bv 4)) (kind (init bv 16)) (kind (init bv -8))
                (kind (init 'bv 0)))))
      (test-equal (string-append name ": as many bytes as it says") #t
        (let ((bv (make-bytevector (+ size 16) 7)))
          (init bv 8)
          (and (= 7 (bytevector-u8-ref bv 7))
               (= 7 (bytevector-u8-ref bv (+ size 8))))))))
   initializers)
  (test-equal "numbers that cannot be"
    '(out-of-range out-of-range wrong-type-arg out-of-range out-of-range
                   wrong-type-arg)
    (with-mapping (bv size)
      (list (kind (shm-semaphore-init! bv 0 -1))
            (kind (shm-semaphore-init! bv 0 (expt 2 31)))
            (kind (shm-semaphore-init! bv 0 1.0))
            (kind (shm-barrier-init! bv 0 0))
            (kind (shm-barrier-init! bv 0 257))
            (kind (shm-barrier-init! bv 0 #f))))))

(define (test-refusals)
  (test-equal "timeouts that cannot be"
    '(wrong-type-arg out-of-range wrong-type-arg)
    (with-structures (bv)
      (list (kind (shm-mutex-lock! bv mutex 'soon))
            (kind (shm-semaphore-wait! bv semaphore +nan.0))
            (kind (shm-barrier-wait! bv barrier 1+i)))))
  (test-equal "a message says what is missing where"
    "There is no semaphore at offset 8 of a bytevector: make one with \
shm-semaphore-init!, unless other data was stored there"
    (guard (c (#t (exception-message c)))
      (shm-semaphore-post! (make-bytevector 64 0) 8)))
  (test-equal "a message names the object" #t
    (with-fresh-name name
      (let ((bv (shm-create name 64)))
        (->bool (string-contains
                 (guard (c (#t (exception-message c)))
                   (shm-mutex-lock! bv 0))
                 (format #f "~s" name))))))
  (unless (shm-fault-guard) (test-skip 1))
  (test-equal "in a mapping for reading" '(fault 0 1)
    (with-fresh-name name
      (let ((bv (shm-create name size)))
        (initialize! bv)
        (shm-semaphore-post! bv semaphore)
        (let* ((view (shm-attach name))
               (kind (kind (shm-mutex-lock! view mutex) (gc))))
          (list kind
                (atomic-u64-ref bv 8)
                (shm-semaphore-value view semaphore))))))
  (test-equal "in an unmapped view" 'out-of-range
    (let* ((bv (shm-create #f size))
           (view (shm-view bv 'vu8)))
      (initialize! bv)
      (shm-unmap! bv)
      (kind (shm-mutex-lock! view mutex))))
  (unless (shm-fault-guard) (test-skip 1))
  (test-equal "in memory that is lost" '(fault fault)
    (with-fresh-name name
      (let* ((bv (shm-create name size))
             (fd (shm-open name (list O_RDWR))))
        (initialize! bv)
        (shm-resize! fd 0)
        (close-fdes fd)
        (list (kind (shm-mutex-lock! bv mutex))
              (kind (shm-semaphore-wait! bv semaphore)))))))


;;; Other namespaces.

(define (test-pid-namespaces)
  ;; After shell commands.  With none both are process 1 of their own.
  (define (in-namespace before name . expressions)
    (open-pipe* OPEN_READ "unshare" "--mount" "--fork" "--pid"
                "sh" "-c" (string-append before " exec \"$0\" \"$@\"")
                guile "--no-auto-compile"
                "-c" (program `((use-modules (posix-shm sync))
                                (define bv (shm-attach ,name #:writable? #t))
                                ,@expressions))))
  (define (exclude? before-holder before-other)
    (with-fresh-name name
      (let ((bv (shm-create name size)))
        (initialize! bv)
        (let* ((holder (in-namespace
                        before-holder name
                        `(write (shm-mutex-lock! bv ,mutex))
                        '(newline)
                        '(force-output)
                        `(let again ()
                           (when (zero? ((@ (posix-shm atomic) atomic-u32-ref)
                                         bv ,scratch))
                             (usleep 1000)
                             (again)))
                        `(shm-mutex-unlock! bv ,mutex)))
               (held (read holder))
               (other (in-namespace
                       before-other name
                       `(write (list (shm-mutex-lock! bv ,mutex 0.2)
                                     (catch #t
                                       (lambda () (shm-mutex-unlock! bv ,mutex))
                                       (lambda (key . rest) key))))))
               (refused (read other)))
          (set-word! bv 0 1)
          (close-pipe holder)
          (close-pipe other)
          (list held refused (shm-mutex-lock! bv mutex 1))))))
  (define without-proc "umount -l /proc;")
  (define others "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done;")
  (for-each
   (match-lambda
     ((what before-holder before-other)
      (unless (and root? (search-path (parse-path (getenv "PATH")) "unshare")
                   (zero? (status:exit-val
                           (system* "unshare" "--mount" "--fork" "--pid"
                                    "true"))))
        (test-skip 1))
      (test-equal (string-append "processes of two PID namespaces exclude each \
other: " what)
        '(#t (#f system-error) #t)
        (exclude? before-holder before-other))))
   `(("with the /proc of neither" "" "")
     ("without /proc" ,without-proc ,without-proc)
     ("without /proc, of other ids" ,without-proc
      ,(string-append without-proc others)))))

(define (test-time-namespace)
  (unless (and root? (zero? (status:exit-val
                             (system* "sh" "-c" "unshare --time --boottime 9 \
--fork true 2> /dev/null"))))
    (test-skip 1))
  (test-equal "owners of another time namespace: one that lives, one that died"
    '(#f abandoned)
    (with-fresh-name name
      (let ((bv (shm-create name size)))
        (initialize! bv)
        (shm-mutex-lock! bv mutex)
        (let* ((pipe (open-pipe* OPEN_READ "unshare" "--time" "--boottime"
                                 "1000" "--fork" guile "--no-auto-compile" "-c"
                                 (program
                                  `((use-modules (posix-shm sync))
                                    (define bv
                                      (shm-attach ,name #:writable? #t))
                                    (write (shm-mutex-lock! bv ,mutex 0.3))
                                    (newline)
                                    (force-output)
                                    (shm-mutex-lock! bv ,mutex)
                                    (kill (getpid) SIGKILL)))))
               (stolen (read pipe)))
          (shm-mutex-unlock! bv mutex)
          (close-pipe pipe)
          (list stolen (shm-mutex-lock! bv mutex 60)))))))

;; A descriptor in reserve takes memfd_create.
(define reserve?
  (and (string=? (utsname:sysname (uname)) "Linux")
       (not (equal? (getenv "HAVE_MEMFD_CREATE") "0"))))

(define (test-no-descriptor)
  (unless reserve?
    (test-skip 1))
  (test-equal "a thread learns what it is with no descriptor free" '(#t abandoned)
    (eval-in-new-guile
     '(use-modules (posix-shm sync) (ice-9 match))
     '(define fd (shm-open-anonymous #:size 64))
     '(define bv (shm-map fd))
     set-descriptor-limit
     '(define held (fill))
     '(shm-mutex-init! bv 0)
     '(define locked (shm-mutex-lock! bv 0))
     '(shm-mutex-unlock! bv 0)
     '(define pid
        (match (primitive-fork)
          (0 (shm-mutex-lock! bv 0)
             (kill (getpid) SIGKILL))
          (pid pid)))
     '(waitpid pid)
     '(define then (shm-mutex-lock! bv 0 60))
     '(for-each close-fdes held)
     '(write (list locked then))))
  (unless reserve?
    (test-skip 1))
  (test-equal "an owner that was killed and not waited for, with no descriptor"
    'abandoned
    (eval-in-new-guile
     '(use-modules (posix-shm sync) (ice-9 match))
     '(define fd (shm-open-anonymous #:size 64))
     '(define bv (shm-map fd))
     '(shm-mutex-init! bv 0)
     set-descriptor-limit
     '(define ends (pipe))
     '(define pid
        (match (primitive-fork)
          (0 (shm-mutex-lock! bv 0)
             (display "locked\n" (cdr ends))
             (force-output (cdr ends))
             (kill (getpid) SIGKILL))
          (pid pid)))
     '(read (car ends))
     '(define held (fill))
     '(define locked (shm-mutex-lock! bv 0 60))
     '(for-each close-fdes held)
     '(waitpid pid)
     '(write locked))))


;;; What peers may write.

(define (test-hostile)
  ;; In a process of its own, which must come to its end.
  (define (scribble! bv start count state)
    ;; Random words, often ones that mean something.
    (for-each
     (lambda (i)
       (let ((k (+ start 8 (* 8 i))))
         (atomic-u64-set!
          bv k
          (case (random 8 state)
            ((0) 0)
            ((1) (random (expt 2 64) state))
            ((2) (- (expt 2 64) 1))
            ((3) (ash (getpid) 3))
            ((4) (logior 1 (ash (getppid) 3)))
            ((5) (random 8 state))
            ((6) (ash (random 512 state) 32))
            (else (atomic-u64-ref bv k))))))
     (iota count)))
  (define (use bv)
    (for-each
     (match-lambda
       ((name . proc)
        (let ((result (kind (proc))))
          (unless (memq result '(returned EPERM EDEADLK EOVERFLOW format))
            (error "not documented" name result)))))
     `((lock . ,(lambda () (shm-mutex-lock! bv mutex 1/1000)))
       (unlock . ,(lambda () (shm-mutex-unlock! bv mutex)))
       (wait . ,(lambda () (shm-condition-variable-wait! bv condition mutex 1/1000)))
       (signal . ,(lambda () (shm-condition-variable-signal! bv condition)))
       (broadcast . ,(lambda () (shm-condition-variable-broadcast! bv condition)))
       (post . ,(lambda () (shm-semaphore-post! bv semaphore)))
       (take . ,(lambda () (shm-semaphore-wait! bv semaphore 1/1000)))
       (value . ,(lambda () (shm-semaphore-value bv semaphore)))
       (barrier . ,(lambda () (shm-barrier-wait! bv barrier 1/1000)))
       (read . ,(lambda () (shm-rwlock-read-lock! bv rwlock 1/1000)))
       (read-unlock . ,(lambda () (shm-rwlock-unlock! bv rwlock)))
       (write . ,(lambda () (shm-rwlock-write-lock! bv rwlock 1/1000)))
       (write-unlock . ,(lambda () (shm-rwlock-unlock! bv rwlock))))))
  (define (scribble-all! bv state)
    (scribble! bv mutex 2 state)
    (scribble! bv condition 2 state)
    (scribble! bv semaphore 1 state)
    (scribble! bv barrier 259 state)
    (scribble! bv rwlock 130 state))
  (test-equal "whatever was written there" 0
    (with-structures (bv)
      (cdr (waitpid (start-process
                     (lambda ()
                       (let ((state (seed->random-state (getpid))))
                         (let loop ((n 0))
                           (when (< n (* 5 rounds))
                             (scribble-all! bv state)
                             (use bv)
                             (loop (+ n 1)))))))))))
  (test-equal "and is written meanwhile" 0
    (with-structures (bv)
      (call-beside-process
       (lambda ()
         (let ((state (seed->random-state (getpid))))
           (let loop ()
             (scribble-all! bv state)
             (loop))))
       (lambda ()
         (cdr (waitpid (start-process
                        (lambda ()
                          (let loop ((n 0))
                            (when (< n (* 5 rounds))
                              (use bv)
                              (loop (+ n 1)))))))))))))

(test-begin "sync")

(when-posix-shm
  ;; First, while this process has one thread, what forks most.
  (test-group "namespaces"
    (test-pid-namespaces)
    (test-time-namespace)
    (test-no-descriptor))
  (test-group "what peers write" (test-hostile))
  (test-group "formats"
    (test-formats)
    (test-initializers)
    (test-refusals)))

(test-end "sync")

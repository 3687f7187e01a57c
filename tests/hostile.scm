;;; SPDX-License-Identifier: BSD-3-Clause
;;; hostile.scm - what others put under names, and what systems refuse, tested.

(use-modules (ice-9 match)
             (ice-9 popen)
             (ice-9 threads)
             (posix-shm)
             (posix-shm channel)
             (posix-shm semaphore)
             (rnrs bytevectors)
             (srfi srfi-11)
             (srfi srfi-64)
             (tests support))

(define linux? (string=? (utsname:sysname (uname)) "Linux"))

(define-syntax-rule (test-on-linux name expected expression)
  (begin
    (unless linux? (test-skip 1))
    (test-equal name expected expression)))

(define (file name)
  (string-append "/dev/shm" name))

(define (semaphore-file name)
  (file (string-append "/sem." (substring name 1))))

;; The errno of what BODY raises, or what it returns.
(define-syntax-rule (errno-of body ...)
  (match (raised (lambda () body ...))
    (('system-error _ _ errno) errno)
    (('returned value) value)
    ((key . _) key)))


;;; What is under a name.

(define (make-socket! file)
  (let ((socket (socket PF_UNIX SOCK_STREAM 0)))
    (bind socket AF_UNIX file)
    (close-port socket)))

(define others
  `(("a FIFO" . ,(lambda (file) (mknod file 'fifo #o600 0)))
    ("a directory" . ,mkdir)
    ("a socket" . ,make-socket!)
    ("a symbolic link" . ,(lambda (file) (symlink "/dev/zero" file)))
    ("a symbolic link to nothing" . ,(lambda (file) (symlink "/nowhere" file)))))

(define (call-with-other make proc)
  (let ((name (fresh-name)))
    (dynamic-wind
      (lambda () (make (file name)))
      (lambda () (proc name))
      (lambda ()
        (false-if-exception (delete-file (file name)))
        (false-if-exception (rmdir (file name)))))))

(define (test-others)
  (for-each
   (match-lambda
     ((what . make)
      (test-on-linux (string-append what ": to open it") (make-list 6 EINVAL)
        (call-with-other make
          (lambda (name)
            (list (errno-of (shm-open name (list O_RDONLY)))
                  (errno-of (shm-open name (list O_RDWR)))
                  (errno-of (shm-open name (list O_RDWR O_CREAT)))
                  (errno-of (shm-attach name))
                  (errno-of (shm-attach name #:writable? #t #:wait 5))
                  (errno-of (shm-channel-attach name))))))
      (test-on-linux (string-append what ": to make one there")
        (list EEXIST EEXIST EEXIST)
        (call-with-other make
          (lambda (name)
            (list (errno-of (shm-open name (list O_RDWR O_CREAT O_EXCL)))
                  (errno-of (shm-create name 10))
                  (errno-of (shm-channel-create name 1000))))))))
   others)
  (test-on-linux "the message" #t
    (call-with-other (cdar others)
      (lambda (name)
        (equal? (raised (lambda () (shm-attach name)))
                `(system-error "shm-attach"
                  ,(format #f "~a: ~s (what has this name is not a shared \
memory object)" (strerror EINVAL) name)
                  ,EINVAL)))))
  (test-on-linux "a FIFO where a semaphore should be" EINVAL
    (let ((name (fresh-name)))
      (dynamic-wind
        (lambda ()
          (mknod (string-append "/dev/shm/sem." (substring name 1)) 'fifo
                 #o600 0))
        (lambda () (errno-of (semaphore-open name (list))))
        (lambda ()
          (delete-file (string-append "/dev/shm/sem." (substring name 1)))))))
  (test-on-linux "a descriptor does not stay non-blocking" 0
    (with-fresh-name name
      (call-with-descriptor (shm-open name (list O_RDWR O_CREAT O_EXCL))
        (lambda (fd)
          (logand O_NONBLOCK (fcntl fd F_GETFL)))))))


;;; A file under a lease.

(define f-setlease 1024)

(define (test-leases)
  ;; Call PROC with the name of an object on which another process has a lease,
  ;; for so many SECONDS or, if that is #f, until PROC is left.
  (define (call-with-lease seconds proc)
    (with-fresh-name name
      (shm-unmap! (shm-create name 100))
      (let ((port (start-guile
                   OPEN_BOTH
                   `(define fd (shm-open ,name (list O_RDONLY)))
                   ;; The signal that says that others want it.
                   '(sigaction SIGIO SIG_IGN)
                   `(fcntl fd ,f-setlease 1)
                   '(write 'leased)
                   '(newline)
                   '(force-output)
                   (if seconds
                       `(usleep ,(inexact->exact (* seconds 1000000)))
                       '(read))
                   `(fcntl fd ,f-setlease 2)
                   '(read))))
        (read port)
        (dynamic-wind
          (const #t)
          (lambda () (proc name))
          (lambda ()
            (display "0 0 " port)
            (close-pipe port))))))

  ;; On a busy machine a moment can last longer than the library retries.
  (define (try proc)
    (let again ((left 50))
      (let ((result (call-with-lease 0.03 proc)))
        (if (and (eqv? result EWOULDBLOCK) (positive? left))
            (again (- left 1))
            result))))

  (test-on-linux "for a moment: it is tried again" (list 100 'opened)
    (list
     (try (lambda (name)
            (errno-of (bytevector-length (shm-attach name #:writable? #t)))))
     (try (lambda (name)
            (errno-of (close-fdes (shm-open name (list O_RDWR)))
                      'opened)))))
  (test-on-linux "for long: an error that names it"
    (list EWOULDBLOCK EWOULDBLOCK)
    (call-with-lease #f
      (lambda (name)
        (list (errno-of (shm-attach name #:writable? #t))
              (errno-of (shm-open name (list O_RDWR)))))))
  (test-on-linux "a semaphore: an error, and it stays" (list EWOULDBLOCK #t)
    (call-with-lease #f
      (lambda (name)
        (dynamic-wind
          (lambda () (rename-file (file name) (semaphore-file name)))
          (lambda ()
            (list (errno-of (semaphore-open name '()))
                  (file-exists? (semaphore-file name))))
          (lambda () (rename-file (semaphore-file name) (file name)))))))
  (test-on-linux "for long, with #:wait: not yet" '(#f #f)
    (call-with-lease #f
      (lambda (name)
        (list (errno-of (shm-attach name #:writable? #t #:wait 0.01))
              (errno-of (shm-attach name #:writable? #t #:wait 0.2))))))
  (test-on-linux "an async comes through" 'interrupted
    (call-with-lease #f
      (lambda (name)
        (let* ((begun? #f)
               (thread (in-thread
                        (catch 'interrupted
                          (lambda ()
                            (set! begun? #t)
                            (shm-attach name #:writable? #t #:wait 60))
                          (const 'interrupted)))))
          (await begun?)
          (system-async-mark (lambda () (throw 'interrupted)) thread)
          (join-thread thread))))))


;;; Limits.

;; In a mount namespace of its own, which takes root.
(define (test-in-memory-of size name expressions)
  "Test that EXPRESSIONS print done where all shared memory has SIZE."
  (unless (and linux? root?
               (zero? (status:exit-val
                       (system* "sh" "-c" "unshare --mount true 2> /dev/null"))))
    (test-skip 1))
  (test-equal name "done"
    (let*-values
        (((output status)
          (run "unshare" "--mount" "sh" "-c"
               "mount -t tmpfs -o size=$2 tmpfs /dev/shm && \
exec \"$0\" --no-auto-compile -c \"$1\""
               guile (program expressions) size)))
      output)))

(define (visible-early? name)
  "Return whether the object NAME can be seen before it is initialized."
  (let ((visible? #f))
    (shm-create name 10
                #:initialize (lambda (bv)
                               (set! visible? (->bool (member name
                                                              (shm-list))))))
    (shm-unlink name)
    visible?))

(define (test-limits)
  (test-equal "the limit of file sizes"
    `(#t ,EFBIG ,EFBIG ,EFBIG ,EFBIG 100 #f ,EFBIG #f)
    (with-fresh-name name
      (eval-in-new-guile
       '(use-modules (posix-shm chicken) (posix-shm semaphore))
       `(define name ,name)
       '(define-syntax-rule (errno-of body)
          (catch 'system-error
            (lambda () body 'done)
            (lambda arguments (system-error-errno arguments))))
       '(define fd (shm-open name (list O_RDWR O_CREAT O_EXCL) #o600))
       '(shm-resize! fd 100)
       '(setrlimit 'fsize 100 #f)
       '(define results
          (list (errno-of (shm-resize! fd 5000))
                (errno-of (shm-resize! fd 5000 #:reserve? #t))
                (errno-of (file-truncate fd 5000))
                (errno-of (begin
                            (set-file-position! fd 100 seek/set)
                            (file-write fd "more")))))
       ;; None is pending: it would end the process here.
       '(define failed
          (errno-of (shm-create (string-append name "b") 5000)))
       `(write (append (list (= failed ,EFBIG))
                       results
                       (list (shm-size fd)
                             (and (member (string-append name "b") (shm-list))
                                  #t))
                       (begin
                         (setrlimit 'fsize 0 #f)
                         (list (errno-of (semaphore-open name (list O_CREAT)))
                               (file-exists?
                                (string-append "/dev/shm/sem."
                                               (substring name 1))))))))))
  (test-on-linux "a shortage does not make later objects visible early"
    `(,EMFILE #t 10)
    (with-fresh-name name
      ;; Where a system cannot publish objects, they are visible anyway.
      (eval-in-new-guile
       `(define name ,name)
       `(define visible-at-once? ,(visible-early? (string-append name "b")))
       set-descriptor-limit
       '(define held (fill))
       '(define refused
          (catch 'system-error
            (lambda () (shm-create name 10) 'made)
            (lambda arguments (system-error-errno arguments))))
       '(for-each close-fdes held)
       '(define visible? #t)
       '(define bv
          (shm-create name 10
                      #:initialize
                      (lambda (bv)
                        (set! visible? (->bool (member name (shm-list)))))))
       '(write (list refused (eq? visible? visible-at-once?)
                     (shm-size (shm-open name (list O_RDWR))))))))
  (test-on-linux "a socket that cannot be polled" EINVAL
    (eval-in-new-guile
     '(define ends (socketpair AF_UNIX SOCK_STREAM 0))
     '(define fd (shm-open-anonymous))
     await-finalizers
     '(setrlimit 'nofile 0 0)
     '(write (catch 'system-error
               (lambda () (shm-send-fd (car ends) fd))
               (lambda arguments (system-error-errno arguments))))
     ;; What runs at the end of a process may need descriptors.
     '(force-output)
     '(primitive-_exit 0))))

(define (test-garbage)
  (test-equal "descriptors that garbage holds" 200
    (eval-in-new-guile
     await-finalizers
     '(setrlimit 'nofile 60 60)
     '(gc)
     '(define made
        (let loop ((i 0))
          (if (= i 200)
              i
              (begin
                (fdopen (shm-open-anonymous #:size 10) "r")
                (loop (+ i 1))))))
     '(write made)))
  (test-in-memory-of "16m" "memory that garbage holds"
    '((do ((i 0 (+ i 1)))
          ((= i 20))
        (shm-create "/garbage" (* 4 1024 1024) #:reserve? #t)
        (shm-unlink "/garbage"))
      (display "done")))
  (test-in-memory-of "48m" "memory that garbage holds, without a reservation"
    '((use-modules (rnrs bytevectors))
      ;; Nor does an object that is too large to be mapped change that.
      (define fd (shm-open "/large" (list O_RDWR O_CREAT) #o600))
      (shm-resize! fd (expt 2 62))
      ;; ENOMEM, or out-of-range where a size has 32 bits.
      (catch #t (lambda () (shm-attach "/large")) list)
      (do ((i 0 (+ i 1)))
          ((= i 20))
        (bytevector-fill! (shm-create "/garbage" (* 8 1024 1024)) 1)
        (shm-unlink "/garbage"))
      (display "done"))))


;;; What the system refuses.

(define (test-refusals)
  (define (with-refusal call errno . expressions)
    (let-values
        (((output status)
          (apply run "strace" "-f" "-o" "/dev/null"
                 "-e" (string-append "trace=" call)
                 "-e" (format #f "inject=~a:error=~a" call errno)
                 guile "--no-auto-compile" "-c"
                 (list (program expressions)))))
      output))
  (define strace?
    (zero? (status:exit-val
            (system* "sh" "-c" "strace -o /dev/null true > /dev/null 2>&1"))))
  (for-each
   (match-lambda
     ((call . errnos)
      (for-each
       (lambda (errno)
         (unless (and linux? strace?) (test-skip 1))
         (test-equal (format #f "~a: ~a" call errno) "(7 10 #t)"
           (with-fresh-name name
             (with-refusal call errno
               '(use-modules (posix-shm channel) (rnrs bytevectors))
               `(define name ,name)
               '(define bv
                  (shm-create name 10 #:reserve? #t
                              #:initialize (lambda (bv)
                                             (bytevector-u8-set! bv 0 7))))
               '(write (list (bytevector-u8-ref (shm-attach name) 0)
                             (shm-size (shm-open-anonymous #:size 10))
                             (begin
                               (shm-unlink name)
                               (let ((ch (shm-channel-create name 1000)))
                                 (shm-unlink name)
                                 (shm-channel-send! ch
                                                    (make-bytevector 3))))))))))
       errnos)))
   '(("linkat" EPERM ENOENT EXDEV)
     ("memfd_create" ENOSYS EPERM EINVAL)
     ("fallocate" EOPNOTSUPP ENOSYS EPERM))))


;;; What the kernel adds to a descriptor.

(define (test-credentials)
  (define so-passcred 16)
  (define so-passsec 34)
  (define so-passpidfd 76)
  (for-each
   (match-lambda
     ((what . options)
      (test-on-linux (string-append "received with " what) '(4096 0)
        (let ((ends (socketpair AF_UNIX SOCK_STREAM 0))
              (before (descriptor-count)))
          (for-each (lambda (option)
                      ;; A system may not have it.
                      (false-if-exception
                       (setsockopt (cdr ends) SOL_SOCKET option 1)))
                    options)
          (let ((fd (shm-open-anonymous #:size 4096)))
            (shm-send-fd (car ends) fd)
            (close-fdes fd))
          (let* ((fd (shm-receive-fd (cdr ends)))
                 (size (shm-size fd)))
            (close-fdes fd)
            (let ((more (- (descriptor-count) before)))
              (close-port (car ends))
              (close-port (cdr ends))
              (list size more)))))))
   `(("credentials" ,so-passcred)
     ("a security label" ,so-passsec)
     ("a descriptor of the sender" ,so-passpidfd)
     ("all of them" ,so-passcred ,so-passsec ,so-passpidfd)))
  (test-equal "with no descriptor free, the message stays" `(,EMFILE 10)
    (eval-in-new-guile
     set-descriptor-limit
     '(define ends (socketpair AF_UNIX SOCK_STREAM 0))
     '(shm-send-fd (car ends) (shm-open-anonymous #:size 10))
     '(define held (fill))
     '(define refused
        (catch 'system-error
          (lambda () (shm-receive-fd (cdr ends)))
          (lambda arguments (system-error-errno arguments))))
     '(for-each close-fdes held)
     '(write (list refused (shm-size (shm-receive-fd (cdr ends))))))))

(test-begin "hostile")

(unless posix-shm?
  (test-skip 1))
(test-assert "there is shared memory" posix-shm?)
(when posix-shm?
  (test-group "others" (test-others))
  (test-group "leases" (test-leases))
  (test-group "limits" (test-limits))
  (test-group "garbage" (test-garbage))
  (test-group "refusals" (test-refusals))
  (test-group "credentials" (test-credentials)))

(test-end "hostile")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; mapping-descriptor.scm - sizes, seals and passing of descriptors, tested.

(use-modules (ice-9 match)
             (posix-shm)
             (rnrs bytevectors)
             (srfi srfi-64)
             (tests mapping-support)
             (tests support))

(define (test-objects)
  (with-descriptor (fd 0)
    (test-equal "a new object" 0 (shm-size fd))
    (shm-resize! fd 100)
    (test-equal "resized" 100 (shm-size fd))
    (shm-resize! fd 5000 #:reserve? #t)
    (test-equal "with the memory set aside" 5000 (shm-size fd))
    (shm-resize! fd 0 #:reserve? #t)
    (test-equal "to nothing" 0 (shm-size fd))
    (test-out-of-range "to less than nothing" (shm-resize! fd -1))
    (test-out-of-range "to 2^63" (shm-resize! fd (ash 1 63)))
    (test-equal "to what is no integer" 'wrong-type-arg
      (car (raised (lambda () (shm-resize! fd 1.5)))))
    (test-equal "closed on exec" FD_CLOEXEC
      (logand FD_CLOEXEC (fcntl fd F_GETFD))))
  (test-errno "the size of what is not open" EBADF (shm-size 9999))
  (test-raises "the size of a bytevector, which is not shown"
    '(wrong-type-arg "shm-size" "Wrong type argument in position 1 (expecting file \
descriptor or open file port): a bytevector of 8 bytes")
    (shm-size (make-bytevector 8)))
  (with-fresh-name name
    (close-fdes (shm-open name (list O_RDWR O_CREAT O_EXCL)))
    (call-with-descriptor (shm-open name (list O_RDONLY))
      (lambda (fd)
        (test-equal "resizing what is open for reading names it"
          (format #f "~a: ~s (the descriptor is not open for writing, or is \
not one of a shared memory object)" (strerror EINVAL) name)
          (caddr (raised (lambda () (shm-resize! fd 10)))))))
    (test-assert "shm-list knows it" (exists? name))
    (let ((names (shm-list)))
      (test-equal "shm-list is sorted" (sort names string<?) names)))
  (test-assert "shm-list leaves out semaphores"
    (let* ((name (string-append "/sem." (string-drop (fresh-name) 1)))
           (file (string-append "/dev/shm" name)))
      (dynamic-wind
        (lambda () (close-port (open-output-file file)))
        (lambda () (not (exists? name)))
        (lambda () (delete-file file)))))
  (test-equal "a label that is no string" 'wrong-type-arg
    (car (raised (lambda () (shm-open-anonymous #:label 'x)))))
  (let ((before (descriptor-count)))
    (test-raises "a size that cannot be"
      '(out-of-range "shm-open-anonymous" "Size is negative or too large: -1")
      (shm-open-anonymous #:size -1))
    (test-equal "a size that cannot be leaves no descriptor"
      before (descriptor-count)))

  ;; The system would end the process.
  (test-equal "more than the process may write to a file"
    `((system-error "shm-resize!" ,(strerror EFBIG))
      (system-error "shm-open-anonymous" ,(strerror EFBIG))
      (system-error "shm-create" ,(strerror EFBIG)) 500 1000 500)
    (eval-in-new-guile
     '(setrlimit 'fsize 1000 1000)
     '(define (refused thunk)
        (catch #t thunk
          (lambda (key subr message arguments data)
            (list key subr (car arguments)))))
     '(define fd (shm-open-anonymous #:size 500))
     '(write (let* ((a (refused (lambda () (shm-resize! fd 1001 #:reserve? #t))))
                    (b (refused (lambda () (shm-open-anonymous #:size 1001))))
                    (c (refused (lambda () (shm-create #f 1001))))
                    (d (shm-size fd))
                    (e (begin (shm-resize! fd 1000) (shm-size fd)))
                    (f (begin (shm-resize! fd 500) (shm-size fd))))
               (list a b c d e f))))))

(define (test-seals)
  (define (seals . them)
    (with-descriptor (fd 100)
      (for-each (lambda (seals) (shm-seal! fd seals)) them)
      (shm-seals fd)))
  (cond ((equal? 'returned (car (raised (lambda () (seals '(shrink))))))
         (test-equal "none" '() (seals))
         (test-equal "two" '(shrink grow) (seals '(grow shrink)))
         (test-equal "all" '(shrink grow write seal)
           (seals '(write) '(shrink grow seal)))
         (test-errno "sealed against seals" EPERM (seals '(seal) '(grow)))
         (with-descriptor (fd 100)
           (shm-seal! fd '(shrink grow))
           (test-errno "shrink" EPERM (shm-resize! fd 10))
           (test-errno "grow" EPERM (shm-resize! fd 1000)))
         (with-descriptor (fd 100)
           (let ((bv (shm-map fd)))
             (test-errno "write, with a mapping that can be written to" EBUSY
               (shm-seal! fd '(write)))
             (shm-unmap! bv)
             (shm-seal! fd '(write))
             (test-equal "then none can be" `(,EPERM #t)
               (match (raised (lambda () (shm-map fd #:writable? #t)))
                 (('system-error "shm-map" message errno)
                  (list errno (string-suffix? "(a seal forbids writing to it)"
                                              message)))))
             (test-equal "but one for reading" 100
               (bytevector-length (shm-map fd))))))
        (else (test-skip 1) (test-assert "there are no seals here" #f)))
  (with-descriptor (fd 1)
    (test-out-of-range "an unknown seal" (shm-seal! fd '(shrunk)))
    (test-equal "no list" 'wrong-type-arg
      (car (raised (lambda () (shm-seal! fd 'shrink)))))))

(define (test-passing)
  (define-syntax-rule (with-sockets (one other) body ...)
    (let* ((ends (socketpair PF_UNIX SOCK_STREAM 0))
           (one (car ends)) (other (cdr ends)))
      (dynamic-wind
        (const #t)
        (lambda () body ...)
        (lambda ()
          (close-port one)
          (close-port other)))))
  (with-descriptor (fd 123)
    (with-sockets (one other)
      (shm-send-fd one fd)
      (call-with-descriptor (shm-receive-fd other)
        (lambda (received)
          (test-assert "another descriptor" (not (= fd received)))
          (test-equal "of the same object" (stat:ino (stat fd))
            (stat:ino (stat received)))
          (test-equal "closed on exec" FD_CLOEXEC
            (logand FD_CLOEXEC (fcntl received F_GETFD))))))
    (with-sockets (one other)
      (display "x" one)
      (force-output one)
      (test-errno "a peer that sends none" ENOMSG (shm-receive-fd other)))
    (with-sockets (one other)
      (close-port one)
      (test-errno "a peer that has closed" ECONNRESET (shm-receive-fd other))
      (test-errno "to a peer that has closed" EPIPE (shm-send-fd other fd)))
    (with-sockets (one other)
      (test-errno "no descriptor" EBADF (shm-send-fd one 9999)))
    ;; A signal's handler gets through though the system never waits.
    (with-sockets (one other)
      (fcntl other F_SETFL O_NONBLOCK)
      (test-equal "waiting on a socket that is not to wait" 'alarm
        (catch 'alarm
          (lambda ()
            (dynamic-wind
              (lambda ()
                (sigaction SIGALRM (lambda _ (throw 'alarm)))
                (setitimer ITIMER_REAL 0 0 0 10000))
              (lambda () (shm-receive-fd other))
              (lambda () (sigaction SIGALRM SIG_DFL))))
          (lambda (key) key))))
    (test-equal "a socket that is not of the Unix domain" 'wrong-type-arg
      (let* ((socket (socket PF_INET SOCK_STREAM 0))
             (result (raised (lambda () (shm-send-fd socket fd)))))
        (close-port socket)
        (car result)))
    (test-equal "no socket" 'wrong-type-arg
      (car (raised (lambda () (shm-send-fd (current-input-port) fd)))))))

(test-begin "mapping-descriptor")

(when-posix-shm
  (test-group "objects" (test-objects))
  (test-group "seals" (test-seals))
  (test-group "passing" (test-passing)))

(test-end "mapping-descriptor")

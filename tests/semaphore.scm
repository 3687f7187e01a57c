;;; SPDX-License-Identifier: BSD-3-Clause
;;; semaphore.scm - the system's named semaphores, tested.

(use-modules ((ice-9 exceptions) #:select (guard))
             (ice-9 match)
             (ice-9 popen)
             (ice-9 threads)
             (posix-shm)
             (posix-shm semaphore)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define builddir (or (getenv "abs_top_builddir") "."))

(define (call-with-semaphore-name proc)
  (let ((name (fresh-name)))
    (dynamic-wind
      (const #t)
      (lambda () (proc name))
      (lambda () (false-if-exception (semaphore-unlink name))))))

(define-syntax-rule (with-name name body ...)
  (call-with-semaphore-name (lambda (name) body ...)))

(define-syntax-rule (with-semaphore (s value) body ...)
  (with-name name
    (let ((s (semaphore-open name (list O_CREAT O_EXCL) #:value value)))
      body ...)))

;; As it prints.
(define (semaphore-name s)
  (cadr (string-split (object->string s) #\")))

(define (kind thunk)
  (match (raised thunk)
    (('system-error subr message errno) errno)
    ((key . _) key)))

(define (poster . arguments)
  (call-with-values
      (lambda ()
        (apply run (string-append builddir "/tests/poster") arguments))
    (lambda (output status)
      (list (string-trim-right output) status))))

(define (test-opening)
  (test-equal "made, opened, used, closed, unlinked" '(2 #t #t #f 0 1 #t #f)
    (with-name name
      (let* ((s (semaphore-open name (list O_CREAT O_EXCL) #:value 2))
             (a (semaphore-value s))
             (b (semaphore-wait! s))
             (c (semaphore-wait! s 1))
             (d (semaphore-wait! s 0))
             (e (semaphore-value s))
             (other (semaphore-open name 0))
             (f (begin (semaphore-post! other) (semaphore-value s)))
             (g (semaphore-close! s))
             (h (semaphore-close! s)))
        (semaphore-close! other)
        (list a b c d e f g h))))
  (test-equal "an existing one keeps its value" '(3 3)
    (with-name name
      (let* ((a (semaphore-open name (list O_CREAT) #:value 3))
             (b (semaphore-open name O_CREAT #:value 7)))
        (list (semaphore-value a) (semaphore-value b)))))
  (test-equal "flags as a list and combined" '(0 0 0 17 17)
    (with-name name
      (list (semaphore-value (semaphore-open name (logior O_CREAT O_EXCL)))
            (semaphore-value (semaphore-open name '()))
            (semaphore-value (semaphore-open name (list O_RDWR)))
            (kind (lambda () (semaphore-open name (list O_CREAT O_EXCL))))
            (kind (lambda () (semaphore-open name (logior O_CREAT O_EXCL)))))))
  (test-equal "its mode, less the umask" '(#o640 #o600)
    (with-umask #o027
      (map (lambda (mode)
             (with-name name
               (apply semaphore-open name (list O_CREAT O_EXCL)
                      mode)
               (stat:perms
                (stat (string-append "/dev/shm/sem." (string-drop name 1))))))
           '((#:mode #o666) ()))))
  (test-equal "unlinked while it is open" '(1 2)
    (with-name name
      (let ((s (semaphore-open name (list O_CREAT O_EXCL) #:value 1)))
        (semaphore-unlink name)
        (list (semaphore-value s)
              (kind (lambda () (semaphore-open name 0)))))))
  (test-assert "it prints as what it is"
    (with-name name
      (let ((s (semaphore-open name (list O_CREAT O_EXCL))))
        (and (equal? (object->string s) (format #f "#<semaphore ~s>" name))
             (semaphore-close! s)
             (equal? (object->string s)
                     (format #f "#<semaphore ~s closed>" name))))))
  (test-equal "unreachable ones are collected" #t
    (with-name name
      (semaphore-open name (list O_CREAT O_EXCL))
      (let ((before (memory-in-use)))
        (let loop ((i 0))
          (when (< i 20000)
            (semaphore-open name 0)
            (loop (+ i 1))))
        (< (- (memory-in-use) before) 20000000))))
  (test-equal "but not those in what a guardian returns" '(#t ((returned 3)))
    (with-name name
      (let ((guardian (make-guardian)))
        (semaphore-open name (list O_CREAT O_EXCL) #:value 3)
        (let guard-some ((i 0))
          (when (< i 100)
            (guardian (list (semaphore-open name 0)))
            (guard-some (+ i 1))))
        (gc)
        (gc)
        (let loop ((values '()) (n 0))
          (match (guardian)
            ((semaphore)
             (loop (cons (raised (lambda () (semaphore-value semaphore))) values)
                   (+ n 1)))
            (#f (list (> n 50) (delete-duplicates values)))))))))

(define (test-misuse)
  (test-equal "names that are none"
    (list EINVAL EINVAL EINVAL EINVAL 'wrong-type-arg ENAMETOOLONG)
    (map (lambda (name)
           (kind (lambda () (semaphore-open name (list O_CREAT)))))
         (list "no-slash" "/a/b" "/" "/nul\x00;" 'symbol
               (string-append "/" (make-string 300 #\a)))))
  (with-name name
    (test-raises "none of that name"
      `(system-error "semaphore-open"
                     ,(format #f "No such file or directory: ~s" name) ,ENOENT)
      (semaphore-open name 0))
    (test-raises "unlinked, and not there"
      `(system-error "semaphore-unlink"
                     ,(format #f "No such file or directory: ~s" name) ,ENOENT)
      (semaphore-unlink name))
    (test-equal "arguments that cannot be"
      '(out-of-range out-of-range out-of-range out-of-range wrong-type-arg
                     wrong-type-arg wrong-type-arg wrong-type-arg)
      (map (lambda (arguments)
             (kind (lambda () (apply semaphore-open name arguments))))
           `((,(list O_CREAT O_TRUNC)) (,O_WRONLY) (,O_CREAT #:mode #o1777)
             (,O_CREAT #:value ,(expt 2 31)) (,O_CREAT #:value 1.5)
             (,(list O_CREAT 'a)) (a) (,O_CREAT #:mode "600"))))
    (test-equal "nothing was made" ENOENT
      (kind (lambda () (semaphore-unlink name)))))
  (test-equal "what is no semaphore"
    (map (const 'wrong-type-arg) (iota 4))
    (map (lambda (proc) (kind (lambda () (proc "/name"))))
         (list semaphore-post! semaphore-wait! semaphore-value
               semaphore-close!)))
  (with-semaphore (s 0)
    (test-equal "timeouts that cannot be"
      '(wrong-type-arg out-of-range)
      (list (kind (lambda () (semaphore-wait! s 'soon)))
            (kind (lambda () (semaphore-wait! s +nan.0)))))
    (test-equal "timeouts that can" '(#f #f #f #f)
      (map (lambda (timeout) (semaphore-wait! s timeout))
           '(0 -1 1/50 0.06))))
  (with-name name
    (let ((s (semaphore-open name (list O_CREAT O_EXCL))))
      (semaphore-close! s)
      (test-equal "used after it was closed"
        (map (const `(system-error ,(format #f "Invalid argument: ~s (the \
semaphore was closed)" name) ,EINVAL)) (iota 4))
        (map (lambda (thunk)
               (match (raised thunk)
                 ((key subr message errno) (list key message errno))))
             (list (lambda () (semaphore-post! s))
                   (lambda () (semaphore-wait! s))
                   (lambda () (semaphore-wait! s 0))
                   (lambda () (semaphore-value s))))))))

(define (test-files)
  (test-equal "files that are no semaphores" (list EINVAL EINVAL EINVAL)
    (map (lambda (size)
           (with-name name
             (let ((path (string-append "/dev/shm/sem." (string-drop name 1))))
               (call-with-output-file path
                 (lambda (port) (display (make-string size #\x) port)))
               (kind (lambda () (semaphore-open name 0))))))
         '(0 2 5000)))
  (unless (shm-fault-guard) (test-skip 2))
  (test-equal "one that is cut short" '(fault fault fault fault #t)
    (with-name name
      (let* ((s (semaphore-open name (list O_CREAT O_EXCL) #:value 1))
             (other (semaphore-open name 0)))
        (truncate-file (string-append "/dev/shm/sem." (string-drop name 1)) 0)
        (semaphore-close! other)
        (let ((kinds (map (lambda (proc)
                            (guard (c ((shm-fault? c) 'fault))
                              (proc s)))
                          (list semaphore-value semaphore-post!
                                semaphore-wait!
                                (lambda (s) (semaphore-wait! s 1/10))))))
          (append kinds (list (semaphore-close! s)))))))
  (test-equal "one that is cut short while a thread waits" 'fault
    (with-semaphore (s 0)
      (let ((thread (call-with-new-thread
                     (lambda ()
                       (guard (c ((shm-fault? c) 'fault))
                         (semaphore-wait! s))))))
        (await-sleepers 1)
        (truncate-file (string-append "/dev/shm/sem."
                                      (string-drop (semaphore-name s) 1))
                       0)
        (join-thread thread))))
  (test-equal "the largest value" `(2147483647 ,EOVERFLOW 2147483647)
    (with-semaphore (s 2147483647)
      (list (semaphore-value s)
            (kind (lambda () (semaphore-post! s)))
            (semaphore-value s))))
  (unless root?
    (with-name name
      (semaphore-open name (list O_CREAT O_EXCL) #:mode #o000)
      (test-equal "one that may not be opened" EACCES
        (kind (lambda () (semaphore-open name 0)))))))

(define (test-waiting)
  (with-semaphore (s 0)
    (test-equal "a post wakes a thread" '(#t #t)
      (let ((threads (map (lambda (i)
                            (call-with-new-thread
                             (lambda () (semaphore-wait! s))))
                          '(1 2))))
        (await-sleepers 2)
        (semaphore-post! s)
        (semaphore-post! s)
        (map join-thread threads))))
  (test-equal "closed while a thread waits" `(,EINVAL #t)
    (with-semaphore (s 0)
      (let ((thread (call-with-new-thread
                     (lambda () (kind (lambda () (semaphore-wait! s)))))))
        (await-sleepers 1)
        (let ((closed? (semaphore-close! s)))
          (list (join-thread thread) closed?)))))
  (test-equal "a process that is killed takes nothing with it" '(1 #t)
    (with-semaphore (s 0)
      (let ((pid (start-process (lambda () (semaphore-wait! s)))))
        (await-sleepers 1 pid)
        (kill-process pid)
        (semaphore-post! s)
        (list (semaphore-value s) (semaphore-wait! s 0)))))
  (test-equal "posts and waits of 4 processes" '(#t 0)
    (with-semaphore (s 0)
      (let ((ended? (in-processes
                     4 (lambda (me)
                         (let loop ((n 0))
                           (when (< n 20000)
                             (if (even? me)
                                 (semaphore-post! s)
                                 (semaphore-wait! s))
                             (loop (+ n 1))))))))
        (list ended? (semaphore-value s))))))

(define (test-others)
  (with-name name
    (test-equal "C opens what Guile made" '(("5" 0) 5 ("3" 0) 3)
      (let* ((s (semaphore-open name (list O_CREAT O_EXCL) #:value 0))
             (a (poster name "post" "5"))
             (b (semaphore-value s))
             (c (poster name "wait" "2"))
             (d (semaphore-value s)))
        (list a b c d))))
  (with-name name
    (test-equal "Guile opens what C made" '(("4" 0) #t 3)
      (let* ((a (poster name "create" "4"))
             (s (semaphore-open name 0)))
        (let ((b (semaphore-wait! s)))
          (list a b (semaphore-value s))))))
  (with-name name
    (test-equal "Guile waits for what C posts" #t
      (let* ((s (semaphore-open name (list O_CREAT O_EXCL)))
             (port (open-pipe* OPEN_READ
                               (string-append builddir "/tests/poster")
                               name "post" "1"))
             (got? (semaphore-wait! s)))
        (close-pipe port)
        got?)))
  ;; Python's own module for multiprocessing calls sem_open.
  (unless (search-path (parse-path (getenv "PATH")) "python3") (test-skip 1))
  (with-name name
    (test-equal "Python is at the other end" '("taken 1" 2)
      (let ((s (semaphore-open name (list O_CREAT O_EXCL) #:value 1)))
        (call-with-values
            (lambda ()
              (run "python3" "-c" "
import sys, _multiprocessing
s = _multiprocessing.SemLock._rebuild(0, 1, 2147483647, sys.argv[1])
taken = s.acquire()
for i in range(2): s.release()
s.acquire()
print('taken', int(taken))
s.release()
" name))
          (lambda (output status)
            (list (string-trim-right output) (semaphore-value s))))))))

(define (test-without)
  (test-equal "each says that there are none"
    (map (const ENOSYS) (iota 2))
    (map kind (list (lambda () (semaphore-open "/name" 0))
                    (lambda () (semaphore-unlink "/name"))))))

(test-begin "semaphore")

(cond ((equal? (getenv "HAVE_SEM_OPEN") "1")
       (test-group "opening" (test-opening))
       (test-group "misuse"
         (test-misuse)
         (test-files))
       (test-group "others" (test-others))
       (test-group "waiting" (test-waiting)))
      (else
       (test-group "without semaphores" (test-without))))

(test-end "semaphore")

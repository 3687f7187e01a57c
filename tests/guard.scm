;;; SPDX-License-Identifier: BSD-3-Clause
;;; guard.scm - the guard of faults at limits, in threads and forks, tested.

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
  (test-equal "what was unmapped, by threads that end" #t
    (process memory-procedures
             '(define fd (shm-open-anonymous #:size (* 64 1024 1024)))
             '(define views
                (list-tabulate 10
                  (lambda (_)
                    (let* ((bv (shm-map fd)) (view (shm-view bv 'u8)))
                      (shm-unmap! bv)
                      view))))
             '(define before (status-line 'VmRSS:))
             '(for-each (lambda (view)
                          (join-thread
                           (call-with-new-thread
                            (lambda () (bytevector-fill! view 1)))))
                        views)
             ;; Guile calls a thread joined before it has quite ended.
             '(let wait ()
                (when (> (- (status-line 'VmRSS:) before) 24)
                  (usleep 1000)
                  (wait)))
             '(say (every (lambda (view) (zero? (u8vector-ref view 0))) views))))
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

(define range-procedures
  '(begin
     (use-modules (system foreign))
     (define (c result name . arguments)
       (pointer->procedure result (dynamic-func name (dynamic-link))
                           arguments))
     (define mmap (c '* "mmap" '* size_t int int int long))
     (define mprotect (c int "mprotect" '* size_t int))
     (define limit (call-with-input-file "/proc/sys/vm/max_map_count" read))
     (define (ranges)
       (call-with-input-file "/proc/self/maps"
         (lambda (port)
           (string-count (get-string-all port) #\newline))))
     (define (reserve pages)
       (pointer-address (mmap %null-pointer (* 4096 pages) 0 #x22 -1 0)))
     ;; Each second page of another protection is two more ranges.
     (define (split! base i protection)
       (mprotect (make-pointer (+ base (* 4096 i))) 4096 protection))))

;; With as many ranges as there may be but N, for each N: the mapping shows the
;; object again after a store that was refused.
(define (test-ranges)
  (test-equal "what was done can be undone" '()
    (process
     '(use-modules (system foreign))
     range-procedures
     '(define fd (shm-open-anonymous #:size (* 1024 1024)))
     '(define writer (shm-map fd))
     '(define bv (shm-map fd #:writable? #f))
     '(define (shows? value store)
        (let ((result (fault (store))))
          (bytevector-fill! writer value)
          (and (eq? 'read-only (car result))
               (every (lambda (k) (= value (bytevector-u8-ref bv k)))
                      (iota 256 0 4096)))))
     '(define (store-one) (bytevector-u8-set! bv 4096 1))
     '(define (store-many) (bytevector-fill! bv 1))
     '(shows? 5 store-many)
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
                   (primitive-_exit
                    (if (and (shows? 77 store-one) (shows? 78 store-many))
                        0
                        3)))
                (pid
                 (match (cdr (waitpid pid))
                   (0 #f)
                   (status (cons n status))))))
            (iota 60)))))
  (test-equal "addresses that cannot be unmapped" 'survived
    (process
     range-procedures
     '(define fd (shm-open-anonymous #:size 4096))
     ;; Zeros beside zeros are one range.
     '(define kept '())
     '(define dropped '())
     '(do ((i 0 (+ i 1)))
          ((= i 1500))
        (set! kept (cons (shm-map fd) kept))
        (set! dropped (cons (shm-map fd) dropped)))
     '(for-each shm-unmap! kept)
     '(for-each shm-unmap! dropped)
     '(gc)
     '(define area (reserve (* 2 limit)))
     '(let loop ((i 0))
        (when (zero? (split! area (* 2 i) 3))
          (loop (+ i 1))))
     '(set! dropped '())
     '(gc)
     ;; What runs at the end of a process may need ranges.
     '((c int "munmap" '* size_t) (make-pointer area) (* 2 4096 limit))
     '(say (if (= (length kept) 1500) 'survived #f))))
  (test-equal "with little memory left" '((read-only #f 0) (read-only #f 0))
    (process
     '(define fd (shm-open-anonymous #:size (* 16 1024 1024)))
     '(define bv (shm-map fd #:writable? #f))
     '(define (store) (fault (bytevector-fill! bv 1)))
     '(define first (store))
     '(define pages (call-with-input-file "/proc/self/statm" read))
     '(let ((limit (+ (* 4096 pages) (* 2000 1024))))
        (setrlimit 'as limit #f))
     '(define second (store))
     '(setrlimit 'as #f #f)
     '(say (list first second)))))


;;; Other threads, and forks.

(define (test-threads)
  (test-equal "while others take the last descriptors" '(0 0 0)
    (map
     (lambda (_)
       (match (process
               '(define fd (shm-open-anonymous #:size 4096))
               '(define bv (shm-map fd #:writable? #f))
               '(define go? #f)
               await-finalizers
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
  (test-equal "while others unmap the same memory" '()
    (process '(define pages 64)
             '(define fd (shm-open-anonymous #:size (* 4096 pages)))
             '(define writer (shm-map fd))
             '(bytevector-fill! writer 7)
             '(define (store-in view)
                (do ((n 0 (+ n 1)))
                    ((= n pages))
                  (fault (bytevector-u8-set! view (* 4096 n) 1))))
             ;; What has become of it shows neither the object nor what was
             ;; stored before the exceptions.
             '(define (round i)
                (let* ((bv (shm-map fd #:writable? #f))
                       (view (shm-view bv 'u8))
                       (threads (list-tabulate 2
                                  (lambda (_)
                                    (call-with-new-thread
                                     (lambda () (store-in view)))))))
                  (usleep (* 50 (modulo i 40)))
                  (shm-unmap! bv)
                  (for-each join-thread threads)
                  (let again ((n 0))
                    (and (< n pages)
                         (if (= 7 (bytevector-u8-ref view (* 4096 n)))
                             (list i n)
                             (again (+ n 1)))))))
             '(say (filter-map round (iota 500))))))

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

(when-guarded
  (test-group "limits" (test-limits))
  (test-group "processes" (test-processes))
  (test-group "guard" (test-guard))
  (test-group "cost" (test-cost))
  (test-group "ranges" (test-ranges))
  (test-group "threads" (test-threads))
  (test-group "forks" (test-forks)))

(test-end "guard")

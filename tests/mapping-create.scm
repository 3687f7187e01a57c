;;; SPDX-License-Identifier: BSD-3-Clause
;;; mapping-create.scm - making objects and attaching to them, tested.

(use-modules ((ice-9 control) #:select (call/ec))
             (ice-9 match)
             (ice-9 popen)
             (posix-shm)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4)
             (srfi srfi-64)
             (tests mapping-support)
             (tests support))

(define (test-create)
  (define early? #f)
  (with-fresh-name name
    (let ((bv (shm-create name 100 #:mode #o640 #:type 'u32
                          #:initialize
                          (lambda (bv)
                            (set! early? (exists? name))
                            (u32vector-set! bv 3 9)))))
      (unless unnamed?
        (test-skip 1))
      (test-assert "no process sees it before it is initialized" (not early?))
      (test-equal "created" (list 25 9 name #o640)
        (list (u32vector-length bv) (u32vector-ref bv 3) (shm-name bv)
              (call-with-descriptor (shm-open name (list O_RDONLY))
                (lambda (fd) (stat:perms (stat fd))))))
      (test-equal "twice: it is not initialized" 'system-error
        (car (raised (lambda ()
                       (shm-create name 100 #:initialize
                                   (lambda (bv) (throw 'initialized)))))))
      (test-raises "twice"
        `(system-error "shm-create" ,(format #f "~a: ~s (attach to it, or unlink the \
name first)" (strerror EEXIST) name)
                       ,EEXIST)
        (shm-create name 100))
      (test-equal "attached, for reading" 9
        (u32vector-ref (shm-attach name #:type 'u32) 3))
      (u32vector-set! (shm-attach name #:type 'u32 #:writable? #t) 4 8)
      (test-equal "attached, for writing" 8 (u32vector-ref bv 4))))

  (let* ((before (descriptor-count))
         (size (unusual-size))
         (bv (shm-create #f size)))
    (test-equal "anonymous: no name, and no descriptor is left"
      (list #f size 0 before)
      (list (shm-name bv) (bytevector-length bv) (count-objects size)
            (descriptor-count)))
    (test-equal "anonymous, initialized, and shared with a child" '(1 2)
      (eval-in-new-guile
       '(use-modules (rnrs bytevectors))
       '(define bv (shm-create #f 100 #:initialize
                               (lambda (bv) (bytevector-u8-set! bv 0 1))))
       '(let ((child (primitive-fork)))
          (when (zero? child)
            (bytevector-u8-set! bv 1 2)
            (primitive-_exit 0))
          (waitpid child))
       '(write (list (bytevector-u8-ref bv 0) (bytevector-u8-ref bv 1)))))))

(define (test-failures)
  (let ((before (descriptor-count)))
    (define-syntax-rule (test-failure what expected option ...)
      (with-fresh-name name
        (test-equal what (if (eq? expected 'oops)
                             '(oops)
                             (list expected "shm-create"))
          (match (raised (lambda () (shm-create name option ...)))
            ((key (? string? subr) . _) (list key subr))
            (other other)))
        (test-assert (string-append what ": nothing is left")
          (not (exists? name)))))
    (test-failure "a negative size" 'out-of-range -1)
    (test-failure "a size of 0" 'out-of-range 0)
    (test-failure "a size of 2^63" 'out-of-range (ash 1 63))
    (test-failure "a size that is no multiple" 'out-of-range 9 #:type 'f64)
    (test-failure "an unknown type" 'out-of-range 8 #:type 'f16)
    (test-failure "a mode that cannot be" 'out-of-range 8 #:mode #o1000)
    (test-failure "an initialize that is no procedure" 'wrong-type-arg 8
                  #:initialize 5)
    (test-failure "an exception in initialize" 'oops 8
                  #:initialize (lambda (bv) (throw 'oops)))
    (with-fresh-name name
      (test-equal "an escape from initialize" '(out #f)
        (list (call/ec
               (lambda (k)
                 (shm-create name 8 #:initialize (lambda (bv) (k 'out)))))
              (exists? name))))
    (test-raises "no name, and what is one"
      `(system-error "shm-create" ,(format #f "~a: \"frames\" (a name is \"/\" \
and then one or more bytes, none of them \"/\" or NUL, and not \"/.\" or \"/..\")"
                                           (strerror EINVAL))
                     ,EINVAL)
      (shm-create "frames" 8))
    (let ((name (fresh-name)))
      (test-raises "nothing to make"
        `(out-of-range "shm-create" ,(format #f "An object of 0 bytes cannot be \
mapped: ~s" name))
        (shm-create name 0))
      (test-raises "an empty object to attach to"
        `(out-of-range "shm-attach" ,(format #f "The object ~s is empty; with \
#:wait this waits until its creator gives it a size" name))
        (begin
          (close-fdes (shm-open name (list O_RDWR O_CREAT)))
          (catch #t
            (lambda () (shm-attach name))
            (lambda arguments
              (shm-unlink name)
              (apply throw arguments)))))
      (test-raises "nothing to attach to"
        `(system-error "shm-attach" ,(format #f "~a: ~s" (strerror ENOENT) name)
                       ,ENOENT)
        (shm-attach name)))
    (gc)
    (test-equal "no descriptor is left by failures"
      before (descriptor-count))))

(define (test-interrupted)
  ;; Descriptors and objects after 2,000 calls that a signal's handler leaves
  ;; at some place or other.
  (test-equal "what a signal's handler leaves is cleaned up" '(0 ())
    (eval-in-new-guile
     '(use-modules (ice-9 ftw))
     '(define armed? #f)
     '(define (descriptors)
        (length (scandir "/proc/self/fd")))
     '(sigaction SIGALRM
        (lambda _
          (when armed?
            (set! armed? #f)
            (throw 'alarm))))
     '(define (prefix) (format #f "/gshm-test-~a-" (getppid)))
     '(define (call i)
        (catch 'alarm
          (lambda ()
            (set! armed? #t)
            (setitimer ITIMER_REAL 0 0 0 (+ 1 (random 300)))
            (call-with-shm (format #f "~aa~a" (prefix) i) 4096 identity)
            (set! armed? #f))
          (const #f)))
     '(for-each call (iota 100))
     ;; Guile's own threads, with their pipes, are there by now.
     '(gc)
     '(define before (descriptors))
     '(for-each call (iota 2000))
     '(setitimer ITIMER_REAL 0 0 0 0)
     '(write (list (max 0 (- (descriptors) before 4))
                   (filter (lambda (name)
                             (string-prefix? (string-append (prefix) "a")
                                             name))
                           (shm-list)))))))

(define (test-waiting)
  (test-out-of-range "a wait that is not a number"
    (shm-attach (fresh-name) #:wait +nan.0))
  (test-out-of-range "an unknown type, before the wait"
    (shm-attach (fresh-name) #:type 'f16 #:wait 60))
  (test-equal "a wait that runs out" '(#f #f)
    (list (shm-attach (fresh-name) #:wait 0)
          (shm-attach (fresh-name) #:wait 0.01)))
  (test-equal "a wait that is no number" 'wrong-type-arg
    (car (raised (lambda () (shm-attach (fresh-name) #:wait "1")))))
  ;; Guile's clock is that which people and programs set.
  (test-equal "a wait during which the clock is set back" '(#f #f)
    (eval-in-new-guile
     '(use-modules (posix-shm channel))
     '(define calls 0)
     '(module-set! (resolve-module '(guile)) 'get-internal-real-time
                   (lambda ()
                     (set! calls (+ calls 1))
                     (when (> calls 100)
                       (error "it waits for ever"))
                     (- calls)))
     `(write (list (shm-attach ,(fresh-name) #:wait 0.01)
                   (shm-channel-attach ,(fresh-name) #:wait 0.01)))))
  (with-fresh-name name
    (close-fdes (shm-open name (list O_RDWR O_CREAT)))
    (test-equal "an object without a size" #f (shm-attach name #:wait 0.01))
    (test-out-of-range "without waiting" (shm-attach name)))
  (with-fresh-name name
    (let* ((port (start-guile OPEN_READ
                              '(use-modules (rnrs bytevectors))
                              '(write 'ready)
                              '(newline)
                              '(force-output)
                              `(write (bytevector-u8-ref
                                       (shm-attach ,name #:wait 60) 5))))
           (ready (read port)))
      (shm-create name 10 #:initialize
                  (lambda (bv) (bytevector-u8-set! bv 5 77)))
      (test-equal "what another process makes meanwhile, whole" 77 (read port))
      (close-pipe port))))

;; Killed at each system call that it makes on the object, in turn.
(define (test-killed-creator)
  (with-fresh-name name
    (eval-in-new-guile `(shm-create ,name 8192
                                    #:initialize
                                    (lambda (bv) (kill (getpid) SIGKILL))))
    (test-equal "killed in initialize" unnamed?
      (not (shm-attach name #:wait 0))))
  (define expression
    (format #f "~s"
            '(begin
               (use-modules (posix-shm) (rnrs bytevectors))
               (shm-create (cadr (command-line)) 8192
                           #:reserve? #t
                           #:initialize (lambda (bv) (bytevector-fill! bv 5)))
               (primitive-_exit 0))))
  (define (killed-at call n name)
    (system* "strace" "-f" "-qq" "-o" "/dev/null"
             "-e" (string-append "inject=" call ":signal=KILL:when="
                                 (number->string n))
             guile "--no-auto-compile" "-c" expression name))
  (if (zero? (status:exit-val
              (system* "sh" "-c" "strace -o /dev/null true 2> /dev/null")))
      (for-each
       (lambda (call)
         (test-assert (string-append "killed at " call ": whole or not at all")
           (every (lambda (n)
                    (with-fresh-name name
                      (killed-at call n name)
                      (let ((bv (shm-attach name #:wait 0)))
                        (or (not bv)
                            (and (= (bytevector-length bv) 8192)
                                 (or (not unnamed?)
                                     (= (bytevector-u8-ref bv 8191) 5)))))))
                  '(1 2))))
       '("ftruncate" "fallocate" "linkat"))
      (begin
        (test-skip 1)
        (test-assert "there is no strace" #f))))

(define (test-call-with-shm)
  (define-syntax-rule (test-gone what expected (name bv) body ...)
    (with-fresh-name name
      (let ((seen #f))
        (test-equal what (list expected #f 0)
          (let ((result
                 (match (raised (lambda ()
                                  (call-with-shm name 100
                                    (lambda (bv) (set! seen bv) body ...))))
                   (('returned value) value)
                   ((key . _) key))))
            (list result (exists? name) (bytevector-length seen)))))))
  (test-gone "returning" 100 (name bv) (bytevector-length bv))
  (test-gone "an exception" 'oops (name bv) (throw 'oops))
  (test-gone "unmapped by the procedure" #t (name bv) (shm-unmap! bv))
  (test-gone "unlinked by the procedure" 0 (name bv) (shm-unlink name))
  (test-equal "options" #t
    (call-with-shm #f 800 f64vector? #:type 'f64))
  (test-raises "no procedure"
    '(wrong-type-arg "call-with-shm"
                     "Wrong type argument (expecting procedure): 5")
    (call-with-shm "/no" 8 5 #:mode 'wrong))

  (with-fresh-name name
    (let ((entries 0) (again #f) (lengths '()))
      (call-with-shm name 100
        (lambda (bv)
          (call-with-current-continuation
           (lambda (k) (set! again k)))
          (set! lengths (cons (bytevector-length bv) lengths))))
      (set! entries (+ entries 1))
      (when (= entries 1)
        (again #t))
      (test-equal "entered again by a continuation: empty, and gone once"
        '((0 100) #f)
        (list lengths (exists? name)))))

  (with-fresh-name name
    (call-with-shm name 100
      (lambda (bv)
        (shm-unlink name)
        (shm-create name 50)))
    (test-equal "a name that another process has made again stays" 50
      (bytevector-length (shm-attach name))))

  (with-fresh-name name
    (test-equal "left by a child of a fork: the name stays" #t
      (eval-in-new-guile
       `(call-with-shm ,name 10
          (lambda (bv)
            (let ((child (primitive-fork)))
              (when (zero? child)
                (exit 0))
              (waitpid child)
              (write (->bool (member ,name (shm-list))))))))))
  (with-fresh-name name
    (test-equal "exit" '(3 #f)
      (list (status:exit-val
             (close-pipe (start-guile OPEN_READ
                                      `(call-with-shm ,name 10
                                         (lambda (bv) (exit 3))))))
            (exists? name)))))

(test-begin "mapping-create")

(when-posix-shm
  (test-group "shm-create"
    (test-create)
    (test-failures))
  (test-group "interrupted" (test-interrupted))
  (test-group "waiting" (test-waiting))
  (test-group "killed creator" (test-killed-creator))
  (test-group "call-with-shm" (test-call-with-shm)))

(test-end "mapping-create")

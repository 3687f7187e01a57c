;;; SPDX-License-Identifier: BSD-3-Clause
;;; fault.scm - what would end a program and must not, tested.

(use-modules (ice-9 popen)
             (ice-9 match)
             (posix-shm)
             (srfi srfi-64)
             (tests fault-process)
             (tests support))

;; It stores what it reads, since the compiler leaves out what nobody uses, and
;; reads at another place each time, since it reads only once at the same.
(define (reading-loop ref bv length)
  `(compiled (lambda ()
               (let loop ((i 0))
                 (set! sink (,ref ,bv i))
                 (loop (if (= i (- ,length 1)) 0 (+ i 1)))))))

(define (test-cut what to offset? loop)
  (with-object (name size)
    (let ((result (process-with
                   (lambda () (cut name to))
                   `(define bv (shm-attach ,name))
                   `(define view (shm-view bv 'u64 64))
                   `(define other (shm-create #f 100))
                   `(let ((result (fault-while ,loop)))
                      (say (list result
                                 (bytevector-u8-ref other 0)
                                 (shm-unmap! bv)))))))
      (test-assert what
        (match result
          ((('lost (? (lambda (n) (equal? n name))) offset) 0 #t)
           (offset? offset))
          (_ (format (current-error-port) "~s~%" result) #f))))))

(define (test-cuts)
  (test-cut "cut to 0 while a compiled loop reads" 0 exact-integer?
            (reading-loop 'bytevector-u8-ref 'bv size))
  (test-cut "cut to half while a compiled loop reads" (* 32 page)
            (lambda (offset) (>= offset (* 32 page)))
            (reading-loop 'bytevector-u8-ref 'bv size))
  (test-cut "cut to half during bytevector-copy!" (* 32 page)
            (lambda (offset) (>= offset (* 32 page)))
            `(lambda ()
               (let ((to (make-bytevector ,size)))
                 (let loop ()
                   (bytevector-copy! bv 0 to 0 ,size)
                   (set! sink #t)
                   (loop)))))
  (test-cut "cut to 0 during utf8->string" 0 exact-integer?
            '(lambda ()
               (let loop ()
                 (set! sink (utf8->string bv))
                 (loop))))
  (test-cut "cut to 0 while a view is read" 0
            (lambda (offset) (>= offset 64))
            (reading-loop 'u64vector-ref 'view (quotient (- size 64) 8))))

(define (test-lost)
  (with-object (name size)
    (test-equal "each access raises, until the object grows again"
      `((lost ,name 0) (lost ,name 5) (lost ,name ,(- size 1))
        (returned 0))
      (process `(define bv (shm-attach ,name))
               `(cut ,name 0)
               `(define results
                  (list (fault (bytevector-u8-ref bv 0))
                        (fault (bytevector-u8-ref bv 5))
                        (fault (bytevector-u8-ref bv ,(- size 1)))))
               `(cut ,name ,size)
               '(say (append results
                             (list (fault (bytevector-u8-ref bv 5))))))))

  (with-object (name size)
    (test-equal "a store is lost, too" `((lost ,name 10) (lost ,name 0))
      (process `(define bv (shm-attach ,name #:writable? #t))
               `(cut ,name 0)
               '(say (list (fault (bytevector-u8-set! bv 10 1))
                           (fault (bytevector-fill! bv 1)))))))

  (with-object (name size)
    (test-equal "what was cut from a mapping with an offset"
      `(lost ,name 1)
      (process `(define fd (shm-open ,name (list O_RDONLY)))
               `(define bv (shm-map fd 100 #:offset 5001))
               `(cut ,name 0)
               '(say (fault (bytevector-u8-ref bv 1))))))

  (test-equal "an object without a name" '(lost #f 3)
    (process '(define fd (shm-open-anonymous #:size 10))
             '(define bv (shm-map fd))
             '(shm-resize! fd 0)
             '(say (fault (bytevector-u8-ref bv 3))))))

(define (test-lost-structures)
  ;; If it does not wait by then the result is the same.
  (test-equal "part of a structure that is waited for"
    (make-list 4 '(lost #f))
    (process
     '(use-modules (posix-shm channel) (posix-shm sync))
     '(define (cut-meanwhile initialize wait)
        (let* ((fd (shm-open-anonymous #:size 8192))
               (bv (shm-map fd)))
          (initialize bv)
          (call-with-new-thread
           (lambda ()
             (usleep 200000)
             (shm-resize! fd 4096)))
          (list-head (fault (wait bv)) 2)))
     '(define (channel-part bv)
        (shm-view bv 'vu8 3200))
     '(define (full-channel bv)
        (let ((ch (shm-channel (channel-part bv))))
          (shm-channel-send! ch (make-bytevector 3000))
          ch))
     '(say (list (cut-meanwhile (lambda (bv)
                                  (shm-condition-variable-init! bv 0)
                                  (shm-mutex-init! bv 4096)
                                  (shm-mutex-lock! bv 4096))
                                (lambda (bv)
                                  (shm-condition-variable-wait! bv 0 4096)))
                 (cut-meanwhile (lambda (bv)
                                  (shm-barrier-init! bv 4088 2))
                                (lambda (bv)
                                  (shm-barrier-wait! bv 4088)))
                 (cut-meanwhile (lambda (bv)
                                  (shm-channel-init! (channel-part bv)))
                                (lambda (bv)
                                  (shm-channel-receive!
                                   (shm-channel (channel-part bv)))))
                 (cut-meanwhile (lambda (bv)
                                  (shm-channel-init! (channel-part bv)))
                                (lambda (bv)
                                  (shm-channel-send!
                                   (full-channel bv)
                                   (make-bytevector 1000)))))))))

(define (test-messages)
  (with-object (name size)
    (test-equal "their messages"
      (list
       (format #f "Store at offset 5 of ~s, which is mapped read-only; \
#:writable? #t maps it for writing" name)
       (format #f "There is no memory at offset 3 of ~s: the object was \
truncated, or the system has no memory left for it" name))
      (process '(define-syntax-rule (message expression)
                  (guard (c ((error? c) (exception-message c)))
                    expression))
               `(define bv (shm-attach ,name))
               '(define stored (message (bytevector-u8-set! bv 5 1)))
               `(cut ,name 0)
               '(say (list stored (message (bytevector-u8-ref bv 3))))))))

;; In a mount namespace of its own, which takes root.
(define (test-full)
  (define (in-small-folder . expressions)
    (let* ((port (open-pipe* OPEN_READ "unshare" "--mount" "sh" "-c"
                             "mount -t tmpfs -o size=64k tmpfs /dev/shm && \
exec \"$0\" --no-auto-compile -c \"$1\""
                             guile
                             (program (cons prelude expressions))))
           (result (read port)))
      (close-pipe port)
      result))
  (unless (zero? (status:exit-val
                  (system* "sh" "-c" "unshare --mount true 2> /dev/null")))
    (test-skip 5))
  (test-equal "a page that the system does not have" '(lost "/full")
    (in-small-folder
     '(define bv (shm-create "/full" (* 1024 1024)))
     '(say (list-head (fault (bytevector-fill! bv 1)) 2))))
  (test-equal "and the first pages hold what was stored" 1
    (in-small-folder
     '(define bv (shm-create "/full" (* 1024 1024)))
     '(fault (bytevector-fill! bv 1))
     '(say (bytevector-u8-ref bv 0))))
  ;; Page 6 exists; pages 1 to 5 and 7 cannot be had.
  (test-equal "what another thread stores meanwhile in a page that is there" 42
    (in-small-folder
     '(define bv (shm-create "/full" (* 1024 1024)))
     '(bytevector-u8-set! bv (* 6 4096) 1)
     '(fault (bytevector-fill! (shm-create "/rest" (* 1024 1024)) 1))
     '(define ready? #f)
     '(define done? #f)
     '(define thread
        (call-with-new-thread
         (lambda ()
           (fault
            (call-with-blocked-asyncs
             (lambda ()
               (for-each (lambda (page) (bytevector-u8-ref bv (* page 4096)))
                         '(1 2 4))
               (set! ready? #t)
               (let wait () (unless done? (usleep 100) (wait)))))))))
     '(let wait () (unless ready? (usleep 100) (wait)))
     '(bytevector-u8-set! bv (* 6 4096) 42)
     '(set! done? #t)
     '(join-thread thread)
     '(say (bytevector-u8-ref bv (* 6 4096)))))
  (test-equal "with reserve?: ENOSPC and nothing left behind" '(ENOSPC ())
    (in-small-folder
     '(say (list (catch 'system-error
                   (lambda () (shm-create "/full" (* 1024 1024) #:reserve? #t))
                   (lambda arguments
                     (if (= ENOSPC (system-error-errno arguments))
                         'ENOSPC
                         arguments)))
                 (shm-list)))))
  (test-equal "shm-resize! with reserve?: the size stays" '(ENOSPC 100)
    (in-small-folder
     '(define fd (shm-open "/full" (list O_RDWR O_CREAT)))
     '(shm-resize! fd 100)
     '(say (list (catch 'system-error
                   (lambda () (shm-resize! fd (* 1024 1024) #:reserve? #t))
                   (lambda arguments
                     (if (= ENOSPC (system-error-errno arguments))
                         'ENOSPC
                         arguments)))
                 (shm-size fd))))))

(define (test-read-only)
  (with-object (name size)
    (test-equal "one byte; the object unchanged, the mapping follows it"
      `((read-only ,name 9) 7 7 5)
      (process `(define writer (shm-attach ,name #:writable? #t))
               `(define bv (shm-attach ,name))
               '(define result (fault (bytevector-u8-set! bv 9 1)))
               '(define after (bytevector-u8-ref bv 9))
               '(define object (bytevector-u8-ref writer 9))
               '(bytevector-u8-set! writer 9 5)
               '(say (list result after object (bytevector-u8-ref bv 9))))))

  (with-object (name size)
    (test-equal "bytevector-fill! over 64 pages"
      `((read-only ,name 0) (7) (8))
      (process `(define writer (shm-attach ,name #:writable? #t))
               `(define bv (shm-attach ,name))
               '(define result (fault (bytevector-fill! bv 1)))
               '(define after (delete-duplicates (bytevector->u8-list bv)))
               '(bytevector-fill! writer 8)
               '(say (list result after
                           (delete-duplicates (bytevector->u8-list bv)))))))

  (with-object (name (* 130 1024 1024))
    (test-equal "a copy that runs backwards over 33,280 pages"
      '(read-only 7)
      (process `(define bv (shm-attach ,name))
               '(define result
                  (fault (bytevector-copy! bv 0 bv 64
                                           (- (bytevector-length bv) 64))))
               '(say (list (car result) (bytevector-u8-ref bv 100)))))))

(define (test-read-only-limits)
  (test-equal "in 1,500 mappings before a safe point"
    '((read-only #f 0) (0))
    (process '(define fd (shm-open-anonymous #:size (* 4096 1500)))
             '(define mappings
                (map (lambda (i)
                       (shm-map fd 4096 #:offset (* i 4096) #:writable? #f))
                     (iota 1500)))
             '(define result
                (fault (call-with-blocked-asyncs
                        (lambda ()
                          (for-each (lambda (bv) (bytevector-u8-set! bv 0 1))
                                    mappings)))))
             '(say (list result
                         (delete-duplicates
                          (map (lambda (bv) (bytevector-u8-ref bv 0))
                               mappings))))))

  (test-equal "with as many mappings as there may be" '(full (read-only #f 0))
    (process '(define fd (shm-open-anonymous #:size 4096))
             '(define bv (shm-map fd #:writable? #f))
             '(define others '())
             '(define result
                (catch 'system-error
                  (lambda ()
                    (let loop ()
                      (set! others (cons (shm-map fd) others))
                      (loop)))
                  (lambda arguments
                    (if (= ENOMEM (system-error-errno arguments))
                        'full
                        arguments))))
             '(say (list result (fault (bytevector-u8-set! bv 0 1)))))))

(define (test-read-only-threads)
  (test-equal "in a thread that ends before it could raise it" 99
    (process '(define fd (shm-open-anonymous #:size 4096))
             '(define writer (shm-map fd))
             '(define bv (shm-map fd #:writable? #f))
             '(define thread
                (call-with-new-thread
                 (lambda ()
                   (call-with-blocked-asyncs
                    (lambda ()
                      (bytevector-u8-set! bv 0 1)
                      (cancel-thread (current-thread))))
                   #t)))
             '(false-if-exception (join-thread thread))
             '(bytevector-u8-set! writer 0 99)
             ;; Guile calls a thread joined before it has quite ended.
             '(let wait ()
                (unless (= 99 (bytevector-u8-ref bv 0))
                  (usleep 100)
                  (wait)))
             '(say (bytevector-u8-ref bv 0))))

  (with-object (name size)
    (test-equal "from another thread" `(read-only ,name 100)
      (process `(define bv (shm-attach ,name))
               '(say (join-thread
                      (call-with-new-thread
                       (lambda ()
                         (fault (bytevector-u8-set! bv 100 1)))))))))

  (with-object (name size)
    (test-equal "500 times from each of two threads, the collector running"
      '(500 500 7 (7))
      (process `(define bv (shm-attach ,name))
               '(define stop? #f)
               '(define collector
                  ;; With a pause, since libgc's lock is not fair.
                  (call-with-new-thread
                   (lambda ()
                     (let loop ()
                       (unless stop? (gc) (usleep 100) (loop))))))
               '(define (faults start)
                  (lambda ()
                    (let loop ((i 0) (caught 0))
                      (if (= i 500)
                          caught
                          (loop (+ i 1)
                                (if (eq? 'read-only
                                         (car (fault
                                               (bytevector-u8-set!
                                                bv (+ start (* i 64)) 1))))
                                    (+ caught 1)
                                    caught))))))
               '(define threads
                  ;; In pages of their own: what a thread stores in a page that
                  ;; another has just faulted in may be lost without a word.
                  (list (call-with-new-thread (faults 0))
                        (call-with-new-thread (faults 32768))))
               '(define results (map join-thread threads))
               '(set! stop? #t)
               '(join-thread collector)
               '(say (append results
                             (list (bytevector-u8-ref bv 64)
                                   (delete-duplicates
                                    (bytevector->u8-list bv))))))))

  (with-object (name size)
    (test-equal "from a loop that is compiled, in which it is the last thing"
      `(read-only ,name 3)
      (process `(define bv (shm-attach ,name))
               '(define store
                  (compiled (lambda () (bytevector-u8-set! bv 3 1))))
               '(say (fault (store)))))))

(test-begin "fault")

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
       (test-group "lost"
         (test-cuts)
         (test-lost)
         (test-lost-structures)
         (test-messages))
       (test-group "full" (test-full))
       (test-group "read-only"
         (test-read-only)
         (test-read-only-limits)
         (test-read-only-threads))))

(test-end "fault")

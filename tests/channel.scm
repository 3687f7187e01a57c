;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel.scm - making channels, attaching to them, and their format, tested.

(use-modules (ice-9 exceptions)
             (ice-9 match)
             (ice-9 regex)
             (ice-9 threads)
             (posix-shm)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

(define (test-existing)
  (test-equal "attached to if it exists, else created" '("one" 1000 #f #f)
    (with-fresh-name name
      (define (create capacity . options)
        (apply shm-channel-create name capacity #:exists 'attach options))
      (let ((ch (create 1000)))
        (send! ch "one")
        (list (receive! (create 100))
              (shm-channel-capacity (create 100))
              (receive! ch 0)
              (let ((other (fresh-name)))
                (with-fresh-name other
                  (close-fdes (shm-open other (list O_RDWR O_CREAT)))
                  (shm-channel-create other 100 #:exists 'attach
                                      #:timeout 0.01)))))))
  (test-equal "smaller, and something else" '(out-of-range format)
    (with-fresh-name name
      (list (begin
              (shm-channel-create name 100)
              (kind (shm-channel-create name 200 #:exists 'attach)))
            (with-fresh-name other
              (shm-create other 10000 #:initialize
                          (lambda (bv) (bytevector-fill! bv 1)))
              (kind (shm-channel-create other 100 #:exists 'attach))))))
  (test-equal "replaced: senders keep the old one" '("old" "new")
    (with-fresh-name name
      (let* ((old (shm-channel-create name 100))
             (new (shm-channel-create name 100 #:exists 'replace)))
        (send! old "old")
        (send! (shm-channel-attach name) "new")
        (list (receive! old) (receive! new)))))
  (test-equal "capacity, and closed" '(104 #f #t)
    (let ((ch (shm-channel-create #f 100)))
      (let ((open (shm-channel-closed? ch)))
        (shm-channel-close! ch)
        (list (shm-channel-capacity ch) open (shm-channel-closed? ch)))))
  (test-equal "behind a descriptor" '("one" format EACCES)
    (with-fresh-name name
      (send! (shm-channel-create name 100) "one")
      (call-with-descriptor (shm-open name (list O_RDWR))
        (lambda (fd)
          (let ((received (receive! (shm-channel-map fd))))
            (cut! name 4000)
            (list received
                  (begin
                    (truncate-file fd 0)
                    (truncate-file fd 4000)
                    (kind (shm-channel-map fd)))
                  (call-with-descriptor (shm-open name (list O_RDONLY))
                    (lambda (fd)
                      (match (raised (lambda () (shm-channel-map fd)))
                        ((_ _ _ errno) (if (= errno EACCES) 'EACCES errno))))))))))))

(define (test-making)
  (test-equal "made, attached to, used" '("one" "two" #f #f)
    (with-fresh-name name
      (let* ((ch (shm-channel-create name 1000))
             (other (shm-channel-attach name)))
        (send! ch "one")
        (send! other "two")
        (let* ((a (receive! other)) (b (receive! ch)))
          (list a b (receive! ch 0) (receive! other 0.01))))))
  (test-equal "what is one" '(#t #f #f)
    (list (shm-channel? (shm-channel-create #f 8))
          (shm-channel? (make-bytevector 5000))
          (shm-channel? 1)))
  (test-equal "how it prints" #t
    (with-fresh-name name
      (string=? (object->string (shm-channel-create name 1000))
                (format #f "#<shm-channel of 1000 bytes in ~s>" name))))
  (test-equal "without a name there is no object" '(0 1)
    (let ((capacity (unusual-size)))
      (define (objects)
        (count-objects (+ shm-channel-header-size capacity)))
      (with-fresh-name name
        (shm-channel-create #f capacity)
        (let ((nameless (objects)))
          (shm-channel-create name capacity)
          (list nameless (objects))))))
  (test-equal "nor a descriptor, if asyncs throw at any instant"
    '((returned stopped) #t)
    (let* ((before (or (descriptor-count) 0))
           (result (throw-at-any-instant (* 100 rounds)
                     (lambda () (shm-channel-create #f 100)))))
      ;; Each thread has some.
      (list result (< (or (descriptor-count) 0) (+ before 10)))))
  (test-equal "the mode" #o640
    (with-fresh-name name
      (with-umask 0
        (shm-channel-create name 100 #:mode #o640)
        (let* ((fd (shm-open name (list O_RDONLY)))
               (mode (stat:perms (stat fd))))
          (close-fdes fd)
          mode))))
  (with-fresh-name name
    (shm-channel-create name 100)
    (test-raises "made twice"
      `(system-error "shm-channel-create"
                     ,(format #f "File exists: ~s (attach to it, or unlink the \
name first)" name) ,EEXIST)
      (shm-channel-create name 100))))

(define (test-capacities)
  (test-equal "capacities" '(8 8 16 wrong-type-arg out-of-range out-of-range
                               out-of-range wrong-type-arg)
    (map (lambda (capacity)
           (match (kind (set! capacity
                              (statistic (shm-channel-create #f capacity)
                                         'capacity)))
             ('returned capacity)
             (other other)))
         '(8 8 9 "x" 7 -1 #e1e30 64.0)))
  (test-raises "a capacity that is too small"
    '(out-of-range "shm-channel-create"
                   "A channel's capacity is at least 8 bytes: 7")
    (shm-channel-create #f 7))
  (test-raises "a capacity that is no integer"
    '(wrong-type-arg "shm-channel-create" "Wrong type argument in position 2 (expecting \
exact integer): 64.0")
    (shm-channel-create #f 64.0))
  ;; With 32 bits, more than there are addresses.
  (test-equal "a capacity that cannot be had" "shm-channel-create"
    (match (raised (lambda () (shm-channel-create #f (ash 1 60))))
      (((or 'system-error 'out-of-range) subr . _) subr))))

(define (test-attaching)
  (test-raises "there is none"
    `(system-error "shm-channel-attach"
                   "No such file or directory: \"/gshm-none\"" ,ENOENT)
    (shm-channel-attach "/gshm-none"))
  (test-equal "waiting for none" #f
    (shm-channel-attach "/gshm-none" #:wait 0.02))
  (test-equal "waiting for one" "late"
    (with-fresh-name name
      (let ((pid (start-process
                  (lambda ()
                    (await-sleep (getppid))
                    (send! (shm-channel-create name 100) "late")))))
        (let ((got (receive! (shm-channel-attach name #:wait 60))))
          (waitpid pid)
          got))))
  (test-equal "waiting for one that is made in two steps" "late"
    (with-fresh-name name
      (let* ((bv (shm-create name 5000))
             (thread (in-thread
                      (await-sleep (getpid))
                      (shm-channel-init! bv)
                      (send! (shm-channel bv) "late"))))
        (let ((got (receive! (shm-channel-attach name #:wait 60))))
          (join-thread thread)
          got))))
  (test-equal "what is no name, and no time" '(wrong-type-arg wrong-type-arg)
    (list (kind (shm-channel-attach 1))
          (kind (shm-channel-attach "/gshm-none" #:wait "x")))))

(define (test-placing)
  (test-equal "in a bytevector" '("one" 2048)
    (let ((bv (make-bytevector (+ shm-channel-header-size 2048))))
      (shm-channel-init! bv)
      (send! (shm-channel bv) "one")
      (list (receive! (shm-channel bv))
            (statistic (shm-channel bv) 'capacity))))
  (test-equal "in part of a mapping" '("one" 360 #t)
    (with-mapping (bv 4096)
      (let ((part (shm-view bv 'vu8 64 (+ shm-channel-header-size 365))))
        (shm-channel-init! part)
        (send! (shm-channel part) "one")
        (let* ((got (receive! (shm-channel (shm-view bv 'vu8 64))))
               (capacity (statistic (shm-channel part) 'capacity)))
          (list got capacity
                (every (lambda (k) (zero? (bytevector-u8-ref bv k)))
                       (append (iota 64)
                               (iota 2000 (+ 64 shm-channel-header-size
                                             360)))))))))
  (test-equal "one that is made anew is empty and open" '(#f #t 0)
    (let ((bv (make-bytevector 4096 #xa5)))
      (shm-channel-init! bv)
      (send! (shm-channel bv) "one")
      (shm-channel-close! (shm-channel bv))
      (shm-channel-init! bv)
      (let* ((ch (shm-channel bv)) (empty (receive! ch 0)))
        (list empty (send! ch "two") (statistic ch 'messages-out)))))
  (test-equal "too little memory, or none" '(out-of-range wrong-type-arg
                                                          wrong-type-arg)
    (list (kind (shm-channel-init!
                 (make-bytevector (+ 7 shm-channel-header-size))))
          (kind (shm-channel-init! 1))
          (kind (shm-channel 1))))
  (test-equal "not at a multiple of 8" 'out-of-range
    (with-mapping (bv 4096)
      (kind (shm-channel-init! (shm-view bv 'vu8 4))))))

(define (test-misuse)
  (test-raises "what is no channel"
    '(wrong-type-arg "shm-channel-send!"
                     "Wrong type argument (expecting channel): 1")
    (shm-channel-send! 1 (text "x")))
  (test-raises "nor is the memory that one is in"
    '(wrong-type-arg "shm-channel-close!" "Wrong type argument (expecting channel, \
as (shm-channel bv) returns): a bytevector of 9 bytes")
    (shm-channel-close! (make-bytevector 9)))
  (test-assert "nor is for any of the procedures"
    (every (lambda (proc) (eq? 'wrong-type-arg (kind (proc 1))))
           (list (lambda (ch) (shm-channel-receive! ch))
                 (lambda (ch) (shm-channel-receive-into! ch (text "x")))
                 (lambda (ch) (call-with-shm-slot ch 1 list))
                 (lambda (ch) (call-with-shm-message ch list))
                 (lambda (ch) (shm-channel-send-datum! ch 1))
                 (lambda (ch) (shm-channel-receive-datum! ch))
                 shm-channel-input-port shm-channel-output-port
                 shm-channel-close! shm-channel-statistics))))

(define (test-formats)
  (define header shm-channel-header-size)
  (define (made size)
    (let ((bv (make-bytevector size 0)))
      (shm-channel-init! bv)
      bv))
  (define (changed size change!)
    (let ((bv (made size)))
      (change! bv)
      (kind (shm-channel bv))))
  (define (cut bv n)
    (let ((part (make-bytevector n)))
      (bytevector-copy! bv 0 part 0 n)
      (kind (shm-channel part))))
  (test-equal "nothing, zeros, garbage" '(format format format format)
    (list (kind (shm-channel (make-bytevector 0)))
          (kind (shm-channel (make-bytevector 8 0)))
          (kind (shm-channel (make-bytevector 5000 0)))
          (kind (shm-channel (make-bytevector 5000 #xa5)))))
  (test-equal "another version, another kind" '(format format)
    (list (changed 4096 (lambda (bv) (bytevector-u16-native-set! bv 6 2)))
          (changed 4096 (lambda (bv) (bytevector-u16-native-set! bv 4 1)))))
  (test-equal "sizes that cannot be" '(format format format format returned)
    (map (lambda (size)
           (changed 4096
                    (lambda (bv) (bytevector-u64-native-set! bv 16 size))))
         (list 0 15 (- 4104 header) (- (expt 2 64) 8) 8)))
  (test-equal "cut short" '(format format format format format returned)
    (map (lambda (n) (cut (made 4096) n))
         (list 8 64 header (+ header 8) 4088 4096)))
  (test-equal "an object cut short before it is attached to"
    '(format format format)
    (map (lambda (size)
           (with-fresh-name name
             (shm-channel-create name 4096)
             (let ((fd (shm-open name (list O_RDWR))))
               (shm-resize! fd size)
               (close-fdes fd))
             (kind (shm-channel-attach name))))
         '(0 100 4096)))
  (test-equal "the message of that" '(format #t)
    (with-fresh-name name
      (shm-create name 100)
      (guard (c ((shm-format-error? c)
                 (list 'format
                       (and (string=? (exception-origin c) "shm-channel-attach")
                            (string-contains (exception-message c) name)
                            #t))))
        (shm-channel-attach name))))
  (test-equal "the message about an empty object" "There is no channel at offset 0 \
of \"~s\": make one with shm-channel-init!, unless other data \
was stored there"
    (with-fresh-name name
      (shm-channel-create name 100)
      (cut! name 0)
      (guard (c ((shm-format-error? c)
                 (regexp-substitute/global #f name (exception-message c)
                                           'pre (lambda (m) "~s") 'post)))
        (shm-channel-attach name))))
  (test-equal "every procedure sees what became of it"
    '(format format format format format format format)
    (with-mapping (bv 4096)
      (shm-channel-init! bv)
      (let ((ch (shm-channel bv)))
        (bytevector-fill! bv 0)
        (list (kind (send! ch "x"))
              (kind (receive! ch))
              (kind (shm-channel-receive-into! ch (make-bytevector 10)))
              (kind (call-with-shm-slot ch 1 list))
              (kind (call-with-shm-message ch list))
              (kind (shm-channel-close! ch))
              (kind (shm-channel-statistics ch))))))
  (test-equal "unmapped" '(out-of-range "The memory at offset 0 was unmapped" #t)
    (let* ((bv (shm-create #f 4096)))
      (shm-channel-init! bv)
      (let ((ch (shm-channel bv)))
        (shm-unmap! bv)
        (match (raised (lambda () (send! ch "x")))
          ((key _ message) (list key message (string? (object->string ch)))))))))

(define (test-primitives)
  ;; What the modules check before is checked again; none ends the process.
  (test-equal "arguments of any type, to each primitive of the extension" 'done
    (eval-in-new-guile
     '(use-modules (ice-9 match) (posix-shm channel) (rnrs bytevectors))
     '(define bv (make-bytevector 4096))
     '(define objects
        (list #f #t -1 1.5 (expt 2 70) '() "x" (make-string 1000 #\x) 'x
              (vector 1 2) car bv (make-bytevector 0)))
     '(shm-channel-init! bv)
     ;; So that no receiver waits.
     '(shm-channel-close! (shm-channel bv))
     '(module-for-each
       (lambda (name variable)
         (define primitive (variable-ref variable))
         (unless (memq name '(%shm-channel-init! %shm-raise-with!
                              %shm-fault-async!))
           (match (and (procedure? primitive)
                       (procedure-minimum-arity primitive))
             ((required optional _)
              (for-each
               (lambda (first)
                 (for-each
                  (lambda (object)
                    (catch #t
                      (lambda ()
                        (apply primitive
                               (list-head (cons first (make-list 9 object))
                                          required)))
                      (const #f)))
                  objects))
               objects))
             (#f #f))))
       (resolve-interface '(posix-shm primitives)))
     '(write 'done))))

(test-begin "channel")

(cond (posix-shm?
       (test-group "primitives" (test-primitives))
       (test-group "channels"
         (test-making)
         (test-existing)
         (test-capacities)
         (test-attaching)
         (test-placing)
         (test-misuse))
       (test-group "formats" (test-formats)))
      (else
       (test-equal "there is no shared memory, but there are channels" '("x" ENOSYS)
         (let ((bv (make-bytevector 4096)))
           (shm-channel-init! bv)
           (send! (shm-channel bv) "x")
           (list (receive! (shm-channel bv))
                 (match (raised (lambda () (shm-channel-create "/x" 100)))
                   (('system-error _ _ errno)
                    (and (= errno ENOSYS) 'ENOSYS))))))))

(test-end "channel")

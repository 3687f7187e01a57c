;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel.scm - channels, tested with threads and processes.

(use-modules (ice-9 binary-ports)
             (ice-9 exceptions)
             (ice-9 match)
             (ice-9 popen)
             (ice-9 regex)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))


;;; Channels.

(define (test-channels)
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
    ;; It would have a size that those of other processes do not have.
    (let* ((capacity (* 8 (+ 1000 (getpid))))
           (size (+ shm-channel-header-size capacity)))
      (define (objects)
        (count (lambda (name)
                 (false-if-exception
                  (call-with-descriptor (shm-open name (list O_RDONLY))
                    (lambda (fd) (= size (shm-size fd))))))
               (shm-list)))
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
      (shm-channel-create name 100)))
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
      (((or 'system-error 'out-of-range) subr . _) subr)))
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
                    ;; That somebody waits cannot be seen; if nobody does yet,
                    ;; it is found at once.
                    (usleep 20000)
                    (send! (shm-channel-create name 100) "late")))))
        (let ((got (receive! (shm-channel-attach name #:wait 60))))
          (waitpid pid)
          got))))
  (test-equal "waiting for one that is made in two steps" "late"
    (with-fresh-name name
      (let* ((bv (shm-create name 5000))
             (thread (in-thread
                      (usleep 20000)
                      (shm-channel-init! bv)
                      (send! (shm-channel bv) "late"))))
        (let ((got (receive! (shm-channel-attach name #:wait 60))))
          (join-thread thread)
          got))))
  (test-equal "what is no name, and no time" '(wrong-type-arg wrong-type-arg)
    (list (kind (shm-channel-attach 1))
          (kind (shm-channel-attach "/gshm-none" #:wait "x"))))

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
      (kind (shm-channel-init! (shm-view bv 'vu8 4)))))
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
of \"~s\": make one with shm-channel-init!, unless something \
else was stored over it"
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
      (shm-unlink (shm-name bv))
      (shm-channel-init! bv)
      (let ((ch (shm-channel bv)))
        (shm-unmap! bv)
        (match (raised (lambda () (send! ch "x")))
          ((key _ message) (list key message (string? (object->string ch)))))))))


;;; Messages.

(define (test-messages)
  (test-equal "of every size that fits, one after the other" #t
    (with-channel (ch 200)
      (every (lambda (n)
               (let ((message (some-bytes n n)))
                 (and (shm-channel-send! ch message #:timeout 0)
                      (equal? message (shm-channel-receive! ch #:timeout 0)))))
             (append (iota 193) (reverse (iota 193))))))
  (test-equal "some at a time, round and round" #t
    (with-channel (ch 264)
      (every
       (lambda (i)
         (let ((messages (map (lambda (j)
                                (some-bytes (modulo (* i (+ j 3)) 40) (+ i j)))
                              (iota 3))))
           (for-each (lambda (m) (shm-channel-send! ch m #:timeout 60)) messages)
           (equal? messages
                   (map (lambda (_) (shm-channel-receive! ch #:timeout 60))
                        messages))))
       (iota 500))))
  (test-equal "a full channel" '(#t #t #f #f #t #t)
    (with-channel (ch 48)
      (let* ((a (send! ch "0123456789abcdef"))
             (b (send! ch "0123456789abcdef"))
             (c (send! ch "" 0))
             (d (send! ch "x" 0.02)))
        (receive! ch)
        (let ((e (send! ch "0123456789" 0)))
          (receive! ch)
          (receive! ch)
          ;; It goes round the end, with nobody there to receive.
          (list a b c d e
                (shm-channel-send! ch (make-bytevector 40) #:timeout 0))))))
  (test-equal "room for one" #t
    (with-channel (ch 72)
      (every (lambda (i)
               (and (shm-channel-send! ch (some-bytes 64 i) #:timeout 60)
                    (not (shm-channel-send! ch (some-bytes 64 i) #:timeout 0))
                    (not (shm-channel-send! ch (text "") #:timeout 0))
                    (equal? (some-bytes 64 i) (shm-channel-receive! ch))))
             (iota 100))))
  (test-equal "part of a bytevector" '("ell" "llo" "" "hello")
    (with-channel (ch 100)
      (let ((bv (text "hello")))
        (shm-channel-send! ch bv 1 3)
        (shm-channel-send! ch bv 2)
        (shm-channel-send! ch bv 5 #:timeout 1)
        (shm-channel-send! ch bv #:timeout 1)
        (map (lambda (_) (receive! ch)) (iota 4)))))
  (test-equal "uniform vectors are their bytes" '(#t #f64(1.5 -2.0))
    (with-channel (ch 100)
      (shm-channel-send! ch #f64(1.5 -2.0))
      (shm-channel-send! ch #f64(1.5 -2.0))
      (let ((target (make-f64vector 2)))
        (list (= 16 (bytevector-length (shm-channel-receive! ch)))
              (begin (shm-channel-receive-into! ch target) target)))))
  (test-equal "into a bytevector" '(5 "..hello." 0 #f out-of-range "hello")
    (with-channel (ch 100)
      (send! ch "hello")
      (send! ch "")
      (let* ((bv (text "........"))
             (a (shm-channel-receive-into! ch bv 2))
             (b (utf8->string bv))
             (c (shm-channel-receive-into! ch bv 8 #:timeout 1))
             (d (shm-channel-receive-into! ch bv #:timeout 0))
             (e (begin
                  (send! ch "hello")
                  (kind (shm-channel-receive-into! ch bv 4)))))
        (list a b c d e (receive! ch)))))
  (test-raises "too small for it"
    '(out-of-range "shm-channel-receive-into!"
                   "The message has 5 bytes, and there is room for 4")
    (with-channel (ch 100)
      (send! ch "hello")
      (shm-channel-receive-into! ch (make-bytevector 6) 2)))
  (test-raises "what never fits"
    '(out-of-range "shm-channel-send!"
                   "A message of 97 bytes can never be sent: the largest has 96")
    (shm-channel-send! (shm-channel-create #f 100) (make-bytevector 97)))
  (test-equal "what is wrong is not sent"
    '(wrong-type-arg wrong-type-arg out-of-range out-of-range out-of-range
                     out-of-range wrong-type-arg out-of-range
                     wrong-type-arg out-of-range wrong-type-arg 0)
    (with-channel (ch 100)
      (let ((bv (text "hello")))
        (list (kind (shm-channel-send! ch "hello"))
              (kind (shm-channel-send! ch bv 1.0))
              (kind (shm-channel-send! ch bv 6))
              (kind (shm-channel-send! ch bv -1))
              (kind (shm-channel-send! ch bv 2 4))
              (kind (shm-channel-send! ch bv 0 (expt 2 70)))
              (kind (shm-channel-send! ch bv #:timeout "x"))
              (kind (shm-channel-send! ch bv #:timeout +nan.0))
              (kind (shm-channel-receive-into! ch "x"))
              (kind (shm-channel-receive-into! ch bv 6))
              (kind (shm-channel-receive! ch #:timeout 'x))
              (statistic ch 'messages-in)))))
  (test-equal "what was unmapped is not sent, nor is anything received there"
    '(out-of-range out-of-range 0 "hello")
    (with-channel (ch 100)
      (define (view-of-unmapped)
        (let* ((bv (shm-create #f 4096)) (view (shm-view bv 'vu8 0 16)))
          (shm-unlink (shm-name bv))
          (shm-unmap! bv)
          view))
      (let* ((a (kind (shm-channel-send! ch (view-of-unmapped) #:timeout 0)))
             (sent (statistic ch 'messages-in))
             (b (begin
                  (send! ch "hello")
                  (kind (shm-channel-receive-into! ch (view-of-unmapped))))))
        (list a b sent (receive! ch 0)))))
  (test-equal "other time-outs" '(#f #f #f #t "x")
    (with-channel (ch 16)
      (let* ((a (receive! ch -1))
             (b (receive! ch 1/100))
             (c (receive! ch 0.001))
             (d (send! ch "x" (inf)))
             (e (receive! ch 1e30)))
        (list a b c d e))))
  (test-equal "statistics"
    '((capacity . 100) (messages-in . 3) (bytes-in . 11) (messages-out . 1)
      (bytes-out . 5) (messages-in-flight . 2) (bytes-in-flight . 6)
      (waiting-senders . 0) (waiting-receivers . 0) (closed? . #f))
    (with-channel (ch 100)
      (for-each (lambda (m) (send! ch m)) '("hello" "" "abcdef"))
      (receive! ch)
      (map (match-lambda
             (('capacity . capacity) `(capacity . ,(- capacity 4)))
             (pair pair))
           (shm-channel-statistics ch))))
  (test-equal "who waits is counted, but not who was killed" '(3 2 1 0 0)
    (with-channel (ch 16)
      (define (receiver) (start-process (lambda () (receive! ch #f))))
      (let ((pids (list (receiver) (receiver) (receiver))))
        (await-statistic ch 'waiting-receivers 3)
        (kill-process (first pids))
        (let ((two (statistic ch 'waiting-receivers)))
          (send! ch "12345678")
          (await-statistic ch 'messages-in-flight 0)
          (await-statistic ch 'waiting-receivers 1)
          (shm-channel-close! ch)
          (waitpid (second pids))
          (waitpid (third pids))
          (list 3 two 1 (statistic ch 'waiting-receivers)
                (statistic ch 'waiting-senders))))))
  (test-equal "senders that wait are counted" '(0 #t)
    (with-channel (ch 16)
      (send! ch "12345678")
      (let ((pid (start-process (lambda () (send! ch "x")))))
        (await-statistic ch 'waiting-senders 1)
        (receive! ch)
        (let ((status (cdr (waitpid pid))))
          (list (statistic ch 'waiting-senders) (zero? status)))))))

(define (test-closing)
  (test-equal "closed, drained, ended"
    '(#t #f closed "one" "two" #t #t #t)
    (with-channel (ch 100)
      (send! ch "one")
      (send! ch "two")
      (let* ((a (shm-channel-close! ch))
             (b (shm-channel-close! ch))
             (c (kind (send! ch "three")))
             (d (receive! ch))
             (e (receive! ch)))
        (list a b c d e
              (eof-object? (receive! ch))
              (eof-object? (shm-channel-receive-into! ch (make-bytevector 9)))
              (statistic ch 'closed?)))))
  (test-equal "the condition" '("shm-channel-send!" #t #t)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 100)))
        (shm-channel-close! ch)
        (guard (c ((shm-closed? c)
                   (list (exception-origin c)
                         (and (string-contains (exception-message c) name) #t)
                         (error? c))))
          (send! ch "x")))))
  (test-equal "closing wakes all who receive" '(0 0 0 0)
    (with-channel (ch 100)
      (let ((pids (map (lambda (_)
                         (start-process
                          (lambda ()
                            (unless (eof-object? (receive! ch #f))
                              (error "no end")))))
                       (iota 4))))
        (await-statistic ch 'waiting-receivers 4)
        (shm-channel-close! ch)
        (map (lambda (pid) (cdr (waitpid pid))) pids))))
  (test-equal "and all who send" '(0 0 0 0)
    (with-channel (ch 16)
      (send! ch "12345678")
      (let ((pids (map (lambda (_)
                         (start-process
                          (lambda ()
                            (unless (eq? 'closed (kind (send! ch "x")))
                              (error "sent")))))
                       (iota 4))))
        (await-statistic ch 'waiting-senders 4)
        (shm-channel-close! ch)
        (map (lambda (pid) (cdr (waitpid pid))) pids))))
  (test-equal "what is in place when it is closed is not sent" '(closed #t 0)
    (with-channel (ch 100)
      (let ((result (kind (call-with-shm-slot
                           ch 4 (lambda (bv) (shm-channel-close! ch))))))
        (list result (eof-object? (receive! ch))
              (statistic ch 'messages-in)))))
  (test-equal "what is in place when it is closed is received" '("x" #t)
    (with-channel (ch 100)
      (send! ch "x")
      (let ((result (call-with-shm-message
                     ch (lambda (bv)
                          (shm-channel-close! ch)
                          (utf8->string bv)))))
        (list result (eof-object? (call-with-shm-message ch list)))))))


;;; Messages in place.

(define (test-in-place)
  (define (slot ch string . timeout)
    (let ((bytes (text string)))
      (apply call-with-shm-slot ch (bytevector-length bytes)
             (lambda (bv)
               (bytevector-copy! bytes 0 bv 0 (bytevector-length bytes))
               'ignored)
             timeout)))
  (define (message ch) (call-with-shm-message ch utf8->string #:timeout 0))
  (define (free? ch)
    ;; Both sides' locks.
    (and (send! ch "?" 0)
         (join-thread (in-thread (send! ch "!" 0)))
         (let drain ((got (receive! ch 0)))
           (if (eof-object? got) #f (or (not got) (drain (receive! ch 0)))))))
  (test-equal "sent and received" '(#t "hello" #t "" #f)
    (with-channel (ch 100)
      (let* ((a (slot ch "hello")) (b (message ch))
             (c (slot ch "")) (d (message ch)))
        (list a b c d (message ch)))))
  (test-equal "round and round" #t
    (with-channel (ch 136)
      (every (lambda (i)
               (let ((bytes (some-bytes (modulo i 60) i)))
                 (call-with-shm-slot
                  ch (bytevector-length bytes)
                  (lambda (bv)
                    (bytevector-copy! bytes 0 bv 0 (bytevector-length bytes))))
                 (call-with-shm-message
                  ch (lambda (bv) (equal? bv bytes)))))
             (iota 300))))
  (test-equal "the size" '(7 7)
    (with-channel (ch 100)
      (let ((size #f))
        (call-with-shm-slot ch 7 (lambda (bv) (set! size (bytevector-length bv))))
        (list size (call-with-shm-message ch bytevector-length)))))
  (test-equal "all values are returned" '(1 2)
    (with-channel (ch 100)
      (send! ch "x")
      (call-with-values
          (lambda () (call-with-shm-message ch (lambda (bv) (values 1 2))))
        list)))
  (test-equal "no room, no message" '(#f #f)
    (with-channel (ch 16)
      (send! ch "12345678")
      (let ((sent (slot ch "x" #:timeout 0.01)))
        (receive! ch)
        (list sent (call-with-shm-message ch list #:timeout 0.01)))))
  (test-equal "both are empty afterwards" '(0 0)
    (with-channel (ch 100)
      (let ((kept '()))
        (define (keep bv) (set! kept (cons bv kept)))
        (call-with-shm-slot ch 8 keep)
        (call-with-shm-message ch keep)
        (map bytevector-length kept))))
  (test-equal "an exception: nothing is sent, the message stays"
    '((oops) 0 (oops) "x" #t 0)
    (with-channel (ch 100)
      (let* ((kept #f)
             (leave (lambda (bv) (set! kept bv) (throw 'oops)))
             (a (catch 'oops (lambda () (call-with-shm-slot ch 8 leave)) list))
             (b (statistic ch 'messages-in))
             (c (begin
                  (send! ch "x")
                  (catch 'oops (lambda () (call-with-shm-message ch leave))
                    list)))
             (d (receive! ch 0)))
        (list a b c d (free? ch) (bytevector-length kept)))))
  (test-equal "what is wrong is refused, and leaves it free"
    '(wrong-type-arg wrong-type-arg wrong-type-arg out-of-range out-of-range #t)
    (with-channel (ch 100)
      (let ((kinds (list (kind (call-with-shm-slot ch 8 1))
                         (kind (call-with-shm-message ch 1))
                         (kind (call-with-shm-slot ch "8" list))
                         (kind (call-with-shm-slot ch -1 list))
                         (kind (call-with-shm-slot ch 97 list)))))
        (append kinds (list (free? ch))))))
  (test-equal "no procedure, where there is no room or no message"
    '(wrong-type-arg wrong-type-arg)
    (with-channel (ch 8)
      (let ((a (kind (call-with-shm-message ch 1 #:timeout 0))))
        (send! ch "")
        (list a (kind (call-with-shm-slot ch 0 1 #:timeout 0))))))
  (test-equal "one in another" '(EDEADLK EDEADLK EDEADLK EDEADLK "ab" #t)
    (with-channel (ch 100)
      (send! ch "ab")
      (let* ((kinds '())
             (add! (lambda (kind) (set! kinds (cons kind kinds))))
             (got (call-with-shm-message
                   ch (lambda (bv)
                        (add! (kind (receive! ch 0)))
                        (add! (kind (call-with-shm-message ch list)))
                        (call-with-shm-slot
                         ch 1 (lambda (bv)
                                (add! (kind (send! ch "x" 0)))
                                (add! (kind (call-with-shm-slot ch 1 list)))
                                (bytevector-u8-set! bv 0 65)))
                        (utf8->string bv)))))
        (append kinds (list got (free? ch))))))
  (test-raises "the message of that"
    `(system-error "shm-channel-send!" "Resource deadlock avoided: the channel \
at offset 0 of anonymous shared memory (this thread is sending to it \
already: the message or call-with-shm-slot must end first)" ,EDEADLK)
    (with-channel (ch 100)
      (call-with-shm-slot ch 1 (lambda (bv) (send! ch "x")))))
  (test-equal "who would wait for itself" '(EDEADLK #f EDEADLK #f #t)
    (with-channel (ch 16)
      (send! ch "12345678")
      (let* ((a (call-with-shm-message ch (lambda (bv) (kind (send! ch "x")))))
             (b (begin
                  (send! ch "12345678")
                  (call-with-shm-message ch (lambda (bv) (send! ch "x" 0)))))
             (c #f) (d #t))
        (call-with-shm-slot ch 0 (lambda (bv)
                                   (set! c (kind (receive! ch)))
                                   (set! d (receive! ch 0))))
        (receive! ch)
        (list a b c d (zero? (statistic ch 'messages-in-flight))))))
  (test-equal "a continuation entered again" '(misc-error misc-error #t)
    (with-channel (ch 100)
      (define (enter-again use)
        (let ((again #f) (times 0))
          (kind
           (use (lambda (bv) (call/cc (lambda (k) (set! again k)))))
           (set! times (+ times 1))
           (when (= times 1) (again #f)))))
      (let* ((a (enter-again (lambda (proc) (call-with-shm-slot ch 1 proc))))
             (b (begin
                  (send! ch "x")
                  (enter-again (lambda (proc) (call-with-shm-message ch proc))))))
        (list a b (free? ch)))))
  (test-equal "other threads wait meanwhile" '(#f #f "x")
    (with-channel (ch 100)
      (let* ((a #t) (b #t))
        (call-with-shm-slot
         ch 1 (lambda (bv)
                (bytevector-u8-set! bv 0 120)
                (set! a (join-thread (in-thread (send! ch "y" 0.02))))))
        (let ((got (call-with-shm-message
                    ch (lambda (bv)
                         (set! b (join-thread (in-thread (receive! ch 0.02))))
                         (utf8->string bv)))))
          (list a b got)))))
  (test-equal "the child of a fork has neither" '(0 0 "x" 1 #t)
    (with-channel (ch 100)
      (let ((statuses '()) (here (getpid)))
        (define (fork! use)
          (set! statuses
                (cons (cdr (waitpid (start-process use))) statuses)))
        (define (must expected actual)
          (unless (eq? expected actual)
            (error "the child" expected actual)))
        (send! ch "x")
        (let ((got (call-with-shm-message
                    ch (lambda (bv)
                         (fork! (lambda () (must #f (receive! ch 0))))
                         (utf8->string bv)))))
          (call-with-shm-slot
           ch 1 (lambda (bv)
                  (fork! (lambda () (must #f (send! ch "y" 0.02))))))
          (let ((sent (statistic ch 'messages-in-flight)))
            (receive! ch)
            (append statuses (list got sent (free? ch))))))))
  (test-equal "a child that returns from it has sent nothing" '(EPERM 1 #t)
    (with-channel (ch 100)
      (let* ((pid #f)
             (result (kind
                      (call-with-shm-slot
                       ch 1 (lambda (bv) (set! pid (primitive-fork)))))))
        (when (eqv? pid 0)
          (primitive-_exit (if (eq? result 'EPERM) 7 8)))
        (let ((status (status:exit-val (cdr (waitpid pid))))
              (sent (statistic ch 'messages-in)))
          (receive! ch)
          (list (if (= status 7) 'EPERM status) sent (free? ch))))))
  (test-equal "a thread that ends in one has neither" '("x" #t)
    (with-channel (ch 100)
      (send! ch "x")
      (let* ((held? #f)
             (thread (in-thread
                      (call-with-shm-slot
                       ch 1 (lambda (bv)
                              (call-with-shm-message
                               ch (lambda (bv)
                                    (set! held? #t)
                                    (sleep 1000))))))))
        (let again ()
          (unless held? (usleep 500) (again)))
        (cancel-thread thread)
        (call-with-values (lambda () (join-thread thread)) list)
        (list (receive! ch) (send! ch "y")))))
  (test-equal "a process that is killed in one has neither" '("x" #t "y")
    (with-channel (ch 100)
      (with-mapping (flag 8)
        (send! ch "x")
        (let ((pid (start-process
                    (lambda ()
                      (call-with-shm-slot
                       ch 1
                       (lambda (bv)
                         (call-with-shm-message
                          ch (lambda (bv)
                               (atomic-u32-set! flag 0 1)
                               (sleep 1000)))))))))
          (let again ()
            (when (zero? (atomic-u32-ref flag 0)) (usleep 500) (again)))
          (kill-process pid)
          (let* ((a (receive! ch)) (b (send! ch "y")))
            (list a b (receive! ch)))))))
  (test-equal "asyncs that throw at any instant leave both free"
    '((returned stopped) #t #t)
    (with-channel (ch 100)
      (let* ((count 0)
             (result (throw-at-any-instant (* 100 rounds)
                       (lambda ()
                         ;; It is full after some messages that were sent and
                         ;; not received.
                         (call-with-shm-slot ch 1 list #:timeout 0)
                         (call-with-shm-message ch list #:timeout 0)
                         (set! count (+ count 1))))))
        (let drain () (when (receive! ch 0) (drain)))
        (list result (positive? count) (free? ch))))))


;;; Data.

(define odd-data
  (list (string #\esc #\[ #\m) (string #\nul #\\ #\" #\newline) "é" ""
        (map string->symbol '("a b" "" "Foo" "foo:" ":foo" "a|b" "1+" "}"))
        #:key (symbol->keyword (string->symbol "A b"))
        (list #\delete #\a #\( #\space) 1/3 (vector "é" 2.5) '(1 . "x")
        #vu8(1 2) #f64(1.5 -0.0) #t #f '() #nil +inf.0 +nan.0
        (make-array "q" 2 3) (make-array (string->symbol "x Y") '(1 2) '(0 -1))
        (make-array 7) #*101 (make-typed-array 'f64 1.5 2 2) (expt 10 50)))

(define (test-data)
  (define (round-trip datum)
    (with-channel (ch 10000)
      (shm-channel-send-datum! ch datum)
      (shm-channel-receive-datum! ch)))
  (define data
    `(1 -5/3 2.5 1+2i ,(expt 3 200) +inf.0 +nan.0 #t #f () "" "ä\n\"x\\" #\x
        #\nul symbol |odd symbol| #:keyword (a . b) (1 (2 (3))) #(1 #(2))
        #vu8(1 2 3) #f64(1.0 2.5) #u32(7) #2((1 2) (3 4)) #*101
        'quoted `(quasi ,(unquoted)) ,(iota 100) ,(string #\x1F600)))
  (for-each (lambda (datum)
              (test-equal (format #f "~s" datum) datum (round-trip datum)))
            data)
  (test-equal "what cannot be read back"
    (make-list 7 'wrong-type-arg)
    (with-channel (ch 1000)
      (map (lambda (datum) (kind (shm-channel-send-datum! ch datum #:timeout 1)))
           (list car (current-output-port) (list 1 car) (make-hash-table)
                 (let ((loop (list 1 2))) (set-cdr! loop loop) loop)
                 (if #f #f) (vector (eof-object))))))
  (test-assert "says so"
    (match (raised (lambda ()
                     (with-channel (ch 100) (shm-channel-send-datum! ch car))))
      (('wrong-type-arg "shm-channel-send-datum!" message)
       (string-contains message "written and read back"))))
  (test-equal "nothing is evaluated, nothing is but one datum"
    '(format format format format format format format 0)
    (with-channel (ch 1000)
      (read-hash-extend #\% (lambda (char port) (error "run")))
      (let ((kinds (map (lambda (message)
                          (if (string? message)
                              (send! ch message)
                              (shm-channel-send! ch message))
                          (kind (shm-channel-receive-datum! ch)))
                        '("#.(exit 7)" "#%x" "" "1 2" "(1" ")"
                          #vu8(#xff #xfe)))))
        (read-hash-extend #\% #f)
        (append kinds (list (statistic ch 'messages-in-flight))))))
  (test-equal "the message of that"
    '("shm-channel-receive-datum!" "There is no datum in a message of 3 bytes")
    (with-channel (ch 100)
      (send! ch "1 2")
      (guard (c ((shm-format-error? c)
                 (list (exception-origin c) (exception-message c))))
        (shm-channel-receive-datum! ch))))
  (test-equal "the depth is bounded" '(format #t)
    (with-channel (ch (* 20 1024 1024))
      (shm-channel-send! ch (make-bytevector (* 16 1024 1024) 40))
      (list (kind (shm-channel-receive-datum! ch))
            (equal? '(1) (begin (shm-channel-send-datum! ch '(1))
                                (shm-channel-receive-datum! ch))))))
  (test-equal "nor are arrays believed that are larger than the message"
    '(format format format format #2((1 2)))
    (with-channel (ch 1000)
      (map (lambda (text)
             (send! ch text)
             (let ((datum #f))
               (match (kind (set! datum (shm-channel-receive-datum! ch)))
                 ('returned datum)
                 (other other))))
           '("#2:20000:20000()" "#f64:999999999()" "(a #2@-5:20000@1:20000())"
             "#4611686018427387904()"
             "#2:1:2((1 2))"))))
  (test-equal "lists in lists, as deep as can be read back, and deeper"
    '(returned wrong-type-arg wrong-type-arg wrong-type-arg)
    (with-channel (ch (* 4 1024 1024))
      (define (deep n)
        (if (zero? n) '() (list (deep (- n 1)))))
      (map (lambda (datum) (kind (shm-channel-send-datum! ch datum)))
           (list (deep 9000) (deep 100000)
                 (let ((loop (list 1 2))) (set-car! loop loop) loop)
                 (let ((loop (make-array 0 1 1))) (array-set! loop loop 0 0)
                      loop)))))
  (test-equal "options of the programs do not matter" '(#t #t #t #t #t)
    (map
     (match-lambda
       ((options . expressions)
        (with-fresh-name name
          (let ((ch (shm-channel-create name 4096)))
            (shm-channel-send-datum! ch odd-data)
            (apply run guile
                   `("--no-auto-compile" ,@options "-c"
                     ,(program
                       `((use-modules (posix-shm channel))
                         (define ch (shm-channel-attach ,name))
                         ,@expressions
                         (shm-channel-send-datum!
                          ch (shm-channel-receive-datum! ch))))))
            (equal? odd-data (shm-channel-receive-datum! ch #:timeout 0))))))
     '((()) (("--r7rs")) (("--r6rs"))
       (() (read-set! keywords 'prefix) (read-enable 'case-insensitive))
       (() (print-enable 'r7rs-symbols) (read-enable 'r6rs-hex-escapes)))))
  (test-assert "many elements that begin with #"
    (let ((data (iota 50000)))
      (with-channel (ch (* 4 1024 1024))
        (let ((datum (map even? data)))
          (shm-channel-send-datum! ch datum)
          (equal? datum (shm-channel-receive-datum! ch))))))
  (test-equal "any locale will do" "(#t #t)"
    (call-with-values
        (lambda ()
          (run "env" "LC_ALL=C" guile "--no-auto-compile" "-c"
               (program
                '((use-modules (posix-shm channel))
                  (define ch (shm-channel-create #f 1000))
                  (define (same? datum)
                    (shm-channel-send-datum! ch datum)
                    (equal? datum (shm-channel-receive-datum! ch)))
                  (display
                   (list (same? (string #\a #\nul #\b))
                         (same? (string->symbol
                                 (string (integer->char 955))))))))))
      (lambda (output status) output)))
  (test-equal "a datum's procedures are named"
    '("shm-channel-send-datum!" "shm-channel-send-datum!"
      "shm-channel-receive-datum!")
    (with-channel (ch 100)
      (map (lambda (thunk) (cadr (raised thunk)))
           (list (lambda () (shm-channel-send-datum! ch 1 #:timeout 'x))
                 (lambda () (shm-channel-send-datum! ch (iota 100)))
                 (lambda () (shm-channel-receive-datum! ch #:timeout 'x))))))
  (test-equal "time-outs, and the end" '(#f none #t closed)
    (with-channel (ch 100)
      (let* ((a (shm-channel-receive-datum! ch #:timeout 0))
             (b (shm-channel-receive-datum! ch #:timeout 0.001
                                            #:timeout-value 'none))
             (c (begin (shm-channel-close! ch)
                       (eof-object? (shm-channel-receive-datum! ch)))))
        (list a b c (kind (shm-channel-send-datum! ch 1))))))
  (test-equal "too large" 'out-of-range
    (with-channel (ch 100)
      (kind (shm-channel-send-datum! ch (iota 100))))))


;;; Ports.

(define (test-ports)
  (test-equal "a stream of bytes" #t
    (with-channel (ch 1000)
      (let* ((bytes (some-bytes 100000 1))
             (thread (in-thread
                      (let ((port (shm-channel-output-port ch)))
                        (put-bytevector port bytes)
                        (close-port port)
                        (shm-channel-close! ch))))
             (got (get-bytevector-all (shm-channel-input-port ch))))
        (join-thread thread)
        (equal? bytes got))))
  (test-equal "messages are one after the other, empty ones nothing"
    '(#vu8(1 2 3 4 5) #t #t)
    (with-channel (ch 1000)
      (for-each (lambda (m) (shm-channel-send! ch m))
                '(#vu8(1 2) #vu8() #vu8(3) #vu8(4 5) #vu8()))
      (shm-channel-close! ch)
      (let* ((port (shm-channel-input-port ch))
             (got (get-bytevector-all port)))
        (list got (eof-object? (get-u8 port)) (eof-object? (get-u8 port))))))
  (test-equal "char-ready? tells whether reading would wait"
    '(#f #f #t #t #f #t)
    (with-channel (ch 1000)
      (let* ((port (shm-channel-input-port ch))
             (empty (char-ready? port)))
        (shm-channel-send! ch #vu8())
        (let ((nothing (char-ready? port)))
          (shm-channel-send! ch #vu8(1 2))
          (let* ((two (char-ready? port))
                 (one (begin (get-u8 port) (char-ready? port)))
                 (none (begin (get-u8 port) (char-ready? port))))
            (shm-channel-close! ch)
            (list empty nothing two one none (char-ready? port)))))))
  (test-equal "char-ready? ends though many messages are empty" '(#f #t)
    (with-channel (ch 8000)
      (let ((port (shm-channel-input-port ch)))
        (for-each (lambda (_) (shm-channel-send! ch #vu8())) (iota 150))
        (shm-channel-send! ch #vu8(1))
        (let ((first (char-ready? port)))
          (list first (char-ready? port))))))
  (test-equal "what is flushed is there" '("a line" "two")
    (with-channel (ch 1000)
      (let ((port (shm-channel-output-port ch)))
        (put-bytevector port (text "a line"))
        (force-output port)
        (let ((a (receive! ch 0)))
          (put-bytevector port (text "two"))
          (close-port port)
          (list a (receive! ch 0))))))
  (test-equal "text" '(hello "world")
    (with-channel (ch 1000)
      (let ((out (shm-channel-output-port ch))
            (in (shm-channel-input-port ch)))
        (set-port-encoding! out "UTF-8")
        (set-port-encoding! in "UTF-8")
        (write 'hello out)
        (write "world" out)
        (newline out)
        (close-port out)
        (let* ((a (read in)) (b (read in)))
          (list a b)))))
  (test-equal "a read that is interrupted leaves nothing to be read again"
    '("one" "two")
    (with-channel (ch 1000)
      (send! ch "one")
      (let* ((port (shm-channel-input-port ch))
             (a (utf8->string (get-bytevector-n port 3)))
             (reader (in-thread
                      (catch 'interrupted
                        (lambda () (get-u8 port))
                        (const #t)))))
        (await-statistic ch 'waiting-receivers 1)
        (system-async-mark (lambda () (throw 'interrupted)) reader)
        (join-thread reader)
        (send! ch "two")
        (list a (utf8->string (get-bytevector-n port 3))))))
  (test-equal "a channel for empty messages" 'out-of-range
    (kind (shm-channel-output-port (shm-channel-create #f 8))))
  (test-equal "a closed channel" '(closed #f)
    (with-channel (ch 1000)
      (let ((port (shm-channel-output-port ch)))
        (shm-channel-close! ch)
        (put-u8 port 1)
        (list (kind (force-output port))
              (begin (setvbuf port 'none) #f))))))


;;; Fibers.

(define (test-fibers)
  ;; In a process of its own, since the scheduler starts threads.
  (unless (false-if-exception (resolve-interface '(fibers)))
    (test-skip 1))
  (test-equal "a fiber receives while others run" '(("one" "two" end) #t)
    (with-fresh-name name
      (let* ((ch (shm-channel-create name 1000))
             (port (start-guile
                    OPEN_READ
                    '(use-modules (fibers) (fibers channels) (ice-9 threads)
                                  (posix-shm channel) (rnrs bytevectors))
                    `(define ch (shm-channel-attach ,name))
                    '(define (shm-channel->fibers ch)
                       (let ((messages (make-channel)))
                         (call-with-new-thread
                          (lambda ()
                            (let next ()
                              (let ((message (shm-channel-receive! ch)))
                                (put-message messages message)
                                (unless (eof-object? message)
                                  (next))))))
                         messages))
                    '(define turns 0)
                    '(write
                      (run-fibers
                       (lambda ()
                         (define messages (shm-channel->fibers ch))
                         (spawn-fiber (lambda ()
                                        (let again ()
                                          (set! turns (+ turns 1))
                                          (sleep 0.001)
                                          (again))))
                         ;; It sends only when the other fiber has run.
                         (spawn-fiber (lambda ()
                                        (let again ()
                                          (if (< turns 10)
                                              (begin (sleep 0.001) (again))
                                              (shm-channel-send!
                                               ch (string->utf8 "two"))))))
                         (let next ((got '()))
                           (let ((message (get-message messages)))
                             (if (eof-object? message)
                                 (list (reverse (cons 'end got)) (>= turns 10))
                                 (let ((text (utf8->string message)))
                                   (when (string=? text "two")
                                     (shm-channel-close! ch))
                                   (next (cons text got))))))))))))
        (send! ch "one")
        (let ((said (read port)))
          (close-pipe port)
          said)))))


;;; Memory that goes away.

(define (test-faults)
  (test-equal "cut short" '(fault fault fault fault fault)
    (map (lambda (use)
           (with-fresh-name name
             (let ((ch (shm-channel-create name 100000)))
               (cut! name 0)
               (kind (use ch)))))
         (list (lambda (ch) (send! ch "x"))
               (lambda (ch) (receive! ch))
               (lambda (ch) (call-with-shm-slot ch 1 list))
               shm-channel-close! shm-channel-statistics)))
  (test-equal "cut short within the ring: nothing is sent" '(fault 0)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 100000)))
        (cut! name 4096)
        (let ((kind (kind (shm-channel-send! ch (make-bytevector 50000 1)))))
          (list kind (statistic ch 'messages-in))))))
  (test-equal "cut short within the ring: nothing is received" '(fault 1)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 100000)))
        (shm-channel-send! ch (make-bytevector 50000 1))
        (cut! name 4096)
        (let ((kind (kind (receive! ch))))
          (list kind (statistic ch 'messages-in-flight))))))
  (test-equal "cut short where what is to be skipped begins: nothing is sent"
    '(fault 2 0)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 12288)))
        ;; The head is in the last page, and the next message goes to the
        ;; start.
        (shm-channel-send! ch (make-bytevector 9000))
        (receive! ch)
        (shm-channel-send! ch (make-bytevector 2000))
        (receive! ch)
        (cut! name 8192)
        (let ((kind (kind (shm-channel-send! ch (make-bytevector 9000)))))
          (cut! name (+ shm-channel-header-size 12288))
          (list kind (statistic ch 'messages-in)
                (statistic ch 'messages-in-flight))))))
  (test-equal "a slot that nobody touched is not sent if it is lost" '(fault 0)
    (with-fresh-name name
      (let ((ch (shm-channel-create name 12288)))
        (shm-channel-send! ch (make-bytevector 8000))
        (receive! ch)
        (let ((kind (kind (call-with-shm-slot
                           ch 1000 (lambda (bv) (cut! name 8192))))))
          (list kind (statistic ch 'messages-in-flight))))))
  (test-equal "while in place" '(fault fault)
    (map (lambda (use)
           (with-fresh-name name
             (let ((ch (shm-channel-create name 100000)))
               (shm-channel-send! ch (make-bytevector 5000 1))
               (kind (use ch (lambda (bv)
                               (cut! name 0)
                               (bytevector-u8-set! bv 4999 2)))))))
         (list (lambda (ch proc) (call-with-shm-slot ch 5000 proc))
               call-with-shm-message)))
  (test-equal "what is sent from memory that is lost is not sent" '(fault 0 #t)
    (with-fresh-name name
      (let ((bv (shm-create name 8192)))
        (with-channel (ch 10000)
          (cut! name 4096)
          (let* ((kind (kind (shm-channel-send! ch bv)))
                 (sent (statistic ch 'messages-in)))
            (list kind sent (send! ch "x")))))))
  (test-equal "what is received into read-only memory stays" '(fault "hello")
    (with-fresh-name name
      (shm-create name 4096)
      (let ((bv (shm-attach name)))
        (with-channel (ch 10000)
          (send! ch "hello")
          (let ((kind (kind (shm-channel-receive-into! ch bv))))
            (list kind (receive! ch)))))))
  (test-equal "a channel in read-only memory" '(fault fault)
    (with-fresh-name name
      (shm-channel-create name 100)
      (let ((ch (shm-channel (shm-attach name))))
        (list (kind (send! ch "x")) (kind (shm-channel-close! ch)))))))


;;; Waiting.

(define waits
  `(("shm-channel-receive!" 0 ,(lambda (ch) (shm-channel-receive! ch)))
    ("shm-channel-receive-into!" 0
     ,(lambda (ch) (shm-channel-receive-into! ch (make-bytevector 100))))
    ("call-with-shm-message" 0 ,(lambda (ch) (call-with-shm-message ch list)))
    ("shm-channel-send!" 1 ,(lambda (ch) (shm-channel-send! ch (text "x"))))
    ("call-with-shm-slot" 1 ,(lambda (ch) (call-with-shm-slot ch 1 list)))))

;; As many messages as leave no room for one more.
(define (fill! ch full)
  (unless (zero? full)
    (send! ch "12345678")))

(define (usable? ch full)
  (and (or (zero? full) (equal? "12345678" (receive! ch 0)))
       (send! ch "again" 0)
       (equal? "again" (receive! ch 0))
       (= 0 (statistic ch 'waiting-senders) (statistic ch 'waiting-receivers))))

(define (test-waiting)
  (for-each
   (match-lambda
     ((name full wait)
      (for-each
       (match-lambda
         ((what . interrupt)
          (test-assert (format #f "~a: ~a" name what)
            (with-channel (ch 16)
              (fill! ch full)
              (let ((times (map (lambda (i)
                                  (interrupt (lambda () (wait ch)) i))
                                (iota rounds))))
                (format #t "~a: ~a: at most ~a ms~%" name what
                        (apply max times))
                (usable? ch full))))))
       interrupts)))
   waits)
  (for-each
   (match-lambda
     ((name full wait)
      (test-equal (string-append name ": unmapped while it waits") 'out-of-range
        (let ((bv (shm-create #f (+ shm-channel-header-size 16))))
          (shm-unlink (shm-name bv))
          (shm-channel-init! bv)
          (let ((ch (shm-channel bv)))
            (fill! ch full)
            (let ((thread (in-thread (kind (wait ch)))))
              (await-sleepers 1)
              (shm-unmap! bv)
              (join-thread thread)))))
      (when (shm-fault-guard)
        (test-equal (string-append name ": cut short while it waits") 'fault
          (with-fresh-name object
            (let ((ch (shm-channel-create object 16)))
              (fill! ch full)
              (let ((thread (in-thread (kind (wait ch)))))
                (await-sleepers 1)
                (cut! object 0)
                (join-thread thread))))))
      (test-equal (string-append name ": something else is there while it waits")
        'format
        (let ((bv (make-bytevector (+ shm-channel-header-size 16))))
          (shm-channel-init! bv)
          (let ((ch (shm-channel bv)))
            (fill! ch full)
            (let ((thread (in-thread (kind (wait ch)))))
              (await-sleepers 1)
              (bytevector-fill! bv 0)
              (join-thread thread)))))))
   waits)
  (test-equal "a handler may not send while its thread waits to send"
    '(EDEADLK EDEADLK 24 16 33 #t)
    (with-channel (ch 64)
      (for-each (lambda (n) (shm-channel-send! ch (make-bytevector n)))
                '(24 16))
      (let* ((refused '())
             (thread (in-thread (shm-channel-send! ch (make-bytevector 33))))
             (handler
              (lambda ()
                (set! refused
                      (list (kind (send! ch "handler" 0))
                            (kind (call-with-shm-slot ch 1 identity)))))))
        (await-statistic ch 'waiting-senders 1)
        (system-async-mark handler thread)
        (let again ()
          (when (null? refused) (usleep 500) (again)))
        (append refused
                (map (lambda (_)
                       (bytevector-length (shm-channel-receive! ch)))
                     (iota 3))
                (list (join-thread thread))))))
  (test-equal "but may receive, if not wait for what only its thread can send"
    '("12345678" EDEADLK #f #t)
    (with-channel (ch 32)
      (send! ch "12345678")
      (let* ((got '())
             (thread (in-thread (shm-channel-send! ch (make-bytevector 24))))
             (handler (lambda ()
                        (let ((first (receive! ch)))
                          (set! got (list first (kind (receive! ch))
                                          (receive! ch 0)))))))
        (await-statistic ch 'waiting-senders 1)
        (system-async-mark handler thread)
        (let again ()
          (when (null? got) (usleep 500) (again)))
        (shm-channel-receive! ch)
        (append got (list (join-thread thread))))))
  (test-equal "and may receive while its thread waits to receive" '("a" "b")
    (with-channel (ch 100)
      (let* ((handled #f)
             (thread (in-thread (receive! ch)))
             (handler (lambda ()
                        (send! ch "a")
                        (set! handled (receive! ch)))))
        (await-statistic ch 'waiting-receivers 1)
        (system-async-mark handler thread)
        (let again ()
          (unless handled (usleep 500) (again)))
        (send! ch "b")
        (list handled (join-thread thread)))))
  (test-equal "a large message is not passed by small ones for ever" '(#t #t)
    (with-channel (ch 256)
      (let* ((stop? #f)
             (small (map (lambda (_)
                           (in-thread
                            (let again ()
                              (unless stop?
                                (send! ch "small")
                                (again)))))
                         (iota 2)))
             (large (in-thread (shm-channel-send! ch (make-bytevector 248)))))
        (let again ((n 0))
          (let ((length (bytevector-length (shm-channel-receive! ch))))
            (if (= length 248)
                (set! stop? #t)
                (again (+ n 1)))))
        (let drain ()
          (receive! ch 0)
          (unless (every thread-exited? small) (drain)))
        (list (join-thread large) #t))))
  (for-each
   (match-lambda
     ((name . expression)
      (test-equal (string-append name ": Ctrl-C") 'interrupted
        (let* ((port (start-guile OPEN_READ
                                  '(use-modules (posix-shm channel))
                                  '(define ch (shm-channel-create #f 16))
                                  '(sigaction SIGINT
                                     (lambda (s) (throw 'interrupted)))
                                  `(catch 'interrupted
                                     (lambda ()
                                       (write (getpid))
                                       (newline)
                                       (force-output)
                                       ,expression)
                                     (lambda (key) (write key)))))
               (pid (read port)))
          (await-sleepers 1 pid)
          (kill pid SIGINT)
          (let ((said (read port)))
            (close-pipe port)
            said)))))
   '(("shm-channel-receive!" shm-channel-receive! ch)
     ("shm-channel-send!"
      let again () (shm-channel-send! ch #vu8(1)) (again)))))


;;; Many at a time.

;; A message: who sent it, which of its messages it is, and bytes that both
;; determine.
(define (make-message sender n)
  (let* ((size (modulo (* 7 (+ sender 1) n) 200))
         (bv (some-bytes (+ 8 size) (+ n (* 1000003 sender)))))
    (bytevector-u32-native-set! bv 0 sender)
    (bytevector-u32-native-set! bv 4 n)
    bv))

(define (sender-of message) (bytevector-u32-native-ref message 0))
(define (number-of message) (bytevector-u32-native-ref message 4))

;; SENDERS processes send COUNT messages each, and RECEIVERS processes mark in
;; SEEN, words, which they got.  Each checks what it gets, and that of each
;; sender it is later than what it got before.
(define (exchange ch seen senders receivers count)
  (define (send sender)
    (let next ((n 0))
      (when (< n count)
        (let ((message (make-message sender n)))
          (if (odd? n)
              (shm-channel-send! ch message)
              (call-with-shm-slot
               ch (bytevector-length message)
               (lambda (bv)
                 (bytevector-copy! message 0 bv 0
                                   (bytevector-length message))))))
        (when (= n (quotient count 2)) (gc))
        (next (+ n 1)))))
  (define (check last message)
    (let ((sender (sender-of message)) (n (number-of message)))
      (unless (equal? message (make-message sender n))
        (error "torn" sender n))
      (unless (< (vector-ref last sender) n)
        (error "out of order" sender (vector-ref last sender) n))
      (vector-set! last sender n)
      (atomic-u32-fetch-add! seen (* 4 (+ n (* count sender))) 1)))
  (define (receive)
    (let ((last (make-vector senders -1)) (target (make-bytevector 300)))
      (let next ((i 0))
        (match (case (modulo i 3)
                 ((0) (shm-channel-receive! ch))
                 ((1) (match (shm-channel-receive-into! ch target)
                        ((? integer? n)
                         (let ((message (make-bytevector n)))
                           (bytevector-copy! target 0 message 0 n)
                           message))
                        (other other)))
                 (else (call-with-shm-message ch bytevector-copy)))
          ((? eof-object?) #t)
          (message (check last message)
                   (next (+ i 1)))))))
  (let* ((receiving (map (lambda (_) (start-process receive)) (iota receivers)))
         (sent? (in-processes senders send)))
    (shm-channel-close! ch)
    (and sent?
         (every (lambda (pid) (zero? (cdr (waitpid pid)))) receiving)
         (every (lambda (i) (= 1 (atomic-u32-ref seen (* 4 i))))
                (iota (* senders count))))))

(define (test-many)
  (for-each
   (lambda (senders)
     (for-each
      (lambda (receivers)
        (test-assert (format #f "~a senders, ~a receivers" senders receivers)
          (with-mapping (seen (* 4 senders 2000))
            (with-channel (ch 1000)
              (exchange ch seen senders receivers 2000)))))
      '(1 2 8)))
   '(1 2 8))
  (test-assert "with room for one message"
    (with-mapping (seen (* 4 2 2000))
      (with-channel (ch 216)
        (exchange ch seen 2 2 2000)))))

;; What peers write: a process receives and sends, while another scribbles.
(define (test-hostile)
  (define (scribble! bv state)
    (let ((k (* 8 (random (quotient (bytevector-length bv) 8) state))))
      (atomic-u64-set!
       bv k
       (case (random 8 state)
         ((0) 0)
         ((1) (random (expt 2 64) state))
         ((2) (- (expt 2 64) 1))
         ((3) (* 8 (random 300 state)))
         ((4) (ash (getppid) 3))
         ((5) (random 8 state))
         ((6) (- (expt 2 64) (* 8 (+ 1 (random 300 state)))))
         (else (logand (- (expt 2 64) 1) (+ 8 (atomic-u64-ref bv k))))))))
  (define (use ch)
    (define target (make-bytevector 3000))
    (for-each
     (lambda (proc)
       (let ((result (kind (proc))))
         (unless (memq result '(returned format closed EDEADLK EPERM
                                         out-of-range))
           (error "not documented" result))))
     (list (lambda () (shm-channel-send! ch (text "hello") #:timeout 1/1000))
           (lambda () (shm-channel-send! ch target 0 500 #:timeout 0))
           (lambda () (shm-channel-receive! ch #:timeout 1/1000))
           (lambda () (shm-channel-receive-into! ch target #:timeout 0))
           (lambda () (call-with-shm-slot ch 9 list #:timeout 1/1000))
           (lambda () (call-with-shm-message ch list #:timeout 0))
           (lambda () (shm-channel-statistics ch)))))
  (define (initialize! bv)
    ;; There is something beyond the ring, which nobody touches.
    (bytevector-fill! bv 0)
    (shm-channel-init! (shm-view bv 'vu8 4096 4096)))
  (define (beyond-untouched? bv)
    (every (lambda (k) (zero? (bytevector-u64-native-ref bv k)))
           (append (iota 512 0 8) (iota 512 8192 8))))
  (define (test-process name proc)
    (test-equal name '(0 #t)
      (with-mapping (bv 12288)
        (initialize! bv)
        (let ((status (proc bv (shm-view bv 'vu8 4096 4096))))
          (list status (beyond-untouched? bv))))))
  (define (many-times thunk)
    (let loop ((n 0))
      (when (< n (* 10 rounds))
        (thunk)
        (loop (+ n 1)))))
  (test-process
   "whatever was written there"
   (lambda (bv part)
     (cdr (waitpid
           (start-process
            (lambda ()
              (let ((state (seed->random-state (getpid))))
                (many-times
                 (lambda ()
                   (initialize! bv)
                   (let ((ch (shm-channel part)))
                     (many-times
                      (lambda ()
                        (scribble! part state)
                        (scribble! (shm-view part 'vu8 0 1728) state)))
                     (use ch)))))))))))
  (test-process
   "and is written meanwhile"
   (lambda (bv part)
     (let ((ch (shm-channel part)))
       (call-beside-process
        (lambda ()
          (let ((state (seed->random-state (getpid))))
            (let loop ((n 0))
              (when (zero? (modulo n 50))
                (initialize! bv))
              (scribble! part state)
              (scribble! (shm-view part 'vu8 8 1720) state)
              (loop (+ n 1)))))
        (lambda ()
          (cdr (waitpid (start-process
                         (lambda ()
                           (many-times (lambda () (use ch)))))))))))))

(define (test-primitives)
  ;; What the modules check before is checked again; none ends the process.
  (test-equal "arguments of any type, to each primitive of the extension" 'done
    (guile-says
     '(use-modules (ice-9 match) (posix-shm channel) (rnrs bytevectors))
     '(define bv (make-bytevector 4096))
     '(define objects
        (list #f #t -1 1.5 (expt 2 70) '() "x" (make-string 1000 #\x) 'x
              (vector 1 2) car bv (make-bytevector 0)))
     '(shm-channel-init! bv)
     ;; So that nobody waits for a message.
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
       ;; First, while this process has one thread, what forks most.
       (test-group "many" (test-many))
       (test-group "primitives" (test-primitives))
       (test-group "what peers write" (test-hostile))
       (test-group "channels" (test-channels))
       (test-group "formats" (test-formats))
       (test-group "messages" (test-messages))
       (test-group "closing" (test-closing))
       (test-group "in place" (test-in-place))
       (test-group "data" (test-data))
       (test-group "ports" (test-ports))
       (test-group "fibers" (test-fibers))
       (when (shm-fault-guard)
         (test-group "faults" (test-faults)))
       (test-group "waiting" (test-waiting)))
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

;;; SPDX-License-Identifier: BSD-3-Clause
;;; broadcast.scm - broadcasts, tested.

(use-modules (ice-9 exceptions)
             (ice-9 match)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm broadcast)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

(define* (publish! b string #:optional timeout)
  (shm-broadcast-send! b (text string) #:timeout timeout))

(define (string-or-other message)
  (if (bytevector? message)
      (utf8->string message)
      message))

(define* (next s #:optional (timeout 60))
  (string-or-other (shm-broadcast-receive! s #:timeout timeout)))

(define (latest s)
  (string-or-other (shm-broadcast-latest s)))

(define (all s)
  "Return what S can receive now."
  (match (next s 0)
    ((or #f (? eof-object?)) '())
    (message (cons message (all s)))))

(define-syntax-rule (with-broadcast (b capacity) body ...)
  ;; Shared with children of a fork.
  (let ((b (shm-broadcast-create #f capacity)))
    body ...))


;;; One process.

(define (test-messages)
  (with-broadcast (b 1000)
    (let ((s (shm-broadcast-subscribe b))
          (other (shm-broadcast-subscribe b)))
      (test-equal "nothing yet" '(#f #f #f 0)
        (list (next s 0) (next s 0.001) (latest s) (shm-broadcast-missed s)))
      (test-equal "each subscriber sees each message"
        '((#t #t #t) ("one" "" "three") ("one" "" "three"))
        (let ((sent (map (lambda (message) (publish! b message))
                         '("one" "" "three"))))
          (list sent (all s) (all other))))
      (test-equal "a part of a bytevector" '("ell" "llo")
        (begin
          (shm-broadcast-send! b (text "hello") 1 3)
          (shm-broadcast-send! b (text "hello") 2)
          (all s)))
      (test-equal "data" '((a "b" #(1 2.5)) nothing)
        (let ((s (shm-broadcast-subscribe b)))
          (shm-broadcast-send-datum! b '(a "b" #(1 2.5)) #:timeout 1)
          (list (shm-broadcast-receive-datum! s)
                (shm-broadcast-receive-datum! s #:timeout 0
                                              #:timeout-value 'nothing))))
      (test-equal "no datum: it is skipped" '(format "next")
        (let ((s (shm-broadcast-subscribe b)))
          (publish! b "\xff")
          (shm-broadcast-send! b (u8-list->bytevector '(255)))
          (publish! b "next")
          (next s)
          (let ((kind (kind (shm-broadcast-receive-datum! s))))
            (list kind (next s)))))
      (test-equal "uniform vectors" 8
        (begin
          (shm-broadcast-send! b (make-f64vector 1 0.5))
          (bytevector-length (shm-broadcast-latest s)))))))

(define (test-from)
  (with-broadcast (b 1000)
    (define (of from)
      (all (shm-broadcast-subscribe b #:from from)))
    (test-equal "of an empty one" '(() () ())
      (map of '(now latest oldest)))
    (for-each (lambda (message) (publish! b message)) '("a" "b" "c"))
    (test-equal "of one with messages" '(() ("c") ("a" "b" "c"))
      (map of '(now latest oldest)))
    (test-equal "by default from now on" '("d")
      (let ((s (shm-broadcast-subscribe b)))
        (publish! b "d")
        (all s)))
    (test-equal "after messages were overwritten" '(() 1 #t 0)
      (begin
        (for-each (lambda (i) (publish! b (number->string i))) (iota 1000))
        (let ((s (shm-broadcast-subscribe b #:from 'oldest)))
          (list (of 'now) (length (of 'latest))
                (let ((messages (all s)))
                  (and (> (length messages) 30)
                       (equal? messages
                               (map number->string
                                    (iota (length messages)
                                          (- 1000 (length messages)))))))
                (shm-broadcast-missed s)))))))

(define (test-latest)
  (with-broadcast (b 1000)
    (let ((s (shm-broadcast-subscribe b))
          (bv (make-bytevector 10 7)))
      (test-equal "the newest, again and again" '("b" "b" #f 0)
        (begin
          (for-each (lambda (message) (publish! b message)) '("a" "b"))
          (let* ((first (latest s))
                 (second (latest s)))
            (list first second (next s 0) (shm-broadcast-missed s)))))
      (test-equal "then those after it" '("c" "d")
        (begin
          (for-each (lambda (message) (publish! b message)) '("c" "d"))
          (all s)))
      (test-equal "what it skips is not missed" '("999" 0 #f)
        (begin
          (for-each (lambda (i) (publish! b (number->string i))) (iota 1000))
          (let ((latest (latest s)))
            (list latest (shm-broadcast-missed s) (next s 0)))))
      (test-equal "into a bytevector" '(5 #vu8(7 7 104 101 108 108 111 7 7 7))
        (begin
          (publish! b "hello")
          (let ((count (shm-broadcast-latest-into! s bv 2)))
            (list count bv))))
      (test-equal "too short a bytevector" '(out-of-range out-of-range "hello")
        (list (kind (shm-broadcast-latest-into! s bv 6))
              (kind (shm-broadcast-latest-into! s bv 11))
              (latest s)))
      (test-equal "into nothing" 0
        (begin
          (publish! b "")
          (shm-broadcast-latest-into! s bv 10)))
      (test-equal "none yet" #f
        (with-broadcast (b 1000)
          (shm-broadcast-latest-into! (shm-broadcast-subscribe b) bv))))))

;; Messages of sizes that wrap around at each offset, with a subscriber that
;; receives each, one that lags behind and one that reads the latest.
(define (test-wrap)
  (define (wrap capacity step)
    (with-broadcast (b capacity)
      (let ((fast (shm-broadcast-subscribe b))
            (slow (shm-broadcast-subscribe b))
            (last (shm-broadcast-subscribe b)))
        (let loop ((n 0) (received 0))
          (if (< n 300)
              (let ((message (some-bytes (modulo (* n step)
                                                 (+ 1 (quotient capacity 2)))
                                         n)))
                (shm-broadcast-send! b message)
                (unless (and (equal? message (shm-broadcast-receive! fast))
                             (equal? message (shm-broadcast-latest last)))
                  (error "not the message" capacity step n))
                (loop (+ n 1)
                      (if (and (zero? (modulo n 5))
                               (shm-broadcast-receive! slow #:timeout 0))
                          (+ received 1)
                          received)))
              (let ((rest (drain slow)))
                (list (shm-broadcast-missed fast) (shm-broadcast-missed last)
                      (+ received rest (shm-broadcast-missed slow)))))))))
  (define (drain s)
    (if (shm-broadcast-receive! s #:timeout 0)
        (+ 1 (drain s))
        0))
  (test-equal "at each offset" '((0 0 300))
    (delete-duplicates
     (append-map (lambda (capacity)
                   (map (lambda (step) (wrap capacity step)) (iota 20 1)))
                 '(16 17 40 64 100 1000)))))

(define (test-sizes)
  (for-each
   (lambda (capacity)
     (with-broadcast (b capacity)
       (let ((s (shm-broadcast-subscribe b))
             (half (quotient capacity 2)))
         (test-equal (format #f "half of ~a bytes" capacity)
           (list #t half 'out-of-range half)
           (let* ((sent (shm-broadcast-send! b (make-bytevector half)))
                  (size (bytevector-length (shm-broadcast-receive! s)))
                  (kind (kind (shm-broadcast-send!
                               b (make-bytevector (+ half 1))))))
             (list sent size kind
                   (bytevector-length (shm-broadcast-latest s))))))))
   '(16 17 31 32 1000 65536 1000000)))

(define (test-closing)
  (with-broadcast (b 1000)
    (let ((s (shm-broadcast-subscribe b)))
      (publish! b "last")
      (test-equal "once" '(#t #f)
        (let ((first (shm-broadcast-close! b)))
          (list first (shm-broadcast-close! b))))
      (test-equal "nothing can be sent" '(closed closed)
        (list (kind (publish! b "x"))
              (kind (shm-broadcast-send-datum! b 1))))
      (test-equal "what was sent can be received, then the end"
        '("last" #t #t "last")
        (let* ((last (next s))
               (end (next s)))
          (list last (eof-object? end)
                (eof-object? (shm-broadcast-receive-datum! s))
                (latest s))))
      (test-equal "subscribers can still come" '("last" #t)
        (let* ((late (shm-broadcast-subscribe b #:from 'oldest))
               (last (next late)))
          (list last (eof-object? (next late)))))))
  (test-assert "a close wakes subscribers"
    (with-broadcast (b 1000)
      (let ((pid (start-process
                  (lambda ()
                    (unless (eof-object?
                             (shm-broadcast-receive!
                              (shm-broadcast-subscribe b)))
                      (error "no end"))))))
        (await-sleepers 1 pid)
        (shm-broadcast-close! b)
        (zero? (cdr (waitpid pid)))))))


;;; Errors.

(define (test-errors)
  (define (create capacity . arguments)
    (apply shm-broadcast-create #f capacity arguments))
  (define bv (make-bytevector 10))
  (with-broadcast (b 1000)
    (let ((s (shm-broadcast-subscribe b)))
      (test-equal "messages"
        '("A message of 501 bytes can never be sent: the largest has 500, \
half the capacity of the broadcast"
          "A broadcast's capacity is at least 16 bytes: 15"
          "Wrong type argument (expecting broadcast, as (shm-broadcast-attach \
name) returns): #<shm-subscriber of anonymous shared memory>"
          "Wrong type argument (expecting subscriber, as \
(shm-broadcast-subscribe broadcast) returns): #<shm-broadcast of 1000 bytes in \
anonymous shared memory>"
          "from is not one of now, latest and oldest: first")
        (map (lambda (thunk) (caddr (raised thunk)))
             (list (lambda () (shm-broadcast-send! b (make-bytevector 501)))
                   (lambda () (create 15))
                   (lambda () (shm-broadcast-send! s bv))
                   (lambda () (shm-broadcast-receive! b))
                   (lambda () (shm-broadcast-subscribe b #:from 'first)))))
      (test-equal "wrong types" (make-list 11 'wrong-type-arg)
        (map (lambda (thunk) (kind (thunk)))
             (list (lambda () (create 100.0))
                   (lambda () (shm-broadcast-send! b "x"))
                   (lambda () (shm-broadcast-send! 1 bv))
                   (lambda () (shm-broadcast-send! b bv 0.5))
                   (lambda () (shm-broadcast-send! b bv #:timeout 'x))
                   (lambda () (shm-broadcast-receive! 1))
                   (lambda () (shm-broadcast-receive! s #:timeout "x"))
                   (lambda () (shm-broadcast-latest-into! s "x"))
                   (lambda () (shm-broadcast-missed b))
                   (lambda () (shm-broadcast-send-datum! b car))
                   (lambda () (shm-broadcast-subscribe 1)))))
      (test-equal "out of range" (make-list 5 'out-of-range)
        (map (lambda (thunk) (kind (thunk)))
             (list (lambda () (create -1))
                   (lambda () (create (expt 2 80)))
                   (lambda () (shm-broadcast-send! b bv 11))
                   (lambda () (shm-broadcast-send! b bv 1 10))
                   (lambda ()
                     (shm-broadcast-send-datum! b (make-bytevector 600))))))
      (test-equal "then it still works" '("x")
        (begin
          (publish! b "x")
          (all s)))
      (test-equal "predicates" '((#t #f #f) (#f #t #f))
        (list (map shm-broadcast? (list b s bv))
              (map shm-subscriber? (list b s bv)))))))

(define (test-names)
  (test-equal "none" '(ENOENT ENOENT #f #f)
    (let ((name (fresh-name)))
      (list (kind (shm-broadcast-attach name))
            (kind (shm-broadcast-subscribe name))
            (shm-broadcast-attach name #:wait 0.01)
            (shm-broadcast-subscribe name #:wait 0.01))))
  (test-equal "something else" '(format format format format)
    (with-fresh-name name
      (shm-channel-create name 1000)
      (list (kind (shm-broadcast-attach name))
            (kind (shm-broadcast-subscribe name))
            (kind (shm-broadcast-create name 100 #:exists 'attach
                                        #:timeout 0))
            (with-fresh-name other
              (shm-broadcast-create other 1000)
              (kind (shm-channel-attach other))))))
  (test-assert "what to do"
    (with-fresh-name name
      (shm-channel-create name 1000)
      (match (guard (c (#t (exception-message c)))
               (shm-broadcast-attach name))
        ((? string? message)
         (string-contains message "make one with shm-broadcast-create")))))
  (with-fresh-name name
    (let* ((b (shm-broadcast-create name 1000))
           (s (shm-broadcast-subscribe name)))
      (test-equal "it has a name"
        (list (format #f "#<shm-broadcast of 1000 bytes in ~s>" name)
              (format #f "#<shm-subscriber of ~s>" name))
        (list (object->string b) (object->string s)))
      (test-equal "one that exists" '(EEXIST returned out-of-range)
        (list (kind (shm-broadcast-create name 1000))
              (kind (shm-broadcast-create name 1000 #:exists 'attach))
              (kind (shm-broadcast-create name 1001 #:exists 'attach))))
      (test-equal "attached ones send, too" '("x" "y")
        (begin
          (publish! (shm-broadcast-attach name) "x")
          (publish! (shm-broadcast-create name 16 #:exists 'attach) "y")
          (all s)))
      (test-equal "one that is replaced" '(("z") ())
        (let ((new (shm-broadcast-create name 1000 #:exists 'replace)))
          (publish! b "z")
          (let ((old (all s)))
            (list old
                  (all (shm-broadcast-subscribe name #:from 'oldest)))))))))


;;; Several processes.

(define (test-processes)
  (test-assert "a subscriber that sleeps is woken"
    (with-broadcast (b 1000)
      (let ((pid (start-process
                  (lambda ()
                    (let ((s (shm-broadcast-subscribe b)))
                      (unless (equal? (next s #f) "hello")
                        (error "not that")))))))
        (await-sleepers 1 pid)
        (publish! b "hello")
        (zero? (cdr (waitpid pid))))))
  (test-assert "one that waits for the name"
    (with-fresh-name name
      (let ((pid (start-process
                  (lambda ()
                    (let ((s (shm-broadcast-subscribe name #:wait 60
                                                      #:from 'oldest)))
                      (unless (equal? (next s) "hello")
                        (error "not that")))))))
        (publish! (shm-broadcast-create name 1000) "hello")
        (zero? (cdr (waitpid pid))))))
  (test-equal "a child of a fork has a copy of the subscriber" '(0 "a")
    (with-broadcast (b 1000)
      (let ((s (shm-broadcast-subscribe b)))
        (publish! b "a")
        (let ((status (cdr (waitpid (start-process
                                     (lambda ()
                                       (unless (equal? (next s) "a")
                                         (error "not that"))))))))
          (list status (next s))))))
  (test-equal "a stopped subscriber does not delay the sender" '(#t 0)
    (with-broadcast (b 1000)
      (call-with-mapping 8
        (lambda (state)
          (let ((pid (start-process
                      (lambda ()
                        (let ((s (shm-broadcast-subscribe b)))
                          (atomic-u64-set! state 0 1)
                          (let loop ((received 0))
                            (match (shm-broadcast-receive! s)
                              ((? eof-object?)
                               (unless (= 10000 (+ received
                                                   (shm-broadcast-missed s)))
                                 (error "wrong" received
                                        (shm-broadcast-missed s))))
                              (_ (loop (+ received 1))))))))))
            (await (= 1 (atomic-u64-ref state 0)))
            (kill pid SIGSTOP)
            (waitpid pid WUNTRACED)
            (let ((sent (every (lambda (i)
                                 (publish! b (number->string i) 60))
                               (iota 10000))))
              (shm-broadcast-close! b)
              (kill pid SIGCONT)
              (list sent (cdr (waitpid pid)))))))))
  (test-equal "a sender waits for a stopped one, and takes over a killed one's \
lock" '(#f #f #t #t "y")
    (with-broadcast (b 200)
      (let* ((s (shm-broadcast-subscribe b))
             (big (make-bytevector 100))
             (pid (stopped-sender b big)))
        (let* ((now (publish! b "x" 0))
               (later (publish! b "x" 0.01)))
          (kill-process pid)
          (let ((sent (publish! b "y" 60)))
            (list now later sent #t (latest s))))))))

(define (stopped-sender b message)
  "Return the number of a process that sends MESSAGE again and again and is
stopped while it owns the lock."
  (let ((pid (start-process
              (lambda ()
                (let loop ()
                  (shm-broadcast-send! b message)
                  (loop))))))
    (let again ()
      (kill pid SIGSTOP)
      (waitpid pid WUNTRACED)
      (when (shm-broadcast-send! b message #:timeout 0)
        (kill pid SIGCONT)
        (usleep (random 1000))
        (again)))
    pid))

;; An object of another user, with read permission.
(define (test-reading-only)
  (define nobody 65534)
  (define (start-unprivileged thunk)
    (start-process (lambda ()
                     (when root?
                       (setgid nobody)
                       (setuid nobody))
                     (thunk))))
  (define (receive-all name state)
    (let ((s (shm-broadcast-subscribe name)))
      (atomic-u64-set! state 0 1)
      (let loop ((n 0))
        (match (next s #f)
          ((? eof-object?)
           (unless (= n 100)
             (error "not all" n)))
          (message
           (unless (equal? message (number->string n))
             (error "not that" message n))
           (atomic-u64-set! state 0 (+ n 2))
           (loop (+ n 1)))))))
  (test-equal "a subscriber that can only read" 0
    (with-fresh-name name
      (with-mapping (state 8)
        (let ((b (shm-broadcast-create name 100000 #:mode #o444))
              (pid (start-unprivileged (lambda () (receive-all name state)))))
          (await (= 1 (atomic-u64-ref state 0)))
          (for-each (lambda (n)
                      (publish! b (number->string n))
                      (when (zero? (modulo n 20))
                        ;; It has polled until there was none.
                        (await (= (+ n 2) (atomic-u64-ref state 0)))))
                    (iota 100))
          (shm-broadcast-close! b)
          (cdr (waitpid pid))))))
  (test-equal "it cannot send" 0
    (with-fresh-name name
      (shm-broadcast-create name 1000 #:mode #o444)
      (cdr (waitpid
            (start-unprivileged
             (lambda ()
               (match (raised (lambda () (shm-broadcast-attach name)))
                 (('system-error "shm-broadcast-attach" _ (? integer? errno))
                  (unless (= errno EACCES)
                    (error "another errno" errno)))))))))))

(test-begin "broadcast")

(when-posix-shm
  (test-group "messages" (test-messages))
  (test-group "from" (test-from))
  (test-group "latest" (test-latest))
  (test-group "wrap" (test-wrap))
  (test-group "sizes" (test-sizes))
  (test-group "closing" (test-closing))
  (test-group "errors" (test-errors))
  (test-group "names" (test-names))
  (test-group "processes" (test-processes))
  (test-group "reading only" (test-reading-only)))

(test-end "broadcast")

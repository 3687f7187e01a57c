;;; SPDX-License-Identifier: BSD-3-Clause
;;; languages.scm - the same locks, channels and broadcasts in Guile, C and
;;; Python, tested.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm broadcast)
             (posix-shm channel)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define builddir (or (getenv "abs_top_builddir") "."))
(define srcdir (or (getenv "abs_top_srcdir") "."))

(define languages (if (python?) '(guile c python) '(guile c)))


;;; Peers: those in C and Python are in peer.c and peer.py.

(define pattern
  (u8-list->bytevector (map (lambda (i) (modulo i 256)) (iota 3500))))

(define (message i)
  (let* ((size (if (zero? (modulo i 1000)) 3000 (modulo (* i 7919) 301)))
         (bv (make-bytevector (+ 8 size))))
    (bytevector-u64-set! bv 0 i (endianness little))
    (bytevector-copy! pattern (modulo i 256) bv 8 size)
    bv))

(define (number bv)
  (bytevector-u64-ref bv 0 (endianness little)))

(define (check bv i)
  (unless (equal? bv (message i))
    (error "another message:" i bv)))

(define (each count proc)
  (do ((i 0 (+ i 1)))
      ((= i count))
    (proc i)))

(define (send name count)
  (let ((ch (shm-channel-attach name)))
    (each count
          (lambda (i)
            (let ((bv (message i)))
              (if (zero? (modulo i 3))
                  (call-with-shm-slot ch (bytevector-length bv)
                    (lambda (slot)
                      (bytevector-copy! bv 0 slot 0 (bytevector-length bv))))
                  (shm-channel-send! ch bv)))))))

(define (receive name count)
  (let ((ch (shm-channel-attach name)))
    (each count
          (lambda (i)
            (if (zero? (modulo i 3))
                (call-with-shm-message ch (lambda (bv) (check bv i)))
                (check (shm-channel-receive! ch) i))))))

(define (publish name count)
  (let ((b (shm-broadcast-attach name)))
    (each count (lambda (i) (shm-broadcast-send! b (message i))))
    (shm-broadcast-close! b)))

(define (subscribe name count)
  (let ((s (shm-broadcast-subscribe name #:from 'oldest)))
    (let next ((following count) (missed 0))
      (match (shm-broadcast-receive! s)
        ((? eof-object?)
         (unless (= following count)
           (error "not the last one:" following)))
        (bv
         (let* ((i (number bv))
                (skipped (- (shm-broadcast-missed s) missed)))
           (check bv i)
           (unless (or (= following count) (= i (+ following skipped)))
             (error "missed:" i following skipped))
           (next (+ i 1) (+ missed skipped))))))))

(define (add-1! bv k)
  (bytevector-u64-native-set! bv k (+ 1 (bytevector-u64-native-ref bv k))))

(define (lock name count)
  (let ((bv (shm-attach name #:writable? #t)))
    (each count (lambda (i) (with-shm-mutex bv 0 (add-1! bv 24))))))

;; In the object of locks: a mutex; two numbers that it guards; a third that says
;; whether it is over; and one for each peer.
(define channel-offset 4096)

(define (work name slot)
  (let* ((bv (shm-attach name #:writable? #t))
         (ch (shm-channel (shm-view bv 'vu8 channel-offset))))
    (define (repair)
      (bytevector-u64-native-set! bv 32 (bytevector-u64-native-ref bv 24)))
    (let again ((n 0))
      (when (zero? (atomic-u64-ref bv 40))
        (call-with-shm-mutex bv 0
          (lambda ()
            (unless (= (bytevector-u64-native-ref bv 24)
                       (bytevector-u64-native-ref bv 32))
              (error "inconsistent"))
            (add-1! bv 24)
            (add-1! bv 32))
          #:on-abandoned repair)
        (shm-channel-send! ch (message n) #:timeout 0.01)
        (let ((received (shm-channel-receive! ch #:timeout 0.01)))
          (when received
            (check received (number received))))
        (add-1! bv (+ 48 (* 8 slot)))
        (again (+ n 1))))))

(define commands
  `((send . ,send) (receive . ,receive) (publish . ,publish)
    (subscribe . ,subscribe) (lock . ,lock) (work . ,work)))

(define (start language command name argument)
  "Start a peer in LANGUAGE and return its process id."
  (define arguments
    (list (symbol->string command) name (number->string argument)))
  (if (eq? language 'guile)
      (start-process (lambda () ((assq-ref commands command) name argument)))
      (start-process
       (lambda ()
         (if (eq? language 'c)
             (apply execl (string-append builddir "/tests/peer") "peer"
                    arguments)
             (apply execlp "python3" "python3"
                    (string-append srcdir "/tests/peer.py") arguments))))))

(define (finish . pids)
  (map (lambda (pid) (status:exit-val (cdr (waitpid pid)))) pids))


;;; Tests.

(define messages (* 1000 rounds))

(define (test-pair from to)
  (test-equal (format #f "~a messages from ~a to ~a" messages from to) '(0 0)
    (with-fresh-name name
      (shm-channel-create name 10000)
      (finish (start from 'send name messages)
              (start to 'receive name messages))))
  (test-equal (format #f "broadcast from ~a to ~a" from to) '(0 0)
    (with-fresh-name name
      (shm-broadcast-create name 100000)
      (let ((subscriber (start to 'subscribe name messages)))
        (finish (start from 'publish name messages) subscriber))))
  (test-equal (format #f "~a and ~a lock a mutex" from to)
    `((0 0) ,(* 2 messages))
    (with-fresh-name name
      (let ((bv (shm-create name 4096
                            #:initialize (lambda (bv) (shm-mutex-init! bv 0)))))
        (list (finish (start from 'lock name messages)
                      (start to 'lock name messages))
              (bytevector-u64-native-ref bv 24))))))

(define (test-killing)
  (define n (length languages))
  (define (initialize! bv)
    (shm-mutex-init! bv 0)
    (shm-channel-init! (shm-view bv 'vu8 channel-offset)))
  (test-equal "peers that are killed stop no other" (make-list n 0)
    (with-fresh-name name
      (let ((bv (shm-create name 20000 #:initialize initialize!))
            (pids (make-vector n)))
        (define (start! i)
          (vector-set! pids i (start (list-ref languages i) 'work name i)))
        (define (progress i)
          (atomic-u64-ref bv (+ 48 (* 8 i))))
        (define (await-progress peers)
          (let ((before (map progress peers)))
            (await (every (lambda (i before) (> (progress i) (+ before 3)))
                          peers before))))
        (for-each start! (iota n))
        (await-progress (iota n))
        (each (* 3 rounds)
              (lambda (round)
                (let ((victim (random n)))
                  (usleep (random 2000))
                  (kill (vector-ref pids victim) SIGKILL)
                  (waitpid (vector-ref pids victim))
                  (await-progress (delv victim (iota n)))
                  (start! victim))))
        (await-progress (iota n))
        (atomic-u64-set! bv 40 1)
        (apply finish (vector->list pids))))))

(define (test-data)
  (unless (and (python?)
               (zero? (system* "python3" "-c" "
try:
    import cbor2
except ImportError:
    raise SystemExit (1)")))
    (test-skip 1))
  (let ((data (list 0 -1 (expt 2 70) (- (expt 2 70)) 1.5 -0.0 "text" "ä𝄞" ""
                    #vu8() #vu8(1 2 255) #t #f '(1 (2 "x") ()) 'symbol)))
    (test-equal "data from Guile to Python and back" data
      (with-fresh-name name
        (with-fresh-name back
          (let* ((ch (shm-channel-create name 10000))
                 (replies (shm-channel-create back 10000))
                 (pid (start-process
                       (lambda ()
                         (execlp "python3" "python3"
                                 (string-append srcdir "/tests/peer.py")
                                 "echo" name back))))
                 (received (map (lambda (datum)
                                  (shm-channel-send-datum! ch datum)
                                  (shm-channel-receive-datum! replies))
                                data)))
            (shm-channel-close! ch)
            (and (equal? (finish pid) '(0)) received)))))))

(test-begin "languages")

(when-posix-shm
  (for-each (lambda (from)
              (for-each (lambda (to) (test-pair from to)) languages))
            languages)
  (test-killing)
  (test-data))

(test-end "languages")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; languages.scm - the same locks, channels and broadcasts in Guile, C and
;;; Python, tested.

(use-modules (posix-shm)
             (posix-shm atomic)
             (posix-shm broadcast)
             (posix-shm channel)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests peer)
             (tests support))

(define builddir (or (getenv "abs_top_builddir") "."))
(define srcdir (or (getenv "abs_top_srcdir") "."))

(define python (find-python))

(define languages (if python '(guile c python) '(guile c)))

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
             (apply execl python python
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
  (define python (find-python "cbor2"))
  (unless python
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
                         (execl python python
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

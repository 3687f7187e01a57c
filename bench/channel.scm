;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel.scm - how fast channels are, beside pipes, rings and queues.
;;; Usage: guile channel.scm TWIN QUEUE [REPETITIONS]   (see channel-twin.c, mp-queue.py)

;;; All take turns; a ratio is that of one repetition, so that what slows the
;;; machine slows both.

(use-modules ((ice-9 format) #:select (format))
             (ice-9 match)
             (ice-9 popen)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm channel)
             ((rnrs bytevectors) #:select (make-bytevector bytevector-length))
             (srfi srfi-1))

(define (nanoseconds)
  (* (get-internal-real-time)
     (/ 1000000000 internal-time-units-per-second)))

(define (median numbers)
  (list-ref (sort numbers <) (quotient (length numbers) 2)))

(define-syntax-rule (repeat count body ...)
  (let next ((i 0))
    (when (< i count)
      body ...
      (next (+ i 1)))))

(define-syntax-rule (in-child body ...)
  (let ((pid (primitive-fork)))
    (when (zero? pid)
      body ...
      (primitive-_exit 0))
    pid))

(define (ring-capacity size)
  (if (> size 16384) (* 4 size) 65536))


;;; One way: nanoseconds of COUNT messages, from the first on.

(define (one-way size count send receive)
  (let* ((ch (shm-channel-create #f (ring-capacity size)))
         (pid (in-child (send ch (make-bytevector size 1) (+ count 1))))
         (target (make-bytevector size)))
    (receive ch target 1)
    (let ((start (nanoseconds)))
      (receive ch target count)
      (let ((time (- (nanoseconds) start)))
        (waitpid pid)
        time))))

(define (send ch message count)
  (repeat count (shm-channel-send! ch message)))

(define (send-in-place ch message count)
  (let ((size (bytevector-length message)))
    (repeat count (call-with-shm-slot ch size touch))))

;; The first and the last byte: what is in place is not copied.
(define (touch bv)
  (let ((last (- (bytevector-length bv) 1)))
    (array-set! bv 1 0)
    (array-set! bv 1 last)))

(define (receive ch target count)
  (repeat count (shm-channel-receive! ch)))

(define (receive-into ch target count)
  (repeat count (shm-channel-receive-into! ch target)))

(define (receive-in-place ch target count)
  (repeat count (call-with-shm-message ch (lambda (bv) (array-ref bv 0)))))


;;; Round trips: the median and the 99th percentile.

(define (trips size count)
  (let* ((there (shm-channel-create #f 65536))
         (back (shm-channel-create #f 65536))
         (times (make-vector count 0))
         (message (make-bytevector size 1))
         (target (make-bytevector size))
         (pid (in-child
               (repeat (+ count 500)
                       (shm-channel-receive-into! there target)
                       (shm-channel-send! back target)))))
    (define-syntax-rule (trip)
      (begin
        (shm-channel-send! there message)
        (shm-channel-receive-into! back target)))
    ;; What a fork makes slow at first is not what is measured.
    (repeat 500 (trip))
    (let next ((i 0))
      (when (< i count)
        (let ((start (nanoseconds)))
          (trip)
          (vector-set! times i (- (nanoseconds) start))
          (next (+ i 1)))))
    (waitpid pid)
    (let ((times (sort (vector->list times) <)))
      (list (list-ref times (quotient count 2))
            (list-ref times (quotient (* 99 count) 100))))))

(define (trips-on-one-processor size count)
  (let ((before (getaffinity 0)))
    (setaffinity 0 (make-bitvector 1 #t))
    (let ((times (trips size count)))
      (setaffinity 0 before)
      times)))


;;; The table.

(define (ask peer measurement size count)
  (format peer "~a ~a ~a~%" measurement size count)
  (force-output peer)
  (read peer))

(define (print-row name own other ratios goal)
  (format #t "~36a ~9,3f ~9,3f   ~6,2f (~,2f to ~,2f)   ~a~%" name
          (/ own 1000.) (/ other 1000.) (median ratios)
          (apply min ratios) (apply max ratios) goal))

;; Peers that are measured fewer times, since they are slow.
(define (fewer count) (max 1 (quotient count 20)))

(define (compare name repetitions size count own peers)
  "Print, for each of PEERS, a name, a procedure like OWN and a goal, how many times
faster than that OWN moves messages."
  (let ((rows (map (lambda (i)
                     (cons (own size count)
                           (map (match-lambda ((_ peer . _) (peer size count)))
                                peers)))
                   (iota repetitions))))
    (for-each
     (lambda (peer i)
       (match peer
         ((peer-name _ goal)
          (let ((times (map (lambda (row) (list-ref row (+ i 1))) rows)))
            (print-row (string-append name " / " peer-name)
                       (/ (median (map car rows)) count)
                       (/ (median times) count)
                       (map (lambda (row time) (/ time (car row) 1.)) rows times)
                       goal)))))
     peers
     (iota (length peers)))))

(define (compare-trips name repetitions count own peer goals)
  (let ((rows (map (lambda (i) (list (own 64 count) (peer 64 count)))
                   (iota repetitions))))
    (for-each
     (lambda (pick percentile goal)
       (let ((own (map (lambda (row) (pick (first row))) rows))
             (other (map (lambda (row) (pick (second row))) rows)))
         (print-row (string-append name ", " percentile)
                    (median own) (median other)
                    (map (lambda (a b) (/ b a 1.)) own other) goal)))
     (list first second) '("p50" "p99") goals)))

(define (main twin queue repetitions)
  (define (by measurement)
    (lambda (size count) (ask twin measurement size count)))
  (define (by-queue size count)
    (* (/ count (fewer count)) (ask queue "queue" size (fewer count))))
  (define (own send receive)
    (lambda (size count) (one-way size count send receive)))
  (format #t "One message, in µs                     channel      peer   \
times as fast: median (range), goal~%")
  (compare "64 B, send! receive!" repetitions 64 200000 (own send receive)
           `(("C pipe" ,(by "pipe") 5)
             ,@(if queue `(("mp.Queue" ,by-queue 50)) '())
             ("C ring" ,(by "ring") -)))
  (compare "64 B, send! receive-into!" repetitions 64 200000
           (own send receive-into) `(("C pipe" ,(by "pipe") -)))
  (compare "4 KiB, send! receive-into!" repetitions 4096 50000
           (own send receive-into)
           `(("C pipe" ,(by "pipe") 3) ("C ring" ,(by "ring") 0.5)))
  (compare "1 MiB, send! receive-into!" repetitions 1048576 500
           (own send receive-into)
           `(("C ring" ,(by "ring") 0.7) ("C pipe" ,(by "pipe") -)))
  (compare "1 MiB, copied into and out of place" repetitions 1048576 500
           (own send-in-place receive-in-place)
           `(("C ring that copies" ,(by "ring") 1.0)))
  (format #t "~%A round trip of 64 B~%")
  (compare-trips "C pipe" repetitions 20000 trips (by "pipe-trip") '(5 5))
  (compare-trips "C futex, on one processor" repetitions 20000
                 trips-on-one-processor (by "futex-trip") '(0.77 0.77))
  (costs repetitions))


;;; What the cost does not depend on.

(define (cost ch count)
  "Nanoseconds of a message of 64 bytes sent and received by this process."
  (let ((message (make-bytevector 64)) (target (make-bytevector 64)))
    (let ((start (nanoseconds)))
      (repeat count
              (shm-channel-send! ch message)
              (shm-channel-receive-into! ch target))
      (/ (- (nanoseconds) start) count 1.))))

(define (throughput senders count)
  "Nanoseconds of a message of 64 bytes, when SENDERS processes send COUNT in all."
  (let* ((ch (shm-channel-create #f 65536))
         (each (quotient count senders))
         (go (shm-map (shm-open-anonymous #:size 8)))
         (pids (map (lambda (_)
                      (in-child
                       (atomic-wait go 0 0)
                       (send ch (make-bytevector 64) each)))
                    (iota senders)))
         (target (make-bytevector 64)))
    (usleep 50000)
    (let ((start (nanoseconds)))
      (atomic-u32-set! go 0 1)
      (atomic-notify! go 0)
      (receive-into ch target (* each senders))
      (let ((time (- (nanoseconds) start)))
        (for-each waitpid pids)
        (/ time (* each senders) 1.)))))

(define (costs repetitions)
  (define (row name values of)
    (format #t "~30a" name)
    (for-each (lambda (value)
                (format #t " ~a: ~,1f" value
                        (median (map (lambda (_) (of value))
                                     (iota repetitions)))))
              values)
    (newline))
  (format #t "~%ns to send and receive 64 B in one process~%")
  (row "by capacity in bytes" '(4096 65536 1048576 67108864)
       (lambda (capacity) (cost (shm-channel-create #f capacity) 100000)))
  (row "by messages waiting" '(0 100 10000 100000)
       (lambda (waiting)
         (let ((ch (shm-channel-create #f 16777216)))
           (send ch (make-bytevector 64) waiting)
           (cost ch 100000))))
  (row "by other processes attached" '(0 1 7 63)
       (lambda (others)
         (let* ((ch (shm-channel-create #f 65536))
                (pids (map (lambda (_)
                             (in-child (shm-channel-statistics ch)
                                       (sleep 1000)))
                           (iota others)))
                (cost (cost ch 100000)))
           (for-each (lambda (pid) (kill pid SIGKILL) (waitpid pid)) pids)
           cost)))
  (format #t "ns a message of 64 B to one receiver~%")
  (row "by senders" '(1 2 8 64)
       (lambda (senders) (throughput senders 200000))))

(define (open-queue script)
  (and (zero? (status:exit-val
               (system* "sh" "-c" "command -v python3 > /dev/null")))
       (open-pipe* OPEN_BOTH "python3" script)))

(match (command-line)
  ((_ twin queue . repetitions)
   (main (open-pipe* OPEN_BOTH twin) (open-queue queue)
         (match repetitions
           ((n) (string->number n))
           (() 11)))))

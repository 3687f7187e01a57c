;;; SPDX-License-Identifier: BSD-3-Clause
;;; peer.scm - what bench/run measures, by guile-shm.
;;; Usage: guile peer.scm NOTHING   (the extension of bench/nothing.c)

(use-modules (bench support)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm broadcast)
             (posix-shm channel)
             ((posix-shm chicken)
              #:select (open/rdwr open/creat open/rdonly open/excl
                        file-truncate file-write file-read file-close))
             (posix-shm semaphore)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4))


;;; Objects and mappings.

(define (life-cycle count _)
  (let ((name (fresh-name)))
    (mean count
      (close-fdes (shm-open name (list O_RDWR O_CREAT O_EXCL) #o600))
      (shm-unlink name))))

(define (egg count _)
  (let ((path (fresh-name)) (str "Hello, world!"))
    (mean count
      (let ((fd (shm-open path (list open/rdwr open/creat))))
        (file-truncate fd (string-length str))
        (file-write fd str)
        (file-close fd))
      (let* ((fd (shm-open path (list open/rdonly open/excl)))
             (text+count (file-read fd (string-length str))))
        (check (equal? (first text+count) str) "text")
        (file-close fd)
        (shm-unlink path)))))

(define page 4096)

(define (touch! bv)
  (let ((size (bytevector-length bv)))
    (let next ((i 0))
      (when (< i size)
        (bytevector-u8-set! bv i 1)
        (next (+ i page))))))

(define (create count size)
  (let ((name (fresh-name)))
    (mean count
      (let ((bv (shm-create name size)))
        (touch! bv)
        (shm-unmap! bv)
        (shm-unlink name)))))

(define (call-with-object size proc)
  (let* ((fd (shm-open-anonymous #:size size))
         (result (proc fd)))
    (close-fdes fd)
    result))

(define (map-and-touch fd size)
  (let ((bv (shm-map fd size)))
    (touch! bv)
    (shm-unmap! bv)))

(define (map-object count size)
  (call-with-object size
    (lambda (fd)
      (map-and-touch fd size)
      (mean count (map-and-touch fd size)))))

(define (map-among count others)
  (call-with-object page
    (lambda (fd)
      (let ((mappings (list-tabulate others (lambda (_) (shm-map fd page)))))
        (map-and-touch fd page)
        (let ((time (mean count (map-and-touch fd page))))
          (for-each shm-unmap! mappings)
          time)))))

;; The children of later rows would unmap what only a collection gives back.
(define (map-among-and-collect count others)
  (let ((time (map-among count others)))
    (gc)
    time))

;; Memory for other processes too, till the collector takes it back.
(define (share size)
  (shm-create #f size))


;;; Bulk.

(define (copy count size)
  (let ((from (share size)) (to (make-bytevector size)))
    (bytevector-fill! from 7)
    (let ((time (mean count (bytevector-copy! from 0 to 0 size))))
      (check (bytevector=? from to) "copy")
      (shm-unmap! from)
      time)))

(define modulus 1000)

(define (fill! bv)
  (let ((n (quotient (bytevector-length bv) 8)))
    (let next ((i 0))
      (when (< i n)
        (bytevector-ieee-double-native-set!
         bv (* 8 i) (exact->inexact (modulo i modulus)))
        (next (+ i 1))))
    bv))

(define (check-sum n total)
  (let ((rest (modulo n modulus)))
    (check (= total (+ (* (quotient n modulus) (/ (* modulus (- modulus 1)) 2))
                       (/ (* rest (- rest 1)) 2)))
           "sum")))

(define (sum bv)
  (let ((size (bytevector-length bv)))
    (let next ((k 0) (total 0.))
      (if (< k size)
          (next (+ k 8) (+ total (bytevector-ieee-double-native-ref bv k)))
          total))))

(define (sum-view v)
  (let ((n (f64vector-length v)))
    (let next ((i 0) (total 0.))
      (if (< i n)
          (next (+ i 1) (+ total (f64vector-ref v i)))
          total))))

;; A procedure that sums up what MAKE makes of a size, which is kept.
(define (summing make sum)
  (let ((numbers #f) (made #f))
    (lambda (count n)
      (unless (eqv? n made)
        (set! numbers (make n))
        (set! made n))
      (let* ((total 0)
             (time (mean count (set! total (sum numbers)))))
        (check-sum n total)
        time))))

(define (mapped n) (fill! (share (* 8 n))))


;;; Layouts.

(define-shm-layout record
  (id u64)
  (value u32))

(define record-size (shm-layout-size record))

;; A procedure that sums up what REF returns for a bytevector and the base of
;; each record in it.
(define-syntax-rule (field-sum ref)
  (lambda (bv)
    (let ((end (bytevector-length bv)))
      (let next ((base 0) (total 0))
        (if (< base end)
            (next (+ base record-size) (+ total (ref bv base)))
            total)))))

(define-syntax-rule (value-at bv base)
  (bytevector-u32-native-ref bv (+ base record-value-offset)))

(define (records n)
  (let ((bv (share (* record-size n))))
    (do ((i 0 (+ i 1)))
        ((= i n))
      (set-record-value! bv (modulo i modulus) (* record-size i)))
    bv))


;;; Atomics and locks, each on lines of the cache of its own.

(define shared (share 4096))
(define mutex 0)
(define semaphore 128)
(define binary 256)
(define counter 384)                    ; a process's own, and that of a lock's owner
(define guarded 392)
(define ping 512)
(define pong 640)
(define ready 768)
(define go 772)
(define end 776)
(shm-mutex-init! shared mutex)
(shm-semaphore-init! shared semaphore 0)
(shm-semaphore-init! shared binary 1)

(define named
  (let* ((name (fresh-name))
         (named (semaphore-open name (list O_CREAT O_EXCL))))
    (semaphore-unlink name)
    named))

(define (add count)
  (repeat count (atomic-u64-fetch-add! shared counter 1)))

(define (fetch-add count _)
  (let* ((before (atomic-u64-ref shared counter))
         (time (mean count (atomic-u64-fetch-add! shared counter 1))))
    (check (= (atomic-u64-ref shared counter) (+ before count)) "counter")
    time))

(define (lock-and-unlock count _)
  (mean count
    (shm-mutex-lock! shared mutex)
    (shm-mutex-unlock! shared mutex)))

(define (lock-around count _)
  (mean count (with-shm-mutex shared mutex 1)))

(define (post-and-wait count _)
  (let ((time (mean count
                (shm-semaphore-post! shared semaphore)
                (shm-semaphore-wait! shared semaphore))))
    (check (zero? (shm-semaphore-value shared semaphore)) "value")
    time))

(define (post-and-wait-named count _)
  (let ((time (mean count
                (semaphore-post! named)
                (semaphore-wait! named))))
    (check (zero? (semaphore-value named)) "value")
    time))

(define (add-guarded)
  (bytevector-u64-native-set!
   shared guarded (+ 1 (bytevector-u64-native-ref shared guarded))))

(define (add-with-mutex count)
  (repeat count
    (shm-mutex-lock! shared mutex)
    (add-guarded)
    (shm-mutex-unlock! shared mutex)))

(define (add-with-semaphore count)
  (repeat count
    (shm-semaphore-wait! shared binary)
    (add-guarded)
    (shm-semaphore-post! shared binary)))

(define (await-ready n)
  (unless (= n (atomic-u32-ref shared ready))
    (usleep 100)
    (await-ready n)))

;; Two processes at once, each on its processor, do WORK.
(define (contending work)
  (lambda (count _)
    (for-each (lambda (k) (atomic-u64-set! shared k 0))
              (list counter guarded ready))
    (let ((pid (in-child 1
                 (lambda ()
                   (atomic-u32-set! shared ready 1)
                   (let await ()
                     (when (zero? (atomic-u32-ref shared go))
                       (await)))
                   (work count)
                   (atomic-u64-set! shared end (now))))))
      (pin! 0)
      (await-ready 1)
      (let ((start (now)))
        (atomic-u32-set! shared go 1)
        (work count)
        (let ((own-end (now)))
          (finish pid)
          (check (= (* 2 count) (+ (atomic-u64-ref shared counter)
                                   (atomic-u64-ref shared guarded)))
                 "counter")
          (/ (- (max own-end (atomic-u64-ref shared end)) start) count))))))


;;; Latencies.

(define (await k value)
  (let ((seen (atomic-u32-ref shared k)))
    (unless (= seen value)
      (atomic-u32-wait shared k seen)
      (await k value))))

(define (say k value)
  (atomic-u32-set! shared k value)
  (atomic-u32-notify! shared k 1))

(define (ping-pong placement)
  (lambda (count _)
    (say ping 0)
    (say pong 0)
    (latencies count
               (lambda (i)
                 (let ((start (now)))
                   (say ping i)
                   (await pong i)
                   (- (now) start)))
               (lambda (i)
                 (await ping i)
                 (say pong i))
               #:placement placement)))

(define pause 200)                      ; microseconds

(define (wake-across count _)
  (say ping 0)
  (say pong 0)
  (latencies count
             (lambda (i)
               (say pong i)
               (await ping i)
               (- (now) (atomic-u64-ref shared end)))
             (lambda (i)
               (await pong i)
               (usleep pause)
               (atomic-u64-set! shared end (now))
               (say ping i))))


;;; Channels.

(define (fresh-channel size)
  (shm-channel-create #f (if (> size 16384) (* 4 size) 65536)))

;; With room for a thousand messages.
(define (deep-channel size)
  (shm-channel-create #f (* 1000 (+ size 16))))

;; The mean of COUNT messages that SEND sends and RECEIVE receives, from the
;; first on, since a fork takes long.
(define* (one-way send receive #:key (whole? #t) (channel fresh-channel)
                  (here 0) (there 1))
  (lambda (count size)
    (let* ((ch (channel size))
           (message (make-bytevector size 2))
           (target (make-bytevector size))
           (pid (in-child there
                  (lambda ()
                    (repeat (+ count 1) (send ch message))))))
      (pin! here)
      (shm-channel-receive-into! ch target)
      (let ((time (mean count (receive ch target))))
        (finish pid)
        (check (= (assq-ref (shm-channel-statistics ch) 'messages-out)
                  (+ count 1))
               "number of messages")
        (check (or (not whole?) (bytevector=? message target)) "message")
        time))))

(define (send-in-place ch message)
  (call-with-shm-slot ch (bytevector-length message) touch-ends!))

;; What is in place is not copied: bytes of a mapping are 0 at first.
(define (touch-ends! bv)
  (array-set! bv 2 0)
  (array-set! bv 2 (- (bytevector-length bv) 1)))

(define (look-in-place ch _)
  (call-with-shm-message ch (lambda (bv) (array-ref bv 0))))

(define (trips placement)
  (lambda (count size)
    (let ((there (fresh-channel size))
          (back (fresh-channel size))
          (message (make-bytevector size 1))
          (target (make-bytevector size)))
      (let ((result (latencies count
                               (lambda (_)
                                 (let ((start (now)))
                                   (shm-channel-send! there message)
                                   (shm-channel-receive-into! back target)
                                   (- (now) start)))
                               (lambda (_)
                                 (shm-channel-receive-into! there target)
                                 (shm-channel-send! back target))
                               #:placement placement)))
        (check (bytevector=? message target) "message")
        result))))

(define (data datum)
  (lambda (count _)
    (let ((ch (shm-channel-create #f 4000000)))
      (shm-channel-send-datum! ch datum)
      (check (equal? datum (shm-channel-receive-datum! ch)) "datum")
      (mean count
        (shm-channel-send-datum! ch datum)
        (shm-channel-receive-datum! ch)))))

(define (numbered what i)
  (string-append what (number->string i)))

(define data-rows
  `(("data-small" . ,(data '(1 "abc" foo 2.5)))
    ("data-fixnums" . ,(data (iota 1000)))
    ("data-strings" . ,(data (map (lambda (i)
                                    (cons (numbered "key " i)
                                          (numbered "value " i)))
                                  (iota 100))))
    ("data-doubles" . ,(data (list->vector (map (lambda (i) (/ i 3.))
                                                (iota 1000)))))
    ("data-bytes" . ,(data (make-bytevector (* 1024 1024) 7)))))

(define (senders count n)
  (let ((ch (fresh-channel 64)) (target (make-bytevector 64)))
    (atomic-u64-set! shared ready 0)
    (let ((pids (list-tabulate n
                  (lambda (i)
                    (in-child #f
                      (lambda ()
                        (let ((message (make-bytevector 64 1)))
                          (atomic-u32-fetch-add! shared ready 1)
                          (atomic-u32-wait shared go 0)
                          (repeat (share-of count i n)
                                  (shm-channel-send! ch message)))))))))
      (await-ready n)
      (atomic-u32-set! shared go 1)
      (atomic-u32-notify! shared go)
      (repeat count (shm-channel-receive-into! ch target))
      (let ((time (mean count (shm-channel-receive-into! ch target))))
        (for-each finish pids)
        (check (not (shm-channel-receive! ch #:timeout 0)) "messages left")
        time))))


;;; Faults.

(define-syntax-rule (count-faults faults body ...)
  (with-exception-handler
      (lambda (c)
        (unless (shm-fault? c)
          (raise-exception c))
        (set! faults (+ faults 1)))
    (lambda () body ...)
    #:unwind? #t))

;; Where faults are not caught, this process had better not touch such memory.
(define (if-caught proc)
  (lambda (count _)
    (if (shm-fault-guard)
        (proc count)
        '-)))

(define (fault-lost count)
  (call-with-object page
    (lambda (fd)
      (let* ((faults 0)
             (time (mean count
                     (shm-resize! fd page)
                     (let ((bv (shm-map fd page)))
                       (shm-resize! fd 0)
                       (count-faults faults (bytevector-u8-ref bv 0))
                       (shm-unmap! bv)))))
        (check (= faults count) "faults")
        time))))

(define (fault-read-only count)
  (call-with-object page
    (lambda (fd)
      (let* ((bv (shm-map fd #:writable? #f))
             (faults 0)
             (time (mean count
                     (count-faults faults (bytevector-u8-set! bv 0 1)))))
        (check (and (= faults count) (zero? (bytevector-u8-ref bv 0)))
               "faults")
        time))))


;;; Broadcasts.

;; How many messages the sender may be ahead, so that none is overwritten.
(define batch 256)

(define (broadcast-one-way count size)
  "The mean of COUNT messages of SIZE bytes to one subscriber."
  (let* ((b (shm-broadcast-create #f (* 4 batch (+ size 16))))
         (s (shm-broadcast-subscribe b))
         (credits (share shm-semaphore-size))
         (message (make-bytevector size 2)))
    (shm-semaphore-init! credits 0 2)
    (let ((pid (in-child 1
                 (lambda ()
                   (let next ((i 0))
                     (when (<= i count)
                       (when (zero? (modulo i batch))
                         (shm-semaphore-wait! credits 0))
                       (shm-broadcast-send! b message)
                       (next (+ i 1))))))))
      (pin! 0)
      (shm-broadcast-receive! s)
      (let* ((i 0)
             (time (mean count
                     (shm-broadcast-receive! s)
                     (set! i (+ i 1))
                     (when (zero? (modulo i batch))
                       (shm-semaphore-post! credits 0)))))
        (finish pid)
        (check (zero? (shm-broadcast-missed s)) "messages that were missed")
        time))))

(define (broadcast-among count n)
  "The mean time to send, while N subscribers look for the newest message 100
times a second."
  (let* ((b (shm-broadcast-create #f 65536))
         (message (make-bytevector 64 1))
         (pids (list-tabulate n
                 (lambda (i)
                   (in-child #f
                     (lambda ()
                       (let ((s (shm-broadcast-subscribe b)))
                         (let next ()
                           (usleep 10000)
                           (shm-broadcast-latest s)
                           (unless (at-end? s)
                             (next)))))))))
         (time (mean count (shm-broadcast-send! b message))))
    (shm-broadcast-close! b)
    (for-each finish pids)
    time))

(define (at-end? s)
  ;; After the newest message there is the end of file, if any.
  (eof-object? (shm-broadcast-receive! s #:timeout 0)))

(define (broadcast-latest count size)
  (let* ((b (shm-broadcast-create #f (* 2 size)))
         (s (shm-broadcast-subscribe b))
         (message (make-bytevector size 3))
         (target (make-bytevector size)))
    (shm-broadcast-send! b message)
    (let ((time (mean count (shm-broadcast-latest-into! s target))))
      (check (bytevector=? message target) "message")
      time)))


(define (rows nothing)
  `(("life-cycle" . ,life-cycle)
    ("egg" . ,egg)
    ("create" . ,create)
    ("create-whole" . ,create)
    ("map" . ,map-object)
    ("map-among" . ,map-among-and-collect)
    ("copy" . ,copy)
    ("sum-mapped" . ,(summing mapped sum))
    ("sum-ordinary" . ,(summing (lambda (n) (fill! (make-bytevector (* 8 n))))
                                sum))
    ("sum-view" . ,(summing (lambda (n) (shm-view (mapped n) 'f64)) sum-view))
    ("field" . ,(summing records (field-sum record-value)))
    ("field-native" . ,(summing records (field-sum value-at)))
    ("nothing" . ,(lambda (count _) (mean count (nothing shared guarded 1))))
    ("fetch-add" . ,fetch-add)
    ("fetch-add-contended" . ,(contending add))
    ("mutex" . ,lock-and-unlock)
    ("mutex-around" . ,lock-around)
    ("mutex-contended" . ,(contending add-with-mutex))
    ("semaphore" . ,post-and-wait)
    ("semaphore-named" . ,post-and-wait-named)
    ("semaphore-contended" . ,(contending add-with-semaphore))
    ("ping-pong-across" . ,(ping-pong 'across))
    ("ping-pong-together" . ,(ping-pong 'together))
    ("wake-across" . ,wake-across)
    ("channel" . ,(one-way shm-channel-send! shm-channel-receive-into!))
    ("channel-anywhere"
     . ,(one-way shm-channel-send! shm-channel-receive-into!
                 #:channel deep-channel #:here #f #:there #f))
    ("channel-received"
     . ,(one-way shm-channel-send! (lambda (ch _) (shm-channel-receive! ch))))
    ("channel-in-place" . ,(one-way send-in-place look-in-place #:whole? #f))
    ("broadcast" . ,broadcast-one-way)
    ("broadcast-among" . ,broadcast-among)
    ("broadcast-latest" . ,broadcast-latest)
    ("trip-across" . ,(trips 'across))
    ("trip-together" . ,(trips 'together))
    ("trip-anywhere" . ,(trips 'anywhere))
    ("trip-busy" . ,(trips 'anywhere))
    ("trip-sparse" . ,(trips 'sparse))
    ("senders" . ,senders)
    ,@data-rows
    ("fault-lost" . ,(if-caught fault-lost))
    ("fault-read-only" . ,(if-caught fault-read-only))))

(load-extension (second (command-line)) "gshm_nothing_init")
(serve (string-append "Guile " (version))
       (rows (module-ref (current-module) 'nothing)))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; peer-guile.scm - what bench/run measures, by Guile without guile-shm.

;;; Guile calls the C library by its dynamic foreign function interface; what
;;; goes from process to process goes through pipes.

(use-modules (bench support)
             (ice-9 binary-ports)
             (ice-9 match)
             (ice-9 threads)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4)
             (system foreign))

(define (foreign type name . argument-types)
  (pointer->procedure type (dynamic-func name (dynamic-link)) argument-types
                      #:return-errno? #t))

(define-syntax-rule (call what proc argument ...)
  ;; What a system call returns; where it failed, the row has gone wrong.
  (call-with-values (lambda () (proc argument ...))
    (lambda (result errno)
      (when (and (number? result) (negative? result))
        (wrong (string-append what ": " (strerror errno))))
      result)))

(define shm_open (foreign int "shm_open" '* int unsigned-int))
(define shm_unlink (foreign int "shm_unlink" '*))
(define ftruncate (foreign int "ftruncate" int long))
(define c-read (foreign ssize_t "read" int '* size_t))
(define c-write (foreign ssize_t "write" int '* size_t))
(define mmap (foreign '* "mmap" '* size_t int int int long))
(define munmap (foreign int "munmap" '* size_t))
(define sem_init (foreign int "sem_init" '* int unsigned-int))
(define sem_post (foreign int "sem_post" '*))
(define sem_wait (foreign int "sem_wait" '*))

(define creating (logior O_RDWR O_CREAT O_EXCL))
(define PROT_READ 1)
(define PROT_READ+WRITE 3)
(define MAP_SHARED 1)


;;; Objects and mappings.

(define (open-object name flags)
  (call "shm_open" shm_open name flags #o600))

(define (close-object fd)
  (close-fdes fd))

(define (unlink-object name)
  (call "shm_unlink" shm_unlink name))

(define (life-cycle count _)
  (let ((name (string->pointer (fresh-name))))
    (mean count
      (close-object (open-object name creating))
      (unlink-object name))))

(define (egg count _)
  (let ((name (string->pointer (fresh-name)))
        (text (string->utf8 "Hello, world!"))
        (target (make-bytevector 13)))
    (mean count
      (let ((fd (open-object name (logior O_RDWR O_CREAT))))
        (call "ftruncate" ftruncate fd 13)
        (call "write" c-write fd (bytevector->pointer text) 13)
        (close-object fd))
      (let ((fd (open-object name O_RDONLY)))
        (call "read" c-read fd (bytevector->pointer target) 13)
        (check (bytevector=? target text) "text")
        (close-object fd)
        (unlink-object name)))))

(define (map-object fd size protection)
  (let ((address (call "mmap" mmap %null-pointer size protection MAP_SHARED fd
                       0)))
    (when (= (pointer-address address) (- (expt 2 (* 8 (sizeof '*))) 1))
      (wrong "mmap"))
    address))

(define page 4096)

(define (map-and-touch fd size)
  (let* ((address (map-object fd size PROT_READ+WRITE))
         (bv (pointer->bytevector address size)))
    (let next ((i 0))
      (when (< i size)
        (bytevector-u8-set! bv i 1)
        (next (+ i page))))
    (call "munmap" munmap address size)))

(define (create count size)
  (let ((name (string->pointer (fresh-name))))
    (mean count
      (let ((fd (open-object name creating)))
        (call "ftruncate" ftruncate fd size)
        (map-and-touch fd size)
        (close-object fd)
        (unlink-object name)))))

(define (call-with-object size proc)
  (let* ((name (string->pointer (fresh-name)))
         (fd (open-object name creating)))
    (unlink-object name)
    (call "ftruncate" ftruncate fd size)
    (let ((result (proc fd)))
      (close-object fd)
      result)))

(define (map-existing count size)
  (call-with-object size
    (lambda (fd)
      (map-and-touch fd size)
      (mean count (map-and-touch fd size)))))

(define (map-among count others)
  (call-with-object page
    (lambda (fd)
      (let ((mappings (list-tabulate
                       others
                       (lambda (_) (map-object fd page PROT_READ+WRITE)))))
        (map-and-touch fd page)
        (let ((time (mean count (map-and-touch fd page))))
          (for-each (lambda (address) (call "munmap" munmap address page))
                    mappings)
          time)))))

(define (share size)
  (pointer->bytevector
   (call-with-object size (lambda (fd) (map-object fd size PROT_READ+WRITE)))
   size))


;;; Bulk.

(define (copy count size)
  (let ((from (share size)) (to (make-bytevector size)))
    (bytevector-fill! from 7)
    (let ((time (mean count (bytevector-copy! from 0 to 0 size))))
      (check (bytevector=? from to) "copy")
      (call "munmap" munmap (bytevector->pointer from) size)
      time)))


;;; Locks.

(define mutex (make-mutex))

(define (lock-and-unlock count _)
  (mean count
    (lock-mutex mutex)
    (unlock-mutex mutex)))

(define (lock-around count _)
  (mean count (with-mutex mutex 1)))

(define semaphore (bytevector->pointer (share page)))

(define (post-and-wait count _)
  (call "sem_init" sem_init semaphore 1 0)
  (mean count
    (call "sem_post" sem_post semaphore)
    (call "sem_wait" sem_wait semaphore)))


;;; Pipes.

(define (fresh-pipe)
  (match (pipe)
    ((in . out)
     (setvbuf out 'block 65536)
     (cons in out))))

(define (close-pipe pipe)
  (close-port (car pipe))
  (close-port (cdr pipe)))

(define (send pipe message)
  (put-bytevector (cdr pipe) message)
  (force-output (cdr pipe)))

(define (receive-into! pipe target)
  (get-bytevector-n! (car pipe) target 0 (bytevector-length target)))

(define (receive pipe target)
  (get-bytevector-n (car pipe) (bytevector-length target)))

(define (one-way receive)
  (lambda (count size)
    (let* ((pipe (fresh-pipe))
           (message (make-bytevector size 2))
           (target (make-bytevector size))
           (pid (in-child 1
                  (lambda ()
                    (repeat (+ count 1) (send pipe message))))))
      (pin! 0)
      (receive-into! pipe target)
      (let ((time (mean count (receive pipe target))))
        (finish pid)
        (check (bytevector=? message target) "message")
        (close-pipe pipe)
        time))))

(define (trips placement)
  (lambda (count size)
    (let* ((there (fresh-pipe))
           (back (fresh-pipe))
           (message (make-bytevector (max 1 size) 1))
           (target (make-bytevector (max 1 size)))
           (result (latencies count
                              (lambda (_)
                                (let ((start (now)))
                                  (send there message)
                                  (receive-into! back target)
                                  (- (now) start)))
                              (lambda (_)
                                (receive-into! there target)
                                (send back message))
                              #:placement placement)))
      (check (bytevector=? message target) "message")
      (close-pipe there)
      (close-pipe back)
      result)))

(define pause 200)                      ; microseconds

(define (wake-across count _)
  (let* ((there (fresh-pipe))
         (back (fresh-pipe))
         (ready (make-bytevector 1))
         (time (make-bytevector 8))
         (result (latencies count
                            (lambda (_)
                              (send back ready)
                              (receive-into! there time)
                              (- (now) (bytevector-u64-native-ref time 0)))
                            (lambda (_)
                              (receive-into! back ready)
                              (usleep pause)
                              (bytevector-u64-native-set! time 0 (now))
                              (send there time)))))
    (close-pipe there)
    (close-pipe back)
    result))

(define (senders count n)
  (let* ((pipe (fresh-pipe))
         (start-pipe (fresh-pipe))
         (message (make-bytevector 64 1))
         (pids (list-tabulate n
                 (lambda (i)
                   (in-child #f
                     (lambda ()
                       ;; One byte at a time, so that each takes its own.
                       (setvbuf (car start-pipe) 'none)
                       (get-u8 (car start-pipe))
                       (repeat (share-of count i n)
                               (send pipe message))))))))
    (send start-pipe (make-bytevector n))
    (repeat count (receive-into! pipe message))
    (let ((time (mean count (receive-into! pipe message))))
      (for-each finish pids)
      (close-pipe pipe)
      (close-pipe start-pipe)
      time)))


;;; Faults.

(define (fatal thunk)
  (lambda (count _)
    (let ((pid (in-child #f (lambda () (setrlimit 'core 0 0) (thunk)))))
      (if (status:term-sig (cdr (waitpid pid)))
          'killed
          (wrong "a fault that nobody sees")))))

(define (touch-lost)
  (call-with-object page
    (lambda (fd)
      (let ((bv (pointer->bytevector (map-object fd page PROT_READ) page)))
        (call "ftruncate" ftruncate fd 0)
        (bytevector-u8-ref bv 0)))))

(define (store-read-only)
  (call-with-object page
    (lambda (fd)
      (bytevector-u8-set!
       (pointer->bytevector (map-object fd page PROT_READ) page) 0 1))))


(serve (string-append "Guile " (version))
       `(("life-cycle" . ,life-cycle)
         ("egg" . ,egg)
         ("create" . ,create)
         ("map" . ,map-existing)
         ("map-among" . ,map-among)
         ("copy" . ,copy)
         ("mutex" . ,lock-and-unlock)
         ("mutex-around" . ,lock-around)
         ("semaphore" . ,post-and-wait)
         ("ping-pong-across" . ,(trips 'across))
         ("ping-pong-together" . ,(trips 'together))
         ("wake-across" . ,wake-across)
         ("channel" . ,(one-way receive-into!))
         ("channel-received" . ,(one-way receive))
         ("trip-across" . ,(trips 'across))
         ("trip-together" . ,(trips 'together))
         ("trip-anywhere" . ,(trips 'anywhere))
         ("trip-busy" . ,(trips 'anywhere))
         ("trip-sparse" . ,(trips 'sparse))
    ("trip-anywhere" . ,(trips 'anywhere))
    ("trip-busy" . ,(trips 'anywhere))
    ("trip-sparse" . ,(trips 'sparse))
         ("senders" . ,senders)
         ("fault-lost" . ,(fatal touch-lost))
         ("fault-read-only" . ,(fatal store-read-only))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; mapping.scm - objects with sizes, and bytevectors on them, tested.

(use-modules ((ice-9 control) #:select (call/ec))
             (ice-9 match)
             (ice-9 popen)
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4)
             (srfi srfi-4 gnu)
             (srfi srfi-64)
             ((system base compile) #:select (compile))
             ((system foreign) #:select (int pointer->procedure string->pointer
                                             unsigned-int))
             (tests mapping-support)
             (tests support))

(define builddir (or (getenv "abs_top_builddir") "."))
(define page 4096)

(define (test-objects)
  (with-descriptor (fd 0)
    (test-equal "a new object" 0 (shm-size fd))
    (shm-resize! fd 100)
    (test-equal "resized" 100 (shm-size fd))
    (shm-resize! fd 5000 #:reserve? #t)
    (test-equal "with the memory set aside" 5000 (shm-size fd))
    (shm-resize! fd 0 #:reserve? #t)
    (test-equal "to nothing" 0 (shm-size fd))
    (test-out-of-range "to less than nothing" (shm-resize! fd -1))
    (test-out-of-range "to 2^63" (shm-resize! fd (ash 1 63)))
    (test-equal "to what is no integer" 'wrong-type-arg
      (car (raised (lambda () (shm-resize! fd 1.5)))))
    (test-equal "closed on exec" FD_CLOEXEC
      (logand FD_CLOEXEC (fcntl fd F_GETFD))))
  (test-errno "the size of what is not open" EBADF (shm-size 9999))
  (test-raises "the size of a bytevector, which is not shown"
    '(wrong-type-arg "shm-size" "Wrong type argument in position 1 (expecting file \
descriptor, an integer): a bytevector of 8 bytes")
    (shm-size (make-bytevector 8)))
  (with-fresh-name name
    (close-fdes (shm-open name (list O_RDWR O_CREAT O_EXCL)))
    (call-with-descriptor (shm-open name (list O_RDONLY))
      (lambda (fd)
        (test-equal "resizing what is open for reading names it"
          (format #f "~a: ~s (the descriptor is not open for writing, or is \
not one of a shared memory object)" (strerror EINVAL) name)
          (caddr (raised (lambda () (shm-resize! fd 10)))))))
    (test-assert "shm-list knows it" (exists? name))
    (let ((names (shm-list)))
      (test-equal "shm-list is sorted" (sort names string<?) names)))
  (test-assert "shm-list leaves out semaphores"
    (let* ((name (string-append "/sem." (string-drop (fresh-name) 1)))
           (file (string-append "/dev/shm" name)))
      (dynamic-wind
        (lambda () (close-port (open-output-file file)))
        (lambda () (not (exists? name)))
        (lambda () (delete-file file)))))
  (test-equal "a label that is no string" 'wrong-type-arg
    (car (raised (lambda () (shm-open-anonymous #:label 'x)))))
  (let ((before (descriptor-count)))
    (test-raises "a size that cannot be"
      '(out-of-range "shm-open-anonymous" "Size is negative or too large: -1")
      (shm-open-anonymous #:size -1))
    (test-equal "a size that cannot be leaves no descriptor"
      before (descriptor-count)))

  ;; The system would end the process.
  (test-equal "more than the process may write to a file"
    `((system-error "shm-resize!" ,(strerror EFBIG))
      (system-error "shm-open-anonymous" ,(strerror EFBIG))
      (system-error "shm-create" ,(strerror EFBIG)) 500 1000 500)
    (guile-says
     '(setrlimit 'fsize 1000 1000)
     '(define (refused thunk)
        (catch #t thunk
          (lambda (key subr message arguments data)
            (list key subr (car arguments)))))
     '(define fd (shm-open-anonymous #:size 500))
     '(write (let* ((a (refused (lambda () (shm-resize! fd 1001 #:reserve? #t))))
                    (b (refused (lambda () (shm-open-anonymous #:size 1001))))
                    (c (refused (lambda () (shm-create #f 1001))))
                    (d (shm-size fd))
                    (e (begin (shm-resize! fd 1000) (shm-size fd)))
                    (f (begin (shm-resize! fd 500) (shm-size fd))))
               (list a b c d e f))))))

(define (test-seals)
  (define (seals . them)
    (with-descriptor (fd 100)
      (for-each (lambda (seals) (shm-seal! fd seals)) them)
      (shm-seals fd)))
  (cond ((equal? 'returned (car (raised (lambda () (seals '(shrink))))))
         (test-equal "none" '() (seals))
         (test-equal "two" '(shrink grow) (seals '(grow shrink)))
         (test-equal "all" '(shrink grow write seal)
           (seals '(write) '(shrink grow seal)))
         (test-errno "sealed against seals" EPERM (seals '(seal) '(grow)))
         (with-descriptor (fd 100)
           (shm-seal! fd '(shrink grow))
           (test-errno "shrink" EPERM (shm-resize! fd 10))
           (test-errno "grow" EPERM (shm-resize! fd 1000)))
         (with-descriptor (fd 100)
           (let ((bv (shm-map fd)))
             (test-errno "write, with a mapping that can be written to" EBUSY
               (shm-seal! fd '(write)))
             (shm-unmap! bv)
             (shm-seal! fd '(write))
             (test-equal "then none can be" `(,EPERM #t)
               (match (raised (lambda () (shm-map fd #:writable? #t)))
                 (('system-error "shm-map" message errno)
                  (list errno (string-suffix? "(a seal forbids writing to it)"
                                              message)))))
             (test-equal "but one for reading" 100
               (bytevector-length (shm-map fd))))))
        (else (test-skip 1) (test-assert "there are no seals here" #f)))
  (with-descriptor (fd 1)
    (test-out-of-range "an unknown seal" (shm-seal! fd '(shrunk)))
    (test-equal "no list" 'wrong-type-arg
      (car (raised (lambda () (shm-seal! fd 'shrink)))))))

(define (test-passing)
  (define-syntax-rule (with-sockets (one other) body ...)
    (let* ((ends (socketpair PF_UNIX SOCK_STREAM 0))
           (one (car ends)) (other (cdr ends)))
      (dynamic-wind
        (const #t)
        (lambda () body ...)
        (lambda ()
          (close-port one)
          (close-port other)))))
  (with-descriptor (fd 123)
    (with-sockets (one other)
      (shm-send-fd one fd)
      (call-with-descriptor (shm-receive-fd other)
        (lambda (received)
          (test-assert "another descriptor" (not (= fd received)))
          (test-equal "of the same object" (stat:ino (stat fd))
            (stat:ino (stat received)))
          (test-equal "closed on exec" FD_CLOEXEC
            (logand FD_CLOEXEC (fcntl received F_GETFD))))))
    (with-sockets (one other)
      (display "x" one)
      (force-output one)
      (test-errno "a peer that sends none" ENOMSG (shm-receive-fd other)))
    (with-sockets (one other)
      (close-port one)
      (test-errno "a peer that has closed" ECONNRESET (shm-receive-fd other))
      (test-errno "to a peer that has closed" EPIPE (shm-send-fd other fd)))
    (with-sockets (one other)
      (test-errno "no descriptor" EBADF (shm-send-fd one 9999)))
    ;; A signal's handler gets through though the system never waits.
    (with-sockets (one other)
      (fcntl other F_SETFL O_NONBLOCK)
      (test-equal "waiting on a socket that is not to wait" 'alarm
        (catch 'alarm
          (lambda ()
            (dynamic-wind
              (lambda ()
                (sigaction SIGALRM (lambda _ (throw 'alarm)))
                (setitimer ITIMER_REAL 0 0 0 10000))
              (lambda () (shm-receive-fd other))
              (lambda () (sigaction SIGALRM SIG_DFL))))
          (lambda (key) key))))
    (test-equal "a socket that is not of the Unix domain" 'wrong-type-arg
      (let* ((socket (socket PF_INET SOCK_STREAM 0))
             (result (raised (lambda () (shm-send-fd socket fd)))))
        (close-port socket)
        (car result)))
    (test-equal "no socket" 'wrong-type-arg
      (car (raised (lambda () (shm-send-fd (current-input-port) fd)))))))

(define (test-mappings)
  (for-each
   (lambda (size)
     (test-equal (format #f "~a bytes" size) (list size 0 255)
       (with-descriptor (fd size)
         (let ((bv (shm-map fd)) (other (shm-map fd)))
           (bytevector-u8-set! bv (- size 1) 255)
           (list (bytevector-length bv)
                 (if (= size 1) 0 (bytevector-u8-ref other 0))
                 (bytevector-u8-ref other (- size 1)))))))
   (list 1 (- page 1) page (+ page 1)))

  (test-equal "5 GiB, sparse" '(5368709120 1 2)
    (if (< (ash 1 32) (ash most-positive-fixnum 1))
        (with-descriptor (fd (* 5 1024 1024 1024))
          (let ((bv (shm-map fd)) (tail (shm-map fd 1 #:offset 5368709119)))
            (bytevector-u8-set! bv 0 1)
            (bytevector-u8-set! bv 5368709119 2)
            (list (bytevector-length bv) (bytevector-u8-ref bv 0)
                  (bytevector-u8-ref tail 0))))
        '(5368709120 1 2)))

  (with-descriptor (fd 10000)
    (let ((whole (shm-map fd)))
      (do ((i 0 (+ i 1)))
          ((= i 10000))
        (bytevector-u8-set! whole i (modulo i 251)))
      (test-equal "any offset" (list 100 (modulo 5001 251) (modulo 5100 251))
        (let ((bv (shm-map fd 100 #:offset 5001)))
          (list (bytevector-length bv)
                (bytevector-u8-ref bv 0)
                (bytevector-u8-ref bv 99))))
      (test-equal "an offset, to the end" 4999
        (bytevector-length (shm-map fd #:offset 5001))))
    (for-each
     (match-lambda
       ((name length offset)
        (test-out-of-range name (shm-map fd length #:offset offset))))
     `(("a length beyond the end" 10001 0)
       ("an offset and a length beyond the end" 5000 5001)
       ("an offset beyond the end" #f 10001)
       ("no bytes" 0 0)
       ("no bytes left" #f 10000)
       ("a negative length" -1 0)
       ("a negative offset" #f -1)
       ("2^63 bytes" ,(ash 1 63) 0)
       ("an offset of 2^64" 1 ,(ash 1 64))
       ("an offset and a length that wrap" ,(- (ash 1 63) 1) 4096)))
    (test-out-of-range "a length that is no multiple"
      (shm-map fd 12 #:type 'u64))
    (test-out-of-range "an offset that is no multiple"
      (shm-map fd 16 #:type 'u64 #:offset 4))
    (test-out-of-range "an unknown type" (shm-map fd #:type 'u128))
    (test-equal "a type that is no symbol" 'wrong-type-arg
      (car (raised (lambda () (shm-map fd #:type "u8"))))))

  (with-fresh-name name
    (call-with-descriptor (shm-open name (list O_RDWR O_CREAT))
      (lambda (fd)
        (test-raises "an object without bytes, and what to do about it"
          `(out-of-range "shm-map" ,(format #f "The object ~s is empty: give \
it a size first, as with (shm-resize! ~a 4096)" name fd))
          (shm-map fd)))))
  (test-errno "what is not open" EBADF (shm-map 9999))
  (let ((ends (pipe)))
    (test-errno "a pipe" ENODEV (shm-map (fileno (car ends))))
    ;; A peer may send one.  There need be no such pages to make it.
    (let ((fd (or (false-if-exception
                   ((pointer->procedure
                     int (dynamic-func "memfd_create" (dynamic-link))
                     (list '* unsigned-int))
                    (string->pointer "huge pages") 4)) ; MFD_HUGETLB
                  -1)))
      (unless (negative? fd)
        (call-with-descriptor fd
          (lambda (fd)
            (shm-resize! fd (ash 1 24))
            (test-errno "huge pages, which cannot be guarded" ENODEV
              (shm-map fd page))))))
    (close-port (car ends))
    (close-port (cdr ends)))

  (with-fresh-name name
    (shm-create name 100)
    (call-with-descriptor (shm-open name (list O_RDONLY))
      (lambda (fd)
        (test-equal "writable? on a descriptor that is not, named"
          (format #f "~a: ~s (the descriptor is not open for what is asked)"
                  (strerror EACCES) name)
          (caddr (raised (lambda () (shm-map fd #:writable? #t)))))
        (test-equal "a range beyond its end, named"
          (format #f "Offset and length reach beyond the end of ~s: 101" name)
          (caddr (raised (lambda () (shm-map fd 101)))))
        (test-equal "shm-name by descriptor" name (shm-name (shm-map fd))))))

  (with-descriptor (fd 100)
    (let ((bv (shm-map fd #:populate? #t)))
      (test-equal "populate?" 0 (bytevector-u8-ref bv 99))
      (test-equal "shm-name of what has none" #f (shm-name bv)))
    (test-assert "lock?"
      (match (raised (lambda () (shm-map fd #:lock? #t)))
        (('returned bv) (shm-unmap! bv))
        ((key subr message errno) (memv errno (list EPERM ENOMEM EAGAIN)))))
    (test-assert "huge-pages?"
      (match (raised (lambda () (shm-map fd #:huge-pages? #t)))
        (('returned bv) (shm-unmap! bv))
        ((key subr message errno) #t)))))

(define (test-types)
  (for-each
   (match-lambda
     ((type size predicate length)
      (with-descriptor (fd 160)
        (let ((bv (shm-map fd #:type type)))
          (test-equal (symbol->string type)
            (list #t (quotient 160 size) 160)
            (list (predicate bv) (length bv) (bytevector-length bv)))))))
   `((vu8 1 ,bytevector? ,bytevector-length)
     (u8 1 ,u8vector? ,u8vector-length) (s8 1 ,s8vector? ,s8vector-length)
     (u16 2 ,u16vector? ,u16vector-length)
     (s16 2 ,s16vector? ,s16vector-length)
     (u32 4 ,u32vector? ,u32vector-length)
     (s32 4 ,s32vector? ,s32vector-length)
     (u64 8 ,u64vector? ,u64vector-length)
     (s64 8 ,s64vector? ,s64vector-length)
     (f32 4 ,f32vector? ,f32vector-length)
     (f64 8 ,f64vector? ,f64vector-length)
     (c32 8 ,c32vector? ,c32vector-length)
     (c64 16 ,c64vector? ,c64vector-length)))

  (with-descriptor (fd (* 6 8))
    (let* ((matrix (shm-map fd #:type 'f64))
           (array (make-shared-array matrix
                                     (lambda (i j) (list (+ (* 3 i) j)))
                                     2 3)))
      (array-set! array 1.5 1 2)
      (test-equal "a two-dimensional array on it" '((2 3) 1.5)
        (list (array-dimensions array)
              (f64vector-ref (shm-map fd #:type 'f64) 5))))))

(define (test-views)
  (with-descriptor (fd 100)
    (let* ((bv (shm-map fd))
           (view (shm-view bv 'u32 4 3)))
      (u32vector-set! view 2 7)
      (test-equal "a view" '(3 12 7)
        (list (u32vector-length view) (bytevector-length view)
              (bytevector-u32-native-ref bv 12)))
      (test-equal "to the end" 24 (u32vector-length (shm-view bv 'u32 4)))
      (test-equal "of a view" 7
        (bytevector-u32-native-ref (shm-view view 'vu8 8) 0))
      (test-equal "of nothing" '(0 #t)
        (let ((view (shm-view bv 'vu8 100)))
          (list (bytevector-length view) (shm-mapped? view))))
      (test-out-of-range "a start that is no multiple" (shm-view bv 'u32 2))
      (test-out-of-range "a rest that is no multiple" (shm-view bv 'u64 0))
      (test-out-of-range "a start beyond the end" (shm-view bv 'vu8 101))
      (test-out-of-range "a count beyond the end" (shm-view bv 'u32 4 25))
      (test-out-of-range "a negative start" (shm-view bv 'vu8 -1))
      (test-out-of-range "a huge count" (shm-view bv 'u64 0 (ash 1 61)))))
  (test-raises "too many elements, in words"
    '(out-of-range "shm-view" "There are not 2 elements of type u64 from offset 8 on \
in a bytevector of 20")
    (with-descriptor (fd 20)
      (shm-view (shm-map fd) 'u64 8 2)))
  (test-raises "of an ordinary bytevector, which is not shown"
    '(wrong-type-arg "shm-view" "Wrong type argument in position 1 (expecting \
bytevector on shared memory): a bytevector of 8 bytes")
    (shm-view (make-bytevector 8) 'vu8))

  (test-equal "keeps the mapping" '(9 #t)
    (with-descriptor (fd 100)
      (let ((view (shm-view (shm-map fd) 'vu8)))
        (bytevector-u8-set! view 0 9)
        (do ((i 0 (+ i 1)))
            ((= i 5))
          (gc))
        (list (bytevector-u8-ref (shm-map fd) 0) (shm-mapped? view)))))

  ;; Here the mapping, too, is garbage until the guardian returns what is on
  ;; it.
  (test-equal "a guardian keeps the mapping" '(#t ((#t 7)))
    (guile-says
     '(use-modules (rnrs bytevectors) (srfi srfi-1))
     '(define guardian (make-guardian))
     '(define (guard-some fd)
        (do ((i 0 (+ i 1)))
            ((= i 100))
          (let ((bv (shm-map fd)))
            (bytevector-u8-set! bv 0 7)
            (guardian (if (even? i) bv (list (shm-view bv 'u8)))))))
     '(guard-some (shm-open-anonymous #:size 4096))
     '(define (saved)
        (let loop ((objects '()))
          (let ((object (guardian)))
            (if object
                (loop (cons (if (pair? object) (car object) object) objects))
                objects))))
     '(gc)
     '(gc)
     '(let ((objects (saved)))
        (write (list (> (length objects) 50)
                     (delete-duplicates
                      (map (lambda (bv)
                             (list (shm-mapped? bv)
                                   (and (shm-mapped? bv)
                                        (bytevector-u8-ref bv 0))))
                           objects))))))))

(define (test-unmapping)
  (with-fresh-name name
    (let* ((bv (shm-create name (* 1024 page) #:reserve? #t))
           (view (shm-view bv 'vu8))
           (fd (shm-open name (list O_RDONLY))))
      (shm-unlink name)
      (bytevector-u8-set! bv 0 1)
      (test-equal "live" #t (shm-mapped? bv))
      (test-equal "its memory" (* 8 1024) (stat:blocks (stat fd)))
      (close-fdes fd)
      (test-equal "done, and done before" '(#t #f #f)
        (let* ((one (shm-unmap! bv)) (two (shm-unmap! bv))
               (three (shm-unmap! view)))
          (list one two three)))
      (test-equal "empty" 0 (bytevector-length bv))
      (test-equal "not live" '(#f #f) (list (shm-mapped? bv)
                                           (shm-mapped? view)))
      (test-out-of-range "a read" (bytevector-u8-ref bv 0))
      (test-out-of-range "a view of it" (shm-view bv 'vu8 0 1))))
  (with-descriptor (fd 100)
    (let* ((bv (shm-map fd)) (view (shm-view bv 'vu8)))
      (bytevector-u8-set! bv 0 1)
      (shm-unmap! bv)
      (test-equal "a view holds zeros" 0 (bytevector-u8-ref view 0))
      (bytevector-u8-set! view 0 5)
      (test-equal "and does not reach the object" 1
        (bytevector-u8-ref (shm-map fd) 0))))

  ;; The memory that the system counts as shared comes back while the
  ;; bytevector and a view of it are still there.
  (test-equal "gives the memory back at once" '(#t #t)
    (guile-says
     '(use-modules (rnrs bytevectors) (ice-9 rdelim) (srfi srfi-1))
     '(define (blocks)
        ;; In KiB, what this process has of it.
        (call-with-input-file "/proc/self/status"
          (lambda (port)
            (let next ((line (read-line port)))
              (if (string-prefix? "RssShmem:" line)
                  (string->number (second (string-tokenize line)))
                  (next (read-line port)))))))
     '(define fd (shm-open-anonymous #:size (* 32 1024 1024)))
     '(define bv (shm-map fd #:populate? #t))
     '(define view (shm-view bv 'vu8))
     '(close-fdes fd)
     '(define before (blocks))
     '(shm-unmap! bv)
     ;; Not to the page: some versions of Linux leave out what a processor has
     ;; not yet told of the last ones.
     '(write (list (> before 16384) (< (blocks) 16384)))))

  ;; The loop keeps the bytevector's address and length in registers; what it
  ;; reads and writes after shm-unmap! is not the object's.
  (test-equal "while a compiled loop of another thread reads and writes"
    '(never-seen 99)
    (guile-says
     '(use-modules (rnrs bytevectors) (ice-9 threads)
                   ((system base compile) #:select (compile)))
     '(define fd (shm-open-anonymous #:size 65536))
     '(define started? #f)
     '(define stop? #f)
     '(define rounds 0)
     '(define seen 'never-seen)
     '(define use
        (compile '(lambda (bv)
                    (let ((n (bytevector-length bv)))
                      (set! started? #t)
                      (let loop ((i 0))
                        (when (= (bytevector-u8-ref bv i) 99)
                          (set! seen i))
                        (bytevector-u8-set! bv i 1)
                        (when (= i 0)
                          (set! rounds (+ rounds 1)))
                        (unless stop?
                          (loop (if (= i (- n 1)) 0 (+ i 1)))))))
                 #:env (current-module)))
     '(define other (shm-map fd))
     '(do ((i 0 (+ i 1)))
          ((= i 100))
        (set! started? #f)
        (set! stop? #f)
        (bytevector-fill! other 0)
        (let* ((bv (shm-map fd))
               (thread (call-with-new-thread
                        (lambda ()
                          (false-if-exception (use bv))))))
          (let wait () (unless started? (yield) (wait)))
          (shm-unmap! bv)
          (bytevector-fill! other 99)
          ;; Until it has been through all of it; or it has left, when it did
          ;; find the bytevector empty.
          (let ((before rounds))
            (let wait ()
              (when (and (< rounds (+ before 2))
                         (not (thread-exited? thread)))
                (yield)
                (wait))))
          (set! stop? #t)
          (join-thread thread)))
     '(write (list seen (bytevector-u8-ref other 0)))))

  ;; ASan needs more.
  (when (getenv "ASAN_OPTIONS")
    (test-skip 1))
  (test-equal "where private memory is limited" '(#t 0 0)
    (guile-says
     '(use-modules (ice-9 ftw) (ice-9 rdelim) (rnrs bytevectors) (srfi srfi-1))
     ;; Guile aborts where a thread of its own has no memory for its stack: one
     ;; that the collector has started sleeps by then, and it starts no other.
     '(define (sleeps? thread)
        (let ((line (call-with-input-file
                        (string-append "/proc/self/task/" thread "/stat")
                      read-line)))
          (char=? #\S (string-ref line (+ 2 (string-rindex line #\)))))))
     '(gc-disable)
     '(let wait ()
        (unless (every sleeps?
                       (delete (number->string (getpid))
                               (or (scandir "/proc/self/task" string->number)
                                   '())))
          (usleep 1000)
          (wait)))
     '(define bv (shm-map (shm-open-anonymous #:size (* 512 1024 1024))))
     '(define view (shm-view bv 'vu8))
     '(setrlimit 'data (* 256 1024 1024) (* 256 1024 1024))
     '(let ((result (shm-unmap! bv)))
        (bytevector-u8-set! view 5 1)
        (write (list result (bytevector-length bv)
                     (bytevector-u8-ref view 6))))))

  (test-equal "an ordinary bytevector" 'wrong-type-arg
    (car (raised (lambda () (shm-unmap! (make-bytevector 8))))))
  (test-equal "what is no bytevector" 'wrong-type-arg
    (car (raised (lambda () (shm-unmap! 'bv)))))
  (test-equal "shm-mapped? of an ordinary one" #f
    (shm-mapped? (make-bytevector 8)))
  (test-equal "shm-mapped? of a literal" #f
    (shm-mapped? ((compile '(lambda () #vu8(1 2 3))))))
  (test-equal "shm-name of an ordinary one" #f
    (shm-name (make-bytevector 8))))

(define (test-many)
  (test-equal "100,000 mappings dropped: how many there are stays bounded" #t
    (guile-says
     '(define fd (shm-open-anonymous #:size 4096))
     '(do ((i 0 (+ i 1)))
          ((= i 100000))
        (shm-map fd))
     '(use-modules (ice-9 rdelim))
     '(write (< (call-with-input-file "/proc/self/maps"
                  (lambda (port)
                    (let next ((lines 0))
                      (if (eof-object? (read-line port))
                          lines
                          (next (+ lines 1))))))
                30000)))))

;; Whether the system can make an object first and give it its name later.
(define unnamed?
  (and posix-shm?
       (and=> ((@@ (posix-shm mapping) %shm-open-unnamed) (fresh-name) #o600
                                                       #f)
              (lambda (fd) (close-fdes fd) #t))))

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
      (test-assert "nobody sees it before it is initialized" (not early?))
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
         (bv (shm-create #f 100))
         (name (shm-name bv)))
    (test-assert "a random name" (and (exists? name)
                                      (<= (string-length name) 14)))
    (shm-unlink name)
    (test-equal "no descriptor is left" before (descriptor-count)))

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
#:wait this waits until somebody gives it a size" name))
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
    (guile-says
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
    (guile-says
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
    (guile-says `(shm-create ,name 8192
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
    (test-equal "a name that somebody else has made again stays" 50
      (bytevector-length (shm-attach name))))

  (with-fresh-name name
    (test-equal "left by a child of a fork: the name stays" #t
      (guile-says
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

(define (test-interoperation)
  (define (python . lines)
    (let* ((port (open-pipe* OPEN_READ "python3" "-c"
                             (string-join lines "\n")))
           (output (get-string-all port)))
      (close-pipe port)
      (string-trim-right output)))
  ;; Python's process for cleaning up ends some time after Python.
  (define stop-tracker "resource_tracker._resource_tracker._stop()")
  (with-fresh-name name
    (let ((numbers (shm-create name 80 #:type 'f64)))
      (f64vector-set! numbers 9 2.5)
      (test-equal "a C program maps the object" '(0 3.5)
        (list (status:exit-val
               (system* (string-append builddir "/tests/mapper") name))
              (f64vector-ref numbers 9)))))
  (unless (resolve-module '(bytestructures guile) #:ensure #f)
    (test-skip 1))
  (test-equal "guile-bytestructures describes C's structs on a mapping"
    '(2.5 2.5)
    (guile-says
     '(use-modules (bytestructures guile) (rnrs bytevectors))
     '(define point (bs:struct `((x ,float64) (y ,float64))))
     '(define bv (shm-map (shm-open-anonymous #:size 160)))
     '(define points (make-bytestructure bv 0 (bs:vector 10 point)))
     '(bytestructure-set! points 3 'y 2.5)
     '(write (list (bytestructure-ref points 3 'y)
                   (bytevector-ieee-double-native-ref bv 56)))))
  (unless (zero? (status:exit-val
                  (system* "sh" "-c" "python3 -c 'from multiprocessing import \
shared_memory' 2> /dev/null")))
    (test-skip 2))
  (with-fresh-name name
    (let ((bv (shm-create name 100)))
      (bytevector-u8-set! bv 0 41)
      (test-equal "Python attaches to ours, and writes" '("41" 42)
        (let ((output
               (python "from multiprocessing import shared_memory"
                       "from multiprocessing import resource_tracker"
                       (format #f "s = shared_memory.SharedMemory(~s)"
                               (string-drop name 1))
                       "print(s.buf[0])"
                       "s.buf[1] = s.buf[0] + 1"
                       "resource_tracker.unregister(s._name, 'shared_memory')"
                       "s.close()"
                       stop-tracker)))
          (list output (bytevector-u8-ref bv 1))))))
  (with-fresh-name name
    (test-equal "we attach to Python's, and write" '(7 "8")
      (let* ((port (open-pipe*
                    OPEN_BOTH "python3" "-uc"
                    (string-join
                     (list "from multiprocessing import shared_memory"
                           (format #f "s = shared_memory.SharedMemory(~s, \
create=True, size=100)" (string-drop name 1))
                           "s.buf[3] = 7"
                           "print('1')"
                           "input()"
                           "print('\"%d\"' % s.buf[4])"
                           "s.close()"
                           "s.unlink()"
                           "from multiprocessing import resource_tracker"
                           stop-tracker)
                     "\n")))
             (ready (read port))
             (bv (shm-attach name #:writable? #t))
             (theirs (bytevector-u8-ref bv 3)))
        (bytevector-u8-set! bv 4 (+ theirs 1))
        (newline port)
        (force-output port)
        (let ((seen (read port)))
          (get-string-all port)
          (close-pipe port)
          (list theirs seen))))))

;; Built as on a system without shared memory, all are there and all refuse.
(define (test-without)
  (for-each
   (match-lambda
     ((name . thunk)
      (test-equal name (list 'system-error name ENOSYS)
        (match (raised thunk)
          ((key subr message errno) (list key subr errno))
          (other other)))))
   `(("shm-open-anonymous" . ,(lambda () (shm-open-anonymous)))
     ("shm-size" . ,(lambda () (shm-size 0)))
     ("shm-resize!" . ,(lambda () (shm-resize! 0 10)))
     ("shm-seal!" . ,(lambda () (shm-seal! 0 '(grow))))
     ("shm-seals" . ,(lambda () (shm-seals 0)))
     ("shm-send-fd" . ,(lambda () (shm-send-fd #f 0)))
     ("shm-receive-fd" . ,(lambda () (shm-receive-fd #f)))
     ("shm-list" . ,(lambda () (shm-list)))
     ("shm-map" . ,(lambda () (shm-map 0)))
     ("shm-view" . ,(lambda () (shm-view (make-bytevector 8) 'u8)))
     ("shm-unmap!" . ,(lambda () (shm-unmap! (make-bytevector 8))))
     ("shm-mapped?" . ,(lambda () (shm-mapped? (make-bytevector 8))))
     ("shm-name" . ,(lambda () (shm-name (make-bytevector 8))))
     ("shm-create" . ,(lambda () (shm-create "/frames" 8)))
     ("shm-attach" . ,(lambda () (shm-attach "/frames")))
     ("call-with-shm" . ,(lambda () (call-with-shm "/frames" 8 identity))))))

(test-begin "mapping")

(if posix-shm?
    (begin
      (test-group "objects" (test-objects))
      (test-group "seals" (test-seals))
      (test-group "passing" (test-passing))
      (test-group "mappings" (test-mappings))
      (test-group "types" (test-types))
      (test-group "views" (test-views))
      (test-group "unmapping" (test-unmapping))
      (test-group "many" (test-many))
      (test-group "shm-create" (test-create))
      (test-group "interrupted" (test-interrupted))
      (test-group "waiting" (test-waiting))
      (test-group "killed creator" (test-killed-creator))
      (test-group "call-with-shm" (test-call-with-shm))
      (test-group "interoperation" (test-interoperation)))
    (test-group "without shared memory" (test-without)))

(test-end "mapping")

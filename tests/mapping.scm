;;; SPDX-License-Identifier: BSD-3-Clause
;;; mapping.scm - bytevectors on objects, tested.

(use-modules (ice-9 match)
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

(define page 4096)

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
      (car (raised (lambda () (shm-map fd #:type "u8")))))))

(define (test-refusals)
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
        (test-equal "shm-name by descriptor" name (shm-name (shm-map fd)))))))

(define (test-options)
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
    (eval-in-new-guile
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
    (eval-in-new-guile
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
     '(write (list (> before 16384) (< (blocks) 16384))))))

(define (test-unmapping-in-use)
  ;; The loop keeps the bytevector's address and length in registers; what it
  ;; reads and writes after shm-unmap! is not the object's.
  (test-equal "while a compiled loop of another thread reads and writes"
    '(never-seen 99)
    (eval-in-new-guile
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
     '(write (list seen (bytevector-u8-ref other 0))))))

(define (test-limited-memory)
  ;; ASan needs more.
  (when (getenv "ASAN_OPTIONS")
    (test-skip 1))
  (test-equal "where private memory is limited" '(#t 0 0)
    (eval-in-new-guile
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
                     (bytevector-u8-ref view 6)))))))

(define (test-ordinary)
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
    (eval-in-new-guile
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
      (test-group "mappings"
        (test-mappings)
        (test-refusals)
        (test-options))
      (test-group "types" (test-types))
      (test-group "views" (test-views))
      (test-group "unmapping"
        (test-unmapping)
        (test-unmapping-in-use)
        (test-limited-memory)
        (test-ordinary))
      (test-group "many" (test-many)))
    (test-group "without shared memory" (test-without)))

(test-end "mapping")

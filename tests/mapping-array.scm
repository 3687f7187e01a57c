;;; SPDX-License-Identifier: BSD-3-Clause
;;; mapping-array.scm - arrays on shared memory, and ports for descriptors, tested.

(use-modules (posix-shm)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-4)
             (srfi srfi-64)
             (tests mapping-support)
             (tests support))

(define (test-dimensions)
  (with-fresh-name name
    (let ((a (shm-create name #f #:type 'f64 #:dimensions '(2 3)
                         #:initialize (lambda (a) (array-set! a 1.5 1 2)))))
      (test-equal "a new array, row-major" '(f64 (2 3) 1.5 48)
        (list (array-type a) (array-dimensions a)
              (f64vector-ref (shm-attach name #:type 'f64) 5)
              (bytevector-length (shm-attach name))))
      (test-equal "attached" '#2f64((0.0 0.0 0.0) (0.0 0.0 1.5))
        (shm-attach name #:type 'f64 #:dimensions '(2 3)))
      (test-equal "of less than the object" '#2f64((0.0) (0.0))
        (shm-attach name #:type 'f64 #:dimensions '(2 1)))
      (test-out-of-range "of more than the object"
        (shm-attach name #:type 'f64 #:dimensions '(2 4)))
      (test-equal "writable, in all processes" 7.0
        (begin
          (array-set! (shm-attach name #:type 'f64 #:dimensions '(3 2)
                                  #:writable? #t)
                      7.0 0 1)
          (array-ref a 0 1)))
      (test-equal "one dimension, and three" '(#f64(0.0 7.0) (1 2 3))
        (list (shm-attach name #:type 'f64 #:dimensions '(2))
              (array-dimensions
               (shm-attach name #:type 'f64 #:dimensions '(1 2 3)))))
      (test-equal "a size that agrees" 6
        (call-with-shm #f 6 array-length #:dimensions '(6)))
      (test-raises "a size that does not"
        '(out-of-range "shm-create"
                       "A size of 47 bytes does not agree with dimensions (2 3) \
of type f64, which need 48 bytes")
        (shm-create (fresh-name) 47 #:type 'f64 #:dimensions '(2 3)))))
  (for-each
   (lambda (dimensions expected)
     (test-equal (format #f "dimensions ~s" dimensions) expected
       (map (lambda (call) (car (raised call)))
            (list (lambda () (shm-create (fresh-name) #f #:dimensions dimensions))
                  (lambda () (shm-attach (fresh-name) #:dimensions dimensions))))))
   '((0 2) (-1 2) (1.5) () (1 . 2) 3 "2")
   '((out-of-range out-of-range) (out-of-range out-of-range)
     (wrong-type-arg wrong-type-arg) (wrong-type-arg wrong-type-arg)
     (wrong-type-arg wrong-type-arg) (wrong-type-arg wrong-type-arg)
     (wrong-type-arg wrong-type-arg)))
  (test-out-of-range "more elements than an address space has"
    (shm-create (fresh-name) #f #:dimensions (list (ash 1 40) (ash 1 40))))
  (with-descriptor (fd 48)
    (test-equal "mapped" '(#2u8((0 0) (0 0)) 4)
      (let ((a (shm-map fd #:dimensions '(2 2) #:type 'u8 #:offset 1)))
        (list a (bytevector-length (shared-array-root a)))))
    (test-out-of-range "mapped, of more than there is"
      (shm-map fd #:dimensions '(7 7)))
    (test-out-of-range "mapped, and a length that does not agree"
      (shm-map fd 10 #:dimensions '(3 3)))))

(define (test-views)
  (with-mapping (bv 48)
    (test-equal "a view in a shape" '(#2u16((0 0) (0 513)) 4)
      (begin
        (bytevector-u8-set! bv 14 1)
        (bytevector-u8-set! bv 15 2)
        (let ((a (shm-view bv 'u16 8 #:dimensions '(2 2))))
          (list a (array-length (shared-array-root a))))))
    (test-equal "a count that agrees" '#u16(0 0)
      (shm-view bv 'u16 8 2 #:dimensions '(2)))
    (test-out-of-range "a count that does not"
      (shm-view bv 'u16 8 3 #:dimensions '(2)))
    (test-out-of-range "more than the bytevector has"
      (shm-view bv 'u16 8 #:dimensions '(5 5)))))

(define (test-arrays-as-arguments)
  (with-fresh-name name
    (let ((a (shm-create name #f #:type 'f64 #:dimensions '(2 3))))
      (test-equal "of the name, the mapping, a view" (list name #t 48)
        (list (shm-name a) (shm-mapped? a)
              (bytevector-length (shm-view a 'vu8))))
      (test-equal "unmapped: accesses are out of range" '(#t #f #f out-of-range
                                                              out-of-range)
        (let* ((first (shm-unmap! a))
               (again (shm-unmap! a)))
          (list first again (shm-mapped? a)
                (car (raised (lambda () (array-ref a 1 2))))
                (car (raised (lambda () (array-set! a 1.0 0 0)))))))))
  (test-equal "arrays that are not on shared memory"
    '(#f #f wrong-type-arg wrong-type-arg)
    (let ((a (make-typed-array 'f64 0.0 2 2)))
      (list (shm-name a) (shm-mapped? a)
            (car (raised (lambda () (shm-unmap! a))))
            (car (raised (lambda () (shm-view a 'u8)))))))
  (test-equal "arrays of anything" '(wrong-type-arg wrong-type-arg)
    (let ((a (make-array 'x 2 2)))
      (list (car (raised (lambda () (shm-name a))))
            (car (raised (lambda () (shm-unmap! a))))))))

(define (test-ports)
  (with-fresh-name name
    (let ((port (fdopen (shm-open name (list O_RDWR O_CREAT O_EXCL)) "r+b0")))
      (test-equal "sized and mapped by a port" '(100 100 #t)
        (begin
          (shm-resize! port 100)
          (list (shm-size port)
                (bytevector-length (shm-map port))
                (list? (shm-seals port)))))
      (test-equal "a channel behind a port" #vu8(1)
        (let ((bv (begin
                    (shm-resize! port (+ shm-channel-header-size 64))
                    (shm-map port))))
          (shm-channel-init! bv)
          (shm-channel-send! (shm-channel bv) #vu8(1))
          (shm-channel-receive! (shm-channel-map port))))
      (test-equal "sent by a socket" 'sent
        (let ((pair (socketpair AF_UNIX SOCK_STREAM 0)))
          (shm-send-fd (car pair) port)
          (let ((fd (shm-receive-fd (cdr pair))))
            (close-fdes fd)
            (close-port (car pair))
            (close-port (cdr pair))
            'sent)))
      (close-port port)
      (test-raises "closed"
        `(wrong-type-arg "shm-size" ,(format #f "Wrong type argument in position \
1 (expecting file descriptor or open file port): ~s" port))
        (shm-size port))))
  (test-equal "a port that only the call refers to stays open" '(10 10 10)
    (with-fresh-name name
      (shm-create name 10)
      (map (lambda (i)
             (gc)
             (bytevector-length
              (shm-map (fdopen (shm-open name (list O_RDONLY)) "rb"))))
           (iota 3)))))

(define (test-fresh-names)
  (test-equal "short, all different, and not in use" '(14 100 #t)
    (let ((names (map (lambda (_) (shm-fresh-name)) (iota 100)))
          (table (make-hash-table)))
      (for-each (lambda (name) (hash-set! table name #t)) names)
      (list (string-length (car names))
            (hash-count (const #t) table)
            (not (or-map exists? names)))))
  (test-equal "others after a fork" #t
    (eval-in-new-guile
     '(define ends (pipe))
     '(define child
        (let ((pid (primitive-fork)))
          (when (zero? pid)
            (write (shm-fresh-name) (cdr ends))
            (force-output (cdr ends))
            (primitive-_exit 0))
          pid))
     '(define theirs (read (car ends)))
     '(waitpid child)
     '(write (not (string=? theirs (shm-fresh-name)))))))

(test-begin "mapping-array")

(when-posix-shm
  (test-group "dimensions" (test-dimensions))
  (test-group "views" (test-views))
  (test-group "arguments" (test-arrays-as-arguments))
  (test-group "ports" (test-ports))
  (test-group "fresh names" (test-fresh-names)))

(test-end "mapping-array")

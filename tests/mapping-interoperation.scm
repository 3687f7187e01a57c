;;; SPDX-License-Identifier: BSD-3-Clause
;;; mapping-interoperation.scm - objects shared with C and Python, tested.

(use-modules (ice-9 popen)
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             (rnrs bytevectors)
             (srfi srfi-4)
             (srfi srfi-64)
             (tests support))

(define builddir (or (getenv "abs_top_builddir") "."))

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
    (eval-in-new-guile
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

(test-begin "mapping-interoperation")

(when-posix-shm
  (test-group "interoperation" (test-interoperation)))

(test-end "mapping-interoperation")

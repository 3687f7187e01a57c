;;; SPDX-License-Identifier: BSD-3-Clause
;;; picture.scm - a picture shared with numpy.
;;;
;;; Usage: guile picture.scm FILE
;;;
;;; Guile paints a picture in shared memory, Python blurs it there with numpy,
;;; and Guile writes it to FILE, as PGM.  Python has the layout from Guile.

(use-modules (ice-9 binary-ports)
             (ice-9 match)
             (posix-shm))

(define-shm-layout picture
  (passes u32)                          ; how often it was blurred
  (pixels u8 200 300))

(define blur "
import mmap, sys
import numpy

with open('/dev/shm' + sys.argv[1], 'r+b') as file:
    shared = picture.from_buffer(mmap.mmap(file.fileno(), 0), 64)
pixels = numpy.ctypeslib.as_array(shared.pixels)
for axis in 0, 1:
    for i in range(4):
        sum = pixels.astype(int)
        sum += numpy.roll(pixels, 1, axis)
        sum += numpy.roll(pixels, -1, axis)
        pixels[:] = sum // 3
        shared.passes += 1
")

(define (paint! bv)
  (array-index-map! (picture-pixels bv)
                    (lambda (y x)
                      (if (< (+ (expt (- y 100) 2) (expt (- x 150) 2)) 6400)
                          255
                          (modulo (* x y) 128)))))

(define (main file)
  (define name (shm-fresh-name))
  (call-with-shm name #f
    (lambda (bv)
      (unless (zero? (system* "python3" "-c"
                              (string-append (shm-layout->ctypes picture) blur)
                              name))
        (exit 1))
      (format #t "Python blurred it ~a times.~%" (picture-passes bv))
      (call-with-output-file file
        (lambda (port)
          (format port "P5 300 200 255~%")
          (put-bytevector port (array-contents (picture-pixels bv))))
        #:binary #t))
    #:layout picture
    #:initialize paint!))

(match (command-line)
  ((_ file) (main file))
  (_ (display "Usage: guile picture.scm FILE\n" (current-error-port)) (exit 2)))

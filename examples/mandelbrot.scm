;;; SPDX-License-Identifier: BSD-3-Clause
;;; mandelbrot.scm - processes that paint one picture, in memory they share.
;;;
;;; Usage: guile mandelbrot.scm [--workers=N] [--size=WxH] [--output=FILE]
;;;
;;; Each worker is a process.  It takes the next free row by one atomic
;;; operation, paints it into the shared picture, and counts it as done.
;;; The parent sleeps until that count changes, and shows how far they are.  In
;;; the end the picture is simply there: no row was ever sent anywhere.
;;;
;;; N is by default two for each processor.  FILE is a PNG, by default
;;; mandelbrot.png.

(use-modules (ice-9 binary-ports)
             (ice-9 format)
             (ice-9 match)
             ((ice-9 threads) #:select (current-processor-count))
             (posix-shm)
             (posix-shm atomic)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4)
             (srfi srfi-37))


;;; Shared memory.

;; None has a name, so that nothing is left behind, however this program ends:
;; the picture; how far all are; and how many rows each worker has painted.

(define (make-picture width height)
  (shm-create #f (* height (+ 1 (* 3 width)))))

(define-shm-layout progress
  (next u32)                            ; the next row to take
  (done u32))                           ; how many rows are done

(define (make-row-counts workers)
  (shm-create #f #f #:type 'u32 #:dimensions (list workers)))


;;; Painting.

;; What of the plane is seen: its centre and its width.
(define centre-x -0.65)
(define centre-y 0.0)
(define width-seen 3.4)

;; How long to look whether a point leaves.
(define limit 300)

;; Red, green and blue of 1024 colours that a point has by how soon it leaves,
;; again and again, and of black for one that stays.
(define black (* 3 1024))
(define palette
  (let ((palette (make-u8vector (+ black 3) 0)))
    (define (fill! from to from-colour to-colour)
      (do ((i from (+ i 1)))
          ((= i to))
        (for-each (lambda (k a b)
                    (let ((part (/ (- i from) (- to from))))
                      (u8vector-set! palette (+ (* 3 i) k)
                                     (round (+ a (* part (- b a)))))))
                  (iota 3) from-colour to-colour)))
    (for-each fill!
              '(0 164 430 658 878)
              '(164 430 658 878 1024)
              '((0 7 100) (32 107 203) (237 255 255) (255 170 0) (0 2 20))
              '((32 107 203) (237 255 255) (255 170 0) (0 2 20) (0 7 100)))
    palette))

(define (steps point)
  "Return after how many steps POINT, an f64vector of its place, is far away,
or #f if it stays."
  ;; Guile knows that these are floats, so it computes without allocating.
  (let ((cx (f64vector-ref point 0))
        (cy (f64vector-ref point 1)))
    (let again ((n 0) (x 0.0) (y 0.0))
      (let* ((xx (* x x))
             (yy (* y y))
             (distance (+ xx yy)))
        (cond ((> distance 1000.0)
               ;; Not a whole number, so that colours have no edges.
               (- n (/ (log (/ (log distance) (log 1000.0))) (log 2.0))))
              ((= n limit) #f)
              (else
               (again (+ n 1)
                      (+ (- xx yy) cx)
                      (+ (* 2.0 (* x y)) cy))))))))

(define (paint-row! picture width height row)
  ;; A row of a PNG: a zero, then red, green and blue of each pixel, here the
  ;; mean of four points.
  (define step (/ width-seen width))
  (define point (make-f64vector 2))
  (define (colour column row)
    "Return where in the palette the colour of a place is."
    (f64vector-set! point 0 (+ centre-x (* step (- column (* 0.5 width)))))
    (f64vector-set! point 1 (+ centre-y (* step (- row (* 0.5 height)))))
    (match (steps point)
      (#f black)
      (n (* 3 (modulo (inexact->exact (floor (* 110.0 (sqrt (max 0.0 n)))))
                      1024)))))
  (do ((column 0 (+ column 1))
       (k (+ 1 (* row (+ 1 (* 3 width)))) (+ k 3)))
      ((= column width))
    (let ((a (colour (+ column 0.25) (+ row 0.25)))
          (b (colour (+ column 0.75) (+ row 0.25)))
          (c (colour (+ column 0.25) (+ row 0.75)))
          (d (colour (+ column 0.75) (+ row 0.75))))
      (do ((i 0 (+ i 1)))
          ((= i 3))
        (u8vector-set! picture (+ k i)
                       (quotient (+ (u8vector-ref palette (+ a i))
                                    (u8vector-ref palette (+ b i))
                                    (u8vector-ref palette (+ c i))
                                    (u8vector-ref palette (+ d i)))
                                 4))))))

(define (work picture width height shared row-counts worker)
  (let next ((painted 0))
    (array-set! row-counts painted worker)
    (let ((row (atomic-u32-fetch-add! shared progress-next-offset 1)))
      (when (< row height)
        (paint-row! picture width height row)
        (atomic-u32-fetch-add! shared progress-done-offset 1)
        (atomic-u32-notify! shared progress-done-offset)
        (next (+ painted 1))))))


;;; Workers.

(define (start-worker thunk)
  "Start a process that calls THUNK, and return its id."
  (match (primitive-fork)
    (0
     (dynamic-wind
       (const #t)
       (lambda () (thunk) (primitive-_exit 0))
       (lambda () (primitive-_exit 1))))
    (pid pid)))

(define (still-running workers)
  "Return those of WORKERS that have not ended.  If one failed, end the others
and this program."
  (define (running? worker)
    (match (waitpid worker WNOHANG)
      ((0 . _) #t)
      ((_ . 0) #f)
      ((_ . status)
       (for-each (lambda (other)
                   (false-if-exception (kill other SIGTERM))
                   (false-if-exception (waitpid other)))
                 (delete worker workers))
       (fail "worker ~a ~a" worker
             (match (status:term-sig status)
               (#f "failed")
               (signal (format #f "was killed by signal ~a" signal)))))))
  (filter running? workers))

(define (paint! picture width height n)
  "Paint PICTURE with N workers, and return a list of each one's process id and
how many rows it painted."
  (let* ((shared (shm-create #f #f #:layout progress))
         (row-counts (make-row-counts n))
         (workers (map (lambda (i)
                         (start-worker
                          (lambda ()
                            (work picture width height shared row-counts i))))
                       (iota n))))
    ;; Go on when there is another row, but look at the workers ten times in a
    ;; second at least: a row that one took which is dead is never done.
    (let again ((running workers))
      (let ((done (atomic-u32-ref shared progress-done-offset)))
        (show-progress done height)
        (cond ((< done height)
               (atomic-u32-wait shared progress-done-offset done 0.1)
               (again (still-running running)))
              (else (for-each waitpid running)))))
    (map list workers (array->list row-counts))))

(define (show-progress done total)
  (when (isatty? (current-output-port))
    (let ((full (quotient (* 50 done) total)))
      (format #t "\r[~a~a] ~3d %"
              (make-string full #\#) (make-string (- 50 full) #\.)
              (quotient (* 100 done) total))
      (when (= done total) (newline))
      (force-output))))


;;; The picture as a file, see https://www.w3.org/TR/png/.

(define crc-table
  (list->vector
   (map (lambda (byte)
          (fold (lambda (i c)
                  (if (odd? c) (logxor #xedb88320 (ash c -1)) (ash c -1)))
                byte (iota 8)))
        (iota 256))))

(define (crc-32 bv)
  (let next ((i 0) (crc #xffffffff))
    (if (= i (bytevector-length bv))
        (logxor crc #xffffffff)
        (let ((k (logxor (logand crc 255) (bytevector-u8-ref bv i))))
          (next (+ i 1)
                (logxor (vector-ref crc-table k) (ash crc -8)))))))

(define (adler-32 bv)
  (let next ((i 0) (a 1) (b 0))
    (if (= i (bytevector-length bv))
        (+ (* 65536 b) a)
        (let ((a (modulo (+ a (bytevector-u8-ref bv i)) 65521)))
          (next (+ i 1) a (modulo (+ a b) 65521))))))

(define (put-u32 port n)
  (let ((bv (make-bytevector 4)))
    (bytevector-u32-set! bv 0 n (endianness big))
    (put-bytevector port bv)))

(define (put-chunk port type put-content)
  (let ((bv (call-with-output-bytevector
             (lambda (chunk)
               (put-bytevector chunk (string->utf8 type))
               (put-content chunk)))))
    (put-u32 port (- (bytevector-length bv) 4))
    (put-bytevector port bv)
    (put-u32 port (crc-32 bv))))

(define (put-stored port bv)
  ;; What zlib makes of BV if it does not compress, in blocks of 65535 bytes.
  (put-bytevector port #vu8(#x78 1))
  (let next ((start 0))
    (let* ((left (- (bytevector-length bv) start))
           (count (min left 65535))
           (head (make-bytevector 5)))
      (bytevector-u8-set! head 0 (if (= count left) 1 0))
      (bytevector-u16-set! head 1 count (endianness little))
      (bytevector-u16-set! head 3 (- 65535 count) (endianness little))
      (put-bytevector port head)
      (put-bytevector port bv start count)
      (unless (= count left)
        (next (+ start count)))))
  (put-u32 port (adler-32 bv)))

(define (write-png file picture width height)
  (call-with-output-file file
    (lambda (port)
      (put-bytevector port #vu8(#x89 #x50 #x4e #x47 13 10 26 10))
      (put-chunk port "IHDR"
                 (lambda (chunk)
                   (put-u32 chunk width)
                   (put-u32 chunk height)
                   ;; 8 bits of red, green and blue.
                   (put-bytevector chunk #vu8(8 2 0 0 0))))
      (put-chunk port "IDAT" (lambda (chunk) (put-stored chunk picture)))
      (put-chunk port "IEND" (const #t)))
    #:binary #t))


;;; The command line.

(define (fail message . arguments)
  (format (current-error-port) "mandelbrot.scm: ~?~%" message arguments)
  (exit 1))

(define (misused . _)
  (format (current-error-port) "Usage: guile mandelbrot.scm [--workers=N] ~
[--size=WxH] [--output=FILE]~%")
  (exit 2))

(define (positive-integer text)
  (match (string->number text)
    ((? exact-integer? (? positive? n)) n)
    (_ (misused))))

(define (size text)
  (match (string-split text #\x)
    ((width height)
     (cons (positive-integer width) (positive-integer height)))
    (_ (misused))))

(define (option-named name convert)
  (option (list name) #f #t
          (lambda (option name argument options)
            (acons name (convert (or argument (misused))) options))))

(define options
  (args-fold (cdr (command-line))
             (list (option-named "workers" positive-integer)
                   (option-named "size" size)
                   (option-named "output" identity))
             misused misused
             `(("workers" . ,(* 2 (current-processor-count)))
               ("size" . (768 . 512))
               ("output" . "mandelbrot.png"))))

(define (main n width height file)
  (let ((picture (make-picture width height)))
    (for-each (match-lambda
                ((pid rows)
                 (format #t "process ~d painted ~d row~:p~%" pid rows)))
              (paint! picture width height n))
    (force-output)
    (catch 'system-error
      (lambda () (write-png file picture width height))
      (lambda arguments
        (fail "~a: ~a" file (strerror (system-error-errno arguments)))))
    (format #t "the picture, ~dx~d, is in ~a~%" width height file)))

(match (assoc-ref options "size")
  ((width . height)
   (main (assoc-ref options "workers") width height
         (assoc-ref options "output"))))

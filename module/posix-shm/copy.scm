;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm copy) - copying objects from and to the standard streams.

(define-module (posix-shm copy)
  #:use-module (ice-9 binary-ports)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm object)
  #:use-module ((posix-shm primitives)
                #:select (%shm-open-unnamed
                          %shm-publish
                          %shm-unlink-own))
  #:use-module (rnrs bytevectors)
  #:export (call-with-new-object
            closed?
            dump-object
            load-object))

;; A descriptor that was closed at the start is one of Guile's own by now,
;; which a program that is executed does not get.
(define (closed? fd)
  (not (zero? (logand FD_CLOEXEC (fcntl fd F_GETFD)))))

(define (standard-port fd what open)
  "Return a new port, made by OPEN of a descriptor, on the standard stream FD."
  (or (and (not (closed? fd))
           ;; A signal's handler that exits does so afterwards.
           (call-with-blocked-asyncs
            (lambda () (false-if-exception (open (dup->fdes fd))))))
      (raise-system-error EBADF what)))

;; Where the object has no name before it is whole, nobody needs to clean up.
(define (exit-on-signals)
  (for-each (lambda (signal)
              (unless (eqv? SIG_IGN (car (sigaction signal)))
                (sigaction signal (lambda (signal) (exit (+ 128 signal))))))
            (list SIGHUP SIGINT SIGTERM)))

(define (call-with-new-object name proc)
  "Make the object NAME, and call PROC with a descriptor of it before others
find it, where the system allows that.  If PROC does not return, nothing is
left."
  (define unnamed (%shm-open-unnamed name #o600 #t))
  (unless unnamed
    (exit-on-signals))
  ;; None may end this when the object is there and nobody would remove it.
  (call-with-blocked-asyncs
   (lambda ()
     (let ((fd (or unnamed
                   (shm-open name (list O_RDWR O_CREAT O_EXCL) #:mode #o600)))
           (made? #f))
       (dynamic-wind
         (const #t)
         (lambda ()
           (call-with-unblocked-asyncs (lambda () (proc fd)))
           (when unnamed
             (%shm-publish fd name))
           (set! made? #t))
         (lambda ()
           (unless (or made? unnamed)
             (%shm-unlink-own name fd))
           (close-fdes fd)))))))

(define block 4096)
(define chunk (* 256 block))
(define no-bytes (make-bytevector block 0))

;; What is written is not buffered, so that what fails fails there.
(define (input-port fd)
  (let ((port (fdopen fd "rb")))
    (setvbuf port 'block (* 16 block))
    port))

(define (output-port fd)
  (fdopen fd (if (zero? (logand O_RDWR (fcntl fd F_GETFL))) "wb0" "r+b0")))

;; Runs of blocks that are not all zero, in the COUNT bytes of BV.
(define (for-each-run bv count proc)
  (define view (make-bytevector block))
  (define (zero-block? start)
    (let ((size (min block (- count start))))
      (when (< size block)
        (bytevector-fill! view 0))
      (bytevector-copy! bv start view 0 size)
      (bytevector=? view no-bytes)))
  (let next ((start 0) (run #f))
    (cond ((>= start count)
           (when run
             (proc run (- count run))))
          ((zero-block? start)
           (when run
             (proc run (- start run)))
           (next (+ start block) #f))
          (else (next (+ start block) (or run start))))))

;; A signal that comes while a read waits is not seen before it returns; hence
;; the slices.
(define (await-input port)
  (when (null? (car (select (list port) '() '() 1/20)))
    (await-input port)))

(define (read-chunk! in what bv)
  "Fill BV with bytes from IN, which is WHAT, and return how many there are,
fewer only at the end."
  (let next ((count 0))
    (if (= count chunk)
        count
        (begin
          (await-input in)
          (let ((more (with-error-context what
                        (get-bytevector-some! in bv count (- chunk count)))))
            (if (eof-object? more)
                count
                (next (+ count more))))))))

(define (copy-bytes in from out to progress sparse?)
  "Copy all bytes from the port IN to the port OUT, which messages call FROM
and TO, and return how many.  If SPARSE?, go over what is zero in OUT, which
holds nothing yet."
  (define bv (make-bytevector chunk))
  (let next ((done 0))
    (let ((count (read-chunk! in from bv)))
      (cond ((zero? count) done)
            (else
             (with-error-context to
               (if sparse?
                   (for-each-run bv count
                     (lambda (start size)
                       (seek out (+ done start) SEEK_SET)
                       (put-bytevector out bv start size)))
                   (put-bytevector out bv 0 count)))
             (progress (+ done count))
             (next (+ done count)))))))

(define (regular-file? port)
  (eq? 'regular (stat:type (stat port))))

(define (dump-object name call-with-progress)
  (define to "standard output")
  (let* ((in (input-port (shm-open name (list O_RDONLY))))
         (out (standard-port 1 to output-port))
         (from (format #f "~s" name))
         (start (and (regular-file? out)
                     (zero? (logand O_APPEND (fcntl out F_GETFL)))
                     (= (seek out 0 SEEK_CUR) (stat:size (stat out)))
                     (seek out 0 SEEK_CUR))))
    (call-with-progress (stat:size (stat in))
      (lambda (progress)
        (if (eqv? start 0)
            (let ((size (copy-bytes in from out to progress #t)))
              (with-error-context to (truncate-file out size)))
            (copy-bytes in from out to progress #f))))
    (close-port in)
    (close-port out)))

(define (load-object name call-with-progress)
  (define from "standard input")
  (call-with-new-object name
    (lambda (fd)
      (let ((in (standard-port 0 from input-port))
            (out (output-port (dup->fdes fd)))
            (to (format #f "~s" name)))
        (call-with-progress (and (regular-file? in) (stat:size (stat in)))
          (lambda (progress)
            (let ((size (copy-bytes in from out to progress #t)))
              (with-error-context to (truncate-file out size)))))
        (close-port in)
        (close-port out)))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm copy) - copying objects from and to the standard streams.

(define-module (posix-shm copy)
  #:use-module (ice-9 binary-ports)
  #:use-module (posix-shm create)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm object)
  #:use-module (rnrs bytevectors)
  #:export (call-with-new-object
            closed-at-start?
            dump-object
            load-object))


;;; Standard streams.

;; Guile's own descriptors get the numbers that are free, and are closed on
;; exec, which standard streams are not.
(define (closed-at-start? fd)
  "Return whether the standard stream FD was closed when Guile started."
  (not (zero? (logand FD_CLOEXEC (fcntl fd F_GETFD)))))

(define (standard-port fd what open)
  "Return a new port on the standard stream FD: what OPEN returns for a
descriptor.  Messages call the stream WHAT."
  (or (and (not (closed-at-start? fd))
           ;; false-if-exception would catch the exit of a signal's handler.
           (call-with-blocked-asyncs
            (lambda () (false-if-exception (open (dup->fdes fd))))))
      (raise-system-error EBADF what)))


;;; New objects.

(define (exit-on-signals)
  "Have signals that end the process unwind the stack first."
  (for-each (lambda (signal)
              (unless (eqv? SIG_IGN (car (sigaction signal)))
                (sigaction signal (lambda (signal) (exit (+ 128 signal))))))
            (list SIGHUP SIGINT SIGTERM)))

(define (call-with-new-object name proc)
  "Create the object NAME and call PROC with a descriptor of it.  On systems
that have objects without a name, NAME appears when PROC returns.  If PROC does
not return, no object is left behind."
  (define draft #f)
  (exit-on-signals)
  (with-cleanup
      (when draft
        (discard-draft! draft))
    (without-asyncs
     (set! draft (open-draft name #o600 #:early? #t)))
    (proc (draft-fd draft))
    (without-asyncs
     (publish-draft! draft))))


;;; Copying.

(define block 4096)                     ; bytes
(define chunk (* 256 block))
(define no-bytes (make-bytevector block 0))

(define (input-port fd)
  (let ((port (fdopen fd "rb")))
    (setvbuf port 'block (* 16 block))
    port))

;; Without a buffer, so that it is put-bytevector that fails.
(define (output-port fd)
  (fdopen fd (if (zero? (logand O_RDWR (fcntl fd F_GETFL))) "wb0" "r+b0")))

(define (for-each-run bv count proc)
  "Call PROC with the start and the size of each longest run of blocks that are
not all zero, in the first COUNT bytes of BV."
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

;; Guile runs a signal's handler only after a read has returned, or a select.
(define (await-input port)
  "Wait until PORT has input, and let handlers of signals run meanwhile."
  (when (null? (car (select (list port) '() '() 1/20)))
    (await-input port)))

(define (read-chunk! in what bv)
  "Fill BV with bytes from IN, which messages call WHAT, and return how many
there are: fewer than BV has only at the end."
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
and TO.  Call PROGRESS with how many have been copied.  If SPARSE?, OUT is an
empty file: leave holes in it for what is zero."
  (define bv (make-bytevector chunk))
  (let next ((done 0))
    (let ((count (read-chunk! in from bv)))
      (cond ((positive? count)
             (with-error-context to
               (if sparse?
                   (for-each-run bv count
                     (lambda (start size)
                       (seek out (+ done start) SEEK_SET)
                       (put-bytevector out bv start size)))
                   (put-bytevector out bv 0 count)))
             (progress (+ done count))
             (next (+ done count)))
            (sparse?
             (with-error-context to (truncate-file out done)))))))

(define (regular-file? port)
  (eq? 'regular (stat:type (stat port))))

(define (empty-file? port)
  "Return whether PORT is at the start of an empty file, in which it can seek."
  (and (regular-file? port)
       (zero? (logand O_APPEND (fcntl port F_GETFL)))
       (= 0 (seek port 0 SEEK_CUR) (stat:size (stat port)))))

(define (dump-object name call-with-progress)
  "Copy the object NAME to standard output.  Call CALL-WITH-PROGRESS with the
number of bytes, or #f where that is unknown, and a procedure that it calls
with another one, which takes how many bytes have been copied."
  (define to "standard output")
  (let* ((in (input-port (shm-open name (list O_RDONLY))))
         (out (standard-port 1 to output-port))
         (from (format #f "~s" name))
         (sparse? (empty-file? out)))
    (call-with-progress (stat:size (stat in))
      (lambda (progress) (copy-bytes in from out to progress sparse?)))
    (close-port in)
    (close-port out)))

(define (load-object name call-with-progress)
  "Make the object NAME of what standard input has.  CALL-WITH-PROGRESS is as
for dump-object."
  (define from "standard input")
  (call-with-new-object name
    (lambda (fd)
      (let ((in (standard-port 0 from input-port))
            (out (output-port (dup->fdes fd)))
            (to (format #f "~s" name)))
        (call-with-progress (and (regular-file? in) (stat:size (stat in)))
          (lambda (progress) (copy-bytes in from out to progress #t)))
        (close-port in)
        (close-port out)))))

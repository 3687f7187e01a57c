;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm object) - shared memory objects: names and descriptors.

(define-module (posix-shm object)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm primitives)
  #:export (;; The CHICKEN egg's three names.
            posix-shm?
            shm-open
            shm-unlink

            ;; Objects.
            shm-open-anonymous
            shm-fresh-name
            shm-size
            shm-resize!
            shm-seal!
            shm-seals
            shm-list

            ;; Passing them to other processes.
            shm-send-fd
            shm-receive-fd

            ;; For other components.
            require-shm
            with-errors-from
            without-asyncs))

;; Whether this platform has POSIX shared memory.  If it is #f, each procedure
;; raises system-error with ENOSYS.
(define posix-shm? %posix-shm?)

(define-syntax-rule (require-shm subr object)
  (unless posix-shm?
    (no-shm subr object)))

(define (no-shm subr object)
  (scm-error 'system-error subr "~A: ~A (~A)"
             (list (strerror ENOSYS) (shown object)
                   "this system has no POSIX shared memory")
             (list ENOSYS)))

(define-syntax-rule (without-asyncs body ...)
  ;; Neither a signal's handler nor another thread's cancel-thread can leave
  ;; BODY by an exception.
  (call-with-blocked-asyncs (lambda () body ...)))

(define-syntax-rule (with-errors-from procedure object body ...)
  ;; Errors in BODY, which does not block, name PROCEDURE, which the user
  ;; called, and OBJECT, its argument; #f stands for anonymous shared memory.
  ;; Exceptions of signals' handlers, which pass as they are, come later.
  (catch #t
    (lambda () (without-asyncs body ...))
    (lambda (key . arguments)
      (case key
        ((system-error)
         (rename-error procedure object arguments))
        ((wrong-type-arg out-of-range)
         (apply scm-error key procedure (cdr arguments)))
        ((%exception)
         (raise-exception (car arguments)))
        (else
         (apply throw key arguments))))))

(define (rename-error procedure object arguments)
  "Raise system-error with ARGUMENTS, but in the name of PROCEDURE, and for
OBJECT."
  (let ((what (if object (shown object) "anonymous shared memory"))
        (message (cadr arguments))
        (parts (caddr arguments))
        (data (cadddr arguments)))
    (cond ((not (string-prefix? "~A: ~A" message))
           (scm-error 'system-error procedure "~A: ~A"
                      (list (strerror (car data)) what) data))
          ((or (string? object) (not object))
           (scm-error 'system-error procedure message
                      (cons* (car parts) what (cddr parts)) data))
          (else
           ;; OBJECT is a descriptor, and this library's primitives know the
           ;; name of what is behind it.
           (scm-error 'system-error procedure message parts data)))))

(define* (shm-open name oflags #:optional (mode #o744)
                   #:key (keyword-mode mode #:mode))
  "Open the shared memory object NAME and return a new file descriptor for it,
an integer, the lowest that is free, closed on exec.

NAME is a string: a slash, then 1 to 255 bytes (in UTF-8) with no other slash.
OFLAGS is a list of flags, or the same combined with logior: exactly one of
O_RDONLY and O_RDWR, and any of O_CREAT (create the object, of size 0, if there
is none), O_EXCL (with O_CREAT: fail if there is one) and O_TRUNC (set its size
to 0).  MODE, also as a keyword #:mode, gives a new object's permission bits,
an integer from 0 to #o777, less those of the umask.

Guile's own procedures take the descriptor: truncate-file, stat, chmod, fdopen,
close-fdes.

Raise wrong-type-arg or out-of-range for an invalid argument, and system-error
if the system refuses: ENOENT (no such object), EEXIST, EACCES, EINVAL (not a
name, or that of something else), EWOULDBLOCK (another process has had a lease
on it for 100 ms), ENAMETOOLONG, EMFILE (too many descriptors), ENOSYS (no
POSIX shared memory here).  See shm_open(3)."
  (%shm-open name oflags keyword-mode #t))

(define (shm-unlink name)
  "Remove NAME, a string as for shm-open, and return 0.  The object lives on
until its last descriptor is closed and its last mapping is gone.  NAME is free
for a new one at once.

Raise wrong-type-arg if NAME is not a string, and system-error if the system
refuses: ENOENT (no such object), EACCES, EINVAL (not a name), ENAMETOOLONG,
ENOSYS (no POSIX shared memory here).  See shm_unlink(3)."
  (%shm-unlink name))

(define* (shm-open-anonymous #:key (size 0) (label "guile-shm"))
  "Create a shared memory object without a name, of SIZE bytes, and return a
descriptor for it, open for reading and writing and closed on exec.  Other
processes get it by fork, or by shm-send-fd; it is gone with its last
descriptor and mapping.  LABEL, a string of up to 249 bytes, is for debugging
tools.

Raise out-of-range for an invalid SIZE, and system-error if the system refuses.
See memfd_create(2)."
  (require-shm "shm-open-anonymous" label)
  (let ((fd (or (%shm-open-anonymous label)
                (open-and-unlink))))
    (catch #t
      (lambda ()
        (with-errors-from "shm-open-anonymous" label (shm-resize! fd size)))
      (lambda arguments
        (close-fdes fd)
        (apply throw arguments)))
    fd))

(define (open-and-unlink)
  "Return a descriptor as shm-open-anonymous does, without memfd_create."
  (let* ((name (shm-fresh-name))
         (fd (shm-open name (list O_RDWR O_CREAT O_EXCL) #o600)))
    (shm-unlink name)
    fd))

(define fresh-characters "0123456789abcdefghijklmnopqrstuvwxyz")

(define (shm-fresh-name)
  "Return a random name, a string of 14 bytes, that no object has.  Another
process may take it before this one does.

Raise system-error with ENOSYS if there is no POSIX shared memory here."
  (require-shm "shm-fresh-name" 'any)
  ;; Not of the program's own random numbers, whose state processes share after
  ;; a fork.
  (let* ((state (random-state-from-platform))
         (name (string-append
                "/gshm-"
                (list->string
                 (map (lambda (i)
                        (string-ref fresh-characters (random 36 state)))
                      (iota 8))))))
    (if (%shm-exists? name)
        (shm-fresh-name)
        name)))

(define (shm-size fd)
  "Return the size in bytes of the object behind FD, a file descriptor or file
port.  Raise system-error if FD is not open."
  (require-shm "shm-size" fd)
  (%shm-size fd))

(define* (shm-resize! fd size #:key reserve?)
  "Set the size of the object behind FD, a file descriptor or file port, to
SIZE bytes.  Bytes that are added are 0; an access to bytes that are cut off
raises &shm-fault.

With RESERVE? the system allocates the memory now; if there is not enough,
raise system-error with ENOSPC, and the size stays as it was.  Without it, a
page is allocated when it is first accessed.  If the system cannot reserve
memory, RESERVE? has no effect.

Raise out-of-range for a SIZE that is negative or too large for the system, and
system-error if it refuses: EINVAL (FD is not open for writing), EPERM (a seal
forbids it), EFBIG.  See ftruncate(2), posix_fallocate(3)."
  (require-shm "shm-resize!" fd)
  (%shm-resize! fd size reserve?))

(define (shm-seal! fd seals)
  "Forbid, for ever and for all processes, what SEALS lists for the object
behind FD, a file descriptor or file port, which must be anonymous: shrink and
grow (to change its size), write (to store in it), seal (to add seals).

Raise out-of-range for another symbol, and system-error if the system refuses:
EBUSY (write, but a writable mapping exists), EPERM (the object does not allow
seals), EINVAL, ENOSYS.  See F_ADD_SEALS in fcntl(2)."
  (require-shm "shm-seal!" fd)
  (%shm-seal! fd seals))

(define (shm-seals fd)
  "Return the list of the seals, symbols as for shm-seal!, of the object behind
FD, a file descriptor or file port.  Raise system-error if FD is not open."
  (require-shm "shm-seals" fd)
  (%shm-seals fd))

(define (shm-list)
  "Return the sorted list of the names of all shared memory objects.  Names
that begin with /sem. are omitted, since they may be those of semaphores.
Raise system-error with ENOSYS if the system cannot list objects."
  (require-shm "shm-list" 'all)
  (sort (filter (lambda (name) (not (string-prefix? "/sem." name)))
                (map car (%shm-list)))
        string<?))

(define (socket-descriptor subr socket)
  (unless (and (file-port? socket)
               (not (port-closed? socket))
               (eq? 'socket (stat:type (stat socket)))
               (= AF_UNIX (sockaddr:fam (getsockname socket))))
    (wrong-type subr "Unix-domain socket" socket))
  (fileno socket))

(define (shm-send-fd socket fd)
  "Send FD, a file descriptor or file port, over SOCKET, a port on a connected
Unix-domain socket.  The peer receives a descriptor of its own for the same
object by shm-receive-fd.  FD is sent with one byte of data, after what was
written to SOCKET before.

Raise system-error if the system refuses: EBADF (FD is not open), EPIPE (the
peer closed the socket)."
  (require-shm "shm-send-fd" fd)
  (let ((socket-fd (socket-descriptor "shm-send-fd" socket)))
    (force-output socket)
    (%shm-send-fd socket-fd fd)))

(define (shm-receive-fd socket)
  "Return the descriptor that the peer of SOCKET, a port on a connected
Unix-domain socket, sends by shm-send-fd, an integer, closed on exec.  Wait for
it if necessary.

Raise system-error with ECONNRESET if the peer closed the socket, ENOMSG if it
sent data without a descriptor, EMFILE if too many descriptors are open."
  (require-shm "shm-receive-fd" socket)
  (%shm-receive-fd (socket-descriptor "shm-receive-fd" socket)))

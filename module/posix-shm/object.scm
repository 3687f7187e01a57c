;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm object) - shared memory objects: names and descriptors.

(define-module (posix-shm object)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm primitives)
  #:use-module ((srfi srfi-13) #:select (string-unfold))
  #:export (;; The CHICKEN egg's three names.
            posix-shm?
            shm-open
            shm-unlink

            ;; Objects.
            shm-open-anonymous
            shm-size
            shm-resize!
            shm-seal!
            shm-seals
            shm-list

            ;; Passing them to other processes.
            shm-send-fd
            shm-receive-fd

            ;; For other components.
            fresh-name
            require-shm
            with-errors-from))

;; Whether this platform has POSIX shared memory.  Where it is #f, each
;; procedure raises system-error with ENOSYS.
(define posix-shm? %posix-shm?)

(define-syntax-rule (require-shm subr object)
  (unless posix-shm?
    (no-shm subr object)))

(define (no-shm subr object)
  (scm-error 'system-error subr "~A: ~A (~A)"
             (list (strerror ENOSYS) (shown object)
                   "this system has no POSIX shared memory")
             (list ENOSYS)))

(define-syntax-rule (with-errors-from procedure object body ...)
  ;; Have errors in BODY name PROCEDURE, which the user called, and OBJECT, its
  ;; argument.
  (catch #t
    (lambda () body ...)
    (lambda (key . arguments)
      (case key
        ((system-error)
         (let ((message-arguments (caddr arguments)) (data (cadddr arguments)))
           (if (member (shown object) message-arguments)
               (scm-error key procedure (cadr arguments) message-arguments
                          data)
               (scm-error key procedure "~A: ~A"
                          (list (strerror (car data)) (shown object))
                          data))))
        ((wrong-type-arg out-of-range)
         (apply scm-error key procedure (cdr arguments)))
        (else
         (apply throw key arguments))))))

(define* (shm-open name oflags #:optional (mode #o744)
                   #:key (keyword-mode mode #:mode))
  "Open the shared memory object NAME and return a new file descriptor for
it, an integer, the lowest that is free, closed on exec.

NAME is a string: a slash, then 1 to 255 bytes (in UTF-8) with no other
slash.  OFLAGS is a list of flags, or the same combined with @code{logior}:
exactly one of @code{O_RDONLY} and @code{O_RDWR}, and any of @code{O_CREAT}
(make the object, of size 0, where there is none), @code{O_EXCL} (with
@code{O_CREAT}: fail where there is one) and @code{O_TRUNC} (set its size to
0).  MODE, also as a keyword @code{#:mode}, gives a new object's permission
bits, an integer from 0 to @code{#o777}, less those of the umask.

Guile's own procedures take the descriptor: @code{truncate-file},
@code{stat}, @code{chmod}, @code{fdopen}, @code{close-fdes}.

Raise @code{wrong-type-arg} or @code{out-of-range} for an argument that
cannot be, and @code{system-error} where the system refuses: @code{ENOENT}
(no such object), @code{EEXIST}, @code{EACCES}, @code{EINVAL} (not a name, or
what has this name is not an object), @code{EWOULDBLOCK} (another process has
had a lease on it for 100 ms), @code{ENAMETOOLONG}, @code{EMFILE} (too many
descriptors), @code{ENOSYS} (no POSIX shared memory here).  See shm_open(3)."
  (%shm-open name oflags keyword-mode #t))

(define (shm-unlink name)
  "Remove NAME, a string as for @code{shm-open}, and return 0.  The object
itself lives on until its last descriptor is closed and its last mapping
gone, and NAME is free for a new one at once.

Raise @code{wrong-type-arg} if NAME is not a string, and @code{system-error}
where the system refuses: @code{ENOENT} (no such object), @code{EACCES},
@code{EINVAL} (not a name), @code{ENAMETOOLONG}, @code{ENOSYS} (no POSIX
shared memory here).  See shm_unlink(3)."
  (%shm-unlink name))

(define* (shm-open-anonymous #:key (size 0) (label "guile-shm"))
  "Make a shared memory object without a name, of SIZE bytes, and return a
descriptor for it, open for reading and writing and closed on exec.  Other
processes get at it by fork, or by @code{shm-send-fd}; it is gone with its last
descriptor and mapping.  LABEL, a string of up to 249 bytes, is what debugging
tools show.

Raise @code{out-of-range} for a SIZE that cannot be, and @code{system-error}
where the system refuses.  See memfd_create(2)."
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
  "Do as a system without anonymous objects can."
  (let* ((name (fresh-name))
         (fd (shm-open name (list O_RDWR O_CREAT O_EXCL) #o600)))
    (shm-unlink name)
    fd))

;; Of 14 bytes, which every platform takes.  Neither from the program's own
;; random numbers, nor from a state that forked processes share.
(define (fresh-name)
  "Return a random name."
  (let ((state (random-state-from-platform)))
    (string-append "/gshm-"
                   (string-unfold (lambda (i) (= i 8))
                                  (lambda (i)
                                    (string-ref fresh-characters
                                                (random 36 state)))
                                  1+
                                  0))))

(define fresh-characters "0123456789abcdefghijklmnopqrstuvwxyz")

(define (shm-size fd)
  "Return the size in bytes of the object behind the descriptor FD, an integer.
Raise @code{system-error} if FD is not open."
  (require-shm "shm-size" fd)
  (%shm-size fd))

(define* (shm-resize! fd size #:key reserve?)
  "Set the size of the object behind the descriptor FD to SIZE bytes.  Bytes
that are added are 0; mappings of bytes that are cut off raise
@code{&shm-fault} when they are used.

With RESERVE? the system sets memory aside for all of it now, and where there
is not enough raises @code{system-error} with @code{ENOSPC}, and the size stays
as it was.  Without, a page is looked for when it is first used.  A system that
cannot reserve goes on without.

Raise @code{out-of-range} for a SIZE that is negative or more than the system
knows, and @code{system-error} where it refuses: @code{EINVAL} (FD is not open
for writing), @code{EPERM} (a seal forbids it), @code{EFBIG}.  See
ftruncate(2), posix_fallocate(3)."
  (require-shm "shm-resize!" fd)
  (%shm-resize! fd size reserve?))

(define (shm-seal! fd seals)
  "Forbid, for ever and for all, what SEALS lists to be done to the object
behind the descriptor FD, which must be anonymous: @code{shrink} and
@code{grow} to change its size, @code{write} to store in it, @code{seal} to add
seals.

Raise @code{out-of-range} for another symbol, and @code{system-error} where the
system refuses: @code{EBUSY} (@code{write}, but there is a mapping that can be
written to), @code{EPERM} (the object does not allow seals), @code{EINVAL},
@code{ENOSYS}.  See F_ADD_SEALS in fcntl(2)."
  (require-shm "shm-seal!" fd)
  (%shm-seal! fd seals))

(define (shm-seals fd)
  "Return the list of the seals of the object behind the descriptor FD, symbols
as for @code{shm-seal!}.  Raise @code{system-error} if FD is not open."
  (require-shm "shm-seals" fd)
  (%shm-seals fd))

(define (shm-list)
  "Return the sorted list of the names of all shared memory objects, but for
those that begin with @code{/sem.}, which may be semaphores.  Raise
@code{system-error} with @code{ENOSYS} where the system does not tell."
  (require-shm "shm-list" 'all)
  (sort (map car (%shm-list)) string<?))

(define (socket-descriptor subr socket)
  (unless (and (file-port? socket)
               (not (port-closed? socket))
               (eq? 'socket (stat:type (stat socket)))
               (= AF_UNIX (sockaddr:fam (getsockname socket))))
    (wrong-type subr "Unix-domain socket" socket))
  (fileno socket))

(define (shm-send-fd socket fd)
  "Send the descriptor FD over SOCKET, a port on a connected Unix-domain
socket.  The peer takes it with @code{shm-receive-fd}, and has a descriptor of
its own for the same object.  It is sent with one byte of data, after what was
written to SOCKET before.

Raise @code{system-error} where the system refuses: @code{EBADF} (FD is not
open), @code{EPIPE} (the peer closed the socket)."
  (require-shm "shm-send-fd" fd)
  (let ((socket-fd (socket-descriptor "shm-send-fd" socket)))
    (force-output socket)
    (%shm-send-fd socket-fd fd)))

(define (shm-receive-fd socket)
  "Return the descriptor that the peer of SOCKET, a port on a connected
Unix-domain socket, sends with @code{shm-send-fd}, an integer, closed on exec.
Wait for it if need be.

Raise @code{system-error} with @code{ECONNRESET} if the peer closed the socket,
@code{ENOMSG} if it sent data without a descriptor, @code{EMFILE} if there were
too many descriptors to take it."
  (require-shm "shm-receive-fd" socket)
  (%shm-receive-fd (socket-descriptor "shm-receive-fd" socket)))

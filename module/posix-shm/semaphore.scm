;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm semaphore) - the system's named semaphores.

;;; Commentary:
;;;
;;; The system's named semaphores, which programs in other languages open, too:
;;; semaphore-open, semaphore-wait!, semaphore-post!.  The manual is in Info:
;;; info guile-shm "Named semaphores".
;;;
;;; Code:

(define-module (posix-shm semaphore)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm primitives)
  #:re-export (semaphore-post!
               semaphore-wait!
               semaphore-value
               semaphore-close!)
  #:export (semaphore-open
            semaphore-unlink))

(define* (semaphore-open name oflags #:optional (mode #o600) (value 0))
  "Open the named semaphore NAME and return it.  Programs in C open the same
one with sem_open(3).

NAME is a string: a slash, then 1 to 251 bytes (in UTF-8) with no other slash.
OFLAGS is a list of flags, or the same combined with @code{logior}:
@code{O_CREAT} (make the semaphore where there is none), with it @code{O_EXCL}
(fail where there is one), or none.  MODE gives a new semaphore's permission
bits, an integer from 0 to @code{#o777}, less those of the umask; a process
that opens it needs permission to read and to write.  VALUE is a new
semaphore's value, an exact integer from 0 to 2147483647.

The semaphore is closed by @code{semaphore-close!}, or when the garbage
collector finds that it is not in use.

Raise @code{wrong-type-arg} or @code{out-of-range} for an argument that cannot
be, and @code{system-error} where the system refuses: @code{ENOENT} (no such
semaphore), @code{EEXIST}, @code{EACCES}, @code{EINVAL} (not a name, or no
semaphore), @code{ENAMETOOLONG}, @code{ENOSYS} (no named semaphores here).  See
sem_open(3)."
  (%semaphore-open name oflags mode value))

(document semaphore-post!
  "Add 1 to the value of SEMAPHORE, and wake a thread that waits for that.

Raise @code{system-error} with @code{EOVERFLOW} if the value is the largest
that there is, and with @code{EINVAL} if SEMAPHORE was closed.  See
sem_post(3).")

(document semaphore-wait!
  "Wait until the value of SEMAPHORE is not 0, and subtract 1.  TIMEOUT is a
real number of seconds; without it, or if it is #f, wait for ever.  Return #t,
or #f if TIMEOUT is over.

Raise @code{system-error} with @code{EINVAL} if SEMAPHORE was closed, also
while this waits.  See sem_wait(3).")

(document semaphore-value
  "Return the value of SEMAPHORE, an exact integer, which others may have
changed when this returns.

Raise @code{system-error} with @code{EINVAL} if SEMAPHORE was closed.  See
sem_getvalue(3).")

(document semaphore-close!
  "No longer use SEMAPHORE in this process and return #t, or #f if that was
done before.  The semaphore itself stays, for others and to be opened again,
until its name is unlinked.  See sem_close(3).")

(define (semaphore-unlink name)
  "Remove the name of the semaphore NAME, a string.  Processes that have it
open go on using it.

Raise @code{system-error} where the system refuses: @code{ENOENT} (no such
semaphore), @code{EACCES}, @code{EINVAL} (not a name), @code{ENOSYS} (no named
semaphores here).  See sem_unlink(3)."
  (%semaphore-unlink name))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm semaphore) - named POSIX semaphores.

;;; Commentary:
;;;
;;; Named POSIX semaphores, which programs in other languages open, too:
;;; semaphore-open, semaphore-wait!, semaphore-post!.  The manual is in Info:
;;; info guile-shm "Named semaphores".
;;;
;;; Code:

(define-module (posix-shm semaphore)
  #:use-module (posix-shm primitives)
  #:re-export (semaphore-post!
               semaphore-wait!
               semaphore-value
               semaphore-close!)
  #:export (semaphore-open
            semaphore-unlink))

(define* (semaphore-open name oflags #:key (mode #o600) (value 0))
  "Open the named semaphore NAME and return it.  Programs in C open the same
semaphore by sem_open(3).

NAME is a string: a slash, then 1 to 251 bytes (in UTF-8) with no other slash.
OFLAGS is a list of flags, or the same combined with logior: O_CREAT (create
the semaphore if there is none), with it O_EXCL (fail if there is one), or
none.  MODE gives a new semaphore's permission bits, an integer from 0 to
#o777, less those of the umask; a process that opens it needs permission to
read and to write.  VALUE is a new semaphore's value, an exact integer from 0
to 2147483647.

semaphore-close! closes the semaphore, or the garbage collector, once it is
unreachable.

Raise wrong-type-arg or out-of-range for an invalid argument, and system-error
if the system refuses: ENOENT (no such semaphore), EEXIST, EACCES, EINVAL (not
a name, or not a semaphore), ENAMETOOLONG, EWOULDBLOCK (another process is
checking whether it is in use), ENOSYS (no named semaphores here).
See sem_open(3)."
  (%semaphore-open name oflags mode value))

(document semaphore-post! '(semaphore)
  "Add 1 to the value of SEMAPHORE, and wake a thread that waits for that.

Raise system-error with EOVERFLOW if the value is the largest possible, and
with EINVAL if SEMAPHORE was closed.  See sem_post(3).")

(document semaphore-wait! '(semaphore #:optional timeout)
  "Wait until the value of SEMAPHORE is not 0, and subtract 1.  TIMEOUT is a
real number of seconds; without it, or if it is #f, wait for ever.  Return #t,
or #f if TIMEOUT expires.

Raise system-error with EINVAL if SEMAPHORE was closed, also during the wait.
See sem_wait(3).")

(document semaphore-value '(semaphore)
  "Return the value of SEMAPHORE, an exact integer.  Other threads may have
changed it when this returns.

Raise system-error with EINVAL if SEMAPHORE was closed.  See sem_getvalue(3).")

(document semaphore-close! '(semaphore)
  "Close SEMAPHORE in this process and return #t, or #f if it was closed
before.  The named semaphore itself remains until its name is unlinked.  See
sem_close(3).")

(define (semaphore-unlink name)
  "Remove the name of the semaphore NAME, a string.  Processes that have the
semaphore open can still use it.

Raise system-error if the system refuses: ENOENT (no such semaphore), EACCES,
EINVAL (not a name), ENOSYS (no named semaphores here).  See sem_unlink(3)."
  (%semaphore-unlink name))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm object) - shared memory objects: names and descriptors.

(define-module (posix-shm object)
  #:use-module (posix-shm primitives)
  #:export (posix-shm?
            shm-open
            shm-unlink))

;; Whether this platform has POSIX shared memory.  Where it is #f, each
;; procedure raises system-error with ENOSYS.
(define posix-shm? %posix-shm?)

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
(no such object), @code{EEXIST}, @code{EACCES}, @code{EINVAL} (not a name),
@code{ENAMETOOLONG}, @code{EMFILE} (too many descriptors), @code{ENOSYS} (no
POSIX shared memory here).  See shm_open(3)."
  (%shm-open name oflags keyword-mode))

(define (shm-unlink name)
  "Remove NAME, a string as for @code{shm-open}, and return 0.  The object
itself lives on until its last descriptor is closed and its last mapping
gone, and NAME is free for a new one at once.

Raise @code{wrong-type-arg} if NAME is not a string, and @code{system-error}
where the system refuses: @code{ENOENT} (no such object), @code{EACCES},
@code{EINVAL} (not a name), @code{ENAMETOOLONG}, @code{ENOSYS} (no POSIX
shared memory here).  See shm_unlink(3)."
  (%shm-unlink name))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm mapping) - bytevectors on shared memory.

(define-module (posix-shm mapping)
  #:use-module (posix-shm fault)
  #:use-module (posix-shm object)
  #:use-module (posix-shm primitives)
  #:export (;; Mappings.
            shm-map
            shm-view
            shm-unmap!
            shm-mapped?
            shm-name

            ;; The calls that most programs need.
            shm-create
            shm-attach
            call-with-shm))

;; Stands for an argument that is not there, where #f means something else.
(define unset (list 'unset))


;;; Mappings.

(define* (shm-map fd #:optional length
                  #:key (offset 0) (type 'vu8) (writable? unset)
                  populate? lock? huge-pages?)
  "Return a bytevector on the memory of the object behind the descriptor FD:
LENGTH bytes from OFFSET on, both integers, by default all from there to the
object's end.  What is stored there, others who map the object see at once.
The bytevector does not need the descriptor, which can be closed.

TYPE is @code{vu8}, for a bytevector, or one of the tags of SRFI-4 (@code{u8 s8
u16 s16 u32 s32 u64 s64 f32 f64 c32 c64}), for a uniform vector, of which LENGTH
and OFFSET must be multiples.  WRITABLE?, a boolean, is by default whether the
descriptor is.  With POPULATE? all pages are there at once and not at their
first use, with LOCK? they stay in memory (see mlock(2)), with HUGE-PAGES? the
system is asked to use large ones.

The memory is given back by @code{shm-unmap!}, or when the garbage collector
finds that neither the bytevector nor a view of it is in use.

Raise @code{out-of-range} for a range that the object does not hold or that does
not fit TYPE, and @code{system-error} where the system refuses: @code{EACCES}
(WRITABLE? but FD is not), @code{ENOMEM}, @code{EAGAIN} or @code{EPERM} (LOCK?),
@code{ENOTSUP} (HUGE-PAGES?), @code{ENODEV} (FD is no such object).  See
mmap(2)."
  (map-object fd offset length type writable? populate? lock? huge-pages? #f))

(define (map-object fd offset length type writable? populate? lock? huge-pages?
                    name)
  (require-shm "shm-map" fd)
  (%shm-map fd offset length type
            (if (eq? writable? unset) 'as-the-descriptor (->bool writable?))
            populate? lock? huge-pages? name))

(define* (shm-view bv type #:optional (start 0) count)
  "Return another uniform vector on the memory of BV, a bytevector on shared
memory: COUNT elements of TYPE (as for @code{shm-map}) from the byte START on, by
default as many as BV holds from there.  It keeps the mapping alive.

Raise @code{wrong-type-arg} if BV is not on shared memory, and
@code{out-of-range} for what does not lie within BV, or for a place or a length
that is not a multiple of the size of TYPE."
  (require-shm "shm-view" bv)
  (%shm-view bv type start count))

(define (shm-unmap! bv)
  "Give back the shared memory that BV, a bytevector on it, shows, and return
#t, or #f if that was done before.  BV is empty from now on; other views of the
mapping hold zeros that nobody shares.

Raise @code{wrong-type-arg} if BV is not on shared memory."
  (require-shm "shm-unmap!" bv)
  (%shm-unmap! bv))

(define (shm-mapped? bv)
  "Return #t if BV, a bytevector, shows shared memory, and #f if it is an
ordinary one or its memory was given back."
  (require-shm "shm-mapped?" bv)
  (%shm-mapped? bv))

(define (shm-name bv)
  "Return the name of the object that BV, a bytevector, shows, a string, or #f
if it has none or that is not known."
  (require-shm "shm-name" bv)
  (%shm-name bv))


;;; The calls that most programs need.

(define* (shm-create name size #:key (mode #o600) (type 'vu8)
                     reserve? populate? lock? huge-pages? initialize)
  "Make the shared memory object NAME of SIZE bytes, which must not be there
yet, and return a bytevector on it.  Where NAME is #f it gets a random name,
which @code{shm-name} tells.

MODE gives the object's permission bits, less those of the umask; TYPE,
POPULATE?, LOCK? and HUGE-PAGES? are as for @code{shm-map}, RESERVE? as for
@code{shm-resize!}.  INITIALIZE is a procedure that is called with the
bytevector before anyone can attach to the object (where the system allows that,
as Linux does).

If anything fails, or INITIALIZE does not return, no object is left behind.
Raise @code{system-error} with @code{EEXIST} if there is an object NAME,
@code{ENOSPC} if RESERVE? and there is not enough memory, and others as
@code{shm-open} and @code{shm-map} do; @code{out-of-range} for a SIZE that is not
positive, or not a multiple of the size of TYPE."
  (require-shm "shm-create" name)
  (let* ((name (or name (fresh-name)))
         (fd #f)
         (unnamed? #f)
         (bv #f)
         (made? #f))
    (dynamic-wind
      (const #t)
      (lambda ()
        (in-the-name-of "shm-create" name
          (begin
            (set! fd (%shm-open-unnamed name mode))
            (if fd
                (set! unnamed? #t)
                (set! fd (shm-open name (list O_RDWR O_CREAT O_EXCL) mode)))
            (shm-resize! fd size #:reserve? reserve?)
            (set! bv (map-object fd 0 #f type #t populate? lock? huge-pages?
                                 name))))
        (when initialize
          (initialize bv))
        (when unnamed?
          (%shm-publish fd name))
        (set! made? #t)
        bv)
      (lambda ()
        ;; Once: INITIALIZE may be left, and entered again, by a continuation.
        (when fd
          (unless (or made? unnamed?)
            (%shm-unlink-own name fd))
          (when (and bv (not made?))
            (%shm-unmap! bv))
          (close-fdes fd)
          (set! fd #f))))))

(define (try-attach name writable?)
  "Return a descriptor of the object NAME and its size, or #f and 0 if there is
no such object."
  (catch 'system-error
    (lambda ()
      (let ((fd (shm-open name (list (if writable? O_RDWR O_RDONLY)))))
        (values fd (shm-size fd))))
    (lambda arguments
      (if (= (system-error-errno arguments) ENOENT)
          (values #f 0)
          (apply throw arguments)))))

(define attach-interval 1000)           ; microseconds

(define (attach-when-there name writable? deadline)
  "Return a descriptor of the object NAME when it has a size, or #f after the
DEADLINE, in units of @code{get-internal-real-time}."
  (let again ()
    (call-with-values (lambda () (try-attach name writable?))
      (lambda (fd size)
        (cond ((positive? size) fd)
              (else
               (when fd
                 (close-fdes fd))
               (and (< (get-internal-real-time) deadline)
                    (begin
                      (usleep attach-interval)
                      (again)))))))))

(define (deadline subr seconds)
  (unless (real? seconds)
    (scm-error 'wrong-type-arg subr "Wrong type argument (expecting a real \
number of seconds): ~S" (list seconds) (list seconds)))
  (+ (get-internal-real-time)
     (* seconds internal-time-units-per-second)))

(define* (shm-attach name #:key (type 'vu8) writable? wait)
  "Return a bytevector on the whole shared memory object NAME, for reading only
unless WRITABLE?.  TYPE is as for @code{shm-map}.

WAIT is a real number of seconds to wait for the object to exist and to have a
size; if it does not in time, return #f.

Raise @code{system-error} as @code{shm-open} does, with @code{ENOENT} if there is
no such object and no WAIT, and @code{out-of-range} if its size is 0 and there is
no WAIT, or not a multiple of the size of TYPE."
  (require-shm "shm-attach" name)
  (let ((fd #f))
    (dynamic-wind
      (const #t)
      (lambda ()
        (in-the-name-of "shm-attach" name
          (begin
            (set! fd (if wait
                         (attach-when-there name writable?
                                            (deadline "shm-attach" wait))
                         (shm-open name
                                   (list (if writable? O_RDWR O_RDONLY)))))
            (and fd
                 (map-object fd 0 #f type writable? #f #f #f name)))))
      (lambda ()
        (when fd
          (close-fdes fd)
          (set! fd #f))))))

(define (call-with-shm name size proc . options)
  "Make the shared memory object NAME of SIZE bytes, call PROC with a bytevector
on it and return what PROC returns.  However PROC is left, the memory is given
back and the name is unlinked, once, and if it still is that of the object which
this call made.  OPTIONS are the keywords of @code{shm-create}.

Raise what @code{shm-create} and PROC raise."
  (require-shm "call-with-shm" name)
  (let ((bv #f))
    (dynamic-wind
      (const #t)
      (lambda ()
        (set! bv (apply shm-create name size options))
        (proc bv))
      (lambda ()
        ;; #f if it was done before: a continuation may enter PROC again.
        (when bv
          (%shm-unlink-mapped bv)
          (%shm-unmap! bv))))))

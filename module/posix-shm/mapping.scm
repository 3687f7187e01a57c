;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm mapping) - bytevectors on shared memory.

(define-module (posix-shm mapping)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm fault)
  #:use-module (posix-shm object)
  #:use-module (posix-shm poll)
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
object's end.  All processes that map the object see at once what is stored.
The bytevector does not need the descriptor, which can be closed.

TYPE is @code{vu8}, for a bytevector, or one of the tags of SRFI-4 (@code{u8 s8
u16 s16 u32 s32 u64 s64 f32 f64 c32 c64}), for a uniform vector; LENGTH and
OFFSET must be multiples of the size of its elements.  WRITABLE?, a boolean, is
by default whether the descriptor is.  With POPULATE? all pages are there at
once and not at their first use, with LOCK? they stay in memory (see mlock(2)),
with HUGE-PAGES? the system is asked to use large ones.

The memory is given back by @code{shm-unmap!}, or when the garbage collector
finds that neither the bytevector nor a view of it is in use.

Raise @code{out-of-range} for a range that the object does not hold or that
does not fit TYPE, and @code{system-error} where the system refuses:
@code{EACCES} (WRITABLE? but FD is not), @code{ENOMEM}, @code{EAGAIN} or
@code{EPERM} (LOCK?), @code{ENOTSUP} (HUGE-PAGES?), @code{ENODEV} (FD is no
such object).  See mmap(2)."
  (map-object fd offset length type writable? populate? lock? huge-pages? #f))

(define (map-object fd offset length type writable? populate? lock? huge-pages?
                    name)
  (require-shm "shm-map" fd)
  (%shm-map fd offset length type
            (if (eq? writable? unset) 'as-the-descriptor (->bool writable?))
            populate? lock? huge-pages? name))

(define* (shm-view bv type #:optional (start 0) count)
  "Return another uniform vector on the memory of BV, a bytevector on shared
memory: COUNT elements of TYPE (as for @code{shm-map}) from the byte START on,
by default as many as BV holds from there.  It keeps the mapping alive.

Raise @code{wrong-type-arg} if BV is not on shared memory, and
@code{out-of-range} for what does not lie within BV, or for a place or a length
that is not a multiple of the size of TYPE."
  (require-shm "shm-view" bv)
  (%shm-view bv type start count))

(define (shm-unmap! bv)
  "Give back the shared memory that BV, a bytevector on it, shows, and return
#t, or #f if that was done before.  BV is empty from now on; other views of the
mapping hold private zeros.

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
if it has none or that is not known.  For @code{shm-create} and
@code{shm-attach} it is the name that they were given, also when that was
unlinked."
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
bytevector before other processes can attach to the object (where the system
allows that, as Linux does).

If anything fails, or INITIALIZE does not return, no object is left behind.
Raise @code{system-error} with @code{EEXIST} if there is an object NAME,
@code{ENOSPC} if RESERVE? and there is not enough memory, and others as
@code{shm-open} and @code{shm-map} do; @code{out-of-range} for a SIZE that is
not positive, or not a multiple of the size of TYPE."
  (require-shm "shm-create" name)
  (create "shm-create" name size identity mode type reserve? populate? lock?
          huge-pages? initialize))

(define-syntax-rule (without-asyncs body ...)
  ;; No signal's handler, and no other thread, makes BODY leave half-way.
  (call-with-blocked-asyncs (lambda () body ...)))

;; However BODY is left, CLEAN-UP, which may run more than once.  It does so a
;; second time in case a signal's handler makes the first one leave, before it
;; has blocked asyncs.
(define-syntax-rule (with-cleanup clean-up body ...)
  (let ((clean (lambda () (without-asyncs clean-up))))
    (dynamic-wind
      (const #t)
      (lambda ()
        (dynamic-wind
          (const #t)
          (lambda () body ...)
          clean))
      clean)))

(define (refuse-empty subr message name)
  (scm-error 'out-of-range subr message (list (shown name)) '(0)))

(define (create subr name size keep mode type reserve? populate? lock?
                huge-pages? initialize)
  "Do as @code{shm-create} does, in the name of SUBR, and call KEEP with the
bytevector in one step with giving the object its name."
  (let* ((name (or name (fresh-name)))
         (fd #f)
         (unnamed? #f)
         (bv #f)
         (made? #f))
    (%shm-check-type subr type)
    (when initialize
      (check-procedure subr initialize))
    (when (eqv? size 0)
      (refuse-empty subr "An object of 0 bytes cannot be mapped: ~A" name))
    (with-cleanup
        (when fd
          (unless (or made? unnamed?)
            (%shm-unlink-own name fd))
          (when (and bv (not made?))
            (%shm-unmap! bv))
          (close-fdes fd)
          (set! fd #f))
      (with-errors-from subr name
        (without-asyncs
         (set! fd (%shm-open-unnamed name mode (->bool initialize)))
         (if fd
             (set! unnamed? #t)
             (set! fd (shm-open name (list O_RDWR O_CREAT O_EXCL) mode)))
         (shm-resize! fd size #:reserve? reserve?)
         (set! bv (map-object fd 0 #f type #t populate? lock? huge-pages?
                              name))))
      (when initialize
        (initialize bv))
      ;; A continuation may get here again, after all was done or given up.
      (unless (or fd made?)
        (scm-error 'misc-error subr
                   "The object was given up when initialize was left: ~A"
                   (list (shown name)) #f))
      (with-errors-from subr name
        (without-asyncs
         (when (and unnamed? (not made?))
           (%shm-publish fd name))
         (set! made? #t)
         (keep bv)))
      bv)))

(define lease-patience #e1e8)           ; nanoseconds

(define (try-attach name type writable? wait? lease?)
  "Return a bytevector on the object NAME, or #f if WAIT? and it is not there
or has no size, or if LEASE? and another process has a lease on it."
  (catch 'system-error
    (lambda ()
      (let ((fd (%shm-open name (list (if writable? O_RDWR O_RDONLY)) 0 #f))
            (bv #f))
        (dynamic-wind
          (const #t)
          (lambda ()
            (cond
             ((positive? (shm-size fd))
              (set! bv (map-object fd 0 #f type writable? #f #f #f name)))
             ((not wait?)
              (refuse-empty "shm-attach" "The object ~A is empty; with #:wait \
this waits until its creator gives it a size" name)))
            bv)
          (lambda () (close-fdes fd)))))
    (lambda arguments
      (let ((errno (system-error-errno arguments)))
        (if (or (and wait? (= errno ENOENT))
                (and lease? (= errno EWOULDBLOCK)))
            #f
            (apply throw arguments))))))

(define* (shm-attach name #:key (type 'vu8) writable? wait)
  "Return a bytevector on the whole shared memory object NAME, for reading only
unless WRITABLE?.  TYPE is as for @code{shm-map}.

WAIT is a real number of seconds to wait for the object to exist and to have a
size; if it does not in time, return #f.

Raise @code{system-error} as @code{shm-open} does, with @code{ENOENT} if there
is no such object and no WAIT, and @code{out-of-range} if its size is 0 and
there is no WAIT, or not a multiple of the size of TYPE."
  (require-shm "shm-attach" name)
  (%shm-check-type "shm-attach" type)
  (let ((deadline (deadline-after "shm-attach" wait))
        (patience (+ (%shm-now) lease-patience)))
    (poll-until deadline
      (lambda ()
        (with-errors-from "shm-attach" name
          (without-asyncs
           (try-attach name type writable? (->bool wait)
                       (or wait (< (%shm-now) patience)))))))))

(define* (call-with-shm name size proc
                        #:key (mode #o600) (type 'vu8) reserve? populate? lock?
                        huge-pages? initialize)
  "Make the shared memory object NAME of SIZE bytes, call PROC with a
bytevector on it and return what PROC returns.  However PROC is left, the
memory is given back and the name is unlinked, once, and if it still is that of
the object which this call made; but not where a child of a fork leaves PROC.
The keywords are those of @code{shm-create}.

Raise what @code{shm-create} and PROC raise."
  (require-shm "call-with-shm" name)
  (check-procedure "call-with-shm" proc)
  (let ((bv #f)
        (process (getpid)))
    (with-cleanup
        ;; This does nothing where it was done before.
        (when (and bv (= process (getpid)))
          (%shm-unlink-mapped bv)
          (%shm-unmap! bv))
      (create "call-with-shm" name size (lambda (made) (set! bv made)) mode
              type reserve? populate? lock? huge-pages? initialize)
      (proc bv))))

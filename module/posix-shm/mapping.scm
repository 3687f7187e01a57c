;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm mapping) - bytevectors and arrays on shared memory.

(define-module (posix-shm mapping)
  #:use-module (posix-shm create)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm fault)
  #:use-module (posix-shm layout)
  #:use-module (posix-shm layout-header)
  #:use-module (posix-shm object)
  #:use-module (posix-shm poll)
  #:use-module (posix-shm primitives)
  #:use-module (posix-shm shape)
  #:use-module ((rnrs bytevectors) #:select (bytevector-length))
  #:export (;; Mappings.
            shm-map
            shm-view
            shm-unmap!
            shm-mapped?
            shm-name

            ;; The calls that most programs need.
            shm-create
            shm-attach
            call-with-shm

            ;; For other components.
            attach-memory
            await-initialized
            create-memory
            initialization-patience))

;; The default of an argument for which #f has another meaning.
(define unset (list 'unset))


;;; Shapes.

(define (size-of subr type dimensions)
  "Return the size in bytes of an array of DIMENSIONS and TYPE, or #f if
DIMENSIONS is #f."
  (let ((element-size (%shm-type-size subr type)))
    (and dimensions
         (begin
           (check-dimensions subr dimensions)
           (* element-size (elements dimensions))))))

(define* (agreed-size subr size type dimensions #:optional layout)
  "Return SIZE or, if that is #f, the size in bytes that DIMENSIONS or LAYOUT
give, if any.  What is given must agree."
  (define-syntax-rule (agree size needed message argument ...)
    ;; The arguments are for the error only.
    (begin
      (when (and size needed (not (eqv? size needed)))
        (scm-error 'out-of-range subr
                   (string-append "A size of ~A bytes does not agree with "
                                  message)
                   (list (shown size) argument ... (shown needed))
                   (list size)))
      (or size needed)))
  (when layout
    (check-layout subr layout))
  (let* ((for-array (size-of subr type dimensions))
         (for-layout (and layout (shm-layout-size layout)))
         (size (agree size for-array
                      "dimensions ~A of type ~A, which need ~A bytes"
                      (shown dimensions) type)))
    (agree size for-layout "layout ~A, which needs ~A bytes"
           (layout-name layout))))

(define (root-of object)
  "Return the bytevector below OBJECT, if it is an array, else OBJECT."
  (if (and (array? object) (not (string? object)) (not (bitvector? object)))
      (shared-array-root object)
      object))


;;; Mappings.

(define* (shm-map fd #:optional length
                  #:key (offset 0) (type 'vu8) (writable? unset)
                  populate? lock? huge-pages? dimensions)
  "Map LENGTH bytes from byte OFFSET on of the object behind FD, a file
descriptor or file port, and return a bytevector on that memory.  LENGTH is by
default what DIMENSIONS need, or all bytes up to the end of the object.  All
processes that map the object see at once what any of them stores.  FD may be
closed afterwards.

TYPE is vu8, for a bytevector, or one of the tags of SRFI-4 (u8 s8 u16 s16 u32
s32 u64 s64 f32 f64 c32 c64), for a uniform vector; LENGTH and OFFSET must be
multiples of the size of its elements.  DIMENSIONS, a list of lengths such as
(480 640), gives an array of that shape, row-major.  WRITABLE?, a boolean, is
by default whether FD is open for writing.  POPULATE? allocates all pages now,
LOCK? keeps them in memory (see mlock(2)), HUGE-PAGES? asks the system for
large pages.

shm-unmap! unmaps the memory, or the garbage collector, once neither the
bytevector nor a view of it is reachable.

Raise out-of-range for a range that the object does not have or that does not
suit TYPE or DIMENSIONS, and system-error if the system refuses: EACCES
(WRITABLE?, but FD is not open for writing), ENOMEM, EAGAIN or EPERM (LOCK?),
ENOTSUP (HUGE-PAGES?), ENODEV (FD is not that of an object or of another regular
file).  See mmap(2)."
  (require-shm "shm-map" fd)
  (let ((length (agreed-size "shm-map" length type dimensions)))
    (in-shape (%shm-map fd offset length type
                        (if (eq? writable? unset)
                            'as-the-descriptor
                            (->bool writable?))
                        populate? lock? huge-pages? #f)
              dimensions)))

(define* (shm-view bv type #:optional (start 0) count #:key dimensions)
  "Return another uniform vector on the memory of BV, a bytevector or array on
shared memory: COUNT elements of TYPE (as for shm-map) from byte START on, by
default as many as DIMENSIONS have, or all.  With DIMENSIONS, return an array,
as for shm-map.  The view keeps the mapping alive.

Raise wrong-type-arg if BV is not on shared memory, and out-of-range for what
is not within BV, for a START or a length that is not a multiple of the size of
TYPE, or for a COUNT that is not that of DIMENSIONS."
  (require-shm "shm-view" bv)
  (when dimensions
    (check-dimensions "shm-view" dimensions)
    (when (and count (not (eqv? count (elements dimensions))))
      (scm-error 'out-of-range "shm-view"
                 "An array of dimensions ~A does not have ~A elements"
                 (list (shown dimensions) (shown count)) (list count))))
  (in-shape (%shm-view (root-of bv) type start
                       (or count (and dimensions (elements dimensions))))
            dimensions))

(define (shm-unmap! bv)
  "Unmap the shared memory of BV, a bytevector or array on it, and return #t,
or #f if that was done before.  BV is empty from now on; other views of the
mapping show private zeros.  Locks in it that this thread owns stay locked
until it ends.

Raise wrong-type-arg if BV is not on shared memory."
  (require-shm "shm-unmap!" bv)
  (%shm-unmap! (root-of bv)))

(define (shm-mapped? bv)
  "Return #t if BV, a bytevector or array, is on shared memory that is mapped,
else #f."
  (require-shm "shm-mapped?" bv)
  (%shm-mapped? (root-of bv)))

(define (shm-name bv)
  "Return the name of the object that BV, a bytevector or array, is on, a
string; or #f if it has none or it is not known.  After shm-create and
shm-attach it is the name that they were given, also if that was unlinked."
  (require-shm "shm-name" bv)
  (%shm-name (root-of bv)))


;;; The calls that most programs need.

(define* (shm-create name size #:key (mode #o600) (exists 'error) (type 'vu8)
                     dimensions reserve? populate? lock? huge-pages? layout
                     initialize timeout)
  "Create the shared memory object NAME of SIZE bytes, map it writable, and
return a bytevector on it or, with DIMENSIONS, an array.  If NAME is #f, the
object is anonymous: only children of this process share it.  SIZE may be #f
with DIMENSIONS or LAYOUT.

LAYOUT, which define-shm-layout defined, says what is in the memory.  Locks and
channels in it are initialized, before INITIALIZE is called.  The object begins
with a header of 64 bytes, which says that it has this layout, and which is not
part of the bytevector.

EXISTS says what to do if there is an object NAME: error raises EEXIST; attach
attaches to it, writable, without calling INITIALIZE; replace puts the new one
in its place atomically, and processes that are attached to the old one keep
that.  Of any number of processes that attach at once exactly one creates the
object, the others attach to it; they wait until it has a size and, with LAYOUT,
a header, and return #f if TIMEOUT, a real number of seconds, expires.  Without
TIMEOUT they wait as long as it takes or, with LAYOUT, a second.

INITIALIZE is a procedure that is called with what this will return, before
other processes can attach to the object (if the system allows that, as Linux
does).  With attach, it may be called for an object that is then discarded.

MODE gives the object's permission bits, less those of the umask; TYPE,
DIMENSIONS, POPULATE?, LOCK? and HUGE-PAGES? are as for shm-map, RESERVE? as
for shm-resize!.

If anything fails, or INITIALIZE does not return, no object is left behind.
Raise system-error with EEXIST if NAME is taken, ENOSPC if RESERVE? and there
is not enough memory, and others as shm-open and shm-map do; out-of-range for a
SIZE that is not positive, that is not a multiple of the size of TYPE, that
does not agree with DIMENSIONS or LAYOUT, or that is larger than an existing
object; and &shm-format-error for an existing object that has another LAYOUT or
none."
  (require-shm "shm-create" name)
  (create-memory "shm-create" name size
                 #:mode mode #:exists exists #:type type
                 #:dimensions dimensions #:reserve? reserve?
                 #:populate? populate? #:lock? lock? #:huge-pages? huge-pages?
                 #:layout layout #:initialize initialize #:timeout timeout))

;; How long to try, in nanoseconds, without a timeout: an object under a lease,
;; and one whose creator has not written the header of its layout.  If objects
;; are published atomically, none is seen without its header.
(define (patient? reason began)
  "Return whether to try again, for REASON, what was tried from BEGAN on."
  (let ((limit (assq-ref '((leased . #e1e8) (unfinished . #e1e9)) reason)))
    (or (not limit)
        (< (%shm-now) (+ began limit)))))

(define (offset-in-object layout)
  "Return the offset of the memory in an object with LAYOUT or #f."
  (if layout layout-header-size 0))

(define* (create-memory subr name size
                        #:key keep (mode #o600) (exists 'error) (type 'vu8)
                        dimensions reserve? populate? lock? huge-pages?
                        layout initialize timeout)
  "Do as shm-create does, in the name of SUBR.  Before asyncs can run after the
object got its name, call KEEP, if that is a procedure, with its bytevector and
#t, or with that of an existing object and #f."
  (let ((bytes (agreed-size subr size type dimensions layout)))
    (unless (memq exists '(error attach replace))
      (scm-error (if (symbol? exists) 'out-of-range 'wrong-type-arg) subr
                 "exists is not one of error, attach and replace: ~A"
                 (list (shown exists)) (list exists)))
    (check-size subr name bytes)
    (%shm-check-mode subr mode)
    (when initialize
      (check-procedure subr initialize))
    (let ((bv (and (eq? exists 'error)
                   (not (or reserve? populate? lock? huge-pages? layout
                            initialize timeout))
                   (create-at-once name bytes mode type keep))))
      (if bv
          (in-shape bv dimensions)
          (create-in-steps subr name bytes keep mode exists type dimensions
                           reserve? populate? lock? huge-pages? layout
                           initialize (deadline-after subr timeout))))))

(define (create-at-once name size mode type keep)
  "Return a bytevector on the new object NAME, or #f if it cannot be created
thus, for any reason."
  (if keep
      (without-asyncs
       (let ((bv (%shm-create-at-once name size mode type)))
         (when bv
           (keep bv #t))
         bv))
      (%shm-create-at-once name size mode type)))

(define (create-in-steps subr name-given size keep mode exists type dimensions
                         reserve? populate? lock? huge-pages? layout
                         initialize deadline)
  "Do as create-memory does, for checked arguments, until DEADLINE."
  ;; INITIALIZE may change a string that it was given as well.
  (define name
    (if (string? name-given) (string-copy name-given) name-given))
  (define began (%shm-now))
  (define (map-object fd length new?)
    (let ((bv (%shm-map fd (offset-in-object layout) length type #t populate?
                        lock? huge-pages? name)))
      (unless (or new? (not keep))
        (keep bv #f))
      bv))
  (define (create-new)
    (create-object subr name size keep mode exists dimensions reserve? layout
                   (lambda (fd) (map-object fd (and layout size) #t))
                   initialize))
  (define (attach-or-create tries)
    (let ((found
           (without-asyncs
            (try-attach subr name #t size layout
                        (lambda (fd)
                          (map-object fd (and (or dimensions layout) size) #f))
                        (lambda (reason)
                          (or deadline (patient? reason began)))
                        "#:timeout waits for that"))))
      (cond ((not (symbol? found)) (in-shape found dimensions))
            ((not (eq? found 'missing)) #f)
            ((catch taken create-new (const #f)))
            ;; Another process created the object, and may have unlinked it.
            ((positive? tries) (attach-or-create (- tries 1)))
            (else #f))))
  (if (and name (eq? exists 'attach))
      (poll-until deadline
        (lambda ()
          (attach-or-create 100)))
      (create-new)))

(define (check-size subr name size)
  (unless (exact-integer? size)
    (scm-error 'wrong-type-arg subr "Size is not an exact integer: ~A"
               (list (shown size)) (list size)))
  (unless (<= 0 size %shm-max-size)
    (scm-error 'out-of-range subr "Size is negative or too large: ~A"
               (list (shown size)) (list size)))
  (when (zero? size)
    (refuse-empty subr "An object of 0 bytes cannot be mapped: ~A" name)))

(define (refuse-empty subr message name)
  (scm-error 'out-of-range subr message (list (shown name)) '(0)))

;; The key of an exception that only this module knows.
(define taken (make-symbol "taken"))

(define (create-object subr name size keep mode exists dimensions reserve?
                       layout map-object initialize)
  "Do as create-memory does, without attaching; MAP-OBJECT maps what is behind
a descriptor.  If EXISTS is attach and NAME is taken, throw to TAKEN."
  (let ((draft #f)
        (bv #f)
        (array #f)
        (done? #f))
    (define-syntax-rule (if-free body ...)
      (catch 'system-error
        (lambda () body ...)
        (lambda arguments
          (if (and (eq? exists 'attach)
                   (= EEXIST (system-error-errno arguments)))
              (throw taken)
              (apply throw arguments)))))
    (with-cleanup
        (when draft
          (when (and bv (not done?))
            (%shm-unmap! bv))
          (discard-draft! draft)
          (set! draft #f))
      (with-errors-from subr name
        (if-free
         (set! draft (open-draft name mode #:replace? (eq? exists 'replace)
                                 #:early? (->bool initialize))))
        (let ((fd (draft-fd draft)))
          (shm-resize! fd (if layout (size-with-layout layout) size)
                       #:reserve? reserve?)
          (set! bv (map-object fd)))
        (when layout
          (initialize-fields! layout bv)))
      (set! array (in-shape bv dimensions))
      (when initialize
        (initialize array))
      ;; A continuation may enter INITIALIZE again after it was left.
      (unless (or draft done?)
        (scm-error 'misc-error subr
                   "The object was discarded when initialize was left: ~A"
                   (list (shown name)) #f))
      (with-errors-from subr name
        (when (and draft layout)
          (write-header! name (draft-fd draft) layout))
        (when draft
          (if-free (publish-draft! draft)))
        (set! done? #t)
        (when keep
          (keep bv #t)))
      array)))

(define* (try-attach subr name writable? needed layout map-object retry? hint
                     #:optional (raise-empty (const #f)))
  "Open the object NAME, and return what MAP-OBJECT returns for its descriptor.
If it cannot be attached yet, for a reason for which RETRY? returns true,
return that: missing, empty, unfinished or leased.  Raise out-of-range if the
object has fewer than NEEDED bytes, and &shm-format-error if it has another
LAYOUT or none.  HINT says how to wait."
  (define (open)
    (catch 'system-error
      (lambda () (%shm-open name (list (if writable? O_RDWR O_RDONLY)) 0 #f))
      (lambda arguments
        (let ((reason (assv-ref `((,ENOENT . missing) (,EWOULDBLOCK . leased))
                                (system-error-errno arguments))))
          (if (and reason (retry? reason))
              reason
              (apply throw arguments))))))
  (define (map-whole fd)
    (let ((size (%shm-size fd)))
      (cond
       ((and (zero? size) (not layout) (retry? 'empty))
        'empty)
       ((and layout (not (has-layout? subr name fd layout)))
        (if (retry? 'unfinished)
            'unfinished
            (raise-without-layout subr name layout hint)))
       (layout
        (map-object fd))
       ((zero? size)
        (raise-empty)
        (refuse-empty subr "The object ~A is empty; with #:wait this waits \
until its creator gives it a size" name))
       ((< size needed)
        (scm-error 'out-of-range subr
                   "The object ~A has ~A bytes, fewer than the ~A that are \
needed"
                   (list (shown name) size (shown needed)) (list size)))
       (else
        (map-object fd)))))
  (with-errors-from subr name
    (let ((fd (open)))
      (if (symbol? fd)
          fd
          (dynamic-wind
            (const #t)
            (lambda () (map-whole fd))
            (lambda () (close-fdes fd)))))))

(define* (shm-attach name #:key (type 'vu8) dimensions writable? wait layout)
  "Map the whole shared memory object NAME, read-only unless WRITABLE?, and
return a bytevector on it.  TYPE is as for shm-map.  With DIMENSIONS, as for
shm-map, map as many bytes as an array of that shape needs, and return that.
With LAYOUT, map what that describes, and only if the object was created with
it.

WAIT is a real number of seconds to wait for the object to exist and to have a
size and, with LAYOUT, a header; if it expires, return #f.

Raise system-error as shm-open does, with ENOENT if there is no such object and
no WAIT; out-of-range if its size is 0 and there is no WAIT and no LAYOUT, if it
is not a multiple of the size of TYPE, or less than DIMENSIONS need; and
&shm-format-error if it has another LAYOUT or none."
  (require-shm "shm-attach" name)
  (attach-memory "shm-attach" name #:type type #:dimensions dimensions
                 #:writable? writable? #:wait wait #:layout layout))

(define* (attach-memory subr name #:key (type 'vu8) dimensions writable? wait
                        layout (raise-empty (const #f)))
  "Do as shm-attach does, in the name of SUBR.  Call RAISE-EMPTY if the object
is empty and there is no WAIT."
  (let ((needed (agreed-size subr #f type dimensions layout))
        (deadline (deadline-after subr wait))
        (began (%shm-now)))
    (define (map-object fd)
      (%shm-map fd (offset-in-object layout) needed type (->bool writable?)
                #f #f #f name))
    (define (retry? reason)
      (or wait
          (and (eq? reason 'leased) (patient? reason began))))
    (poll-until deadline
      (lambda ()
        (let ((result (without-asyncs
                       (try-attach subr name writable? (or needed 0) layout
                                   map-object retry? "#:wait waits for that"
                                   raise-empty))))
          (and (not (symbol? result))
               (in-shape result dimensions)))))))

;; How long to wait, in seconds, without a timeout, for a structure whose
;; creator has not initialized it yet.  With objects that are published
;; atomically there is none.
(define initialization-patience 1)

(define (await-initialized bv deadline)
  "Wait until DEADLINE for the creator of what is in BV to initialize it."
  (poll-until deadline
    (lambda ()
      ;; The first word of an object is 0 until then.
      (and (>= (bytevector-length bv) 8)
           (not (zero? (atomic-u64-ref bv 0)))))))

(define* (call-with-shm name size proc
                        #:key (mode #o600) (exists 'error) (type 'vu8)
                        dimensions reserve? populate? lock? huge-pages? layout
                        initialize timeout timeout-value)
  "Create the shared memory object NAME of SIZE bytes, call PROC with a
bytevector on it or, with DIMENSIONS, an array, and return what PROC returns.
However PROC is left, the memory is unmapped, and the name is unlinked, once,
if it still is that of the object that this call created; but not where a child
of a fork leaves PROC.  The keywords are those of shm-create; if TIMEOUT
expires, return TIMEOUT-VALUE, by default #f, and do not call PROC.

Raise what shm-create and PROC raise."
  (require-shm "call-with-shm" name)
  (check-procedure "call-with-shm" proc)
  (let ((bv #f)
        (created? #f)
        (process (getpid)))
    (with-cleanup
        ;; This has no effect if it was done before.
        (when (and bv (= process (getpid)))
          (when created?
            (%shm-unlink-mapped bv))
          (%shm-unmap! bv))
      (let ((array (create-memory
                    "call-with-shm" name size
                    #:keep (lambda (mapped new?)
                             (set! bv mapped)
                             (set! created? new?))
                    #:mode mode #:exists exists #:type type
                    #:dimensions dimensions #:reserve? reserve?
                    #:populate? populate? #:lock? lock?
                    #:huge-pages? huge-pages? #:layout layout
                    #:initialize initialize #:timeout timeout)))
        (if array
            (proc array)
            timeout-value)))))

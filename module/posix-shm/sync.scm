;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm sync) - locks and their like in memory that processes share.

;;; Commentary:
;;;
;;; Mutexes, conditions, semaphores, barriers and read-write locks in a
;;; bytevector on shared memory, which processes share: with-shm-mutex is what
;;; most programs need.  The manual is in Info: info guile-shm Locks.
;;;
;;; Code:

(define-module (posix-shm sync)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm primitives)
  #:re-export (;; Mutexes.
               shm-mutex-size
               shm-mutex-init!
               shm-mutex-lock!
               shm-mutex-unlock!

               ;; Conditions.
               shm-condition-size
               shm-condition-init!
               shm-condition-wait!
               shm-condition-signal!
               shm-condition-broadcast!

               ;; Semaphores.
               shm-semaphore-size
               shm-semaphore-init!
               shm-semaphore-post!
               shm-semaphore-wait!
               shm-semaphore-value

               ;; Barriers.
               shm-barrier-size
               shm-barrier-init!
               shm-barrier-wait!

               ;; Read-write locks.
               shm-rwlock-size
               shm-rwlock-init!
               shm-rwlock-read-lock!
               shm-rwlock-write-lock!
               shm-rwlock-unlock!

               ;; What they raise.
               &shm-abandoned
               shm-abandoned?
               &shm-format
               shm-format-error?)
  #:export (call-with-shm-mutex
            with-shm-mutex))


;;; Mutexes.

(document shm-mutex-init!
  "Make the @code{shm-mutex-size} bytes at byte offset K of the bytevector BV
an unlocked mutex.  Do this once, before any thread uses it.

Raise @code{out-of-range} if K is not a multiple of 8, or if there are not that
many bytes.")

(document shm-mutex-lock!
  "Wait until no other thread, of whatever process, holds the mutex at byte
offset K of the bytevector BV, and hold it.  TIMEOUT is a real number of
seconds; without it, or if it is #f, wait for ever.

Return #t; or @code{abandoned} if the thread that held it died, so that what it
guards may be half done: this thread holds it now and should mend that; or #f
if TIMEOUT is over, and this thread does not hold it.

Raise @code{system-error} with @code{EDEADLK} if this thread holds it already,
@code{&shm-format} if there is no mutex, and @code{out-of-range} if K is not a
multiple of 8 or not within BV, or if the memory is unmapped meanwhile.")

(document shm-mutex-unlock!
  "No longer hold the mutex at byte offset K of the bytevector BV, and wake a
thread that waits for it.

Raise @code{system-error} with @code{EPERM} if this thread does not hold it,
@code{&shm-format} if there is no mutex, and @code{out-of-range} if K is not a
multiple of 8 or not within BV.")

(define (call-with-mutex bv k thunk on-abandoned timeout)
  ;; What shm-mutex-lock! returned; or `maybe', while that is not known, or
  ;; `left', once this thread surely does not hold the mutex any more.
  (define state 'maybe)
  (define (lock)
    (let ((again? (eq? state 'left)))
      (set! state 'maybe)
      (set! state (shm-mutex-lock! bv k timeout))
      (when (and again? (not (eq? state #t)))
        (scm-error 'misc-error "call-with-shm-mutex"
                   "A continuation was entered again, where the mutex at \
offset ~A of ~A could not be locked as before: ~A"
                   (list k (%shm-describe bv) state) #f))))
  (define (unlock)
    (unless (eq? state 'left)
      (%shm-mutex-leave! bv k)
      (set! state 'left)))
  (define (body)
    (when (eq? state 'abandoned)
      (when on-abandoned
        (on-abandoned))
      (%shm-mutex-mended! bv k)
      (unless on-abandoned
        (raise-abandoned "call-with-shm-mutex" (%shm-describe bv) k)))
    (and state
         (call-with-values thunk
           (lambda results
             (shm-mutex-unlock! bv k)
             (set! state 'left)
             ;; It takes long to return what there is not one of.
             (if (and (pair? results) (null? (cdr results)))
                 (car results)
                 (apply values results))))))
  (check-procedure "call-with-shm-mutex" thunk)
  (when on-abandoned
    (check-procedure "call-with-shm-mutex" on-abandoned))
  (when (%shm-mutex-mine? bv k)
    ;; This raises, before there is something to unlock.
    (shm-mutex-lock! bv k))
  ;; A signal's handler that leaves by an exception may do so after the mutex
  ;; was locked and before LOCK returns, or before UNLOCK has begun.
  (dynamic-wind
    (const #t)
    (lambda () (dynamic-wind lock body unlock))
    unlock))

(define* (call-with-shm-mutex bv k thunk #:key on-abandoned timeout)
  "Call THUNK, a procedure without arguments, with the mutex at byte offset K
of the bytevector BV held, and return what it returns.  However it is left, the
mutex is unlocked; where a continuation enters it again, it is locked again.
TIMEOUT is as for @code{shm-mutex-lock!}; if it is over, return #f and do not
call THUNK.

If the thread that held the mutex before died, call ON-ABANDONED, a procedure
without arguments, first, to mend what the mutex guards.  If that does not
return, the next owner of the mutex is told the same.  Without ON-ABANDONED,
raise @code{&shm-abandoned}, with the mutex unlocked.

Raise what @code{shm-mutex-lock!}, ON-ABANDONED and THUNK raise."
  (call-with-mutex bv k thunk on-abandoned timeout))

(define-syntax with-shm-mutex
  (lambda (form)
    "(with-shm-mutex BV K [#:on-abandoned PROC] [#:timeout SECONDS] BODY ...)"
    (syntax-case form ()
      ((_ bv k . rest)
       (let next ((rest #'rest) (options '()))
         (syntax-case rest ()
           ((key value . rest)
            (keyword? (syntax->datum #'key))
            (next #'rest #`(key value . #,options)))
           ((body0 body ...)
            (not (keyword? (syntax->datum #'body0)))
            (if (null? options)
                #'(call-with-mutex bv k (lambda () body0 body ...) #f #f)
                #`(call-with-shm-mutex bv k (lambda () body0 body ...)
                                       . #,options)))
           (_
            (syntax-violation 'with-shm-mutex "there is no body" form))))))))


;;; Conditions.

(document shm-condition-init!
  "Make the @code{shm-condition-size} bytes at byte offset K of the bytevector
BV a condition without waiters.  Do this once, before any thread uses it.

Raise @code{out-of-range} if K is not a multiple of 8, or if there are not that
many bytes.")

(document shm-condition-wait!
  "Unlock the mutex at byte offset MUTEX-K of the bytevector BV, which this
thread holds, and wait for a signal of the condition at byte offset K; then
lock the mutex again.  TIMEOUT is a real number of seconds to wait for a
signal; without it, or if it is #f, wait for ever.  It can happen, if seldom,
that there was no signal: look whether there is what you wait for, and wait
again if not.

Return #t, or @code{abandoned} if a thread died holding the mutex, so that what
it guards may be half done, or #f if TIMEOUT is over.  This thread holds the
mutex again in each case, but not after an exception.

Raise @code{system-error} with @code{EPERM} if this thread does not hold the
mutex, @code{&shm-format} if there is no condition or no mutex, and
@code{out-of-range} if an offset is not a multiple of 8 or not within BV, or if
the memory is unmapped meanwhile.")

(document shm-condition-signal!
  "Have a thread that waits for the condition at byte offset K of the
bytevector BV go on, if there is one.

Raise @code{&shm-format} if there is no condition, and @code{out-of-range} if K
is not a multiple of 8 or not within BV.")

(document shm-condition-broadcast!
  "Have all threads that wait for the condition at byte offset K of the
bytevector BV go on.  Raise what @code{shm-condition-signal!} does.")


;;; Semaphores.

(document shm-semaphore-init!
  "Make the @code{shm-semaphore-size} bytes at byte offset K of the bytevector
BV a semaphore of VALUE, an exact integer from 0 to 2147483647.  Do this once,
before any thread uses it.

Raise @code{out-of-range} if K is not a multiple of 8, if there are not that
many bytes, or for another VALUE.")

(document shm-semaphore-post!
  "Add 1 to the value of the semaphore at byte offset K of the bytevector BV,
and wake a thread that waits for that.

Raise @code{system-error} with @code{EOVERFLOW} if the value is 2147483647,
@code{&shm-format} if there is no semaphore, and @code{out-of-range} if K is
not a multiple of 8 or not within BV.")

(document shm-semaphore-wait!
  "Wait until the value of the semaphore at byte offset K of the bytevector BV
is not 0, and subtract 1.  TIMEOUT is a real number of seconds; without it, or
if it is #f, wait for ever.  Return #t, or #f if TIMEOUT is over.

Raise @code{&shm-format} if there is no semaphore, and @code{out-of-range} if K
is not a multiple of 8 or not within BV, or if the memory is unmapped
meanwhile.")

(document shm-semaphore-value
  "Return the value of the semaphore at byte offset K of the bytevector BV, an
exact integer, which others may have changed when this returns.

Raise @code{&shm-format} if there is no semaphore, and @code{out-of-range} if K
is not a multiple of 8 or not within BV.")


;;; Barriers.

(document shm-barrier-init!
  "Make the @code{shm-barrier-size} bytes at byte offset K of the bytevector BV
a barrier for N threads, an exact integer from 1 to 256.  Do this once, before
any thread uses it.

Raise @code{out-of-range} if K is not a multiple of 8, if there are not that
many bytes, or for another N.")

(document shm-barrier-wait!
  "Wait until as many threads wait at the barrier at byte offset K of the
bytevector BV as it is for.  Then all of them go on, and it is closed again.
TIMEOUT is a real number of seconds; without it, or if it is #f, wait for ever.
Return #t, or #f if TIMEOUT is over; this thread does not count as waiting any
more then, nor does one that died.

Raise @code{&shm-format} if there is no barrier, and @code{out-of-range} if K
is not a multiple of 8 or not within BV, or if the memory is unmapped
meanwhile.")


;;; Read-write locks.

(document shm-rwlock-init!
  "Make the @code{shm-rwlock-size} bytes at byte offset K of the bytevector BV
an unlocked read-write lock.  Do this once, before any thread uses it.

Raise @code{out-of-range} if K is not a multiple of 8, or if there are not that
many bytes.")

(document shm-rwlock-read-lock!
  "Wait until no writer holds the read-write lock at byte offset K of the
bytevector BV, or waits for it, and hold it together with at most 127 other
readers.  TIMEOUT is a real number of seconds; without it, or if it is #f, wait
for ever.

Return #t; or #f if TIMEOUT is over; or @code{abandoned} if a writer died
holding it, so that what it guards may be half done: this thread holds the lock
alone then, as a writer does, to mend that.

Raise @code{system-error} with @code{EDEADLK} if this thread holds it already,
@code{&shm-format} if there is no such lock, and @code{out-of-range} if K is
not a multiple of 8 or not within BV, or if the memory is unmapped meanwhile.")

(document shm-rwlock-write-lock!
  "Wait until no thread holds the read-write lock at byte offset K of the
bytevector BV, and hold it alone.  No reader gets it from now on.  TIMEOUT is a
real number of seconds; without it, or if it is #f, wait for ever.

Return #t; or @code{abandoned} if a writer died holding it, so that what it
guards may be half done: this thread holds it now and should mend that; or #f
if TIMEOUT is over.

Raise what @code{shm-rwlock-read-lock!} does.")

(document shm-rwlock-unlock!
  "No longer hold the read-write lock at byte offset K of the bytevector BV, as
a reader or as a writer.

Raise @code{system-error} with @code{EPERM} if this thread does not hold it,
@code{&shm-format} if there is no such lock, and @code{out-of-range} if K is
not a multiple of 8 or not within BV.")

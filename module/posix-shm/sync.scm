;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm sync) - locks in shared memory.

;;; The plain procedures are C's own, since a call more would double what they
;;; cost.

;;; Commentary:
;;;
;;; Mutexes, condition variables, semaphores, barriers and read-write locks at
;;; byte offsets of a bytevector, which processes share: with-shm-mutex is what
;;; most programs need.  The manual is in Info: info guile-shm Locks.
;;;
;;; Code:

(define-module (posix-shm sync)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm hold)
  #:use-module (posix-shm primitives)
  #:re-export (;; Mutexes.
               shm-mutex-size
               shm-mutex-init!
               shm-mutex-lock!
               shm-mutex-unlock!

               ;; Condition variables.
               shm-condition-variable-size
               shm-condition-variable-init!
               shm-condition-variable-wait!
               shm-condition-variable-signal!
               shm-condition-variable-broadcast!

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

               ;; Exceptions.
               &shm-abandoned
               shm-abandoned?
               &shm-format-error
               shm-format-error?)
  #:export (;; Calls with a lock held.
            call-with-shm-mutex
            call-with-shm-read-lock
            call-with-shm-write-lock
            with-shm-mutex
            with-shm-read-lock
            with-shm-write-lock))


;;; Mutexes.

(document shm-mutex-init! '(bv k)
  "Make the shm-mutex-size bytes at byte offset K of the bytevector BV an
unlocked mutex.  Do this once, before any thread uses it.

Raise out-of-range if K is not a multiple of 8, or if BV is too short.")

(document shm-mutex-lock! '(bv k #:optional timeout)
  "Lock the mutex at byte offset K of the bytevector BV; if another thread, of
any process, owns it, wait.  TIMEOUT is a real number of seconds; without it,
or if it is #f, wait for ever.

Return #t; or 'abandoned if the last owner died while it owned the mutex, so
that the data may be inconsistent: this thread owns the mutex and should
recover the data; or #f if TIMEOUT expires, without the mutex.

Raise system-error with EDEADLK if this thread owns the mutex already,
&shm-format-error if there is no mutex, and out-of-range if K is not a multiple
of 8 or not within BV, or if the memory is unmapped meanwhile.")

(document shm-mutex-unlock! '(bv k)
  "Unlock the mutex at byte offset K of the bytevector BV, and wake a thread
that waits for it.

Raise system-error with EPERM if this thread does not own the mutex,
&shm-format-error if there is no mutex, and out-of-range if K is not a multiple
of 8 or not within BV.")


;;; Condition variables.

(document shm-condition-variable-init! '(bv k)
  "Make the shm-condition-variable-size bytes at byte offset K of the
bytevector BV a condition variable without waiters.  Do this once, before any
thread uses it.

Raise out-of-range if K is not a multiple of 8, or if BV is too short.")

(document shm-condition-variable-wait! '(bv k mutex-k #:optional timeout)
  "Unlock the mutex at byte offset MUTEX-K of the bytevector BV, which this
thread owns, and wait for a signal of the condition variable at byte offset K;
then lock the mutex again.  TIMEOUT is a real number of seconds to wait for a
signal; without it, or if it is #f, wait for ever.  This may return without a
signal, if seldom: test what you wait for in a loop.

Return #t; or 'abandoned if an owner of the mutex died, so that the data may be
inconsistent; or #f if TIMEOUT expires.  This thread owns the mutex again in
each case, but not after an exception, except EDEADLK, if an async has locked
the mutex meanwhile.

Raise system-error with EPERM if this thread does not own the mutex,
&shm-format-error if there is no condition variable or no mutex, and
out-of-range if an offset is not a multiple of 8 or not within BV, or if the
memory is unmapped meanwhile.")

(document shm-condition-variable-signal! '(bv k)
  "Wake one waiter, if any, of the condition variable at byte offset K of the
bytevector BV.

Raise &shm-format-error if there is no condition variable, and out-of-range if
K is not a multiple of 8 or not within BV.")

(document shm-condition-variable-broadcast! '(bv k)
  "Wake all waiters of the condition variable at byte offset K of the
bytevector BV.  Raise what shm-condition-variable-signal! does.")


;;; Semaphores.

(document shm-semaphore-init! '(bv k value)
  "Make the shm-semaphore-size bytes at byte offset K of the bytevector BV a
semaphore of VALUE, an exact integer from 0 to 2147483647.  Do this once,
before any thread uses it.

Raise out-of-range if K is not a multiple of 8, if BV is too short, or for
another VALUE.")

(document shm-semaphore-post! '(bv k)
  "Add 1 to the value of the semaphore at byte offset K of the bytevector BV,
and wake a thread that waits for that.

Raise system-error with EOVERFLOW if the value is 2147483647, &shm-format-error
if there is no semaphore, and out-of-range if K is not a multiple of 8 or not
within BV.")

(document shm-semaphore-wait! '(bv k #:optional timeout)
  "Wait until the value of the semaphore at byte offset K of the bytevector BV
is not 0, and subtract 1.  TIMEOUT is a real number of seconds; without it, or
if it is #f, wait for ever.  Return #t, or #f if TIMEOUT expires.

Raise &shm-format-error if there is no semaphore, and out-of-range if K is not
a multiple of 8 or not within BV, or if the memory is unmapped meanwhile.")

(document shm-semaphore-value '(bv k)
  "Return the value of the semaphore at byte offset K of the bytevector BV, an
exact integer.  Other threads may have changed it when this returns.

Raise &shm-format-error if there is no semaphore, and out-of-range if K is not
a multiple of 8 or not within BV.")


;;; Barriers.

(document shm-barrier-init! '(bv k n)
  "Make the shm-barrier-size bytes at byte offset K of the bytevector BV a
barrier for N threads, an exact integer from 1 to 256.  Do this once, before
any thread uses it.

Raise out-of-range if K is not a multiple of 8, if BV is too short, or for
another N.")

(document shm-barrier-wait! '(bv k #:optional timeout)
  "Wait at the barrier at byte offset K of the bytevector BV until as many
threads wait there as it is for.  Then all of them return, and the barrier is
closed again.  TIMEOUT is a real number of seconds; without it, or if it is #f,
wait for ever.  Return #t, or #f if TIMEOUT expires.  A thread that timed out
or died no longer counts.

Raise &shm-format-error if there is no barrier, and out-of-range if K is not a
multiple of 8 or not within BV, or if the memory is unmapped meanwhile.")


;;; Read-write locks.

(document shm-rwlock-init! '(bv k)
  "Make the shm-rwlock-size bytes at byte offset K of the bytevector BV an
unlocked read-write lock.  Do this once, before any thread uses it.

Raise out-of-range if K is not a multiple of 8, or if BV is too short.")

(document shm-rwlock-read-lock! '(bv k #:optional timeout)
  "Lock the read-write lock at byte offset K of the bytevector BV as a reader,
together with at most 127 others; if a writer owns it or waits for it, wait.
TIMEOUT is a real number of seconds; without it, or if it is #f, wait for ever.

Return #t; or #f if TIMEOUT expires; or 'abandoned if a writer died while it
owned the lock, so that the data may be inconsistent: this thread owns the lock
as a writer then, to recover the data.

Raise system-error with EDEADLK if this thread owns the lock already,
&shm-format-error if there is no read-write lock, and out-of-range if K is not
a multiple of 8 or not within BV, or if the memory is unmapped meanwhile.")

(document shm-rwlock-write-lock! '(bv k #:optional timeout)
  "Lock the read-write lock at byte offset K of the bytevector BV as a writer,
alone; wait for the readers, and for another writer, to unlock it, and keep
further readers out.  TIMEOUT is a real number of seconds; without it, or if it
is #f, wait for ever.

Return #t; or 'abandoned if a writer died while it owned the lock, so that the
data may be inconsistent: this thread owns the lock and should recover the
data; or #f if TIMEOUT expires.

Raise what shm-rwlock-read-lock! does.")

(document shm-rwlock-unlock! '(bv k)
  "Unlock the read-write lock at byte offset K of the bytevector BV, which this
thread owns as a reader or as a writer.

Raise system-error with EPERM if this thread does not own the lock,
&shm-format-error if there is no read-write lock, and out-of-range if K is not
a multiple of 8 or not within BV.")


;;; Calls with a lock held.

(define-syntax-rule (define-call-with-lock name hold-lock)
  (define (name bv k thunk on-abandoned timeout timeout-value)
    (let ((hold (hold-lock bv k)))
      (with-hold hold
        (lock-and-call hold thunk on-abandoned timeout timeout-value)))))

(define-call-with-lock call-with-mutex %shm-hold-mutex)
(define-call-with-lock call-with-read-lock %shm-hold-to-read)
(define-call-with-lock call-with-write-lock %shm-hold-to-write)

(define (lock-and-call hold thunk on-abandoned timeout timeout-value)
  (let ((locked (%shm-hold-begin! hold timeout)))
    (when (eq? locked 'abandoned)
      (recover hold on-abandoned))
    (if locked
        (end-with hold (thunk))
        (list timeout-value))))

(define (recover hold on-abandoned)
  (unless on-abandoned
    (apply raise-abandoned (%shm-hold-lock hold)))
  (on-abandoned)
  (%shm-hold-recover! hold))

(define (check-procedures subr thunk on-abandoned)
  (check-procedure subr thunk)
  (when on-abandoned
    (check-procedure subr on-abandoned)))

(define* (call-with-shm-mutex bv k thunk
                              #:key on-abandoned timeout timeout-value)
  "Lock the mutex at byte offset K of the bytevector BV, call THUNK, a
procedure without arguments, and return what it returns.  However THUNK is
left, the mutex is unlocked, and a continuation that enters it again raises
misc-error.  TIMEOUT is as for shm-mutex-lock!; if it expires, return
TIMEOUT-VALUE, by default #f, and do not call THUNK.

If the last owner of the mutex died, call ON-ABANDONED first, a procedure
without arguments that recovers the data.  Without ON-ABANDONED, raise
&shm-abandoned.  If ON-ABANDONED does not return, or if there is none, the mutex
is unlocked and stays abandoned: the next owner is told, too.

Raise what shm-mutex-lock!, ON-ABANDONED and THUNK raise."
  (check-procedures "call-with-shm-mutex" thunk on-abandoned)
  (call-with-mutex bv k thunk on-abandoned timeout timeout-value))

(define* (call-with-shm-read-lock bv k thunk
                                  #:key on-abandoned timeout timeout-value)
  "Lock the read-write lock at byte offset K of the bytevector BV as a reader,
call THUNK, a procedure without arguments, and return what it returns.
ON-ABANDONED, TIMEOUT and TIMEOUT-VALUE are as for call-with-shm-mutex.  If the
last writer died, this thread owns the lock as a writer while it calls
ON-ABANDONED and THUNK.

Raise what shm-rwlock-read-lock!, ON-ABANDONED and THUNK raise."
  (check-procedures "call-with-shm-read-lock" thunk on-abandoned)
  (call-with-read-lock bv k thunk on-abandoned timeout timeout-value))

(define* (call-with-shm-write-lock bv k thunk
                                   #:key on-abandoned timeout timeout-value)
  "Lock the read-write lock at byte offset K of the bytevector BV as a writer,
call THUNK, a procedure without arguments, and return what it returns.
ON-ABANDONED, TIMEOUT and TIMEOUT-VALUE are as for call-with-shm-mutex.

Raise what shm-rwlock-write-lock!, ON-ABANDONED and THUNK raise."
  (check-procedures "call-with-shm-write-lock" thunk on-abandoned)
  (call-with-write-lock bv k thunk on-abandoned timeout timeout-value))

(eval-when (expand load eval)
  (define (expand-lock-form form call call-with-keywords)
    "Return the expansion of FORM, with-shm-mutex or a form like it, to a call
of CALL or, if FORM has keywords, of CALL-WITH-KEYWORDS."
    (syntax-case form ()
      ((name bv k . rest)
       (let next ((rest #'rest) (keywords '()))
         (syntax-case rest ()
           ((key value . rest)
            (keyword? (syntax->datum #'key))
            (next #'rest #`(key value . #,keywords)))
           ((body0 body ...)
            (not (keyword? (syntax->datum #'body0)))
            (if (null? keywords)
                #`(#,call bv k (lambda () body0 body ...) #f #f #f)
                #`(#,call-with-keywords bv k (lambda () body0 body ...)
                                        . #,keywords)))
           (_
            (syntax-violation (syntax->datum #'name) "there is no body"
                              form))))))))

(define-syntax with-shm-mutex
  (lambda (form)
    "(with-shm-mutex BV K [#:on-abandoned PROC] [#:timeout SECONDS]
                [#:timeout-value VALUE] BODY ...)

Evaluate BODY with the mutex at byte offset K of the bytevector BV locked, and
return its values, as call-with-shm-mutex does."
    (expand-lock-form form #'call-with-mutex #'call-with-shm-mutex)))

(define-syntax with-shm-read-lock
  (lambda (form)
    "(with-shm-read-lock BV K [#:on-abandoned PROC] [#:timeout SECONDS]
                    [#:timeout-value VALUE] BODY ...)

Evaluate BODY with the read-write lock at byte offset K of the bytevector BV
locked as a reader, and return its values, as call-with-shm-read-lock does."
    (expand-lock-form form #'call-with-read-lock #'call-with-shm-read-lock)))

(define-syntax with-shm-write-lock
  (lambda (form)
    "(with-shm-write-lock BV K [#:on-abandoned PROC] [#:timeout SECONDS]
                     [#:timeout-value VALUE] BODY ...)

Evaluate BODY with the read-write lock at byte offset K of the bytevector BV
locked as a writer, and return its values, as call-with-shm-write-lock does."
    (expand-lock-form form #'call-with-write-lock #'call-with-shm-write-lock)))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm poll) - polling until a deadline, without a futex.

(define-module (posix-shm poll)
  #:use-module ((posix-shm exceptions) #:select (shown wrong-type))
  #:use-module ((posix-shm primitives) #:select (%shm-now))
  #:export (deadline-after
            poll-until))

(define interval 1000)                  ; microseconds

(define (deadline-after subr seconds)
  "Return the time SECONDS from now, in nanoseconds as %shm-now counts them, or
#f if SECONDS is #f.  If SECONDS is no number of seconds, raise wrong-type-arg
or out-of-range in the name of SUBR."
  (and seconds
       (begin
         (unless (real? seconds)
           (wrong-type subr "real number of seconds" seconds))
         (when (nan? seconds)
           (scm-error 'out-of-range subr "Not a number of seconds: ~A"
                      (list (shown seconds)) (list seconds)))
         (+ (%shm-now) (* seconds #e1e9)))))

(define (poll-until deadline thunk)
  "Call THUNK until it returns a true value, and return that, or #f if DEADLINE
passes first; a DEADLINE of #f never does.  Call THUNK at least once.  Asyncs
run between the calls."
  (let again ()
    (or (thunk)
        (and (or (not deadline) (< (%shm-now) deadline))
             (begin
               (usleep interval)
               (again))))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; partner.scm - share memory with programs in other languages.
;;;
;;; Usage: guile partner.scm COMMAND [ARGUMENT...]
;;;
;;; This makes an object with numbers in it and starts COMMAND with the name of
;;; the object as its last argument.  The command puts the square root of each
;;; number in its place, and says when it has.  Two such commands are here, in
;;; C and in Python:
;;;
;;;   cc -o partner partner.c && guile partner.scm ./partner
;;;   guile partner.scm python3 partner.py
;;;
;;; What they have of the object is what (shm-layout->c partner) and
;;; (shm-layout->ctypes partner) return.

(use-modules ((ice-9 format) #:select (format))
             (ice-9 match)
             (posix-shm)
             (posix-shm atomic)
             (srfi srfi-4))

(define-shm-layout partner
  (state u32)                           ; 1 when the partner is done
  (numbers f64 4))

(define (fail message . arguments)
  (format (current-error-port) "partner.scm: ~?~%" message arguments)
  (exit 1))

(define (start command)
  "Start the program COMMAND, a list of strings, and return its process id."
  (match (primitive-fork)
    (0
     (false-if-exception (apply execlp (car command) command))
     (primitive-_exit 127))
    (pid pid)))

(define (done? bv)
  (= (atomic-u32-ref bv partner-state-offset) 1))

(define (wait-until-done bv pid)
  "Wait until the process PID says in BV that it is done, or has ended without
that.  Return whether it is done."
  (match (waitpid pid WNOHANG)
    ((0 . _)
     (cond ((done? bv) (waitpid pid) #t)
           (else
            ;; The timeout is for a process that ended, or that cannot notify,
            ;; as in Python.
            (atomic-u32-wait bv partner-state-offset 0 0.1)
            (wait-until-done bv pid))))
    (_ (done? bv))))

(define (main command numbers)
  (let ((name (format #f "/partner-~a" (getpid))))
    ;; However this is left, the object is removed.
    (call-with-shm name #f
      (lambda (bv)
        (unless (wait-until-done bv (start (append command (list name))))
          (fail "~a ended and is not done" (car command)))
        (for-each (lambda (number root)
                    (format #t "The square root of ~a is ~a.~%" number root))
                  numbers
                  (f64vector->list (partner-numbers bv))))
      #:layout partner
      #:initialize
      (lambda (bv)
        (for-each (lambda (i number)
                    (f64vector-set! (partner-numbers bv) i number))
                  (iota (length numbers)) numbers)))))

(match (command-line)
  ((_ (? (lambda (word) (not (string-prefix? "-" word))) program) . arguments)
   (main (cons program arguments) '(1.0 2.25 16.0 10000.0)))
  (_
   (format (current-error-port)
           "Usage: guile partner.scm COMMAND [ARGUMENT...]~%")
   (exit 2)))

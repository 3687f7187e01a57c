;;; SPDX-License-Identifier: BSD-3-Clause
;;; writer.scm - make the shared memory object NAME and write TEXT to it.
;;; Usage: guile writer.scm NAME TEXT

(use-modules (ice-9 match)
             (posix-shm))

(match (command-line)
  ((_ name text)
   (let ((port (fdopen (shm-open name (list O_RDWR O_CREAT O_EXCL) #o600)
                       "w")))
     (display text port)
     (close-port port)
     (format #t "process ~a wrote to ~a~%" (getpid) name)))
  (_
   (format (current-error-port) "Usage: guile writer.scm NAME TEXT~%")
   (exit 2)))

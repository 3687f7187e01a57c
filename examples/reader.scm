;;; SPDX-License-Identifier: BSD-3-Clause
;;; reader.scm - read what is in the shared memory object NAME, and unlink it.
;;; Usage: guile reader.scm NAME

(use-modules (ice-9 match)
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm))

(match (command-line)
  ((_ name)
   (let* ((port (fdopen (shm-open name (list O_RDONLY)) "r"))
          (text (get-string-all port)))
     (close-port port)
     (shm-unlink name)
     (format #t "process ~a read from ~a: ~a~%" (getpid) name text)))
  (_
   (format (current-error-port) "Usage: guile reader.scm NAME~%")
   (exit 2)))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm) - POSIX shared memory, the module that programs import.

(define-module (posix-shm)
  #:use-module (posix-shm object)
  #:re-export (;; The CHICKEN egg's three names.
               posix-shm?
               shm-open
               shm-unlink))

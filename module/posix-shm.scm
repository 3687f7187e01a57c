;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm) - POSIX shared memory, the module that programs import.

;;; Commentary:
;;;
;;; Shared memory as bytevectors and arrays: shm-create creates an object,
;;; shm-attach maps it in another process, shm-view gives it types, shm-unlink
;;; removes its name.  Other modules are (posix-shm atomic) for atomic
;;; operations and for waiting, (posix-shm sync) for locks, (posix-shm channel)
;;; and (posix-shm broadcast) for messages, (posix-shm fibers) for operations of
;;; guile-fibers, (posix-shm semaphore) for named POSIX semaphores, and
;;; (posix-shm chicken) for programs that were written for the CHICKEN egg.
;;; The manual is in Info: info guile-shm.
;;;
;;; Code:

(define-module (posix-shm)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm fault)
  #:use-module (posix-shm layout)
  #:use-module (posix-shm mapping)
  #:use-module (posix-shm object)
  #:re-export (;; The CHICKEN egg's three names.
               posix-shm?
               shm-open
               shm-unlink

               ;; Objects.
               shm-open-anonymous
               shm-fresh-name
               shm-size
               shm-resize!
               shm-seal!
               shm-seals
               shm-send-fd
               shm-receive-fd
               shm-list

               ;; Mappings.
               shm-map
               shm-view
               shm-unmap!
               shm-mapped?
               shm-name

               ;; The calls that most programs need.
               shm-create
               shm-attach
               call-with-shm

               ;; Layouts.
               define-shm-layout
               shm-layout-size
               shm-layout-fields
               shm-layout->c
               shm-layout->ctypes

               ;; Faults.
               &shm-fault
               shm-fault?
               shm-fault-kind
               shm-fault-name
               shm-fault-offset
               shm-fault-guard

               ;; Exceptions of other modules.
               &shm-abandoned
               shm-abandoned?
               &shm-closed
               shm-closed?
               &shm-format-error
               shm-format-error?))

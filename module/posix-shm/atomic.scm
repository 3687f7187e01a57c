;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm atomic) - atomic operations on bytevectors, wait and notify.

;;; The procedures are C's own, since a call more would double what they cost.

;;; Commentary:
;;;
;;; Integers in a bytevector that threads and processes change in one step,
;;; such as (atomic-u64-fetch-add! bv k v), and atomic-u32-wait and
;;; atomic-u32-notify! for sleeping until one has changed.  The manual is in
;;; Info: info guile-shm Atomics.
;;;
;;; Code:

(define-module (posix-shm atomic)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm primitives)
  #:re-export (;; Unsigned integers of 32 bits.
               atomic-u32-ref
               atomic-u32-set!
               atomic-u32-exchange!
               atomic-u32-compare-exchange!
               atomic-u32-fetch-add!
               atomic-u32-fetch-sub!
               atomic-u32-fetch-and!
               atomic-u32-fetch-or!
               atomic-u32-fetch-xor!

               ;; Signed integers of 32 bits.
               atomic-s32-ref
               atomic-s32-set!
               atomic-s32-exchange!
               atomic-s32-compare-exchange!
               atomic-s32-fetch-add!
               atomic-s32-fetch-sub!
               atomic-s32-fetch-and!
               atomic-s32-fetch-or!
               atomic-s32-fetch-xor!

               ;; Unsigned integers of 64 bits.
               atomic-u64-ref
               atomic-u64-set!
               atomic-u64-exchange!
               atomic-u64-compare-exchange!
               atomic-u64-fetch-add!
               atomic-u64-fetch-sub!
               atomic-u64-fetch-and!
               atomic-u64-fetch-or!
               atomic-u64-fetch-xor!

               ;; Signed integers of 64 bits.
               atomic-s64-ref
               atomic-s64-set!
               atomic-s64-exchange!
               atomic-s64-compare-exchange!
               atomic-s64-fetch-add!
               atomic-s64-fetch-sub!
               atomic-s64-fetch-and!
               atomic-s64-fetch-or!
               atomic-s64-fetch-xor!

               ;; Waiting.
               atomic-u32-wait
               atomic-u32-notify!))

;; Each type, what it is, and its size in bytes.
(define types
  '((u32 "unsigned integer of 32 bits" 4)
    (s32 "signed integer of 32 bits" 4)
    (u64 "unsigned integer of 64 bits" 8)
    (s64 "signed integer of 64 bits" 8)))

;; Each operation, and what it does.
(define operations
  '((ref . "Return the integer.")
    (set! . "Store V and return the integer before.")
    (exchange! . "Store V and return the integer before.")
    (compare-exchange! . "Store NEW if the integer is EXPECTED; return the
integer before, by which one can tell.")
    (fetch-add! . "Add V and return the integer before.  The sum wraps.")
    (fetch-sub! . "Subtract V and return the integer before.  The difference
wraps.")
    (fetch-and! . "Store its bitwise and with V; return the integer before.")
    (fetch-or! . "Store its bitwise or with V; return the integer before.")
    (fetch-xor! . "Store its bitwise exclusive or with V; return the integer
before.")))

(define (description operation type size)
  (format #f "Atomically, with the ~a in native byte order at byte
offset K of the bytevector BV: ~a
All threads of all processes see all such operations in one order.

Raise @code{out-of-range} if K is not a multiple of ~a or not within BV, or for
a value that does not fit, and @code{wrong-type-arg} for what is no bytevector
or no exact integer."
          type operation size))

(define primitives (resolve-interface '(posix-shm primitives)))

(for-each
 (lambda (type)
   (for-each
    (lambda (operation)
      (document (module-ref primitives
                            (symbol-append 'atomic- (car type) '-
                                           (car operation)))
                (apply description (cdr operation) (cdr type))))
    operations))
 types)

(document atomic-u32-wait
  "Wait until the u32 at byte offset K of the bytevector BV is not OLD, an
unsigned integer of 32 bits.  Return #t then, at once if it is not OLD now, and
#f after TIMEOUT, a real number of seconds; without it, or if it is #f, wait
for ever.

Change the value, then call @code{atomic-u32-notify!}, as with
@code{atomic::wait} of C++20.  A change that is undone may go unseen.

Raise @code{out-of-range} if K is not a multiple of 4 or not within BV, if OLD
does not fit, if TIMEOUT is @code{+nan.0}, or if the memory is unmapped
meanwhile, and @code{wrong-type-arg} for an argument of another type.")

(document atomic-u32-notify!
  "Wake at most COUNT of the threads that are in @code{atomic-u32-wait} for the
u32 at byte offset K of the bytevector BV, so that they see its new value.
COUNT is an exact integer; without it, or if it is #f or @code{+inf.0}, wake
all.

Raise @code{out-of-range} if K is not a multiple of 4 or not within BV, or if
COUNT is negative, and @code{wrong-type-arg} for an argument of another type.")

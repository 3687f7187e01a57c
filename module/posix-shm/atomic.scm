;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm atomic) - atomic operations on bytevectors, wait and notify.

;;; The procedures are C's own, since a call more would double what they cost.

;;; Commentary:
;;;
;;; Integers in a bytevector that threads and processes change atomically, as
;;; by (atomic-u64-fetch-add! bv k v); atomic-u32-wait and atomic-u32-notify!
;;; sleep until one has changed, and wake the sleepers.  The manual is in Info:
;;; info guile-shm Atomics.
;;;
;;; Code:

(define-module (posix-shm atomic)
  #:use-module (ice-9 match)
  #:use-module (posix-shm primitives)
  #:re-export (;; Unsigned integers of 32 bits.
               atomic-u32-ref
               atomic-u32-set!
               atomic-u32-swap!
               atomic-u32-compare-and-swap!
               atomic-u32-fetch-add!
               atomic-u32-fetch-sub!
               atomic-u32-fetch-and!
               atomic-u32-fetch-or!
               atomic-u32-fetch-xor!

               ;; Signed integers of 32 bits.
               atomic-s32-ref
               atomic-s32-set!
               atomic-s32-swap!
               atomic-s32-compare-and-swap!
               atomic-s32-fetch-add!
               atomic-s32-fetch-sub!
               atomic-s32-fetch-and!
               atomic-s32-fetch-or!
               atomic-s32-fetch-xor!

               ;; Unsigned integers of 64 bits.
               atomic-u64-ref
               atomic-u64-set!
               atomic-u64-swap!
               atomic-u64-compare-and-swap!
               atomic-u64-fetch-add!
               atomic-u64-fetch-sub!
               atomic-u64-fetch-and!
               atomic-u64-fetch-or!
               atomic-u64-fetch-xor!

               ;; Signed integers of 64 bits.
               atomic-s64-ref
               atomic-s64-set!
               atomic-s64-swap!
               atomic-s64-compare-and-swap!
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

;; Each operation, its arguments, and what it does.
(define operations
  '((ref (bv k)
         "Return the value.")
    (set! (bv k v)
          "Store V.")
    (swap! (bv k v)
           "Store V and return the previous value.")
    (compare-and-swap! (bv k expected desired)
                       "Store DESIRED if the value is EXPECTED.
Return the previous value, which is EXPECTED if DESIRED was stored.")
    (fetch-add! (bv k v)
                "Add V and return the previous value.  The sum wraps.")
    (fetch-sub! (bv k v)
                "Subtract V and return the previous value.
The difference wraps.")
    (fetch-and! (bv k v)
                "Store its bitwise and with V; return the previous value.")
    (fetch-or! (bv k v)
               "Store its bitwise or with V; return the previous value.")
    (fetch-xor! (bv k v)
                "Store its bitwise exclusive or with V.
Return the previous value.")))

(define (description operation type size)
  (format #f "~a

The value is an ~a in native byte order at byte offset
K of the bytevector BV.  The operation is atomic; all threads of all processes
see all such operations in one order.

Raise out-of-range if K is not a multiple of ~a or not within BV, or for a
value that does not fit, and wrong-type-arg for what is no bytevector or no
exact integer."
          operation type size))

(define primitives (resolve-interface '(posix-shm primitives)))

(for-each
 (match-lambda
   ((type what size)
    (for-each
     (match-lambda
       ((operation arguments text)
        (document (module-ref primitives
                              (symbol-append 'atomic- type '- operation))
          arguments
          (description text what size))))
     operations)))
 types)

(document atomic-u32-wait '(bv k old #:optional timeout)
  "Wait until the u32 at byte offset K of the bytevector BV is not OLD, an
unsigned integer of 32 bits.  Return #t then, at once if it is not OLD now, and
#f after TIMEOUT, a real number of seconds; without it, or if it is #f, wait
for ever.

Change the value, then call atomic-u32-notify!, as with atomic::wait of C++20.
A change that is undone may go unseen.

Raise out-of-range if K is not a multiple of 4 or not within BV, if OLD does
not fit, if TIMEOUT is +nan.0, or if the memory is unmapped meanwhile, and
wrong-type-arg for an argument of another type.")

(document atomic-u32-notify! '(bv k #:optional count)
  "Wake at most COUNT of the threads that are in atomic-u32-wait for the u32 at
byte offset K of the bytevector BV, so that they see its new value.  COUNT is
an exact integer; without it, or if it is #f or +inf.0, wake all.

Raise out-of-range if K is not a multiple of 4 or not within BV, or if COUNT is
negative, and wrong-type-arg for an argument of another type.")

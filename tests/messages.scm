;;; SPDX-License-Identifier: BSD-3-Clause
;;; messages.scm - what an exception says is a line, whatever the argument.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm channel)
             (posix-shm chicken)
             (posix-shm semaphore)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4)
             (srfi srfi-9)
             (srfi srfi-9 gnu)
             (srfi srfi-64)
             (tests support))

(define max-length 200)

(define-record-type <noisy> (make-noisy) noisy?)
(set-record-type-printer! <noisy>
  (lambda (record port)
    (display (make-string 1000 #\newline) port)))

;; What may stand where something else is expected.
(define (odd-objects)
  (let ((circle (list 1 2)))
    (set-cdr! (cdr circle) circle)
    `(("an array" . ,(make-array 0 480 640))
      ("a uniform array" . ,(make-typed-array 'f32 1.5 480 640))
      ("a bytevector" . ,(make-bytevector 100000))
      ("a uniform vector" . ,(make-f64vector 100000))
      ("a bitvector" . ,(make-bitvector 100000 #t))
      ("a vector" . ,(make-vector 100000 'x))
      ("a list" . ,(iota 100000))
      ("a short list of long ones" . ,(list (iota 1000) (make-string 1000)))
      ("a circle" . ,circle)
      ("a pair" . ,(cons (iota 1000) 1))
      ("a string" . ,(string-append "/" (make-string 100000 #\x)))
      ("a string of lines" . ,(string-append "/" (make-string 100 #\newline)))
      ("an integer" . ,(expt 10 1000))
      ("a negative integer" . ,(- (expt 10 1000)))
      ("a fraction" . ,(/ 1 (expt 3 1000)))
      ("a symbol" . ,(string->symbol (make-string 1000 #\x)))
      ("a record" . ,(make-noisy))
      ("a procedure" . ,car)
      ("a port" . ,(open-input-string "")))))

(define (long-message outcome)
  "Return the message in OUTCOME, as @code{raised} returns it, if it is longer
than a line, else #f."
  (match outcome
    ((_ _ (? string? message) . _)
     (and (or (> (string-length message) max-length)
              (string-index message #\newline))
          message))
    (_ #f)))

(define (in-place-of arguments i object)
  (append (take arguments i) (list object) (drop arguments (+ i 1))))

(define (is-tried? argument object)
  "Return whether OBJECT is put in the place of ARGUMENT: not in that of a
keyword, nor a number in that of a timeout, which is 0.0 here."
  (not (or (keyword? argument)
           (and (eqv? argument 0.0) (number? object)))))

(define (test-misuse what procedure arguments expected-positions)
  "Put each odd object in the place of each of ARGUMENTS, of which some at
least must be refused in as many positions as EXPECTED-POSITIONS."
  (let ((refused '()))
    (test-equal what '()
      (append-map
       (match-lambda
         ((kind . object)
          (filter-map
           (lambda (i)
             (let ((outcome (and (is-tried? (list-ref arguments i) object)
                                 (raised (lambda ()
                                           (apply procedure
                                                  (in-place-of arguments i
                                                               object)))))))
               (unless (memq (and outcome (car outcome)) '(#f returned))
                 (set! refused (lset-adjoin = refused i)))
               (and=> (long-message outcome)
                      (lambda (message) (list kind i message)))))
           (iota (length arguments)))))
       (odd-objects)))
    (test-equal (string-append what ": positions that are checked")
      expected-positions (length refused))))

(test-begin "messages")

(unless posix-shm?
  (test-skip 1))
(test-assert "there is shared memory" posix-shm?)
(when posix-shm?
  (with-fresh-name name
    (let* ((bv (shm-create name 4096 #:type 'vu8))
           (fd (shm-open name (list O_RDWR)))
           (ordinary (make-bytevector 64))
           (ch (shm-channel-create #f 100)))
      (define (create . arguments)
        (let ((made (apply shm-create arguments)))
          (shm-unlink (shm-name made))))
      (define (create-channel name capacity)
        (shm-channel-create name capacity)
        (shm-unlink name))
      (shm-mutex-init! bv 0)
      (shm-condition-variable-init! bv 64)
      (shm-semaphore-init! bv 128 0)
      (for-each
       (match-lambda
         ((what procedure positions . arguments)
          (test-misuse what procedure arguments positions)))
       `(("shm-open" ,shm-open 3 "/gshm-none" ,(list O_RDONLY) 0)
         ("shm-unlink" ,shm-unlink 1 "/gshm-none")
         ("shm-open-anonymous"
          ,(lambda arguments
             (close-fdes (apply shm-open-anonymous arguments)))
          2 #:size 10 #:label "x")
         ("shm-size" ,shm-size 1 ,fd)
         ("shm-resize!" ,shm-resize! 2 ,fd 4096)
         ("shm-seal!" ,shm-seal! 2 ,fd (seal))
         ("shm-seals" ,shm-seals 1 ,fd)
         ("shm-send-fd" ,shm-send-fd 2 ,(current-input-port) ,fd)
         ("shm-receive-fd" ,shm-receive-fd 1 ,(current-input-port))
         ("shm-map" ,shm-map 4 ,fd 64 #:offset 0 #:type vu8)
         ("shm-view" ,shm-view 4 ,bv vu8 0 10)
         ("shm-unmap!" ,shm-unmap! 1 ,(make-bytevector 1))
         ("shm-mapped?" ,shm-mapped? 1 ,bv)
         ("shm-name" ,shm-name 1 ,bv)
         ("shm-create" ,create 5 ,name 10 #:mode 0 #:type vu8
          #:initialize ,noop)
         ("shm-attach" ,shm-attach 3 ,name #:type vu8 #:wait 0.0)
         ("call-with-shm" ,call-with-shm 3 ,name 10 ,noop)
         ("shm-fault-guard" ,shm-fault-guard 1 #t)
         ("atomic-u64-ref" ,atomic-u64-ref 2 ,ordinary 0)
         ("atomic-u64-fetch-add!" ,atomic-u64-fetch-add! 3 ,ordinary 0 1)
         ("atomic-u32-wait" ,atomic-u32-wait 4 ,ordinary 0 1 0.0)
         ("atomic-u32-notify!" ,atomic-u32-notify! 3 ,ordinary 0 1)
         ("shm-mutex-lock!" ,shm-mutex-lock! 3 ,bv 0 0.0)
         ("call-with-shm-mutex" ,call-with-shm-mutex 3 ,bv 0 ,list)
         ("shm-condition-variable-wait!" ,shm-condition-variable-wait! 4 ,bv 64 0 0.0)
         ("shm-semaphore-init!" ,shm-semaphore-init! 3 ,ordinary 0 1)
         ("shm-semaphore-wait!" ,shm-semaphore-wait! 3 ,bv 128 0.0)
         ("shm-barrier-init!" ,shm-barrier-init! 3 ,bv 1024 1)
         ("semaphore-open" ,semaphore-open 4 "/gshm-none" ,(list O_EXCL)
          #:mode 0 #:value 1)
         ("semaphore-wait!" ,semaphore-wait! 2 1 0.0)
         ("semaphore-unlink" ,semaphore-unlink 1 "/gshm-none")
         ("shm-channel-create" ,create-channel 2 #f 100)
         ("shm-channel-attach" ,shm-channel-attach 2 ,name #:wait 0.0)
         ("shm-channel-init!" ,shm-channel-init! 1 ,(make-bytevector 1))
         ("shm-channel" ,shm-channel 1 ,bv)
         ("shm-channel-send!" ,shm-channel-send! 5 ,ch ,ordinary 0 1
          #:timeout 0.0)
         ("shm-channel-receive!" ,shm-channel-receive! 2 ,ch #:timeout 0.0)
         ("shm-channel-receive-into!" ,shm-channel-receive-into! 4 ,ch
          ,ordinary 0 #:timeout 0.0)
         ("call-with-shm-slot" ,call-with-shm-slot 4 ,ch 1 ,noop #:timeout 0.0)
         ("shm-channel-send-datum!" ,shm-channel-send-datum! 3 ,ch 1
          #:timeout 0.0)
         ("file-write" ,file-write 3 ,fd ,ordinary 1)
         ("file-read" ,file-read 3 ,fd 1 ,ordinary)
         ("sprintf" ,sprintf 2 "~B" 1)))
      (close-fdes fd))))

(test-end "messages")

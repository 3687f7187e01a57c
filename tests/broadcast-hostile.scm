;;; SPDX-License-Identifier: BSD-3-Clause
;;; broadcast-hostile.scm - broadcasts in memory that peers change, tested.

(use-modules (posix-shm)
             (posix-shm atomic)
             (posix-shm broadcast)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

(define capacity 2000)

(define (many-times thunk)
  (let loop ((n 0))
    (when (< n (* 10 rounds))
      (thunk)
      (loop (+ n 1)))))

;; What peers write: a process sends and receives, while another scribbles.

(define (use b subscribers)
  (define target (make-bytevector 3000))
  (define (check proc)
    (let ((result (kind (proc))))
      (unless (memq result '(returned format closed out-of-range))
        (error "not documented" result))))
  (check (lambda () (shm-broadcast-send! b (text "hello") #:timeout 1/1000)))
  (check (lambda () (shm-broadcast-send! b target 0 900 #:timeout 0)))
  (check (lambda () (shm-broadcast-send-datum! b '(1 2) #:timeout 0)))
  (for-each
   (lambda (s)
     (check (lambda () (shm-broadcast-receive! s #:timeout 1/1000)))
     (check (lambda () (shm-broadcast-receive-datum! s #:timeout 0)))
     (check (lambda () (shm-broadcast-latest s)))
     (check (lambda () (shm-broadcast-latest-into! s target)))
     (check (lambda () (shm-broadcast-missed s))))
   subscribers)
  (for-each (lambda (from)
              (check (lambda () (shm-broadcast-subscribe b #:from from))))
            '(now latest oldest)))

(define (used-broadcast)
  "Return the name of an object with a broadcast that was used."
  (let* ((name (fresh-name))
         (b (shm-broadcast-create name capacity)))
    (for-each (lambda (n) (shm-broadcast-send! b (make-bytevector n n)))
              (iota 100))
    name))

(define (subscribers-of name)
  (map (lambda (from) (shm-broadcast-subscribe name #:from from))
       '(now latest oldest)))

(define (test-hostile)
  (test-equal "whatever was written there" 0
    (cdr (waitpid
          (start-process
           (lambda ()
             (let ((state (seed->random-state (getpid))))
               (many-times
                (lambda ()
                  (let* ((name (used-broadcast))
                         (b (shm-broadcast-attach name))
                         (subscribers (subscribers-of name))
                         (bv (shm-attach name #:writable? #t))
                         (header (shm-view bv 'vu8 8 504)))
                    (shm-unlink name)
                    (for-each (lambda (n)
                                (scribble! bv state 800)
                                (scribble! header state 800))
                              (iota (+ 1 (random 20 state))))
                    (use b subscribers))))))))))
  (test-equal "and is written meanwhile" 0
    (let* ((name (used-broadcast))
           (b (shm-broadcast-attach name))
           (subscribers (subscribers-of name))
           (bv (shm-attach name #:writable? #t))
           (before (bytevector-copy bv))
           (header (shm-view bv 'vu8 8 504)))
      (shm-unlink name)
      (call-beside-process
       (lambda ()
         (let ((state (seed->random-state (getpid))))
           (let loop ((n 0))
             (when (zero? (modulo n 50))
               (bytevector-copy! before 0 bv 0 (bytevector-length bv)))
             (scribble! bv state 800)
             (scribble! header state 800)
             (loop (+ n 1)))))
       (lambda ()
         (cdr (waitpid (start-process
                        (lambda ()
                          (many-times (lambda () (use b subscribers)))))))))))
  (test-equal "a subscriber recovers where senders find corrupt memory"
    "hello"
    (let* ((name (used-broadcast))
           (b (shm-broadcast-attach name))
           (bv (shm-attach name #:writable? #t)))
      (shm-unlink name)
      ;; All records, but not the words before them.
      (bytevector-fill! (shm-view bv 'vu8 512) 7)
      (for-each (lambda (n) (shm-broadcast-send! b (make-bytevector 500)))
                (iota 10))
      (shm-broadcast-send! b (text "hello"))
      (utf8->string
       (shm-broadcast-latest (shm-broadcast-subscribe b #:from 'oldest))))))


;;; Memory that goes away.

(define (test-faults)
  (define (cut-then size use)
    (with-fresh-name name
      (let* ((b (shm-broadcast-create name 100000))
             (s (shm-broadcast-subscribe name)))
        (shm-broadcast-send! b (make-bytevector 20000 1))
        (cut! name size)
        (kind (use b s)))))
  (define target (make-bytevector 50000))
  (define uses
    (list (lambda (b s) (shm-broadcast-send! b (make-bytevector 50000 1)))
          (lambda (b s) (shm-broadcast-receive! s))
          (lambda (b s) (shm-broadcast-latest s))
          (lambda (b s) (shm-broadcast-latest-into! s target))
          (lambda (b s) (shm-broadcast-receive-datum! s))))
  (test-equal "cut short" (make-list 7 'fault)
    (map (lambda (use) (cut-then 0 use))
         (append uses
                 (list (lambda (b s) (shm-broadcast-close! b))
                       (lambda (b s) (shm-broadcast-subscribe b))))))
  (test-equal "cut short within the ring" (make-list 5 'fault)
    (map (lambda (use) (cut-then 4096 use)) uses))
  (test-equal "what was cut short is not sent" '(fault 0)
    (with-fresh-name name
      (let ((b (shm-broadcast-create name 100000)))
        (cut! name 4096)
        (let ((kind (kind (shm-broadcast-send! b (make-bytevector 50000 1)))))
          (list kind
                (if (shm-broadcast-receive!
                     (shm-broadcast-subscribe b #:from 'oldest) #:timeout 0)
                    1 0))))))
  (test-equal "what is sent from memory that is lost is not sent" '(fault #f)
    (with-fresh-name name
      (let ((bv (shm-create name 8192))
            (b (shm-broadcast-create #f 20000)))
        (cut! name 4096)
        (let ((kind (kind (shm-broadcast-send! b bv))))
          (list kind
                (shm-broadcast-latest (shm-broadcast-subscribe b)))))))
  (test-equal "into memory that is read-only" '(fault "hello")
    (with-fresh-name name
      (shm-create name 4096)
      (let* ((bv (shm-attach name))
             (b (shm-broadcast-create #f 1000))
             (s (shm-broadcast-subscribe b)))
        (shm-broadcast-send! b (text "hello"))
        (let ((kind (kind (shm-broadcast-latest-into! s bv))))
          (list kind (utf8->string (shm-broadcast-receive! s))))))))

(test-begin "broadcast-hostile")

(when-posix-shm
  (test-group "what peers write" (test-hostile))
  (when (shm-fault-guard)
    (test-group "faults" (test-faults))))

(test-end "broadcast-hostile")

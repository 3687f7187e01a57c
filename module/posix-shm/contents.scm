;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm contents) - what is in an object, as far as it tells.

(define-module (posix-shm contents)
  #:use-module (ice-9 match)
  #:use-module (posix-shm layout-header)
  #:use-module (posix-shm object)
  #:use-module (posix-shm primitives)
  #:use-module (rnrs bytevectors)
  #:export (contents-of))

;; The kinds of core/format.h that have an object to themselves.
(define kinds
  '((6 . "channel") (7 . "layout") (8 . "broadcast")))

(define (call-with-descriptor name flags proc)
  (let ((fd (shm-open name flags)))
    (dynamic-wind
      (const #t)
      (lambda () (proc fd))
      (lambda () (close-fdes fd)))))

(define (call-with-memory name fd size writable? proc)
  (let ((bv (%shm-map fd 0 size 'vu8 writable? #f #f #f name)))
    (dynamic-wind
      (const #t)
      (lambda () (proc bv))
      (lambda () (%shm-unmap! bv)))))

(define (kind-of fd)
  "Return what the object behind FD begins with, a string, or #f."
  ;; Not by a mapping, which would allocate a page that was never accessed.
  (let ((bv (make-bytevector 8)))
    (and (= 8 (cadr (%file-read fd 8 bv)))
         (let ((format (bytevector-u64-native-ref bv 0)))
           (and (= #x4d485347 (logand format #xffffffff))
                (assv-ref kinds (logand (ash format -32) #xffff)))))))

(define (layout-in name fd)
  (match (layout-lines (text-in-object name fd))
    ((title . fields)
     (let ((space (string-rindex title #\space)))
       (match (string->number (string-drop title (+ space 1)))
         ((? exact-integer? size)
          `(("name" . ,(string-take title space))
            ("size" . ,size)
            ("fields" . ,(list->vector fields)))))))))

(define (channel-in name)
  ;; To count those that are alive takes write permission.
  (call-with-descriptor name (list O_RDWR)
    (lambda (fd)
      (call-with-memory name fd #f #t
        (lambda (bv)
          (match (%shm-channel-statistics bv)
            ((messages-in _ messages-out _ senders receivers closed?)
             `(("capacity" . ,(%shm-channel-size bv "guild shm"))
               ("messages" . ,messages-in)
               ("in-flight" . ,(- messages-in messages-out))
               ("waiting-senders" . ,senders)
               ("waiting-receivers" . ,receivers)
               ("closed" . ,closed?)))))))))

(define (broadcast-in name fd)
  (call-with-memory name fd #f #f
    (lambda (bv)
      (match (%shm-broadcast-statistics bv)
        ((capacity messages readable closed?)
         `(("capacity" . ,capacity)
           ("messages" . ,messages)
           ("readable" . ,readable)
           ("closed" . ,closed?)))))))

(define (contents-of name)
  "Return what the object NAME contains: a list of its kind, a string, and of
pairs of names and values that describe it, of which there are none if they
cannot be read; or #f if it does not tell."
  (define (described kind fd)
    (cond ((string=? kind "layout") (layout-in name fd))
          ((string=? kind "channel") (channel-in name))
          (else (broadcast-in name fd))))
  (false-if-exception
   (call-with-descriptor name (list O_RDONLY)
     (lambda (fd)
       (let ((kind (kind-of fd)))
         (and kind
              (cons kind
                    (or (false-if-exception (described kind fd)) '()))))))))

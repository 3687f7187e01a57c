;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm layout-header) - which layout is in an object.

;;; A header of 64 bytes precedes the memory that a layout describes: words of
;;; 64 bits for the format (core/format.h), the hash of the layout's text, the
;;; size that it describes, and the length of the text, which is at the end of
;;; the object; the rest is 0.  The format is stored last.

(define-module (posix-shm layout-header)
  #:use-module (ice-9 match)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm layout)
  #:use-module (posix-shm primitives)
  #:use-module (rnrs bytevectors)
  #:export (has-layout?
            layout-header-size
            layout-lines
            size-with-layout
            raise-without-layout
            text-in-object
            write-header!))

(define layout-header-size 64)

(define kind #x00074d485347)            ; "GSHM" and 7
(define version 1)

(define (size-with-layout layout)
  "Return the size of an object with LAYOUT, its header and its text."
  (+ layout-header-size (shm-layout-size layout)
     (bytevector-length (string->utf8 (layout-text layout)))))

(define (call-with-memory name fd offset size writable? proc)
  "Call PROC with the SIZE bytes from OFFSET on of the object NAME, which is
behind FD."
  (let ((bv (%shm-map fd offset size 'vu8 writable? #f #f #f name)))
    (dynamic-wind
      (const #t)
      (lambda () (proc bv))
      (lambda () (%shm-unmap! bv)))))

(define (write-header! name fd layout)
  "Write the text and the header of LAYOUT to the object NAME, behind FD."
  (let* ((size (shm-layout-size layout))
         (text (string->utf8 (layout-text layout)))
         (n (bytevector-length text)))
    (call-with-memory name fd (+ layout-header-size size) n #t
      (lambda (bv)
        (bytevector-copy! text 0 bv 0 n)))
    (call-with-memory name fd 0 layout-header-size #t
      (lambda (bv)
        (bytevector-u64-native-set! bv 8 (layout-hash layout))
        (bytevector-u64-native-set! bv 16 size)
        (bytevector-u64-native-set! bv 24 n)
        ;; Sequentially consistent, as is the load: a process that sees the
        ;; format sees all that was stored before.
        (atomic-u64-set! bv 0 (logior kind (ash version 48)))))))

(define (read-header name fd)
  "Return the header of the object NAME, behind FD, as a list of the hash, the
size and the length of the text; or #f if there is none yet, other if there is
something else, or the version if that is another one."
  (if (< (%shm-size fd) layout-header-size)
      #f
      (call-with-memory name fd 0 layout-header-size #f
        (lambda (bv)
          (let ((format (atomic-u64-ref bv 0)))
            (cond
             ((zero? format) #f)
             ((not (= kind (logand format #xffffffffffff))) 'other)
             ((not (= version (ash format -48))) (ash format -48))
             (else (map (lambda (k) (bytevector-u64-native-ref bv k))
                        '(8 16 24)))))))))

(define (read-text name fd size n)
  "Return the text, N bytes behind SIZE others, in the object NAME, behind FD; or
#f if there is none."
  (define (title? text)
    (string-index (car (layout-lines text)) #\space))
  (and (<= 1 n max-layout-text)
       (<= (+ layout-header-size size n) (%shm-size fd))
       (call-with-memory name fd (+ layout-header-size size) n #f
         (lambda (bv)
           (let ((text (false-if-exception (utf8->string bv))))
             (and text (title? text) text))))))

(define (text-in-object name fd)
  "Return the text of the layout in the object NAME, behind FD, or #f."
  (let ((header (read-header name fd)))
    (and (pair? header)
         (apply read-text name fd (cdr header)))))

(define (layout-lines text)
  (string-split (string-trim-right text #\newline) #\newline))

(define (layout-title text)
  "Return the name of the layout that TEXT describes, for a message."
  (let ((title (car (layout-lines text))))
    (shown (string->symbol
            (string-take title (string-rindex title #\space))))))

(define (first-difference there expected)
  "Return the first two fields, of the texts THERE and EXPECTED, that differ, as
the end of a message; or nothing if only the names do."
  (let next ((there (cdr (layout-lines there)))
             (expected (cdr (layout-lines expected))))
    (define (first lines)
      (if (pair? lines) (shown (string-trim (car lines))) "nothing"))
    (cond ((and (null? there) (null? expected)) "")
          ((and (pair? there)
                (pair? expected)
                (string=? (car there) (car expected)))
           (next (cdr there) (cdr expected)))
          (else
           (format #f "; the first difference is ~a, where ~a is expected"
                   (first there) (first expected))))))

(define (refuse subr name layout there end)
  "Raise &shm-format-error: the object NAME has what THERE says instead of
LAYOUT."
  (raise-format-error subr "The object ~a has ~a; layout ~a of ~a bytes is \
expected~a"
                      (shown name) there (layout-name layout)
                      (shm-layout-size layout) end))

(define (has-layout? subr name fd layout)
  "Return #t if the object NAME, behind FD, has LAYOUT, or #f if it has no
header yet; if it has anything else, raise &shm-format-error in the name of
SUBR."
  (define (refuse-other size n)
    (let ((text (read-text name fd size n)))
      (refuse subr name layout
              (format #f "layout ~a of ~a bytes"
                      (if text (layout-title text) "(unknown)") size)
              (if text (first-difference text (layout-text layout)) ""))))
  (match (read-header name fd)
    (#f #f)
    ('other (refuse subr name layout "no layout" ""))
    ((hash size n)
     (cond
      ((not (and (= hash (layout-hash layout))
                 (= size (shm-layout-size layout))))
       (refuse-other size n))
      ((< (%shm-size fd) (+ layout-header-size size))
       (refuse subr name layout
               (format #f "only ~a bytes, the header among them"
                       (%shm-size fd))
               ""))
      (else #t)))
    (other-version
     (refuse subr name layout
             (format #f "a layout of format ~a, which is not known here"
                     other-version)
             ""))))

(define (raise-without-layout subr name layout hint)
  "Raise &shm-format-error in the name of SUBR: the object NAME has no header
yet.  HINT says what to do."
  (refuse subr name layout "no layout yet"
          (string-append "; if its creator is not done, " hint)))

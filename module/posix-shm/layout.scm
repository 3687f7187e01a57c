;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm layout) - names, types and offsets of what is in a mapping.

;;; Commentary:
;;;
;;; define-shm-layout describes what is where in shared memory, and defines
;;; accessors; shm-create and shm-attach take a layout by #:layout.  The manual
;;; is in Info: info guile-shm Layouts.
;;;
;;; Code:

(define-module (posix-shm layout)
  #:use-module (ice-9 match)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm primitives)
  #:use-module (posix-shm shape)
  #:use-module (rnrs bytevectors)
  #:use-module (srfi srfi-9)
  #:use-module ((srfi srfi-9 gnu) #:select (set-record-type-printer!))
  #:export (define-shm-layout
            shm-layout-size
            shm-layout-fields
            shm-layout->c
            shm-layout->ctypes

            ;; For other components.
            check-layout
            element-size
            initialize-fields!
            layout-hash
            layout-name
            layout-text
            layout?
            positive-integer?

            ;; What layouts expand to.
            accessor
            field-channel
            field-string
            field-view
            layout-transformer
            make-layout
            max-layout-text
            refuse-index
            set-field-string!))

;; TEXT describes the layout in lines: its name and size; then the offset,
;; name, type and counts of each field.  Those of a layout in it are indented.
;; HASH is that of TEXT.
(define-record-type <shm-layout>
  (make-layout name size text hash fields)
  layout?
  (name layout-name)
  (size layout-size)
  (text layout-text)
  (hash layout-hash)
  (fields layout-fields))

(set-record-type-printer! <shm-layout>
  (lambda (layout port)
    (format port "#<shm-layout ~a of ~a bytes>" (layout-name layout)
            (layout-size layout))))

(define (check-layout subr object)
  "Raise wrong-type-arg in the name of SUBR unless OBJECT is a layout."
  (unless (layout? object)
    (wrong-type subr "layout, as define-shm-layout defines" object)))

(define (shm-layout-size layout)
  "Return how many bytes LAYOUT describes.

Raise wrong-type-arg if LAYOUT is not a layout."
  (check-layout "shm-layout-size" layout)
  (layout-size layout))

(define (shm-layout-fields layout)
  "Return a list of the fields of LAYOUT, in order.  Each is a list of its name,
its offset in bytes, its size in bytes, its type and its counts, such as
(old 2272 9600 u8 80 120).  The type is what was written in define-shm-layout,
but a layout in place of a layout's name.

Raise wrong-type-arg if LAYOUT is not a layout."
  (check-layout "shm-layout-fields" layout)
  (map list-copy (layout-fields layout)))

(define (shm-layout->c layout)
  "Return a string, the source of a header in C11 with a struct that is LAYOUT.
In an object that was created with #:layout, it is at byte 64.

Raise wrong-type-arg if LAYOUT is not a layout."
  (check-layout "shm-layout->c" layout)
  ((@ (posix-shm layout-source) c-source) layout))

(define (shm-layout->ctypes layout)
  "Return a string, the source of a Python module with a ctypes.Structure that
is LAYOUT.  In an object that was created with #:layout, it is at byte 64.

Raise wrong-type-arg if LAYOUT is not a layout."
  (check-layout "shm-layout->ctypes" layout)
  ((@ (posix-shm layout-source) ctypes-source) layout))


;;; Types.

(define (positive-integer? n)
  (and (exact-integer? n) (positive? n)))

(define (element-size type)
  "Return the size in bytes of what is of TYPE, a datum, or #f if that is not
the type of a field."
  (match type
    ((or 'u8 's8) 1)
    ((or 'u16 's16) 2)
    ((or 'u32 's32 'f32) 4)
    ((or 'u64 's64 'f64) 8)
    ('mutex shm-mutex-size)
    ('condition-variable shm-condition-variable-size)
    ((or 'semaphore ('semaphore (or 0 (? positive-integer?))))
     shm-semaphore-size)
    ((or 'barrier ('barrier (? positive-integer?))) shm-barrier-size)
    ('rwlock shm-rwlock-size)
    (((or 'bytes 'string) (? positive-integer? n)) n)
    (('channel (? positive-integer? capacity))
     (+ shm-channel-header-size
        (* 8 (ceiling-quotient (max capacity shm-message-header-size) 8))))
    (_ #f)))

(define (initializer type)
  "Return a procedure that initializes what is of TYPE at byte K of BV, or #f if
there is nothing to initialize."
  (match type
    ('mutex shm-mutex-init!)
    ('condition-variable shm-condition-variable-init!)
    ('semaphore (lambda (bv k) (shm-semaphore-init! bv k 0)))
    (('semaphore value) (lambda (bv k) (shm-semaphore-init! bv k value)))
    (('barrier n) (lambda (bv k) (shm-barrier-init! bv k n)))
    ('rwlock shm-rwlock-init!)
    (('channel _)
     (lambda (bv k)
       (%shm-channel-init! (%shm-view bv 'vu8 k (element-size type)))))
    ((? layout?)
     (and (or-map (match-lambda ((_ _ _ type . _) (initializer type)))
                  (layout-fields type))
          (lambda (bv k) (initialize-fields! type bv k))))
    (_ #f)))

(define* (initialize-fields! layout bv #:optional (base 0))
  "Initialize the locks and channels that LAYOUT has at byte BASE of BV."
  (for-each
   (match-lambda
     ((_ offset size type . counts)
      (let ((initialize! (initializer type))
            (n (elements counts)))
        (when initialize!
          (do ((i 0 (+ i 1)))
              ((= i n))
            (initialize! bv (+ base offset (* i (quotient size n)))))))))
   (layout-fields layout)))


;;; What accessors expand to, if not to an operation on the bytevector.

(define (field-view bv start type counts)
  (in-shape (%shm-view bv type start (elements counts))
            (and (pair? (cdr counts)) counts)))

(define (field-channel bv start size)
  ((@ (posix-shm channel) shm-channel) (%shm-view bv 'vu8 start size)))

(define (check-range name bv start size)
  "Raise an exception in the name of the accessor NAME unless BV is a bytevector
with SIZE bytes from START on."
  (unless (bytevector? bv)
    (wrong-type name "bytevector" bv 1))
  (unless (and (exact-integer? start)
               (<= 0 start (- (bytevector-length bv) size)))
    (scm-error 'out-of-range name
               "The bytevector of ~A bytes has no ~A bytes at offset ~A"
               (list (bytevector-length bv) size (shown start)) (list start))))

(define (field-string name bv start size)
  (define (copy from start size)
    (let ((bytes (make-bytevector size)))
      (bytevector-copy! from start bytes 0 size)
      bytes))
  (check-range name bv start size)
  (let ((bytes (copy bv start size)))
    (catch 'decoding-error
      (lambda () (utf8->string (copy bytes 0 (string-size bytes))))
      (lambda _
        (raise-format-error
         name "There is no UTF-8 text in the ~a bytes at offset ~a of ~a"
         size start (%shm-describe bv))))))

(define (string-size bytes)
  "Return the number of BYTES before the first that is 0."
  (let next ((i 0))
    (if (or (= i (bytevector-length bytes))
            (zero? (bytevector-u8-ref bytes i)))
        i
        (next (+ i 1)))))

(define (set-field-string! name bv start size text)
  (check-range name bv start size)
  (unless (string? text)
    (wrong-type name "string" text 2))
  (let* ((bytes (string->utf8 text))
         (n (bytevector-length bytes))
         (padded (make-bytevector size 0)))
    (unless (<= n size)
      (scm-error 'out-of-range name
                 "A string has ~A bytes in UTF-8, the field only ~A: ~A"
                 (list n size (shown text)) (list text)))
    (unless (= n (string-size bytes))
      (scm-error 'out-of-range name
                 "A NUL ends the string in the field: ~A"
                 (list (shown text)) (list text)))
    (bytevector-copy! bytes 0 padded 0 n)
    (bytevector-copy! padded 0 bv start size)))

(define (refuse-index name index count)
  (unless (exact-integer? index)
    (wrong-type name "exact integer" index))
  (scm-error 'out-of-range name "Index is not from 0 to ~A: ~A"
             (list (- count 1) (shown index)) (list index)))


;;; Syntax.

;; What expands it is loaded only where something is expanded.

(define-syntax define-shm-layout
  (lambda (x)
    "(define-shm-layout NAME (FIELD TYPE COUNT ...) ...)

Define NAME as a layout: FIELDs one after the other, each at a multiple of its
natural alignment, so that programs of 32 and of 64 bits agree.  TYPE is one of
u8 s8 u16 s16 u32 s32 u64 s64 f32 f64, (bytes SIZE), (string SIZE), mutex,
condition-variable, semaphore or (semaphore VALUE), barrier or (barrier N),
rwlock, (channel CAPACITY), or another layout's name.  COUNTs, positive
integers, make it a vector or an array.

For each field this defines NAME-FIELD-offset, in bytes, to which indices can
be given as arguments; for numbers and strings (NAME-FIELD bv [base]) and
(set-NAME-FIELD! bv value [base]), with indices of a string in an array before
BASE; for bytes, vectors and arrays (NAME-FIELD bv [base]), which returns a view
on the memory; and for channels (NAME-FIELD bv [base]), which returns the
channel."
    (syntax-case x ()
      ((_ name field ...)
       (identifier? #'name)
       ((@ (posix-shm layout-syntax) expand-layout)
        x #'name #'(field ...)))
      (_ (syntax-violation 'define-shm-layout
                           "not (define-shm-layout NAME (FIELD TYPE COUNT ...) \
...)"
                           x)))))

;; The text that describes a layout, in an object.
(define max-layout-text 65536)          ; bytes

(define (layout-transformer variable name size alignment lines names)
  "Return the transformer of NAME, a layout in VARIABLE that has defined NAMES.
The rest is for layouts that have this one in a field."
  (let ((transformer (lambda (x)
                       (syntax-case x ()
                         ((_ . _) (syntax-violation #f "not a procedure" x))
                         (_ variable)))))
    (set-procedure-property! transformer 'shm-layout
                             (list size alignment (cons name lines)))
    (set-procedure-property! transformer 'shm-field (list name))
    (set-procedure-property! transformer 'shm-names names)
    transformer))

(define (accessor source . arguments)
  "Return a transformer that calls expand-accessor with ARGUMENTS.  SOURCE is
the list of a layout and a field, in which another layout sees whose it is."
  (let ((transformer (lambda (x)
                       (apply (@ (posix-shm layout-syntax) expand-accessor) x
                              arguments))))
    (set-procedure-property! transformer 'shm-field source)
    transformer))

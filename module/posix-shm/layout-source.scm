;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm layout-source) - layouts in C and in Python.

(define-module (posix-shm layout-source)
  #:use-module (ice-9 format)
  #:use-module (ice-9 match)
  #:use-module (posix-shm layout)
  #:use-module (posix-shm shape)
  #:use-module ((srfi srfi-1) #:select (any append-map delete-duplicates fold))
  #:export (c-source
            ctypes-source
            identifiers))

;; What is not free for a member in C or an attribute of a ctypes.Structure.
(define reserved
  '("False" "None" "True" "and" "as" "asm" "assert" "async" "auto" "await"
    "alignas" "alignof" "bool" "break" "case" "char" "class" "const"
    "constexpr" "continue" "ctypes" "def" "default"
    "del" "do" "double" "elif" "else" "enum" "except" "extern" "false"
    "finally" "float" "for" "from" "from_address" "from_buffer"
    "from_buffer_copy" "from_param" "global" "goto" "if" "import" "in"
    "in_dll" "i386" "inline" "int" "is" "lambda" "linux" "long" "nonlocal" "not" "nullptr"
    "or" "pass" "raise" "register" "restrict" "return" "short" "signed"
    "sizeof" "static" "static_assert" "struct" "switch" "true" "try" "typedef" "typeof"
    "union" "unix" "unsigned" "void" "volatile" "while" "with" "yield"))

(define (identifier name taken)
  "Return an identifier for NAME, a symbol, that is not one of TAKEN."
  (define plain
    (string-map (lambda (c)
                  (if (and (char<? c #\x80)
                           (or (char-alphabetic? c) (char-numeric? c)))
                      c
                      #\_))
                (symbol->string name)))
  (define base
    (cond ((string-null? plain) "x")
          ((char-numeric? (string-ref plain 0)) (string-append "n" plain))
          ;; Those with an underscore first are special in both languages.
          ((char=? #\_ (string-ref plain 0)) (string-append "x" plain))
          (else plain)))
  (let next ((candidate base) (n 2))
    (if (or (member candidate reserved)
            (member candidate taken)
            ;; Macros of stdint.h.
            (any (lambda (suffix) (string-suffix? suffix candidate))
                 '("_C" "_MAX" "_MIN" "_WIDTH")))
        (next (format #f "~a_~a" base n) (+ n 1))
        candidate)))

(define (identifiers names)
  "Return an identifier for each of NAMES, symbols; no two are the same."
  (reverse (fold (lambda (name taken) (cons (identifier name taken) taken))
                 '() names)))

(define (layouts-in layout)
  "Return a list of the layouts that LAYOUT has fields of, and of LAYOUT, each
after those in it."
  (delete-duplicates
   (append (append-map (match-lambda
                         ((_ _ _ (? layout? inner) . _) (layouts-in inner))
                         (_ '()))
                       (shm-layout-fields layout))
           (list layout))
   eq?))

;; How gshm.h calls a lock.
(define locks
  '((mutex . "struct gshm_mutex")
    (condition-variable . "struct gshm_condition_variable")
    (semaphore . "struct gshm_semaphore")
    (barrier . "struct gshm_barrier")
    (rwlock . "struct gshm_rwlock")))

;; How C and ctypes call a type of numbers.
(define numbers
  '((u8 "uint8_t" "c_uint8") (s8 "int8_t" "c_int8")
    (u16 "uint16_t" "c_uint16") (s16 "int16_t" "c_int16")
    (u32 "uint32_t" "c_uint32") (s32 "int32_t" "c_int32")
    (u64 "uint64_t" "c_uint64") (s64 "int64_t" "c_int64")
    (f32 "float" "c_float") (f64 "double" "c_double")))

(define (element type names)
  "Return how C calls the elements of a field of TYPE, and how many of these
there are in each, as a list of counts; and the same of ctypes.  NAMES has the
identifiers of layouts."
  (define (words)
    (list (quotient (element-size type) 8)))
  (match type
    ((? layout?)
     (let ((name (assq-ref names type)))
       (list (string-append "struct " name) '() name '())))
    (('bytes n) (list "uint8_t" (list n) "ctypes.c_uint8" (list n)))
    (('string n) (list "char" (list n) "ctypes.c_char" (list n)))
    (_
     (match (assq-ref numbers type)
       ((c ctypes) (list c '() (string-append "ctypes." ctypes) '()))
       (#f (match (assq-ref locks type)
             (#f (list "uint64_t" (words) "ctypes.c_uint64" (words)))
             (lock (list lock '() "ctypes.c_uint64" (words)))))))))

(define (has-locks? layout)
  (any (lambda (layout)
         (any (match-lambda ((_ _ _ type . _) (assq-ref locks type)))
              (shm-layout-fields layout)))
       (layouts-in layout)))

(define (comment datum)
  "Return DATUM as text that does not end a comment of C."
  (string-join (string-split (format #f "~a" datum) #\*) "_"))

(define (declarations layout declare)
  "Return what DECLARE returns, lines, for each layout in LAYOUT, given that,
its identifier, those of its fields, and those of all layouts."
  (let* ((layouts (layouts-in layout))
         (names (map cons layouts (identifiers (map layout-name layouts)))))
    (append-map (match-lambda
                  ((layout . name)
                   (declare layout name
                            (identifiers (map car (shm-layout-fields layout)))
                            names)))
                names)))

(define (text lines)
  (string-join lines "\n" 'suffix))

(define (c-source layout)
  (define (struct layout name members names)
    (define (declare field name)
      (match field
        ((_ _ _ type . counts)
         (match (element type names)
           ((c own-counts _ _)
            ;; Where i386 has an alignment of 4.
            (format #f "  ~a~a ~a~{[~a]~};  /* ~a */"
                    (if (member c '("uint64_t" "int64_t" "double"))
                        "_Alignas (8) "
                        "")
                    c name (append counts own-counts)
                    (comment (if (layout? type) (layout-name type) type))))))))
    `(""
      ,(format #f "struct ~a" name)
      "{"
      ,@(map declare (shm-layout-fields layout) members)
      "};"
      ,(format #f
               "_Static_assert (sizeof (struct ~a) == ~a, \"the size of ~a\");"
               name (shm-layout-size layout) name)))
  (text (cons* (format #f
                       "/* ~a, at byte 64 of an object.  Hash: 0x~16,'0x.  */"
                       (comment (layout-name layout)) (layout-hash layout))
               (if (has-locks? layout)
                   "#include <gshm.h>"
                   "#include <stdint.h>")
               (declarations layout struct))))

(define (ctypes-source layout)
  (define (structure layout name attributes names)
    (define (declare name type counts)
      (format #f "        (~s, ~a)," name
              (fold (lambda (count type) (format #f "~a * ~a" type count))
                    type (reverse counts))))
    (define (pad from to)
      (if (= from to)
          '()
          (list (declare (format #f "_pad_~a" from) "ctypes.c_uint8"
                         (list (- to from))))))
    (define (declare-all fields attributes end)
      (match fields
        (() (pad end (shm-layout-size layout)))
        (((_ offset size type . counts) . rest)
         (match (element type names)
           ((_ _ ctypes own-counts)
            (append (pad end offset)
                    (list (declare (car attributes) ctypes
                                   (append counts own-counts)))
                    (declare-all rest (cdr attributes) (+ offset size))))))))
    `(""
      ""
      ,(format #f "class ~a(ctypes.Structure):" name)
      "    _layout_ = \"ms\""
      "    _pack_ = 1"
      "    _fields_ = ["
      ,@(declare-all (shm-layout-fields layout) attributes 0)
      "    ]"))
  (text (cons* (format #f "# ~a, at byte 64 of an object.  Hash: 0x~16,'0x."
                       (identifier (layout-name layout) '()) (layout-hash layout))
               "import ctypes"
               (declarations layout structure))))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; layout-source.scm - layouts in C and in Python, tested: fields of random
;;; layouts are where Guile has them.

(use-modules (ice-9 match)
             (ice-9 regex)
             ((ice-9 popen) #:select (open-pipe* close-pipe))
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             ((posix-shm layout-source) #:select (identifiers))
             (srfi srfi-1)
             (srfi srfi-4)
             (srfi srfi-64)
             (tests support))

(define-shm-layout inner
  (x f64) (tag (string 3)))

(define-shm-layout shown
  (size u8) (class u16) (rows-done u32) (rows_done s64)
  (lock mutex) (raw (bytes 5)) (inner inner 2 3))

(define c-header "\
/* shown, at byte 64 of an object.  Hash: 0x~16,'0x.  */
#include <gshm.h>

struct inner
{
  _Alignas (8) double x;  /* f64 */
  char tag[3];  /* (string 3) */
};
_Static_assert (sizeof (struct inner) == 16, \"the size of inner\");

struct shown
{
  uint8_t size;  /* u8 */
  uint16_t class_2;  /* u16 */
  uint32_t rows_done;  /* u32 */
  _Alignas (8) int64_t rows_done_2;  /* s64 */
  struct gshm_mutex lock;  /* mutex */
  uint8_t raw[5];  /* (bytes 5) */
  struct inner inner[2][3];  /* inner */
};
_Static_assert (sizeof (struct shown) == 144, \"the size of shown\");
")

(define python-module "\
# shown, at byte 64 of an object.  Hash: 0x~16,'0x.
import ctypes


class inner(ctypes.Structure):
    _layout_ = \"ms\"
    _pack_ = 1
    _fields_ = [
        (\"x\", ctypes.c_double),
        (\"tag\", ctypes.c_char * 3),
        (\"_pad_11\", ctypes.c_uint8 * 5),
    ]


class shown(ctypes.Structure):
    _layout_ = \"ms\"
    _pack_ = 1
    _fields_ = [
        (\"size\", ctypes.c_uint8),
        (\"_pad_1\", ctypes.c_uint8 * 1),
        (\"class_2\", ctypes.c_uint16),
        (\"rows_done\", ctypes.c_uint32),
        (\"rows_done_2\", ctypes.c_int64),
        (\"lock\", ctypes.c_uint64 * 3),
        (\"raw\", ctypes.c_uint8 * 5),
        (\"_pad_45\", ctypes.c_uint8 * 3),
        (\"inner\", inner * 3 * 2),
    ]
")

(define (without-hash text)
  (string-append (substring text 0 (string-contains text "0x"))
                 (substring text (string-index text #\newline))))


;;; Random layouts.

(define layout-count 200)

(define state (seed->random-state 21))

(define (pick . choices)
  (list-ref choices (random (length choices) state)))

(define names
  '(size offset next done lock int class from self x y-z y_z a? a! a* 1st _ __
    _fields_ from_buffer ß λ/μ double None struct sizeof <pixel> u8 uint8_t
    field->value % pad_1 _pad_1 linux unix INT8_MAX ctypes a*/b #{}#))

(define (random-names n)
  (let next ((names names) (n n))
    (if (zero? n)
        '()
        (let ((name (apply pick names)))
          (cons name (next (delete name names) (- n 1)))))))

(define (random-type before)
  (match (random 8 state)
    (0 `(bytes ,(+ 1 (random 20 state))))
    (1 `(string ,(+ 1 (random 20 state))))
    (2 (pick 'mutex 'condition-variable 'semaphore '(barrier 3) 'rwlock
             `(channel ,(+ 8 (random 100 state)))))
    (3 (if (null? before) 'u8 (apply pick before)))
    (_ (pick 'u8 's8 'u16 's16 'u32 's32 'u64 's64 'f32 'f64))))

(define (random-definition name before)
  `(define-shm-layout ,name
     ,@(map (lambda (field)
              `(,field ,(random-type before)
                       ,@(map (lambda (i) (+ 1 (random 4 state)))
                              (iota (pick 0 0 1 2 3)))))
            (random-names (+ 1 (random 12 state))))))

(define (define-layouts)
  "Return random layouts; each may be in one of the next four."
  (define module (make-fresh-user-module))
  (module-use! module (resolve-interface '(posix-shm)))
  (let next ((i 0) (before '()) (layouts '()))
    (if (= i layout-count)
        (reverse layouts)
        (let ((name (string->symbol (format #f "layout-~a" i))))
          (eval (random-definition name before) module)
          (next (+ i 1)
                (if (zero? (modulo i 5)) '() (cons name before))
                (cons (eval name module) layouts))))))

(define layouts (define-layouts))

(define (field-places layout)
  "Return an alist of the names that C and Python have for LAYOUT's fields, and
their offsets."
  (let ((fields (shm-layout-fields layout)))
    (map cons (identifiers (map first fields)) (map second fields))))

(define (struct-name layout)
  "Return the name of the last class in what LAYOUT is in Python."
  (match:substring (last (list-matches "class ([^(]+)"
                                       (shm-layout->ctypes layout)))
                   1))

(define* (write-c port #:optional (shift 0))
  "Write a C program that does not compile unless all fields are SHIFT bytes
before their places."
  (format port "#include <stddef.h>\n#include <gshm.h>\n")
  (for-each
   (lambda (layout i)
     (define text (shm-layout->c layout))
     (define end-of-includes ".h>\n")
     ;; In a function, so that structs of one name do not meet.
     (format port "void f~a (void);\nvoid f~a (void)\n{\n~a" i i
             (substring text (+ (string-length end-of-includes)
                                (string-contains text end-of-includes))))
     (for-each (match-lambda
                 ((name . offset)
                  (format port "_Static_assert (offsetof (struct ~a, ~a) == ~a, \
\"~a\");\n"
                          (struct-name layout) name (+ offset shift) name)))
               (field-places layout))
     (format port "_Static_assert (sizeof (struct ~a) == ~a, \"size\");\n}\n"
             (struct-name layout) (shm-layout-size layout)))
   layouts (iota layout-count)))

(define (write-python port)
  "Write a Python program that prints how many layouts have all in place."
  (format port "good = 0\n")
  (for-each
   (lambda (layout)
     (format port "~a\nassert ctypes.sizeof(~a) == ~a\n"
             (shm-layout->ctypes layout) (struct-name layout)
             (shm-layout-size layout))
     (for-each (match-lambda
                 ((name . offset)
                  (format port "assert ~a.~a.offset == ~a, ~s\n"
                          (struct-name layout) name offset name)))
               (field-places layout))
     (format port "good += 1\n"))
   layouts)
  (format port "print(good)\n"))

(define (call-with-file write-content proc)
  (let* ((port (mkstemp (string-append (or (getenv "TMPDIR") "/tmp")
                                       "/gshm-layout-XXXXXX")))
         (file (port-filename port)))
    (dynamic-wind
      (const #t)
      (lambda ()
        (set-port-encoding! port "UTF-8")
        (write-content port)
        (close-port port)
        (proc file))
      (lambda () (delete-file file)))))

(define compiler (or (getenv "CC") "cc"))

(define (compiles? write-content . options)
  (call-with-file write-content
    (lambda (file)
      (zero? (system (format #f "~a -std=gnu11 -Wall -Werror -ffreestanding \
-fsyntax-only -I~a/src/c ~a -xc ~a" compiler (or (getenv "abs_top_srcdir") ".")
                             (string-join options) file))))))

(define (nothing port)
  (format port "#include <stdint.h>\n"))

(define (test-c)
  (for-each
   (match-lambda
     ((name option)
      (unless (compiles? nothing option "2> /dev/null")
        (test-skip 1))
      (test-assert (format #f "offsetof agrees for ~a layouts: ~a" layout-count
                           name)
        (compiles? write-c option))))
   '(("this machine" "") ("32 bits" "-m32")))
  (unless (compiles? nothing)
    (test-skip 1))
  (test-assert "a wrong offset is found"
    (not (compiles? (lambda (port) (write-c port 1)) "2> /dev/null"))))

(define python (find-python))

(define (python-says write-content . arguments)
  (call-with-file write-content
    (lambda (file)
      (let* ((port (apply open-pipe* OPEN_READ python file arguments))
             (text (get-string-all port)))
        (close-pipe port)
        text))))

(define (test-python)
  (unless python (test-skip 1))
  (test-equal (format #f "ctypes agrees for ~a layouts" layout-count)
    (format #f "~a\n" layout-count)
    (python-says write-python)))

(define (test-shared)
  (with-fresh-name name
    (let ((bv (shm-create name #f #:layout shown)))
      (set-shown-rows-done! bv 7)
      (set-inner-tag! bv "abc" (shown-inner-offset 1 2))
      (unless python (test-skip 1))
      (test-equal "Python maps an object with a layout, and writes"
        '("7 abc\n" 2.5 -9)
        (let ((text (python-says
                     (lambda (port)
                       (display (shm-layout->ctypes shown) port)
                       (display "\
import mmap, sys
with open('/dev/shm' + sys.argv[1], 'r+b') as file:
    s = shown.from_buffer(mmap.mmap(file.fileno(), 0), 64)
print(s.rows_done, s.inner[1][2].tag.decode())
s.inner[1][2].x = 2.5
s.rows_done_2 = -9
" port))
                     name)))
          (list text (inner-x bv (shown-inner-offset 1 2))
                (shown-rows_done bv)))))))

(test-begin "layout-source")

(test-group "text"
  (test-equal "a header" (without-hash c-header)
    (without-hash (shm-layout->c shown)))
  (test-equal "a module" (without-hash python-module)
    (without-hash (shm-layout->ctypes shown)))
  (test-equal "identifiers"
    '("a" "class_2" "a_2" "a_3" "n1" "x_" "from_2" "x" "ctypes_2" "INT8_MAX_2")
    (identifiers '(a class a a #{1}# _ from #{}# ctypes INT8_MAX))))
(test-group "C" (test-c))
(test-group "Python" (test-python))
(when-posix-shm
  (test-group "shared" (test-shared)))

(test-end "layout-source")

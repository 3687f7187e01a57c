;;; SPDX-License-Identifier: BSD-3-Clause
;;; layout.scm - layouts, their accessors and the mistakes in them, tested.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm channel)
             (posix-shm sync)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4)
             (srfi srfi-64)
             ((system base compile) #:select (compile))
             ((system vm disassembler) #:select (fold-program-code))
             (tests support))

(define-shm-layout point
  (x f64) (y f64) (label (string 4)))

(define-shm-layout all
  (u8 u8) (u64 u64) (s8 s8) (u16 u16) (s16 s16) (u32 u32) (s32 s32) (s64 s64)
  (f32 f32) (f64 f64)
  (size u8) (offset u8))

(define-shm-layout many
  (next u32)
  (lock mutex)
  (histogram u64 256)
  (marks u8 3)
  (name (string 8))
  (names (string 5) 2 3)
  (raw (bytes 7))
  (rows (bytes 6) 4)
  (old u8 80 120)
  (points point 10 5)
  (pipe (channel 100))
  (pipes (channel 64) 2)
  (last u8))

(define-shm-layout locks
  (mutexes mutex 2)
  (variable condition-variable)
  (none semaphore)
  (three (semaphore 3) 2)
  (barrier (barrier 1))
  (later barrier)
  (rwlock rwlock)
  (pipe (channel 1)))

(define-shm-layout nested
  (before u8)
  (locks locks 2))

(define (test-placement)
  (test-equal "fields are where their alignment puts them"
    '((u8 0 1 u8) (u64 8 8 u64) (s8 16 1 s8) (u16 18 2 u16) (s16 20 2 s16)
      (u32 24 4 u32) (s32 28 4 s32) (s64 32 8 s64) (f32 40 4 f32)
      (f64 48 8 f64) (size 56 1 u8) (offset 57 1 u8))
    (shm-layout-fields all))
  (test-equal "the size is a multiple of the widest alignment" '(64 24)
    (map shm-layout-size (list all point)))
  (test-equal "counts, sizes and a layout in a layout"
    `((raw ,many-raw-offset 7 (bytes 7))
      (rows ,(+ many-raw-offset 7) 24 (bytes 6) 4)
      (old ,(+ many-raw-offset 31) 9600 u8 80 120)
      (points ,(* 8 (ceiling-quotient (+ many-raw-offset 31 9600) 8)) 1200
              ,point 10 5))
    (list-head (drop (shm-layout-fields many) 6) 4))
  (test-equal "offsets of elements"
    (map (lambda (n) (+ many-points-offset n)) '(0 240 312))
    (list (many-points-offset) (many-points-offset 2)
          (many-points-offset 2 3)))
  (test-equal "a layout is printed with its name and size"
    "#<shm-layout point of 24 bytes>"
    (object->string point))
  (test-equal "a capacity is rounded up, at least to what a channel needs"
    (list (+ shm-channel-header-size 104) (* 2 (+ shm-channel-header-size 64))
          (+ shm-channel-header-size 8))
    (map (lambda (fields name) (third (assq name fields)))
         (map shm-layout-fields (list many many locks))
         '(pipe pipes pipe))))

;; Each of the numbers: a getter, a setter, the operation that these are, its
;; offset, and the smallest and the largest value.
(define-syntax-rule (numbers (get set ref store k low high) ...)
  (list (list 'get get set ref k low high '(lambda (bv) (get bv))
              '(lambda (bv) (ref bv k)) '(lambda (bv v) (set bv v))
              '(lambda (bv v) (store bv k v)))
        ...))

(define all-numbers
  (numbers
   (all-u8 set-all-u8! bytevector-u8-ref bytevector-u8-set! 0 0 255)
   (all-s8 set-all-s8! bytevector-s8-ref bytevector-s8-set! 16 -128 127)
   (all-u16 set-all-u16! bytevector-u16-native-ref bytevector-u16-native-set!
            18 0 65535)
   (all-s16 set-all-s16! bytevector-s16-native-ref bytevector-s16-native-set!
            20 -32768 32767)
   (all-u32 set-all-u32! bytevector-u32-native-ref bytevector-u32-native-set!
            24 0 #xffffffff)
   (all-s32 set-all-s32! bytevector-s32-native-ref bytevector-s32-native-set!
            28 #x-80000000 #x7fffffff)
   (all-u64 set-all-u64! bytevector-u64-native-ref bytevector-u64-native-set!
            8 0 #xffffffffffffffff)
   (all-s64 set-all-s64! bytevector-s64-native-ref bytevector-s64-native-set!
            32 (- (ash 1 63)) (- (ash 1 63) 1))
   (all-f32 set-all-f32! bytevector-ieee-single-native-ref
            bytevector-ieee-single-native-set! 40 -1.5 1024.25)
   (all-f64 set-all-f64! bytevector-ieee-double-native-ref
            bytevector-ieee-double-native-set! 48 -1e300 +inf.0)))

(define (instructions expression)
  "Return the names of the instructions that EXPRESSION compiles to."
  (reverse
   (fold-program-code (lambda (instruction names)
                        (cons (car instruction) names))
                      '()
                      (compile expression #:env (current-module)))))

(define (test-numbers)
  (for-each
   (match-lambda
     ((name get set ref k low high . expressions)
      (let ((bv (make-bytevector (shm-layout-size all) 0))
            (values (list low high)))
        (test-equal (format #f "~a: stored and read" name)
          (list values values)
          (let ((results (map (lambda (value)
                                (set bv value)
                                (list (get bv) (ref bv k)))
                              values)))
            (list (map first results) (map second results))))
        (test-equal (format #f "~a: with a base" name) (list low high)
          (let ((row (make-bytevector (* 2 (shm-layout-size all)) 0))
                (base (shm-layout-size all)))
            (set row low 0)
            (set row high base)
            (list (get row 0) (get row base))))
        (match (map instructions expressions)
          ((our-ref its-ref our-set its-set)
           (test-equal (format #f "~a: compiles to what the operation does" name)
             its-ref our-ref)
           (test-equal (format #f "set-~a!: likewise" name) its-set our-set)
           (test-equal (format #f "~a: without a call" name) '()
             (filter (lambda (instruction)
                       (memq instruction
                             '(call call-label tail-call tail-call-label)))
                     (append our-ref our-set))))))))
   all-numbers)
  (test-equal "fields named size and offset" '(1 2 56 57)
    (let ((bv (make-bytevector (shm-layout-size all) 0)))
      (set-all-size! bv 1)
      (set-all-offset! bv 2)
      (list (all-size bv) (all-offset bv) all-size-offset all-offset-offset)))
  (test-equal "names as values" '((7 8) (0 8) (9 10))
    (let ((rows (list (make-bytevector 64 7) (make-bytevector 64 8))))
      (let ((before (map all-u8 rows)))
        (for-each set-all-u8! rows '(9 10))
        (list before (list all-u8-offset all-u64-offset) (map all-u8 rows)))))
  (test-equal "a bytevector that is too short" '(out-of-range out-of-range)
    (let ((bv (make-bytevector 15)))
      (list (kind (all-u64 bv)) (kind (set-all-u64! bv 1)))))
  (test-equal "a base beyond the end, and one that is no offset"
    '(out-of-range out-of-range wrong-type-arg)
    (map (lambda (base) (kind (all-u8 (make-bytevector 64) base)))
         '(64 -1 a))))

(define (test-strings)
  (define bv (make-bytevector (shm-layout-size many) 255))
  (define (stored text)
    (set-many-name! bv text)
    (many-name bv))
  (test-equal "stored and read" '("" "abc" "12345678" "häß€")
    (map stored '("" "abc" "12345678" "häß€")))
  (test-equal "padded with zeros, and no byte beyond" '(97 0 0 0 0 0 0 0 255)
    (begin
      (set-many-name! bv "a")
      (map (lambda (i) (bytevector-u8-ref bv (+ many-name-offset i)))
           (iota 9))))
  (test-equal "in an array, with indices and a base" '("a" "bcdef" "c")
    (let ((rows (make-bytevector (* 2 (shm-layout-size many)) 0))
          (base (shm-layout-size many)))
      (set-many-names! rows "a" 0 1)
      (set-many-names! rows "bcdef" 1 2)
      (set-many-names! rows "c" 1 2 base)
      (list (many-names rows 0 1) (many-names rows 1 2)
            (many-names rows 1 2 base))))
  (test-raises "too long"
    '(out-of-range set-many-name!
                   "A string has 9 bytes in UTF-8, the field only 8: \
\"123456789\"")
    (stored "123456789"))
  (test-raises "too long in UTF-8"
    '(out-of-range set-many-name!
                   "A string has 10 bytes in UTF-8, the field only 8: \"äöüßä\"")
    (stored "äöüßä"))
  (test-raises "a NUL"
    '(out-of-range set-many-name! "A NUL ends the string in the field: \
\"a\\x00b\"")
    (stored "a\x00b"))
  (test-raises "not a string"
    '(wrong-type-arg set-many-name!
                     "Wrong type argument in position 2 (expecting string): a")
    (stored 'a))
  (test-equal "a failed store changes nothing" "a" (many-name bv))
  (bytevector-u8-set! bv many-name-offset 255)
  (test-equal "bytes that are no UTF-8" 'format (kind (many-name bv)))
  (test-raises "a base beyond the end"
    `(out-of-range many-name
                   ,(format #f "The bytevector of ~a bytes has no 8 bytes at \
offset ~a" (bytevector-length bv) (+ 1000000 many-name-offset)))
    (many-name bv 1000000))
  (test-equal "bases that are none, to store at" '(out-of-range wrong-type-arg)
    (list (kind (set-many-name! bv "a" -1000000))
          (kind (set-many-name! bv "a" 'b))))
  (test-raises "a large array instead of a bytevector"
    '(wrong-type-arg many-name "Wrong type argument in position 1 (expecting \
bytevector): an array of 100 x 100 elements")
    (many-name (make-array 0 100 100)))
  (test-raises "an index too large"
    '(out-of-range many-names "Index is not from 0 to 2: 3")
    (many-names bv 1 3))
  (test-raises "an index too large, for an offset"
    '(out-of-range many-points-offset "Index is not from 0 to 9: 10")
    (many-points-offset 10))
  (test-raises "a negative one"
    '(out-of-range many-points-offset "Index is not from 0 to 4: -1")
    (many-points-offset 9 -1))
  (test-raises "an index that is no integer"
    '(wrong-type-arg many-names
                     "Wrong type argument (expecting exact integer): 1.0")
    (many-names bv 1.0 2)))

(define (test-views)
  (define bv (shm-create #f #f #:layout many))
  (test-equal "a vector of numbers" '(u64 256 5)
    (let ((histogram (many-histogram bv)))
      (u64vector-set! histogram 3 5)
      (list (array-type histogram) (u64vector-length histogram)
            (bytevector-u64-native-ref bv (+ many-histogram-offset 24)))))
  (test-equal "an array, row-major" '(u8 (80 120) 7)
    (let ((old (many-old bv)))
      (array-set! old 7 2 9)
      (list (array-type old) (array-dimensions old)
            (bytevector-u8-ref bv (many-old-offset 2 9)))))
  (test-equal "bytes" '(#vu8(0 0 0 0 0 1 0) 1)
    (begin
      (bytevector-u8-set! (many-raw bv) 5 1)
      (list (many-raw bv) (bytevector-u8-ref bv (+ many-raw-offset 5)))))
  (test-equal "an array of bytes" '((4 6) 3)
    (begin
      (array-set! (many-rows bv) 3 1 2)
      (list (array-dimensions (many-rows bv))
            (bytevector-u8-ref bv (+ 2 (many-rows-offset 1))))))
  (test-equal "a layout in a layout" '(1.5 "abcd" 1.5)
    (let ((base (many-points-offset 9 4)))
      (set-point-y! bv 1.5 base)
      (set-point-label! bv "abcd" base)
      (list (point-y bv base) (point-label bv base)
            (bytevector-ieee-double-native-ref bv (+ base 8)))))
  (test-equal "a channel, and two more" '(one two three)
    (begin
      (shm-channel-send-datum! (many-pipe bv) 'one)
      (shm-channel-send-datum! (many-pipes bv 0) 'two)
      (shm-channel-send-datum! (many-pipes bv 1) 'three)
      (map shm-channel-receive-datum!
           (list (many-pipe bv) (many-pipes bv 0) (many-pipes bv 1)))))
  (test-equal "a capacity" '(104 64)
    (map shm-channel-capacity (list (many-pipe bv) (many-pipes bv 1))))
  (test-equal "views need shared memory" 'wrong-type-arg
    (kind (many-marks (make-bytevector (shm-layout-size many)))))
  (test-equal "a channel's place without a channel" 'format
    (kind (many-pipe (shm-create #f (shm-layout-size many)))))
  (test-equal "views, with a base" '(9 out-of-range)
    (let ((rows (shm-create #f (* 2 (shm-layout-size many))))
          (base (shm-layout-size many)))
      (bytevector-u8-set! rows (+ base many-marks-offset 2) 9)
      (list (u8vector-ref (many-marks rows base) 2)
            (kind (many-marks rows (* 2 base)))))))

(define (test-locks)
  (define bv (shm-create #f #f #:layout nested))
  (define (at k)
    (list (shm-mutex-lock! bv (+ k locks-mutexes-offset) 0)
          (shm-mutex-lock! bv (+ k (locks-mutexes-offset 1)) 0)
          (kind (shm-condition-variable-signal! bv (+ k locks-variable-offset)))
          (map (lambda (offset) (shm-semaphore-value bv (+ k offset)))
               (list locks-none-offset locks-three-offset
                     (locks-three-offset 1)))
          (shm-barrier-wait! bv (+ k locks-barrier-offset) 0)
          (kind (shm-barrier-wait! bv (+ k locks-later-offset) 0))
          (shm-rwlock-read-lock! bv (+ k locks-rwlock-offset) 0)
          (shm-channel-capacity (locks-pipe bv k))))
  (for-each
   (lambda (i)
     (test-equal (format #f "all are initialized, but a barrier for any number: \
~a" i)
       '(#t #t returned (0 3 3) #t format #t 8)
       (at (nested-locks-offset i))))
   '(0 1))
  (test-equal "before initialize is called, and with what this returns" '(#t #t)
    (let* ((early #f)
           (bv (shm-create #f #f #:layout locks
                           #:initialize
                           (lambda (bv)
                             (shm-barrier-init! bv locks-later-offset 1)
                             (set! early (shm-mutex-lock! bv 0 0))))))
      (list early (shm-barrier-wait! bv locks-later-offset 0))))
  (test-equal "children of a fork share them" '(0 5)
    (let ((bv (shm-create #f #f #:layout many)))
      (let ((pid (start-process
                  (lambda ()
                    (with-shm-mutex bv many-lock-offset
                      (set-many-next! bv 5))))))
        (list (cdr (waitpid pid)) (atomic-u32-ref bv many-next-offset))))))


;;; Mistakes.

(define (syntax-error definition)
  "Return what is wrong about DEFINITION, and the part that is."
  (catch 'syntax-error
    (lambda ()
      (eval definition (let ((module (make-fresh-user-module)))
                         (module-use! module (resolve-interface '(posix-shm)))
                         module))
      'none)
    (lambda (key subr message where form part)
      (list message part))))

(define (test-bad-definitions)
  (for-each
   (match-lambda
     ((definition . expected)
      (test-equal (if (< (string-length (object->string definition)) 200)
                      (object->string definition)
                      "a long name")
        expected
        (syntax-error definition))))
   `(((define-shm-layout a (x u8) (y u8) (x u32)) "field x is there twice" x)
     ((define-shm-layout a (x u8) (x-offset u8))
      "a-x-offset would be both of field x of layout a and of field x-offset of \
layout a" x-offset)
     ((begin (define-shm-layout a (b-c u8)) (define-shm-layout a-b (c u8)))
      "a-b-c-offset would be both of field b-c of layout a and of field c of \
layout a-b" c)
     ((begin (define-shm-layout a (b u8)) (define-shm-layout a-b (c u8)))
      "a-b would be both of field b of layout a and of layout a-b" a-b)
     ((begin (define-shm-layout a-b (c u8)) (define-shm-layout a (b u8)))
      "a-b would be both of layout a-b and of field b of layout a" b)
     ((define-shm-layout a (x u33))
      "u33, the type of field x, is not a type or a layout" u33)
     ((define-shm-layout a (x (string)))
      "(string), the type of field x, is not a type or a layout" (string))
     ((define-shm-layout a (x (string 0)))
      "(string 0), the type of field x, is not a type or a layout" (string 0))
     ((define-shm-layout a (x (bytes 1.5)))
      "(bytes 1.5), the type of field x, is not a type or a layout" (bytes 1.5))
     ((define-shm-layout a (x (channel 0)))
      "(channel 0), the type of field x, is not a type or a layout" (channel 0))
     ((define-shm-layout a (x (semaphore -1)))
      "(semaphore -1), the type of field x, is not a type or a layout"
      (semaphore -1))
     ((define-shm-layout a (x (barrier 0)))
      "(barrier 0), the type of field x, is not a type or a layout" (barrier 0))
     ((define-shm-layout a (x a))
      "layout a would be a part of itself, by field x" a)
     ((define-shm-layout a (x u8 0))
      "the count 0 of field x is not a positive integer" 0)
     ((define-shm-layout a (x u8 2 1.0))
      "the count 1.0 of field x is not a positive integer" 1.0)
     ((define-shm-layout a (x u8 n))
      "the count n of field x is not a positive integer" n)
     ((define-shm-layout a (x)) "not a field, (FIELD TYPE COUNT ...)" (x))
     ((define-shm-layout a x) "not a field, (FIELD TYPE COUNT ...)" x)
     ((define-shm-layout a (1 u8)) "not a field, (FIELD TYPE COUNT ...)" (1 u8))
     ((define-shm-layout a) "a has no field" a)
     (,(let ((long (string->symbol (make-string 70000 #\n))))
         `(define-shm-layout a (,long u8)))
      "the description of a has more than 65536 characters" a)
     ((define-shm-layout mutex (x u8)) "mutex is the name of a type" mutex)
     ((define-shm-layout) "not (define-shm-layout NAME (FIELD TYPE COUNT ...) \
...)" #f)
     ((begin (define-shm-layout a (x u8)) (a-x)) "wrong number of arguments" #f)
     ((begin (define-shm-layout a (x u8)) (set-a-x! (make-bytevector 1) 1 2 3))
      "wrong number of arguments" #f)
     ((begin (define-shm-layout a (x u8 5)) (a-x-offset 1 1)) "too many indices"
      #f)
     ((begin (define-shm-layout a (x u8)) (a 1)) "not a procedure" #f))))

(define (test-names)
  (test-equal "accessors as values bind no name of their expansion"
    '((7) ("") (7) bytevector-u8-ref)
    (let ()
      ;; What accessors expand to has these names as well.
      (define-shm-layout bytevector (u8-ref u8))
      (define-shm-layout checked (index (string 4) 3))
      (define-shm-layout case (lambda u8))
      (define bv (make-bytevector 16 7))
      (define zeros (make-bytevector 16 0))
      (list (map bytevector-u8-ref (list bv))
            (map checked-index (list zeros) '(1))
            (map case-lambda (list bv))
            (procedure-name bytevector-u8-ref))))
  (test-equal "what was compiled before a redefinition keeps its layout"
    '(4 8 0 5)
    (let ((module (make-fresh-user-module)))
      (define (evaluate . expressions)
        (let ((result #f))
          (for-each (lambda (expression)
                      (set! result (eval expression module)))
                    expressions)
          result))
      (module-use! module (resolve-interface '(posix-shm)))
      (let* ((old (evaluate '(define-shm-layout r (x u32))
                            '(lambda () (shm-layout-size r))))
             (put! (evaluate '(lambda (bv) (set-r-x! bv 5))))
             (new (evaluate '(define-shm-layout r (y u32) (x u32))
                            '(lambda () (shm-layout-size r))))
             (bv (make-bytevector 8 0)))
        (put! bv)
        (list (old) (new) ((evaluate '(lambda (bv) (r-x bv))) bv)
              ((evaluate '(lambda (bv) (r-y bv))) bv)))))
  (test-equal "a name is free again when the field is gone" 'none
    (syntax-error '(begin (define-shm-layout a (b-c u8))
                          (define-shm-layout a (d u8))
                          (define-shm-layout a-b (c u8)))))
  (test-equal "the fields that are returned are copies" 'x
    (begin
      (set-car! (car (shm-layout-fields point)) 'changed)
      (first (car (shm-layout-fields point)))))
  (test-equal "options of the reader and the printer do not matter" #t
    (let ((hash (@@ (posix-shm layout) layout-hash))
          (options (read-options)))
      (define (hash-of-odd)
        (let ((module (make-fresh-user-module)))
          (module-use! module (resolve-interface '(posix-shm)))
          (hash (eval `(begin
                         (define-shm-layout odd (,(string->symbol "k:") u8)
                           (,(string->symbol "p q") u8))
                         odd)
                      module))))
      (let ((before (hash-of-odd)))
        (dynamic-wind
          (lambda () (read-set! keywords 'prefix))
          (lambda () (= before (hash-of-odd)))
          (lambda () (read-options options)))))))

(define (test-definitions)
  (test-equal "the same again, and otherwise, as at a prompt" 'none
    (syntax-error '(begin (define-shm-layout a (x u8) (y u16))
                          (define-shm-layout a (x u8) (y u16))
                          (define-shm-layout a (y-offset u8) (z u8)))))
  (test-assert "a layout is the same by whatever name a module knows it"
    (let ((here (make-fresh-user-module))
          (elsewhere (make-fresh-user-module)))
      (define (hash-in module part)
        (eval `(define-shm-layout outer (n u32) (part ,part 2)) module)
        ((@@ (posix-shm layout) layout-hash) (eval 'outer module)))
      (for-each (lambda (module)
                  (module-use! module (resolve-interface '(posix-shm))))
                (list here elsewhere))
      (eval '(define-shm-layout part (x u8)) here)
      (module-define! elsewhere 'prefix:part (module-ref here 'part))
      (= (hash-in here 'part) (hash-in elsewhere 'prefix:part))))
  (test-equal "a definition in a body" '(8 16 3)
    (let ()
      (define-shm-layout inner (x u8) (y u64))
      (define bv (make-bytevector (shm-layout-size inner) 3))
      (list inner-y-offset (shm-layout-size inner) (inner-x bv))))
  (test-raises "the size of what is no layout"
    '(wrong-type-arg "shm-layout-size"
                     "Wrong type argument (expecting layout, as \
define-shm-layout defines): 8")
    (shm-layout-size 8))
  (for-each (lambda (procedure)
              (test-equal (object->string procedure) 'wrong-type-arg
                (kind (procedure 'point))))
            (list shm-layout-fields shm-layout->c shm-layout->ctypes)))

(test-begin "layout")

(test-group "placement" (test-placement))
(test-group "numbers" (test-numbers))
(test-group "strings" (test-strings))
(test-group "definitions" (test-definitions))
(test-group "names" (test-names))
(test-group "mistakes" (test-bad-definitions))
(when-posix-shm
  (test-group "views" (test-views))
  (test-group "locks" (test-locks)))

(test-end "layout")

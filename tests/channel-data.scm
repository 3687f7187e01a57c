;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel-data.scm - Scheme data sent through channels, tested.

(use-modules (ice-9 binary-ports)
             (ice-9 exceptions)
             (ice-9 match)
             (ice-9 threads)
             (posix-shm)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-4)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

(define (table . entries)
  (let ((table (make-hash-table)))
    (let next ((entries entries))
      (match entries
        (() table)
        ((key value . rest)
         (hash-set! table key value)
         (next rest))))))

(define data
  `(;; Integers, at the borders of the sizes of heads and of fixnums.
    ,@(append-map (lambda (n) (list n (- n) (- -1 n)))
                  (append-map (lambda (bits)
                                (list (- (expt 2 bits) 1) (expt 2 bits)))
                              '(0 5 8 16 29 30 32 61 62 63 64 65 128 1000)))
    23 24 ,(expt 10 100)
    ;; Other numbers.
    1.5 -0.0 1e300 +inf.0 -inf.0 +nan.0 1/3 -5/7 ,(/ (expt 3 100) (expt 2 99))
    1+2i 0.0-1.5i
    ;; Text.
    "" "a" "ä\n\"x\\" ,(string #\nul #\x1F600) ,(make-string 1000 #\x)
    symbol ,(string->symbol "Ä b") ,(string->symbol "") #:keyword
    ,(symbol->keyword (string->symbol "A b")) #\a #\nul #\x1F600
    ;; Constants.
    #t #f () #nil ,(if #f #f)
    ;; Vectors of numbers.
    #vu8() #vu8(1 2 3) #u8(1 2) #s8(-1 2) #u16(1 65535) #s16(-2) #u32(7)
    #s32(-7) #u64(18446744073709551615) #s64(-9) #f32(1.5 -0.0) #f64(1.5)
    #c32(1+2i) #c64(1.5-2i -3.0+0.5i) #f64()
    ;; Containers.
    (1) (1 (2 (3))) (a . b) (1 2 . 3) ((1 . 2) . (3 . 4)) #() #(1 #(2) (3))
    'quoted `(quasi ,(unquoted)) ,(iota 100) ,(make-vector 300 'x)
    (#nil) (() ()) (#t . #f)))

(define (round-trip datum)
  (with-channel (ch 10000)
    (shm-channel-send-datum! ch datum)
    (shm-channel-receive-datum! ch)))

(define (test-data)
  (for-each (lambda (datum)
              (test-equal (format #f "~s" datum) datum (round-trip datum)))
            data)
  (test-equal "types of vectors"
    '(vu8 u8 s8 u16 s16 u32 s32 u64 s64 f32 f64 c32 c64)
    (map (lambda (bv) (array-type (round-trip bv)))
         (list #vu8(1) #u8(1) #s8(1) #u16(1) #s16(1) #u32(1) #s32(1) #u64(1)
               #s64(1) #f32(1) #f64(1) #c32(1) #c64(1))))
  (test-equal "hash tables" '(3 1 (2) #vu8(3) "b")
    (let ((received (round-trip (table "a" 1 '(x y) '(2) 5 #vu8(3)
                                       (table) 4)))
          (nested (round-trip (table 'x (table 1 "b")))))
      (list (- (hash-count (const #t) received) 1)
            (hash-ref received "a")
            (hash-ref received '(x y))
            (hash-ref received 5)
            (hash-ref (hash-ref nested 'x) 1))))
  (test-equal "on shared memory" #f64(1.5 2.5)
    (with-mapping (bv 16)
      (let ((v (shm-view bv 'f64)))
        (f64vector-set! v 0 1.5)
        (f64vector-set! v 1 2.5)
        (round-trip v))))
  (test-equal "shared structure is copied" '((1) (1) #f)
    (let* ((shared (list 1))
           (received (round-trip (list shared shared))))
      (list (first received) (second received)
            (eq? (first received) (second received))))))


;;; The bytes.

(define (hex->bytes text)
  (u8-list->bytevector
   (map (lambda (i) (string->number (substring text i (+ i 2)) 16))
        (iota (quotient (string-length text) 2) 0 2))))

(define (encoded datum)
  (with-channel (ch 10000)
    (shm-channel-send-datum! ch datum)
    (shm-channel-receive! ch)))

(define (decoded bytes)
  (with-channel (ch 100000)
    (shm-channel-send! ch bytes)
    (shm-channel-receive-datum! ch)))

;; From appendix A of RFC 8949: what encodes to just these bytes.
(define examples
  `((0 "00") (1 "01") (10 "0a") (23 "17") (24 "1818") (25 "1819") (100 "1864")
    (1000 "1903e8") (1000000 "1a000f4240") (1000000000000 "1b000000e8d4a51000")
    (18446744073709551615 "1bffffffffffffffff")
    (18446744073709551616 "c249010000000000000000")
    (-18446744073709551616 "3bffffffffffffffff")
    (-18446744073709551617 "c349010000000000000000")
    (-1 "20") (-10 "29") (-100 "3863") (-1000 "3903e7")
    (1.1 "fb3ff199999999999a") (1e300 "fb7e37e43c8800759c")
    (-4.1 "fbc010666666666666") (#f "f4") (#t "f5") (#nil "f6")
    (,(if #f #f) "f7") (#vu8() "40") (#vu8(1 2 3 4) "4401020304") ("" "60")
    ("a" "6161") ("IETF" "6449455446") ("\"\\" "62225c") ("ü" "62c3bc")
    ("水" "63e6b0b4") (,(string #\x10151) "64f0908591") (() "80")
    ((1 2 3) "83010203") ((1 (2 3) (4 5)) "8301820203820405")
    (,(iota 25 1) "98190102030405060708090a0b0c0d0e0f101112131415161718181819")))

;; And what else decodes.
(define other-examples
  `((0.0 "f90000") (-0.0 "f98000") (1.0 "f93c00") (1.5 "f93e00")
    (65504.0 "f97bff") (100000.0 "fa47c35000")
    (3.4028234663852886e+38 "fa7f7fffff") (5.960464477539063e-08 "f90001")
    (0.00006103515625 "f90400") (-4.0 "f9c400") (+inf.0 "f97c00")
    (+nan.0 "f97e00") (-inf.0 "f9fc00") (+inf.0 "fa7f800000")
    (-inf.0 "faff800000") (+inf.0 "fb7ff0000000000000")
    (#vu8(1 2 3 4 5) "5f42010243030405ff") ("streaming" "7f657374726561646d696e67ff")
    (() "9fff") ((1 (2 3) (4 5)) "9f018202039f0405ffff")
    ((1 (2 3) (4 5)) "83018202039f0405ff") ((1 (2 3) (4 5)) "83019f0203ff820405")
    ;; Longer heads than are needed, and a bignum that fits an integer.
    (1 "1b0000000000000001") ("a" "780161") ((1) "9b000000000000000101")
    (256 "c2420100") (0 "c240")
    ;; Typed arrays of the other byte order, and of single bytes.
    (#u16(256 513) "d8414401000201") (#u16(1 258) "d8454401000201")
    (#f32(1.5) "d851443fc00000") (#u8(1 2) "d840420102")
    ;; A vector of unknown length.
    (#(1 2) "d9f6cc9f0102ff")))

(define (test-bytes)
  (for-each (match-lambda
              ((datum hex)
               (test-equal (format #f "~s is ~a" datum hex)
                 (list (hex->bytes hex) datum)
                 (list (encoded datum) (decoded (hex->bytes hex))))))
            examples)
  (for-each (match-lambda
              ((datum hex)
               (test-equal (format #f "~a is ~s" hex datum) datum
                 (decoded (hex->bytes hex)))))
            other-examples)
  (test-equal "maps" '(2 4 #t (2 3))
    (let ((a (decoded (hex->bytes "a201020304")))
          (b (decoded (hex->bytes "bf61610161629f0203ffff"))))
      (list (hash-ref a 1) (hash-ref a 3)
            (= 1 (hash-ref b "a")) (hash-ref b "b"))))
  (test-equal "our tags, and those of others"
    (map hex->bytes '("d9f6cc820102" "d9f6cd83010203" "d9f6ce616b" "d9f6cf1861"
                      "d9f6d082fb3ff0000000000000fbc000000000000000" "d81e820103"
                      "d8276173" "d84041ff"))
    (map encoded (list #(1 2) '(1 2 . 3) #:k #\a 1.0-2.0i 1/3 's #u8(255)))))


;;; Messages that are not data.

(define bad-messages
  '(("" . "it ends before the datum does")
    ("18" . "it ends before the datum does")
    ("1c" . "there is an invalid head")
    ("6261" . "it ends before the datum does")
    ("8201" . "it ends before the datum does")
    ("9bffffffffffffffff00" . "it ends before the datum does")
    ("9affffffff" . "it ends before the datum does")
    ("9a0000000482010282030401" . "it ends before the datum does")
    ("bbffffffffffffffff" . "it ends before the datum does")
    ("9f01" . "it ends before the datum does")
    ("5f42" . "it ends before the datum does")
    ("0001" . "more follows the datum")
    ("ff" . "there is a break that ends nothing")
    ("81ff" . "there is a break that ends nothing")
    ("1f" . "there is an invalid head")
    ("5f6161ff" . "there is an invalid chunk of a string")
    ("5f5f4101ffff" . "there is an invalid chunk of a string")
    ("61ff" . "a string or symbol is not UTF-8")
    ("62c080" . "a string or symbol is not UTF-8")
    ("63eda080" . "a string or symbol is not UTF-8")
    ("64f4908080" . "a string or symbol is not UTF-8")
    ("d82761ff" . "a string or symbol is not UTF-8")
    ("e0" . "there is no datum for the simple value 0")
    ("f8ff" . "there is no datum for the simple value 255")
    ("c100" . "there is no datum for tag 1")
    ("d9d9f700" . "there is no datum for tag 55799")
    ("d8504400000000" . "there is no datum for tag 80")
    ("c200" . "tag 2 is not on what it must be on")
    ("d82700" . "tag 39 is not on what it must be on")
    ("d84500" . "tag 69 is not on what it must be on")
    ("d84543010203" . "the size of what tag 69 is on is no multiple")
    ("d81e8101" . "tag 30 is not on what it must be on")
    ("d81e820100" . "there is an invalid rational number")
    ("d81e820120" . "there is an invalid rational number")
    ("d81e82f4f5" . "there is an invalid rational number")
    ("d9f6cd8101" . "tag 63181 is not on what it must be on")
    ("d9f6cd9f0102ff" . "tag 63181 is not on what it must be on")
    ("d9f6cf19d800" . "there is an invalid character")
    ("d9f6cf1a00110000" . "there is an invalid character")
    ("d9f6d0820102" . "tag 63184 is not on what it must be on")
    ("d9f6d100" . "tag 63185 is not on what it must be on")
    ("bf01ff" . "a map has a key without a value")
    ("a201020103" . "a map has a key twice")))

(define (test-bad-messages)
  (for-each
   (match-lambda
     ((hex . reason)
      (test-equal (format #f "~s: ~a" hex reason) reason
        (guard (c ((shm-format-error? c)
                   (let* ((message (exception-message c))
                          (start (+ 2 (string-contains message ": ")))
                          (end (string-contains message ", before byte")))
                     (substring message start end))))
          (decoded (hex->bytes hex))))))
   bad-messages)
  (test-equal "the message, and its procedure"
    '("shm-channel-receive-datum!" "There is no datum in a message of 3 bytes: \
there is no datum for tag 1, before byte 1")
    (guard (c ((shm-format-error? c)
               (list (exception-origin c) (exception-message c))))
      (decoded #vu8(#xc1 0 0))))
  (test-equal "the channel works on" '(format 0 2)
    (with-channel (ch 100)
      (shm-channel-send! ch #vu8(#xff))
      (let ((kind (kind (shm-channel-receive-datum! ch))))
        (shm-channel-send-datum! ch 2)
        (list kind (- (statistic ch 'messages-in-flight) 1)
              (shm-channel-receive-datum! ch)))))
  (test-equal "claims of much allocate nothing" '(format format #t)
    (with-channel (ch 2000000)
      (let* ((before (memory-in-use))
             (claim (hex->bytes "d9f6cc9a000f0000"))
             (nested (make-bytevector 1000000 #x9f)))
        (let next ((i 0))
          (when (< (+ i (bytevector-length claim)) 900000)
            (bytevector-copy! claim 0 nested i (bytevector-length claim))
            (next (+ i (bytevector-length claim)))))
        (shm-channel-send! ch claim)
        (shm-channel-send! ch nested)
        (let* ((a (kind (shm-channel-receive-datum! ch)))
               (b (kind (shm-channel-receive-datum! ch))))
          (list a b (< (- (memory-in-use) before) 200000000)))))))

(define (test-collecting)
  (test-equal "large data are whole if another thread allocates" '()
    (with-channel (ch 2000000)
      (define stop? #f)
      (define thread
        (call-with-new-thread
         (lambda ()
           (let loop ()
             (unless stop?
               (make-vector 3000 0)
               (loop))))))
      (define numbers (map (lambda (i) (+ i 0.5)) (iota 10000)))
      (define pairs (map list (iota 10000)))
      (let ((wrong (filter-map
                    (lambda (datum)
                      (shm-channel-send-datum! ch datum)
                      (let ((received (shm-channel-receive-datum! ch)))
                        (and (not (equal? datum received)) (car datum))))
                    (append-map (lambda (_) (list numbers pairs))
                                (iota 100)))))
        (set! stop? #t)
        (join-thread thread)
        wrong))))

(define (nested n)
  (let next ((n n) (datum '()))
    (if (zero? n) datum (next (- n 1) (list datum)))))

(define (test-depth)
  (test-equal "10,000 deep, and deeper" '(#t wrong-type-arg wrong-type-arg)
    (with-channel (ch (* 4 1024 1024))
      (define (vectors n)
        (let next ((n n) (datum #f))
          (if (zero? n) datum (next (- n 1) (vector datum)))))
      (shm-channel-send-datum! ch (nested 9999))
      (list (equal? (nested 9999) (shm-channel-receive-datum! ch))
            (kind (shm-channel-send-datum! ch (nested 10000)))
            (kind (shm-channel-send-datum! ch (vectors 100000))))))
  (test-equal "received" '(format format)
    (map (lambda (byte)
           (kind (with-channel (ch (* 20 1024 1024))
                   (shm-channel-send! ch (make-bytevector 10002 byte))
                   (shm-channel-receive-datum! ch))))
         '(#x81 #x9f)))
  (test-equal "data that contain themselves" (make-list 4 'wrong-type-arg)
    (with-channel (ch 1000)
      (map (lambda (datum) (kind (shm-channel-send-datum! ch datum #:timeout 1)))
           (list (let ((loop (list 1 2))) (set-cdr! (cdr loop) loop) loop)
                 (let ((loop (list 1))) (set-cdr! loop loop) loop)
                 (let ((loop (list 1 2))) (set-car! loop loop) loop)
                 (let ((loop (vector 1 2))) (vector-set! loop 1 loop) loop)))))
  (test-equal "shared structure that would be endless" 'out-of-range
    (with-channel (ch 1000)
      (kind (shm-channel-send-datum!
             ch (let next ((n 64) (datum '(1)))
                  (if (zero? n) datum (next (- n 1) (list datum datum)))))))))

(define (test-refusals)
  (test-equal "what is not data" (make-list 9 'wrong-type-arg)
    (with-channel (ch 1000)
      (map (lambda (datum) (kind (shm-channel-send-datum! ch datum #:timeout 1)))
           (list car (current-output-port) (list 1 car) (vector (eof-object))
                 (make-symbol "uninterned") (make-array 1 2 2) #*101
                 (table 1 car) (/ 1 (expt 3 30000))))))
  (test-raises "says so, and of which part"
    '(wrong-type-arg "shm-channel-send-datum!" "Wrong type argument in position \
2 (expecting data that CBOR can represent): an array of 3 elements")
    (with-channel (ch 100) (shm-channel-send-datum! ch '(1 (#*101)))))
  (test-raises "too large, and how large"
    '(out-of-range "shm-channel-send-datum!" "A message of 178 bytes can never \
be sent: the largest has 96")
    (with-channel (ch 104) (shm-channel-send-datum! ch (iota 100))))
  (test-equal "a datum's procedures are named"
    '("shm-channel-send-datum!" "shm-channel-send-datum!"
      "shm-channel-receive-datum!")
    (with-channel (ch 100)
      (map (lambda (thunk) (cadr (raised thunk)))
           (list (lambda () (shm-channel-send-datum! ch 1 #:timeout 'x))
                 (lambda () (shm-channel-send-datum! ch (iota 100)))
                 (lambda () (shm-channel-receive-datum! ch #:timeout 'x))))))
  (test-equal "time-outs, and the end" '(#f #f none #t closed)
    (with-channel (ch 16)
      (let* ((a (begin
                  (shm-channel-send-datum! ch 1)
                  (shm-channel-send-datum! ch 2 #:timeout 0)))
             (b (begin
                  (shm-channel-receive-datum! ch)
                  (shm-channel-receive-datum! ch #:timeout 0)))
             (c (shm-channel-receive-datum! ch #:timeout 0.001
                                            #:timeout-value 'none))
             (d (begin (shm-channel-close! ch)
                       (eof-object? (shm-channel-receive-datum! ch)))))
        (list a b c d (kind (shm-channel-send-datum! ch 1)))))))


;;; Programs.

(define (test-options)
  (test-equal "options of the programs do not matter" '(#t #t #t #t #t #t)
    (map
     (match-lambda
       ((environment options . expressions)
        (with-fresh-name name
          (let ((ch (shm-channel-create name 40000)))
            (shm-channel-send-datum! ch data)
            (apply run "env"
                   `(,@environment ,guile "--no-auto-compile" ,@options "-c"
                     ,(program
                       `((use-modules (posix-shm channel))
                         (define ch (shm-channel-attach ,name))
                         ,@expressions
                         (shm-channel-send-datum!
                          ch (shm-channel-receive-datum! ch))))))
            (equal? data (shm-channel-receive-datum! ch #:timeout 0))))))
     '((() ()) (("LC_ALL=C") ()) (() ("--r7rs")) (() ("--r6rs"))
       (() () (read-set! keywords 'prefix) (read-enable 'case-insensitive))
       (() () (print-enable 'r7rs-symbols) (read-enable 'r6rs-hex-escapes))))))

(define (test-changes)
  ;; Another thread makes lists shorter and longer while they are sent.
  (test-equal "a datum that another thread changes" #t
    (with-channel (ch 1000000)
      (let* ((datum (iota 1000))
             (stop? #f)
             (thread (in-thread
                      (let loop ()
                        (unless stop?
                          (let ((end (list-tail datum 500)))
                            (set-cdr! end '())
                            (set-cdr! end (iota 499 501)))
                          (loop)))))
             (results
              (map (lambda (i)
                     (match (kind (shm-channel-send-datum! ch datum))
                       ('returned
                        (let ((received (shm-channel-receive-datum! ch)))
                          (and (list? received) 'whole)))
                       (other other)))
                   (iota (* 20 rounds)))))
        (set! stop? #t)
        (join-thread thread)
        (lset<= eq? results '(whole misc-error))))))


;;; cbor2, the Python package.

(define python (find-python "cbor2"))

(define make-data "
import cbor2, random, struct, sys
from fractions import Fraction
random.seed(int(sys.argv[1]))
def text():
    return ''.join(chr(random.choice([random.randrange(32, 127),
                                      random.randrange(0xa0, 0xd800),
                                      random.randrange(0x10000, 0x11000)]))
                   for _ in range(random.randrange(12)))
def integer():
    return random.choice([1, -1]) * random.getrandbits(random.randrange(1, 90))
def leaf():
    return random.choice([
        lambda: integer(),
        lambda: random.uniform(-1e6, 1e6),
        lambda: random.choice([0.0, float('inf'), float('-inf'), 1.5, 1e300]),
        text, lambda: random.randbytes(random.randrange(12)),
        lambda: random.choice([True, False, None, cbor2.undefined]),
        lambda: Fraction(random.randrange(-99, 99) * 2 + 1,
                         2 ** random.randrange(1, 9))])()
def datum(depth):
    if depth == 0 or random.random() < 0.4:
        return leaf()
    if random.random() < 0.6:
        return [datum(depth - 1) for _ in range(random.randrange(5))]
    return {random.choice([text, integer])(): datum(depth - 1)
            for _ in range(random.randrange(4))}
with open(sys.argv[3], 'wb') as file:
    for _ in range(int(sys.argv[2])):
        data = cbor2.dumps(datum(4))
        file.write(struct.pack('<I', len(data)) + data)
")

(define compare-data "
import cbor2, struct, sys
def data(name):
    with open(name, 'rb') as file:
        while head := file.read(4):
            yield cbor2.loads(file.read(struct.unpack('<I', head)[0]))
def canonical(x):
    if isinstance(x, list):
        return [canonical(y) for y in x]
    if isinstance(x, dict):
        return 'map', sorted(((canonical(k), canonical(v))
                              for k, v in x.items()), key=repr)
    return type(x).__name__, repr(x)
pairs = list(zip(data(sys.argv[1]), data(sys.argv[2]), strict=True))
different = [x for x in pairs if canonical(x[0]) != canonical(x[1])]
print(different[0] if different else len(pairs))
")

(define (copy-data from to)
  "Decode and encode each message of the file FROM, into the file TO."
  (define ch (shm-channel-create #f 1000000))
  (call-with-output-file to
    (lambda (out)
      (call-with-input-file from
        (lambda (in)
          (let next ()
            (match (get-bytevector-n in 4)
              ((? eof-object?) #t)
              (size
               (shm-channel-send!
                ch (get-bytevector-n in (bytevector-u32-ref size 0 'little)))
               (shm-channel-send-datum! ch (shm-channel-receive-datum! ch))
               (let ((bytes (shm-channel-receive! ch)))
                 (bytevector-u32-set! size 0 (bytevector-length bytes) 'little)
                 (put-bytevector out size)
                 (put-bytevector out bytes))
               (next)))))
        #:binary #t))
    #:binary #t))

(define (test-cbor2)
  (define count 100000)
  (define (file name)
    (format #f "~a/gshm-~a-~a" (or (getenv "TMPDIR") "/tmp") (getpid) name))
  (unless python
    (test-skip 1))
  (test-equal "random data of cbor2's, there and back" count
    (let ((from (file "from")) (to (file "to")))
      (dynamic-wind
        (const #t)
        (lambda ()
          (run python "-c" make-data "1" (number->string count) from)
          (copy-data from to)
          (call-with-values
              (lambda () (run python "-c" compare-data from to))
            (lambda (output status)
              (or (string->number (string-trim-right output)) output))))
        (lambda ()
          (for-each (lambda (file) (false-if-exception (delete-file file)))
                    (list from to)))))))

(test-begin "channel-data")

(when-posix-shm
  (test-group "data" (test-data))
  (test-group "bytes" (test-bytes))
  (test-group "bad messages" (test-bad-messages))
  (test-group "depth" (test-depth))
  (test-group "collections" (test-collecting))
  (test-group "refusals" (test-refusals))
  (test-group "programs" (test-options))
  (test-group "cbor2" (test-cbor2))
  (test-group "changes" (test-changes)))

(test-end "channel-data")

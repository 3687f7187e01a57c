;;; SPDX-License-Identifier: BSD-3-Clause
;;; channel-data.scm - Scheme data sent through channels, tested.

(use-modules (ice-9 binary-ports)
             (ice-9 exceptions)
             (ice-9 match)
             (posix-shm)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests channel-support)
             (tests support))

(define odd-data
  (list (string #\esc #\[ #\m) (string #\nul #\\ #\" #\newline) "é" ""
        (map string->symbol '("a b" "" "Foo" "foo:" ":foo" "a|b" "1+" "}"))
        #:key (symbol->keyword (string->symbol "A b"))
        (list #\delete #\a #\( #\space) 1/3 (vector "é" 2.5) '(1 . "x")
        #vu8(1 2) #f64(1.5 -0.0) #t #f '() #nil +inf.0 +nan.0
        (make-array "q" 2 3) (make-array (string->symbol "x Y") '(1 2) '(0 -1))
        (make-array 7) #*101 (make-typed-array 'f64 1.5 2 2) (expt 10 50)))

(define (test-data)
  (define (round-trip datum)
    (with-channel (ch 10000)
      (shm-channel-send-datum! ch datum)
      (shm-channel-receive-datum! ch)))
  (define data
    `(1 -5/3 2.5 1+2i ,(expt 3 200) +inf.0 +nan.0 #t #f () "" "ä\n\"x\\" #\x
        #\nul symbol |odd symbol| #:keyword (a . b) (1 (2 (3))) #(1 #(2))
        #vu8(1 2 3) #f64(1.0 2.5) #u32(7) #2((1 2) (3 4)) #*101
        'quoted `(quasi ,(unquoted)) ,(iota 100) ,(string #\x1F600)))
  (for-each (lambda (datum)
              (test-equal (format #f "~s" datum) datum (round-trip datum)))
            data)
  (test-equal "what cannot be read back"
    (make-list 7 'wrong-type-arg)
    (with-channel (ch 1000)
      (map (lambda (datum) (kind (shm-channel-send-datum! ch datum #:timeout 1)))
           (list car (current-output-port) (list 1 car) (make-hash-table)
                 (let ((loop (list 1 2))) (set-cdr! loop loop) loop)
                 (if #f #f) (vector (eof-object))))))
  (test-assert "says so"
    (match (raised (lambda ()
                     (with-channel (ch 100) (shm-channel-send-datum! ch car))))
      (('wrong-type-arg "shm-channel-send-datum!" message)
       (string-contains message "written and read back")))))

(define (test-hostile)
  (test-equal "nothing is evaluated, nothing is but one datum"
    '(format format format format format format format 0)
    (with-channel (ch 1000)
      (read-hash-extend #\% (lambda (char port) (error "run")))
      (let ((kinds (map (lambda (message)
                          (if (string? message)
                              (send! ch message)
                              (shm-channel-send! ch message))
                          (kind (shm-channel-receive-datum! ch)))
                        '("#.(exit 7)" "#%x" "" "1 2" "(1" ")"
                          #vu8(#xff #xfe)))))
        (read-hash-extend #\% #f)
        (append kinds (list (statistic ch 'messages-in-flight))))))
  (test-equal "the message of that"
    '("shm-channel-receive-datum!" "There is no datum in a message of 3 bytes")
    (with-channel (ch 100)
      (send! ch "1 2")
      (guard (c ((shm-format-error? c)
                 (list (exception-origin c) (exception-message c))))
        (shm-channel-receive-datum! ch))))
  (test-equal "the depth is bounded" '(format #t)
    (with-channel (ch (* 20 1024 1024))
      (shm-channel-send! ch (make-bytevector (* 16 1024 1024) 40))
      (list (kind (shm-channel-receive-datum! ch))
            (equal? '(1) (begin (shm-channel-send-datum! ch '(1))
                                (shm-channel-receive-datum! ch))))))
  (test-equal "nor are arrays believed that are larger than the message"
    '(format format format format #2((1 2)))
    (with-channel (ch 1000)
      (map (lambda (text)
             (send! ch text)
             (let ((datum #f))
               (match (kind (set! datum (shm-channel-receive-datum! ch)))
                 ('returned datum)
                 (other other))))
           '("#2:20000:20000()" "#f64:999999999()" "(a #2@-5:20000@1:20000())"
             "#4611686018427387904()"
             "#2:1:2((1 2))"))))
  (test-equal "lists in lists, as deep as can be read back, and deeper"
    '(returned wrong-type-arg wrong-type-arg wrong-type-arg)
    (with-channel (ch (* 4 1024 1024))
      (define (deep n)
        (if (zero? n) '() (list (deep (- n 1)))))
      (map (lambda (datum) (kind (shm-channel-send-datum! ch datum)))
           (list (deep 9000) (deep 100000)
                 (let ((loop (list 1 2))) (set-car! loop loop) loop)
                 (let ((loop (make-array 0 1 1))) (array-set! loop loop 0 0)
                      loop))))))

(define (test-options)
  (test-equal "options of the programs do not matter" '(#t #t #t #t #t)
    (map
     (match-lambda
       ((options . expressions)
        (with-fresh-name name
          (let ((ch (shm-channel-create name 4096)))
            (shm-channel-send-datum! ch odd-data)
            (apply run guile
                   `("--no-auto-compile" ,@options "-c"
                     ,(program
                       `((use-modules (posix-shm channel))
                         (define ch (shm-channel-attach ,name))
                         ,@expressions
                         (shm-channel-send-datum!
                          ch (shm-channel-receive-datum! ch))))))
            (equal? odd-data (shm-channel-receive-datum! ch #:timeout 0))))))
     '((()) (("--r7rs")) (("--r6rs"))
       (() (read-set! keywords 'prefix) (read-enable 'case-insensitive))
       (() (print-enable 'r7rs-symbols) (read-enable 'r6rs-hex-escapes))))))

(define (test-refusals)
  (test-assert "many elements that begin with #"
    (let ((datum (map even? (iota 50000))))
      (with-channel (ch (* 4 1024 1024))
        (shm-channel-send-datum! ch datum)
        (equal? datum (shm-channel-receive-datum! ch)))))
  (test-equal "any locale will do" "(#t #t)"
    (call-with-values
        (lambda ()
          (run "env" "LC_ALL=C" guile "--no-auto-compile" "-c"
               (program
                '((use-modules (posix-shm channel))
                  (define ch (shm-channel-create #f 1000))
                  (define (same? datum)
                    (shm-channel-send-datum! ch datum)
                    (equal? datum (shm-channel-receive-datum! ch)))
                  (display
                   (list (same? (string #\a #\nul #\b))
                         (same? (string->symbol
                                 (string (integer->char 955))))))))))
      (lambda (output status) output)))
  (test-equal "a datum's procedures are named"
    '("shm-channel-send-datum!" "shm-channel-send-datum!"
      "shm-channel-receive-datum!")
    (with-channel (ch 100)
      (map (lambda (thunk) (cadr (raised thunk)))
           (list (lambda () (shm-channel-send-datum! ch 1 #:timeout 'x))
                 (lambda () (shm-channel-send-datum! ch (iota 100)))
                 (lambda () (shm-channel-receive-datum! ch #:timeout 'x))))))
  (test-equal "time-outs, and the end" '(#f none #t closed)
    (with-channel (ch 100)
      (let* ((a (shm-channel-receive-datum! ch #:timeout 0))
             (b (shm-channel-receive-datum! ch #:timeout 0.001
                                            #:timeout-value 'none))
             (c (begin (shm-channel-close! ch)
                       (eof-object? (shm-channel-receive-datum! ch)))))
        (list a b c (kind (shm-channel-send-datum! ch 1))))))
  (test-equal "too large" 'out-of-range
    (with-channel (ch 100)
      (kind (shm-channel-send-datum! ch (iota 100))))))

(test-begin "channel-data")

(when-posix-shm
  (test-group "data"
    (test-data)
    (test-hostile)
    (test-options)
    (test-refusals)))

(test-end "channel-data")

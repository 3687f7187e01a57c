;;; SPDX-License-Identifier: BSD-3-Clause
;;; layout-header.scm - objects that have a layout, tested.

(use-modules (ice-9 exceptions)
             (ice-9 match)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (rnrs bytevectors)
             (srfi srfi-4)
             (srfi srfi-64)
             (tests support))

(define-shm-layout counts
  (total u32) (parts u64 3))

;; What another version of a program has.
(define counts-then
  (let ()
    (define-shm-layout counts
      (total u32) (unit u64) (parts u64 3))
    counts))

(define-shm-layout tally                ; as counts, but for the name
  (total u32) (parts u64 3))

(define size (shm-layout-size counts))
(define text "counts 32\n0 total u32\n8 parts u64 3\n")
(define object-size (+ 64 size (string-length text)))

(define (whole name)
  "Return all bytes of the object NAME, writable."
  (shm-attach name #:writable? #t))

(define (call-with-object bytes proc)
  "Call PROC with the name of an object that holds BYTES."
  (with-fresh-name name
    (shm-create name (bytevector-length bytes)
                #:initialize (lambda (bv)
                               (bytevector-copy! bytes 0 bv 0
                                                 (bytevector-length bytes))))
    (proc name)))

(define good
  ;; The bytes of an object with the layout counts.
  (and posix-shm?
       (with-fresh-name name
         (shm-create name #f #:layout counts)
         (bytevector-copy (whole name)))))

(define (changed k set! value)
  "Return a copy of GOOD with VALUE at byte K."
  (let ((bytes (bytevector-copy good)))
    (set! bytes k value)
    bytes))

(define (attach name . arguments)
  "Attach to NAME with the layout counts, and return what is raised."
  (raised (lambda ()
            (catch '%exception
              (lambda () (apply shm-attach name #:layout counts arguments))
              (lambda (key exception)
                (throw (if (shm-format-error? exception) 'format key)
                       (exception-message exception)))))))

(define expected "; layout counts of 32 bytes is expected")

(define (test-header)
  (with-fresh-name name
    (let ((bv (shm-create name #f #:layout counts)))
      (test-equal "the bytevector is what the layout describes" (list size 0)
        (list (bytevector-length bv) (counts-total bv)))
      (test-equal "the object has a header, and the layout as text"
        (list object-size (+ #x4d485347 (ash 7 32) (ash 1 48)) size
              (string-length text) '(0 0 0 0) text)
        (let ((all (shm-attach name)))
          (define (word k) (bytevector-u64-native-ref all k))
          (define tail (make-bytevector (string-length text)))
          (bytevector-copy! all (+ 64 size) tail 0 (string-length text))
          (list (bytevector-length all) (word 0) (word 16) (word 24)
                (map word '(32 40 48 56)) (utf8->string tail))))
      (test-equal "the hash is FNV-1a's of the text"
        ;; As computed by another program.
        #x91ac23994961b792
        (bytevector-u64-native-ref (shm-attach name) 8))
      (set-counts-total! bv 5)
      (test-equal "attached" '(5 32)
        (let ((bv (shm-attach name #:layout counts)))
          (list (counts-total bv) (bytevector-length bv))))
      (unless (shm-fault-guard)
        (test-skip 1))
      (test-equal "attached read-only" '(read-only 0)
        (let ((bv (shm-attach name #:layout counts)))
          (guard (c ((shm-fault? c)
                     (list (shm-fault-kind c) (shm-fault-offset c))))
            (set-counts-total! bv 1))))
      (test-equal "attached, writable" '(7 7)
        (let ((bv (shm-attach name #:layout counts #:writable? #t)))
          (u64vector-set! (counts-parts bv) 2 7)
          (list (u64vector-ref (counts-parts bv) 2)
                (bytevector-u64-native-ref (shm-attach name) 88))))
      (test-equal "names" (list name name)
        (list (shm-name bv) (shm-name (shm-attach name #:layout counts))))
      (test-equal "exists: attach" 5
        (counts-total
         (shm-create name #f #:layout counts #:exists 'attach
                     #:initialize (lambda (bv) (set-counts-total! bv 1)))))
      (test-equal "exists: error" 'EEXIST
        (kind (shm-create name #f #:layout counts)))
      (test-equal "exists: replace, by another layout" '(40 0 5)
        (list (bytevector-length
               (shm-create name #f #:layout counts-then #:exists 'replace))
              (bytevector-u32-native-ref
               (shm-attach name #:layout counts-then) 0)
              (counts-total bv)))
      (test-equal "a size that agrees, and other types" '(32 f64 (4))
        (let ((a (shm-create name 32 #:layout counts #:exists 'replace
                             #:type 'f64 #:dimensions '(4))))
          (list size (array-type a) (array-dimensions a)))))
    (shm-unlink name)
    (test-equal "call-with-shm" '(32 ENOENT)
      (list (call-with-shm name #f bytevector-length #:layout counts)
            (kind (shm-attach name))))))

(define (test-mistakes)
  (with-fresh-name name
    (test-raises "a size that does not agree"
      '(out-of-range "shm-create" "A size of 33 bytes does not agree with \
layout counts, which needs 32 bytes")
      (shm-create name 33 #:layout counts))
    (test-raises "dimensions that do not agree"
      '(out-of-range "shm-attach" "A size of 40 bytes does not agree with \
layout counts, which needs 32 bytes")
      (shm-attach name #:layout counts #:dimensions '(40)))
    (test-equal "what is no layout" '(wrong-type-arg wrong-type-arg
                                                     wrong-type-arg)
      (list (kind (shm-create name #f #:layout 'counts))
            (kind (shm-attach name #:layout "counts"))
            (kind (call-with-shm name #f identity #:layout size))))
    (test-equal "nothing is left behind" 'ENOENT (kind (shm-attach name)))
    (test-equal "nor if initialize fails" '(oops ENOENT)
      (list (kind (shm-create name #f #:layout counts
                              #:initialize (lambda (bv) (throw 'oops))))
            (kind (shm-attach name))))
    (test-equal "no object" 'ENOENT (kind (shm-attach name #:layout counts)))
    (test-equal "no object in time" #f
      (shm-attach name #:layout counts #:wait 0.01))))

(define (test-others)
  (define (refused bytes . arguments)
    (call-with-object bytes
      (lambda (name)
        (match (apply attach name arguments)
          (('format message)
           (let ((shown (object->string name)))
             (list 'format
                   (if (string-contains message shown)
                       (string-append
                        "O" (string-drop message
                                         (+ (string-contains message shown)
                                            (string-length shown))))
                       message))))
          (other other)))))
  (for-each
   (match-lambda
     ((name bytes message)
      (test-equal name (list 'format message) (refused bytes))))
   `(("an object without a layout" ,(make-bytevector object-size 1)
      ,(string-append "O has no layout" expected))
     ("a channel"
      ,(changed 0 bytevector-u64-native-set!
                (+ #x4d485347 (ash 6 32) (ash 1 48)))
      ,(string-append "O has no layout" expected))
     ("an older format"
      ,(changed 0 bytevector-u64-native-set! (+ #x4d485347 (ash 7 32)))
      ,(string-append "O has a layout of format 0, which is not known here"
                      expected))
     ("no header yet" ,(make-bytevector object-size 0)
      ,(string-append "O has no layout yet" expected
                      "; if its creator is not done, #:wait waits for that"))
     ("half a header" ,(make-bytevector 32 0)
      ,(string-append "O has no layout yet" expected
                      "; if its creator is not done, #:wait waits for that"))
     ("half a header that is not one of ours" ,(make-bytevector 32 1)
      ,(string-append "O has no layout yet" expected
                      "; if its creator is not done, #:wait waits for that"))
     ("an object that was cut"
      ,(let ((bytes (make-bytevector 95)))
         (bytevector-copy! good 0 bytes 0 95)
         bytes)
      ,(string-append "O has only 95 bytes, the header among them" expected))
     ("another hash, and no text"
      ,(let ((bytes (changed 8 bytevector-u64-native-set! 1)))
         (bytevector-u64-native-set! bytes 24 0)
         bytes)
      ,(string-append "O has layout (unknown) of 32 bytes" expected))
     ("another hash, and more text than there is"
      ,(let ((bytes (changed 8 bytevector-u64-native-set! 1)))
         (bytevector-u64-native-set! bytes 24 (- (ash 1 64) 1))
         bytes)
      ,(string-append "O has layout (unknown) of 32 bytes" expected))
     ("another size, which is nowhere"
      ,(changed 16 bytevector-u64-native-set! (- (ash 1 64) 1))
      ,(string-append "O has layout (unknown) of 18446744073709551615 bytes"
                      expected))
     ("a text that is no text"
      ,(let ((bytes (changed 8 bytevector-u64-native-set! 1)))
         (bytevector-u8-set! bytes (+ 64 size) 255)
         bytes)
      ,(string-append "O has layout (unknown) of 32 bytes" expected))
     ("a text of one line"
      ,(let ((bytes (changed 8 bytevector-u64-native-set! 1)))
         (bytevector-u64-native-set! bytes 24 3)
         bytes)
      ,(string-append "O has layout (unknown) of 32 bytes" expected))))
  (test-equal "with a wait: no header in time" '(returned #f)
    (refused (make-bytevector object-size 0) #:wait 0.01))
  (test-equal "with a wait: half a header" '(returned #f)
    (refused (make-bytevector 32 0) #:wait 0.01))
  (test-equal "with a wait: another layout is refused at once" 'format
    (car (refused (make-bytevector object-size 1) #:wait +inf.0))))

(define (test-versions)
  (define (against create-layout attach-layout)
    (with-fresh-name name
      (shm-create name #f #:layout create-layout)
      (map (lambda (attach)
             (guard (c ((shm-format-error? c)
                        (let ((message (exception-message c)))
                          (string-drop message (string-contains message " has")))))
               (attach name)))
           (list (lambda (name) (shm-attach name #:layout attach-layout))
                 (lambda (name)
                   (shm-create name #f #:layout attach-layout
                               #:exists 'attach))))))
  (define (both message) (list message message))
  (test-equal "an older version"
    (both " has layout counts of 40 bytes; layout counts of 32 bytes is \
expected; the first difference is \"8 unit u64\", where \"8 parts u64 3\" is \
expected")
    (against counts-then counts))
  (test-equal "a newer one"
    (both " has layout counts of 32 bytes; layout counts of 40 bytes is \
expected; the first difference is \"8 parts u64 3\", where \"8 unit u64\" is \
expected")
    (against counts counts-then))
  (test-assert "long lines are compared as a whole"
    (let ()
      (define long (make-string 90 #\n))
      (define module (make-fresh-user-module))
      (define (layout-with letter)
        (eval `(begin
                 (define-shm-layout long
                   (,(string->symbol (string-append long letter)) u8))
                 long)
              module))
      (module-use! module (resolve-interface '(posix-shm)))
      (string-contains (car (against (layout-with "a") (layout-with "b")))
                       "the first difference is")))
  (test-equal "another name"
    (both " has layout tally of 32 bytes; layout counts of 32 bytes is expected")
    (against tally counts)))

(define (test-waiting)
  ;; As where objects have their names before they are complete.
  (define (test-wait name make attach)
    (test-equal name (list #f 32)
      (with-fresh-name name
        (shm-create name (make 'size))
        (let* ((thread (begin-thread (bytevector-length (attach name))))
               (early (begin (usleep 5000) (thread-exited? thread)))
               (bv (begin
                     (when (< (make 'size) object-size)
                       (let ((fd (shm-open name (list O_RDWR))))
                         (shm-resize! fd object-size)
                         (close-fdes fd)))
                     (whole name))))
          (bytevector-copy! good 8 bv 8 (- object-size 8))
          (atomic-u64-set! bv 0 (bytevector-u64-native-ref good 0))
          (list early (join-thread thread))))))
  (test-wait "shm-attach waits for a header" (const object-size)
             (lambda (name) (shm-attach name #:layout counts #:wait +inf.0)))
  (test-wait "shm-attach waits for the rest of one" (const 30)
             (lambda (name) (shm-attach name #:layout counts #:wait +inf.0)))
  (test-wait "shm-create waits for a header" (const object-size)
             (lambda (name)
               (shm-create name #f #:layout counts #:exists 'attach
                           #:timeout 1000)))
  (with-fresh-name name
    (shm-create name object-size)
    (test-equal "shm-create waits no longer than it is told" #f
      (shm-create name #f #:layout counts #:exists 'attach #:timeout 0.01))
    (test-equal "shm-create waits a second if it is not told" 'format
      (kind (shm-create name #f #:layout counts #:exists 'attach))))
  (with-fresh-name name
    (close-fdes (shm-open name (list O_RDWR O_CREAT)))
    (test-equal "also for a size" 'format
      (kind (shm-create name #f #:layout counts #:exists 'attach)))))

(define (test-many-creators)
  (for-each
   (lambda (i)
     (with-fresh-name name
       (test-equal (format #f "of four that attach, one creates: ~a" i) '(#t 4)
         (list (in-processes 4
                 (lambda (i)
                   (let ((bv (shm-create name #f #:layout counts
                                         #:exists 'attach)))
                     (atomic-u32-fetch-add! bv counts-total-offset 1))))
               (counts-total (shm-attach name #:layout counts))))))
   (iota 20)))

(test-begin "layout-header")

(when-posix-shm
  (test-group "header" (test-header))
  (test-group "mistakes" (test-mistakes))
  (test-group "others" (test-others))
  (test-group "versions" (test-versions))
  (test-group "waiting" (test-waiting))
  (test-group "many creators" (test-many-creators)))

(test-end "layout-header")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; chicken.scm - the CHICKEN egg's interface, tested.

(use-modules ((ice-9 popen) #:select (open-pipe* close-pipe))
             (posix-shm chicken)
             (rnrs bytevectors)
             ((srfi srfi-1) #:select (last list-tabulate))
             (srfi srfi-64)
             ((system base compile) #:select (compile))
             (tests support))

(define builddir (or (getenv "abs_top_builddir") "."))

;; Character for character as the egg has it, but for its value, and for the
;; number, which no other process draws.
(define (the-eggs-example random)
  (let* ((str "Hello, world!")
         (path (sprintf "/shmtest~A" (random 100)))
         (fd (shm-open path (list open/rdwr open/creat))))
    (file-truncate fd (string-length str))
    (file-write fd str)
    (file-close fd)
    (let ((fd (shm-open path (list open/rdonly open/excl ))))
      (file-read fd (string-length str))
      (file-close fd)
      (shm-unlink path))))

;; In a file system of its own or in none, the operations are the same.
(define (call-with-file proc)
  (let* ((port (mkstemp! (string-append (or (getenv "TMPDIR") "/tmp")
                                        "/gshm-test-XXXXXX")))
         (file (port-filename port)))
    (dynamic-wind
      (const #t)
      (lambda () (proc (fileno port) file))
      (lambda ()
        (close-port port)
        (delete-file file)))))

(define closed-fd 9999)

(define (refusal subr errno object)
  (list 'system-error subr
        (format #f "~a: ~s" (strerror errno) object)
        errno))

(define (test-egg)
  (test-equal "the example's value" 0 (the-eggs-example (lambda (n) (getpid))))
  (test-equal "the example, with what it reads"
    '("Hello, world!" 13)
    (with-fresh-name path
      (let* ((str "Hello, world!")
             (fd (shm-open path (list open/rdwr open/creat))))
        (file-truncate fd (string-length str))
        (file-write fd str)
        (file-close fd)
        (let* ((fd (shm-open path (list open/rdonly open/excl)))
               (result (file-read fd (string-length str))))
          (file-close fd)
          result))))

  ;; The egg's own test: a producer in C, a consumer in Scheme.
  (with-fresh-name path
    (test-equal "the producer fills the object" 0
      (status:exit-val
       (system* (string-append builddir "/tests/producer") path "100" "1000")))
    (call-with-descriptor (shm-open path (list open/rdonly))
      (lambda (fd)
        (test-equal "its size" 100000 (file-size fd))
        (test-assert "the consumer reads it in blocks"
          (let next ((i 0))
            (or (= i 100)
                (let ((expected (make-bytevector 1000))
                      (block (make-bytevector 1000)))
                  (do ((j 0 (+ j 1)))
                      ((= j 1000))
                    (bytevector-u8-set! expected j
                                        (modulo (+ (* i 31) (* j 7)) 256)))
                  (and (equal? (file-read fd 1000 block) (list expected 1000))
                       (next (+ i 1)))))))
        (test-equal "and then the end of the file" 0
          (cadr (file-read fd 1000)))))))

(define (test-without)
  (for-each
   (lambda (name thunk)
     (test-equal name (list 'system-error name ENOSYS)
       (let ((raised (raised thunk)))
         (list (car raised) (cadr raised) (cadddr raised)))))
   '("shm-open" "shm-unlink")
   (list (lambda () (shm-open "/frames" (list open/rdwr)))
         (lambda () (shm-unlink "/frames")))))

(define (test-constants)
  (test-equal "flags" (list O_RDONLY O_RDWR O_CREAT O_EXCL O_TRUNC)
    (list open/rdonly open/rdwr open/creat open/excl open/trunc))
  (test-equal "permission bits"
    '(#o400 #o200 #o100 #o700 #o40 #o20 #o10 #o70 #o4 #o2 #o1 #o7)
    (list perm/irusr perm/iwusr perm/ixusr perm/irwxu
          perm/irgrp perm/iwgrp perm/ixgrp perm/irwxg
          perm/iroth perm/iwoth perm/ixoth perm/irwxo))
  (test-equal "whence" (list SEEK_SET SEEK_CUR SEEK_END)
    (list seek/set seek/cur seek/end)))

(define (test-write fd file)
  (define (contents)
    (set-file-position! fd 0)
    (let ((result (file-read fd (file-size fd))))
      (file-truncate fd 0)
      (set-file-position! fd 0)
      (car result)))

  (test-equal "a string" 5 (file-write fd "Hello"))
  (test-equal "what it wrote" "Hello" (contents))
  (test-equal "part of a string" 3 (file-write fd "Hello" 3))
  (test-equal "what it wrote of it" "Hel" (contents))
  (test-equal "a bytevector" 3 (file-write fd #vu8(72 105 255)))
  (test-equal "what it wrote of the bytevector" "Hi\xff" (contents))
  (test-equal "part of a bytevector" 2 (file-write fd #vu8(72 105 255) 2))
  (test-equal "what it wrote of its part" "Hi" (contents))
  (test-equal "nothing" 0 (file-write fd ""))
  (test-equal "none of a string" 0 (file-write fd "Hello" 0))
  (test-equal "all 256 bytes of a string" 256
    (file-write fd (list->string (map integer->char (iota 256)))))
  (test-equal "what it wrote, all of it" (iota 256)
    (map char->integer (string->list (contents))))
  (test-equal "a wide string of bytes" 1
    (file-write fd (substring "aλ" 0 1)))
  (test-equal "the bytes before a wider character" 1 (file-write fd "aλ" 1))
  (test-equal "what they are" "aa" (contents))
  (test-equal "a shared substring" 2
    (file-write fd (substring/shared "Hello" 1 3)))
  (test-equal "what it is" "el" (contents))

  (test-raises "a character that is no byte"
    '(out-of-range "file-write" "Character is not a byte, convert the string \
with string->utf8 first: #\\λ")
    (file-write fd "aλ"))
  (test-equal "wrote nothing" 0 (file-size fd))
  (test-raises "a size above the length"
    '(out-of-range "file-write" "Argument 3 out of range: 6")
    (file-write fd "Hello" 6))
  (test-raises "a negative size"
    '(out-of-range "file-write" "Argument 3 out of range: -1")
    (file-write fd "Hello" -1))
  (test-raises "a size that is no integer"
    '(wrong-type-arg "file-write"
      "Wrong type argument in position 3 (expecting exact integer): 1.5")
    (file-write fd "Hello" 1.5))
  (test-raises "a list"
    '(wrong-type-arg "file-write" "Wrong type argument in position 2 \
(expecting string or bytevector): (72)")
    (file-write fd '(72)))
  (test-raises "to what is no descriptor"
    '(wrong-type-arg "file-write"
      "Wrong type argument in position 1 (expecting exact integer): \"x\"")
    (file-write "x" "Hello"))
  (test-raises "to a closed descriptor"
    `(system-error "file-write" ,(format #f "~a: ~s (0 of 5 bytes written)"
                                         (strerror EBADF) closed-fd)
                   ,EBADF)
    (file-write closed-fd "Hello"))
  (test-assert "memory after 1,000 failures with 100,000 characters each"
    (let ((string (make-string 100000 #\a))
          (before (memory-in-use)))
      (do ((i 0 (+ i 1)))
          ((= i 1000))
        (raised (lambda () (file-write closed-fd string))))
      (< (- (memory-in-use) before) 50000000)))
  (test-raises "to a full device"
    `(system-error "file-write" ,(format #f "~a: 99 (0 of 5 bytes written)"
                                         (strerror ENOSPC))
                   ,ENOSPC)
    (let ((full (open-fdes "/dev/full" O_WRONLY)))
      (dup->fdes full 99)
      (close-fdes full)
      (call-with-descriptor 99
        (lambda (fd) (file-write fd "Hello"))))))

(define (test-read fd file)
  (define (from-start . arguments)
    (set-file-position! fd 0)
    (apply file-read fd arguments))

  (file-write fd #vu8(72 101 108 108 111 255))
  (test-equal "a new string" '("Hello\xff" 6) (from-start 6))
  (test-equal "at the end" 0 (cadr (file-read fd 6)))
  (test-equal "past the end, padded" '("Hello\xff  " 6) (from-start 8))
  (test-equal "nothing" '("" 0) (from-start 0))
  (test-equal "into a bytevector" '(#vu8(72 101 108) 3)
    (from-start 3 (make-bytevector 3 9)))
  (test-equal "into the start of a bytevector" '(#vu8(72 101 9) 2)
    (from-start 2 (make-bytevector 3 9)))
  (test-equal "into a longer bytevector" '(#vu8(72 101 108 108 111 255 9) 6)
    (from-start 7 (make-bytevector 7 9)))
  (test-equal "into a string" '("He-" 2) (from-start 2 (make-string 3 #\-)))
  (test-equal "into a longer string" '("Hello\xff--" 6)
    (from-start 8 (make-string 8 #\-)))
  (test-assert "into the very string"
    (let ((buffer (make-string 3)))
      (eq? buffer (car (from-start 3 buffer)))))
  (test-equal "into a wide string" '("Heλ" 2) (from-start 2 (string-copy "λλλ")))

  (test-equal "into a literal" 'misc-error
    (car (raised (lambda () (from-start 2 (substring/read-only "literal" 0))))))
  (test-equal "the position is where it was" 0 (file-position fd))
  (test-raises "a size above the buffer's"
    '(out-of-range "file-read" "Argument 2 out of range: 4")
    (from-start 4 (make-bytevector 3)))
  (test-raises "a negative size"
    '(out-of-range "file-read" "Argument 2 out of range: -1")
    (from-start -1))
  (test-raises "a size that no memory holds"
    `(out-of-range "file-read"
      ,(format #f "Argument 2 out of range: ~a" (ash 1 70)))
    (from-start (ash 1 70)))
  (test-raises "into a list"
    '(wrong-type-arg "file-read" "Wrong type argument in position 3 \
(expecting string or bytevector): ()")
    (from-start 4 '()))
  (test-raises "from a closed descriptor" (refusal "file-read" EBADF closed-fd)
    (file-read closed-fd 5))
  (test-raises "from a negative descriptor" (refusal "file-read" EBADF -1)
    (file-read -1 5))
  (test-raises "into a literal bytevector"
    '(wrong-type-arg "file-read" "Wrong type argument in position 3 (expecting \
mutable bytevector): a bytevector of 3 bytes")
    (file-read fd 3 ((compile '(lambda () #vu8(1 2 3)))))))

(define (test-positions fd file)
  (file-write fd "0123456789")
  (test-equal "after writing" 10 (file-position fd))
  (test-assert "set-file-position! has no value of interest"
    (unspecified? (set-file-position! fd 3)))
  (test-equal "from the start" 3 (file-position fd))
  (test-equal "reading from there" '("345" 3) (file-read fd 3))
  (set-file-position! fd -2 seek/cur)
  (test-equal "from here" 4 (file-position fd))
  (set-file-position! fd -1 seek/end)
  (test-equal "from the end" '("9" 1) (file-read fd 1))
  (set-file-position! fd 2 seek/set)
  (test-equal "seek/set" 2 (file-position fd))
  (set! (file-position fd) 7)
  (test-equal "set!" '("789" 3) (file-read fd 3))
  (test-raises "before the start" (refusal "set-file-position!" EINVAL fd)
    (set-file-position! fd -1))
  (test-raises "of a closed descriptor" (refusal "file-position" EBADF closed-fd)
    (file-position closed-fd))

  (test-equal "the size by descriptor" 10 (file-size fd))
  (test-equal "the size by name" 10 (file-size file))
  (file-truncate fd 4)
  (test-equal "cut by descriptor" 4 (file-size fd))
  (file-truncate file 6)
  (test-equal "extended by name" 6 (file-size fd))
  (set-file-position! fd 0)
  (test-equal "with zeros" '("0123\0\0" 6) (file-read fd 6))
  (test-raises "what is no descriptor"
    '(wrong-type-arg "file-position" "Wrong type (expecting exact integer): x")
    (file-position 'x))
  (test-equal "procedures say who they are"
    '("file-truncate" "file-size" "set-file-position!" "file-close")
    (map (lambda (thunk) (cadr (raised thunk)))
         (list (lambda () (file-truncate 'x 1))
               (lambda () (file-size 'x))
               (lambda () (set-file-position! fd 5 99))
               (lambda () (file-close 'x)))))
  (test-raises "cut to less than nothing" (refusal "file-truncate" EINVAL fd)
    (file-truncate fd -1))
  (test-raises "no such file" (refusal "file-size" ENOENT "/no/such")
    (file-size "/no/such"))
  (test-raises "cutting no such file" (refusal "file-truncate" ENOENT "/no/such")
    (file-truncate "/no/such" 1))
  (test-raises "past 4 GiB of a sparse file" '(returned 5000000001)
    (begin
      (file-truncate fd 5000000001)
      (set-file-position! fd 5000000001)
      (file-position fd)))
  (file-truncate fd 0))

(define (test-closing)
  (let ((fd (open-fdes "/dev/null" O_RDONLY)))
    (file-close fd)
    (test-raises "closed twice" (refusal "file-close" EBADF fd)
      (file-close fd)))
  (test-equal "also if a port has it" '(#t #t)
    (let* ((ends (pipe)) (fd (fileno (cdr ends))))
      (file-close fd)
      (let ((result (list (eof-object? (read-char (car ends)))
                          (= fd (fileno (cdr ends))))))
        (close-port (car ends))
        (false-if-exception (close-port (cdr ends)))
        result))))

(define (call-with-pipe proc)
  (let ((ends (pipe)))
    (dynamic-wind
      (const #t)
      (lambda () (proc (fileno (car ends)) (fileno (cdr ends))))
      (lambda ()
        (close-port (car ends))
        (close-port (cdr ends))))))

;; A pipe gives what it has; what is interrupted goes on.
(define (test-pipes)
  (call-with-pipe
   (lambda (from to)
     (file-write to "abc")
     (test-equal "a short read of a pipe does not wait for more"
       '("abc       " 3)
       (file-read from 10))
     (test-raises "a pipe has no position" (refusal "file-position" ESPIPE from)
       (file-position from))))

  ;; What cannot wait does not.
  (call-with-pipe
   (lambda (from to)
     (test-equal "nothing is read at once" '("" 0) (file-read from 0))
     (test-raises "reading what can only be written"
       (refusal "file-read" EBADF to)
       (file-read to 1))
     (test-equal "writing what can only be read" EBADF
       (last (raised (lambda () (file-write from "x")))))
     (fcntl from F_SETFL O_NONBLOCK)
     (fcntl to F_SETFL O_NONBLOCK)
     (test-raises "not to wait for data" (refusal "file-read" EAGAIN from)
       (file-read from 1))
     (test-raises "not to wait for room"
       `(system-error "file-write"
         ,(format #f "~a: ~s (65536 of 70000 bytes written)" (strerror EAGAIN)
                  to)
         ,EAGAIN)
       (file-write to (make-string 70000 #\a)))
     (test-equal "nothing is written at once" 0 (file-write to ""))))

  (let ((ends (socketpair PF_UNIX SOCK_DGRAM 0)))
    (test-equal "a datagram is sent whole" '(10000 10000)
      (list (file-write (fileno (car ends)) (make-string 10000 #\a))
            (cadr (file-read (fileno (cdr ends)) 20000))))
    (close-port (car ends))
    (close-port (cdr ends))))

(define (test-large-writes)
  ;; More than a pipe holds, so that write is called more than once; the child
  ;; reads it in odd pieces.
  (call-with-pipe
   (lambda (from to)
     (let ((bytes (make-bytevector 300000 7))
           (child (primitive-fork)))
       (if (zero? child)
           (let next ((left 300000))
             (when (zero? left)
               (primitive-_exit 0))
             (next (- left (cadr (file-read from (min left 777)))))))
       (test-equal "all is written in parts" 300000 (file-write to bytes))
       (test-equal "and read in parts" 0
         (status:exit-val (cdr (waitpid child))))))))

(define (test-signals)
  ;; The child signals its parent, which is in file-read, before it writes.
  (call-with-pipe
   (lambda (from to)
     (define parent (getpid))
     (define signals 0)
     (sigaction SIGUSR2 (lambda _ (set! signals (+ signals 1))))
     ;; Guile starts a thread for that, whose locks a fork must not catch.
     (kill parent SIGUSR2)
     (await (positive? signals))
     (set! signals 0)
     (let ((child (primitive-fork)))
       (when (zero? child)
         (do ((i 0 (+ i 1)))
             ((= i 5))
           (kill parent SIGUSR2)
           (await-sleep parent))
         (file-write to "abc")
         (primitive-_exit 0))
       (test-equal "signals do not end a read" '("abc" 3) (file-read from 3))
       (waitpid child)
       (await (positive? signals))
       (sigaction SIGUSR2 SIG_DFL)
       (test-assert "their handlers run" (> signals 0)))))

  ;; The first Ctrl-C counts, 20 times of 20.
  (test-equal "a signal's handler can leave a read that waits for ever"
    (make-list 20 'interrupted)
    (list-tabulate 20
      (lambda _
        (let* ((port (start-guile
                      OPEN_READ
                      '(use-modules (posix-shm chicken))
                      '(let ((ends (pipe)))
                         (catch 'interrupted
                           (lambda ()
                             (sigaction SIGINT
                               (lambda _ (throw 'interrupted)))
                             (write (getpid))
                             (newline)
                             (force-output)
                             (file-read (fileno (car ends)) 1))
                           (lambda (key) (write key))))))
               (pid (read port)))
          (await-sleep pid)
          (kill pid SIGINT)
          (let ((result (read port)))
            (close-pipe port)
            result))))))

(define (test-sprintf)
  (test-equal "~A" "a b" (sprintf "~A ~A" "a" 'b))
  (test-equal "~S" "\"a\" #\\b" (sprintf "~S ~S" "a" #\b))
  (test-equal "lower case" "a \"b\"" (sprintf "~a ~s" "a" "b"))
  (test-equal "numbers" "101 12 1f" (sprintf "~B ~O ~X" 5 10 31))
  (test-equal "~C, ~% and ~~" "x\n~" (sprintf "~C~%~~" #\x))
  (test-equal "~?" "1+2" (sprintf "~?" "~A+~A" '(1 2)))
  (test-equal "~N" "a\nb" (sprintf "a~Nb"))
  (test-equal "a tilde and white space" "ab" (sprintf "a~\n   b"))
  (test-equal "a tilde and spaces" "a1" (sprintf "a~  ~A" 1))
  (test-equal "a tilde at the end" "100~" (sprintf "100~"))
  (test-equal "~!" "ab" (sprintf "a~!b"))
  (test-equal "nothing to replace" "plain" (sprintf "plain"))
  (test-equal "arguments that nothing asks for" "plain" (sprintf "plain" 1))
  (test-raises "too few arguments"
    '(misc-error "sprintf" "Too few arguments for ~A in \"~A ~A\"")
    (sprintf "~A ~A" 1))
  (test-raises "too few arguments for ~?"
    '(misc-error "sprintf" "Too few arguments for ~? in \"~?\"")
    (sprintf "~?" "~A"))
  (test-raises "no such directive"
    '(misc-error "sprintf" "There is no directive ~Z in \"~Z\"")
    (sprintf "~Z" 1))
  (for-each
   (lambda (what object template . arguments)
     (test-raises (string-append "no " what)
       `(wrong-type-arg "sprintf"
         ,(format #f "Wrong type argument (expecting ~a): ~s" what object))
       (apply sprintf template arguments)))
   '("number" "character" "list" "string")
   '(x "a" 1 a)
   '("~X" "~C" "~?" a)
   '(x "a" "a~Ab" 1)
   '(1 1 1 1)))

(test-begin "chicken")

(test-group "egg" (if posix-shm? (test-egg) (test-without)))
(test-group "constants" (test-constants))
(test-group "file-write" (call-with-file test-write))
(test-group "file-read" (call-with-file test-read))
(test-group "positions and sizes" (call-with-file test-positions))
(test-group "file-close" (test-closing))
(test-group "pipes and signals"
  (test-pipes)
  (test-large-writes)
  (test-signals))
(test-group "sprintf" (test-sprintf))

(test-end "chicken")

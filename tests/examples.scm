;;; SPDX-License-Identifier: BSD-3-Clause
;;; examples.scm - the programs in examples/, run as users run them.

;;; The CHICKEN egg's example is in chicken.scm.

(use-modules (ice-9 binary-ports)
             (ice-9 format)
             (ice-9 ftw)
             (ice-9 match)
             (ice-9 popen)
             (ice-9 rdelim)
             (ice-9 regex)
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             (posix-shm channel)
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define examples
  (string-append (or (getenv "abs_top_srcdir") (getcwd)) "/examples/"))

(define (program-of name)
  (string-append (or (getenv "abs_top_builddir") (getcwd)) "/examples/" name))

(define detector (program-of "detector"))
(define send (program-of "send"))

;; Where Guile puts what it compiles, and pictures.
(define folder
  (and posix-shm?
       (mkdtemp (string-append (or (getenv "TMPDIR") "/tmp")
                               "/gshm-examples-XXXXXX"))))

(define (in-folder file)
  (string-append folder "/" file))

(define (find-program name)
  (search-path (string-split (or (getenv "PATH") "") #\:) name))

(define (example name . arguments)
  "Return a command that runs an example."
  `(,guile "--no-auto-compile" ,(string-append examples name) ,@arguments))

(define (says command)
  "Run COMMAND, and return what it prints and its exit status, as a list."
  (call-with-values (lambda () (apply run command)) list))

(define (with-errors command)
  "Return COMMAND, but with its errors where it prints."
  `("sh" "-c" "exec \"$@\" 2>&1" "sh" ,@command))

(define (read-to-end port)
  "Return what comes from the pipe PORT, and the exit status, as a list."
  (let ((text (get-string-all port)))
    (list text (status:exit-val (close-pipe port)))))

(define (there? name)
  "Whether there is an object NAME."
  (not (eq? 'ENOENT (kind (close-fdes (shm-open name (list O_RDONLY)))))))

(define-syntax-rule (test-or-skip reason? name expected expression)
  (begin
    (when reason? (test-skip 1))
    (test-equal name expected (if reason? #f expression))))


(define (test-misuse)
  (for-each
   (match-lambda
     ((name . arguments)
      (test-assert (format #f "~a ~s" name arguments)
        (match (says (with-errors (apply example name arguments)))
          ((text 2)
           (and (string-prefix? (string-append "Usage: guile " name) text)
                (= (string-index text #\newline)
                   (- (string-length text) 1))))
          (_ #f)))))
   '(("reader.scm")
     ("writer.scm" "/name")
     ("talk.scm")
     ("talk.scm" "name")
     ("talk.scm" "--bogus")
     ("display.scm")
     ("picture.scm")
     ("picture.scm" "a" "b")
     ("counter.scm" "--bogus")
     ("counter.scm" "-1")
     ("counter.scm" "1.5")
     ("counter.scm" "1" "2")
     ("matrix.scm" "--bogus")
     ("matrix.scm" "1")
     ("mandelbrot.scm" "--bogus")
     ("mandelbrot.scm" "-b")
     ("mandelbrot.scm" "operand")
     ("mandelbrot.scm" "--workers")
     ("mandelbrot.scm" "--workers=0")
     ("mandelbrot.scm" "--workers=1.5")
     ("mandelbrot.scm" "--workers=many")
     ("mandelbrot.scm" "--size=10")
     ("mandelbrot.scm" "--size=10x")
     ("mandelbrot.scm" "--size=0x10")
     ("mandelbrot.scm" "--size=1x2x3")
     ("mandelbrot.scm" "--output"))))

(define (test-reader-writer)
  (with-fresh-name name
    (test-assert "writer"
      (match (says (example "writer.scm" name "What is written"))
        ((text 0)
         (string-match (format #f "^process [0-9]+ wrote to ~a\n$" name) text))
        (_ #f)))
    (test-assert "reader"
      (match (says (example "reader.scm" name))
        ((text 0)
         (string-match
          (format #f "^process [0-9]+ read from ~a: What is written\n$" name)
          text))
        (_ #f)))
    (test-assert "the object is gone" (not (there? name)))))

(define (test-counter)
  (for-each
   (lambda (kills)
     (test-assert (format #f "~a kills" kills)
       (match (says (example "counter.scm" (number->string kills)))
         ((text 0)
          (match (map string->number
                      (map match:substring (list-matches "[0-9]+" text)))
            (((? (lambda (n) (= n kills))) (? (lambda (n) (<= n kills)))
              said total)
             (and (<= said total (+ said kills))
                  (string-suffix? "\nNothing was lost.\n" text)))
            (_ #f)))
         (_ #f))))
   '(0 1 10)))

;; In a Guile that ends, however many of its children are killed.
(define (test-jobs)
  (for-each
   (lambda (i)
     (test-equal (format #f "each job is done, whichever worker is killed: ~a" i)
       (list (format #f "The results of 1 to 100: ~a\n"
                     (map (lambda (n) (* n n)) (iota 100 1)))
             0)
       (says (example "jobs.scm"))))
   (iota 3)))

(define (test-telemetry)
  (test-assert "all readings, those that are still there, and the newest"
    (match (says (example "telemetry.scm"))
      ((text 0)
       (and (string-contains text "early: 300 received, 0 missed\n")
            (string-match "late: [0-9]+ received, 0 missed\n" text)
            (string-contains text "slow: saw the end\n")))
      (_ #f))))

(define (test-service)
  (test-assert "a server and three clients, one of them killed"
    (match (says (example "service.scm"))
      ((text 0)
       (every (lambda (line) (string-contains text line))
                   '("squares: (1 4 9)\n" "squares: (16)\n"
                     "squares: (25 36 49)\n" "7 requests served\n")))
      (_ #f))))

(define (test-matrix)
  (test-equal "an odd number of rows"
    '("The last corner: ((4.0 6.0) (6.0 9.0))\nThe sum of all: 36\n" 0)
    (says (example "matrix.scm" "3")))
  (test-equal "many"
    '("The last corner: ((39601.0 39800.0) (39800.0 40000.0))
The sum of all: 404010000\n" 0)
    (says (example "matrix.scm" "200"))))


;;; C and Python.

(define python (find-python))

(define-shm-layout video
  (lock mutex)
  (frame u32) (x u32) (y u32)
  (found semaphore)
  (frames (channel 32768)))

(define (text-of file)
  (call-with-input-file (string-append examples file) get-string-all))

(define (test-video)
  (test-assert "video.h is what the layout returns"
    (string-suffix? (shm-layout->c video) (text-of "video.h")))
  (test-assert "video.py is what the layout returns"
    (string-suffix? (shm-layout->ctypes video) (text-of "video.py")))
  (test-assert "the layout is that of display.scm"
    (string-contains (text-of "display.scm") "(frames (channel 32768))"))
  (test-or-skip (not python) "a camera, a detector and a display" '(20 () 0)
    (match (says (example "display.scm" detector))
      ((text status)
       (let ((pictures
              (map (lambda (line)
                     (map string->number
                          (map match:substring (list-matches "[0-9]+" line))))
                   (remove string-null? (string-split text #\newline)))))
         (list (length pictures)
               (remove (match-lambda
                         ((n x y) (and (= x (modulo (* 7 n) 64))
                                       (= y (modulo (* 3 n) 48)))))
                       pictures)
               status)))))
  (test-equal "a detector without an object"
    '("detector: /none: there is no such object\n" 1)
    (says (with-errors (list detector "/none"))))
  (with-fresh-name name
    (shm-create name 100)
    (test-equal "a detector with another object"
      (list (format #f "detector: ~a: an argument is wrong, or there is no such \
structure in this memory\n" name) 1)
      (says (with-errors (list detector name))))))

(define (test-send)
  (with-fresh-name name
    (let ((ch (shm-channel-create name 1000)))
      (test-equal "a message from C" '(("" 0) "from C")
        (let ((said (says (list send name "from C"))))
          (list said (utf8->string (shm-channel-receive! ch #:timeout 0)))))
      (test-or-skip (not python) "a message from Python"
                    '(("" 0) "from Python")
        (let ((said (says (list python (string-append examples "send.py") name
                                "from Python"))))
          (list said (utf8->string (shm-channel-receive! ch #:timeout 0)))))))
  (test-equal "no channel" '("send: /none: there is no such object\n" 1)
    (says (with-errors (list send "/none" "x")))))

(define python-folder (and=> (find-python "numpy") dirname))

(define (test-numpy)
  (define file (in-folder "picture.pgm"))
  (test-or-skip (not (and python-folder (file-exists? "/dev/shm")))
                "a picture shared with numpy"
                '(("Python blurred it 8 times.\n" 0) 60015 255 (8 255))
    (let* ((said (says `("env" ,(string-append "PATH=" python-folder ":"
                                               (getenv "PATH"))
                         ,@(example "picture.scm" file))))
           (pgm (call-with-input-file file get-bytevector-all #:binary #t))
           (pixels (map (lambda (k) (bytevector-u8-ref pgm k))
                        (iota 60000 15))))
      (list said (bytevector-length pgm)
            ;; In the middle, and all.
            (list-ref pixels (+ (* 100 300) 150))
            (list (apply min pixels) (apply max pixels))))))


;;; Two terminals.

(define (start-talker name . lines)
  "Start a talker that says LINES, and return a pipe on which it prints."
  (apply open-pipe* OPEN_READ "sh" "-c"
         "lines=$1; shift; printf \"$lines\" | \"$@\"" "sh"
         (string-concatenate (map (lambda (line) (string-append line "\\n"))
                                  lines))
         (example "talk.scm" name)))

(define (test-talk)
  (with-fresh-name name
    (let* ((first (start-talker name "Hello." "Is \"this\" heard?"))
           (greeting (read-line first)))
      (test-equal "the first" "(You are the first.)" greeting)
      (let ((second (start-talker name "It is.")))
        (test-equal "the second hears the first"
          '("(You are the second.)
> Hello.
> Is \"this\" heard?
(The other side has no more to say.)\n" 0)
          (read-to-end second))
        (test-equal "the first hears the second"
          '("> It is.\n(The other side has no more to say.)\n" 0)
          (read-to-end first))))
    (test-assert "the object is gone" (not (there? name)))
    (test-equal "one who has it all said, and is alone, by Ctrl-C" 130
      (let ((pid (start-process
                  (lambda ()
                    (apply execlp guile (example "talk.scm" name))))))
        (shm-unmap! (shm-attach name #:wait 600))
        (kill pid SIGINT)
        (status:exit-val (cdr (waitpid pid)))))
    (test-assert "its object is gone" (not (there? name)))))


;;; The picture.

(define printed
  (string-append "^((process [0-9]+ painted [0-9]+ rows?\n)+)"
                 "the picture, [0-9]+x([0-9]+), is in (.*)\n$"))

(define (painted command file)
  "Run COMMAND, which paints FILE.  Return how many processes painted all rows,
and the bytes of FILE."
  (match (says command)
    ((text 0)
     (let* ((found (string-match printed text))
            (rows (map (lambda (m) (string->number (match:substring m 1)))
                       (list-matches "painted ([0-9]+)" text))))
       (and found
            (string=? file (match:substring found 4))
            (= (apply + rows) (string->number (match:substring found 3)))
            (list (length rows)
                  (call-with-input-file file get-bytevector-all
                                        #:binary #t)))))
    (other other)))

(define (paint n width height file)
  (painted (example "mandelbrot.scm"
                    (format #f "--workers=~a" n)
                    (format #f "--size=~ax~a" width height)
                    (string-append "--output=" file))
           file))

(define (slice bv start count)
  (let ((part (make-bytevector count)))
    (bytevector-copy! bv start part 0 count)
    part))

;; As long as it has only one block: what comes before the pixels.
(define (pixel png width x y)
  (bytevector->u8-list
   (slice png (+ 48 (* y (+ 1 (* 3 width))) 1 (* 3 x)) 3)))

(define (children pid)
  (filter (lambda (child)
            (and=> (false-if-exception
                    (call-with-input-file (format #f "/proc/~a/status" child)
                      get-string-all))
                   (let ((parent (format #f "\nPPid:\t~a\n" pid)))
                     (lambda (status) (string-contains status parent)))))
          (map string->number (or (scandir "/proc" string->number) '()))))

(define (test-picture)
  (let ((png (match (paint 3 32 20 (in-folder "3.png"))
               ((3 png) png)
               (_ (make-bytevector 2100 0)))))
    (test-equal "its size" (+ 8 25 12 2 5 (* 20 97) 4 12)
                (bytevector-length png))
    (test-equal "its head"
      #vu8(#x89 #x50 #x4e #x47 13 10 26 10
           0 0 0 13 #x49 #x48 #x44 #x52 0 0 0 32 0 0 0 20 8 2 0 0 0)
      (slice png 0 29))
    (test-equal "its end"
      #vu8(0 0 0 0 #x49 #x45 #x4e #x44 #xae #x42 #x60 #x82)
      (slice png (- (bytevector-length png) 12) 12))
    (test-equal "black in the middle" '(0 0 0) (pixel png 32 18 10))
    (test-assert "blue in the corner"
      (match (pixel png 32 0 0)
        ((red green blue) (< 20 red green blue 255))))
    (test-assert "the lower half is like the upper one"
      (every (lambda (y)
               (every (lambda (x)
                        (equal? (pixel png 32 x y) (pixel png 32 x (- 19 y))))
                      (iota 32)))
             (iota 10)))
    (test-equal "one worker paints the same" (list 1 png)
      (paint 1 32 20 (in-folder "1.png"))))
  (test-assert "a file that cannot be written"
    (match (says (with-errors (example "mandelbrot.scm" "--size=2x2"
                                       "--output=/nowhere/mandelbrot.png")))
      ((text 1)
       (string-suffix?
        (format #f "\nmandelbrot.scm: /nowhere/mandelbrot.png: ~a\n"
                (strerror ENOENT))
        text))
      (_ #f))))

;; What a reader of PNGs finds, as Python has all for it: the size of the rows,
;; and what is in the middle.
(define read-png
  "
import struct, sys, zlib
png = open(sys.argv[1], 'rb').read()
at, data = 8, b''
while at < len(png):
    size, kind = struct.unpack('>I4s', png[at : at + 8])
    content = png[at + 8 : at + 8 + size]
    crc, = struct.unpack('>I', png[at + 8 + size : at + 12 + size])
    assert crc == zlib.crc32(kind + content)
    data += content if kind == b'IDAT' else b''
    at += 12 + size
rows = zlib.decompress(data)
print(len(rows), *rows[61 * 601 + 300 : 61 * 601 + 306])
")

(define (test-compiled)
  ;; As guile does by default, with more rows than one block has room for.
  (let ((file (in-folder "compiled.png")))
    (test-equal "compiled" (list 2 (+ 8 25 12 2 5 5 (* 120 601) 4 12))
      (match (painted (list "env" "GUILE_AUTO_COMPILE=1" guile
                            (string-append examples "mandelbrot.scm")
                            "--workers=2" "--size=200x120"
                            (string-append "--output=" file))
                      file)
        ((n png) (list n (bytevector-length png)))
        (other other)))
    (test-or-skip (not python)
                  "as others read it" '("72120 0 0 0 0 0 0\n" 0)
                  ;; Without a library that looks for leaks of ours.
                  (says (list "env" "-u" "LD_PRELOAD"
                              python "-c" read-png file)))))

(define (test-killed-worker)
  (let* ((port (apply open-pipe* OPEN_READ "sh" "-c"
                      "echo $$; exec \"$@\" 2>&1" "sh"
                      (example "mandelbrot.scm" "--size=4000x4000"
                               (string-append "--output="
                                              (in-folder "never.png")))))
         (pid (string->number (read-line port)))
         (worker (let again ()
                   (match (children pid)
                     (() (usleep 1000) (again))
                     ((child . _) child)))))
    (kill worker SIGKILL)
    (test-equal "the parent says so"
      (list (format #f "mandelbrot.scm: worker ~a was killed by signal 9\n"
                    worker)
            1)
      (read-to-end port))
    (test-assert "there is no picture"
      (not (file-exists? (in-folder "never.png"))))))

(test-begin "examples")

(when-posix-shm
  (let ((cache (getenv "XDG_CACHE_HOME")))
    (dynamic-wind
      (lambda () (setenv "XDG_CACHE_HOME" folder))
      (lambda ()
        (test-group "misuse" (test-misuse))
        (test-group "reader and writer" (test-reader-writer))
        (test-group "counter" (test-counter))
        (test-group "jobs" (test-jobs))
        (test-group "matrix" (test-matrix))
        (test-group "video" (test-video))
        (test-group "send" (test-send))
        (test-group "numpy" (test-numpy))
        (test-group "talk" (test-talk))
        (test-group "telemetry" (test-telemetry))
        (test-group "service" (test-service))
        (test-group "picture" (test-picture))
        (test-group "compiled" (test-compiled))
        (when (file-exists? "/proc/self/status")
          (test-group "killed worker" (test-killed-worker))))
      (lambda ()
        (setenv "XDG_CACHE_HOME" cache)
        (system* "rm" "-rf" folder)))))

(test-end "examples")

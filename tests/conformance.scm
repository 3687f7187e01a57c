;;; SPDX-License-Identifier: BSD-3-Clause
;;; conformance.scm - POSIX's assertions on shm_open and shm_unlink, tested.

;;; Each test bears the words of POSIX.1-2017 (System Interfaces, shm_open and
;;; shm_unlink) that it tests, shortened.

(use-modules (ice-9 match)
             ((ice-9 popen) #:select (close-pipe))
             ((ice-9 textual-ports) #:select (get-string-all))
             (posix-shm)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests support))

(define make (list O_RDWR O_CREAT O_EXCL))

(define (size fd)
  (stat:size (stat fd)))

(define (object fd)
  "Return what tells the object behind FD from every other."
  (let ((status (stat fd)))
    (list (stat:dev status) (stat:ino status))))

(define (write-string fd string)
  (let ((port (fdopen (dup->fdes fd) "w")))
    (seek port 0 SEEK_SET)
    (display string port)
    (close-port port)))

(define (read-string fd)
  (let ((port (fdopen (dup->fdes fd) "r")))
    (seek port 0 SEEK_SET)
    (let ((string (get-string-all port)))
      (close-port port)
      string)))

(define-syntax-rule (with-open (fd expression) body ...)
  (call-with-descriptor expression (lambda (fd) body ...)))

(define (test-descriptors)
  (test-assert "a descriptor that is the lowest numbered not open"
    (with-fresh-name name
      ;; Of three neighbours the middle one is closed, and is lowest.
      (let* ((fds (list-tabulate 3 (lambda _ (open-fdes "/dev/null" O_RDONLY))))
             (lowest (apply min fds)))
        (close-fdes lowest)
        (with-open (fd (shm-open name make))
          (for-each close-fdes (delete lowest fds))
          (= fd lowest)))))

  (test-assert "FD_CLOEXEC is set"
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (= FD_CLOEXEC (logand FD_CLOEXEC (fcntl fd F_GETFD))))))

  (test-equal "the descriptor does not survive exec" '(#f)
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (let ((child (primitive-fork)))
          (when (zero? child)
            (execlp "test" "test" "-e" (format #f "/proc/self/fd/~a" fd)))
          (list (zero? (status:exit-val (cdr (waitpid child)))))))))

  (test-equal "the open file description is new: offsets are not shared"
    '("abc" "abc")
    (with-fresh-name name
      (with-open (one (shm-open name make))
        (with-open (other (shm-open name (list O_RDWR)))
          (write-string one "abc")
          (list (read-string one) (read-string other))))))

  (test-equal "O_RDONLY: open for read access only" EBADF
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (with-open (reader (shm-open name (list O_RDONLY)))
          (last (raised (lambda ()
                          ((@ (posix-shm chicken) file-write) reader "x")))))))))

(define (test-state)
  (test-equal "the state persists until unlinked and all references are gone"
    '("kept" "kept" "kept")
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (truncate-file fd 4)
        (write-string fd "kept"))
      ;; With no descriptor, by another one, and after unlinking.
      (with-open (fd (shm-open name (list O_RDWR)))
        (with-open (other (shm-open name (list O_RDONLY)))
          (let ((before (read-string fd)))
            (shm-unlink name)
            (list before (read-string fd) (read-string other)))))))

  (test-equal "and after the process that made it has ended" "kept"
    (with-fresh-name name
      (eval-in-new-guile
       `(let ((port (fdopen (shm-open ,name (list O_RDWR O_CREAT)) "w")))
          (display "kept" port)
          (close-port port)
          (write #t)))
      (with-open (fd (shm-open name (list O_RDONLY)))
        (read-string fd))))

  (test-equal "a new object has a size of zero" 0
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (size fd))))

  (test-equal "all bytes added by extension are 0" '(0)
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (truncate-file fd 100000)
        (delete-duplicates (map char->integer
                                (string->list (read-string fd))))))))

(define (test-creation)
  (test-equal "O_CREAT has no effect on an object that exists, nor its mode"
    '("kept" #o640)
    (with-umask 0
      (with-fresh-name name
        (with-open (fd (shm-open name make #o640))
          (write-string fd "kept"))
        (with-open (fd (shm-open name (list O_RDWR O_CREAT) #o777))
          (list (read-string fd) (stat:perms (stat fd)))))))

  (test-equal "the permission bits are those of mode less the umask" #o640
    (with-umask #o027
      (with-fresh-name name
        (with-open (fd (shm-open name make #o666))
          (stat:perms (stat fd))))))

  (test-equal "the mode does not limit the descriptor that made the object"
    "written"
    (with-fresh-name name
      (with-open (fd (shm-open name make 0))
        (write-string fd "written")
        (read-string fd))))

  (test-equal "owner and group are the effective ones of the process"
    (list (geteuid) (getegid))
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (let ((status (stat fd)))
          (list (stat:uid status) (stat:gid status))))))

  (unless root?
    (test-skip 1))
  (test-equal "also where these are not the real ones" '(65534 65533)
    (with-fresh-name name
      (eval-in-new-guile
       '(setegid 65533)
       '(seteuid 65534)
       `(let* ((fd (shm-open ,name (list O_RDWR O_CREAT O_EXCL)))
               (status (stat fd)))
          (write (list (stat:uid status) (stat:gid status))))
       '(seteuid 0))))

  (test-equal "O_EXCL: of 8 processes that race 1 makes it, 20 times of 20"
    (make-list 20 '(EEXIST EEXIST EEXIST EEXIST EEXIST EEXIST EEXIST made))
    (race 8 (list-tabulate 20 (lambda _ (fresh-name))))))

(define (race processes names)
  "Let so many processes make each of NAMES at the same time, and return what
became of each name."
  (define expression
    ;; Each waits for the line that names the object.
    '(let next ()
       (let ((name (read)))
         (unless (eof-object? name)
           (write (catch 'system-error
                    (lambda ()
                      (close-fdes (shm-open name (list O_RDWR O_CREAT O_EXCL)))
                      'made)
                    (lambda arguments
                      (if (= (system-error-errno arguments) EEXIST)
                          'EEXIST
                          arguments))))
           (newline)
           (force-output)
           (next)))))
  (let ((racers (list-tabulate processes
                               (lambda _
                                 (start-guile OPEN_BOTH expression)))))
    (dynamic-wind
      (const #t)
      (lambda ()
        (map (lambda (name)
               (for-each (lambda (racer)
                           (write name racer)
                           (newline racer))
                         racers)
               (for-each force-output racers)
               (let ((results (map read racers)))
                 (shm-unlink name)
                 (sort results
                       (lambda (a b)
                         (string<? (symbol->string a) (symbol->string b))))))
             names))
      (lambda () (for-each close-pipe racers)))))

(define (test-truncation)
  (test-equal "O_TRUNC with O_RDWR: size 0, mode and owner unchanged"
    (list 0 #o640 (geteuid) (getegid))
    (with-umask 0
      (with-fresh-name name
        (with-open (fd (shm-open name make #o640))
          (write-string fd "gone"))
        (with-open (fd (shm-open name (list O_RDWR O_TRUNC)))
          (let ((status (stat fd)))
            (list (stat:size status) (stat:perms status)
                  (stat:uid status) (stat:gid status)))))))

  (test-equal "O_TRUNC and O_CREAT: what is made new has size 0" 0
    (with-fresh-name name
      (with-open (fd (shm-open name (list O_RDWR O_CREAT O_TRUNC)))
        (size fd)))))

(define (test-unlinking)
  (test-equal "the name is removed: it can not be opened" ENOENT
    (with-fresh-name name
      (close-fdes (shm-open name make))
      (shm-unlink name)
      (last (raised (lambda () (shm-open name (list O_RDWR)))))))

  (test-equal "descriptors that are open keep the object" '(5 "still")
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (shm-unlink name)
        (write-string fd "still")
        (list (size fd) (read-string fd)))))

  (test-assert "the name reused is a new object, old descriptors keep the old"
    (with-fresh-name name
      (with-open (old (shm-open name make))
        (write-string old "old")
        (shm-unlink name)
        (with-open (new (shm-open name make))
          (write-string new "another")
          (and (not (equal? (object old) (object new)))
               (equal? (read-string old) "old")
               (equal? (read-string new) "another"))))))

  (test-equal "returns zero" 0
    (with-fresh-name name
      (close-fdes (shm-open name make))
      (shm-unlink name)))

  (test-equal "a call that fails changes nothing" "kept"
    (with-fresh-name name
      (with-open (fd (shm-open name make))
        (write-string fd "kept")
        (raised (lambda () (shm-unlink (string-append name "/"))))
        (raised (lambda () (shm-open name make)))
        (raised (lambda () (shm-open name (list O_RDWR O_TRUNC O_APPEND))))
        (with-open (again (shm-open name (list O_RDONLY)))
          (read-string again))))))

(test-begin "conformance")

(when-posix-shm
  (test-group "descriptors" (test-descriptors))
  (test-group "state" (test-state))
  (test-group "creation" (test-creation))
  (test-group "truncation" (test-truncation))
  (test-group "unlinking" (test-unlinking)))

(test-end "conformance")

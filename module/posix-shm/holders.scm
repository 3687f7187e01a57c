;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm holders) - objects, and the processes that hold them.

(define-module (posix-shm holders)
  #:use-module (ice-9 ftw)
  #:use-module (ice-9 match)
  #:use-module (ice-9 rdelim)
  #:use-module ((ice-9 textual-ports) #:select (get-string-all))
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm object)
  #:use-module ((posix-shm primitives) #:select (%shm-list))
  #:use-module (srfi srfi-1)
  #:use-module (srfi srfi-9)
  #:export (;; Objects.
            all-objects
            object-named
            object-name
            object-size
            object-used
            object-mode
            object-user
            object-group
            object-changed

            ;; Holders.
            all-holders
            all-holders-if-known
            call-with-process-file
            holder-command
            holder-pid
            holders-of
            maps?
            opened?))


;;; Objects.

(define-record-type <object>
  (make-object name size used mode user group changed device inode)
  object?
  (name object-name)
  (size object-size)
  (used object-used)
  (mode object-mode)
  (user object-user)
  (group object-group)
  (changed object-changed)
  (device object-device)
  (inode object-inode))

(define (all-objects)
  (sort (map (lambda (entry) (apply make-object entry)) (%shm-list))
        (lambda (a b) (string<? (object-name a) (object-name b)))))

(define (object-named name)
  "Return the object NAME, which this user need not be allowed to open where
objects can be listed."
  (catch 'system-error
    (lambda ()
      (let* ((fd (shm-open name (list O_RDONLY)))
             (s (stat fd)))
        (close-fdes fd)
        (make-object name (stat:size s) (* 512 (stat:blocks s)) (stat:perms s)
                     (stat:uid s) (stat:gid s) (stat:mtime s) (stat:dev s)
                     (stat:ino s))))
    (lambda arguments
      (or (and (= EACCES (system-error-errno arguments))
               (find (lambda (object) (string=? name (object-name object)))
                     (or (false-if-exception (all-objects)) '())))
          (apply throw arguments)))))

(define (identity-of object)
  (cons (object-device object) (object-inode object)))


;;; Who holds them, as Linux tells.

;; Of one process: the identities of objects that it maps, and those that it
;; has open.
(define-record-type <holder>
  (make-holder pid command mapped open)
  holder?
  (pid holder-pid)
  (command holder-command)
  (mapped holder-mapped)
  (open holder-open))

(define (process-file pid file)
  (format #f "/proc/~a/~a" pid file))

(define* (call-with-process-file pid file proc
                                 #:optional (encoding "ISO-8859-1"))
  (call-with-input-file (process-file pid file) proc #:encoding encoding))

(define (command-of pid)
  (string-map (lambda (c) (if (char=? c #\nul) #\space c))
              (string-trim-right
               (call-with-process-file pid "cmdline" get-string-all "UTF-8")
               #\nul)))

;; How the kernel makes one number of the two of a device.
(define (device-number major minor)
  (logior (logand minor #xff) (ash (logand major #xfff) 8)
          (ash (logand minor (lognot #xff)) 12)
          (ash (logand major (lognot #xfff)) 32)))

(define (mapped-by pid)
  (call-with-process-file pid "maps"
    (lambda (port)
      (let next ((found '()))
        (match (read-line port)
          ((? eof-object?) (delete-duplicates found))
          (line
           (if (string-contains line " /dev/shm/")
               (match (string-tokenize line)
                 ((_ _ _ device inode . _)
                  (match (string-split device #\:)
                    ((major minor)
                     (next (alist-cons
                            (device-number (string->number major 16)
                                           (string->number minor 16))
                            (string->number inode)
                            found))))))
               (next found))))))))

(define (open-in pid)
  (define folder (process-file pid "fd"))
  (delete-duplicates
   (filter-map (lambda (fd)
                 (define file (string-append folder "/" fd))
                 (define target (false-if-exception (readlink file)))
                 (and (string-prefix? "/dev/shm/" (or target ""))
                      (and=> (false-if-exception (stat file))
                             (lambda (s) (cons (stat:dev s) (stat:ino s))))))
               (or (scandir folder string->number)
                   (raise-system-error (if (file-exists? folder) EACCES ENOENT)
                                       folder)))))

(define (all-holders)
  "Return the processes that map objects or have some open, and whether that is
all of them: other users' processes need not let us look."
  (let ((pids (sort (filter-map string->number (or (scandir "/proc") '())) <)))
    (when (null? pids)
      (scm-error 'system-error "guild shm" "~A"
                 '("this system does not tell who holds an object")
                 (list ENOSYS)))
    ;; The first process is always there, and hidden where others are, too.
    (let next ((pids pids) (holders '()) (all? (= 1 (car pids))))
      (match pids
        (() (values (reverse holders) all?))
        ((pid . rest)
         (match (catch 'system-error
                  (lambda ()
                    (make-holder pid (command-of pid) (mapped-by pid)
                                 (open-in pid)))
                  (lambda arguments (system-error-errno arguments)))
           ((? holder? holder)
            (next rest
                  (if (and (null? (holder-mapped holder))
                           (null? (holder-open holder)))
                      holders
                      (cons holder holders))
                  all?))
           (err (next rest holders (and all? (not (= err EACCES)))))))))))

(define (maps? holder object)
  (->bool (member (identity-of object) (holder-mapped holder))))

(define (opened? holder object)
  (->bool (member (identity-of object) (holder-open holder))))

(define (holders-of object holders)
  (filter (lambda (holder) (or (maps? holder object) (opened? holder object)))
          holders))

;; Where the system does not tell who holds what, the rest still can be told.
(define (all-holders-if-known)
  (catch 'system-error
    all-holders
    (lambda _ (values #f #f))))

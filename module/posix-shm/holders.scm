;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm holders) - objects, and the processes that use them.

(define-module (posix-shm holders)
  #:use-module (ice-9 ftw)
  #:use-module (ice-9 match)
  #:use-module (ice-9 rdelim)
  #:use-module ((ice-9 textual-ports) #:select (get-string-all))
  #:use-module (posix-shm contents)
  #:use-module (posix-shm exceptions)
  #:use-module (posix-shm object)
  #:use-module ((posix-shm primitives) #:select (%shm-list %shm-unused?))
  #:use-module (srfi srfi-1)
  #:use-module (srfi srfi-9)
  #:use-module ((system foreign)
                #:select (int pointer->procedure string->pointer))
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
            object-kind
            semaphore?
            object-contents

            ;; Unused objects.
            matches-any?
            unused?
            remove-unused!

            ;; Holders.
            all-holders
            holders-of
            holder-pid
            holder-command
            holder-has-open?
            holder-maps?))


;;; Objects.

;; CONTENTS is a promise of what contents-of returns.
(define-record-type <object>
  (make-object-with contents name size used mode user group changed device
                    inode)
  object?
  (contents object-promise)
  (name object-name)
  (size object-size)
  (used object-used)
  (mode object-mode)
  (user object-user)
  (group object-group)
  (changed object-changed)
  (device object-device)
  (inode object-inode))

(define (make-object name . rest)
  (apply make-object-with (delay (contents-of name)) name rest))

(define (object-contents object)
  (force (object-promise object)))

(define (all-objects)
  "Return all objects and named semaphores, sorted by name."
  (sort (map (lambda (entry) (apply make-object entry)) (%shm-list))
        (lambda (a b) (string<? (object-name a) (object-name b)))))

(define (object-named name)
  "Return the object NAME.  If the system can list objects, this user needs no
permission to open it."
  (catch 'system-error
    (lambda ()
      (without-asyncs
       (let ((fd (shm-open name (list O_RDONLY))))
         (dynamic-wind
           (const #t)
           (lambda ()
             (let ((s (stat fd)))
               (make-object name (stat:size s) (* 512 (stat:blocks s))
                            (stat:perms s) (stat:uid s) (stat:gid s)
                            (stat:mtime s) (stat:dev s) (stat:ino s))))
           (lambda ()
             (close-fdes fd))))))
    (lambda arguments
      (or (and (= EACCES (system-error-errno arguments))
               (find (lambda (object) (string=? name (object-name object)))
                     (or (false-if-exception (all-objects)) '())))
          (apply throw arguments)))))

(define (object-identity object)
  (cons (object-device object) (object-inode object)))

(define (semaphore? object)
  (string-prefix? "/sem." (object-name object)))

(define (object-kind object)
  "Return what OBJECT is, a string: glibc's named semaphores are objects, too."
  (cond ((semaphore? object) "semaphore")
        ((object-contents object) => car)
        (else "object")))


;;; Unused objects.

(define fnmatch
  (let ((pointer (false-if-exception (dynamic-func "fnmatch" (dynamic-link)))))
    (and pointer
         (pointer->procedure int pointer (list '* '* int)))))

(define (matches-any? name patterns)
  "Return whether one of PATTERNS, those of fnmatch(3), matches NAME."
  (any (lambda (pattern)
         (zero? (fnmatch (string->pointer pattern "UTF-8")
                         (string->pointer name "UTF-8")
                         0)))
       patterns))

(define (check-unused object remove?)
  (%shm-unused? (object-name object) (object-device object)
                (object-inode object) remove?))

(define (unused? object)
  "Return whether no process of any namespace maps OBJECT or has it open.  If
this is not known, return #f."
  (check-unused object #f))

(define (remove-unused! object)
  "Unlink OBJECT if it is unused; return whether it was."
  (check-unused object #t))


;;; Holders, from the files of proc(5).

;; A process, the identities of the objects that it maps, and of those that it
;; has open.  An identity is a pair of a device and an inode.
(define-record-type <holder>
  (make-holder pid command mapped open)
  holder?
  (pid holder-pid)
  (command holder-command)
  (mapped holder-mapped)
  (open holder-open))

(define (process-file pid file)
  (format #f "/proc/~a/~a" pid file))

(define (call-with-process-file pid file encoding proc)
  (call-with-input-file (process-file pid file) proc #:encoding encoding))

(define (command-of pid)
  (string-map (lambda (c) (if (char=? c #\nul) #\space c))
              (string-trim-right
               (call-with-process-file pid "cmdline" "UTF-8" get-string-all)
               #\nul)))

(define (device-number major minor)
  "Return the st_dev of stat(2) for MAJOR and MINOR, as makedev(3) does."
  (logior (logand minor #xff) (ash (logand major #xfff) 8)
          (ash (logand minor (lognot #xff)) 12)
          (ash (logand major (lognot #xfff)) 32)))

(define (objects-mapped-by pid)
  (call-with-process-file pid "maps" "ISO-8859-1"
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

(define (objects-open-in pid)
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

(define (try-process pid)
  "Return a holder, which may hold nothing, for the process PID, or the errno
with which the system refuses to tell."
  (catch 'system-error
    (lambda ()
      (make-holder pid (command-of pid) (objects-mapped-by pid)
                   (objects-open-in pid)))
    (lambda arguments (system-error-errno arguments))))

;; That of the system's first PID namespace, where /proc shows all processes:
;; PROC_PID_INIT_INO.
(define first-namespace #xeffffffc)

(define (sees-all-processes?)
  (eqv? first-namespace
        (false-if-exception (stat:ino (stat "/proc/self/ns/pid")))))

(define (all-holders)
  "Return two values: the processes that map objects or have them open, and #t
if those are all, #f if processes of other users or of other PID namespaces may
be missing.  Return #f and #f where the system has no proc(5)."
  (match (sort (filter-map string->number (or (scandir "/proc") '())) <)
    (() (values #f #f))
    (pids
     (let ((found (map try-process pids)))
       (values (filter (match-lambda
                         (($ <holder> _ _ mapped open)
                          (or (pair? mapped) (pair? open)))
                         (_ #f))
                       found)
               ;; If /proc hides processes of other users, it hides 1, too, in
               ;; the first namespace.
               (and (sees-all-processes?)
                    (= 1 (car pids))
                    (not (memv EACCES found))))))))

(define (holder-maps? holder object)
  (->bool (member (object-identity object) (holder-mapped holder))))

(define (holder-has-open? holder object)
  (->bool (member (object-identity object) (holder-open holder))))

(define (holders-of object holders)
  "Return those of HOLDERS that map OBJECT or have it open."
  (filter (lambda (holder)
            (or (holder-maps? holder object) (holder-has-open? holder object)))
          holders))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm create) - new objects, which get their names once complete.

(define-module (posix-shm create)
  #:use-module (posix-shm object)
  #:use-module (posix-shm primitives)
  #:use-module (srfi srfi-9)
  #:export (with-cleanup

            ;; Drafts.
            open-draft
            draft-fd
            draft-published?
            publish-draft!
            discard-draft!))

;; Evaluate BODY, and CLEAN-UP however BODY is left.  CLEAN-UP is evaluated
;; twice, in case a signal's handler leaves the first evaluation before asyncs
;; are blocked; so it must do nothing the second time.
(define-syntax-rule (with-cleanup clean-up body ...)
  (let ((clean (lambda () (without-asyncs clean-up))))
    (dynamic-wind
      (const #t)
      (lambda ()
        (dynamic-wind
          (const #t)
          (lambda () body ...)
          clean))
      clean)))

;; A new object, of the process PID.  OWN-NAME is the name that it has before it
;; is published, or #f: it has one on systems without objects without names, and
;; while it replaces another object.  FD is #f after it was discarded.
(define-record-type <draft>
  (make-draft name pid replace? fd own-name published?)
  draft?
  (name draft-name)
  (pid draft-pid)
  (replace? draft-replace?)
  (fd draft-fd set-draft-fd!)
  (own-name draft-own-name set-draft-own-name!)
  (published? draft-published? set-draft-published!))

(define* (open-draft name mode #:key replace? early?)
  "Create an object, with permission bits MODE, that is to be published as
NAME, in place of another one if REPLACE?; if NAME is #f, an anonymous one.  If
EARLY?, raise EEXIST now, not only then, if NAME is taken.  Call this with
asyncs blocked."
  (define (open-named)
    (let ((own-name (if replace? (shm-fresh-name) name)))
      (make-draft name (getpid) replace?
                  (shm-open own-name (list O_RDWR O_CREAT O_EXCL) mode)
                  own-name #f)))
  (cond ((not name)
         (make-draft name (getpid) #f (shm-open-anonymous) #f #t))
        (else
         (let ((fd (%shm-open-unnamed name mode
                                      (and early? (not replace?)))))
           (if fd
               (make-draft name (getpid) replace? fd #f #f)
               (open-named))))))

(define (publish-draft! draft)
  "Give DRAFT its name; do nothing if that was done before.  Call this with
asyncs blocked."
  (let ((name (draft-name draft))
        (fd (draft-fd draft)))
    (unless (draft-published? draft)
      (when (and (draft-replace? draft) (not (draft-own-name draft)))
        (let ((own-name (shm-fresh-name)))
          (%shm-publish fd own-name)
          (set-draft-own-name! draft own-name)))
      (cond ((draft-replace? draft)
             (%shm-rename (draft-own-name draft) name))
            ((not (draft-own-name draft))
             (%shm-publish fd name)))
      (set-draft-published! draft #t))))

(define (discard-draft! draft)
  "Close the descriptor of DRAFT; unlink what was not published, but not in a
child of a fork.  This may be called again.  Call it with asyncs blocked."
  (let ((fd (draft-fd draft)))
    (when fd
      (set-draft-fd! draft #f)
      (when (and (draft-own-name draft)
                 (not (draft-published? draft))
                 (= (draft-pid draft) (getpid)))
        (false-if-exception (%shm-unlink-own (draft-own-name draft) fd)))
      (close-fdes fd))))

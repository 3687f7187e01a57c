;;; SPDX-License-Identifier: BSD-3-Clause
;;; (posix-shm create) - new objects, which get their names once complete.

(define-module (posix-shm create)
  #:use-module (posix-shm object)
  #:use-module (posix-shm primitives)
  #:use-module (srfi srfi-9)
  #:export (without-asyncs
            with-cleanup

            ;; Drafts.
            open-draft
            draft-fd
            draft-published?
            publish-draft!
            discard-draft!))

(define-syntax-rule (without-asyncs body ...)
  ;; No signal's handler, and no other thread, leaves BODY by an exception.
  (call-with-blocked-asyncs (lambda () body ...)))

;; However BODY is left, CLEAN-UP, which may run more than once: it does so
;; again in case a signal's handler leaves the first one before asyncs are
;; blocked.
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

;; A new object.  It has no name before it is published or, on systems without
;; such objects, has the one in OWN-NAME, to be unlinked if it never is.  FD is
;; #f after it was discarded.
(define-record-type <draft>
  (make-draft name replace? fd own-name published?)
  draft?
  (name draft-name)
  (replace? draft-replace?)
  (fd draft-fd set-draft-fd!)
  (own-name draft-own-name set-draft-own-name!)
  (published? draft-published? set-draft-published!))

(define* (open-draft name mode #:key replace? early?)
  "Create an object, with permission bits MODE, that is to be published as
NAME, in place of another one if REPLACE?; if NAME is #f, an anonymous one.  If
EARLY?, raise EEXIST now, not only then, if NAME is taken.  With asyncs
blocked."
  (define (open-named)
    (let ((own-name (if replace? (shm-fresh-name) name)))
      (make-draft name replace?
                  (shm-open own-name (list O_RDWR O_CREAT O_EXCL) mode)
                  own-name #f)))
  (cond ((not name)
         (make-draft name #f (shm-open-anonymous) #f #t))
        (else
         (let ((fd (%shm-open-unnamed name mode
                                      (and early? (not replace?)))))
           (if fd
               (make-draft name replace? fd #f #f)
               (open-named))))))

(define (publish-draft! draft)
  "Give DRAFT its name; do nothing if that was done before.  With asyncs
blocked."
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
  "Close the descriptor of DRAFT; unlink what was not published.  This may be
called again.  With asyncs blocked."
  (when (draft-fd draft)
    (when (and (draft-own-name draft) (not (draft-published? draft)))
      (%shm-unlink-own (draft-own-name draft) (draft-fd draft)))
    (close-fdes (draft-fd draft))
    (set-draft-fd! draft #f)))

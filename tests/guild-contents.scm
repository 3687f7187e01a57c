;;; SPDX-License-Identifier: BSD-3-Clause
;;; guild-contents.scm - what guild shm shows of an object's contents, tested.

(use-modules (ice-9 match)
             (posix-shm)
             (rnrs bytevectors)
             ((srfi srfi-1) #:select (append-map first))
             (srfi srfi-64)
             (tests support))

(define-shm-layout inner (x u16))
(define-shm-layout outer (count u32) (inner inner 2) (name (string 3)))

(define (info . arguments)
  "Return what guild shm info prints, and its status."
  (let* ((port (open-output-string))
         (status (parameterize ((current-output-port port)
                                (current-error-port port))
                   (apply (@ (scripts shm) main) "info" arguments))))
    (list (get-output-string port) status)))

(define (test-layouts)
  (with-fresh-name name
    (let ((bv (shm-create name #f #:layout outer)))
      (test-assert "info shows a layout's name, its size and its fields"
        (string-contains (first (info name)) "
  layout:  outer, 12 bytes
    0 count u32
    4 inner inner 2
     0 x u16
    8 name (string 3)
"))
      (test-assert "--json: the same"
        (string-contains (first (info "--json" name))
                         "\"layout\": {\"name\": \"outer\", \"size\": 12, \
\"fields\": [\"0 count u32\", \"4 inner inner 2\", \" 0 x u16\", \
\"8 name (string 3)\"]}"))
      ;; The text begins behind the header and the layout.
      (let ((all (shm-attach name #:writable? #t)))
        (bytevector-u8-set! all (+ 64 12 10) 27)
        (test-assert "a text with control characters"
          (string-contains (first (info name)) "\\x1b"))
        (bytevector-u64-native-set! all 24 (- (ash 1 64) 1)))
      (test-equal "a length that is none, and an object without a layout"
        '(#f 0 #f 0)
        (with-fresh-name other
          (shm-create other 10)
          (append-map (lambda (name)
                        (match (info name)
                          ((text status)
                           (list (string-contains text "layout") status))))
                      (list name other))))
      (test-assert "--json: no layout"
        (string-contains (first (info "--json" name))
                         "\"layout\": null")))))

(test-begin "guild-contents")

(when-posix-shm
  (test-group "layouts" (test-layouts)))

(test-end "guild-contents")

;;; SPDX-License-Identifier: BSD-3-Clause
;;; guild-contents.scm - what guild shm shows of an object's contents, tested.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm broadcast)
             (posix-shm channel)
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
  layout:    outer, 12 bytes
    0 count u32
    4 inner inner 2
     0 x u16
    8 name (string 3)
"))
      (test-assert "--json: the same"
        (string-contains (first (info "--json" name))
                         "\"contents\": {\"name\": \"outer\", \"size\": 12, \
\"fields\": [\"0 count u32\", \"4 inner inner 2\", \" 0 x u16\", \
\"8 name (string 3)\"]}"))
      ;; The text begins behind the header and the layout.
      (let ((all (shm-attach name #:writable? #t)))
        (bytevector-u8-set! all (+ 64 12 10) 27)
        (test-assert "a text with control characters"
          (string-contains (first (info name)) "\\x1b"))
        (bytevector-u64-native-set! all 24 (- (ash 1 64) 1)))
      (test-equal "a text whose length is none, and an object without a layout"
        '(#t 0 #f 0)
        (with-fresh-name other
          (shm-create other 10)
          (append-map (lambda (name)
                        (match (info name)
                          ((text status)
                           (list (and (string-contains text "layout\n") #t)
                                 status))))
                      (list name other))))
      (test-assert "--json: no layout"
        (string-contains (first (info "--json" name))
                         "\"contents\": null")))))

(define (test-messages)
  (define (shown name . options)
    (first (apply info (append options (list name)))))
  (with-fresh-name name
    (let ((ch (shm-channel-create name 1000)))
      (for-each (lambda (i) (shm-channel-send-datum! ch i)) '(1 2 3))
      (shm-channel-receive-datum! ch)
      (test-assert "a channel"
        (string-contains (shown name) "
  contents:  channel
    capacity: 1000
    messages: 3
    in flight: 2
    waiting senders: 0
    waiting receivers: 0
    closed: no
"))
      (shm-channel-close! ch)
      (test-assert "--json: a channel, which is closed"
        (string-contains (shown name "--json") "\"contents\": {\"capacity\": \
1000, \"messages\": 3, \"in-flight\": 2, \"waiting-senders\": 0, \
\"waiting-receivers\": 0, \"closed\": true}"))
      (test-assert "its kind" (string-contains (shown name) " (channel)\n"))))
  (with-fresh-name name
    (let ((b (shm-broadcast-create name 400)))
      (for-each (lambda (i) (shm-broadcast-send! b (make-bytevector 84)))
                (iota 20))
      (test-assert "a broadcast"
        (string-contains (shown name) "
  contents:  broadcast
    capacity: 400
    messages: 20
    readable: 6
    closed: no
"))
      (test-assert "--json: its kind"
        (string-contains (shown name "--json") "\"kind\": \"broadcast\""))
      (let ((all (shm-attach name #:writable? #t)))
        (bytevector-u64-native-set! all 256 (- (ash 1 64) 8))
        (test-equal "a broadcast whose head is none"
          (list (string-append name " (broadcast)") 0)
          (match (info name)
            ((text status)
             (list (string-take text (string-index text #\newline))
                   status)))))))
  (with-fresh-name name
    (let ((bv (shm-create name 100)))
      (bytevector-u64-native-set! bv 0 (+ #x4d485347 (ash 6 32) (ash 1 48)))
      (test-equal "what only begins like a channel" '(#t 0)
        (match (info name)
          ((text status)
           (list (and (string-contains text "  contents:  channel\n") #t)
                 status)))))))

(test-begin "guild-contents")

(when-posix-shm
  (test-group "layouts" (test-layouts))
  (test-group "messages" (test-messages)))

(test-end "guild-contents")

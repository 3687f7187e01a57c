;;; SPDX-License-Identifier: BSD-3-Clause
;;; exists.scm - creating an object where there may be one, tested.

(use-modules (ice-9 match)
             ((ice-9 rdelim) #:select (read-line))
             (ice-9 regex)
             (ice-9 threads)
             (posix-shm)
             (posix-shm atomic)
             (posix-shm channel)
             ((posix-shm holders) #:select (object-named remove-unused!))
             (rnrs bytevectors)
             (srfi srfi-1)
             (srfi srfi-64)
             (tests mapping-support)
             (tests support))

(define (passing-names)
  "Return the names that objects have while they are created or unlinked."
  (filter (lambda (name)
            (string-match "^/gshm-([0-9a-z]{8}|[0-9a-f]+-[0-9a-f]+-[0-9a-f]+)$"
                          name))
          (shm-list)))

(define (leftovers)
  "Return those of the names that stay.  Another test may use one for a moment."
  (let ((deadline (+ (current-time) 20)))
    (let again ((names (passing-names)))
      (if (or (null? names) (> (current-time) deadline))
          names
          (begin
            (usleep 1000)
            (again (lset-intersection string=? names (passing-names))))))))

(define (filled-with byte)
  (lambda (bv) (bytevector-fill! bv byte)))

(define (test-attach)
  (with-fresh-name name
    (define (attach size . options)
      (apply shm-create name size #:exists 'attach options))
    (test-equal "there is none: it is created" '(100 7)
      (let ((bv (attach 100 #:initialize (filled-with 7))))
        (list (bytevector-length bv) (bytevector-u8-ref bv 99))))
    (test-equal "there is one: attached, writable, not initialized" '(100 7 8)
      (let ((bv (attach 100 #:initialize (filled-with 9))))
        (bytevector-u8-set! bv 0 8)
        (list (bytevector-length bv) (bytevector-u8-ref bv 99)
              (bytevector-u8-ref (shm-attach name) 0))))
    (test-equal "one that is larger: all of it" 100
      (bytevector-length (attach 10)))
    (test-raises "one that is smaller"
      `(out-of-range "shm-create" ,(format #f "The object ~s has 100 bytes, \
fewer than the 101 that are needed" name))
      (attach 101))
    (test-equal "with a type, and with dimensions" '(#u16(1800) 50 #2u8((8 7)))
      (list (subarray (attach 100 #:type 'u16))
            (array-length (attach 100 #:type 'u16))
            (attach #f #:type 'u8 #:dimensions '(1 2))))
    (test-equal "a call that attached does not unlink" '(100 #t)
      (list (call-with-shm name 10 bytevector-length #:exists 'attach)
            (exists? name))))
  (with-fresh-name name
    (test-equal "a call that created does" '(10 #f)
      (list (call-with-shm name 10 bytevector-length #:exists 'attach)
            (exists? name))))
  (test-raises "another symbol"
    '(out-of-range "shm-create"
                   "exists is not one of error, attach and replace: append")
    (shm-create (fresh-name) 10 #:exists 'append))
  (test-equal "EEXIST of the user's own procedure passes" '(EEXIST 1)
    (let ((calls 0))
      (list (kind (shm-create (fresh-name) 10 #:exists 'attach
                              #:initialize
                              (lambda (bv)
                                (set! calls (+ calls 1))
                                (scm-error 'system-error #f "mine" '()
                                           (list EEXIST)))))
            calls))))

(define (subarray bv)
  (make-shared-array bv list 1))

(define (test-unfinished)
  ;; As a creator that was stopped between shm_open and ftruncate leaves it.
  (with-fresh-name name
    (let ((fd (shm-open name (list O_RDWR O_CREAT O_EXCL))))
      (test-equal "empty: the timeout is kept" '(#f #f late)
        (list (shm-create name 10 #:exists 'attach #:timeout 0)
              (shm-create name 10 #:exists 'attach #:timeout 0.02)
              (call-with-shm name 10 noop #:exists 'attach #:timeout 0.02
                             #:timeout-value 'late)))
      (test-equal "it gets a size meanwhile" 10
        (let ((thread (in-thread
                       (bytevector-length
                        (shm-create name 10 #:exists 'attach)))))
          (usleep 5000)
          (shm-resize! fd 10)
          (join-thread thread)))
      (close-fdes fd)))
  (with-fresh-name name
    (close-fdes (shm-open name (list O_RDWR O_CREAT O_EXCL)))
    (test-equal "it is unlinked meanwhile: created" '(10 3)
      (let ((thread (in-thread
                     (let ((bv (shm-create name 10 #:exists 'attach
                                           #:initialize (filled-with 3))))
                       (list (bytevector-length bv)
                             (bytevector-u8-ref bv 9))))))
        (usleep 5000)
        (shm-unlink name)
        (join-thread thread)))))

;; Each child stores its process id in every word of an object that it creates,
;; and in a slot of CONTROL the id that it finds, or -1 if words differ.  Some are
;; killed in between.
(define words 512)

(define (create-in-child name control i dies?)
  (define (fill! bv)
    (do ((k 0 (+ k 8)))
        ((= k (* 8 words)))
      (bytevector-u64-native-set! bv k (getpid))
      (when (and dies? (= k 2048))
        (kill (getpid) SIGKILL))))
  (let wait ()
    (when (zero? (atomic-u64-ref control 0))
      (wait)))
  (let* ((bv (shm-create name (* 8 words) #:exists 'attach #:initialize fill!))
         (found (bytevector-u64-native-ref bv 0)))
    (atomic-s64-set! control (* 8 (+ i 1))
                     (if (every (lambda (word)
                                  (= found (bytevector-u64-native-ref
                                            bv (* 8 word))))
                                (iota words))
                         found
                         -1))))

(define (race n round)
  "Let N processes create and attach at once, some of which are killed.  Return
whether the others all have the same whole object, made by one of the N."
  (with-fresh-name name
    (with-mapping (control (* 8 (+ n 1)))
      (let* ((pids (map (lambda (i)
                          (start-process
                           (lambda ()
                             (create-in-child name control i
                                              (zero? (modulo (+ i round) 3))))))
                        (iota n)))
             (victim (list-ref pids (modulo round n))))
        (atomic-u64-set! control 0 1)
        (when (odd? round)
          (usleep (modulo (* 37 round) 2000))
          (kill victim SIGKILL))
        (let* ((statuses (map (lambda (pid) (cdr (waitpid pid))) pids))
               (found (filter-map
                       (lambda (i status)
                         (and (eqv? 0 (status:exit-val status))
                              (atomic-s64-ref control (* 8 (+ i 1)))))
                       (iota n) statuses)))
          (and (every (lambda (status)
                        (or (eqv? 0 (status:exit-val status))
                            (eqv? SIGKILL (status:term-sig status))))
                      statuses)
               (pair? found)
               (every (lambda (id) (= id (car found))) found)
               (->bool (memv (car found) pids))))))))

(define (test-race)
  ;; Only where objects are published atomically is a killed creator's not left.
  (unless unnamed?
    (test-skip 1))
  (test-equal "20 at once, with kills: one creates, the others attach" '()
    (filter (lambda (round) (not (race 20 round)))
            (iota rounds)))
  (test-equal "nothing is left" '() (leftovers)))

(define (test-replace)
  (with-fresh-name name
    (test-equal "there is none: created" 1
      (bytevector-u8-ref (shm-create name 10 #:exists 'replace
                                     #:initialize (filled-with 1))
                         0))
    (let* ((old (shm-attach name))
           (new (shm-create name 20 #:exists 'replace
                            #:initialize (filled-with 2))))
      (test-equal "attached to the old one, and to the new one" '(1 2 20)
        (list (bytevector-u8-ref old 0)
              (bytevector-u8-ref (shm-attach name) 0)
              (bytevector-length (shm-attach name))))
      (test-equal "initialize fails: the old one stays" '(oops 2)
        (list (catch 'oops
                (lambda ()
                  (shm-create name 10 #:exists 'replace
                              #:initialize (lambda (bv) (throw 'oops))))
                (lambda (key) key))
              (bytevector-u8-ref (shm-attach name) 0)))
      (test-equal "a call unlinks its own" '(3 #f)
        (list (call-with-shm name 10
                (lambda (bv) (bytevector-u8-ref (shm-attach name) 0))
                #:exists 'replace #:initialize (filled-with 3))
              (exists? name)))))
  (with-fresh-name name
    (mkdir (string-append "/dev/shm" name))
    (test-equal "what is not an object stays" `(EINVAL ,EINVAL)
      (list (kind (shm-create name 10 #:exists 'replace))
            (match (raised (lambda () (shm-create name 10 #:exists 'replace)))
              ((_ _ _ errno) errno)
              (other other))))
    (rmdir (string-append "/dev/shm" name)))
  (test-equal "nothing is left" '() (leftovers)))

(define (test-unlinked-while-replaced)
  ;; Another process calls UNLINK, which unlinks an object if it is not in use
  ;; or its own, while this one replaces it.
  (define (lost unlink)
    (with-fresh-name name
      (with-mapping (control 16)
        (let ((other (start-process
                      (lambda ()
                        (let next ()
                          (catch 'system-error
                            (lambda () (unlink name))
                            (const #f))
                          (atomic-u64-fetch-add! control 8 1)
                          (when (zero? (atomic-u64-ref control 0))
                            (next)))))))
          (define (await-another)
            (let ((before (atomic-u64-ref control 8)))
              (let wait ()
                (when (< (atomic-u64-ref control 8) (+ before 2))
                  (wait)))))
          (define lost
            (filter-map (lambda (i)
                          (shm-unmap! (shm-create name 8 #:exists 'replace))
                          (let ((bv (shm-create name 8 #:exists 'replace)))
                            (await-another)
                            (let ((there? (exists? name)))
                              (shm-unmap! bv)
                              (and (not there?) i))))
                        (iota (* 100 rounds))))
          (atomic-u64-set! control 0 1)
          (append lost (list (cdr (waitpid other))))))))
  (test-equal "an object that replaces an unused one is not pruned" '(0)
    (lost (lambda (name)
            (remove-unused! (object-named name)))))
  (test-equal "nor one that replaces that of a call" '(0)
    (lost (lambda (name)
            (call-with-shm name 8 (const #t)))))
  (test-equal "nothing is left" '() (leftovers)))

(define (test-details)
  (with-fresh-name name
    (let ((changed (string-copy name)))
      (test-equal "initialize changes the string of the name" (list name #f)
        (list (call-with-shm changed 8 shm-name
                             #:initialize (lambda (bv)
                                            (string-set! changed 1 #\X)))
              (exists? changed)))))
  (with-fresh-name name
    (test-equal "a child that leaves initialize unlinks nothing" #t
      (begin
        (catch 'leave
          (lambda ()
            (shm-create name 8 #:initialize
                        (lambda (bv)
                          (let ((pid (primitive-fork)))
                            (if (zero? pid)
                                (throw 'leave)
                                (waitpid pid))))))
          (lambda _ (primitive-_exit 0)))
        (exists? name)))
    (test-equal "the mode is checked in any case"
      '(wrong-type-arg out-of-range wrong-type-arg out-of-range)
      (list (kind (shm-create #f 8 #:mode 'none))
            (kind (shm-create #f 8 #:mode -1))
            (kind (shm-create name 8 #:exists 'attach #:mode 'none))
            (kind (call-with-shm name 8 (const 1) #:exists 'attach
                                 #:mode #o7777))))
    ;; The sanitizers' mlock does nothing; elsewhere there is no such file.
    (when (or (getenv "ASAN_OPTIONS")
              (not (file-exists? "/proc/self/status")))
      (test-skip 1))
    (test-equal "what is attached is locked in memory, too" #t
      (let ((before (locked-memory)))
        (match (raised (lambda ()
                         (shm-create name 8 #:exists 'attach #:lock? #t)))
          (('returned bv) (> (locked-memory) before))
          ;; The limit on such memory.
          ((key subr message errno)
           (->bool (memv errno (list EPERM ENOMEM EAGAIN))))))))
  (with-fresh-name name
    (let ((bv (shm-create name 65536)))
      (shm-channel-init! (shm-view bv 'vu8 0 4096))
      (test-raises "a channel whose capacity is less"
        `(out-of-range "shm-channel-create"
                       ,(format #f "The channel ~s has a capacity of ~a bytes, \
not 32768" name (shm-channel-capacity (shm-channel-attach name))))
        (shm-channel-create name 32768 #:exists 'attach))))
  (with-fresh-name name
    (close-fdes (shm-open name (list O_RDWR O_CREAT)))
    (test-equal "exceptions of a signal's handler pass"
      '((out-of-range odd) (out-of-range odd))
      (map (lambda (call)
             (let* ((begun? #f)
                    (thread (in-thread
                             (catch #t
                               (lambda ()
                                 (set! begun? #t)
                                 (call))
                               list))))
               (await begun?)
               (system-async-mark (lambda () (throw 'out-of-range 'odd)) thread)
               (join-thread thread)))
           (list (lambda ()
                   (shm-channel-create name 8 #:exists 'attach #:timeout 60))
                 (lambda ()
                   (shm-channel-attach name #:wait 60)))))))

(define (locked-memory)
  "Return the size of this process's locked memory, in KiB."
  (call-with-input-file "/proc/self/status"
    (lambda (port)
      (let next ()
        (match (read-line port)
          ((? (lambda (line) (string-prefix? "VmLck:" line)) line)
           (string->number (second (string-tokenize line))))
          (_ (next)))))))

(define (test-replaced-under-readers)
  (define size 40000)
  (with-fresh-name name
    (shm-create name size #:initialize (filled-with 1))
    (test-equal "replaced under readers: each sees one, whole" #t
      (with-mapping (control 16)
        (let ((readers
               (map (lambda (i)
                      (start-process
                       (lambda ()
                         (let next ()
                           (let* ((bv (shm-attach name))
                                  (copy (make-bytevector size
                                                         (bytevector-u8-ref
                                                          bv 0))))
                             (unless (bytevector=? bv copy)
                               (error "torn"))
                             (shm-unmap! bv))
                           (atomic-u64-fetch-add! control 8 1)
                           (when (zero? (atomic-u64-ref control 0))
                             (next))))))
                    (iota 3))))
          (for-each (lambda (i)
                      (shm-unmap!
                       (shm-create name size #:exists 'replace
                                   #:initialize
                                   (filled-with (+ 1 (modulo i 250))))))
                    (iota (* 20 rounds)))
          ;; Each has attached at least once.
          (await (>= (atomic-u64-ref control 8) 3))
          (atomic-u64-set! control 0 1)
          (every (lambda (pid) (zero? (cdr (waitpid pid)))) readers))))))

(define (test-other-users)
  (define other 65534)
  (with-fresh-name name
    (shm-unmap! (shm-create name 100 #:mode #o666))
    (chmod (string-append "/dev/shm" name) #o666)
    (chown (string-append "/dev/shm" name) other other)
    ;; Under fs.protected_regular, O_CREAT would be refused.
    (test-equal "another user's object is attached to" 100
      (bytevector-length (shm-create name 100 #:exists 'attach)))
    (test-equal "and replaced by the superuser" 50
      (begin
        (shm-create name 50 #:exists 'replace)
        (bytevector-length (shm-attach name))))
    (test-equal "nor may others replace what is not theirs" '(#t #t)
      (eval-in-new-guile
       `(setgid ,other)
       `(setuid ,other)
       `(write
         (list (catch 'system-error
                 (lambda () (shm-create ,name 50 #:exists 'replace) #f)
                 (lambda arguments
                   (->bool (memv (system-error-errno arguments)
                                 (list EPERM EACCES)))))
               (catch 'system-error
                 (lambda () (shm-create ,name 50 #:exists 'attach) #f)
                 (lambda arguments
                   (= EACCES (system-error-errno arguments))))))))
    (test-equal "nothing is left" '() (leftovers))))

(test-begin "exists")

(when-posix-shm
  (test-group "attach"
    (test-attach))
  (test-group "unfinished"
    (test-unfinished))
  (test-group "race"
    (test-race))
  (test-group "details"
    (test-details))
  (test-group "replace"
    (test-unlinked-while-replaced)
    (test-replace)
    (test-replaced-under-readers))
  (when (and root? (file-exists? "/dev/shm"))
    (test-group "other users"
      (test-other-users))))

(test-end "exists")

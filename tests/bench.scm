;;; SPDX-License-Identifier: BSD-3-Clause
;;; bench.scm - that every row of the benchmark works, however long it takes.

(use-modules (ice-9 ftw)
             (ice-9 match)
             (ice-9 regex)
             (posix-shm)
             (srfi srfi-1)
             (srfi srfi-64)
             ((system foreign) #:select (sizeof))
             (tests support))

(define bench
  (string-append (or (getenv "abs_top_srcdir") ".") "/bench/"))

(define (bench/run . options)
  "Return what the benchmark prints, and its exit status."
  (call-with-values
      (lambda () (apply run (string-append bench "run") options))
    list))

;; Each row as text, from its name on.
(define (split-rows json)
  (let ((mark "{\"row\": \""))
    (let next ((start (string-contains json mark)) (rows '()))
      (if start
          (let ((end (string-contains json mark (+ start 1))))
            (next end (cons (substring json (+ start (string-length mark))
                                       (or end (string-length json)))
                            rows)))
          (reverse rows)))))

(define (row-name row)
  (substring row 0 (string-index row #\")))

(define (measured? row column)
  "Whether COLUMN has a positive time in ROW."
  (match (string-match (string-append "\"" column "\": \\{\"median\": ([0-9.]+)")
                       row)
    (#f #f)
    (found (positive? (string->number (match:substring found 1))))))

(define names
  '("life-cycle" "egg" "create" "create-whole" "map" "map-among" "copy"
    "sum-ordinary" "sum-mapped" "sum-view" "field" "field-native" "nothing"
    "fetch-add" "fetch-add-contended" "mutex" "mutex-around"
    "mutex-contended" "semaphore" "semaphore-named" "semaphore-contended"
    "ping-pong-across" "ping-pong-together" "wake-across" "channel"
    "channel-anywhere" "channel-received" "channel-in-place" "broadcast"
    "broadcast-among" "broadcast-latest" "trip-across" "trip-together"
    "trip-anywhere" "trip-busy" "trip-sparse" "data-small" "data-fixnums"
    "data-strings" "data-doubles" "data-bytes" "senders" "fault-lost"
    "fault-read-only"))

(define (test-rows)
  (match (bench/run "--quick" "--json" "--repetitions=1")
    ((json status)
     (let ((rows (split-rows json)))
       (test-equal "all work" 0 status)
       (test-equal "all rows" names (delete-duplicates (map row-name rows)))
       (for-each
        (lambda (column)
          (test-equal (string-append "measured in each: " column) '()
            (remove (lambda (row)
                      (or (measured? row column)
                          ;; C has no data.
                          (and (string=? column "C")
                               (string-prefix? "data" (row-name row)))
                          (and (not (shm-fault-guard))
                               (string-prefix? "fault" (row-name row)))))
                    rows)))
        '("guile-shm" "C"))
       (test-equal "without this library a fault kills" '("killed" "killed")
         (filter-map (lambda (row)
                       (and (string-prefix? "fault" (row-name row))
                            (match (string-match "\"Guile\": \"([a-z]*)\"" row)
                              (#f row)
                              (found (match:substring found 1)))))
                     rows))))))

(define (test-selection)
  (match (bench/run "--quick" "--json" "--repetitions=1" "--rows=egg,mutex"
                    "--columns=guile-shm")
    ((json status)
     (test-equal "the rows named, and those whose names begin so"
       '("egg" "mutex" "mutex-around" "mutex-contended")
       (map row-name (split-rows json)))
     (test-equal "the columns named, and C" '(#t #t #f)
       (let ((row (first (split-rows json))))
         (list (measured? row "guile-shm") (measured? row "C")
               (measured? row "Guile"))))))
  (match (bench/run "--quick" "--repetitions=1" "--rows=figures"
                    "--columns=guile-shm")
    ((table status)
     (test-equal "what is drawn is measured, too" 0 status)
     (test-assert "as a table" (string-contains table "channel, pinned, 32 KiB"))
     (test-assert "whose times are said to say nothing"
       (string-contains table "the times say nothing")))))

(define (test-mistakes)
  (define (status . options)
    (second (apply bench/run options)))
  (test-equal "no such row" 2 (status "--rows=nonsense"))
  (test-equal "no such column" 2 (status "--columns=Fortran"))
  (test-equal "no repetitions" 2 (status "--repetitions=0"))
  (test-equal "what is no option" 2 (status "rows"))
  (match (bench/run "--help")
    ((text status)
     (test-equal "--help" 0 status)
     (test-assert "which names the rows" (string-contains text "senders-64")))))

(define (test-figures)
  (define (status . command)
    (status:exit-val (apply system* command)))
  (define (here? program)
    (zero? (status "sh" "-c" (format #f "command -v ~a > /dev/null" program))))
  (unless (and (here? "python3") (here? "gnuplot"))
    (test-skip 1))
  (test-equal "drawn" '(0 ("latency.svg" "mappings.svg" "processes.svg"
                           "throughput.svg"))
    (let* ((directory (mkdtemp "/tmp/gshm-test-XXXXXX"))
           (list-files (lambda ()
                         (sort (cddr (scandir directory))
                               string<?))))
      (dynamic-wind
        (const #t)
        (lambda ()
          (let ((drawn (status "sh" "-c"
                               "\"$0\"run --quick --json --repetitions=1 \
--rows=figures --columns=guile-shm | \"$0\"plot --output=\"$1\""
                               bench directory)))
            (list drawn (list-files))))
        (lambda ()
          (for-each (lambda (file)
                      (delete-file (string-append directory "/" file)))
                    (list-files))
          (rmdir directory))))))

(test-begin "bench")

(cond ((getenv "ASAN_OPTIONS")
       (test-skip 1)
       (test-assert "peers are not for sanitizers" #f))
      ((< (sizeof '*) 8)
       (test-skip 1)
       (test-assert "needs 64 bits" #f))
      ((and posix-shm? (not (equal? (getenv "HAVE_FUTEX") "0")))
       (test-group "rows" (test-rows))
       (test-group "selection" (test-selection))
       (test-group "mistakes" (test-mistakes))
       (test-group "figures" (test-figures)))
      (else
       (test-skip 1)
       (test-assert "needs shared memory and futexes" #f)))

(test-end "bench")

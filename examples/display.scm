;;; SPDX-License-Identifier: BSD-3-Clause
;;; display.scm - a camera in Python, a detector in C, and a display in Guile.
;;;
;;; Usage: guile display.scm DETECTOR
;;;
;;;   cc detector.c $(pkg-config --cflags --libs gshm) -o detector
;;;   guile display.scm ./detector
;;;
;;; They share one object.  camera.py computes pictures, since there may be no
;;; camera, and sends them through the channel in it.  detector.c receives each,
;;; finds its brightest pixel, and stores where that is.  This program prints it.
;;;
;;; video.h and video.py have the layout, as (shm-layout->c video) and
;;; (shm-layout->ctypes video) return it.

(use-modules (ice-9 match)
             (posix-shm)
             (posix-shm channel)
             (posix-shm sync))

(define-shm-layout video
  (lock mutex)                          ; of the three numbers
  (frame u32) (x u32) (y u32)
  (found semaphore)                     ; posted when they were stored
  (frames (channel 32768)))

(define (start . command)
  "Start a program, and return its process id."
  (match (primitive-fork)
    (0
     (false-if-exception (apply execlp (car command) command))
     (primitive-_exit 127))
    (pid pid)))

(define (show-next bv)
  (if (shm-semaphore-wait! bv video-found-offset 20)
      (with-shm-mutex bv video-lock-offset
        ;; If the detector died, the next one stores all three.
        #:on-abandoned (lambda () #f)
        (format #t "picture ~a: the brightest pixel is at ~a, ~a~%"
                (video-frame bv) (video-x bv) (video-y bv)))
      (begin
        (display "display.scm: there are no pictures\n" (current-error-port))
        (exit 1))))

(match (command-line)
  ((program (? (lambda (file) (access? file X_OK)) detector))
   (let* ((name (shm-fresh-name))
          (bv (shm-create name #f #:layout video))
          (camera (string-append (dirname program) "/camera.py"))
          (pids (list (start "python3" camera name) (start detector name))))
     (dynamic-wind
       (const #t)
       (lambda ()
         (for-each (lambda (i) (show-next bv)) (iota 20)))
       (lambda ()
         (shm-channel-close! (video-frames bv))
         (for-each waitpid pids)
         (shm-unlink name)))))
  (_
   (display "Usage: guile display.scm DETECTOR   (a program: ./detector)\n"
            (current-error-port))
   (exit 2)))

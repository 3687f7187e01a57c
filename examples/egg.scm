;;; SPDX-License-Identifier: BSD-3-Clause
;;; egg.scm - the example of the CHICKEN egg posix-shm, unchanged.

(use-modules (posix-shm chicken))

(let* ((str "Hello, world!")
       (path (sprintf "/shmtest~A" (random 100)))
       (fd (shm-open path (list open/rdwr open/creat))))
  (file-truncate fd (string-length str))
  (file-write fd str)
  (file-close fd)
  (let ((fd (shm-open path (list open/rdonly open/excl ))))
    (file-read fd (string-length str))
    (file-close fd)
    (shm-unlink path)))

;;; SPDX-License-Identifier: BSD-3-Clause
;;; python-module.scm - the module for Python programs, tested.

(use-modules (posix-shm)
             (srfi srfi-11)
             (srfi srfi-64)
             ((tests mapping-support) #:select (unnamed?))
             (tests support))

(define srcdir (or (getenv "abs_top_srcdir") "."))

;; One that has what gshm.py can use, if there is one.
(define python
  (or (find-python "numpy" "cbor2") (find-python)))

(test-begin "python-module")

(when-posix-shm
  (unless python
    (test-skip 1))
  (test-equal "without the library the package is named" #t
    (let-values (((output status)
                  (run "sh" "-c" "\"$0\" -c 'import ctypes
def fail (name):
    raise OSError (name)
ctypes.CDLL = fail
import gshm' 2>&1" python)))
      (->bool (string-contains output "of the Debian package libgshm0"))))
  (when python
    (with-fresh-name name
      (test-verdicts "all checks have run" python
                     (string-append srcdir "/tests/gshm_module.py") name
                     (if unnamed? "1" "0")))))

(test-end "python-module")

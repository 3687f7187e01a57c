;;; SPDX-License-Identifier: BSD-3-Clause
;;; guix.scm - the package, built from this checkout: guix build -f guix.scm

(load ".guix/modules/guile-shm-package.scm")

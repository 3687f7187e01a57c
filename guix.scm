;;; SPDX-License-Identifier: BSD-3-Clause
;;; guix.scm - the package, built from this checkout: guix build -f guix.scm

(use-modules (gnu packages autotools)
             (gnu packages guile)
             (gnu packages pkg-config)
             (gnu packages texinfo)
             (guix build-system gnu)
             (guix gexp)
             (guix git-download)
             ((guix licenses) #:prefix license:)
             (guix packages))

(define source-directory (dirname (current-filename)))

(package
  (name "guile-shm")
  (version "0.1.0")
  (source (local-file source-directory "guile-shm-checkout"
                      #:recursive? #t
                      #:select? (or (git-predicate source-directory)
                                    (const #t))))
  (build-system gnu-build-system)
  (native-inputs
   (list autoconf
         autoconf-archive
         automake
         guile-3.0
         libtool
         pkg-config
         texinfo))
  (inputs
   (list guile-3.0))
  (home-page "https://wiki.call-cc.org/eggref/5/posix-shm")
  (synopsis "POSIX shared memory for Guile")
  (description
   "Guile-SHM gives Guile programs POSIX shared memory objects, which they
share with each other and with programs in other languages.  Its interface is
that of the CHICKEN egg @code{posix-shm}, whose programs run unchanged.")
  (license license:bsd-3))

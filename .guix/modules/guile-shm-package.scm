;;; SPDX-License-Identifier: BSD-3-Clause
;;; guile-shm-package.scm - the package for Guix, built from this checkout.

(define-module (guile-shm-package)
  #:use-module (gnu packages autotools)
  #:use-module (gnu packages guile)
  #:use-module (gnu packages pkg-config)
  #:use-module (gnu packages texinfo)
  #:use-module (guix build-system gnu)
  #:use-module (guix gexp)
  #:use-module (guix git-download)
  #:use-module ((guix licenses)
                #:prefix license:)
  #:use-module (guix packages)
  #:use-module (guix utils))

;; Guix does not know where this is if it was found by a relative name, as with
;; guix build -L .guix/modules guile-shm.
(define checkout
  (string-append (or (current-source-directory)
                     (string-append (getcwd) "/.guix/modules"))
                 "/../.."))

;; What is committed; a tarball, or a channel that Guix has fetched, is no
;; checkout and has nothing else.
(define select?
  (or (git-predicate checkout)
      (const #t)))

(define-public guile-shm
  (package
    (name "guile-shm")
    (version "0.1.0")
    (source
     (local-file checkout
                 "guile-shm-checkout"
                 #:recursive? #t
                 #:select? select?))
    (build-system gnu-build-system)
    (native-inputs (list autoconf-2.71
                         autoconf-archive
                         automake
                         guile-3.0
                         libtool
                         pkg-config
                         texinfo))
    (inputs (list guile-3.0))
    (home-page "https://wiki.call-cc.org/eggref/5/posix-shm")
    (synopsis "POSIX shared memory for Guile")
    (description
     "Guile-SHM gives Guile programs POSIX shared memory objects, which they
share with each other and with programs in other languages.  Its interface is
that of the CHICKEN egg @code{posix-shm}, whose programs run unchanged.")
    (license license:bsd-3)))

guile-shm

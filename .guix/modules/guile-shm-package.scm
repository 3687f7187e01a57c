;;; SPDX-License-Identifier: BSD-3-Clause
;;; guile-shm-package.scm - the package for Guix, built from this checkout.

(define-module (guile-shm-package)
  #:use-module (gnu packages autotools)
  #:use-module (gnu packages guile)
  #:use-module (gnu packages pkg-config)
  #:use-module (gnu packages python)
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
    (arguments
     (list
      ;; Where Python looks in a profile.
      #:configure-flags
      #~(list (string-append "gshmpythondir=" #$output "/lib/python"
                             #$(version-major+minor (package-version python))
                             "/site-packages"))
      #:phases
      #~(modify-phases %standard-phases
          ;; The tests, before this, load the library from the build tree.
          (add-after 'install 'name-library-of-module
            (lambda _
              (substitute* (find-files #$output "^gshm\\.py$")
                (("\"libgshm\\.so\\.0\"")
                 (string-append "\"" #$output "/lib/libgshm.so.0\""))))))))
    (native-inputs (list autoconf-2.71
                         autoconf-archive
                         automake
                         guile-3.0
                         libtool
                         pkg-config
                         python
                         texinfo))
    (inputs (list guile-3.0))
    (home-page "https://wiki.call-cc.org/eggref/5/posix-shm")
    (synopsis "Shared memory for GNU Guile")
    (description
     "guile-shm provides arrays, locks and message channels that Guile processes
on one machine share with each other, and with programs in C and Python, without
copying.  To a program, shared memory is an ordinary bytevector; the module is
@code{(posix-shm)}.  A process that is killed harms no other, and a lost page or
a refused store raises an exception.  Programs for the CHICKEN egg
@code{posix-shm} run unchanged.  The library @code{libgshm} is for C, and the
module @code{gshm} for Python.")
    (license license:bsd-3)))

guile-shm

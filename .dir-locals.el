;;; SPDX-License-Identifier: BSD-3-Clause
;;; .dir-locals.el - how files look, for Emacs.

((nil . ((fill-column . 79)
         (indent-tabs-mode . nil)
         (tab-width . 8)))
 (c-mode . ((c-file-style . "gnu")))
 (makefile-automake-mode . ((indent-tabs-mode . t)))
 (scheme-mode . ((geiser-active-implementations . (guile)))))

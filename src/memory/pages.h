/* SPDX-License-Identifier: BSD-3-Clause
   pages.h - ranges of pages, within the limit of ranges, and copying them.  */

#ifndef GSHM_PAGES_H
#define GSHM_PAGES_H

#include <signal.h>
#include <stddef.h>

/* Private memory that costs nothing until it is written to, for mmap.  */
#ifdef MAP_NORESERVE
# define GSHM_PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#else
# define GSHM_PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)
#endif

/* Set up, once in a process.  */
void gshm_pages_start (void);

/* The size of a page.  */
size_t gshm_page_size (void);

/* At the limit of ranges: free the reserve, and return whether that succeeded.
   The caller fills it again.  */
int gshm_use_reserve (void);
void gshm_fill_reserve (void);

/* Block all signals, and store the previous mask in BEFORE.  */
void gshm_block_signals (sigset_t *before);

/* Map zeros over the LENGTH bytes at BASE.  Unless IS_WRITABLE they are
   read-only if the guard is enabled, which makes them writable at the first
   store: private memory that can be written counts against limits.  Return 0
   and set errno if that fails.  */
int gshm_put_zeros (char *base, size_t length, int is_writable);

/* Unmap the LENGTH bytes at BASE.  Return 0 and set errno if that fails.  */
int gshm_unmap_range (char *base, size_t length);

#ifdef HAVE_PROCESS_VM_READV

/* Whether the byte at ADDRESS is known to be unreadable.  This does not
   fault.  */
int gshm_is_unreadable (char *address);

/* Copy the readable pages; others stay zero.  Return 0 if it is not known
   which are readable.  */
int gshm_copy_pages (char *to, char *from, size_t length);

# ifdef HAVE_MREMAP
/* Try the system calls that patches need, which emulators of other processors
   and filters of system calls may refuse.  */
int gshm_can_move_pages (void);
# endif

#endif

#endif /* GSHM_PAGES_H */

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

/* Where the limit of ranges was met: return whether ranges were freed, so that
   it is worth trying again.  Afterwards fill the reserve again.  */
int gshm_use_reserve (void);
void gshm_fill_reserve (void);

/* Block all signals, and store in BEFORE which ones were.  */
void gshm_block_signals (sigset_t *before);

/* Map zeros over the LENGTH bytes at BASE: read-only where a store makes them
   writable.  Return 0 and set errno if that fails.  */
int gshm_put_zeros (char *base, size_t length);

/* Unmap the LENGTH bytes at BASE.  Return 0 and set errno if that fails.  */
int gshm_unmap_range (char *base, size_t length);

#ifdef HAVE_PROCESS_VM_READV

/* Whether the byte at ADDRESS is known not to be readable.  This does not
   fault.  */
int gshm_is_unreadable (char *address);

/* Copy what can be read; what cannot stays zero.  Return 0 if that cannot be
   told.  */
int gshm_copy_pages (char *to, char *from, size_t length);

# ifdef HAVE_MREMAP
/* Try what a patch takes, which emulators of other processors and filters of
   system calls may not let through.  */
int gshm_can_move_pages (void);
# endif

#endif

#endif /* GSHM_PAGES_H */

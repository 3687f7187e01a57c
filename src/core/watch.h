/* SPDX-License-Identifier: BSD-3-Clause
   watch.h - descriptors that become readable when words change.

   A thread of the process, which the first watch starts, sleeps until one of
   the words changes.  It accesses them by system calls only, so that it
   survives whatever happens to their memory.  A child of a fork has no such
   thread, and the watches of its parent are dead there.  */

#ifndef GSHM_WATCH_H
#define GSHM_WATCH_H

#include <stddef.h>
#include <stdint.h>

#include "core/futex.h"

struct gshm_watch;

/* What makes a watched word change.  */
enum gshm_change
{
  GSHM_WAKING_CHANGE, /* a thread that wakes the word's sleepers */
  GSHM_SILENT_CHANGE, /* one that does not, so that the word is polled */
  GSHM_UNLOCKING      /* the owner of a lock, which may have died: the watch
                         becomes ready after a while even without a change */
};

/* Return a new watch, or NULL and errno.  */
struct gshm_watch *gshm_watch_new (void);

/* Return a new descriptor, which the caller owns, that is readable while WATCH
   is ready; or -1 and errno.  */
int gshm_watch_descriptor (const struct gshm_watch *watch);

/* Whether WATCH is closed, or was made by a process of which this one is a
   fork.  */
int gshm_watch_is_dead (const struct gshm_watch *watch);

/* Make WATCH ready now; or make it not ready, until WORD is not VALUE.  A
   watch that is dead does not change.  */
void gshm_watch_set_ready (struct gshm_watch *watch);
void gshm_watch_arm (struct gshm_watch *watch, gshm_word *word, uint32_t value,
                     enum gshm_change change);

/* Make all watches ready whose words are in the SIZE bytes at START, which
   were unmapped.  */
void gshm_watch_unmapped (const void *start, size_t size);

/* Give back the descriptors of WATCH; and its memory, too.  */
void gshm_watch_close (struct gshm_watch *watch);
void gshm_watch_free (struct gshm_watch *watch);

#endif /* GSHM_WATCH_H */

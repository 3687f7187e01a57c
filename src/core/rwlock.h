/* SPDX-License-Identifier: BSD-3-Clause
   rwlock.h - a read-write lock in shared memory.  */

#ifndef GSHM_RWLOCK_H
#define GSHM_RWLOCK_H

#include "core/format.h"
#include "core/lock.h"

#define GSHM_MAX_READERS 128

struct gshm_rwlock_words
{
  gshm_long_word format;
  gshm_long_word writer; /* an owner with flags; 0: none */
  gshm_word namespace;
  /* Incremented when a reader unlocks while a writer waits.  A reader that
     waits for a slot sleeps on it, too, but is not woken: it tries again after
     the bounded sleep.  */
  gshm_word leaving;
  gshm_long_word readers[GSHM_MAX_READERS];
};

_Static_assert (sizeof (struct gshm_rwlock_words) == 24 + 8 * GSHM_MAX_READERS,
               "a layout that processes share");

#define GSHM_RWLOCK_FORMAT GSHM_SYNC_FORMAT (GSHM_RWLOCK)

void gshm_init_rwlock (struct gshm_rwlock_words *rwlock);

/* A wait for a lock.  PENDING: this thread is the writer, and waits for
   readers.  */
struct gshm_rwlock_locking
{
  struct gshm_rwlock_words *rwlock;
  uint64_t self;
  int announced, pending;
};

void gshm_rwlock_begin (struct gshm_rwlock_locking *locking,
                        struct gshm_rwlock_words *rwlock);

/* Attempts for gshm_wait: DONE, OWNER_DIED (then as the writer), DEADLOCK or
   CORRUPT.  DATA is a struct gshm_rwlock_locking.  */
gshm_attempt gshm_rwlock_attempt_to_read, gshm_rwlock_attempt_to_write;

/* End the wait without the lock, also if it is no longer accessible; this does
   not fault.  */
void gshm_rwlock_cancel (void *locking);

/* Unlock as a reader or as the writer, whichever this thread is.  Return DONE
   or NOT_OWNER.  */
enum gshm_result gshm_unlock_rwlock (struct gshm_rwlock_words *rwlock);

/* The same, but if this thread is the writer, leave the lock abandoned.  */
enum gshm_result gshm_abandon_rwlock (struct gshm_rwlock_words *rwlock);

/* One of these two, as IS_INCONSISTENT says, if RWLOCK is still accessible and
   this thread owns it; this does not fault.  */
void gshm_unlock_rwlock_if_owned (struct gshm_rwlock_words *rwlock,
                                  int is_inconsistent);

/* Whether this thread owns RWLOCK, as a reader or as the writer, or waits as
   the writer for readers to unlock it.  */
int gshm_rwlock_is_owned (struct gshm_rwlock_words *rwlock);

#endif /* GSHM_RWLOCK_H */

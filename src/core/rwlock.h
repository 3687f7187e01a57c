/* SPDX-License-Identifier: BSD-3-Clause
   rwlock.h - a read-write lock in shared memory.  */

#ifndef GSHM_RWLOCK_H
#define GSHM_RWLOCK_H

#include "core/format.h"
#include "core/lock.h"

#define GSHM_READERS 128

struct gshm_rwlock
{
  gshm_long_word format;
  gshm_long_word writer;        /* an owner, WAITERS and PENDING; 0: none */
  gshm_word namespace;
  gshm_word leaving;            /* changes when a reader leaves for a writer */
  gshm_long_word readers[GSHM_READERS];
};

_Static_assert (sizeof (struct gshm_rwlock) == 24 + 8 * GSHM_READERS,
                "a layout that processes share");

#define GSHM_RWLOCK_FORMAT GSHM_SYNC_FORMAT (GSHM_RWLOCK)

void gshm_rwlock_init (struct gshm_rwlock *rwlock);

/* One thread's waiting for a lock.  */
struct gshm_entering
{
  struct gshm_rwlock *rwlock;
  uint64_t self;
  int announced, pending;
};

void gshm_rwlock_begin (struct gshm_entering *entering,
                        struct gshm_rwlock *rwlock);

/* Attempts for gshm_wait: DONE, OWNER_DIED (then as a writer), DEADLOCK or
   CORRUPT.  DATA is a struct gshm_entering.  */
gshm_attempt gshm_rwlock_attempt_to_read, gshm_rwlock_attempt_to_write;

/* End waiting without the lock, also if it is not there any more; this does
   not fault.  */
void gshm_rwlock_cancel (void *entering);

/* Unlock as a reader or as the writer, whichever this thread is.  Return DONE
   or NOT_OWNER.  */
enum gshm_result gshm_rwlock_unlock (struct gshm_rwlock *rwlock);

/* The same if RWLOCK is still accessible and this thread owns it; this does not
   fault.  If the data IS_INCONSISTENT, the next owner is told so.  */
void gshm_rwlock_leave (struct gshm_rwlock *rwlock, int is_inconsistent);

/* Whether this thread owns RWLOCK, as a reader or as the writer.  */
int gshm_rwlock_is_mine (struct gshm_rwlock *rwlock);

#endif /* GSHM_RWLOCK_H */

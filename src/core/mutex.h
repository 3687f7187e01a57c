/* SPDX-License-Identifier: BSD-3-Clause
   mutex.h - a robust mutex in shared memory.  */

#ifndef GSHM_MUTEX_H
#define GSHM_MUTEX_H

#include "core/format.h"
#include "core/lock.h"

struct gshm_mutex_words
{
  gshm_long_word format;
  gshm_long_word owner; /* with flags; 0: free */
  gshm_word namespace;
  gshm_word unused;
};

_Static_assert (sizeof (struct gshm_mutex_words) == 24,
               "a layout that processes share");

#define GSHM_MUTEX_FORMAT GSHM_SYNC_FORMAT (GSHM_MUTEX)

void gshm_init_mutex (struct gshm_mutex_words *mutex);

/* This thread as an owner in MUTEX.  */
static inline uint64_t
gshm_mutex_self (const struct gshm_mutex_words *mutex)
{
  return gshm_self (atomic_load_explicit (&mutex->namespace,
                                          memory_order_relaxed));
}

/* Lock MUTEX if it is free.  Return whether it was.  */
static inline int
gshm_try_mutex (struct gshm_mutex_words *mutex)
{
  uint64_t none = 0;

  /* [take] Acquire: this thread sees what the last owner stored.  */
  return atomic_compare_exchange_strong_explicit (&mutex->owner, &none,
                                                  gshm_mutex_self (mutex),
                                                  memory_order_acquire,
                                                  memory_order_relaxed);
}

/* A wait for a mutex.  */
struct gshm_mutex_locking
{
  struct gshm_mutex_words *mutex;
  struct gshm_locking lock;
};

void gshm_mutex_begin (struct gshm_mutex_locking *locking,
                       struct gshm_mutex_words *mutex);

/* An attempt for gshm_wait: DONE, OWNER_DIED, DEADLOCK or CORRUPT.  DATA is a
   struct gshm_mutex_locking.  */
gshm_attempt gshm_mutex_attempt;

/* End the wait without the mutex.  */
void gshm_mutex_cancel (void *locking);

/* Whether this thread owns MUTEX.  */
static inline int
gshm_mutex_is_owned (const struct gshm_mutex_words *mutex)
{
  return GSHM_OWNER_OF (gshm_load (&mutex->owner)) == gshm_mutex_self (mutex);
}

/* Unlock MUTEX; the data that it guards counts as consistent.  Return DONE or
   NOT_OWNER.  */
static inline enum gshm_result
gshm_unlock_mutex (struct gshm_mutex_words *mutex)
{
  if (!gshm_mutex_is_owned (mutex))
    return GSHM_NOT_OWNER;
  gshm_unlock (&mutex->owner, 0);
  return GSHM_DONE;
}

/* Unlock MUTEX, which this thread owns.  If it took over from a dead owner and
   has not declared the data consistent, the mutex is abandoned again.  */
void gshm_unlock_mutex_as_is (struct gshm_mutex_words *mutex);

/* The same if MUTEX is still accessible and this thread owns it; this does not
   fault.  */
void gshm_unlock_mutex_if_owned (struct gshm_mutex_words *mutex);

/* Declare the data that MUTEX guards consistent, if this thread owns it.  */
void gshm_make_mutex_consistent (struct gshm_mutex_words *mutex);

/* Whether this thread owns MUTEX, took over from a dead owner, and has not
   declared the data consistent.  */
int gshm_mutex_is_inconsistent (const struct gshm_mutex_words *mutex);

#endif /* GSHM_MUTEX_H */

/* SPDX-License-Identifier: BSD-3-Clause
   mutex.c - a robust mutex in shared memory.

   The steps, in brackets, are those of tests/models/mutex.pml.  */

#include <config.h>

#include "core/mutex.h"

/* The owner took over from a dead one, and has not declared the data
   consistent.  */
#define INCONSISTENT GSHM_MARK

void
gshm_init_mutex (struct gshm_mutex_words *mutex)
{
  atomic_store (&mutex->format, 0);
  atomic_store (&mutex->owner, 0);
  atomic_store (&mutex->namespace, gshm_namespace ());
  atomic_store (&mutex->unused, 0);
  gshm_set_format (&mutex->format, GSHM_MUTEX_FORMAT);
}

void
gshm_mutex_begin (struct gshm_mutex_locking *locking,
                  struct gshm_mutex_words *mutex)
{
  *locking = (struct gshm_mutex_locking) {
    .mutex = mutex,
    .lock = { .owner = &mutex->owner, .namespace = &mutex->namespace }
  };
}

int
gshm_mutex_attempt (void *data, struct gshm_sleep *sleep)
{
  struct gshm_mutex_locking *locking = data;

  if (!gshm_has_format (&locking->mutex->format, GSHM_MUTEX_FORMAT))
    return GSHM_CORRUPT;
  return gshm_attempt_to_lock (&locking->lock, INCONSISTENT, sleep);
}

void
gshm_mutex_cancel (void *data)
{
  const struct gshm_mutex_locking *locking = data;

  gshm_cancel_locking (&locking->lock);
}

void
gshm_unlock_mutex_as_is (struct gshm_mutex_words *mutex)
{
  gshm_unlock (&mutex->owner, gshm_load (&mutex->owner) & INCONSISTENT
               ? GSHM_ABANDONED : 0);
}

void
gshm_unlock_mutex_if_owned (struct gshm_mutex_words *mutex)
{
  if (gshm_still_has_format (&mutex->format, GSHM_MUTEX_FORMAT, sizeof *mutex)
      && gshm_mutex_is_owned (mutex))
    gshm_unlock_mutex_as_is (mutex);
}

void
gshm_make_mutex_consistent (struct gshm_mutex_words *mutex)
{
  if (gshm_mutex_is_owned (mutex))
    atomic_fetch_and (&mutex->owner, ~INCONSISTENT);
}

int
gshm_mutex_is_inconsistent (const struct gshm_mutex_words *mutex)
{
  return gshm_mutex_is_owned (mutex)
         && (gshm_load (&mutex->owner) & INCONSISTENT) != 0;
}

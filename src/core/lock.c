/* SPDX-License-Identifier: BSD-3-Clause
   lock.c - words in shared memory that name an owner.

   The steps, in brackets, are those of tests/models/mutex.pml.  */

#include <config.h>

#include "core/lock.h"

int
gshm_attempt_to_lock (struct gshm_locking *locking, uint64_t taken_over,
                      struct gshm_sleep *sleep)
{
  uint64_t owner = gshm_load (locking->owner), waiters;

  locking->self = gshm_self (
    atomic_load_explicit (locking->namespace, memory_order_relaxed));
  waiters = locking->announced ? GSHM_WAITERS : 0;
  if (owner == 0)
    {
      /* [take] Acquire: this thread sees what the last owner stored.  */
      if (gshm_replace (locking->owner, 0, locking->self | waiters))
        return GSHM_DONE;
      owner = gshm_load (locking->owner);
    }
  if (GSHM_OWNER_OF (owner) == locking->self)
    return GSHM_DEADLOCK;
  if (owner == GSHM_ABANDONED
      || (owner != 0 && sleep->check_owners
          && gshm_is_dead (owner, UINT64_MAX,
                           atomic_load (locking->namespace))))
    {
      /* [take over] Of several threads that find the owner dead, one wins.  */
      if (gshm_replace (locking->owner, owner,
                        locking->self | GSHM_WAITERS | taken_over))
        return GSHM_OWNER_DIED;
      owner = GSHM_NO_OWNER_VALUE;
    }
  else if (owner == 0)
    owner = GSHM_NO_OWNER_VALUE;
  /* Only now: a thread that has not slept for this lock need not wake others
     that do.  */
  locking->announced |= sleep->announce;
  if (owner == GSHM_NO_OWNER_VALUE)
    gshm_sleep_on_half (sleep, locking->owner, owner);
  else
    /* [announce] */
    gshm_sleep_until_changed (sleep, locking->owner, owner);
  return 0;
}

void
gshm_cancel_locking (const struct gshm_locking *locking)
{
  /* [give up] */
  if (locking->announced)
    gshm_wake (gshm_low_half (locking->owner), 1);
}

gshm_long_word *
gshm_find_slot (gshm_long_word *slots, size_t count, uint64_t owner)
{
  for (size_t i = 0; i < count; i++)
    if (atomic_load (&slots[i]) == owner)
      return &slots[i];
  return NULL;
}

gshm_long_word *
gshm_take_slot (gshm_long_word *slots, size_t count, uint64_t owner)
{
  for (size_t i = 0; i < count; i++)
    if (atomic_load (&slots[i]) == 0 && gshm_replace (&slots[i], 0, owner))
      return &slots[i];
  return NULL;
}

int
gshm_count_slots (gshm_long_word *slots, size_t count, int check_owners,
                  const gshm_word *namespace)
{
  int taken = 0;

  for (size_t i = 0; i < count; i++)
    {
      uint64_t owner = atomic_load (&slots[i]);

      if (owner != 0
          && !(check_owners
               && gshm_is_dead (owner, UINT64_MAX, atomic_load (namespace))
               && gshm_replace (&slots[i], owner, 0)))
        taken++;
    }
  return taken;
}

/* SPDX-License-Identifier: BSD-3-Clause
   semaphore.c - a semaphore in shared memory.

   The steps are those of tests/models/semaphore.pml.  */

#include <config.h>

#include "core/semaphore.h"

void
gshm_init_semaphore (struct gshm_semaphore_words *semaphore, uint32_t value)
{
  atomic_store (&semaphore->format, 0);
  atomic_store (&semaphore->value, value);
  atomic_store (&semaphore->unused, 0);
  gshm_set_format (&semaphore->format, GSHM_SEMAPHORE_FORMAT);
}

int
gshm_semaphore_attempt (void *data, struct gshm_sleep *sleep)
{
  struct gshm_semaphore_waiter *waiter = data;
  struct gshm_semaphore_words *semaphore = waiter->semaphore;
  uint32_t value = atomic_load (&semaphore->value);

  if (!gshm_has_format (&semaphore->format, GSHM_SEMAPHORE_FORMAT))
    return GSHM_CORRUPT;
  waiter->announced |= sleep->announce;
  if ((value & GSHM_MAX_VALUE) > 0)
    {
      uint32_t rest = (value - 1) | (waiter->announced ? GSHM_SLEEPERS : 0);

      /* Acquire, as in a first attempt.  */
      if (atomic_compare_exchange_strong (&semaphore->value, &value, rest))
        {
          /* The first post cleared the flag, so that later ones woke no thread
             for what is left.  */
          if ((rest & GSHM_SLEEPERS) && (rest & GSHM_MAX_VALUE) > 0)
            gshm_wake (&semaphore->value, 1);
          return GSHM_DONE;
        }
      /* Sleep only if the value is 0 with the flag, else try again.  */
      value = GSHM_SLEEPERS;
    }
  else if (sleep->announce && value == 0)
    {
      /* If this fails, the value is not 0, and the sleep ends at once.  */
      atomic_compare_exchange_strong (&semaphore->value, &value,
                                      GSHM_SLEEPERS);
      value = GSHM_SLEEPERS;
    }
  sleep->word = &semaphore->value;
  sleep->value = value;
  return 0;
}

/* This thread may have been woken for a post that it does not take.  */
void
gshm_semaphore_cancel (void *data)
{
  const struct gshm_semaphore_waiter *waiter = data;

  if (waiter->announced)
    gshm_wake (&waiter->semaphore->value, 1);
}

uint32_t
gshm_value_of_semaphore (const struct gshm_semaphore_words *semaphore)
{
  return atomic_load (&semaphore->value) & GSHM_MAX_VALUE;
}

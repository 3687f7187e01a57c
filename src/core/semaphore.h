/* SPDX-License-Identifier: BSD-3-Clause
   semaphore.h - a semaphore in shared memory.  */

#ifndef GSHM_SEMAPHORE_H
#define GSHM_SEMAPHORE_H

#include "core/format.h"
#include "core/result.h"
#include "core/wait.h"

struct gshm_semaphore_words
{
  gshm_long_word format;
  gshm_word value; /* and the flag SLEEPERS */
  gshm_word unused;
};

_Static_assert (sizeof (struct gshm_semaphore_words) == 16,
               "a layout that processes share");

#define GSHM_SEMAPHORE_FORMAT GSHM_SYNC_FORMAT (GSHM_SEMAPHORE)

/* Flag of a value: a thread may sleep until it changes.  */
#define GSHM_SLEEPERS UINT32_C (0x80000000)
#define GSHM_MAX_VALUE (GSHM_SLEEPERS - 1)

void gshm_init_semaphore (struct gshm_semaphore_words *semaphore,
                          uint32_t value);

/* Add 1 to the value, and wake a waiter.  Return DONE or OVERFLOW.  */
static inline enum gshm_result
gshm_post_semaphore (struct gshm_semaphore_words *semaphore)
{
  uint32_t value = atomic_load_explicit (&semaphore->value,
                                         memory_order_relaxed);

  /* Release: the thread that takes this sees what this one stored.  */
  do
    if ((value & GSHM_MAX_VALUE) == GSHM_MAX_VALUE)
      return GSHM_OVERFLOW;
  while (!atomic_compare_exchange_weak_explicit (
    &semaphore->value, &value, (value & GSHM_MAX_VALUE) + 1,
    memory_order_release, memory_order_relaxed));
  if (value & GSHM_SLEEPERS)
    gshm_wake (&semaphore->value, 1);
  return GSHM_DONE;
}

/* Subtract 1 from the value if it is not 0.  Return whether that was done.  */
static inline int
gshm_try_semaphore (struct gshm_semaphore_words *semaphore)
{
  uint32_t value = atomic_load_explicit (&semaphore->value,
                                         memory_order_relaxed);

  /* Acquire: this thread sees what was stored before the post.  */
  return (value & GSHM_MAX_VALUE) != 0
         && atomic_compare_exchange_strong_explicit (&semaphore->value, &value,
                                                     value - 1,
                                                     memory_order_acquire,
                                                     memory_order_relaxed);
}

/* A wait for a semaphore; other fields are initially 0.  */
struct gshm_semaphore_waiter
{
  struct gshm_semaphore_words *semaphore;
  int announced;
};

/* An attempt for gshm_wait: DONE or CORRUPT.  DATA is a struct
   gshm_semaphore_waiter.  */
gshm_attempt gshm_semaphore_attempt;

/* End the wait without having subtracted.  */
void gshm_semaphore_cancel (void *waiter);

uint32_t
gshm_value_of_semaphore (const struct gshm_semaphore_words *semaphore);

#endif /* GSHM_SEMAPHORE_H */

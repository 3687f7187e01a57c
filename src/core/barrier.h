/* SPDX-License-Identifier: BSD-3-Clause
   barrier.h - a barrier in shared memory.  */

#ifndef GSHM_BARRIER_H
#define GSHM_BARRIER_H

#include "core/format.h"
#include "core/lock.h"

#define GSHM_MAX_PARTIES 256

struct gshm_barrier_words
{
  gshm_long_word format;
  gshm_word namespace;
  gshm_word parties;
  gshm_word last_check; /* of which waiters are alive, in ms */
  gshm_word unused;
  /* In the low half the generation: how often the barrier opened.  In the high
     half the number of withdrawals.  */
  gshm_long_word state;
  /* Slots: in the low 48 bits those of an owner; in the others those of the
     generation.  */
  gshm_long_word arrived[GSHM_MAX_PARTIES];
};

_Static_assert (sizeof (struct gshm_barrier_words)
                  == 32 + 8 * GSHM_MAX_PARTIES,
                "a layout that processes share");

#define GSHM_BARRIER_FORMAT GSHM_SYNC_FORMAT (GSHM_BARRIER)

/* PARTIES is from 1 to GSHM_MAX_PARTIES.  */
void gshm_init_barrier (struct gshm_barrier_words *barrier, uint32_t parties);

/* A wait at a barrier.  */
struct gshm_barrier_waiter
{
  struct gshm_barrier_words *barrier;
  uint64_t self;
  uint32_t parties, generation;
  gshm_long_word *slot; /* NULL: not arrived */
};

/* Return DONE, or CORRUPT if the number of parties is invalid.  */
enum gshm_result gshm_barrier_begin (struct gshm_barrier_waiter *waiter,
                                     struct gshm_barrier_words *barrier);

/* An attempt for gshm_wait: DONE or CORRUPT.  DATA is a struct
   gshm_barrier_waiter.  */
gshm_attempt gshm_barrier_attempt;

/* End the wait.  Return whether this thread had arrived and the barrier has
   opened since.  */
int gshm_barrier_leave (struct gshm_barrier_waiter *waiter);

/* The same, if the barrier is still accessible; this does not fault.  */
void gshm_barrier_cancel (void *waiter);

#endif /* GSHM_BARRIER_H */

/* SPDX-License-Identifier: BSD-3-Clause
   barrier.h - a barrier in shared memory.  */

#ifndef GSHM_BARRIER_H
#define GSHM_BARRIER_H

#include "core/format.h"
#include "core/lock.h"

#define GSHM_PARTIES 256

struct gshm_barrier
{
  gshm_long_word format;
  gshm_word namespace;
  gshm_word parties;
  gshm_word seen;               /* when a waiter last looked, in ms */
  gshm_word unused;
  /* In the low half the generation: how often the barrier opened.  In the high
     half the withdrawals of this generation.  */
  gshm_long_word state;
  /* The threads that have arrived: the low 48 bits of an owner; in the others,
     those of the generation in which that was.  */
  gshm_long_word arrived[GSHM_PARTIES];
};

_Static_assert (sizeof (struct gshm_barrier) == 32 + 8 * GSHM_PARTIES,
                "a layout that processes share");

#define GSHM_BARRIER_FORMAT GSHM_SYNC_FORMAT (GSHM_BARRIER)

/* PARTIES is from 1 to GSHM_PARTIES.  */
void gshm_barrier_init (struct gshm_barrier *barrier, uint32_t parties);

/* One thread's waiting at a barrier.  */
struct gshm_arriving
{
  struct gshm_barrier *barrier;
  uint64_t self;
  uint32_t parties, generation;
  gshm_long_word *place;        /* NULL: not arrived */
};

/* Return DONE, or CORRUPT if the number of parties is none.  */
enum gshm_result gshm_barrier_begin (struct gshm_arriving *arriving,
                                     struct gshm_barrier *barrier);

/* An attempt for gshm_wait: DONE or CORRUPT.  DATA is a struct
   gshm_arriving.  */
gshm_attempt gshm_barrier_attempt;

/* End waiting.  Return whether the barrier had opened before that.  */
int gshm_barrier_leave (struct gshm_arriving *arriving);

/* The same, if the barrier is still there; this does not fault.  */
void gshm_barrier_cancel (void *arriving);

#endif /* GSHM_BARRIER_H */

/* SPDX-License-Identifier: BSD-3-Clause
   condition.h - a condition variable in shared memory.  */

#ifndef GSHM_CONDITION_H
#define GSHM_CONDITION_H

#include "core/mutex.h"

struct gshm_condition_words
{
  gshm_long_word format;
  /* From the lowest bit: 32 bits of the sequence, which each signal
     increments; 16 of the number of waiters, too large if some were killed; 16
     of the number of pending signals, which no waiter has taken yet.  */
  gshm_long_word state;
};

_Static_assert (sizeof (struct gshm_condition_words) == 16,
               "a layout that processes share");

#define GSHM_CONDITION_FORMAT GSHM_SYNC_FORMAT (GSHM_CONDITION)

void gshm_init_condition (struct gshm_condition_words *condition);

/* A wait on a condition variable.  */
struct gshm_condition_waiter
{
  struct gshm_condition_words *condition;
  struct gshm_mutex_words *mutex;
  struct gshm_mutex_locking locking; /* to lock the mutex again */
  int is_locking;
  uint64_t self;
  uint32_t sequence; /* when this thread entered */
  int is_recovering; /* the data that the mutex guards is inconsistent */
};

/* Begin a wait with MUTEX, which this thread owns.  */
void gshm_condition_begin (struct gshm_condition_waiter *waiter,
                           struct gshm_condition_words *condition,
                           struct gshm_mutex_words *mutex);

/* Unlock the mutex, wait, and lock it again.  This thread owns it again if
   this returns DONE (signalled, or an owner of the mutex died meanwhile),
   TIMED_OUT, OWNER_DIED (it took over from a dead owner) or DEADLOCK (a hook
   of HOST has locked the mutex), but not for CORRUPT: one of the two is no
   longer valid.  If HOST leaves, cancel WAITER.  */
enum gshm_result gshm_condition_wait (struct gshm_condition_waiter *waiter,
                                      const struct gshm_host *host,
                                      int64_t timeout);

/* End the wait without the mutex; this does not fault.  */
void gshm_condition_cancel (void *waiter);

/* Wake at most COUNT waiters.  */
void gshm_signal_condition (struct gshm_condition_words *condition,
                            uint64_t count);

#endif /* GSHM_CONDITION_H */

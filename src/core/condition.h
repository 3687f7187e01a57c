/* SPDX-License-Identifier: BSD-3-Clause
   condition.h - a condition variable in shared memory.  */

#ifndef GSHM_CONDITION_H
#define GSHM_CONDITION_H

#include "core/mutex.h"

struct gshm_condition
{
  gshm_long_word format;
  /* In the low half the sequence, which changes with each signal; then 16 bits
     of the number of threads that wait, too large if some were killed; and 16
     of the signals that are owed: no waiter has taken them yet.  */
  gshm_long_word state;
};

_Static_assert (sizeof (struct gshm_condition) == 16,
                "a layout that processes share");

#define GSHM_CONDITION_FORMAT GSHM_SYNC_FORMAT (GSHM_CONDITION)

void gshm_condition_init (struct gshm_condition *condition);

/* One thread's waiting on a condition variable.  */
struct gshm_awaiting
{
  struct gshm_condition *condition;
  struct gshm_mutex *mutex;
  struct gshm_mutex_locking locking;    /* to have the mutex again */
  int is_locking;
  uint64_t self;
  uint32_t sequence;    /* when it began to wait */
  int mends;            /* what the mutex guards is inconsistent */
};

/* Begin to wait, with MUTEX, which this thread owns.  */
void gshm_condition_begin (struct gshm_awaiting *awaiting,
                           struct gshm_condition *condition,
                           struct gshm_mutex *mutex);

/* Give the mutex up, wait, and lock it again.  This thread owns it again when
   this returns DONE (signalled, or an owner of the mutex died meanwhile),
   TIMED_OUT or OWNER_DIED (it took over from one that died).  CORRUPT: one of
   the two is not there any more, and the mutex is not locked.  If HOST leaves,
   cancel AWAITING.  */
enum gshm_result gshm_condition_wait (struct gshm_awaiting *awaiting,
                                      const struct gshm_host *host,
                                      int64_t timeout);

/* End waiting, without the mutex; this does not fault.  */
void gshm_condition_cancel (void *awaiting);

/* Wake at most COUNT waiters.  */
void gshm_condition_signal (struct gshm_condition *condition, uint64_t count);

#endif /* GSHM_CONDITION_H */

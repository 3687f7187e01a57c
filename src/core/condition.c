/* SPDX-License-Identifier: BSD-3-Clause
   condition.c - a condition variable in shared memory.

   A signal increments the sequence and the number of pending signals.  A
   waiter may take a pending signal if the sequence has changed since it
   entered.  It takes it after it has locked the mutex again, and then only
   returns.  So no signal is lost on a waiter that is killed: the other waiters
   find it pending when their bounded sleeps end.  All of this is one word,
   since a signaller need not own the mutex.

   The steps, in brackets, are those of tests/models/condition.pml.  */

#include <config.h>

#include "core/condition.h"

#define SEQUENCE(state) ((uint32_t) (state))
#define WAITING(state) ((state) >> 32 & 0xffff)
#define PENDING(state) ((state) >> 48)

static uint64_t
condition_state (uint32_t sequence, uint64_t waiting, uint64_t pending)
{
  return sequence | waiting << 32
         | (pending < waiting ? pending : waiting) << 48;
}

void
gshm_init_condition (struct gshm_condition_words *condition)
{
  atomic_store (&condition->format, 0);
  atomic_store (&condition->state, 0);
  gshm_set_format (&condition->format, GSHM_CONDITION_FORMAT);
}

/* [enter] With the mutex owned: a signal for a change that this thread has not
   seen can only come afterwards.  */
static void
waiter_enter (struct gshm_condition_waiter *waiter)
{
  gshm_long_word *word = &waiter->condition->state;
  uint64_t state = atomic_load (word), next;

  waiter->self = gshm_mutex_self (waiter->mutex);
  do
    {
      uint64_t waiting = WAITING (state);
      next = condition_state (SEQUENCE (state),
                              waiting < 0xffff ? waiting + 1 : waiting,
                              waiting == 0 ? 0 : PENDING (state));
    }
  while (!atomic_compare_exchange_weak (word, &state, next));
  waiter->sequence = SEQUENCE (next);
}

/* The child of a fork that was made during the wait has not entered yet.  */
static void
waiter_enter_as_child (struct gshm_condition_waiter *waiter)
{
  if (waiter->self != gshm_mutex_self (waiter->mutex))
    waiter_enter (waiter);
}

/* Leave, and take SIGNALS, 0 or 1, of the pending ones.  Return 0, without
   leaving, if this thread may not take as many.  */
static int
waiter_leave (struct gshm_condition_waiter *waiter, uint64_t signals)
{
  gshm_long_word *word = &waiter->condition->state;
  uint64_t state = atomic_load (word), waiting;

  do
    {
      if (signals > 0
          && (SEQUENCE (state) == waiter->sequence
              || PENDING (state) < signals))
        return 0;
      waiting = WAITING (state);
    }
  while (!atomic_compare_exchange_weak (
    word, &state,
    condition_state (SEQUENCE (state), waiting - (waiting > 0),
                     PENDING (state) - signals)));
  if (signals == 0 && SEQUENCE (state) != waiter->sequence
      && PENDING (state) > 0)
    /* [pass on] This thread may have been woken for a signal that it does not
       take.  */
    gshm_wake (gshm_low_half (word), 1);
  return 1;
}

void
gshm_condition_cancel (void *data)
{
  struct gshm_condition_waiter *waiter = data;

  if (waiter->is_locking)
    gshm_mutex_cancel (&waiter->locking);
  waiter->is_locking = 0;
  if (gshm_still_has_format (&waiter->condition->format, GSHM_CONDITION_FORMAT,
                             sizeof *waiter->condition)
      && gshm_is_accessible ((gshm_word *) waiter->mutex,
                             sizeof *waiter->mutex)
      && waiter->self == gshm_mutex_self (waiter->mutex))
    waiter_leave (waiter, 0);
}

/* Wait until a signal may be taken, for which the mutex is needed.  */
static int
attempt_to_take_signal (void *data, struct gshm_sleep *sleep)
{
  struct gshm_condition_waiter *waiter = data;
  struct gshm_condition_words *condition = waiter->condition;
  struct gshm_mutex_words *mutex = waiter->mutex;

  if (!gshm_has_format (&condition->format, GSHM_CONDITION_FORMAT))
    return GSHM_CORRUPT;
  waiter_enter_as_child (waiter);
  uint64_t state = atomic_load (&condition->state);
  if (SEQUENCE (state) != waiter->sequence && PENDING (state) > 0)
    return GSHM_DONE;
  if (sleep->check_owners)
    {
      /* A dead owner will not signal.  */
      uint64_t owner = gshm_load (&mutex->owner);
      if (owner == GSHM_ABANDONED
            ? !waiter->is_recovering
            : owner != 0
                && gshm_is_dead (owner, UINT64_MAX,
                                 atomic_load (&mutex->namespace)))
        return GSHM_OWNER_DIED;
    }
  gshm_sleep_on_half (sleep, &condition->state, state);
  return 0;
}

/* Lock the mutex again.  Return DONE, OWNER_DIED, DEADLOCK or CORRUPT; a
   thread that is recovering the data gets DONE for OWNER_DIED.  */
static int
lock_again (struct gshm_condition_waiter *waiter, const struct gshm_host *host)
{
  if (gshm_try_mutex (waiter->mutex))
    return (gshm_has_format (&waiter->mutex->format, GSHM_MUTEX_FORMAT)
              ? GSHM_DONE
              : GSHM_CORRUPT);
  gshm_mutex_begin (&waiter->locking, waiter->mutex);
  waiter->is_locking = 1;
  int locked
    = gshm_wait (host, GSHM_FOREVER, gshm_mutex_attempt, &waiter->locking);
  waiter->is_locking = 0;
  if (waiter->is_recovering && locked == GSHM_OWNER_DIED)
    locked = GSHM_DONE;
  return locked;
}

void
gshm_condition_begin (struct gshm_condition_waiter *waiter,
                      struct gshm_condition_words *condition,
                      struct gshm_mutex_words *mutex)
{
  *waiter
    = (struct gshm_condition_waiter) { .condition = condition,
                                       .mutex = mutex,
                                       .is_recovering
                                       = gshm_mutex_is_inconsistent (mutex) };
  waiter_enter (waiter);
}

enum gshm_result
gshm_condition_wait (struct gshm_condition_waiter *waiter,
                     const struct gshm_host *host, int64_t timeout)
{
  int64_t start = gshm_now (), left = timeout;
  int outcome, locked, signalled, is_over;

  do
    {
      is_over = left == 0;
      gshm_unlock_mutex_as_is (waiter->mutex);
      if (host != NULL)
        host->between_sleeps (host->data);
      outcome = gshm_wait (host, left, attempt_to_take_signal, waiter);
      locked
        = outcome == GSHM_CORRUPT ? GSHM_CORRUPT : lock_again (waiter, host);
      if (locked == GSHM_CORRUPT)
        {
          gshm_condition_cancel (waiter);
          return GSHM_CORRUPT;
        }
      waiter_enter_as_child (waiter);
      /* [take signal] With the mutex owned: if this thread is killed before,
         the signal is still pending; if it is killed afterwards, the next
         owner of the mutex is told.  */
      signalled = waiter_leave (waiter, 1);
      if (timeout != GSHM_FOREVER)
        {
          left = timeout - (gshm_now () - start);
          if (left < 0)
            left = 0;
        }
    }
  while (!signalled && locked == GSHM_DONE && outcome == GSHM_DONE
         && !is_over);
  if (!signalled)
    waiter_leave (waiter, 0);
  if (locked != GSHM_DONE)
    return (enum gshm_result) locked;
  return signalled || outcome == GSHM_OWNER_DIED ? GSHM_DONE : GSHM_TIMED_OUT;
}

void
gshm_signal_condition (struct gshm_condition_words *condition, uint64_t count)
{
  uint64_t state = atomic_load (&condition->state), waiting;

  /* [signal] */
  do
    {
      waiting = WAITING (state);
      if (waiting == 0)
        return;
    }
  while (!atomic_compare_exchange_weak (
    &condition->state, &state,
    condition_state (SEQUENCE (state) + 1, waiting, PENDING (state) + count)));
  /* [wake] */
  gshm_wake (gshm_low_half (&condition->state), (int) count);
}

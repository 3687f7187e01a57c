/* SPDX-License-Identifier: BSD-3-Clause
   condition.c - a condition variable in shared memory.

   A signal changes the sequence, and one more is owed.  A waiter may take what
   is owed if the sequence changed since it came, and does so when it has the
   mutex again, after which it just returns.  So a signal is not lost on a
   waiter that is killed: others that waited then look after a slice and find
   it owed.  All of this is one word, since a signaller need not hold the
   mutex.

   The steps have the names that tests/models/condition.pml gives them, in
   brackets.  */

#include <config.h>


#include "core/condition.h"

#define SEQUENCE(state) ((uint32_t) (state))
#define WAITING(state) ((state) >> 32 & 0xffff)
#define OWED(state) ((state) >> 48)

static uint64_t
condition_state (uint32_t sequence, uint64_t waiting, uint64_t owed)
{
  return sequence | waiting << 32 | (owed < waiting ? owed : waiting) << 48;
}

void
gshm_condition_init (struct gshm_condition *condition)
{
  atomic_store (&condition->format, 0);
  atomic_store (&condition->state, 0);
  gshm_set_format (&condition->format, GSHM_CONDITION_FORMAT);
}

/* [come] With the mutex held, so that no signal for a change that this thread
   has not seen comes before.  */
static void
enter (struct gshm_awaiting *awaiting)
{
  gshm_long_word *word = &awaiting->condition->state;
  uint64_t state = atomic_load (word), next;

  awaiting->self = gshm_mutex_self (awaiting->mutex);
  do
    {
      uint64_t waiting = WAITING (state);
      next = condition_state (SEQUENCE (state),
                              waiting < 0xffff ? waiting + 1 : waiting,
                              waiting == 0 ? 0 : OWED (state));
    }
  while (!atomic_compare_exchange_weak (word, &state, next));
  awaiting->sequence = SEQUENCE (next);
}

/* If this is the child of a fork, it has not begun to wait yet.  */
static void
enter_as_child (struct gshm_awaiting *awaiting)
{
  if (awaiting->self != gshm_mutex_self (awaiting->mutex))
    enter (awaiting);
}

/* Go, with SIGNALS of those that are owed, 0 or 1.  Return whether this thread
   may have as many.  */
static int
leave (struct gshm_awaiting *awaiting, uint64_t signals)
{
  gshm_long_word *word = &awaiting->condition->state;
  uint64_t state = atomic_load (word), waiting;

  do
    {
      if (signals > 0
          && (SEQUENCE (state) == awaiting->sequence
              || OWED (state) < signals))
        return 0;
      waiting = WAITING (state);
    }
  while (!atomic_compare_exchange_weak (
    word, &state,
    condition_state (SEQUENCE (state), waiting - (waiting > 0),
                     OWED (state) - signals)));
  if (signals == 0 && SEQUENCE (state) != awaiting->sequence
      && OWED (state) > 0)
    /* [pass on] It may have been woken for a signal that it does not take.  */
    gshm_wake (gshm_low_half (word), 1);
  return 1;
}

void
gshm_condition_cancel (void *data)
{
  struct gshm_awaiting *awaiting = data;

  if (awaiting->is_locking)
    gshm_mutex_cancel (&awaiting->locking);
  awaiting->is_locking = 0;
  if (gshm_still_has_format (&awaiting->condition->format,
                             GSHM_CONDITION_FORMAT,
                             sizeof *awaiting->condition)
      && gshm_is_there ((gshm_word *) awaiting->mutex, sizeof *awaiting->mutex)
      && awaiting->self == gshm_mutex_self (awaiting->mutex))
    leave (awaiting, 0);
}

/* Whether a signal may be taken, to which the mutex is needed.  */
static int
attempt_to_be_signalled (void *data, struct gshm_sleep *sleep)
{
  struct gshm_awaiting *awaiting = data;
  struct gshm_condition *condition = awaiting->condition;
  struct gshm_mutex *mutex = awaiting->mutex;

  if (!gshm_has_format (&condition->format, GSHM_CONDITION_FORMAT))
    return GSHM_CORRUPT;
  enter_as_child (awaiting);
  uint64_t state = atomic_load (&condition->state);
  if (SEQUENCE (state) != awaiting->sequence && OWED (state) > 0)
    return GSHM_DONE;
  if (sleep->look)
    {
      /* An owner that died will not signal.  */
      uint64_t owner = gshm_load (&mutex->owner);
      if (owner != 0 && !(awaiting->mends && owner == GSHM_ABANDONED)
          && gshm_is_dead (owner, UINT64_MAX,
                           atomic_load (&mutex->namespace)))
        return GSHM_OWNER_DIED;
    }
  gshm_sleep_on_half (sleep, &condition->state, state);
  return 0;
}

/* Lock the mutex again.  */
static int
lock_again (struct gshm_awaiting *awaiting, const struct gshm_host *host)
{
  if (gshm_mutex_try_lock (awaiting->mutex))
    return (gshm_has_format (&awaiting->mutex->format, GSHM_MUTEX_FORMAT)
            ? GSHM_DONE : GSHM_CORRUPT);
  gshm_mutex_begin (&awaiting->locking, awaiting->mutex);
  awaiting->is_locking = 1;
  int locked = gshm_wait (host, GSHM_FOREVER, gshm_mutex_attempt,
                          &awaiting->locking);
  awaiting->is_locking = 0;
  if (awaiting->mends && locked == GSHM_OWNER_DIED)
    locked = GSHM_DONE;
  return locked;
}

void
gshm_condition_begin (struct gshm_awaiting *awaiting,
                      struct gshm_condition *condition,
                      struct gshm_mutex *mutex)
{
  *awaiting = (struct gshm_awaiting) {
    .condition = condition, .mutex = mutex,
    .mends = gshm_mutex_is_inconsistent (mutex)
  };
  enter (awaiting);
}

enum gshm_result
gshm_condition_wait (struct gshm_awaiting *awaiting,
                     const struct gshm_host *host, int64_t timeout)
{
  int64_t start = gshm_now (), left = timeout;
  int outcome, locked, signalled, is_over;

  do
    {
      is_over = left == 0;
      gshm_mutex_give_up (awaiting->mutex);
      if (host != NULL)
        host->between (host->data);
      outcome = gshm_wait (host, left, attempt_to_be_signalled, awaiting);
      locked = outcome == GSHM_CORRUPT ? GSHM_CORRUPT
               : lock_again (awaiting, host);
      if (locked == GSHM_CORRUPT)
        {
          gshm_condition_cancel (awaiting);
          return GSHM_CORRUPT;
        }
      enter_as_child (awaiting);
      /* [take signal] With the mutex held: a thread that is killed before has
         not taken it, and one that is killed after does so holding the mutex,
         of which the next one is told.  */
      signalled = leave (awaiting, 1);
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
    leave (awaiting, 0);
  if (locked != GSHM_DONE)
    return (enum gshm_result) locked;
  return signalled || outcome == GSHM_OWNER_DIED ? GSHM_DONE : GSHM_TIMED_OUT;
}

void
gshm_condition_signal (struct gshm_condition *condition, uint64_t count)
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
    condition_state (SEQUENCE (state) + 1, waiting, OWED (state) + count)));
  /* [wake] */
  gshm_wake (gshm_low_half (&condition->state), (int) count);
}

/* SPDX-License-Identifier: BSD-3-Clause
   channel.c - what a thread does with a channel: to pass a message.

   The steps have the names that tests/models/ring.pml gives them, in
   brackets.  */

#include <config.h>

#include "core/channel.h"

/* How long a thread that does not want to wait waits for a lock that is held
   just for a step.  */
#define MOMENT (GSHM_SECOND / 1000)

/* The mark of a sender whose turn it is and that waits for space.  */
#define TURN GSHM_MARK

/* A word that no position has, so that a sleep until one is not it ends at
   once.  */
#define NOWHERE GSHM_MARK


/* Beginning and ending.  */

static uint64_t
self_in (const struct gshm_passing *passing)
{
  return gshm_self (atomic_load_explicit (passing->lock.namespace,
                                          memory_order_relaxed));
}

int
gshm_passing_has_lock (const struct gshm_passing *passing,
                       const struct gshm_side *side)
{
  uint64_t owner = gshm_load (&side->owner);

  return GSHM_WHO (owner) == self_in (passing);
}

static void
unlock (const struct gshm_passing *passing)
{
  gshm_unlock (&passing->side->owner, 0);
}

/* Give up the lock without having moved, but for what was skipped.  What is
   there, another may have; and for what was skipped a sender may wait.  */
void
gshm_passing_leave (void *data)
{
  const struct gshm_passing *passing = data;

  unlock (passing);
  gshm_ring_wake (passing->other);
  gshm_ring_wake (passing->side);
}

/* With the lock held: whether this thread has touched memory that was lost, or
   the channel is not there any more.  Then give the lock up.  */
static int
leave_if_broken (struct gshm_passing *passing)
{
  const struct gshm_host *host = passing->ring.host;

  if (gshm_ring_is_there (&passing->ring)
      && !(host != NULL && host->is_fault_pending ()))
    return 0;
  gshm_passing_leave (passing);
  return 1;
}

/* With the lock held: this side has moved, or could not.  */
static enum gshm_result
end (struct gshm_passing *passing, enum gshm_ring_state state)
{
  int was_there = gshm_ring_is_there (&passing->ring);

  unlock (passing);
  if (state == GSHM_RING_READY && was_there)
    {
      gshm_ring_wake (passing->side);
      return GSHM_DONE;
    }
  return (state == GSHM_RING_CLOSED
          && passing->side == &passing->ring.channel->senders
          ? GSHM_CHANNEL_CLOSED : GSHM_CORRUPT);
}

enum gshm_result
gshm_passing_end_sending (struct gshm_passing *passing)
{
  if (leave_if_broken (passing))
    return GSHM_CORRUPT;
  return end (passing, gshm_ring_send (&passing->ring, passing->length));
}

enum gshm_result
gshm_passing_end_receiving (struct gshm_passing *passing)
{
  if (leave_if_broken (passing))
    return GSHM_CORRUPT;
  return end (passing, gshm_ring_receive (&passing->ring, passing->length));
}

/* Whether this thread has the other side's lock, so that the other side does
   not move before this operation ends.  */
static int
waits_for_self (const struct gshm_passing *passing)
{
  return passing->timeout != 0
         && gshm_passing_has_lock (passing, passing->other);
}

static int
attempt_to_lock (struct gshm_passing *passing, struct gshm_sleep *sleep)
{
  int outcome = gshm_attempt_to_lock (&passing->lock, 0, sleep);

  /* Whose turn it is may wait for long.  */
  passing->is_busy = (outcome == 0
                     && !(gshm_load (passing->lock.owner) & TURN));
  if (outcome == GSHM_OWNER_DIED)
    return GSHM_DONE;
  if (outcome == GSHM_DEADLOCK && passing->is_turn)
    return GSHM_DONE;
  return outcome;
}

/* Say that this thread waits, for the statistics.  LOOK: if there is no place
   left, see whether the owners of the places live.  */
static void
take_place (struct gshm_passing *passing, int look)
{
  gshm_long_word *waiting = passing->side->waiting;
  uint64_t self = self_in (passing);

  if (passing->place != NULL && atomic_load (passing->place) == self)
    return;
  passing->place = gshm_take_place (waiting, GSHM_WAITING, self);
  if (passing->place == NULL && look)
    {
      gshm_count_places (waiting, GSHM_WAITING, 1, passing->lock.namespace);
      passing->place = gshm_take_place (waiting, GSHM_WAITING, self);
    }
}

/* What each attempt begins with.  Return whether the channel is there.  */
static int
begin_attempt (struct gshm_passing *passing, const struct gshm_sleep *sleep)
{
  if (!gshm_ring_is_there (&passing->ring))
    return 0;
  if (sleep->announce)
    take_place (passing, sleep->look);
  return 1;
}

/* Sleep until the other side's position is no longer WORD.  */
static void
sleep_on_other (struct gshm_passing *passing, struct gshm_sleep *sleep,
                uint64_t word)
{
  passing->announced |= sleep->announce;
  gshm_sleep_until_changed (sleep, &passing->other->position, word);
}

/* [help] If all that is in the way is a record to be skipped, do so in the
   receivers' place; there may be none.  Return whether that may have
   helped.  */
static int
skip_for_receivers (struct gshm_passing *passing,
                    const struct gshm_sleep *sleep)
{
  struct gshm_locking lock = { .owner = &passing->other->owner,
                               .namespace = passing->lock.namespace };
  struct gshm_sleep none = { .look = sleep->look };
  uint64_t length;
  char *bytes;

  if (!gshm_ring_is_to_skip (&passing->ring))
    return 0;
  int outcome = gshm_attempt_to_lock (&lock, 0, &none);
  passing->is_busy = outcome == 0;
  if (outcome == 0 || outcome == GSHM_DEADLOCK)
    return 0;
  gshm_ring_next (&passing->ring, &bytes, &length);
  gshm_unlock (lock.owner, 0);
  return 1;
}

/* A sender is about to sleep, and has said so: if the channel was closed
   before that, no thread wakes it.  */
static int
closed_or_asleep (const struct gshm_passing *passing)
{
  return gshm_ring_is_closed (&passing->ring) ? GSHM_CHANNEL_CLOSED : 0;
}

int
gshm_passing_attempt_to_send (void *data, struct gshm_sleep *sleep)
{
  struct gshm_passing *passing = data;
  struct gshm_ring *ring = &passing->ring;
  uint64_t tail;

  if (!begin_attempt (passing, sleep))
    return GSHM_CORRUPT;
  if (gshm_ring_is_closed (ring))
    return GSHM_CHANNEL_CLOSED;
  int outcome = attempt_to_lock (passing, sleep);
  if (outcome == 0 && (gshm_load (passing->lock.owner) & TURN)
      && waits_for_self (passing))
    return GSHM_SELF_WAIT;
  if (outcome == 0)
    return closed_or_asleep (passing);
  if (outcome != GSHM_DONE)
    return outcome;

  enum gshm_ring_state state
    = gshm_ring_room (ring, passing->length, &passing->bytes, &tail);
  if (state == GSHM_RING_WAIT && !waits_for_self (passing))
    {
      /* [turn] */
      atomic_fetch_or (passing->lock.owner, TURN);
      passing->is_turn = 1;
      sleep_on_other (passing, sleep, tail);
      /* Only now, since a receiver that has the lock just then wakes the
         senders that have said that they sleep.  */
      if (skip_for_receivers (passing, sleep))
        state = gshm_ring_room (ring, passing->length, &passing->bytes,
                                &tail);
      if (state == GSHM_RING_WAIT)
        return closed_or_asleep (passing);
    }
  switch (state)
    {
    case GSHM_RING_READY:
      if (gshm_load (passing->lock.owner) & TURN)
        atomic_fetch_and (passing->lock.owner, ~TURN);
      return GSHM_DONE;
    case GSHM_RING_WAIT:
      unlock (passing);
      return GSHM_SELF_WAIT;
    case GSHM_RING_CLOSED:
      unlock (passing);
      return GSHM_CHANNEL_CLOSED;
    default:
      unlock (passing);
      return GSHM_CORRUPT;
    }
}

int
gshm_passing_attempt_to_receive (void *data, struct gshm_sleep *sleep)
{
  struct gshm_passing *passing = data;
  struct gshm_ring *ring = &passing->ring;
  uint64_t head;

  if (!begin_attempt (passing, sleep))
    return GSHM_CORRUPT;
  enum gshm_ring_state state = gshm_ring_peek (ring, &head);
  if (state == GSHM_RING_READY)
    {
      if (passing->prepare != NULL)
        passing->prepare (passing, gshm_ring_guess (ring));
      int outcome = attempt_to_lock (passing, sleep);
      if (outcome != GSHM_DONE)
        return outcome;
      state = gshm_ring_next (ring, &passing->bytes, &passing->length);
      if (state == GSHM_RING_READY)
        return GSHM_DONE;
      unlock (passing);
      if (state == GSHM_RING_BROKEN)
        return GSHM_CORRUPT;
      /* Another receiver was faster, or there was only something to skip, for
         which a sender may wait.  */
      gshm_ring_wake (passing->side);
      state = gshm_ring_peek (ring, &head);
    }
  switch (state)
    {
    case GSHM_RING_CLOSED:
      return GSHM_CHANNEL_CLOSED;
    case GSHM_RING_WAIT:
      if (waits_for_self (passing))
        return GSHM_SELF_WAIT;
      sleep_on_other (passing, sleep, head);
      return 0;
    default:
      gshm_sleep_on_half (sleep, &passing->other->position, NOWHERE);
      return 0;
    }
}

static void
leave_place (const struct gshm_passing *passing)
{
  if (passing->place != NULL)
    gshm_replace (passing->place, self_in (passing), 0);
}

/* The wait ended without the lock.  */
static void
give_up (const struct gshm_passing *passing)
{
  leave_place (passing);
  if (passing->is_turn && gshm_passing_has_lock (passing, passing->side))
    unlock (passing);
  gshm_give_up_locking (&passing->lock);
  if (passing->announced)
    gshm_ring_wake (passing->other);
}

void
gshm_passing_cancel (void *data)
{
  const struct gshm_passing *passing = data;
  struct gshm_channel *channel = passing->ring.channel;

  if (gshm_is_there ((gshm_word *) channel, sizeof *channel)
      && gshm_ring_is_there (&passing->ring))
    give_up (passing);
}

enum gshm_result
gshm_passing_wait (struct gshm_passing *passing, gshm_attempt *attempt,
                   const struct gshm_host *host)
{
  int64_t timeout = passing->timeout;
  int result = GSHM_TIMED_OUT;

  if (timeout == 0 && passing->is_busy)
    timeout = MOMENT;
  if (timeout > 0)
    result = gshm_wait (host, timeout, attempt, passing);
  if (result == GSHM_DONE)
    leave_place (passing);
  else if (result == GSHM_CORRUPT)
    gshm_passing_cancel (passing);
  else
    give_up (passing);
  return (enum gshm_result) result;
}

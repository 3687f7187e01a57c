/* SPDX-License-Identifier: BSD-3-Clause
   channel.c - sending and receiving a message.

   The steps, in brackets, are those of tests/models/ring.pml.  */

#include <config.h>

#include "core/channel.h"

/* How long a try waits for a lock whose owner is copying a message.  */
#define TRY_GRACE_NS (GSHM_SECOND / 1000)

/* Flag of the senders' owner: it keeps the lock while it waits for space.  */
#define BLOCKED GSHM_MARK

/* A value that the low half of a position never has: a sleep on it ends at
   once.  */
#define NO_POSITION GSHM_MARK


/* Beginning and ending.  */

static uint64_t
self_in (const struct gshm_transfer *transfer)
{
  return gshm_self (
    atomic_load_explicit (transfer->lock.namespace, memory_order_relaxed));
}

int
gshm_transfer_has_lock (const struct gshm_transfer *transfer,
                        const struct gshm_side *side)
{
  uint64_t owner = gshm_load (&side->owner);

  return GSHM_OWNER_OF (owner) == self_in (transfer);
}

static void
unlock (const struct gshm_transfer *transfer)
{
  gshm_unlock (&transfer->side->owner, 0);
}

/* Wake both sides: another receiver can have the message, and a sender may
   wait for the space of a record that was skipped.  */
void
gshm_transfer_abort (void *data)
{
  const struct gshm_transfer *transfer = data;

  unlock (transfer);
  gshm_ring_wake (transfer->other);
  gshm_ring_wake (transfer->side);
}

/* With the lock owned: if a fault is pending or the channel is no longer
   valid, abort and return 1.  */
static int
abort_if_corrupt (struct gshm_transfer *transfer)
{
  const struct gshm_host *host = transfer->ring.host;

  if (gshm_ring_is_valid (&transfer->ring)
      && !(host != NULL && host->is_fault_pending ()))
    return 0;
  gshm_transfer_abort (transfer);
  return 1;
}

/* With the lock owned: unlock, after this side has moved, or could not, as
   STATE says.  */
static enum gshm_result
end (struct gshm_transfer *transfer, enum gshm_ring_state state)
{
  int was_valid = gshm_ring_is_valid (&transfer->ring);

  unlock (transfer);
  if (state == GSHM_RING_READY && was_valid)
    {
      gshm_ring_wake (transfer->side);
      return GSHM_DONE;
    }
  return (state == GSHM_RING_CLOSED
              && transfer->side == &transfer->ring.channel->senders
            ? GSHM_CHANNEL_CLOSED
            : GSHM_CORRUPT);
}

enum gshm_result
gshm_transfer_end_sending (struct gshm_transfer *transfer)
{
  if (abort_if_corrupt (transfer))
    return GSHM_CORRUPT;
  return end (transfer, gshm_ring_commit (&transfer->ring, transfer->length));
}

enum gshm_result
gshm_transfer_end_receiving (struct gshm_transfer *transfer)
{
  if (abort_if_corrupt (transfer))
    return GSHM_CORRUPT;
  return end (transfer, gshm_ring_release (&transfer->ring, transfer->length));
}

/* Whether this operation would wait for the other side, whose lock this thread
   owns.  */
static int
waits_for_self (const struct gshm_transfer *transfer)
{
  return transfer->timeout != 0
         && gshm_transfer_has_lock (transfer, transfer->other);
}

static int
attempt_to_lock (struct gshm_transfer *transfer, struct gshm_sleep *sleep)
{
  int outcome = gshm_attempt_to_lock (&transfer->lock, 0, sleep);

  /* A blocked owner may wait for long.  */
  transfer->is_busy
    = (outcome == 0 && !(gshm_load (transfer->lock.owner) & BLOCKED));
  if (outcome == GSHM_OWNER_DIED)
    return GSHM_DONE;
  if (outcome == GSHM_DEADLOCK && transfer->is_blocked)
    return GSHM_DONE;
  return outcome;
}

/* Take a slot among the waiters, for the statistics.  If there is none and
   CHECK_OWNERS, free those of dead threads before.  */
static void
take_slot (struct gshm_transfer *transfer, int check_owners)
{
  gshm_long_word *waiting = transfer->side->waiting;
  uint64_t self = self_in (transfer);

  if (transfer->slot != NULL && atomic_load (transfer->slot) == self)
    return;
  transfer->slot = gshm_take_slot (waiting, GSHM_MAX_WAITERS, self);
  if (transfer->slot == NULL && check_owners)
    {
      gshm_count_slots (waiting, GSHM_MAX_WAITERS, 1,
                        transfer->lock.namespace);
      transfer->slot = gshm_take_slot (waiting, GSHM_MAX_WAITERS, self);
    }
}

/* Begin an attempt.  Return 0 if there is no valid channel.  */
static int
begin_attempt (struct gshm_transfer *transfer, const struct gshm_sleep *sleep)
{
  if (!gshm_ring_is_valid (&transfer->ring))
    return 0;
  if (sleep->announce)
    take_slot (transfer, sleep->check_owners);
  return 1;
}

/* Sleep until the word of the other side's position is no longer WORD.  */
static void
sleep_on_other (struct gshm_transfer *transfer, struct gshm_sleep *sleep,
                uint64_t word)
{
  transfer->announced |= sleep->announce;
  gshm_sleep_until_changed (sleep, &transfer->other->position, word);
  sleep->processor = &transfer->other->processor;
}

/* [help] If the next record is one to skip, release it in place of the
   receivers, of which there may be none.  Return whether that may have made
   space.  */
static int
skip_for_receivers (struct gshm_transfer *transfer,
                    const struct gshm_sleep *sleep)
{
  struct gshm_locking lock = { .owner = &transfer->other->owner,
                               .namespace = transfer->lock.namespace };
  struct gshm_sleep none = { .check_owners = sleep->check_owners };
  uint64_t length;
  char *bytes;

  if (!gshm_ring_is_to_skip (&transfer->ring))
    return 0;
  int outcome = gshm_attempt_to_lock (&lock, 0, &none);
  transfer->is_busy = outcome == 0;
  if (outcome == 0 || outcome == GSHM_DEADLOCK)
    return 0;
  gshm_ring_peek (&transfer->ring, &bytes, &length);
  gshm_unlock (lock.owner, 0);
  return 1;
}

/* The result of a sender's attempt after it has set WAITERS.  If the channel
   was closed before, no thread will wake this one.  */
static int
closed_or_not_yet (const struct gshm_transfer *transfer)
{
  return gshm_ring_is_closed (&transfer->ring) ? GSHM_CHANNEL_CLOSED : 0;
}

int
gshm_transfer_attempt_to_send (void *data, struct gshm_sleep *sleep)
{
  struct gshm_transfer *transfer = data;
  struct gshm_ring *ring = &transfer->ring;
  uint64_t tail;

  if (!begin_attempt (transfer, sleep))
    return GSHM_CORRUPT;
  if (gshm_ring_is_closed (ring))
    return GSHM_CHANNEL_CLOSED;
  int outcome = attempt_to_lock (transfer, sleep);
  if (outcome == 0 && (gshm_load (transfer->lock.owner) & BLOCKED)
      && waits_for_self (transfer))
    return GSHM_SELF_WAIT;
  if (outcome == 0)
    return closed_or_not_yet (transfer);
  if (outcome != GSHM_DONE)
    return outcome;

  enum gshm_ring_state state
    = gshm_ring_reserve (ring, transfer->length, &transfer->bytes, &tail);
  if (state == GSHM_RING_WAIT && !waits_for_self (transfer))
    {
      /* [block] */
      atomic_fetch_or (transfer->lock.owner, BLOCKED);
      transfer->is_blocked = 1;
      sleep_on_other (transfer, sleep, tail);
      /* After WAITERS is set: if a receiver owns the lock now, it will wake
         this thread.  */
      if (skip_for_receivers (transfer, sleep))
        state = gshm_ring_reserve (ring, transfer->length, &transfer->bytes,
                                   &tail);
      if (state == GSHM_RING_WAIT)
        return closed_or_not_yet (transfer);
    }
  switch (state)
    {
    case GSHM_RING_READY:
      if (gshm_load (transfer->lock.owner) & BLOCKED)
        atomic_fetch_and (transfer->lock.owner, ~BLOCKED);
      return GSHM_DONE;
    case GSHM_RING_WAIT:
      unlock (transfer);
      return GSHM_SELF_WAIT;
    case GSHM_RING_CLOSED:
      unlock (transfer);
      return GSHM_CHANNEL_CLOSED;
    default:
      unlock (transfer);
      return GSHM_CORRUPT;
    }
}

int
gshm_transfer_attempt_to_receive (void *data, struct gshm_sleep *sleep)
{
  struct gshm_transfer *transfer = data;
  struct gshm_ring *ring = &transfer->ring;
  uint64_t head;

  if (!begin_attempt (transfer, sleep))
    return GSHM_CORRUPT;
  enum gshm_ring_state state = gshm_ring_poll (ring, &head);
  if (state == GSHM_RING_READY)
    {
      if (transfer->prepare != NULL)
        transfer->prepare (transfer, gshm_ring_next_length (ring));
      int outcome = attempt_to_lock (transfer, sleep);
      if (outcome != GSHM_DONE)
        return outcome;
      state = gshm_ring_peek (ring, &transfer->bytes, &transfer->length);
      if (state == GSHM_RING_READY)
        return GSHM_DONE;
      unlock (transfer);
      if (state == GSHM_RING_CORRUPT)
        return GSHM_CORRUPT;
      /* Another receiver was faster; or there was only a record to skip, for
         whose space a sender may wait.  */
      gshm_ring_wake (transfer->side);
      state = gshm_ring_poll (ring, &head);
    }
  switch (state)
    {
    case GSHM_RING_CLOSED:
      return GSHM_CHANNEL_CLOSED;
    case GSHM_RING_WAIT:
      if (waits_for_self (transfer))
        return GSHM_SELF_WAIT;
      sleep_on_other (transfer, sleep, head);
      return 0;
    default:
      gshm_sleep_on_half (sleep, &transfer->other->position, NO_POSITION);
      return 0;
    }
}

static void
release_slot (const struct gshm_transfer *transfer)
{
  if (transfer->slot != NULL)
    gshm_replace (transfer->slot, self_in (transfer), 0);
}

int
gshm_transfer_attempt_to_find (void *data, struct gshm_sleep *sleep)
{
  int result = gshm_transfer_attempt_to_receive (data, sleep);

  if (result == GSHM_DONE)
    gshm_transfer_abort (data);
  return result;
}

void
gshm_transfer_leave (const struct gshm_transfer *transfer)
{
  if (gshm_ring_is_valid (&transfer->ring))
    {
      release_slot (transfer);
      gshm_cancel_locking (&transfer->lock);
    }
}

/* End the wait without the lock.  */
static void
cancel_wait (const struct gshm_transfer *transfer)
{
  release_slot (transfer);
  if (transfer->is_blocked
      && gshm_transfer_has_lock (transfer, transfer->side))
    unlock (transfer);
  gshm_cancel_locking (&transfer->lock);
  if (transfer->announced)
    gshm_ring_wake (transfer->other);
}

void
gshm_transfer_cancel (void *data)
{
  const struct gshm_transfer *transfer = data;
  struct gshm_channel_header *channel = transfer->ring.channel;

  if (gshm_is_accessible ((gshm_word *) channel, sizeof *channel)
      && gshm_ring_is_valid (&transfer->ring))
    cancel_wait (transfer);
}

enum gshm_result
gshm_transfer_wait (struct gshm_transfer *transfer, gshm_attempt *attempt,
                    const struct gshm_host *host)
{
  int64_t timeout = transfer->timeout;
  int result = GSHM_TIMED_OUT;

  if (timeout == 0 && transfer->is_busy)
    timeout = TRY_GRACE_NS;
  if (timeout > 0)
    result = gshm_wait (host, timeout, attempt, transfer);
  if (result == GSHM_DONE)
    release_slot (transfer);
  else if (result == GSHM_CORRUPT)
    gshm_transfer_cancel (transfer);
  else
    cancel_wait (transfer);
  return (enum gshm_result) result;
}

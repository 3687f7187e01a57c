/* SPDX-License-Identifier: BSD-3-Clause
   ring.c - a queue of messages in memory that processes share.

   The steps have the names that tests/models/ring.pml gives them, in
   brackets.  */

#include <config.h>

#include <limits.h>
#include <stdatomic.h>

#include "core/format.h"
#include "core/lock.h"
#include "core/ring.h"

#define FORMAT GSHM_FORMAT (GSHM_CHANNEL, GSHM_CHANNEL_LAYOUT)

/* How often others may change flags of a position while it is moved; only who
   scribbles there does so more often.  */
#define TRIES 64

static uint64_t
acquire (const gshm_long_word *word)
{
  return atomic_load_explicit (word, memory_order_acquire);
}

static void
set (gshm_long_word *word, uint64_t value)
{
  atomic_store_explicit (word, value, memory_order_relaxed);
}

void
gshm_ring_init (void *memory, size_t length, uint32_t namespace)
{
  struct gshm_channel *channel = memory;
  gshm_long_word *words = memory;

  for (size_t i = 0; i < sizeof *channel / sizeof *words; i++)
    atomic_store (&words[i], 0);
  atomic_store (&channel->namespace, namespace);
  atomic_store (&channel->size, (length - sizeof *channel) & ~UINT64_C (7));
  /* Release: what is initialized is seen by whoever sees what it is.  */
  atomic_store_explicit (&channel->format, FORMAT, memory_order_release);
}

int
gshm_ring_is_there (const struct gshm_ring *ring)
{
  return acquire (&ring->channel->format) == FORMAT;
}

int
gshm_ring_find (struct gshm_ring *ring, void *memory, size_t length)
{
  ring->channel = memory;
  if (length < sizeof *ring->channel || !gshm_ring_is_there (ring))
    return 0;
  ring->bytes = (char *) memory + sizeof *ring->channel;
  ring->size = gshm_load (&ring->channel->size);
  return ring->size >= GSHM_RECORD_HEADER && ring->size % 8 == 0
         && ring->size <= length - sizeof *ring->channel;
}

/* The size of a record.  LENGTH is at most that of the ring.  */
static uint64_t
record_size (uint64_t length)
{
  return GSHM_RECORD_HEADER + ((length + 7) & ~UINT64_C (7));
}

int
gshm_ring_fits (const struct gshm_ring *ring, uint64_t length)
{
  return length <= ring->size - GSHM_RECORD_HEADER;
}

/* Where in the ring POSITION is.  */
static uint64_t
offset_of (const struct gshm_ring *ring, uint64_t position)
{
  uint64_t mask = ring->size - 1;

  /* Most rings have a size that saves the division.  */
  return (ring->size & mask) == 0 ? position & mask : position % ring->size;
}

/* What the record at OFFSET, a multiple of 8, begins with.  */
static gshm_long_word *
length_at (const struct gshm_ring *ring, uint64_t offset)
{
  return (gshm_long_word *) (void *) (ring->bytes + offset);
}

static char *
message_at (const struct gshm_ring *ring, uint64_t offset)
{
  return ring->bytes + offset + GSHM_RECORD_HEADER;
}


/* Positions.  */

/* The tally that counts while SIDE is at POSITION.  If someone has scribbled
   there, any.  */
static struct gshm_tally *
tally_at (struct gshm_side *side, uint64_t position)
{
  return &side->tallies[gshm_load (&side->tallies[0].position) != position];
}

/* [count] Prepare what is to be counted once SIDE is at the position TO: so
   many MESSAGES more, of BYTES.  */
static void
prepare_tally (struct gshm_side *side, uint64_t from, uint64_t to,
               uint64_t messages, uint64_t bytes)
{
  const struct gshm_tally *now = tally_at (side, from);
  struct gshm_tally *next = &side->tallies[now == &side->tallies[0]];

  /* Release: who sees a part of this sees that SIDE is at FROM.  */
  atomic_thread_fence (memory_order_release);
  set (&next->messages, gshm_load (&now->messages) + messages);
  set (&next->bytes, gshm_load (&now->bytes) + bytes);
  set (&next->position, to);
}

/* [publish] Move SIDE, whose lock this thread holds, on, and count what that
   passes; but not if some memory that this thread has touched was lost.
   Release: what was done with the bytes in between, and the tally, are seen by
   whoever sees the position.  */
static enum gshm_ring_state
publish (const struct gshm_ring *ring, struct gshm_side *side, uint64_t from,
         uint64_t to, uint64_t messages, uint64_t bytes)
{
  uint64_t word = gshm_load (&side->position);

  prepare_tally (side, from, to, messages, bytes);
  if (ring->host != NULL && ring->host->is_fault_pending ())
    return GSHM_RING_BROKEN;
  for (int i = 0; i < TRIES && GSHM_POSITION (word) == from; i++)
    {
      if (word & GSHM_CLOSED)
        return GSHM_RING_CLOSED;
      if (atomic_compare_exchange_strong (&side->position, &word,
                                          to | (word & GSHM_WAITERS)))
        return GSHM_RING_READY;
    }
  return GSHM_RING_BROKEN;
}

/* The position of OTHER as SIDE, whose lock this thread holds, last saw it,
   which saves looking at what OTHER changes all the time.  Acquire, here and
   below: what OTHER did with the bytes up to there is seen.  */
static uint64_t
position_seen (const struct gshm_side *side)
{
  return GSHM_POSITION (acquire (&side->seen));
}

/* The word of the position of OTHER.  Release: who reads what SIDE has seen
   sees what this thread has.  */
static uint64_t
look_at (struct gshm_side *side, const struct gshm_side *other)
{
  uint64_t word = acquire (&other->position);

  atomic_store_explicit (&side->seen, GSHM_POSITION (word),
                         memory_order_release);
  return word;
}

void
gshm_ring_wake (struct gshm_side *side)
{
  uint64_t word = gshm_load (&side->position);

  /* [wake] */
  if ((word & GSHM_WAITERS)
      && gshm_wake (gshm_low_half (&side->position), 1) == 0
      /* [quiet] Nobody sleeps, so that the next need not be woken; but for who
         went to sleep just now.  */
      && gshm_replace (&side->position, word, word & ~GSHM_WAITERS))
    gshm_wake (gshm_low_half (&side->position), INT_MAX);
}


/* Sending.  */

enum gshm_ring_state
gshm_ring_room (const struct gshm_ring *ring, uint64_t length, char **bytes,
                uint64_t *word)
{
  struct gshm_side *senders = &ring->channel->senders;
  struct gshm_side *receivers = &ring->channel->receivers;
  uint64_t head = gshm_load (&senders->position), need = record_size (length);

  if (head & GSHM_CLOSED)
    return GSHM_RING_CLOSED;
  head = GSHM_POSITION (head);
  for (int i = 0; i < 2; i++)
    {
      uint64_t offset = offset_of (ring, head), rest = ring->size - offset;
      uint64_t wanted = need < rest ? need : rest;
      uint64_t used = head - position_seen (senders);

      if (used > ring->size || ring->size - used < wanted)
        {
          *word = look_at (senders, receivers);
          used = head - GSHM_POSITION (*word);
          if (used > ring->size)
            return GSHM_RING_BROKEN;
          if (ring->size - used < wanted)
            return GSHM_RING_WAIT;
        }
      if (need <= rest)
        {
          *bytes = message_at (ring, offset);
          return GSHM_RING_READY;
        }
      /* [skip] */
      set (length_at (ring, offset), GSHM_SKIP);
      enum gshm_ring_state state
        = publish (ring, senders, head, head + rest, 0, 0);
      if (state != GSHM_RING_READY)
        return state;
      head += rest;
    }
  return GSHM_RING_BROKEN;
}

enum gshm_ring_state
gshm_ring_send (const struct gshm_ring *ring, uint64_t length)
{
  struct gshm_side *senders = &ring->channel->senders;
  uint64_t head = GSHM_POSITION (gshm_load (&senders->position));
  uint64_t offset = offset_of (ring, head);

  if (ring->size - offset < record_size (length))
    return GSHM_RING_BROKEN;
  set (length_at (ring, offset), length);
  return publish (ring, senders, head, head + record_size (length), 1, length);
}

int
gshm_ring_is_closed (const struct gshm_ring *ring)
{
  return (atomic_load (&ring->channel->senders.position) & GSHM_CLOSED) != 0;
}

/* Wake all senders that wait for WORD.  One that has looked whether the
   channel is closed and does not sleep yet has set WAITERS before, or will
   look again.  */
static void
wake_all (gshm_long_word *word)
{
  atomic_fetch_and (word, ~GSHM_WAITERS);
  gshm_wake (gshm_low_half (word), INT_MAX);
}

int
gshm_ring_close (const struct gshm_ring *ring)
{
  struct gshm_channel *channel = ring->channel;
  /* [close] Of a sender and of who closes the channel, the one that changes
     the head first is first.  */
  uint64_t before = atomic_fetch_or (&channel->senders.position, GSHM_CLOSED);

  gshm_wake (gshm_low_half (&channel->senders.position), INT_MAX);
  wake_all (&channel->receivers.position);
  wake_all (&channel->senders.owner);
  return (before & GSHM_CLOSED) != 0;
}


/* Receiving.  */

enum gshm_ring_state
gshm_ring_peek (const struct gshm_ring *ring, uint64_t *word)
{
  const struct gshm_side *receivers = &ring->channel->receivers;
  /* Before the head, which it never passes.  */
  uint64_t tail = GSHM_POSITION (acquire (&receivers->position));

  if (position_seen (receivers) != tail)
    return GSHM_RING_READY;
  *word = acquire (&ring->channel->senders.position);
  if (GSHM_POSITION (*word) != tail)
    return GSHM_RING_READY;
  return *word & GSHM_CLOSED ? GSHM_RING_CLOSED : GSHM_RING_WAIT;
}

enum gshm_ring_state
gshm_ring_next (const struct gshm_ring *ring, char **bytes, uint64_t *length)
{
  struct gshm_side *senders = &ring->channel->senders;
  struct gshm_side *receivers = &ring->channel->receivers;
  uint64_t tail = GSHM_POSITION (gshm_load (&receivers->position));

  for (int i = 0; i < 2; i++)
    {
      uint64_t offset = offset_of (ring, tail), rest = ring->size - offset;
      uint64_t used = position_seen (receivers) - tail;

      if (used == 0 || used > ring->size)
        {
          uint64_t head = look_at (receivers, senders);
          used = GSHM_POSITION (head) - tail;
          if (used == 0)
            return head & GSHM_CLOSED ? GSHM_RING_CLOSED : GSHM_RING_WAIT;
          if (used > ring->size)
            return GSHM_RING_BROKEN;
        }
      /* Once, since others may write there.  */
      *length = gshm_load (length_at (ring, offset));
      if (*length != GSHM_SKIP)
        {
          *bytes = message_at (ring, offset);
          return (gshm_ring_fits (ring, *length)
                  && record_size (*length) <= (rest < used ? rest : used)
                  ? GSHM_RING_READY : GSHM_RING_BROKEN);
        }
      if (offset == 0 || rest > used
          || publish (ring, receivers, tail, tail + rest, 0, 0)
             != GSHM_RING_READY)
        return GSHM_RING_BROKEN;
      tail += rest;
    }
  return GSHM_RING_BROKEN;
}

/* What the next record begins with, if there is one.  */
static uint64_t
length_of_next (const struct gshm_ring *ring)
{
  uint64_t tail = GSHM_POSITION (acquire (&ring->channel->receivers.position));

  return gshm_load (length_at (ring, offset_of (ring, tail)));
}

int
gshm_ring_is_to_skip (const struct gshm_ring *ring)
{
  return length_of_next (ring) == GSHM_SKIP;
}

uint64_t
gshm_ring_guess (const struct gshm_ring *ring)
{
  uint64_t length = length_of_next (ring);

  return gshm_ring_fits (ring, length) ? length : 0;
}

enum gshm_ring_state
gshm_ring_receive (const struct gshm_ring *ring, uint64_t length)
{
  struct gshm_side *receivers = &ring->channel->receivers;
  uint64_t tail = GSHM_POSITION (gshm_load (&receivers->position));

  return publish (ring, receivers, tail, tail + record_size (length), 1,
                  length);
}


/* Statistics.  */

struct gshm_passed
gshm_ring_passed (struct gshm_side *side)
{
  struct gshm_passed passed = { 0, 0 };

  /* While SIDE stays where it is nobody writes to the tally that counts.  */
  for (int i = 0; i < 1000; i++)
    {
      uint64_t position = GSHM_POSITION (acquire (&side->position));
      const struct gshm_tally *tally = tally_at (side, position);

      passed.messages = acquire (&tally->messages);
      passed.bytes = acquire (&tally->bytes);
      /* Acquire: if something of it was of the next, SIDE is seen to be
         on.  */
      atomic_thread_fence (memory_order_acquire);
      if (position == GSHM_POSITION (gshm_load (&side->position)))
        break;
    }
  return passed;
}

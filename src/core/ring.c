/* SPDX-License-Identifier: BSD-3-Clause
   ring.c - a ring buffer of messages in shared memory.

   The steps, in brackets, are those of tests/models/ring.pml.  */

#include <config.h>

#include <limits.h>
#include <stdatomic.h>

#include "core/format.h"
#include "core/lock.h"
#include "core/ring.h"

/* How often other threads may change the flags of a position while this one
   moves it.  Only a hostile process does so more often.  */
#define MAX_TRIES 64

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
  struct gshm_channel_header *channel = memory;
  gshm_long_word *words = memory;

  for (size_t i = 0; i < sizeof *channel / sizeof *words; i++)
    atomic_store (&words[i], 0);
  atomic_store (&channel->namespace, namespace);
  atomic_store (&channel->size, (length - sizeof *channel) & ~UINT64_C (7));
  /* Release: a thread that sees the format sees all of this.  */
  atomic_store_explicit (&channel->format, GSHM_RING_FORMAT,
                         memory_order_release);
}

int
gshm_ring_open (struct gshm_ring *ring, void *memory, size_t length)
{
  ring->channel = memory;
  if (length < sizeof *ring->channel || !gshm_ring_is_valid (ring))
    return 0;
  ring->bytes = (char *) memory + sizeof *ring->channel;
  ring->size = gshm_load (&ring->channel->size);
  return ring->size >= GSHM_RECORD_HEADER && ring->size % 8 == 0
         && ring->size <= length - sizeof *ring->channel;
}

/* The size of a record for LENGTH bytes, at most the size of the ring.  */
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

/* The offset in the ring of POSITION.  */
static uint64_t
offset_of (const struct gshm_ring *ring, uint64_t position)
{
  uint64_t mask = ring->size - 1;

  /* A power of two saves the division.  */
  return (ring->size & mask) == 0 ? position & mask : position % ring->size;
}

/* The length of the record at OFFSET, a multiple of 8.  */
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

/* The counters of SIDE that are valid at POSITION, or any if they are
   corrupt.  */
static struct gshm_counters *
counters_at (struct gshm_side *side, uint64_t position)
{
  return &side->counters[gshm_load (&side->counters[0].position) != position];
}

/* [count] Prepare the counters for the position TO: MESSAGES more, of
   BYTES.  */
static void
prepare_counters (struct gshm_side *side, uint64_t from, uint64_t to,
                  uint64_t messages, uint64_t bytes)
{
  const struct gshm_counters *now = counters_at (side, from);
  struct gshm_counters *next = &side->counters[now == &side->counters[0]];

  /* Release: a thread that sees one of these stores sees that SIDE is at
     FROM.  */
  atomic_thread_fence (memory_order_release);
  set (&next->messages, gshm_load (&now->messages) + messages);
  set (&next->bytes, gshm_load (&now->bytes) + bytes);
  set (&next->position, to);
}

/* [publish] Move SIDE, whose lock this thread owns, from FROM to TO, past
   MESSAGES of BYTES; but not if a fault is pending.  Release, by the
   compare-and-swap: a thread that sees the position sees the accesses to the
   bytes in between, and the counters.  */
static enum gshm_ring_state
publish (const struct gshm_ring *ring, struct gshm_side *side, uint64_t from,
         uint64_t to, uint64_t messages, uint64_t bytes)
{
  uint64_t word = gshm_load (&side->position);

  prepare_counters (side, from, to, messages, bytes);
  atomic_store_explicit (&side->processor, gshm_processor (),
                         memory_order_relaxed);
  if (ring->host != NULL && ring->host->is_fault_pending ())
    return GSHM_RING_CORRUPT;
  for (int i = 0; i < MAX_TRIES && GSHM_POSITION (word) == from; i++)
    {
      if (word & GSHM_CLOSED)
        return GSHM_RING_CLOSED;
      if (atomic_compare_exchange_strong (&side->position, &word,
                                          to | (word & GSHM_WAITERS)))
        return GSHM_RING_READY;
    }
  return GSHM_RING_CORRUPT;
}

/* The position of the other side when SIDE last loaded it.  This saves loads
   of a cache line that the other side changes all the time.  Acquire, here and
   below: this thread sees the other side's accesses to the bytes up to
   there.  */
static uint64_t
cached_position (const struct gshm_side *side)
{
  return GSHM_POSITION (acquire (&side->cached_position));
}

/* Load the word of the position of OTHER, and cache it.  Release: a thread
   that loads the cached position sees what this thread sees.  */
static uint64_t
refresh_position (struct gshm_side *side, const struct gshm_side *other)
{
  uint64_t word = acquire (&other->position);

  atomic_store_explicit (&side->cached_position, GSHM_POSITION (word),
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
      /* [quiet] No thread sleeps, so that the next change need not wake any.
         But one may have gone to sleep between the two steps.  */
      && gshm_replace (&side->position, word, word & ~GSHM_WAITERS))
    gshm_wake (gshm_low_half (&side->position), INT_MAX);
}


/* Sending.  */

enum gshm_ring_state
gshm_ring_reserve (const struct gshm_ring *ring, uint64_t length, char **bytes,
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
      uint64_t used = head - cached_position (senders);

      if (used > ring->size || ring->size - used < wanted)
        {
          *word = refresh_position (senders, receivers);
          used = head - GSHM_POSITION (*word);
          if (used > ring->size)
            return GSHM_RING_CORRUPT;
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
  return GSHM_RING_CORRUPT;
}

enum gshm_ring_state
gshm_ring_commit (const struct gshm_ring *ring, uint64_t length)
{
  struct gshm_side *senders = &ring->channel->senders;
  uint64_t head = GSHM_POSITION (gshm_load (&senders->position));
  uint64_t offset = offset_of (ring, head);

  if (ring->size - offset < record_size (length))
    return GSHM_RING_CORRUPT;
  set (length_at (ring, offset), length);
  return publish (ring, senders, head, head + record_size (length), 1, length);
}

int
gshm_ring_is_closed (const struct gshm_ring *ring)
{
  return (atomic_load (&ring->channel->senders.position) & GSHM_CLOSED) != 0;
}

/* Wake all senders that sleep on WORD.  A sender sets WAITERS, checks whether
   the channel is closed, and sleeps: clearing WAITERS changes WORD for one
   that has checked and does not sleep yet.  */
static void
wake_all (gshm_long_word *word)
{
  atomic_fetch_and (word, ~GSHM_WAITERS);
  gshm_wake (gshm_low_half (word), INT_MAX);
}

int
gshm_ring_close (const struct gshm_ring *ring)
{
  struct gshm_channel_header *channel = ring->channel;
  /* [close] A message is sent before the close if its sender changes the head
     first.  */
  uint64_t before = atomic_fetch_or (&channel->senders.position, GSHM_CLOSED);

  gshm_wake (gshm_low_half (&channel->senders.position), INT_MAX);
  wake_all (&channel->receivers.position);
  wake_all (&channel->senders.owner);
  return (before & GSHM_CLOSED) != 0;
}


/* Receiving.  */

enum gshm_ring_state
gshm_ring_poll (const struct gshm_ring *ring, uint64_t *word)
{
  const struct gshm_side *receivers = &ring->channel->receivers;
  /* Loaded before the head, which it never passes.  */
  uint64_t tail = GSHM_POSITION (acquire (&receivers->position));

  if (cached_position (receivers) != tail)
    return GSHM_RING_READY;
  *word = acquire (&ring->channel->senders.position);
  if (GSHM_POSITION (*word) != tail)
    return GSHM_RING_READY;
  return *word & GSHM_CLOSED ? GSHM_RING_CLOSED : GSHM_RING_WAIT;
}

enum gshm_ring_state
gshm_ring_peek (const struct gshm_ring *ring, char **bytes, uint64_t *length)
{
  struct gshm_side *senders = &ring->channel->senders;
  struct gshm_side *receivers = &ring->channel->receivers;
  uint64_t tail = GSHM_POSITION (gshm_load (&receivers->position));

  for (int i = 0; i < 2; i++)
    {
      uint64_t offset = offset_of (ring, tail), rest = ring->size - offset;
      uint64_t used = cached_position (receivers) - tail;

      if (used == 0 || used > ring->size)
        {
          uint64_t head = refresh_position (receivers, senders);
          used = GSHM_POSITION (head) - tail;
          if (used == 0)
            return head & GSHM_CLOSED ? GSHM_RING_CLOSED : GSHM_RING_WAIT;
          if (used > ring->size)
            return GSHM_RING_CORRUPT;
        }
      /* Load it once, since other processes may store there.  */
      *length = gshm_load (length_at (ring, offset));
      if (*length != GSHM_SKIP)
        {
          *bytes = message_at (ring, offset);
          return (gshm_ring_fits (ring, *length)
                      && record_size (*length) <= (rest < used ? rest : used)
                    ? GSHM_RING_READY
                    : GSHM_RING_CORRUPT);
        }
      if (offset == 0 || rest > used
          || publish (ring, receivers, tail, tail + rest, 0, 0)
             != GSHM_RING_READY)
        return GSHM_RING_CORRUPT;
      tail += rest;
    }
  return GSHM_RING_CORRUPT;
}

/* The length of the next record, or any value if there is none.  */
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
gshm_ring_next_length (const struct gshm_ring *ring)
{
  uint64_t length = length_of_next (ring);

  return gshm_ring_fits (ring, length) ? length : 0;
}

enum gshm_ring_state
gshm_ring_release (const struct gshm_ring *ring, uint64_t length)
{
  struct gshm_side *receivers = &ring->channel->receivers;
  uint64_t tail = GSHM_POSITION (gshm_load (&receivers->position));

  return publish (ring, receivers, tail, tail + record_size (length), 1,
                  length);
}


/* Statistics.  */

struct gshm_totals
gshm_ring_totals (struct gshm_side *side)
{
  struct gshm_totals totals = { 0, 0 };

  /* While SIDE does not move, no thread stores in its valid counters.  */
  for (int i = 0; i < 1000; i++)
    {
      uint64_t position = GSHM_POSITION (acquire (&side->position));
      const struct gshm_counters *counters = counters_at (side, position);

      totals.messages = acquire (&counters->messages);
      totals.bytes = acquire (&counters->bytes);
      /* Acquire: if a load above was of newer counters, SIDE is seen to have
         moved.  */
      atomic_thread_fence (memory_order_acquire);
      if (position == GSHM_POSITION (gshm_load (&side->position)))
        break;
    }
  return totals;
}

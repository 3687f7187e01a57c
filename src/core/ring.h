/* SPDX-License-Identifier: BSD-3-Clause
   ring.h - a ring buffer of messages in shared memory.

   Positions count bytes since the channel was initialized, in multiples of 8,
   and never wrap; a position modulo the size of the ring is an offset in the
   ring.  The messages are between the tail and the head.  Each is a record: 8
   bytes with its length, the message, and padding to a multiple of 8.

   A record is contiguous.  If it does not fit between the head and the end of
   the ring, a record of length SKIP fills that space, and the message goes to
   the start of the ring.  So a message can be loaned without a copy, in any
   memory.  To map the ring twice in succession would achieve the same, but
   only for whole pages, and not in a bytevector or a part of an object.  The
   price is that a message of nearly the ring's size waits until the ring is
   empty.

   The callers own a lock: that of the senders, or that of the receivers.  Each
   side publishes its position by one atomic operation, after all other stores.
   A thread that is killed before has sent (or received) nothing, and one that
   is killed afterwards the whole message.

   All that is loaded from the memory is checked before it is used.  A hostile
   process can forge messages, but cannot make this file access memory outside
   of the ring, or loop more than a few times.  */

#ifndef GSHM_RING_H
#define GSHM_RING_H

#include <stddef.h>
#include <stdint.h>

#include "core/format.h"
#include "core/host.h"

#define GSHM_CHANNEL_LAYOUT 1
#define GSHM_MAX_WAITERS 64 /* blocked threads of a side that are counted */

/* The number of messages and bytes up to a position.  A side has two: the one
   with the side's position is valid; the next one is prepared in the other. */
struct gshm_counters
{
  gshm_long_word position;
  gshm_long_word messages, bytes;
};

/* The senders' or the receivers' part of a channel: 128 bytes that only this
   side accesses, 128 that the other side polls, so that they are in different
   cache lines, and slots of its blocked threads.  */
struct gshm_side
{
  gshm_long_word owner;         /* of the lock; lock.h */
  gshm_long_word cached_position; /* of the other side, which may have
                                     moved on */
  struct gshm_counters counters[2];
  uint64_t unused[8];
  gshm_long_word position; /* with flags */
  /* A hint: as gshm_processor has it, of the thread that changed POSITION. */
  gshm_word processor, unused_too;
  uint64_t unused_as_well[14];
  gshm_long_word waiting[GSHM_MAX_WAITERS];
};

struct gshm_channel_header
{
  gshm_long_word format;
  gshm_word namespace, unused;
  gshm_long_word size;          /* of the ring, a multiple of 8 */
  uint64_t unused_too[13];
  struct gshm_side senders;     /* whose position is the head */
  struct gshm_side receivers;   /* whose position is the tail */
};

_Static_assert (sizeof (struct gshm_channel_header) == 1664,
               "a layout that processes share");

#define GSHM_RING_FORMAT GSHM_FORMAT (GSHM_CHANNEL, GSHM_CHANNEL_LAYOUT)

#define GSHM_RECORD_HEADER 8
#define GSHM_SKIP UINT64_MAX

/* Flags of a position, besides WAITERS of lock.h.  */
#define GSHM_CLOSED UINT64_C (2) /* of the head: the channel is closed */
#define GSHM_POSITION(word) ((word) & ~UINT64_C (7))

/* A channel, with values that an operation has checked.  */
struct gshm_ring
{
  struct gshm_channel_header *channel;
  char *bytes;
  uint64_t size;
  const struct gshm_host *host; /* or NULL */
};

/* Make the LENGTH bytes at MEMORY, more than a struct gshm_channel_header, an
   empty channel.  */
void gshm_ring_init (void *memory, size_t length, uint32_t namespace);

/* Set RING, except for its host, to the channel in the LENGTH bytes at MEMORY.
   Return whether there is a valid one.  */
int gshm_ring_open (struct gshm_ring *ring, void *memory, size_t length);

/* Whether it is still valid.  Acquire: this thread sees what was stored before
   the format.  */
static inline int
gshm_ring_is_valid (const struct gshm_ring *ring)
{
  return atomic_load_explicit (&ring->channel->format, memory_order_acquire)
         == GSHM_RING_FORMAT;
}

enum gshm_ring_state
{
  GSHM_RING_WAIT = 0, /* full, or empty */
  GSHM_RING_READY,
  GSHM_RING_CLOSED, /* and empty, for a receiver */
  GSHM_RING_CORRUPT /* the memory does not contain a valid ring */
};

/* Whether the channel is closed.  */
int gshm_ring_is_closed (const struct gshm_ring *ring);

/* Whether a message of LENGTH bytes could ever be sent.  */
int gshm_ring_fits (const struct gshm_ring *ring, uint64_t length);

/* With the senders' lock: reserve a slot for a message of LENGTH bytes, and
   store its address in BYTES; if the ring is full, store in WORD the word of
   the tail that says so.  This may publish a record to skip.  */
enum gshm_ring_state gshm_ring_reserve (const struct gshm_ring *ring,
                                        uint64_t length, char **bytes,
                                        uint64_t *word);

/* With the senders' lock: publish the message of LENGTH bytes in the slot.  */
enum gshm_ring_state gshm_ring_commit (const struct gshm_ring *ring,
                                       uint64_t length);

/* Without a lock: the length of the next message, or 0; another one may be
   next when this returns.  */
uint64_t gshm_ring_next_length (const struct gshm_ring *ring);

/* Without a lock: whether there may be a message to receive.  If not, store in
   WORD the word of the head that says so.  */
enum gshm_ring_state gshm_ring_poll (const struct gshm_ring *ring,
                                     uint64_t *word);

/* With the receivers' lock: store in BYTES the address of the next message,
   and in LENGTH its length.  This may release a record to skip.  */
enum gshm_ring_state gshm_ring_peek (const struct gshm_ring *ring,
                                     char **bytes, uint64_t *length);

/* Without a lock: whether the next record is one to skip.  */
int gshm_ring_is_to_skip (const struct gshm_ring *ring);

/* With the receivers' lock: release that message, of LENGTH bytes.  */
enum gshm_ring_state gshm_ring_release (const struct gshm_ring *ring,
                                        uint64_t length);

/* Wake one thread that sleeps until the position of SIDE changes, if any.  */
void gshm_ring_wake (struct gshm_side *side);

/* Close the channel and wake all waiters.  Return whether it was closed
   before.  */
int gshm_ring_close (const struct gshm_ring *ring);

/* How much a side has sent or received.  */
struct gshm_totals
{
  uint64_t messages, bytes;
};

/* Without a lock.  */
struct gshm_totals gshm_ring_totals (struct gshm_side *side);

#endif /* GSHM_RING_H */

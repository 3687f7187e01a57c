/* SPDX-License-Identifier: BSD-3-Clause
   ring.h - a queue of messages in memory that processes share.

   All positions count bytes from the first one ever sent, in multiples of 8,
   and never wrap; modulo the ring's size they say where in the ring something
   is.  Messages are between the tail and the head, each one a record: 8 bytes
   that hold its length, and the message, filled up to a multiple of 8.

   A record is in one piece: where it does not fit between the head and the end
   of the ring it goes to the start, and a record of length SKIP takes its
   place.  So a message can be had in place, whatever memory the channel is in.
   The other way, to map the ring twice in a row, needs whole pages and a
   mapping of the channel's own: there would be none in a bytevector, nor in a
   part of an object.  The price is that a message of nearly the ring's size
   waits for the ring to be empty.

   Senders have a lock and receivers have another, which this file's callers
   hold.  Each side publishes its position with one atomic operation, after all
   else is done, and before it nothing counts: who is killed at any instant has
   either sent (or received) the whole message, or has done nothing.

   All that is read from the memory is checked before it is used.  Whoever
   scribbles there can make up messages, but nothing outside of the ring is
   touched, and no loop goes round more often than a few times.  */

#ifndef GSHM_RING_H
#define GSHM_RING_H

#include <stddef.h>
#include <stdint.h>

#include "core/host.h"

#define GSHM_CHANNEL_LAYOUT 1
#define GSHM_WAITING 64         /* threads of a side that are counted */

/* How much went by until a position.  Of a side's two, the one that has the
   side's position counts; the other is where the next one is prepared.  */
struct gshm_tally
{
  gshm_long_word position;
  gshm_long_word messages, bytes;
};

/* What belongs to the senders, or to the receivers: 128 bytes for themselves,
   128 for what the other side looks at, so that neither slows the other, and
   who of them waits.  */
struct gshm_side
{
  gshm_long_word owner;         /* of the lock; lock.h */
  gshm_long_word seen;          /* where the other side was, at least */
  struct gshm_tally tallies[2];
  uint64_t unused[8];
  gshm_long_word position;      /* and flags */
  uint64_t unused_too[15];
  gshm_long_word waiting[GSHM_WAITING];
};

struct gshm_channel
{
  gshm_long_word format;
  gshm_word namespace, unused;
  gshm_long_word size;          /* of the ring, a multiple of 8 */
  uint64_t unused_too[13];
  struct gshm_side senders;     /* whose position is the head */
  struct gshm_side receivers;   /* whose position is the tail */
};

_Static_assert (sizeof (struct gshm_channel) == 1664,
                "a layout that processes share");

#define GSHM_RECORD_HEADER 8
#define GSHM_SKIP UINT64_MAX

/* Flags of a position.  The first is WAITERS of lock.h.  */
#define GSHM_CLOSED UINT64_C (2)        /* of the head: nothing more is sent */
#define GSHM_POSITION(word) ((word) & ~UINT64_C (7))

/* A channel as one operation sees it.  */
struct gshm_ring
{
  struct gshm_channel *channel;
  char *bytes;
  uint64_t size;
  const struct gshm_host *host; /* or NULL */
};

/* Make the LENGTH bytes at MEMORY, which are enough for a ring of some bytes,
   an empty channel.  */
void gshm_ring_init (void *memory, size_t length, uint32_t namespace);

/* Set RING, but for its host, to the channel in the LENGTH bytes at MEMORY;
   return whether there is one.  */
int gshm_ring_find (struct gshm_ring *ring, void *memory, size_t length);

/* Whether there still is one.  */
int gshm_ring_is_there (const struct gshm_ring *ring);

enum gshm_ring_state
{
  GSHM_RING_WAIT = 0,   /* full, or empty */
  GSHM_RING_READY,
  GSHM_RING_CLOSED,     /* and empty, for a receiver */
  GSHM_RING_BROKEN      /* the memory holds nonsense */
};

/* Whether nothing can be sent any more.  */
int gshm_ring_is_closed (const struct gshm_ring *ring);

/* Whether a message of LENGTH bytes could ever be sent.  */
int gshm_ring_fits (const struct gshm_ring *ring, uint64_t length);

/* For a sender: whether there is room for a message of LENGTH bytes.  If so,
   store in BYTES where it goes; if the channel is full, store in WORD the word
   of the tail for which that was found.  If it is to go to the start of the
   ring, what is to be skipped before is sent.  */
enum gshm_ring_state gshm_ring_room (const struct gshm_ring *ring,
                                     uint64_t length, char **bytes,
                                     uint64_t *word);

/* For a sender: the message of LENGTH bytes is written.  Send it.  */
enum gshm_ring_state gshm_ring_send (const struct gshm_ring *ring,
                                     uint64_t length);

/* For anyone: how long the next message is, or 0; another may be next by
   now.  */
uint64_t gshm_ring_guess (const struct gshm_ring *ring);

/* For anyone: whether there may be something to receive.  If not, store in
   WORD the word of the head for which that was found.  */
enum gshm_ring_state gshm_ring_peek (const struct gshm_ring *ring,
                                     uint64_t *word);

/* For a receiver: store in BYTES where the next message is, and in LENGTH how
   many bytes it has.  What is to be skipped before it is gone then.  */
enum gshm_ring_state gshm_ring_next (const struct gshm_ring *ring,
                                     char **bytes, uint64_t *length);

/* For anyone: whether the next record is one to be skipped.  */
int gshm_ring_is_to_skip (const struct gshm_ring *ring);

/* For a receiver: that message, of LENGTH bytes, was received.  */
enum gshm_ring_state gshm_ring_receive (const struct gshm_ring *ring,
                                        uint64_t length);

/* Whoever waits for the position of SIDE to change: wake one, if one
   sleeps.  */
void gshm_ring_wake (struct gshm_side *side);

/* Have nothing sent any more, and wake all who wait.  Return whether that was
   so before.  */
int gshm_ring_close (const struct gshm_ring *ring);

/* What went by on a SIDE; this does not disturb anyone.  */
struct gshm_passed
{
  uint64_t messages, bytes;
};

struct gshm_passed gshm_ring_passed (struct gshm_side *side);

#endif /* GSHM_RING_H */

/* SPDX-License-Identifier: BSD-3-Clause
   channel.h - what a thread does with a channel: to pass a message.

   A channel is a ring of messages (ring.h), a lock of its senders and one of
   its receivers (lock.h), and waiting (wait.h).  An operation takes its side's
   lock, does a step on the ring and gives the lock up:

   - A receiver first waits for a message and then for the lock, which it has
     only for as long as it takes the message.
   - A sender first waits for the lock and keeps it while it waits for room,
     marked: it is its turn.  So a large message is not passed by small ones
     for ever.  The mark tells other senders that they may wait for long.

   To lend a message is a step that takes as long as its borrower does.

   A waiter does not depend on being woken, nor on an owner of a lock to live:
   it takes the lock over, and there is nothing to repair.  */

#ifndef GSHM_CHANNEL_H
#define GSHM_CHANNEL_H

#include "core/lock.h"
#include "core/ring.h"

/* One thread's use of a channel.  */
struct gshm_passing
{
  struct gshm_ring ring;
  struct gshm_side *side, *other;       /* this thread's, and the other */
  struct gshm_locking lock;             /* of this side */
  int64_t timeout;
  uint64_t length;                      /* of the message */
  char *bytes;                          /* where it is */
  gshm_long_word *place;                /* among the waiters */
  int is_turn;          /* this operation set the mark of its side's lock */
  int is_busy;          /* the lock was not free in the last attempt */
  int announced;        /* this thread may sleep until the other side moves */
  /* A receiver's, or NULL: it is about to lock, for a message that probably
     has LENGTH bytes.  It may leave.  */
  void (*prepare) (struct gshm_passing *passing, uint64_t length);
};

/* Begin with the channel in the LENGTH bytes at MEMORY.  Return DONE or
   CORRUPT.  HOST may be NULL.  */
static inline enum gshm_result
gshm_passing_begin (struct gshm_passing *passing, void *memory, size_t length,
                    const struct gshm_host *host)
{
  *passing = (struct gshm_passing) { .ring = { .host = host } };
  return gshm_ring_find (&passing->ring, memory, length) ? GSHM_DONE
         : GSHM_CORRUPT;
}

/* This thread is a sender, or a receiver.  */
static inline void
gshm_passing_set_side (struct gshm_passing *passing, int is_sender)
{
  struct gshm_channel *channel = passing->ring.channel;

  passing->side = is_sender ? &channel->senders : &channel->receivers;
  passing->other = is_sender ? &channel->receivers : &channel->senders;
  passing->lock.owner = &passing->side->owner;
  passing->lock.namespace = &channel->namespace;
}

/* Attempts for gshm_wait: DONE, with the side's lock held and the bytes of the
   message known, CHANNEL_CLOSED, DEADLOCK, SELF_WAIT or CORRUPT.  DATA is a
   struct gshm_passing; a sender's has the length of its message.  */
gshm_attempt gshm_passing_attempt_to_send, gshm_passing_attempt_to_receive;

/* Attempt once, to wait for as long as TIMEOUT says afterwards.  */
static inline enum gshm_result
gshm_passing_try (struct gshm_passing *passing, gshm_attempt *attempt,
                  int64_t timeout)
{
  struct gshm_sleep sleep = { .look = timeout == 0 };

  passing->timeout = timeout;
  return (enum gshm_result) attempt (passing, &sleep);
}

/* Where that returned TIMED_OUT: wait.  If HOST leaves, cancel PASSING.  */
enum gshm_result gshm_passing_wait (struct gshm_passing *passing,
                                    gshm_attempt *attempt,
                                    const struct gshm_host *host);

/* End waiting without the lock, also if the channel is not there any more;
   this does not fault.  */
void gshm_passing_cancel (void *passing);

/* Whether this thread has the lock of SIDE.  */
int gshm_passing_has_lock (const struct gshm_passing *passing,
                           const struct gshm_side *side);

/* With the lock held: give it up without having passed a message.  DATA is a
   struct gshm_passing.  */
void gshm_passing_leave (void *data);

/* With the lock held: the message was written, or read.  Give the lock up, and
   return DONE if it counts as passed, else CHANNEL_CLOSED or CORRUPT.  */
enum gshm_result gshm_passing_end_sending (struct gshm_passing *passing);
enum gshm_result gshm_passing_end_receiving (struct gshm_passing *passing);

#endif /* GSHM_CHANNEL_H */

/* SPDX-License-Identifier: BSD-3-Clause
   channel.h - sending and receiving a message.

   A channel is a ring buffer (ring.h), a lock of its senders and one of its
   receivers (lock.h).  A transfer locks its side, accesses the ring and
   unlocks:

   - A receiver waits for a message, then for the lock, which it owns only
     while it copies the message.
   - A sender waits for the lock, and keeps it while it waits for space, with
     the flag BLOCKED.  So small messages do not overtake a large one for ever.
     The flag tells other senders that they may wait for long.

   A loan of a message keeps the lock until the borrower returns.

   A waiter does not depend on a wake-up, nor on the owner of a lock: it takes
   the lock over from a dead one, and there is nothing to repair.  */

#ifndef GSHM_CHANNEL_H
#define GSHM_CHANNEL_H

#include "core/lock.h"
#include "core/ring.h"

/* One thread sends or receives one message.  */
struct gshm_transfer
{
  struct gshm_ring ring;
  struct gshm_side *side, *other;       /* this thread's, and the other one */
  struct gshm_locking lock;             /* of this side */
  int64_t timeout;
  uint64_t length;                      /* of the message */
  char *bytes;                          /* its address in the ring */
  gshm_long_word *slot;                 /* among the waiters, or NULL */
  int is_blocked;                       /* this thread has set BLOCKED */
  int is_busy;   /* in the last attempt another thread owned the lock */
  int announced; /* this thread has set WAITERS of the other side */
  /* A receiver's hook, or NULL, called before it locks, with the probable
     length of the message.  It may leave without returning.  */
  void (*prepare) (struct gshm_transfer *transfer, uint64_t length);
};

/* Begin a transfer with the channel in the LENGTH bytes at MEMORY.  Return
   DONE or CORRUPT.  HOST may be NULL.  */
static inline enum gshm_result
gshm_transfer_begin (struct gshm_transfer *transfer, void *memory,
                     size_t length, const struct gshm_host *host)
{
  /* One by one: gcc would clear the whole by an instruction that takes 5 ns.
   */
  transfer->ring.host = host;
  transfer->lock.self = 0;
  transfer->lock.announced = 0;
  transfer->slot = NULL;
  transfer->is_blocked = transfer->is_busy = transfer->announced = 0;
  transfer->prepare = NULL;
  return gshm_ring_open (&transfer->ring, memory, length) ? GSHM_DONE
                                                          : GSHM_CORRUPT;
}

/* Choose the side, before an attempt.  */
static inline void
gshm_transfer_set_side (struct gshm_transfer *transfer, int is_sender)
{
  struct gshm_channel_header *channel = transfer->ring.channel;

  transfer->side = is_sender ? &channel->senders : &channel->receivers;
  transfer->other = is_sender ? &channel->receivers : &channel->senders;
  transfer->lock.owner = &transfer->side->owner;
  transfer->lock.namespace = &channel->namespace;
}

/* Attempts for gshm_wait: DONE, with the side's lock owned and the address of
   the message set, CHANNEL_CLOSED, DEADLOCK, SELF_WAIT or CORRUPT.  DATA is a
   struct gshm_transfer; a sender has set the length of its message.  */
gshm_attempt gshm_transfer_attempt_to_send, gshm_transfer_attempt_to_receive;

/* An attempt to receive that leaves the message there: DONE, without the lock.
   It has passed on the wake-up that this thread may have been given.  */
gshm_attempt gshm_transfer_attempt_to_find;

/* Attempt once.  TIMEOUT is for gshm_transfer_wait.  */
static inline enum gshm_result
gshm_transfer_try (struct gshm_transfer *transfer, gshm_attempt *attempt,
                   int64_t timeout)
{
  struct gshm_sleep sleep = { .check_owners = timeout == 0 };

  transfer->timeout = timeout;
  return (enum gshm_result) attempt (transfer, &sleep);
}

/* If that returned TIMED_OUT, wait.  If HOST leaves, cancel TRANSFER.  */
enum gshm_result gshm_transfer_wait (struct gshm_transfer *transfer,
                                     gshm_attempt *attempt,
                                     const struct gshm_host *host);

/* End the attempts to find a message.  WAITERS stays set for a thread that
   will sleep in place of this one.  */
void gshm_transfer_leave (const struct gshm_transfer *transfer);

/* End the wait without the lock, also if the channel is no longer accessible;
   this does not fault.  */
void gshm_transfer_cancel (void *transfer);

/* Whether this thread owns the lock of SIDE.  */
int gshm_transfer_has_lock (const struct gshm_transfer *transfer,
                            const struct gshm_side *side);

/* With the lock owned: unlock without having transferred the message.  DATA is
   a struct gshm_transfer.  */
void gshm_transfer_abort (void *data);

/* With the lock owned: the message was written, or read.  Publish that,
   unlock, and return DONE, CHANNEL_CLOSED or CORRUPT.  */
enum gshm_result gshm_transfer_end_sending (struct gshm_transfer *transfer);
enum gshm_result gshm_transfer_end_receiving (struct gshm_transfer *transfer);

#endif /* GSHM_CHANNEL_H */

/* SPDX-License-Identifier: BSD-3-Clause
   channel.c - channels, for C.  */

#include <config.h>

#include <string.h>

#include "c/face.h"
#include "core/channel.h"

_Static_assert (GSHM_CHANNEL_HEADER_SIZE == sizeof (struct gshm_channel_header),
               "gshm.h has the size that core has");

/* What a slot has in its private words.  */
struct loan
{
  /* Its address, if it is in use: not in a copy, nor in memory that was never
     filled.  */
  uint64_t key;
  struct gshm_transfer transfer; /* which owns the lock of its side */
};

_Static_assert (sizeof (struct loan)
                 <= sizeof ((struct gshm_slot *) NULL)->private_words,
               "a slot has space for a loan");

static struct loan *
loan_of (struct gshm_slot *slot)
{
  return (void *) slot->private_words;
}

static uint64_t
key_of (const struct gshm_slot *slot)
{
  return (uint64_t) (uintptr_t) slot ^ UINT64_C (0x6c6f616e65642121);
}


/* Whole channels.  */

int
gshm_channel_init (void *memory, size_t length)
{
  if (!gshm_is_aligned (memory)
      || length < sizeof (struct gshm_channel_header) + GSHM_RECORD_HEADER)
    return -EINVAL;
  int error = gshm_require_self ();
  if (error == 0)
    gshm_ring_init (memory, length, gshm_namespace ());
  return error;
}

/* Set RING to the one of CHANNEL.  */
static int
open_ring (struct gshm_ring *ring, const struct gshm_channel *channel)
{
  ring->host = NULL;
  return (channel != NULL && gshm_is_aligned (channel->memory)
              && gshm_ring_open (ring, channel->memory, channel->length)
            ? 0
            : -EINVAL);
}

int
gshm_channel_open (struct gshm_channel *channel, void *memory, size_t length)
{
  struct gshm_ring ring;

  if (channel == NULL)
    return -EINVAL;
  *channel = (struct gshm_channel) { memory, length };
  int error = open_ring (&ring, channel);
  if (error != 0)
    channel->memory = NULL;
  return error;
}

int
gshm_channel_close (const struct gshm_channel *channel)
{
  struct gshm_ring ring;
  int error = open_ring (&ring, channel);

  if (error == 0)
    gshm_ring_close (&ring);
  return error;
}

int
gshm_channel_is_closed (const struct gshm_channel *channel)
{
  struct gshm_ring ring;
  int error = open_ring (&ring, channel);

  return error != 0 ? error : gshm_ring_is_closed (&ring);
}


/* Slots.  */

/* Begin a transfer with CHANNEL and wait until ATTEMPT is done.  A sender has
   a message of LENGTH bytes.  */
static int
begin (struct gshm_transfer *transfer, const struct gshm_channel *channel,
       gshm_attempt *attempt, size_t length, int64_t timeout)
{
  int is_sender = attempt == gshm_transfer_attempt_to_send;

  if (timeout < 0 || channel == NULL || !gshm_is_aligned (channel->memory)
      || gshm_transfer_begin (transfer, channel->memory, channel->length, NULL)
           != GSHM_DONE)
    return -EINVAL;
  if (is_sender && !gshm_ring_fits (&transfer->ring, length))
    return -EMSGSIZE;
  int error = gshm_require_self ();
  if (error != 0)
    return error;
  transfer->length = length;
  gshm_transfer_set_side (transfer, is_sender);
  enum gshm_result result = gshm_transfer_try (transfer, attempt, timeout);
  if (result == GSHM_TIMED_OUT)
    result = gshm_transfer_wait (transfer, attempt, NULL);
  return gshm_to_errno (result);
}

/* Whether this thread has SLOT.  The child of a fork has a copy, and not the
   lock.  */
static int
check (struct gshm_slot *slot)
{
  if (slot == NULL)
    return -EINVAL;
  const struct loan *loan = loan_of (slot);

  return (loan->key == key_of (slot)
              && gshm_transfer_has_lock (&loan->transfer, loan->transfer.side)
            ? 0
            : -EPERM);
}

/* Begin a transfer with CHANNEL for SLOT, which changes only if that
   succeeds.  */
static int
fill (struct gshm_slot *slot, const struct gshm_channel *channel,
      gshm_attempt *attempt, size_t length, int64_t timeout)
{
  struct gshm_transfer transfer;

  if (slot == NULL)
    return -EINVAL;
  if (check (slot) == 0)
    return -EBUSY;
  int error = begin (&transfer, channel, attempt, length, timeout);
  if (error == 0)
    {
      *loan_of (slot) = (struct loan) { key_of (slot), transfer };
      slot->bytes = transfer.bytes;
      slot->length = (size_t) transfer.length;
    }
  return error;
}

/* The same as a sender, or as a receiver.  */
static int
check_side (struct gshm_slot *slot, int is_sender)
{
  int error = check (slot);

  if (error != 0)
    return error;
  const struct gshm_transfer *transfer = &loan_of (slot)->transfer;

  return ((transfer->side == &transfer->ring.channel->senders) == is_sender
            ? 0
            : -EPERM);
}

static void
forget (struct gshm_slot *slot)
{
  loan_of (slot)->key = 0;
  slot->bytes = NULL;
  slot->length = 0;
}

int
gshm_channel_reserve (const struct gshm_channel *channel,
                      struct gshm_slot *slot, size_t length,
                      int64_t timeout_ns)
{
  return fill (slot, channel, gshm_transfer_attempt_to_send, length,
               timeout_ns);
}

int
gshm_channel_peek (const struct gshm_channel *channel, struct gshm_slot *slot,
                   int64_t timeout_ns)
{
  return fill (slot, channel, gshm_transfer_attempt_to_receive, 0, timeout_ns);
}

int
gshm_channel_commit (struct gshm_slot *slot, size_t length)
{
  int error = check_side (slot, 1);

  if (error != 0)
    return error;
  struct gshm_transfer *transfer = &loan_of (slot)->transfer;
  if (length > transfer->length)
    return -ERANGE;
  transfer->length = length;
  error = gshm_to_errno (gshm_transfer_end_sending (transfer));
  forget (slot);
  return error;
}

int
gshm_channel_release (struct gshm_slot *slot)
{
  int error = check_side (slot, 0);

  if (error != 0)
    return error;
  error
    = gshm_to_errno (gshm_transfer_end_receiving (&loan_of (slot)->transfer));
  forget (slot);
  return error;
}

int
gshm_channel_cancel (struct gshm_slot *slot)
{
  int error = check (slot);

  if (error != 0)
    return error;
  gshm_transfer_abort (&loan_of (slot)->transfer);
  forget (slot);
  return 0;
}


/* Copies.  */

int
gshm_channel_send (const struct gshm_channel *channel, const void *message,
                   size_t length, int64_t timeout_ns)
{
  struct gshm_transfer transfer;

  if (message == NULL && length > 0)
    return -EINVAL;
  int error = begin (&transfer, channel, gshm_transfer_attempt_to_send, length,
                     timeout_ns);
  if (error != 0)
    return error;
  if (length > 0)
    memcpy (transfer.bytes, message, length);
  return gshm_to_errno (gshm_transfer_end_sending (&transfer));
}

int
gshm_channel_receive (const struct gshm_channel *channel, void *buffer,
                      size_t size, size_t *length, int64_t timeout_ns)
{
  struct gshm_transfer transfer;

  if ((buffer == NULL && size > 0) || length == NULL)
    return -EINVAL;
  int error = begin (&transfer, channel, gshm_transfer_attempt_to_receive, 0,
                     timeout_ns);
  if (error != 0)
    return error;
  *length = (size_t) transfer.length;
  if (*length > size)
    {
      gshm_transfer_abort (&transfer);
      return -EMSGSIZE;
    }
  if (*length > 0)
    memcpy (buffer, transfer.bytes, *length);
  return gshm_to_errno (gshm_transfer_end_receiving (&transfer));
}

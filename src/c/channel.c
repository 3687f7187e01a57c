/* SPDX-License-Identifier: BSD-3-Clause
   channel.c - channels, for C.  */

#include <config.h>

#include <string.h>

#include "c/face.h"
#include "core/channel.h"

_Static_assert (GSHM_CHANNEL_HEADER_SIZE == sizeof (struct gshm_channel_header),
               "gshm.h has the size that core has");

_Static_assert (sizeof (struct gshm_transfer)
                 <= sizeof ((struct gshm_slot *) NULL)->private_words,
               "a slot has space for a transfer");

/* What SLOT has in its private words: a transfer that owns the lock of its
   side, or whose side is NULL.  */
static struct gshm_transfer *
transfer_of (struct gshm_slot *slot)
{
  return (void *) slot->private_words;
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
  channel->memory = memory;
  channel->length = length;
  return open_ring (&ring, channel);
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

/* The same for SLOT.  */
static int
fill (struct gshm_slot *slot, const struct gshm_channel *channel,
      gshm_attempt *attempt, size_t length, int64_t timeout)
{
  if (slot == NULL)
    return -EINVAL;
  struct gshm_transfer *transfer = transfer_of (slot);
  int error = begin (transfer, channel, attempt, length, timeout);

  transfer->side = error == 0 ? transfer->side : NULL;
  slot->bytes = error == 0 ? transfer->bytes : NULL;
  slot->length = error == 0 ? (size_t) transfer->length : 0;
  return error;
}

/* Whether this thread has SLOT, as a sender or a receiver.  The child of a
   fork has a copy, and not the slot.  */
static int
check (struct gshm_slot *slot)
{
  if (slot == NULL)
    return -EINVAL;
  struct gshm_transfer *transfer = transfer_of (slot);

  return (transfer->side != NULL
              && gshm_transfer_has_lock (transfer, transfer->side)
            ? 0
            : -EPERM);
}

static int
check_side (struct gshm_slot *slot, int is_sender)
{
  int error = check (slot);

  if (error == 0)
    {
      struct gshm_transfer *transfer = transfer_of (slot);

      if ((transfer->side == &transfer->ring.channel->senders) != is_sender)
        error = -EPERM;
    }
  return error;
}

static void
forget (struct gshm_slot *slot)
{
  transfer_of (slot)->side = NULL;
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
  struct gshm_transfer *transfer = transfer_of (slot);
  if (length > transfer->length)
    return -EINVAL;
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
  error = gshm_to_errno (gshm_transfer_end_receiving (transfer_of (slot)));
  forget (slot);
  return error;
}

int
gshm_channel_cancel (struct gshm_slot *slot)
{
  int error = check (slot);

  if (error != 0)
    return error;
  gshm_transfer_abort (transfer_of (slot));
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

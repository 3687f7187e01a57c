/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.c - broadcasts, for C.  */

#include <config.h>

#include "c/face.h"
#include "core/broadcast.h"
#include "core/subscriber.h"

_Static_assert (sizeof (struct gshm_subscription)
                 == sizeof ((struct gshm_subscriber *) NULL)->private_words,
               "a subscriber has space for a subscription");
_Static_assert ((int) GSHM_FROM_NOW == (int) GSHM_START_NOW
                 && (int) GSHM_FROM_LATEST == (int) GSHM_START_LATEST
                 && (int) GSHM_FROM_OLDEST == (int) GSHM_START_OLDEST,
               "gshm.h has the values that core has");

/* How long senders may overwrite each message that this thread tries to read
   before another one has come.  Only a hostile process does so for long.  */
#define LATEST_PATIENCE GSHM_SECOND

/* Set FEED to the one in the LENGTH bytes at MEMORY.  */
static int
open_feed (struct gshm_feed *feed, void *memory, size_t length)
{
  feed->host = NULL;
  return (gshm_is_aligned (memory)
              && gshm_feed_open (feed, memory, length) == GSHM_DONE
            ? 0
            : -EINVAL);
}


/* Sending.  */

size_t
gshm_broadcast_size (size_t capacity)
{
  return capacity < 2 || capacity > SIZE_MAX / 4
           ? 0
           : gshm_feed_memory_size (capacity);
}

int
gshm_broadcast_init (void *memory, size_t length, size_t capacity)
{
  size_t size = gshm_broadcast_size (capacity);

  if (!gshm_is_aligned (memory) || size == 0 || length < size)
    return -EINVAL;
  int error = gshm_require_self ();
  if (error == 0)
    gshm_feed_init (memory, capacity, gshm_namespace ());
  return error;
}

int
gshm_broadcast_open (struct gshm_broadcast *broadcast, void *memory,
                     size_t length)
{
  struct gshm_feed feed;

  if (broadcast == NULL)
    return -EINVAL;
  int error = open_feed (&feed, memory, length);
  *broadcast = (struct gshm_broadcast) { error == 0 ? memory : NULL, length };
  return error;
}

int
gshm_broadcast_send (const struct gshm_broadcast *broadcast,
                     const void *message, size_t length, int64_t timeout_ns)
{
  struct gshm_sending sending;

  if (broadcast == NULL || timeout_ns < 0 || (message == NULL && length > 0))
    return -EINVAL;
  int error = open_feed (&sending.feed, broadcast->memory, broadcast->length);
  if (error == 0 && length > sending.feed.capacity / 2)
    error = -EMSGSIZE;
  if (error == 0)
    error = gshm_require_self ();
  if (error != 0)
    return error;
  gshm_sending_begin (&sending, length);
  enum gshm_result result = gshm_sending_try (&sending, timeout_ns);
  if (result == GSHM_TIMED_OUT)
    result = gshm_sending_wait (&sending, NULL);
  if (result != GSHM_DONE)
    return gshm_to_errno (result);
  if (length > 0)
    gshm_sending_write (&sending, message);
  return gshm_to_errno (gshm_sending_end (&sending));
}

int
gshm_broadcast_close (const struct gshm_broadcast *broadcast)
{
  struct gshm_feed feed;

  if (broadcast == NULL)
    return -EINVAL;
  int error = open_feed (&feed, broadcast->memory, broadcast->length);
  if (error == 0)
    gshm_feed_close (&feed);
  return error;
}


/* Receiving.  */

static struct gshm_subscription *
subscription_of (struct gshm_subscriber *subscriber)
{
  return (void *) subscriber->private_words;
}

int
gshm_subscriber_open (struct gshm_subscriber *subscriber, void *memory,
                      size_t length, enum gshm_access access,
                      enum gshm_from from)
{
  struct gshm_feed feed;

  if (subscriber == NULL || (unsigned) access > GSHM_READ_WRITE
      || (unsigned) from > GSHM_FROM_OLDEST)
    return -EINVAL;
  *subscriber = (struct gshm_subscriber) { .length = 0 };
  int error = open_feed (&feed, memory, length);
  if (error != 0)
    return error;
  subscriber->memory = memory;
  subscriber->length = length;
  enum gshm_result result = gshm_subscribe (&feed, (enum gshm_start) from,
                                            subscription_of (subscriber));
  subscription_of (subscriber)->can_write = access == GSHM_READ_WRITE;
  return gshm_to_errno (result);
}

/* A message is to be received into these bytes.  */
struct reception
{
  struct gshm_reading reading; /* at first */
  void *buffer;
  size_t size;
};

static void *
prepare_buffer (struct gshm_reading *reading, uint64_t length)
{
  const struct reception *reception = (struct reception *) reading;

  return length > reception->size ? NULL : reception->buffer;
}

/* Wait until ATTEMPT has a result.  */
static int
receive (struct reception *reception, struct gshm_subscriber *subscriber,
         gshm_attempt *attempt, size_t *length, int64_t timeout)
{
  char nothing; /* where an empty message goes */

  if (subscriber == NULL || length == NULL || timeout < 0
      || (reception->buffer == NULL && reception->size > 0))
    return -EINVAL;
  if (reception->size == 0)
    reception->buffer = &nothing;
  int error = open_feed (&reception->reading.feed, subscriber->memory,
                         subscriber->length);
  if (error != 0)
    return error;
  reception->reading.subscriber = subscription_of (subscriber);
  reception->reading.prepare = prepare_buffer;
  int result = gshm_wait (NULL, timeout, attempt, &reception->reading);
  if (result == GSHM_DONE || result == GSHM_TOO_LONG)
    *length = (size_t) reception->reading.length;
  return gshm_to_errno ((enum gshm_result) result);
}

int
gshm_subscriber_receive (struct gshm_subscriber *subscriber, void *buffer,
                         size_t size, size_t *length, int64_t timeout_ns)
{
  struct reception reception = { .buffer = buffer, .size = size };

  return receive (&reception, subscriber, gshm_attempt_to_read, length,
                  timeout_ns);
}

int
gshm_subscriber_latest (struct gshm_subscriber *subscriber, void *buffer,
                        size_t size, size_t *length)
{
  struct reception reception = { .buffer = buffer, .size = size };
  int error = receive (&reception, subscriber, gshm_attempt_to_read_latest,
                       length, LATEST_PATIENCE);

  if (error == 0 && !reception.reading.is_found)
    return -ENOMSG;
  return error == -ETIMEDOUT ? -EINVAL : error;
}

uint64_t
gshm_subscriber_missed (const struct gshm_subscriber *subscriber)
{
  return (subscriber == NULL
            ? 0
            : ((const struct gshm_subscription *) (const void *)
                 subscriber->private_words)
                ->missed);
}

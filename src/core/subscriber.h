/* SPDX-License-Identifier: BSD-3-Clause
   subscriber.h - reading the messages of a broadcast (feed.h).

   A subscriber loads, and stores nothing but a hint that it sleeps.  */

#ifndef GSHM_SUBSCRIBER_H
#define GSHM_SUBSCRIBER_H

#include "core/feed.h"

/* Where a subscriber is, in memory that it does not share.  */
struct gshm_subscription
{
  uint64_t position; /* of the next record */
  uint64_t sequence; /* the number of the message there */
  uint64_t missed;
  uint64_t idle_polls; /* since the last message */
  uint64_t can_write;  /* so that it can say that it sleeps */
};

enum gshm_start
{
  GSHM_START_NOW,
  GSHM_START_LATEST,
  GSHM_START_OLDEST
};

/* One thread receives one message.  */
struct gshm_reading
{
  struct gshm_feed feed;
  struct gshm_subscription *subscriber;
  uint64_t word; /* of the head: to poll until it changes */
  uint64_t length;
  int is_found; /* by attempt_to_read_latest: there is a message */
  /* Return memory for a message of LENGTH bytes, which is then read, or not if
     it is overwritten first.  This may leave without returning.  NULL: the
     attempt returns TOO_LONG, and the message is still the next one.  */
  void *(*prepare) (struct gshm_reading *reading, uint64_t length);
};

/* Set SUBSCRIBER, a new one, which cannot write, to a position.  Return DONE or
   CORRUPT.  */
enum gshm_result gshm_subscribe (const struct gshm_feed *feed,
                                 enum gshm_start from,
                                 struct gshm_subscription *subscriber);

/* An attempt to find a message, and leave it there.  DATA is a struct
   gshm_reading.  Where the subscriber cannot write, SLEEP announces nothing.
 */
gshm_attempt gshm_attempt_to_find_next;

/* Attempts for gshm_wait, which need no cancelling: DONE, with the message
   copied to the memory from `prepare', CHANNEL_CLOSED or CORRUPT.  The first
   one reads the next message; the second one the newest, if there is one, for
   which it does not wait: it fails only if senders overwrite all that it
   tries to read.  DATA is a struct gshm_reading.  */
gshm_attempt gshm_attempt_to_read, gshm_attempt_to_read_latest;

#endif /* GSHM_SUBSCRIBER_H */

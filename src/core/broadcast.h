/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.h - sending a message to all subscribers (feed.h).

   A sender waits only for the lock of the senders, which each owns while it
   copies a message.  It takes the lock over from a dead one, and there is
   nothing to repair.  */

#ifndef GSHM_BROADCAST_H
#define GSHM_BROADCAST_H

#include "core/feed.h"

/* One thread sends one message.  */
struct gshm_sending
{
  struct gshm_feed feed;
  struct gshm_locking lock;
  int64_t timeout;
  uint64_t length; /* of the message */
  uint64_t head;   /* before it is published */
  uint64_t record; /* the position of the record ... */
  uint64_t offset; /* ... and its offset in the ring */
  int is_busy;     /* in the last attempt another thread owned the lock */
};

/* Begin to send a message of LENGTH bytes, for which there is always space if
   it has at most half the capacity.  The feed is open.  */
void gshm_sending_begin (struct gshm_sending *sending, uint64_t length);

/* Lock, within TIMEOUT, and claim the memory of the record.  Return DONE, with
   the lock owned, CHANNEL_CLOSED, TIMED_OUT or CORRUPT.  The first function
   does not wait; if it returns TIMED_OUT, call the second.  If HOST leaves
   that, cancel.  */
enum gshm_result gshm_sending_try (struct gshm_sending *sending,
                                   int64_t timeout);
enum gshm_result gshm_sending_wait (struct gshm_sending *sending,
                                    const struct gshm_host *host);

/* End the wait without the lock, also if the memory is no longer accessible;
   this does not fault.  DATA is a struct gshm_sending.  */
void gshm_sending_cancel (void *data);

/* With the lock owned: write the message, from the bytes at MESSAGE.  */
void gshm_sending_write (const struct gshm_sending *sending,
                         const void *message);

/* With the lock owned: publish the message, unlock, and return DONE,
   CHANNEL_CLOSED or CORRUPT; or unlock without having sent it.  */
enum gshm_result gshm_sending_end (struct gshm_sending *sending);
void gshm_sending_abort (struct gshm_sending *sending);

/* Close the broadcast and wake all waiters.  Return whether it was closed
   before.  */
int gshm_feed_close (const struct gshm_feed *feed);

#endif /* GSHM_BROADCAST_H */

/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.h - messages that every subscriber sees.

   A ring buffer of messages, as that of a channel (ring.h), that senders
   overwrite.  A subscriber keeps its position to itself; it stores nothing in
   the memory but, if it can, a hint that it sleeps.  So nothing that happens
   to a subscriber concerns others.

   The messages are between `oldest' and the head.  Each is a record: 16 bytes
   with its length and its sequence number, the message, and padding to a
   multiple of 8.  A record is contiguous: if it does not fit before the end of
   the ring, 8 bytes that say SKIP stand in its place, and the record is at the
   start of the ring.  Both are published at once.

   A sender owns the senders' lock.  It claims the oldest records by moving
   `oldest' past them, writes its own over them, prepares the counters, and
   publishes the head by one atomic operation.  If it is killed before that, it
   has sent nothing, and there is nothing to repair.

   A subscriber that has copied a record knows that the copy is good if
   `oldest' has not passed the record.  This is a sequence lock's argument.
   The sender stores `oldest', executes a release fence, and stores the bytes.
   The subscriber loads the bytes, executes an acquire fence, and loads
   `oldest'.  If it has loaded a byte that was stored after the fence, it also
   loads that `oldest', or a later one.  Until then, what it has loaded may be
   anything, and it does nothing with it but compare.

   The ring has the size of three records of the largest message.  A sender
   overwrites less than two, so that the newest message stays until the next
   one is published, and `latest' always finds one.

   All that is loaded from the memory is checked before it is used.  A hostile
   process can forge messages, but cannot make this code access memory outside
   of the ring, or loop more than a few times.  */

#ifndef GSHM_BROADCAST_H
#define GSHM_BROADCAST_H

#include "core/format.h"
#include "core/host.h"
#include "core/lock.h"

/* What was published up to a position.  There are two: the one with the head's
   position is valid; the next one is prepared in the other.  */
struct gshm_published
{
  gshm_long_word position;
  gshm_long_word messages; /* how many */
  gshm_long_word last;     /* the position of the last one's record */
};

struct gshm_broadcast
{
  gshm_long_word format;
  gshm_word namespace, unused;
  gshm_long_word capacity; /* twice the size of the largest message */
  uint64_t unused_too[13];
  gshm_long_word owner; /* of the senders' lock */
  struct gshm_published published[2];
  uint64_t unused_as_well[9];
  gshm_long_word head; /* with flags: WAITERS and CLOSED */
  /* A hint: as gshm_processor has it, of the last sender.  */
  gshm_word processor, unused_word;
  uint64_t unused_words[14];
  gshm_long_word oldest; /* the first position that is not claimed */
  uint64_t unused_at_end[15];
};

_Static_assert (sizeof (struct gshm_broadcast) == 512,
               "a layout that processes share");

#define GSHM_BROADCAST_FORMAT GSHM_FORMAT (GSHM_BROADCAST, 1)
#define GSHM_BROADCAST_RECORD_HEADER 16

/* Where a subscriber is, in memory that it does not share.  */
struct gshm_subscriber
{
  uint64_t position; /* of the next record */
  uint64_t sequence; /* the number of the message there */
  uint64_t missed;
  uint64_t idle_polls; /* since the last message */
};

enum gshm_subscribe_from
{
  GSHM_FROM_NOW,
  GSHM_FROM_LATEST,
  GSHM_FROM_OLDEST
};

/* A broadcast, with values that an operation has checked.  */
struct gshm_feed
{
  struct gshm_broadcast *broadcast;
  char *bytes;
  uint64_t capacity, size;      /* of the ring */
  const struct gshm_host *host; /* or NULL */
};

/* The size of the memory of a broadcast of CAPACITY bytes, at least 2; 0 if it
   is too large.  */
size_t gshm_broadcast_size (uint64_t capacity);

/* Make the memory, of at least that size, an empty broadcast.  */
void gshm_broadcast_init (void *memory, uint64_t capacity, uint32_t namespace);

/* Set FEED, except for its host, to the broadcast in the LENGTH bytes at
   MEMORY.  Return DONE or CORRUPT.  */
enum gshm_result gshm_feed_open (struct gshm_feed *feed, void *memory,
                                 size_t length);

/* Close the broadcast and wake all waiters.  Return whether it was closed
   before.  */
int gshm_feed_close (const struct gshm_feed *feed);


/* Sending.  */

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


/* Receiving.  */

/* One thread receives one message.  */
struct gshm_reading
{
  struct gshm_feed feed;
  struct gshm_subscriber *subscriber;
  int can_write; /* so that it can say that it sleeps */
  uint64_t word; /* of the head: to poll until it changes */
  uint64_t length;
  int is_found; /* by attempt_to_read_latest: there is a message */
  /* Return memory for a message of LENGTH bytes, which is then read, or not if
     it is overwritten first.  This may leave without returning.  */
  void *(*prepare) (struct gshm_reading *reading, uint64_t length);
};

/* Set SUBSCRIBER, a new one, to a position.  Return DONE or CORRUPT.  */
enum gshm_result gshm_subscribe (const struct gshm_feed *feed,
                                 enum gshm_subscribe_from from,
                                 struct gshm_subscriber *subscriber);

/* Attempts for gshm_wait, which need no cancelling: DONE, with the message
   copied to the memory from `prepare', CHANNEL_CLOSED or CORRUPT.  The first
   one reads the next message; the second one the newest, if there is one, for
   which it does not wait: it fails only if senders overwrite all that it
   tries to read.  DATA is a struct gshm_reading.  */
gshm_attempt gshm_attempt_to_read, gshm_attempt_to_read_latest;

#endif /* GSHM_BROADCAST_H */

/* SPDX-License-Identifier: BSD-3-Clause
   subscriber.c - reading the messages of a broadcast.

   The steps, in brackets, are those of tests/models/broadcast.pml.  */

#include <config.h>

#include <stdatomic.h>

#include "core/subscriber.h"

/* A value that the low half of the head never has: a sleep on it ends at
   once.  */
#define NO_POSITION GSHM_MARK

/* How often senders may overtake a subscriber in an attempt.  After
   MAX_OVERTAKEN times it no longer tries to read the oldest message, which
   will be overwritten first, but the newest.  */
#define MAX_READS 16
#define MAX_OVERTAKEN 8

/* How long a subscriber that cannot write sleeps between two polls: at first,
   and after MANY_POLLS without a message.  */
#define POLL_NS (GSHM_SECOND / 1000)
#define IDLE_POLL_NS (GSHM_SECOND / 100)
#define MANY_POLLS 100

static uint64_t
acquire (const gshm_long_word *word)
{
  return atomic_load_explicit (word, memory_order_acquire);
}


/* Subscribing.  */

static void
go_to (struct gshm_subscription *subscriber, uint64_t position,
       uint64_t sequence)
{
  subscriber->position = position;
  subscriber->sequence = sequence;
}

/* Set SUBSCRIBER to the oldest message that can still be read.  */
static enum gshm_found
go_to_oldest (const struct gshm_feed *feed,
              struct gshm_subscription *subscriber)
{
  /* Acquire: the head, loaded after it, is not before it.  */
  uint64_t oldest = acquire (&feed->broadcast->oldest);
  struct gshm_summary summary;
  struct gshm_record record;

  if (!gshm_feed_summarize (feed, &summary))
    return GSHM_OVERTAKEN;
  if (oldest == summary.head)
    {
      go_to (subscriber, oldest, summary.messages);
      return GSHM_FOUND;
    }
  enum gshm_found found = gshm_feed_find (feed, oldest, summary.head, &record);
  if (found == GSHM_FOUND)
    go_to (subscriber, record.position, record.sequence);
  return found;
}

static enum gshm_found
go_to_latest (const struct gshm_feed *feed,
              struct gshm_subscription *subscriber)
{
  struct gshm_summary summary;
  struct gshm_record record;
  enum gshm_found found = gshm_feed_find_latest (feed, &summary, &record);

  if (found == GSHM_FOUND)
    go_to (subscriber, record.position, record.sequence);
  else if (found == GSHM_NONE)
    {
      go_to (subscriber, summary.head, summary.messages);
      return GSHM_FOUND;
    }
  return found;
}

static enum gshm_found
go_to_now (const struct gshm_feed *feed, struct gshm_subscription *subscriber)
{
  struct gshm_summary summary;

  if (!gshm_feed_summarize (feed, &summary))
    return GSHM_OVERTAKEN;
  go_to (subscriber, summary.head, summary.messages);
  return GSHM_FOUND;
}

enum gshm_result
gshm_subscribe (const struct gshm_feed *feed, enum gshm_start from,
                struct gshm_subscription *subscriber)
{
  enum gshm_found found = GSHM_OVERTAKEN;

  subscriber->missed = subscriber->idle_polls = subscriber->can_write = 0;
  for (int i = 0; i < GSHM_BROADCAST_TRIES && found == GSHM_OVERTAKEN; i++)
    found = (from == GSHM_START_OLDEST   ? go_to_oldest (feed, subscriber)
             : from == GSHM_START_LATEST ? go_to_latest (feed, subscriber)
                                         : go_to_now (feed, subscriber));
  return found == GSHM_FOUND ? GSHM_DONE : GSHM_CORRUPT;
}


/* Receiving.  */

/* Copy the message of RECORD.  If it is intact, move the subscriber past it
   and return DONE, or TOO_LONG and leave it; if it was overwritten, return
   TIMED_OUT.  */
static int
read_record (struct gshm_reading *reading, const struct gshm_record *record)
{
  const struct gshm_feed *feed = &reading->feed;
  void *target = reading->prepare (reading, record->length);

  if (target != NULL)
    gshm_feed_copy_from (target, gshm_feed_message (feed, record->offset),
                         record->length);
  if (!gshm_feed_is_intact (feed, record->position))
    return 0;
  if (gshm_feed_is_fault_pending (feed))
    return GSHM_CORRUPT;
  reading->length = record->length;
  if (target == NULL)
    return GSHM_TOO_LONG;
  go_to (reading->subscriber, record->position + record->size,
         record->sequence + 1);
  reading->subscriber->idle_polls = 0;
  return GSHM_DONE;
}

/* Move the subscriber past what was overwritten, to the oldest message or,
   with TO_LATEST, to the newest, and count what it has missed.  */
static enum gshm_found
catch_up (struct gshm_reading *reading, int to_latest)
{
  struct gshm_subscription *subscriber = reading->subscriber,
                           next = *subscriber;
  enum gshm_found found = (to_latest ? go_to_latest (&reading->feed, &next)
                                     : go_to_oldest (&reading->feed, &next));

  if (found != GSHM_FOUND)
    return found;
  uint64_t passed = next.position - subscriber->position;
  uint64_t missed = next.sequence - subscriber->sequence;
  /* Positions never wrap, and a record has at least a header.  */
  if (next.position <= subscriber->position
      || missed > passed / GSHM_BROADCAST_HEADER)
    return GSHM_INVALID;
  next.missed += missed;
  *subscriber = next;
  return GSHM_FOUND;
}

/* Sleep until the head is no longer WORD.  */
static int
poll_head (void *data, int64_t nanoseconds)
{
  struct gshm_reading *reading = data;
  int64_t interval = POLL_NS;

  if (reading->subscriber->idle_polls >= MANY_POLLS)
    interval = IDLE_POLL_NS;
  else
    reading->subscriber->idle_polls++;
  /* Others may have said that they sleep, so that this thread is woken, too.
   */
  return gshm_futex_wait (gshm_low_half (&reading->feed.broadcast->head),
                          (uint32_t) reading->word,
                          nanoseconds < interval ? nanoseconds : interval);
}

/* The attempt has found no message where the head is WORD.  */
static void
sleep_until_sent (struct gshm_reading *reading, struct gshm_sleep *sleep,
                  uint64_t word)
{
  struct gshm_broadcast_header *broadcast = reading->feed.broadcast;

  sleep->processor = &broadcast->processor;
  if (reading->subscriber->can_write)
    gshm_sleep_until_changed (sleep, &broadcast->head, word);
  else
    {
      reading->word = word;
      sleep->word = NULL;
      sleep->sleep_for = poll_head;
    }
}

/* The attempt has failed, for no reason to sleep.  */
static int
try_again (const struct gshm_reading *reading, struct gshm_sleep *sleep)
{
  gshm_sleep_on_half (sleep, &reading->feed.broadcast->head, NO_POSITION);
  return 0;
}

int
gshm_attempt_to_find_next (void *data, struct gshm_sleep *sleep)
{
  const struct gshm_reading *reading = data;
  const struct gshm_feed *feed = &reading->feed;

  if (!gshm_feed_is_valid (feed))
    return GSHM_CORRUPT;
  uint64_t word = acquire (&feed->broadcast->head);
  if (GSHM_BROADCAST_POSITION (word) != reading->subscriber->position)
    return GSHM_DONE;
  if (word & GSHM_BROADCAST_CLOSED)
    return GSHM_CHANNEL_CLOSED;
  gshm_sleep_until_changed (sleep, &feed->broadcast->head, word);
  return 0;
}

int
gshm_attempt_to_read (void *data, struct gshm_sleep *sleep)
{
  struct gshm_reading *reading = data;
  const struct gshm_feed *feed = &reading->feed;
  const struct gshm_subscription *subscriber = reading->subscriber;
  struct gshm_record record;

  if (!gshm_feed_is_valid (feed))
    return GSHM_CORRUPT;
  for (int i = 0; i < MAX_READS; i++)
    {
      uint64_t word = acquire (&feed->broadcast->head);

      if (GSHM_BROADCAST_POSITION (word) == subscriber->position)
        {
          if (word & GSHM_BROADCAST_CLOSED)
            return GSHM_CHANNEL_CLOSED;
          sleep_until_sent (reading, sleep, word);
          return 0;
        }
      enum gshm_found found = gshm_feed_find (
        feed, subscriber->position, GSHM_BROADCAST_POSITION (word), &record);
      if (found == GSHM_FOUND)
        {
          int result = (record.sequence == subscriber->sequence
                          ? read_record (reading, &record)
                          : GSHM_CORRUPT);
          if (result != 0)
            return result;
          found = GSHM_OVERTAKEN;
        }
      if (found == GSHM_OVERTAKEN)
        found = catch_up (reading, i >= MAX_OVERTAKEN);
      if (found == GSHM_INVALID)
        return GSHM_CORRUPT;
    }
  return try_again (reading, sleep);
}

int
gshm_attempt_to_read_latest (void *data, struct gshm_sleep *sleep)
{
  struct gshm_reading *reading = data;
  const struct gshm_feed *feed = &reading->feed;
  struct gshm_summary summary;
  struct gshm_record record;

  if (!gshm_feed_is_valid (feed))
    return GSHM_CORRUPT;
  for (int i = 0; i < MAX_READS; i++)
    {
      enum gshm_found found = gshm_feed_find_latest (feed, &summary, &record);

      reading->is_found = found == GSHM_FOUND;
      if (found == GSHM_NONE)
        return GSHM_DONE;
      if (found == GSHM_INVALID)
        return GSHM_CORRUPT;
      if (found == GSHM_FOUND)
        {
          int result = read_record (reading, &record);
          if (result != 0)
            return result;
        }
    }
  return try_again (reading, sleep);
}

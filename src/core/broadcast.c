/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.c - sending a message to all subscribers.

   The steps, in brackets, are those of tests/models/broadcast.pml.  */

#include <config.h>

#include <limits.h>
#include <stdatomic.h>

#include "core/broadcast.h"

/* How long a try waits for a lock whose owner is copying a message.  */
#define TRY_GRACE_NS (GSHM_SECOND / 1000)

static void
set (gshm_long_word *word, uint64_t value)
{
  atomic_store_explicit (word, value, memory_order_relaxed);
}

void
gshm_sending_begin (struct gshm_sending *sending, uint64_t length)
{
  struct gshm_broadcast_header *broadcast = sending->feed.broadcast;

  sending->lock.owner = &broadcast->owner;
  sending->lock.namespace = &broadcast->namespace;
  sending->lock.self = 0;
  sending->lock.announced = 0;
  sending->length = length;
  sending->is_busy = 0;
}

static void
unlock (const struct gshm_sending *sending)
{
  gshm_unlock (&sending->feed.broadcast->owner, 0);
}

/* The position up to which `oldest' must move so that the ring has space for
   the bytes from HEAD to END.  If the records do not lead there, drop them
   all.  */
static uint64_t
position_to_claim (const struct gshm_feed *feed, uint64_t head, uint64_t end)
{
  uint64_t oldest = gshm_load (&feed->broadcast->oldest);
  struct gshm_record record;

  while (end - oldest > feed->size)
    {
      if (oldest == head
          || gshm_feed_find (feed, oldest, head, &record) != GSHM_FOUND)
        return head;
      oldest = record.position + record.size;
    }
  return oldest;
}

/* With the lock owned: claim the memory of the record.  */
static void
claim (struct gshm_sending *sending)
{
  const struct gshm_feed *feed = &sending->feed;
  struct gshm_broadcast_header *broadcast = feed->broadcast;
  uint64_t head = GSHM_BROADCAST_POSITION (gshm_load (&broadcast->head));
  uint64_t offset = gshm_feed_offset (feed, head), rest = feed->size - offset;
  uint64_t size = gshm_feed_record_size (sending->length);
  uint64_t skipped = size > rest ? rest : 0;
  uint64_t oldest = position_to_claim (feed, head, head + skipped + size);

  sending->head = head;
  sending->record = head + skipped;
  sending->offset = skipped > 0 ? 0 : offset;
  if (oldest != gshm_load (&broadcast->oldest))
    /* [claim] Release: a subscriber that loads this sees the head that made it
       possible.  */
    atomic_store_explicit (&broadcast->oldest, oldest, memory_order_release);
  /* A subscriber that loads a byte that is stored from here on sees the
     claim.  */
  atomic_thread_fence (memory_order_release);
  if (skipped > 0)
    set (gshm_feed_length (feed, offset), GSHM_BROADCAST_SKIP);
}

static int
is_closed (const struct gshm_feed *feed)
{
  return (atomic_load (&feed->broadcast->head) & GSHM_BROADCAST_CLOSED) != 0;
}

static int
attempt_to_send (void *data, struct gshm_sleep *sleep)
{
  struct gshm_sending *sending = data;
  const struct gshm_feed *feed = &sending->feed;

  if (!gshm_feed_is_valid (feed))
    return GSHM_CORRUPT;
  if (is_closed (feed))
    return GSHM_CHANNEL_CLOSED;
  int outcome = gshm_attempt_to_lock (&sending->lock, 0, sleep);
  sending->is_busy = outcome == 0;
  if (outcome == 0)
    /* After WAITERS is set: if the broadcast was closed before, no thread will
       wake this one.  */
    return is_closed (feed) ? GSHM_CHANNEL_CLOSED : 0;
  /* DEADLOCK is done, too: this thread owns the lock already only if it has
     left it owned.  */
  claim (sending);
  return GSHM_DONE;
}

enum gshm_result
gshm_sending_try (struct gshm_sending *sending, int64_t timeout)
{
  struct gshm_sleep sleep = { .check_owners = timeout == 0 };

  sending->timeout = timeout;
  return (enum gshm_result) attempt_to_send (sending, &sleep);
}

void
gshm_sending_cancel (void *data)
{
  const struct gshm_sending *sending = data;

  if (gshm_still_has_format (&sending->feed.broadcast->format,
                             GSHM_BROADCAST_FORMAT,
                             sizeof (struct gshm_broadcast_header)))
    gshm_cancel_locking (&sending->lock);
}

enum gshm_result
gshm_sending_wait (struct gshm_sending *sending, const struct gshm_host *host)
{
  int64_t timeout = sending->timeout == 0 ? TRY_GRACE_NS : sending->timeout;
  int result = gshm_wait (host, timeout, attempt_to_send, sending);

  if (result != GSHM_DONE)
    gshm_sending_cancel (sending);
  return (enum gshm_result) result;
}

void
gshm_sending_write (const struct gshm_sending *sending, const void *message)
{
  const struct gshm_feed *feed = &sending->feed;

  gshm_feed_copy_to (gshm_feed_message (feed, sending->offset), message,
                     sending->length);
}

void
gshm_sending_abort (struct gshm_sending *sending)
{
  unlock (sending);
}

/* [count] Prepare the counters for the position END, after one more message.
   Return that message's sequence number.  */
static uint64_t
prepare_counters (const struct gshm_sending *sending, uint64_t end)
{
  struct gshm_broadcast_header *broadcast = sending->feed.broadcast;
  const struct gshm_published *now
    = gshm_feed_published (broadcast, sending->head);
  struct gshm_published *next
    = &broadcast->published[now == &broadcast->published[0]];
  uint64_t sequence = gshm_load (&now->messages);

  /* Release: a thread that sees one of these stores sees the last head.  */
  atomic_thread_fence (memory_order_release);
  set (&next->messages, sequence + 1);
  set (&next->last, sending->record);
  set (&next->position, end);
  return sequence;
}

/* [publish] Move the head to END, and store the flags that it had in WORD.  */
static enum gshm_result
publish (const struct gshm_sending *sending, uint64_t end, uint64_t *word)
{
  gshm_long_word *head = &sending->feed.broadcast->head;

  *word = gshm_load (head);
  for (int i = 0; i < GSHM_BROADCAST_TRIES
                  && GSHM_BROADCAST_POSITION (*word) == sending->head;
       i++)
    {
      if (*word & GSHM_BROADCAST_CLOSED)
        return GSHM_CHANNEL_CLOSED;
      /* Release: a thread that sees the new head sees the record.  */
      if (atomic_compare_exchange_strong (head, word, end))
        return GSHM_DONE;
    }
  return GSHM_CORRUPT;
}

enum gshm_result
gshm_sending_end (struct gshm_sending *sending)
{
  const struct gshm_feed *feed = &sending->feed;
  struct gshm_broadcast_header *broadcast = feed->broadcast;
  uint64_t offset = sending->offset;
  uint32_t processor = gshm_processor ();
  uint64_t end = sending->record + gshm_feed_record_size (sending->length);
  enum gshm_result result = GSHM_CORRUPT;
  uint64_t word = 0;

  set (gshm_feed_length (feed, offset), sending->length);
  set (gshm_feed_sequence (feed, offset), prepare_counters (sending, end));
  if (atomic_load_explicit (&broadcast->processor, memory_order_relaxed)
      != processor)
    atomic_store_explicit (&broadcast->processor, processor,
                           memory_order_relaxed);
  if (gshm_feed_is_valid (feed) && !gshm_feed_is_fault_pending (feed))
    result = publish (sending, end, &word);
  unlock (sending);
  /* [wake] If this thread is killed here, the sleepers find the message when
     their bounded sleeps end.  */
  if (result == GSHM_DONE && (word & GSHM_WAITERS))
    gshm_wake (gshm_low_half (&broadcast->head), INT_MAX);
  return result;
}

int
gshm_feed_close (const struct gshm_feed *feed)
{
  struct gshm_broadcast_header *broadcast = feed->broadcast;
  /* [close] A message is sent before the close if its sender changes the head
     first.  */
  uint64_t before = atomic_fetch_or (&broadcast->head, GSHM_BROADCAST_CLOSED);

  gshm_wake (gshm_low_half (&broadcast->head), INT_MAX);
  /* A sender sets WAITERS, checks whether the broadcast is closed, and sleeps:
     clearing WAITERS changes the word for one that has checked and does not
     sleep yet.  */
  atomic_fetch_and (&broadcast->owner, ~GSHM_WAITERS);
  gshm_wake (gshm_low_half (&broadcast->owner), INT_MAX);
  return (before & GSHM_BROADCAST_CLOSED) != 0;
}

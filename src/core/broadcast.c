/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.c - messages that every subscriber sees.

   The steps, in brackets, are those of tests/models/broadcast.pml.  */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "core/broadcast.h"

#define HEADER GSHM_BROADCAST_RECORD_HEADER
#define SKIP UINT64_MAX

/* Flag of the head, besides WAITERS of lock.h.  */
#define CLOSED UINT64_C (2)
#define POSITION(word) ((word) & ~UINT64_C (7))

/* A value that the low half of the head never has: a sleep on it ends at
   once.  */
#define NO_POSITION GSHM_MARK

/* How often other threads may change the flags of the head while this one
   moves it.  Only a hostile process does so more often.  */
#define MAX_TRIES 64

/* How often senders may overtake a subscriber in an attempt.  After
   MAX_OVERTAKEN times it no longer tries to read the oldest message, which
   will be overwritten first, but the newest.  */
#define MAX_READS 16
#define MAX_OVERTAKEN 8

/* How long a try waits for a lock whose owner is copying a message.  */
#define TRY_GRACE_NS (GSHM_SECOND / 1000)

/* How long a subscriber that cannot write sleeps between two polls: at first,
   and after MANY_POLLS without a message.  */
#define POLL_NS (GSHM_SECOND / 1000)
#define IDLE_POLL_NS (GSHM_SECOND / 100)
#define MANY_POLLS 100

#if defined __SANITIZE_THREAD__
# define HAVE_TSAN 1
#elif defined __has_feature
#  if __has_feature(thread_sanitizer)
#    define HAVE_TSAN 1
#  endif
#endif


/* The memory.  */

static uint64_t
acquire (const gshm_long_word *word)
{
  return atomic_load_explicit (word, memory_order_acquire);
}

static void
set (gshm_long_word *word, uint64_t value)
{
  atomic_store_explicit (word, value, memory_order_relaxed);
}

/* The size of the record of a message of LENGTH bytes, at most half of a
   capacity.  */
static uint64_t
record_size (uint64_t length)
{
  return HEADER + ((length + 7) & ~UINT64_C (7));
}

static uint64_t
ring_size (uint64_t capacity)
{
  return 3 * record_size (capacity / 2);
}

size_t
gshm_broadcast_size (uint64_t capacity)
{
  size_t header = sizeof (struct gshm_broadcast);

  return (
    capacity / 2 > SIZE_MAX / 4 ? 0 : header + (size_t) ring_size (capacity));
}

void
gshm_broadcast_init (void *memory, uint64_t capacity, uint32_t namespace)
{
  struct gshm_broadcast *broadcast = memory;
  gshm_long_word *words = memory;

  for (size_t i = 0; i < sizeof *broadcast / sizeof *words; i++)
    atomic_store (&words[i], 0);
  atomic_store (&broadcast->namespace, namespace);
  atomic_store (&broadcast->capacity, capacity);
  gshm_set_format (&broadcast->format, GSHM_BROADCAST_FORMAT);
}

static int
is_valid (const struct gshm_feed *feed)
{
  return gshm_has_format (&feed->broadcast->format, GSHM_BROADCAST_FORMAT);
}

enum gshm_result
gshm_feed_open (struct gshm_feed *feed, void *memory, size_t length)
{
  feed->broadcast = memory;
  if (length < sizeof *feed->broadcast || !is_valid (feed))
    return GSHM_CORRUPT;
  feed->bytes = (char *) memory + sizeof *feed->broadcast;
  feed->capacity = gshm_load (&feed->broadcast->capacity);
  if (feed->capacity < 2 || feed->capacity > length)
    return GSHM_CORRUPT;
  feed->size = ring_size (feed->capacity);
  return (feed->size <= length - sizeof *feed->broadcast ? GSHM_DONE
                                                         : GSHM_CORRUPT);
}

/* Whether this thread has accessed a page that is not accessible.  */
static int
is_fault_pending (const struct gshm_feed *feed)
{
  return feed->host != NULL && feed->host->is_fault_pending ();
}

/* The offset in the ring of POSITION.  */
static uint64_t
offset_of (const struct gshm_feed *feed, uint64_t position)
{
  return position % feed->size;
}

/* The record at OFFSET, a multiple of 8: its length, its sequence number, and
   its message.  */
static gshm_long_word *
length_at (const struct gshm_feed *feed, uint64_t offset)
{
  return (gshm_long_word *) (void *) (feed->bytes + offset);
}

static gshm_long_word *
sequence_at (const struct gshm_feed *feed, uint64_t offset)
{
  return length_at (feed, offset) + 1;
}

static char *
message_at (const struct gshm_feed *feed, uint64_t offset)
{
  return feed->bytes + offset + HEADER;
}

/* Copy COUNT bytes of a message to or from the ring, where they begin at a
   multiple of 8 and are padded to one.  A subscriber copies bytes that a
   sender may be changing, and uses the copy only if that was not so
   (broadcast.h).  C has no name for such a copy other than atomic loads of
   single words, which take three times as long.  */
#ifdef HAVE_TSAN

static void
copy_from_ring (void *to, const char *from, uint64_t count)
{
  const gshm_long_word *words = (const gshm_long_word *) (const void *) from;

  for (uint64_t i = 0; i < count; i += 8)
    {
      uint64_t word = gshm_load (words++);
      memcpy ((char *) to + i, &word,
              (size_t) (count - i < 8 ? count - i : 8));
    }
}

static void
copy_to_ring (char *to, const void *from, uint64_t count)
{
  gshm_long_word *words = (gshm_long_word *) (void *) to;

  for (uint64_t i = 0; i < count; i += 8)
    {
      uint64_t word = 0;
      memcpy (&word, (const char *) from + i,
              (size_t) (count - i < 8 ? count - i : 8));
      set (words++, word);
    }
}

#else

static void
copy_from_ring (void *to, const char *from, uint64_t count)
{
  memmove (to, from, (size_t) count);
}

static void
copy_to_ring (char *to, const void *from, uint64_t count)
{
  memmove (to, from, (size_t) count);
}

#endif


/* Records.  */

enum found
{
  FOUND,
  OVERTAKEN, /* senders have claimed the record */
  NONE,
  INVALID
};

struct record
{
  uint64_t position, offset, size;
  uint64_t length, sequence; /* of the message */
};

/* [validate] Whether what this thread has loaded of the record at POSITION is
   what was published there.  */
static int
is_intact (const struct gshm_feed *feed, uint64_t position)
{
  atomic_thread_fence (memory_order_acquire);
  return gshm_load (&feed->broadcast->oldest) <= position;
}

/* Find the record at POSITION or, if there is SKIP, after that; it ends at
   HEAD or before.  */
static enum found
find_record (const struct gshm_feed *feed, uint64_t position, uint64_t head,
             struct record *record)
{
  uint64_t begin = position;

  for (int i = 0; i < 2; i++)
    {
      uint64_t offset = offset_of (feed, position);
      uint64_t most = feed->size - offset, used = head - position;

      if (used < most)
        most = used;
      if (used > feed->size || position % 8 != 0 || most < 8)
        return is_intact (feed, begin) ? INVALID : OVERTAKEN;
      uint64_t length = gshm_load (length_at (feed, offset));
      record->sequence
        = most < HEADER ? 0 : gshm_load (sequence_at (feed, offset));
      if (!is_intact (feed, begin))
        return OVERTAKEN;
      if (length != SKIP)
        {
          record->position = position;
          record->offset = offset;
          record->length = length;
          record->size = record_size (length);
          return (length <= feed->capacity / 2 && record->size <= most
                    ? FOUND
                    : INVALID);
        }
      if (offset == 0)
        return INVALID;
      position += feed->size - offset;
    }
  return INVALID;
}

/* What is valid at the position FROM, or anything if the memory is corrupt. */
static struct gshm_published *
published_at (struct gshm_broadcast *broadcast, uint64_t from)
{
  struct gshm_published *published = broadcast->published;

  return &published[gshm_load (&published[0].position) != from];
}

struct summary
{
  uint64_t head, messages, last;
};

/* Load the head and the counters that are valid there.  Return 0 if senders
   change them all the time.  */
static int
summarize (const struct gshm_feed *feed, struct summary *summary)
{
  struct gshm_broadcast *broadcast = feed->broadcast;

  for (int i = 0; i < MAX_TRIES; i++)
    {
      summary->head = POSITION (acquire (&broadcast->head));
      const struct gshm_published *now
        = published_at (broadcast, summary->head);
      summary->messages = acquire (&now->messages);
      summary->last = acquire (&now->last);
      /* Acquire: if a load above was of newer counters, the head is seen to
         have moved.  */
      atomic_thread_fence (memory_order_acquire);
      if (POSITION (gshm_load (&broadcast->head)) == summary->head)
        return 1;
    }
  return 0;
}


/* Sending.  */

void
gshm_sending_begin (struct gshm_sending *sending, uint64_t length)
{
  struct gshm_broadcast *broadcast = sending->feed.broadcast;

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
  struct record record;

  while (end - oldest > feed->size)
    {
      if (oldest == head || find_record (feed, oldest, head, &record) != FOUND)
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
  struct gshm_broadcast *broadcast = feed->broadcast;
  uint64_t head = POSITION (gshm_load (&broadcast->head));
  uint64_t offset = offset_of (feed, head), rest = feed->size - offset;
  uint64_t size = record_size (sending->length);
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
    set (length_at (feed, offset), SKIP);
}

static int
is_closed (const struct gshm_feed *feed)
{
  return (atomic_load (&feed->broadcast->head) & CLOSED) != 0;
}

static int
attempt_to_send (void *data, struct gshm_sleep *sleep)
{
  struct gshm_sending *sending = data;
  const struct gshm_feed *feed = &sending->feed;

  if (!is_valid (feed))
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
                             sizeof (struct gshm_broadcast)))
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

  copy_to_ring (message_at (feed, sending->offset), message, sending->length);
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
  struct gshm_broadcast *broadcast = sending->feed.broadcast;
  const struct gshm_published *now = published_at (broadcast, sending->head);
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
  for (int i = 0; i < MAX_TRIES && POSITION (*word) == sending->head; i++)
    {
      if (*word & CLOSED)
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
  struct gshm_broadcast *broadcast = feed->broadcast;
  uint64_t offset = sending->offset;
  uint32_t processor = gshm_processor ();
  uint64_t end = sending->record + record_size (sending->length);
  enum gshm_result result = GSHM_CORRUPT;
  uint64_t word = 0;

  set (length_at (feed, offset), sending->length);
  set (sequence_at (feed, offset), prepare_counters (sending, end));
  if (atomic_load_explicit (&broadcast->processor, memory_order_relaxed)
      != processor)
    atomic_store_explicit (&broadcast->processor, processor,
                           memory_order_relaxed);
  if (is_valid (feed) && !is_fault_pending (feed))
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
  struct gshm_broadcast *broadcast = feed->broadcast;
  /* [close] A message is sent before the close if its sender changes the head
     first.  */
  uint64_t before = atomic_fetch_or (&broadcast->head, CLOSED);

  gshm_wake (gshm_low_half (&broadcast->head), INT_MAX);
  /* A sender sets WAITERS, checks whether the broadcast is closed, and sleeps:
     clearing WAITERS changes the word for one that has checked and does not
     sleep yet.  */
  atomic_fetch_and (&broadcast->owner, ~GSHM_WAITERS);
  gshm_wake (gshm_low_half (&broadcast->owner), INT_MAX);
  return (before & CLOSED) != 0;
}


/* Subscribing.  */

static void
go_to (struct gshm_subscriber *subscriber, uint64_t position,
       uint64_t sequence)
{
  subscriber->position = position;
  subscriber->sequence = sequence;
}

/* Set SUBSCRIBER to the oldest message that can still be read.  */
static enum found
go_to_oldest (const struct gshm_feed *feed, struct gshm_subscriber *subscriber)
{
  /* Acquire: the head, loaded after it, is not before it.  */
  uint64_t oldest = acquire (&feed->broadcast->oldest);
  struct summary summary;
  struct record record;

  if (!summarize (feed, &summary))
    return OVERTAKEN;
  if (oldest == summary.head)
    {
      go_to (subscriber, oldest, summary.messages);
      return FOUND;
    }
  enum found found = find_record (feed, oldest, summary.head, &record);
  if (found == FOUND)
    go_to (subscriber, record.position, record.sequence);
  return found;
}

/* Whether there is no newest message: none was sent, or a sender that found
   corrupt memory has dropped all.  */
static int
is_empty (const struct gshm_feed *feed, const struct summary *summary)
{
  uint64_t oldest = acquire (&feed->broadcast->oldest);

  return summary->messages == 0
         || (oldest == summary->head
             && POSITION (gshm_load (&feed->broadcast->head)) == oldest);
}

static enum found
find_latest (const struct gshm_feed *feed, struct summary *summary,
             struct record *record)
{
  if (!summarize (feed, summary))
    return OVERTAKEN;
  enum found found = find_record (feed, summary->last, summary->head, record);
  if (found != FOUND && is_empty (feed, summary))
    return NONE;
  if (found == FOUND
      && (record->position + record->size != summary->head
          || record->sequence != summary->messages - 1))
    return INVALID;
  return found;
}

static enum found
go_to_latest (const struct gshm_feed *feed, struct gshm_subscriber *subscriber)
{
  struct summary summary;
  struct record record;
  enum found found = find_latest (feed, &summary, &record);

  if (found == FOUND)
    go_to (subscriber, record.position, record.sequence);
  else if (found == NONE)
    {
      go_to (subscriber, summary.head, summary.messages);
      return FOUND;
    }
  return found;
}

static enum found
go_to_now (const struct gshm_feed *feed, struct gshm_subscriber *subscriber)
{
  struct summary summary;

  if (!summarize (feed, &summary))
    return OVERTAKEN;
  go_to (subscriber, summary.head, summary.messages);
  return FOUND;
}

enum gshm_result
gshm_subscribe (const struct gshm_feed *feed, enum gshm_subscribe_from from,
                struct gshm_subscriber *subscriber)
{
  enum found found = OVERTAKEN;

  subscriber->missed = subscriber->idle_polls = 0;
  for (int i = 0; i < MAX_TRIES && found == OVERTAKEN; i++)
    found = (from == GSHM_FROM_OLDEST   ? go_to_oldest (feed, subscriber)
             : from == GSHM_FROM_LATEST ? go_to_latest (feed, subscriber)
                                        : go_to_now (feed, subscriber));
  return found == FOUND ? GSHM_DONE : GSHM_CORRUPT;
}


/* Receiving.  */

/* Copy the message of RECORD.  If it is intact, move the subscriber past it
   and return DONE; if it was overwritten, TIMED_OUT.  */
static int
read_record (struct gshm_reading *reading, const struct record *record)
{
  const struct gshm_feed *feed = &reading->feed;
  void *target = reading->prepare (reading, record->length);

  copy_from_ring (target, message_at (feed, record->offset), record->length);
  if (!is_intact (feed, record->position))
    return 0;
  if (is_fault_pending (feed))
    return GSHM_CORRUPT;
  go_to (reading->subscriber, record->position + record->size,
         record->sequence + 1);
  reading->subscriber->idle_polls = 0;
  reading->length = record->length;
  return GSHM_DONE;
}

/* Move the subscriber past what was overwritten, to the oldest message or,
   with TO_LATEST, to the newest, and count what it has missed.  */
static enum found
catch_up (struct gshm_reading *reading, int to_latest)
{
  struct gshm_subscriber *subscriber = reading->subscriber, next = *subscriber;
  enum found found = (to_latest ? go_to_latest (&reading->feed, &next)
                                : go_to_oldest (&reading->feed, &next));

  if (found != FOUND)
    return found;
  uint64_t passed = next.position - subscriber->position;
  uint64_t missed = next.sequence - subscriber->sequence;
  /* Positions never wrap, and a record has at least a header.  */
  if (next.position <= subscriber->position || missed > passed / HEADER)
    return INVALID;
  next.missed += missed;
  *subscriber = next;
  return FOUND;
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
  struct gshm_broadcast *broadcast = reading->feed.broadcast;

  sleep->processor = &broadcast->processor;
  if (reading->can_write)
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
gshm_attempt_to_read (void *data, struct gshm_sleep *sleep)
{
  struct gshm_reading *reading = data;
  const struct gshm_feed *feed = &reading->feed;
  const struct gshm_subscriber *subscriber = reading->subscriber;
  struct record record;

  if (!is_valid (feed))
    return GSHM_CORRUPT;
  for (int i = 0; i < MAX_READS; i++)
    {
      uint64_t word = acquire (&feed->broadcast->head);

      if (POSITION (word) == subscriber->position)
        {
          if (word & CLOSED)
            return GSHM_CHANNEL_CLOSED;
          sleep_until_sent (reading, sleep, word);
          return 0;
        }
      enum found found = (is_intact (feed, subscriber->position)
                            ? find_record (feed, subscriber->position,
                                           POSITION (word), &record)
                            : OVERTAKEN);
      if (found == FOUND)
        {
          int result = (record.sequence == subscriber->sequence
                          ? read_record (reading, &record)
                          : GSHM_CORRUPT);
          if (result != 0)
            return result;
          found = OVERTAKEN;
        }
      if (found == OVERTAKEN)
        found = catch_up (reading, i >= MAX_OVERTAKEN);
      if (found == INVALID)
        return GSHM_CORRUPT;
    }
  return try_again (reading, sleep);
}

int
gshm_attempt_to_read_latest (void *data, struct gshm_sleep *sleep)
{
  struct gshm_reading *reading = data;
  const struct gshm_feed *feed = &reading->feed;
  struct summary summary;
  struct record record;

  if (!is_valid (feed))
    return GSHM_CORRUPT;
  for (int i = 0; i < MAX_READS; i++)
    {
      enum found found = find_latest (feed, &summary, &record);

      reading->is_found = found == FOUND;
      if (found == NONE)
        return GSHM_DONE;
      if (found == INVALID)
        return GSHM_CORRUPT;
      if (found == FOUND)
        {
          int result = read_record (reading, &record);
          if (result != 0)
            return result;
        }
    }
  return try_again (reading, sleep);
}

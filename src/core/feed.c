/* SPDX-License-Identifier: BSD-3-Clause
   feed.c - the ring of messages of a broadcast.

   The steps, in brackets, are those of tests/models/broadcast.pml.  */

#include <config.h>

#include <stdatomic.h>
#include <string.h>

#include "core/feed.h"

#ifndef __has_feature
# define __has_feature(feature) 0
#endif


/* The memory.  */

static uint64_t
acquire (const gshm_long_word *word)
{
  return atomic_load_explicit (word, memory_order_acquire);
}

static uint64_t
ring_size (uint64_t capacity)
{
  return 3 * gshm_feed_record_size (capacity / 2);
}

size_t
gshm_feed_memory_size (uint64_t capacity)
{
  size_t header = sizeof (struct gshm_broadcast_header);

  return (
    capacity / 2 > SIZE_MAX / 4 ? 0 : header + (size_t) ring_size (capacity));
}

void
gshm_feed_init (void *memory, uint64_t capacity, uint32_t namespace)
{
  struct gshm_broadcast_header *broadcast = memory;
  gshm_long_word *words = memory;

  for (size_t i = 0; i < sizeof *broadcast / sizeof *words; i++)
    atomic_store (&words[i], 0);
  atomic_store (&broadcast->namespace, namespace);
  atomic_store (&broadcast->capacity, capacity);
  gshm_set_format (&broadcast->format, GSHM_BROADCAST_FORMAT);
}

enum gshm_result
gshm_feed_open (struct gshm_feed *feed, void *memory, size_t length)
{
  feed->broadcast = memory;
  if (length < sizeof *feed->broadcast || !gshm_feed_is_valid (feed))
    return GSHM_CORRUPT;
  feed->bytes = (char *) memory + sizeof *feed->broadcast;
  feed->capacity = gshm_load (&feed->broadcast->capacity);
  if (feed->capacity < 2 || feed->capacity > length)
    return GSHM_CORRUPT;
  feed->size = ring_size (feed->capacity);
  return (feed->size <= length - sizeof *feed->broadcast ? GSHM_DONE
                                                         : GSHM_CORRUPT);
}

/* A subscriber copies bytes that a sender may be changing, and uses the copy
   only if they were not changed (feed.h).  C has nothing for that but atomic
   accesses to words, which take three times as long as memcpy.  In the ring
   the bytes begin at a multiple of 8, and are padded to one.  */
#if defined __SANITIZE_THREAD__ || __has_feature(thread_sanitizer)

void
gshm_feed_copy_from (void *to, const char *from, uint64_t count)
{
  const gshm_long_word *words = (const gshm_long_word *) (const void *) from;

  for (uint64_t i = 0; i < count; i += 8)
    {
      uint64_t word = gshm_load (words++);
      memcpy ((char *) to + i, &word,
              (size_t) (count - i < 8 ? count - i : 8));
    }
}

void
gshm_feed_copy_to (char *to, const void *from, uint64_t count)
{
  gshm_long_word *words = (gshm_long_word *) (void *) to;

  for (uint64_t i = 0; i < count; i += 8)
    {
      uint64_t word = 0;
      memcpy (&word, (const char *) from + i,
              (size_t) (count - i < 8 ? count - i : 8));
      atomic_store_explicit (words++, word, memory_order_relaxed);
    }
}

#else

void
gshm_feed_copy_from (void *to, const char *from, uint64_t count)
{
  memmove (to, from, (size_t) count);
}

void
gshm_feed_copy_to (char *to, const void *from, uint64_t count)
{
  memmove (to, from, (size_t) count);
}

#endif


/* Records.  */

enum gshm_found
gshm_feed_find (const struct gshm_feed *feed, uint64_t position, uint64_t head,
                struct gshm_record *record)
{
  uint64_t begin = position;

  for (int i = 0; i < 2; i++)
    {
      uint64_t offset = gshm_feed_offset (feed, position);
      uint64_t most = feed->size - offset, used = head - position;

      if (used < most)
        most = used;
      if (used > feed->size || position % 8 != 0 || most < 8)
        return gshm_feed_is_intact (feed, begin) ? GSHM_INVALID
                                                 : GSHM_OVERTAKEN;
      uint64_t length = gshm_load (gshm_feed_length (feed, offset));
      record->sequence = most < GSHM_BROADCAST_HEADER
                           ? 0
                           : gshm_load (gshm_feed_sequence (feed, offset));
      if (!gshm_feed_is_intact (feed, begin))
        return GSHM_OVERTAKEN;
      if (length != GSHM_BROADCAST_SKIP)
        {
          record->position = position;
          record->offset = offset;
          record->length = length;
          record->size = gshm_feed_record_size (length);
          return (length <= feed->capacity / 2 && record->size <= most
                    ? GSHM_FOUND
                    : GSHM_INVALID);
        }
      if (offset == 0)
        return GSHM_INVALID;
      position += feed->size - offset;
    }
  return GSHM_INVALID;
}

struct gshm_published *
gshm_feed_published (struct gshm_broadcast_header *broadcast, uint64_t from)
{
  struct gshm_published *published = broadcast->published;

  return &published[gshm_load (&published[0].position) != from];
}

int
gshm_feed_summarize (const struct gshm_feed *feed,
                     struct gshm_summary *summary)
{
  struct gshm_broadcast_header *broadcast = feed->broadcast;

  for (int i = 0; i < GSHM_BROADCAST_TRIES; i++)
    {
      summary->head = GSHM_BROADCAST_POSITION (acquire (&broadcast->head));
      const struct gshm_published *now
        = gshm_feed_published (broadcast, summary->head);
      summary->messages = acquire (&now->messages);
      summary->last = acquire (&now->last);
      /* Acquire: if a load above was of newer counters, the head is seen to
         have moved.  */
      atomic_thread_fence (memory_order_acquire);
      if (GSHM_BROADCAST_POSITION (gshm_load (&broadcast->head))
          == summary->head)
        return 1;
    }
  return 0;
}

/* Whether there is no newest message: none was sent, or a sender that found
   corrupt memory has dropped all.  */
static int
is_empty (const struct gshm_feed *feed, const struct gshm_summary *summary)
{
  uint64_t oldest = acquire (&feed->broadcast->oldest);

  return summary->messages == 0
         || (oldest == summary->head
             && GSHM_BROADCAST_POSITION (gshm_load (&feed->broadcast->head))
                  == oldest);
}

enum gshm_found
gshm_feed_find_latest (const struct gshm_feed *feed,
                       struct gshm_summary *summary,
                       struct gshm_record *record)
{
  if (!gshm_feed_summarize (feed, summary))
    return GSHM_OVERTAKEN;
  enum gshm_found found
    = gshm_feed_find (feed, summary->last, summary->head, record);
  if (found != GSHM_FOUND && is_empty (feed, summary))
    return GSHM_NONE;
  /* No sender claims the newest message before it has published another.
     Acquire: if `oldest' is past the message, the new head is seen.  */
  atomic_thread_fence (memory_order_acquire);
  if (found == GSHM_OVERTAKEN
      && GSHM_BROADCAST_POSITION (gshm_load (&feed->broadcast->head))
           == summary->head)
    return GSHM_INVALID;
  if (found == GSHM_FOUND
      && (record->position + record->size != summary->head
          || record->sequence != summary->messages - 1))
    return GSHM_INVALID;
  return found;
}

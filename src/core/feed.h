/* SPDX-License-Identifier: BSD-3-Clause
   feed.h - the ring of messages of a broadcast.

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

#ifndef GSHM_FEED_H
#define GSHM_FEED_H

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

struct gshm_broadcast_header
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

_Static_assert (sizeof (struct gshm_broadcast_header) == 512,
               "a layout that processes share");

#define GSHM_BROADCAST_FORMAT GSHM_FORMAT (GSHM_BROADCAST, 1)
#define GSHM_BROADCAST_HEADER 16 /* of a record */
#define GSHM_BROADCAST_SKIP UINT64_MAX

/* Flag of the head, besides WAITERS of lock.h.  */
#define GSHM_BROADCAST_CLOSED UINT64_C (2)
#define GSHM_BROADCAST_POSITION(word) ((word) & ~UINT64_C (7))

/* How often other threads may change the head while this one uses it.  Only a
   hostile process does so more often.  */
#define GSHM_BROADCAST_TRIES 64

/* A broadcast, with values that an operation has checked.  */
struct gshm_feed
{
  struct gshm_broadcast_header *broadcast;
  char *bytes;
  uint64_t capacity, size;      /* of the ring */
  const struct gshm_host *host; /* or NULL */
};

/* The size of the memory of a broadcast of CAPACITY bytes, at least 2; 0 if it
   is too large.  */
size_t gshm_feed_memory_size (uint64_t capacity);

/* Make the memory, of at least that size, an empty broadcast.  */
void gshm_feed_init (void *memory, uint64_t capacity, uint32_t namespace);

/* Set FEED, except for its host, to the broadcast in the LENGTH bytes at
   MEMORY.  Return DONE or CORRUPT.  */
enum gshm_result gshm_feed_open (struct gshm_feed *feed, void *memory,
                                 size_t length);

/* Whether it is still valid.  Acquire: this thread sees what was stored before
   the format.  */
static inline int
gshm_feed_is_valid (const struct gshm_feed *feed)
{
  return gshm_has_format (&feed->broadcast->format, GSHM_BROADCAST_FORMAT);
}

/* Whether this thread has accessed a page that is not accessible.  */
static inline int
gshm_feed_is_fault_pending (const struct gshm_feed *feed)
{
  return feed->host != NULL && feed->host->is_fault_pending ();
}

/* The offset in the ring of POSITION.  */
static inline uint64_t
gshm_feed_offset (const struct gshm_feed *feed, uint64_t position)
{
  return position % feed->size;
}

/* The record at OFFSET, a multiple of 8: its length, its sequence number, and
   its message.  */
static inline gshm_long_word *
gshm_feed_length (const struct gshm_feed *feed, uint64_t offset)
{
  return (gshm_long_word *) (void *) (feed->bytes + offset);
}

static inline gshm_long_word *
gshm_feed_sequence (const struct gshm_feed *feed, uint64_t offset)
{
  return gshm_feed_length (feed, offset) + 1;
}

static inline char *
gshm_feed_message (const struct gshm_feed *feed, uint64_t offset)
{
  return feed->bytes + offset + GSHM_BROADCAST_HEADER;
}

/* The size of the record of a message of LENGTH bytes, at most half of a
   capacity.  */
static inline uint64_t
gshm_feed_record_size (uint64_t length)
{
  return GSHM_BROADCAST_HEADER + ((length + 7) & ~UINT64_C (7));
}

/* Copy COUNT bytes of a message from or to the ring.  */
void gshm_feed_copy_from (void *to, const char *from, uint64_t count);
void gshm_feed_copy_to (char *to, const void *from, uint64_t count);

/* [validate] Whether what this thread has loaded of the record at POSITION is
   what was published there.  */
static inline int
gshm_feed_is_intact (const struct gshm_feed *feed, uint64_t position)
{
  atomic_thread_fence (memory_order_acquire);
  return gshm_load (&feed->broadcast->oldest) <= position;
}

enum gshm_found
{
  GSHM_FOUND,
  GSHM_OVERTAKEN, /* senders have claimed the record */
  GSHM_NONE,      /* there is no message */
  GSHM_INVALID    /* the memory is corrupt */
};

struct gshm_record
{
  uint64_t position, offset, size;
  uint64_t length, sequence; /* of the message */
};

/* Find the record at POSITION or, if there is SKIP, after that; it ends at
   HEAD or before.  */
enum gshm_found gshm_feed_find (const struct gshm_feed *feed,
                                uint64_t position, uint64_t head,
                                struct gshm_record *record);

/* What is valid at the position FROM, or anything if the memory is corrupt. */
struct gshm_published *
gshm_feed_published (struct gshm_broadcast_header *broadcast, uint64_t from);

struct gshm_summary
{
  uint64_t head, messages, last;
};

/* Load the head and the counters that are valid there.  Return 0 if senders
   change them all the time.  */
int gshm_feed_summarize (const struct gshm_feed *feed,
                         struct gshm_summary *summary);

/* Find the newest message.  */
enum gshm_found gshm_feed_find_latest (const struct gshm_feed *feed,
                                       struct gshm_summary *summary,
                                       struct gshm_record *record);

#endif /* GSHM_FEED_H */

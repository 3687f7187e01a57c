/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.c - broadcasts of src/core/, tested without Guile.  */

#include <config.h>

#include "core/broadcast.h"
#include "core/subscriber.h"
#include "support.h"

#define CAPACITY 256
#define MESSAGES 20000 /* of each sender */
#define SUBSCRIBERS 3

static union
{
  struct gshm_broadcast_header broadcast;
  uint64_t words[(512 + 3 * (16 + CAPACITY / 2)) / 8];
  /* Beyond the broadcast, what nothing may change.  */
  char bytes[512 + 3 * (16 + CAPACITY / 2) + 64];
} memory;

#define SIZE (512 + 3 * (16 + CAPACITY / 2))

static struct gshm_feed
open_feed (void)
{
  struct gshm_feed feed = { .host = NULL };

  assert_int_equal (gshm_feed_open (&feed, &memory, SIZE), GSHM_DONE);
  return feed;
}

static void
make_broadcast (void)
{
  assert_int_equal (gshm_feed_memory_size (CAPACITY), SIZE);
  gshm_feed_init (&memory, CAPACITY, gshm_namespace ());
}

static int
send_bytes (struct gshm_feed feed, const void *bytes, size_t length,
            int64_t timeout)
{
  struct gshm_sending sending = { .feed = feed };

  gshm_sending_begin (&sending, length);
  int result = gshm_sending_try (&sending, timeout);
  if (result == GSHM_TIMED_OUT)
    result = gshm_sending_wait (&sending, NULL);
  if (result != GSHM_DONE)
    return result;
  gshm_sending_write (&sending, bytes);
  return gshm_sending_end (&sending);
}

static struct gshm_subscription
subscribe (enum gshm_start from)
{
  struct gshm_feed feed = open_feed ();
  struct gshm_subscription subscriber;

  assert_int_equal (gshm_subscribe (&feed, from, &subscriber), GSHM_DONE);
  return subscriber;
}

/* Of the thread that receives.  */
static _Thread_local unsigned char target[CAPACITY];

static void *
to_target (struct gshm_reading *reading, uint64_t length)
{
  (void) reading;
  assert_in_range (length, 0, CAPACITY / 2);
  return target;
}

static struct gshm_reading
reading_of (struct gshm_subscription *subscriber, int can_write)
{
  subscriber->can_write = (uint64_t) can_write;
  return (struct gshm_reading) { .feed = open_feed (),
                                 .subscriber = subscriber,
                                 .prepare = to_target };
}

static int
receive (struct gshm_subscription *subscriber, int can_write, int64_t timeout,
         uint64_t *length)
{
  struct gshm_reading reading = reading_of (subscriber, can_write);
  int result = gshm_wait (NULL, timeout, gshm_attempt_to_read, &reading);

  *length = reading.length;
  return result;
}

/* The message that SUBSCRIBER receives now: its length, or -1 for none.  */
static int64_t
length_of_next (struct gshm_subscription *subscriber)
{
  uint64_t length;

  return (receive (subscriber, 1, 0, &length) == GSHM_DONE ? (int64_t) length
                                                           : -1);
}

static int64_t
length_of_latest (struct gshm_subscription *subscriber)
{
  struct gshm_reading reading = reading_of (subscriber, 0);

  assert_int_equal (
    gshm_wait (NULL, GSHM_SECOND, gshm_attempt_to_read_latest, &reading),
    GSHM_DONE);
  return reading.is_found ? (int64_t) reading.length : -1;
}

static void
test_order (void **state)
{
  char bytes[CAPACITY] = "";

  (void) state;
  make_broadcast ();
  struct gshm_subscription early = subscribe (GSHM_START_NOW);
  struct gshm_subscription first = subscribe (GSHM_START_LATEST);
  assert_int_equal (length_of_next (&early), -1);
  assert_int_equal (length_of_latest (&early), -1);
  for (size_t i = 1; i <= 3; i++)
    assert_int_equal (send_bytes (open_feed (), bytes, i, 0), GSHM_DONE);
  struct gshm_subscription now = subscribe (GSHM_START_NOW);
  struct gshm_subscription latest = subscribe (GSHM_START_LATEST);
  struct gshm_subscription oldest = subscribe (GSHM_START_OLDEST);
  assert_int_equal (length_of_next (&now), -1);
  assert_int_equal (length_of_next (&latest), 3);
  assert_int_equal (length_of_next (&latest), -1);
  for (int i = 1; i <= 3; i++)
    {
      assert_int_equal (length_of_next (&early), i);
      assert_int_equal (length_of_next (&oldest), i);
    }
  assert_int_equal (length_of_latest (&first), 3);
  assert_int_equal (length_of_latest (&first), 3);
  assert_int_equal (length_of_next (&first), -1);
  assert_int_equal (first.missed + early.missed + latest.missed, 0);
}

/* Messages of all sizes, so that there is a SKIP of every size; what is
   overwritten is counted; the newest message is always there.  */
static void
test_wrap (void **state)
{
  unsigned char bytes[CAPACITY];

  (void) state;
  for (uint64_t seed = 1; seed < 400; seed++)
    {
      make_broadcast ();
      struct gshm_subscription slow = subscribe (GSHM_START_NOW);
      struct gshm_subscription fast = slow, last = slow;
      uint64_t received = 0, random = seed;
      for (uint64_t n = 1; n < 100; n++)
        {
          random = random * 6364136223846793005u + 1442695040888963407u;
          size_t length = (size_t) (random >> 33) % (CAPACITY / 2 + 1);
          memset (bytes, (int) n, length);
          assert_int_equal (send_bytes (open_feed (), bytes, length, 0),
                            GSHM_DONE);
          assert_int_equal (length_of_next (&fast), length);
          assert_memory_equal (target, bytes, length);
          assert_int_equal (length_of_latest (&last), length);
          assert_memory_equal (target, bytes, length);
          if (n % 7 == 0 && length_of_next (&slow) >= 0)
            received++;
          assert_true (subscribe (GSHM_START_LATEST).sequence == n - 1);
          assert_true (subscribe (GSHM_START_NOW).sequence == n);
        }
      while (length_of_next (&slow) >= 0)
        received++;
      assert_int_equal (fast.missed + last.missed, 0);
      assert_int_equal (received + slow.missed, 99);
    }
}

/* Of many threads: each message has its sender's number, its own number and
   its length, and repeats them.  */

static uint64_t
length_of (uint64_t number)
{
  return 16 + 8 * (number * 7 % 14);
}

static atomic_int next_sender;

static void *
send_many (void *data)
{
  struct gshm_feed feed = open_feed ();
  uint64_t sender = (uint64_t) atomic_fetch_add (&next_sender, 1);
  uint64_t words[CAPACITY / 16];

  for (uint64_t n = 0; n < MESSAGES; n++)
    {
      for (size_t i = 0; i < length_of (n) / 8; i++)
        words[i] = sender << 32 | n;
      assert_int_equal (
        send_bytes (feed, words, (size_t) length_of (n), GSHM_FOREVER),
        GSHM_DONE);
      if (n % 64 == 0)
        gshm_pause (1000);
    }
  return data;
}

static void
check_target (uint64_t length, int64_t *last)
{
  uint64_t words[CAPACITY / 8];

  memcpy (words, target, (size_t) length);
  uint64_t sender = words[0] >> 32, number = words[0] & UINT32_MAX;
  assert_in_range (sender, 0, THREADS - 1);
  assert_int_equal (length, length_of (number));
  for (size_t i = 1; i < length / 8; i++)
    assert_true (words[i] == words[0]);
  assert_true ((int64_t) number > last[sender]);
  last[sender] = (int64_t) number;
}

static void *
receive_many (void *can_write)
{
  struct gshm_subscription subscriber = subscribe (GSHM_START_OLDEST);
  int64_t last[THREADS] = { -1, -1, -1, -1 };
  uint64_t length, received = subscriber.sequence;

  while (receive (&subscriber, can_write != NULL, GSHM_FOREVER, &length)
         == GSHM_DONE)
    {
      check_target (length, last);
      received++;
    }
  assert_int_equal (received + subscriber.missed, THREADS * MESSAGES);
  return NULL;
}

static atomic_int done;

static void *
watch_latest (void *data)
{
  struct gshm_subscription subscriber = subscribe (GSHM_START_NOW);
  int64_t last[THREADS] = { -1, -1, -1, -1 };
  uint64_t sequence = 0;

  while (!atomic_load (&done))
    {
      int64_t length = length_of_latest (&subscriber);

      assert_true (subscriber.sequence >= sequence);
      if (length >= 0 && subscriber.sequence > sequence)
        check_target ((uint64_t) length, last);
      sequence = subscriber.sequence;
    }
  assert_int_equal (subscriber.missed, 0);
  return data;
}

static void
test_many (void **state)
{
  pthread_t receivers[SUBSCRIBERS], watcher;
  struct gshm_feed feed;

  (void) state;
  make_broadcast ();
  atomic_store (&next_sender, 0);
  atomic_store (&done, 0);
  for (int i = 0; i < SUBSCRIBERS; i++)
    pthread_create (&receivers[i], NULL, receive_many, i % 2 ? &memory : NULL);
  pthread_create (&watcher, NULL, watch_latest, NULL);
  in_threads (send_many, NULL);
  feed = open_feed ();
  assert_false (gshm_feed_close (&feed));
  for (int i = 0; i < SUBSCRIBERS; i++)
    pthread_join (receivers[i], NULL);
  atomic_store (&done, 1);
  pthread_join (watcher, NULL);
  assert_true (gshm_feed_close (&feed));
  assert_int_equal (send_bytes (feed, &feed, 1, GSHM_FOREVER),
                    GSHM_CHANNEL_CLOSED);
}

/* A sender that leaves after each step has sent nothing.  */
static void
test_abort (void **state)
{
  char bytes[CAPACITY / 2] = "";

  (void) state;
  make_broadcast ();
  struct gshm_subscription subscriber = subscribe (GSHM_START_NOW);
  for (int i = 0; i < 20; i++)
    {
      struct gshm_sending sending = { .feed = open_feed () };

      assert_int_equal (send_bytes (sending.feed, bytes, 50, 0), GSHM_DONE);
      gshm_sending_begin (&sending, sizeof bytes);
      assert_int_equal (gshm_sending_try (&sending, 0), GSHM_DONE);
      gshm_sending_write (&sending, bytes);
      gshm_sending_abort (&sending);
      assert_int_equal (length_of_latest (&subscriber), 50);
      assert_int_equal (length_of_next (&subscriber), -1);
    }
}

static void
cancel_nothing (void *reading)
{
  (void) reading;
}

/* Leave a wait at every hook: a subscriber's, and a sender's for the lock.  */
static void
test_leaving (void **state)
{
  (void) state;
  make_broadcast ();
  struct gshm_subscription subscriber = subscribe (GSHM_START_NOW);
  for (int hook = 0; hook < 6; hook++)
    for (int can_write = 0; can_write < 2; can_write++)
      {
        struct gshm_reading reading = reading_of (&subscriber, can_write);

        wait_and_leave (gshm_attempt_to_read, cancel_nothing, &reading, hook);
      }
  assert_int_equal (send_bytes (open_feed (), "x", 1, 0), GSHM_DONE);
  assert_int_equal (length_of_next (&subscriber), 1);
  /* The lock of another thread, which does not end.  */
  atomic_store (&memory.broadcast.owner, UINT64_C (1) << 40 | GSHM_FOREIGN);
  for (int hook = 0; hook < 6; hook++)
    {
      struct gshm_sending sending = { .feed = open_feed () };

      gshm_sending_begin (&sending, 1);
      assert_int_equal (gshm_sending_try (&sending, 120 * MILLISECOND),
                        GSHM_TIMED_OUT);
      hooks_before_leaving = hook;
      if (setjmp (left) == 0)
        assert_int_equal (gshm_sending_wait (&sending, &leaving_host),
                          GSHM_TIMED_OUT);
      gshm_sending_cancel (&sending);
    }
  atomic_store (&memory.broadcast.owner, 0);
  assert_int_equal (send_bytes (open_feed (), "x", 1, 0), GSHM_DONE);
}

/* Use memory that holds anything.  */
static void
use_garbage (int i)
{
  static const enum gshm_start from[]
    = { GSHM_START_NOW, GSHM_START_LATEST, GSHM_START_OLDEST };
  struct gshm_feed feed = { .host = NULL };
  struct gshm_subscription subscriber = { 0 };
  struct gshm_sleep sleep = { .announce = i % 2 };

  if (gshm_feed_open (&feed, &memory, SIZE) != GSHM_DONE)
    return;
  /* It may have subscribed before.  */
  if (i % 2)
    subscriber.position = 8 * (uint64_t) (rand () % 200);
  else
    gshm_subscribe (&feed, from[i % 3], &subscriber);
  subscriber.can_write = i % 2;
  for (int j = 0; j < 3; j++)
    {
      struct gshm_reading reading = { .feed = feed,
                                      .subscriber = &subscriber,
                                      .prepare = to_target };
      int result = (j < 2 ? gshm_attempt_to_read (&reading, &sleep)
                          : gshm_attempt_to_read_latest (&reading, &sleep));
      assert_true (result == GSHM_TIMED_OUT || result == GSHM_DONE
                   || result == GSHM_CHANNEL_CLOSED || result == GSHM_CORRUPT);
    }
  struct gshm_sending sending = { .feed = feed };
  gshm_sending_begin (&sending, (uint64_t) i % (feed.capacity / 2 + 1));
  int result = gshm_sending_try (&sending, GSHM_SECOND);
  assert_in_range (result, GSHM_TIMED_OUT, GSHM_CORRUPT);
  if (result == GSHM_DONE)
    {
      gshm_sending_write (&sending, target);
      gshm_sending_end (&sending);
    }
  else
    gshm_sending_cancel (&sending);
}

static void
test_garbage (void **state)
{
  (void) state;
  for (int i = 0; i < 20000; i++)
    {
      make_broadcast ();
      memset (memory.bytes + SIZE, 'x', 64);
      uint64_t capacity = atomic_load (&memory.broadcast.capacity);
      if (i % 3 == 0)
        scribble (&memory, SIZE, GSHM_BROADCAST_FORMAT);
      else
        {
          /* A few words of one that was in use.  */
          for (size_t n = 0; n < 10; n++)
            send_bytes (open_feed (), target, n * 11 % 128, 0);
          gshm_long_word *words = (gshm_long_word *) &memory;
          for (int n = 0; n < 3; n++)
            atomic_store (&words[(size_t) rand () % (SIZE / 8)],
                          8 * (uint64_t) (rand () % 200));
          atomic_store (&words[(size_t) rand () % (SIZE / 8)], UINT64_MAX);
          atomic_store (&words[0], GSHM_BROADCAST_FORMAT);
        }
      atomic_store (&memory.broadcast.capacity,
                    i % 5 == 0 ? capacity * 8 : capacity);
      if (i % 7 == 0)
        atomic_store (&memory.broadcast.capacity, (uint64_t) rand ());
      use_garbage (i);
      for (int n = 0; n < 64; n++)
        assert_int_equal (memory.bytes[SIZE + n], 'x');
    }
}

/* A subscriber beside a thread that scribbles.  */

static void *
scribble_on (void *data)
{
  unsigned seed = 1;

  while (!atomic_load (&done))
    {
      gshm_long_word *words = (gshm_long_word *) &memory;
      size_t i = (size_t) rand_r (&seed) % (SIZE / 8);

      if (i > 0 && &words[i] != &memory.broadcast.capacity)
        atomic_store (&words[i], 8 * (uint64_t) (rand_r (&seed) % 100));
    }
  return data;
}

static void
test_scribbler (void **state)
{
  pthread_t scribbler;

  (void) state;
  make_broadcast ();
  atomic_store (&done, 0);
  pthread_create (&scribbler, NULL, scribble_on, NULL);
  for (int i = 0; i < 20000; i++)
    use_garbage (i);
  atomic_store (&done, 1);
  pthread_join (scribbler, NULL);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_order),     cmocka_unit_test (test_wrap),
    cmocka_unit_test (test_many),      cmocka_unit_test (test_abort),
    cmocka_unit_test (test_leaving),   cmocka_unit_test (test_garbage),
    cmocka_unit_test (test_scribbler),
  };

  gshm_owner_start ();
  return cmocka_run_group_tests (tests, NULL, NULL);
}

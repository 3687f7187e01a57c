/* SPDX-License-Identifier: BSD-3-Clause
   channel.c - channels of src/core/, tested without Guile.  */

#include <config.h>

#include "core/channel.h"
#include "support.h"

#define RING 256
#define MESSAGES 2000           /* of each sender */

static union
{
  struct gshm_channel_header channel;
  uint64_t words[(sizeof (struct gshm_channel_header) + RING) / 8];
} memory;

static void
begin (struct gshm_transfer *passing, int is_sender)
{
  assert_int_equal (
    gshm_transfer_begin (passing, &memory, sizeof memory, NULL), GSHM_DONE);
  gshm_transfer_set_side (passing, is_sender);
}

static int
wait_for (struct gshm_transfer *passing, gshm_attempt *attempt,
          int64_t timeout)
{
  int result = gshm_transfer_try (passing, attempt, timeout);

  return (result == GSHM_TIMED_OUT
            ? gshm_transfer_wait (passing, attempt, NULL)
            : result);
}

/* Send LENGTH bytes, all of which are the lowest of VALUE.  */
static int
send_message (uint64_t value, size_t length, int64_t timeout)
{
  struct gshm_transfer passing;

  begin (&passing, 1);
  passing.length = length;
  int result = wait_for (&passing, gshm_transfer_attempt_to_send, timeout);
  if (result != GSHM_DONE)
    return result;
  memset (passing.bytes, (int) (value & 0xff), length);
  return gshm_transfer_end_sending (&passing);
}

/* Receive a message; store in VALUE one of its bytes, which are all the
   same.  */
static int
receive_message (unsigned char *value, size_t *length, int64_t timeout)
{
  struct gshm_transfer passing;

  begin (&passing, 0);
  int result = wait_for (&passing, gshm_transfer_attempt_to_receive, timeout);
  if (result != GSHM_DONE)
    return result;
  *length = (size_t) passing.length;
  *value = *length == 0 ? 0 : (unsigned char) passing.bytes[0];
  for (size_t i = 0; i < *length; i++)
    assert_int_equal ((unsigned char) passing.bytes[i], *value);
  return gshm_transfer_end_receiving (&passing);
}

static void
make_channel (void)
{
  gshm_ring_init (&memory, sizeof memory, gshm_namespace ());
}

static atomic_ullong sent, received;

static void *
send_many (void *data)
{
  (void) data;
  for (uint64_t i = 0; i < MESSAGES; i++)
    {
      size_t length = 1 + (size_t) (i % 100);

      assert_int_equal (send_message (i, length, GSHM_FOREVER), GSHM_DONE);
      atomic_fetch_add (&sent, (i & 0xff) * length);
    }
  return NULL;
}

static void *
receive_many (void *data)
{
  unsigned char value;
  size_t length;

  while (receive_message (&value, &length, GSHM_FOREVER) == GSHM_DONE)
    atomic_fetch_add (&received, (unsigned long long) value * length);
  return data;
}

static void
test_many (void **state)
{
  pthread_t receivers[2];
  struct gshm_transfer passing;

  (void) state;
  make_channel ();
  for (int i = 0; i < 2; i++)
    pthread_create (&receivers[i], NULL, receive_many, NULL);
  in_threads (send_many, NULL);
  begin (&passing, 1);
  gshm_ring_close (&passing.ring);
  for (int i = 0; i < 2; i++)
    pthread_join (receivers[i], NULL);
  assert_true (atomic_load (&sent) == atomic_load (&received));
  assert_int_equal (send_message (1, 1, GSHM_FOREVER), GSHM_CHANNEL_CLOSED);
}

static void
test_order (void **state)
{
  unsigned char value;
  size_t length;

  (void) state;
  make_channel ();
  assert_int_equal (receive_message (&value, &length, 0), GSHM_TIMED_OUT);
  for (uint64_t i = 1; i <= 3; i++)
    assert_int_equal (send_message (i, (size_t) i, 0), GSHM_DONE);
  assert_int_equal (send_message (9, RING - 8, MILLISECOND), GSHM_TIMED_OUT);
  for (unsigned i = 1; i <= 3; i++)
    {
      assert_int_equal (receive_message (&value, &length, 0), GSHM_DONE);
      assert_int_equal (value, i);
      assert_int_equal (length, i);
    }
}

/* Leave a wait at every hook: a receiver's of an empty channel, a sender's of
   a full one.  */
static void
leave_waits (int is_sender, gshm_attempt *attempt)
{
  for (int hook = 0; hook < 6; hook++)
    {
      struct gshm_transfer passing;

      begin (&passing, is_sender);
      passing.length = 100;
      passing.timeout = GSHM_FOREVER;
      wait_and_leave (attempt, gshm_transfer_cancel, &passing, hook);
      assert_false (gshm_transfer_has_lock (&passing, passing.side));
    }
}

static void
test_leaving (void **state)
{
  unsigned char value;
  size_t length;

  (void) state;
  make_channel ();
  leave_waits (0, gshm_transfer_attempt_to_receive);
  assert_int_equal (send_message (7, 200, 0), GSHM_DONE);
  leave_waits (1, gshm_transfer_attempt_to_send);
  assert_int_equal (receive_message (&value, &length, 0), GSHM_DONE);
  assert_int_equal (length, 200);
  assert_int_equal (send_message (8, 200, 0), GSHM_DONE);
}

/* A message that is lent: its side's lock is held meanwhile.  */
static void
test_lending (void **state)
{
  struct gshm_transfer slot, other;
  unsigned char value;
  size_t length;

  (void) state;
  make_channel ();
  begin (&slot, 1);
  slot.length = 10;
  assert_int_equal (wait_for (&slot, gshm_transfer_attempt_to_send, 0),
                    GSHM_DONE);
  assert_int_equal (send_message (1, 1, 0), GSHM_DEADLOCK);
  begin (&other, 0);
  assert_int_equal (
    wait_for (&other, gshm_transfer_attempt_to_receive, GSHM_SECOND),
    GSHM_SELF_WAIT);
  gshm_transfer_abort (&slot);
  assert_int_equal (receive_message (&value, &length, 0), GSHM_TIMED_OUT);
  assert_int_equal (send_message (1, 1, 0), GSHM_DONE);
}

/* The ring's part is what the fuzzer tries; here it is the locks and the
   positions.  */
static void
test_garbage (void **state)
{
  (void) state;
  for (int i = 0; i < 3000; i++)
    {
      struct gshm_transfer passing;
      struct gshm_sleep sleep = { .announce = i % 2, .check_owners = i % 3 == 0 };
      int is_sender = i % 4 < 2;

      make_channel ();
      gshm_long_word *word = &memory.channel.format;
      uint64_t format = atomic_load (word);
      uint64_t size = atomic_load (&memory.channel.size);
      scribble (&memory, sizeof memory, format);
      atomic_store (&memory.channel.size, i % 5 == 0 ? size * 8 : size);
      if (gshm_transfer_begin (&passing, &memory, sizeof memory, NULL)
          != GSHM_DONE)
        continue;
      gshm_transfer_set_side (&passing, is_sender);
      passing.length = (uint64_t) i % 200;
      passing.timeout = GSHM_SECOND;
      int result
        = (is_sender ? gshm_transfer_attempt_to_send (&passing, &sleep)
                     : gshm_transfer_attempt_to_receive (&passing, &sleep));
      assert_in_range (result, GSHM_TIMED_OUT, GSHM_CORRUPT);
      if (result == GSHM_DONE)
        {
          assert_true (passing.bytes >= (char *) &memory);
          assert_true (passing.bytes + passing.length
                       <= (char *) &memory + sizeof memory);
          gshm_transfer_abort (&passing);
        }
      else
        gshm_transfer_cancel (&passing);
    }
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_order),
    cmocka_unit_test (test_many),
    cmocka_unit_test (test_leaving),
    cmocka_unit_test (test_lending),
    cmocka_unit_test (test_garbage),
  };

  gshm_owner_start ();
  return cmocka_run_group_tests (tests, NULL, NULL);
}

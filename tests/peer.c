/* SPDX-License-Identifier: BSD-3-Clause
   peer.c - one side of what languages.scm tests, in C.

   Usage: peer send|receive|publish|subscribe NAME COUNT
          peer lock NAME COUNT
          peer work NAME SLOT
   It does the same as peer.py, and peer.scm.  It exits
   with 0 if all went as it should.  */

#include <errno.h>
#include <gshm.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST 4096
#define SECOND INT64_C (1000000000)

/* In the object of locks: see peer.scm.  */
struct shared
{
  struct gshm_mutex mutex;
  uint64_t a, b;
  _Atomic uint64_t is_over;
  _Atomic uint64_t progress[4];
};

#define CHANNEL_OFFSET 4096

static void
expect (int expected, int result, const char *what)
{
  if (result != expected)
    {
      fprintf (stderr, "peer: %s: %s\n", what, strerror (-result));
      exit (1);
    }
}

/* Message I: its number, and a part of a pattern.  */
static size_t
make_message (char *message, uint64_t i)
{
  size_t size = i % 1000 == 0 ? 3000 : (size_t) (i * 7919 % 301);

  for (size_t k = 0; k < 8; k++)
    message[k] = (char) (i >> 8 * k);
  for (size_t k = 0; k < size; k++)
    message[8 + k] = (char) (i + k);
  return 8 + size;
}

static void
check_message (const char *message, size_t length, uint64_t i)
{
  char expected[LARGEST];

  if (length != make_message (expected, i)
      || memcmp (message, expected, length) != 0)
    {
      fprintf (stderr, "peer: message %llu is another one\n",
               (unsigned long long) i);
      exit (1);
    }
}

static struct gshm_object object;

static void
attach (const char *name)
{
  expect (0, gshm_object_attach (&object, name, GSHM_READ_WRITE, 20 * SECOND),
          name);
}

static void
send_all (uint64_t count)
{
  struct gshm_channel channel;
  char message[LARGEST];

  expect (0, gshm_channel_open (&channel, object.memory, object.size), "open");
  for (uint64_t i = 0; i < count; i++)
    {
      size_t length = make_message (message, i);
      struct gshm_slot slot;

      if (i % 3 != 0)
        expect (0, gshm_channel_send (&channel, message, length, GSHM_FOREVER),
                "send");
      else
        {
          expect (0,
                  gshm_channel_reserve (&channel, &slot, length, GSHM_FOREVER),
                  "reserve");
          memcpy (slot.bytes, message, length);
          expect (0, gshm_channel_commit (&slot, length), "commit");
        }
    }
}

static void
receive_all (uint64_t count)
{
  struct gshm_channel channel;
  char message[LARGEST];
  size_t length;

  expect (0, gshm_channel_open (&channel, object.memory, object.size), "open");
  for (uint64_t i = 0; i < count; i++)
    {
      struct gshm_slot slot;

      if (i % 3 != 0)
        {
          expect (0,
                  gshm_channel_receive (&channel, message, LARGEST, &length,
                                        GSHM_FOREVER),
                  "receive");
          check_message (message, length, i);
        }
      else
        {
          expect (0, gshm_channel_peek (&channel, &slot, GSHM_FOREVER),
                  "peek");
          check_message (slot.bytes, slot.length, i);
          expect (0, gshm_channel_release (&slot), "release");
        }
    }
}

static void
publish_all (uint64_t count)
{
  struct gshm_broadcast broadcast;
  char message[LARGEST];

  expect (0, gshm_broadcast_open (&broadcast, object.memory, object.size),
          "open");
  for (uint64_t i = 0; i < count; i++)
    expect (0,
            gshm_broadcast_send (&broadcast, message,
                                 make_message (message, i), GSHM_FOREVER),
            "send");
  expect (0, gshm_broadcast_close (&broadcast), "close");
}

static uint64_t
number_of (const char *message)
{
  uint64_t i = 0;

  for (size_t k = 0; k < 8; k++)
    i |= (uint64_t) (unsigned char) message[k] << 8 * k;
  return i;
}

/* Messages may be missed, which is counted, and are never torn.  */
static void
receive_published (uint64_t count)
{
  struct gshm_subscriber subscriber;
  char message[LARGEST];
  uint64_t next = count, missed = 0;
  size_t length;
  int result;

  expect (0,
          gshm_subscriber_open (&subscriber, object.memory, object.size,
                                GSHM_READ_WRITE, GSHM_FROM_OLDEST),
          "subscribe");
  while ((result = gshm_subscriber_receive (&subscriber, message, LARGEST,
                                            &length, GSHM_FOREVER))
         == 0)
    {
      uint64_t i = number_of (message);
      uint64_t skipped = gshm_subscriber_missed (&subscriber) - missed;

      check_message (message, length, i);
      if (next != count && i != next + skipped)
        expect (0, -ENOMSG, "missed");
      next = i + 1;
      missed += skipped;
    }
  expect (-EPIPE, result, "end");
  if (next != count)
    expect (0, -ENOMSG, "the last one");
}

static void
lock_often (uint64_t count)
{
  struct shared *shared = object.memory;

  for (uint64_t i = 0; i < count; i++)
    {
      expect (0, gshm_mutex_lock (&shared->mutex, GSHM_FOREVER), "lock");
      shared->a++;
      expect (0, gshm_mutex_unlock (&shared->mutex), "unlock");
    }
}

/* Lock, count, send and receive, until it is over or this process is killed.
 */
static void
work (uint64_t slot)
{
  struct shared *shared = object.memory;
  struct gshm_channel channel;
  char message[LARGEST];
  size_t length;

  expect (0,
          gshm_channel_open (&channel, (char *) object.memory + CHANNEL_OFFSET,
                             object.size - CHANNEL_OFFSET),
          "open");
  for (uint64_t n = 0; !atomic_load (&shared->is_over); n++)
    {
      int result = gshm_mutex_lock (&shared->mutex, GSHM_FOREVER);

      if (result == -EOWNERDEAD)
        shared->b = shared->a;
      else
        expect (0, result, "lock");
      if (shared->a != shared->b)
        expect (0, -EILSEQ, "data");
      shared->a++;
      shared->b++;
      expect (0, gshm_mutex_unlock (&shared->mutex), "unlock");
      result = gshm_channel_send (&channel, message, make_message (message, n),
                                  SECOND / 100);
      if (result != -ETIMEDOUT)
        expect (0, result, "send");
      result = gshm_channel_receive (&channel, message, LARGEST, &length,
                                     SECOND / 100);
      if (result != -ETIMEDOUT)
        {
          expect (0, result, "receive");
          check_message (message, length, number_of (message));
        }
      atomic_fetch_add (&shared->progress[slot], 1);
    }
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*call) (uint64_t count);
  } commands[]
    = { { "send", send_all },       { "receive", receive_all },
        { "publish", publish_all }, { "subscribe", receive_published },
        { "lock", lock_often },     { "work", work } };

  if (argc != 4)
    return 2;
  attach (argv[2]);
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    if (strcmp (argv[1], commands[i].name) == 0)
      {
        commands[i].call (strtoull (argv[3], NULL, 10));
        gshm_object_close (&object);
        return 0;
      }
  return 2;
}

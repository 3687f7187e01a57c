/* SPDX-License-Identifier: BSD-3-Clause
   transport.c - the rows that a transport can do.  */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"
#include "transport.h"

static const struct transport *transport;

/* Its processor time, from the child.  */
static int64_t *child_time;

static void
connect_as (int is_child)
{
  if (transport->connect != NULL)
    transport->connect (is_child);
}

static void
receive_fresh (size_t size)
{
  char *bytes = malloc (size);

  check (bytes != NULL, "malloc");
  transport->receive (THERE, bytes, size);
  __asm__ volatile ("" : : "r" (bytes) : "memory");
  free (bytes);
}

/* From the first message on, since a fork takes long; each in memory of its
   own if IS_FRESH.  */
static void
one_way (long count, long argument, size_t depth, int here, int there,
         int is_fresh)
{
  size_t size = (size_t) argument;
  char *from = buffer (size), *to = buffer (size);

  if (!transport->open (size, depth))
    {
      printf ("-\n");
      return;
    }
  memset (from, 2, size);
  pid_t child = start (there);
  if (child == 0)
    {
      connect_as (1);
      for (long i = 0; i <= count; i++)
        transport->send (THERE, from, size);
      /* What is on its way may be lost with its sender.  */
      transport->receive (BACK, to, size);
      _exit (0);
    }
  connect_as (0);
  pin (here);
  transport->receive (THERE, to, size);
  int64_t begin = now ();
  for (long i = 0; i < count; i++)
    if (is_fresh)
      receive_fresh (size);
    else
      transport->receive (THERE, to, size);
  int64_t time = now () - begin;
  check (from[0] == to[0] && from[size - 1] == to[size - 1]
           && (transport->is_in_place || memcmp (from, to, size) == 0),
         "message");
  transport->send (BACK, to, size);
  finish (child);
  transport->close ();
  answer (time, count);
  free (from);
  free (to);
}

static void
channel (long count, long size)
{
  one_way (count, size, size > 16384 ? 4 : 16, 0, 1, 0);
}

static void
channel_received (long count, long size)
{
  one_way (count, size, size > 16384 ? 4 : 16, 0, 1, 1);
}

static void
channel_anywhere (long count, long size)
{
  one_way (count, size, 1000, ANYWHERE, ANYWHERE, 0);
}


/* Round trips.  */

static void
trips (long count, long argument, int here, int there, int is_sparse)
{
  /* A pipe has no messages without bytes.  */
  size_t size = argument == 0 ? 1 : (size_t) argument;
  int64_t *times = times_for (count), time = 0;
  char *bytes = buffer (size);

  if (!transport->open (size, 16))
    {
      printf ("-\n");
      return;
    }
  pid_t child = start (there);
  if (child == 0)
    {
      connect_as (1);
      for (long i = 0; i < WARMING_UP + count; i++)
        {
          transport->receive (BACK, bytes, size);
          if (i == WARMING_UP)
            time = processor_time ();
          transport->send (THERE, bytes, size);
        }
      *child_time = processor_time () - time;
      transport->receive (BACK, bytes, size);
      _exit (0);
    }
  connect_as (0);
  pin (here);
  for (long i = 0; i < WARMING_UP + count; i++)
    {
      if (i == WARMING_UP)
        time = processor_time ();
      if (is_sparse)
        pause_for (SPARSE_PAUSE);
      int64_t begin = now ();
      transport->send (BACK, bytes, size);
      transport->receive (THERE, bytes, size);
      times[i] = now () - begin;
    }
  time = processor_time () - time;
  transport->send (BACK, bytes, size);
  finish (child);
  transport->close ();
  if (is_sparse)
    answer_sparse (times + WARMING_UP, count, time + *child_time);
  else
    answer_percentiles (times + WARMING_UP, count);
  free (times);
  free (bytes);
}

static void
trip_across (long count, long size)
{
  trips (count, size, 0, 1, 0);
}

static void
trip_together (long count, long size)
{
  trips (count, size, 0, 0, 0);
}

static void
trip_anywhere (long count, long size)
{
  trips (count, size, ANYWHERE, ANYWHERE, 0);
}

static void
trip_sparse (long count, long size)
{
  trips (count, size, ANYWHERE, ANYWHERE, 1);
}

static void
in_place (long count, long size)
{
  pid_t row = start (ANYWHERE);

  if (row == 0)
    {
      channel (count, size);
      fflush (stdout);
      _exit (0);
    }
  finish (row);
}

int
serve_transport (const struct transport *used)
{
  static const struct row rows[] = {
    { "ping-pong-across", trip_across },
    { "ping-pong-together", trip_together },
    { "channel", channel },
    { "channel-received", channel_received },
    { "channel-anywhere", channel_anywhere },
    { "trip-across", trip_across },
    { "trip-together", trip_together },
    { "trip-anywhere", trip_anywhere },
    { "trip-busy", trip_anywhere },
    { "trip-sparse", trip_sparse },
    { NULL, NULL }
  };
  static const struct row rows_in_place[]
    = { { "channel-in-place", in_place }, { NULL, NULL } };

  transport = used;
  prepare ();
  child_time = share (sizeof *child_time);
  serve (transport->version, used->is_in_place ? rows_in_place : rows);
  return EXIT_SUCCESS;
}

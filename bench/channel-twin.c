/* SPDX-License-Identifier: BSD-3-Clause
   channel-twin.c - in C what bench/channel.scm measures in Guile.

   Reads lines "MEASUREMENT SIZE COUNT" and answers each with nanoseconds: what
   COUNT messages of SIZE bytes took from one process to another, or, for round
   trips, a list of the median and the 99th percentile of one.  */

#include <config.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>

static void
check (int good, const char *what)
{
  if (!good)
    {
      perror (what);
      exit (EXIT_FAILURE);
    }
}

static int64_t
now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return (int64_t) time.tv_sec * 1000000000 + time.tv_nsec;
}

static void *
share (size_t size)
{
  void *memory = mmap (NULL, size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check (memory != MAP_FAILED, "mmap");
  memset (memory, 0, size);
  return memory;
}


/* A pipe.  */

static void
write_all (int fd, const char *bytes, size_t size)
{
  for (size_t done = 0; done < size;)
    {
      ssize_t n = write (fd, bytes + done, size - done);
      check (n > 0, "write");
      done += (size_t) n;
    }
}

static void
read_all (int fd, char *bytes, size_t size)
{
  for (size_t done = 0; done < size;)
    {
      ssize_t n = read (fd, bytes + done, size - done);
      check (n > 0, "read");
      done += (size_t) n;
    }
}

struct pipes
{
  int there[2], back[2];
};

static struct pipes
make_pipes (void)
{
  struct pipes pipes;

  check (pipe (pipes.there) == 0 && pipe (pipes.back) == 0, "pipe");
  return pipes;
}

static void
close_pipes (struct pipes *pipes)
{
  for (int i = 0; i < 2; i++)
    {
      close (pipes->there[i]);
      close (pipes->back[i]);
    }
}


/* A ring for one sender and one receiver, who never sleep: each looks at the
   other's position only when it has to.  */

struct ring
{
  _Alignas (128) _Atomic uint64_t head;
  _Alignas (128) _Atomic uint64_t tail;
  uint64_t size;
  _Alignas (128) char bytes[];
};

struct end
{
  struct ring *ring;
  uint64_t own, seen;
};

#define SKIP UINT64_MAX

static struct ring *
make_ring (size_t size)
{
  struct ring *ring = share (sizeof *ring + size);

  ring->size = size;
  return ring;
}

static uint64_t
record (uint64_t size)
{
  return 8 + ((size + 7) & ~UINT64_C (7));
}

static void
ring_send (struct end *end, const char *bytes, uint64_t size)
{
  struct ring *ring = end->ring;
  uint64_t at = end->own % ring->size, rest = ring->size - at;
  uint64_t need = record (size), skip = need > rest ? rest : 0;

  while (ring->size - (end->own - end->seen) < need + skip)
    end->seen = atomic_load_explicit (&ring->tail, memory_order_acquire);
  if (skip > 0)
    {
      memcpy (ring->bytes + at, &(uint64_t) { SKIP }, 8);
      end->own += skip;
      at = 0;
    }
  memcpy (ring->bytes + at, &size, 8);
  memcpy (ring->bytes + at + 8, bytes, size);
  end->own += need;
  atomic_store_explicit (&ring->head, end->own, memory_order_release);
}

static void
ring_receive (struct end *end, char *bytes)
{
  struct ring *ring = end->ring;
  uint64_t size, at;

  for (;;)
    {
      while (end->own == end->seen)
        end->seen = atomic_load_explicit (&ring->head, memory_order_acquire);
      at = end->own % ring->size;
      memcpy (&size, ring->bytes + at, 8);
      if (size != SKIP)
        break;
      end->own += ring->size - at;
    }
  memcpy (bytes, ring->bytes + at + 8, size);
  end->own += record (size);
  atomic_store_explicit (&ring->tail, end->own, memory_order_release);
}


/* One way.  From the first message on, since a fork takes long.  */

static size_t
ring_size (size_t size)
{
  return size > 16384 ? 4 * size : 65536;
}

static int64_t
one_way_by_pipe (size_t size, long count)
{
  char *bytes = share (size);
  struct pipes pipes = make_pipes ();
  pid_t child = fork ();

  if (child == 0)
    {
      for (long i = 0; i <= count; i++)
        write_all (pipes.there[1], bytes, size);
      _exit (0);
    }
  read_all (pipes.there[0], bytes, size);
  int64_t start = now ();
  for (long i = 0; i < count; i++)
    read_all (pipes.there[0], bytes, size);
  int64_t time = now () - start;
  waitpid (child, NULL, 0);
  close_pipes (&pipes);
  munmap (bytes, size);
  return time;
}

static int64_t
one_way_by_ring (size_t size, long count)
{
  char *bytes = malloc (size);
  struct ring *ring = make_ring (ring_size (size));
  struct end end = { .ring = ring };

  check (bytes != NULL, "malloc");
  memset (bytes, 1, size);
  pid_t child = fork ();
  if (child == 0)
    {
      for (long i = 0; i <= count; i++)
        ring_send (&end, bytes, size);
      _exit (0);
    }
  ring_receive (&end, bytes);
  int64_t start = now ();
  for (long i = 0; i < count; i++)
    ring_receive (&end, bytes);
  int64_t time = now () - start;
  waitpid (child, NULL, 0);
  munmap (ring, sizeof *ring + ring_size (size));
  free (bytes);
  return time;
}


/* Round trips.  */

static int
compare (const void *a, const void *b)
{
  int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

  return (x > y) - (x < y);
}

static void
print_percentiles (int64_t *times, long count)
{
  qsort (times, (size_t) count, sizeof *times, compare);
  printf ("(%lld %lld)\n", (long long) times[count / 2],
          (long long) times[count * 99 / 100]);
}

static void
trips_by_pipe (size_t size, long count, int64_t *times)
{
  char *bytes = share (size);
  struct pipes pipes = make_pipes ();
  pid_t child = fork ();

  if (child == 0)
    {
      for (long i = 0; i < count; i++)
        {
          read_all (pipes.there[0], bytes, size);
          write_all (pipes.back[1], bytes, size);
        }
      _exit (0);
    }
  for (long i = 0; i < count; i++)
    {
      int64_t start = now ();
      write_all (pipes.there[1], bytes, size);
      read_all (pipes.back[0], bytes, size);
      times[i] = now () - start;
    }
  waitpid (child, NULL, 0);
  close_pipes (&pipes);
  munmap (bytes, size);
}

static void
await (_Atomic uint32_t *word, uint32_t value)
{
  uint32_t seen;

  while ((seen = atomic_load (word)) != value)
    syscall (SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void
say (_Atomic uint32_t *word, uint32_t value)
{
  atomic_store (word, value);
  syscall (SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Through two words on which both sleep, with the bytes copied in and out.  */
static void
trips_by_futex (size_t size, long count, int64_t *times)
{
  struct
  {
    _Alignas (128) _Atomic uint32_t there;
    _Alignas (128) _Atomic uint32_t back;
  } *words = share (4096);
  char *bytes = share (2 * size), *copy = malloc (size);

  check (copy != NULL, "malloc");
  memset (copy, 1, size);
  pid_t child = fork ();
  if (child == 0)
    {
      for (long i = 1; i <= count; i++)
        {
          await (&words->there, (uint32_t) i);
          memcpy (copy, bytes, size);
          memcpy (bytes + size, copy, size);
          say (&words->back, (uint32_t) i);
        }
      _exit (0);
    }
  for (long i = 1; i <= count; i++)
    {
      int64_t start = now ();
      memcpy (bytes, copy, size);
      say (&words->there, (uint32_t) i);
      await (&words->back, (uint32_t) i);
      memcpy (copy, bytes + size, size);
      times[i - 1] = now () - start;
    }
  waitpid (child, NULL, 0);
  munmap (words, 4096);
  munmap (bytes, 2 * size);
  free (copy);
}

static void
on_one_processor (int yes)
{
  static cpu_set_t all;
  cpu_set_t one;

  if (yes)
    {
      sched_getaffinity (0, sizeof all, &all);
      CPU_ZERO (&one);
      CPU_SET (0, &one);
    }
  sched_setaffinity (0, sizeof all, yes ? &one : &all);
}

int
main (void)
{
  char measurement[32];
  unsigned long size;
  long count;

  while (scanf ("%31s %lu %ld", measurement, &size, &count) == 3)
    {
      int64_t *times = calloc ((size_t) count + 1, sizeof *times);
      check (times != NULL, "calloc");
      if (strcmp (measurement, "pipe") == 0)
        printf ("%lld\n", (long long) one_way_by_pipe (size, count));
      else if (strcmp (measurement, "ring") == 0)
        printf ("%lld\n", (long long) one_way_by_ring (size, count));
      else if (strcmp (measurement, "pipe-trip") == 0)
        {
          trips_by_pipe (size, count, times);
          print_percentiles (times, count);
        }
      else if (strcmp (measurement, "futex-trip") == 0)
        {
          on_one_processor (1);
          trips_by_futex (size, count, times);
          on_one_processor (0);
          print_percentiles (times, count);
        }
      else
        {
          fprintf (stderr, "channel-twin: no measurement %s\n", measurement);
          return EXIT_FAILURE;
        }
      fflush (stdout);
      free (times);
    }
  return EXIT_SUCCESS;
}

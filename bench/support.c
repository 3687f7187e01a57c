/* SPDX-License-Identifier: BSD-3-Clause
   support.c - what the peers of bench/run in C and C++ share.  */

#ifndef _GNU_SOURCE
# define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

char name[64];

void
check (int good, const char *what)
{
  if (!good)
    {
      printf ("wrong %s: %s\n", what, strerror (errno));
      shm_unlink (name);
      exit (EXIT_FAILURE);
    }
}

int64_t
now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return (int64_t) time.tv_sec * 1000000000 + time.tv_nsec;
}

void
pause_for (long nanoseconds)
{
  nanosleep (&(struct timespec) { .tv_nsec = nanoseconds }, NULL);
}

void *
share (size_t size)
{
  void *memory = mmap (NULL, size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check (memory != MAP_FAILED, "mmap");
  memset (memory, 0, size);
  return memory;
}

void *
buffer (size_t size)
{
  char *bytes = malloc (size);

  check (bytes != NULL, "malloc");
  memset (bytes, 1, size);
  return bytes;
}


/* Answers.  */

void
answer (int64_t time, long count)
{
  printf ("%.3f\n", (double) time / (double) count);
}

static int
compare (const void *a, const void *b)
{
  int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

  return (x > y) - (x < y);
}

void
answer_percentiles (int64_t *times, long count)
{
  qsort (times, (size_t) count, sizeof *times, compare);
  printf ("%lld %lld %lld\n", (long long) times[count / 2],
          (long long) times[count * 99 / 100],
          (long long) times[count * 999 / 1000]);
}

void
answer_sparse (int64_t *times, long count, int64_t processor_time)
{
  qsort (times, (size_t) count, sizeof *times, compare);
  printf ("%lld %lld %lld\n", (long long) times[count / 2],
          (long long) times[count * 99 / 100],
          (long long) (processor_time / count));
}


/* Processors and processes.  */

static cpu_set_t all_processors;

/* Stay on the Nth of the processors, or the last.  */
void
pin (int n)
{
  cpu_set_t one;

  if (n == ANYWHERE)
    return;
  CPU_ZERO (&one);
  for (size_t i = 0; i < CPU_SETSIZE && n >= 0; i++)
    if (CPU_ISSET (i, &all_processors))
      {
        CPU_ZERO (&one);
        CPU_SET (i, &one);
        n--;
      }
  sched_setaffinity (0, sizeof one, &one);
}

static void
unpin (void)
{
  sched_setaffinity (0, sizeof all_processors, &all_processors);
}

pid_t
start (int processor)
{
  fflush (stdout);
  pid_t child = fork ();
  check (child >= 0, "fork");
  if (child == 0 && processor != ANYWHERE)
    pin (processor);
  return child;
}

void
finish (pid_t child)
{
  int status;

  check (waitpid (child, &status, 0) == child && status == 0, "child");
  unpin ();
}

int64_t
processor_time (void)
{
  struct rusage usage;

  getrusage (RUSAGE_SELF, &usage);
  return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C (1000000000)
         + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * INT64_C (1000);
}


int64_t *
times_for (long count)
{
  return buffer ((size_t) (WARMING_UP + count) * sizeof (int64_t));
}

void
prepare (void)
{
  snprintf (name, sizeof name, "/gshm-bench-%ld", (long) getpid ());
  sched_getaffinity (0, sizeof all_processors, &all_processors);
}

void
serve (const char *version, const struct row *rows)
{
  char wanted[32];
  long count, argument;

  printf ("%s\n", version);
  fflush (stdout);
  while (scanf ("%31s %ld %ld", wanted, &count, &argument) == 3)
    {
      const struct row *row = rows;
      while (row->name != NULL && strcmp (row->name, wanted) != 0)
        row++;
      if (row->name == NULL)
        printf ("-\n");
      else
        row->measure (count, argument);
      fflush (stdout);
    }
}

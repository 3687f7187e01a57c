/* SPDX-License-Identifier: BSD-3-Clause
   twin.c - in C what bench/ratios.scm measures in Guile.

   Reads lines "MEASUREMENT COUNT" and answers each with the nanoseconds that
   COUNT rounds took.  */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char text[] = "Hello, world!";
#define LENGTH (sizeof text - 1)

static char name[64];

static void
check (int good, const char *what)
{
  if (!good)
    {
      perror (what);
      exit (EXIT_FAILURE);
    }
}

static void
life_cycle (void)
{
  int fd = shm_open (name, O_RDWR | O_CREAT | O_EXCL, 0600);
  check (fd >= 0, "shm_open");
  check (close (fd) == 0, "close");
  check (shm_unlink (name) == 0, "shm_unlink");
}

static void
egg (void)
{
  char buffer[LENGTH];

  int fd = shm_open (name, O_RDWR | O_CREAT, 0744);
  check (fd >= 0, "shm_open");
  check (ftruncate (fd, LENGTH) == 0, "ftruncate");
  check (write (fd, text, LENGTH) == LENGTH, "write");
  check (close (fd) == 0, "close");
  fd = shm_open (name, O_RDONLY, 0744);
  check (fd >= 0, "shm_open");
  check (read (fd, buffer, LENGTH) == LENGTH, "read");
  check (memcmp (buffer, text, LENGTH) == 0, "memcmp");
  check (close (fd) == 0, "close");
  check (shm_unlink (name) == 0, "shm_unlink");
}

static const struct
{
  const char *name;
  void (*round) (void);
} measurements[] = { { "life-cycle", life_cycle }, { "egg", egg } };

static long long
nanoseconds (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int
main (void)
{
  char wanted[32];
  long count;

  snprintf (name, sizeof name, "/gshm-bench-%ld", (long) getpid ());
  while (scanf ("%31s %ld", wanted, &count) == 2)
    for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++)
      if (strcmp (wanted, measurements[i].name) == 0)
        {
          long long start = nanoseconds ();
          for (long j = 0; j < count; j++)
            measurements[i].round ();
          printf ("%lld\n", nanoseconds () - start);
          fflush (stdout);
        }
  return EXIT_SUCCESS;
}

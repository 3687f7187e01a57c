/* SPDX-License-Identifier: BSD-3-Clause
   twin.c - in C what bench/ratios.scm measures in Guile.

   Reads lines "MEASUREMENT COUNT" and answers each with the nanoseconds that
   COUNT rounds took.  */

#include <config.h>

#include <fcntl.h>
#include <stdint.h>
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

/* An object that stays, for the mappings.  */
static int object = -1;

#define PAGE ((size_t) 4096)
#define MEBIBYTE ((size_t) 1 << 20)

static void
open_object (void)
{
  if (object >= 0)
    return;
  object = shm_open (name, O_RDWR | O_CREAT | O_EXCL, 0600);
  check (object >= 0, "shm_open");
  check (shm_unlink (name) == 0, "shm_unlink");
  check (ftruncate (object, (off_t) MEBIBYTE) == 0, "ftruncate");
}

static void
map_and_touch (size_t size)
{
  open_object ();
  volatile char *bytes
    = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
  check (bytes != MAP_FAILED, "mmap");
  for (size_t i = 0; i < size; i += PAGE)
    bytes[i] = 1;
  check (munmap ((void *) (uintptr_t) bytes, size) == 0, "munmap");
}

static void
map_page (void)
{
  map_and_touch (PAGE);
}

static void
map_mebibyte (void)
{
  map_and_touch (MEBIBYTE);
}

static void
use_and_unlink (int fd)
{
  volatile char *bytes
    = mmap (NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  check (bytes != MAP_FAILED, "mmap");
  bytes[0] = 1;
  check (munmap ((void *) (uintptr_t) bytes, PAGE) == 0, "munmap");
  check (close (fd) == 0, "close");
  check (shm_unlink (name) == 0, "shm_unlink");
}

static void
create_plainly (void)
{
  int fd = shm_open (name, O_RDWR | O_CREAT | O_EXCL, 0600);
  check (fd >= 0, "shm_open");
  check (ftruncate (fd, (off_t) PAGE) == 0, "ftruncate");
  use_and_unlink (fd);
}

/* As shm-create does it.  */
static void
create_whole (void)
{
  char from[64], to[128];

  int fd = open ("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  check (fd >= 0, "open");
  check (ftruncate (fd, (off_t) PAGE) == 0, "ftruncate");
  snprintf (from, sizeof from, "/proc/self/fd/%d", fd);
  snprintf (to, sizeof to, "/dev/shm%s", name);
  check (linkat (AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0,
         "linkat");
  use_and_unlink (fd);
}

static const struct
{
  const char *name;
  void (*round) (void);
} measurements[] = {
  { "life-cycle", life_cycle },
  { "egg", egg },
  { "map-4K", map_page },
  { "map-1M", map_mebibyte },
  { "create", create_plainly },
  { "create-whole", create_whole },
};

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

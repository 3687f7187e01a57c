/* SPDX-License-Identifier: BSD-3-Clause
   twin.c - in C what bench/ratios.scm measures in Guile.

   Reads lines "MEASUREMENT COUNT" and answers each with the nanoseconds that
   COUNT rounds took.  */

#include <config.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>

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

/* What processes share.  */
static struct shared
{
  pthread_mutex_t mutex;
  sem_t semaphore;
  _Alignas (64) _Atomic uint32_t ping;
  _Alignas (64) _Atomic uint32_t pong;
  _Alignas (64) uint64_t guarded;
} *shared;

static void
make_shared (void)
{
  pthread_mutexattr_t attributes;

  shared = mmap (NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check (shared != MAP_FAILED, "mmap");
  pthread_mutexattr_init (&attributes);
  pthread_mutexattr_setrobust (&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared (&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_settype (&attributes, PTHREAD_MUTEX_ERRORCHECK);
  check (pthread_mutex_init (&shared->mutex, &attributes) == 0, "mutex");
  check (sem_init (&shared->semaphore, 1, 0) == 0, "sem_init");
}

static void
mutex (void)
{
  check (pthread_mutex_lock (&shared->mutex) == 0, "lock");
  check (pthread_mutex_unlock (&shared->mutex) == 0, "unlock");
}

static void
semaphore (void)
{
  check (sem_post (&shared->semaphore) == 0, "sem_post");
  check (sem_wait (&shared->semaphore) == 0, "sem_wait");
}

static void
await (_Atomic uint32_t *word, uint32_t value, int spin)
{
  for (;;)
    {
      uint32_t seen = atomic_load (word);
      for (int i = 0; seen != value && i < spin; i++)
        seen = atomic_load (word);
      if (seen == value)
        return;
      syscall (SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
    }
}

static void
say (_Atomic uint32_t *word, uint32_t value)
{
  atomic_store (word, value);
  syscall (SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static long long nanoseconds (void);

/* What a fork makes slow at first is not what is measured.  */
#define WARMING_UP 500

static long long
ping_pong (long count, int spin)
{
  shared->ping = shared->pong = 0;
  pid_t pid = fork ();
  check (pid >= 0, "fork");
  if (pid == 0)
    {
      for (long i = 1; i <= WARMING_UP + count; i++)
        {
          await (&shared->ping, (uint32_t) i, spin);
          say (&shared->pong, (uint32_t) i);
        }
      _exit (0);
    }
  long long start = 0;
  for (long i = 1; i <= WARMING_UP + count; i++)
    {
      if (i == WARMING_UP + 1)
        start = nanoseconds ();
      say (&shared->ping, (uint32_t) i);
      await (&shared->pong, (uint32_t) i, spin);
    }
  long long time = nanoseconds () - start;
  waitpid (pid, NULL, 0);
  return time;
}

static long long
ping_pong_spinning (long count)
{
  return ping_pong (count, 100000);
}

static long long
ping_pong_sleeping (long count)
{
  cpu_set_t before, one;

  sched_getaffinity (0, sizeof before, &before);
  CPU_ZERO (&one);
  CPU_SET (0, &one);
  sched_setaffinity (0, sizeof one, &one);
  long long time = ping_pong (count, 0);
  sched_setaffinity (0, sizeof before, &before);
  return time;
}

static long long
contended (long count)
{
  pid_t pids[2];
  long long start = nanoseconds ();

  for (int i = 0; i < 2; i++)
    if ((pids[i] = fork ()) == 0)
      {
        for (long j = 0; j < count; j++)
          {
            pthread_mutex_lock (&shared->mutex);
            shared->guarded++;
            pthread_mutex_unlock (&shared->mutex);
          }
        _exit (0);
      }
  for (int i = 0; i < 2; i++)
    waitpid (pids[i], NULL, 0);
  return nanoseconds () - start;
}

static const struct
{
  const char *name;
  long long (*rounds) (long count);
} whole[] = {
  { "ping-pong-spin", ping_pong_spinning },
  { "ping-pong-sleep", ping_pong_sleeping },
  { "contended", contended },
};

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
  { "mutex", mutex },
  { "semaphore", semaphore },
  { "named", semaphore },
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
  make_shared ();
  while (scanf ("%31s %ld", wanted, &count) == 2)
    {
      for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcmp (wanted, whole[i].name) == 0)
          {
            printf ("%lld\n", whole[i].rounds (count));
            fflush (stdout);
          }
      for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++)
        if (strcmp (wanted, measurements[i].name) == 0)
          {
            long long start = nanoseconds ();
            for (long j = 0; j < count; j++)
              measurements[i].round ();
            printf ("%lld\n", nanoseconds () - start);
            fflush (stdout);
          }
    }
  return EXIT_SUCCESS;
}

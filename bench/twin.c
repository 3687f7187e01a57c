/* SPDX-License-Identifier: BSD-3-Clause
   twin.c - in C what bench/peer.scm measures in Guile: a peer of bench/run.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
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

#include "support.h"

#define TIMED(count, statement)                         \
  do                                                    \
    {                                                   \
      int64_t timed_start = now ();                     \
      for (long timed = 0; timed < (count); timed++)    \
        statement;                                      \
      answer (now () - timed_start, count);             \
    }                                                   \
  while (0)


/* Objects and mappings.  */

static int
create_object (size_t size)
{
  int fd = shm_open (name, O_RDWR | O_CREAT | O_EXCL, 0600);

  check (fd >= 0, "shm_open");
  check (ftruncate (fd, (off_t) size) == 0, "ftruncate");
  return fd;
}

static void
unlink_object (void)
{
  check (shm_unlink (name) == 0, "shm_unlink");
}

static void *
map_object (int fd, size_t size, int protection)
{
  void *bytes = mmap (NULL, size, protection, MAP_SHARED, fd, 0);

  check (bytes != MAP_FAILED, "mmap");
  return bytes;
}

static void
map_and_touch (int fd, size_t size)
{
  volatile char *bytes = map_object (fd, size, PROT_READ | PROT_WRITE);

  for (size_t i = 0; i < size; i += PAGE)
    bytes[i] = 1;
  check (munmap ((void *) (uintptr_t) bytes, size) == 0, "munmap");
}

static void
life_cycle_once (void)
{
  int fd = shm_open (name, O_RDWR | O_CREAT | O_EXCL, 0600);

  check (fd >= 0, "shm_open");
  check (close (fd) == 0, "close");
  unlink_object ();
}

static void
life_cycle (long count, long unused)
{
  (void) unused;
  TIMED (count, life_cycle_once ());
}

static void
egg_once (void)
{
  static const char text[] = "Hello, world!";
  enum { LENGTH = sizeof text - 1 };
  char read_back[LENGTH];

  int fd = shm_open (name, O_RDWR | O_CREAT, 0744);
  check (fd >= 0, "shm_open");
  check (ftruncate (fd, LENGTH) == 0, "ftruncate");
  check (write (fd, text, LENGTH) == LENGTH, "write");
  check (close (fd) == 0, "close");
  fd = shm_open (name, O_RDONLY, 0744);
  check (fd >= 0, "shm_open");
  check (read (fd, read_back, LENGTH) == LENGTH, "read");
  check (memcmp (read_back, text, LENGTH) == 0, "text");
  check (close (fd) == 0, "close");
  unlink_object ();
}

static void
egg (long count, long unused)
{
  (void) unused;
  TIMED (count, egg_once ());
}

static void
use_and_unlink (int fd, size_t size)
{
  map_and_touch (fd, size);
  check (close (fd) == 0, "close");
  unlink_object ();
}

static void
create_once (size_t size)
{
  int fd = create_object (size);

  use_and_unlink (fd, size);
}

static void
create (long count, long size)
{
  TIMED (count, create_once ((size_t) size));
}

/* Others see the object only when it has its size.  */
static void
create_whole_once (size_t size)
{
  char path[80];
  int fd = open ("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

  snprintf (path, sizeof path, "/dev/shm%s", name);
  check (fd >= 0, "open");
  check (ftruncate (fd, (off_t) size) == 0, "ftruncate");
  if (linkat (fd, "", AT_FDCWD, path, AT_EMPTY_PATH) < 0)
    {
      char from[64];
      snprintf (from, sizeof from, "/proc/self/fd/%d", fd);
      check (linkat (AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0,
             "linkat");
    }
  use_and_unlink (fd, size);
}

static void
create_whole (long count, long size)
{
  TIMED (count, create_whole_once ((size_t) size));
}

static void
map (long count, long size)
{
  int fd = create_object ((size_t) size);

  unlink_object ();
  map_and_touch (fd, (size_t) size);
  TIMED (count, map_and_touch (fd, (size_t) size));
  close (fd);
}

static void
map_among (long count, long others)
{
  int fd = create_object (PAGE);
  void **mappings = calloc ((size_t) others, sizeof *mappings);

  unlink_object ();
  check (mappings != NULL, "calloc");
  for (long i = 0; i < others; i++)
    mappings[i] = map_object (fd, PAGE, PROT_READ | PROT_WRITE);
  map_and_touch (fd, PAGE);
  TIMED (count, map_and_touch (fd, PAGE));
  for (long i = 0; i < others; i++)
    munmap (mappings[i], PAGE);
  free (mappings);
  close (fd);
}


/* Bulk.  */

static void
copy (long count, long size)
{
  int fd = create_object ((size_t) size);
  char *from = map_object (fd, (size_t) size, PROT_READ | PROT_WRITE);
  char *to = buffer ((size_t) size);

  unlink_object ();
  memset (from, 7, (size_t) size);
  TIMED (count, ({ memcpy (to, from, (size_t) size);
                   __asm__ volatile ("" : : "r" (to) : "memory"); }));
  check (to[0] == 7 && to[size - 1] == 7, "copy");
  munmap (from, (size_t) size);
  close (fd);
  free (to);
}

#define MODULUS 1000

static void
sum (long count, const double *numbers, long n)
{
  double total = 0;
  double expected = (double) (n / MODULUS) * (MODULUS * (MODULUS - 1) / 2);

  for (long i = n - n % MODULUS; i < n; i++)
    expected += (double) (i % MODULUS);
  TIMED (count, ({ total = 0;
                   for (long i = 0; i < n; i++)
                     total += numbers[i]; }));
  check (total == expected, "sum");
}

static void
sum_mapped (long count, long n)
{
  static double *numbers;
  static long made;

  if (made != n)
    {
      int fd = create_object ((size_t) n * sizeof *numbers);
      unlink_object ();
      numbers = map_object (fd, (size_t) n * sizeof *numbers,
                            PROT_READ | PROT_WRITE);
      close (fd);
      for (long i = 0; i < n; i++)
        numbers[i] = (double) (i % MODULUS);
      made = n;
    }
  sum (count, numbers, n);
}

static void
sum_ordinary (long count, long n)
{
  static double *numbers;
  static long made;

  if (made != n)
    {
      numbers = buffer ((size_t) n * sizeof *numbers);
      for (long i = 0; i < n; i++)
        numbers[i] = (double) (i % MODULUS);
      made = n;
    }
  sum (count, numbers, n);
}

struct record
{
  uint64_t id;
  uint32_t value;
};

static void
sum_fields (long count, long n)
{
  static struct record *records;
  static long made;
  uint64_t total = 0, expected = 0;

  if (made != n)
    {
      records = share ((size_t) n * sizeof *records);
      for (long i = 0; i < n; i++)
        records[i].value = (uint32_t) (i % MODULUS);
      made = n;
    }
  for (long i = 0; i < n; i++)
    expected += (uint64_t) (i % MODULUS);
  TIMED (count, ({ total = 0;
                   for (long i = 0; i < n; i++)
                     total += records[i].value;
                   __asm__ volatile ("" : "+r" (total) : : "memory"); }));
  check (total == expected, "sum");
}


/* Atomics and locks.  */

static struct shared
{
  pthread_mutex_t mutex;
  _Alignas (64) sem_t semaphore, binary;
  _Alignas (64) _Atomic uint64_t counter;
  uint64_t guarded;
  _Alignas (64) _Atomic uint32_t ping;
  _Alignas (64) _Atomic uint32_t pong;
  _Alignas (64) _Atomic int ready;
  _Atomic int go;
  int64_t end, processor_time;
} *shared;

static sem_t *named;

static void
make_shared (void)
{
  pthread_mutexattr_t attributes;

  shared = share (sizeof *shared);
  pthread_mutexattr_init (&attributes);
  pthread_mutexattr_setrobust (&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared (&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_settype (&attributes, PTHREAD_MUTEX_ERRORCHECK);
  check (pthread_mutex_init (&shared->mutex, &attributes) == 0, "mutex");
  check (sem_init (&shared->semaphore, 1, 0) == 0, "sem_init");
  check (sem_init (&shared->binary, 1, 1) == 0, "sem_init");
  named = sem_open (name, O_CREAT | O_EXCL, 0600, 0);
  check (named != SEM_FAILED, "sem_open");
  sem_unlink (name);
}

__attribute__ ((noinline)) static long
empty (long a, long b, long c)
{
  __asm__ volatile ("" : : "r" (a), "r" (b));
  return c;
}

static void
nothing (long count, long unused)
{
  TIMED (count, empty (count, unused, 1));
}

static void
fetch_add (long count, long unused)
{
  uint64_t before = shared->counter;

  (void) unused;
  TIMED (count, atomic_fetch_add (&shared->counter, 1));
  check (shared->counter == before + (uint64_t) count, "counter");
}

static void
lock_and_unlock (long count, long unused)
{
  (void) unused;
  TIMED (count, ({ pthread_mutex_lock (&shared->mutex);
                   pthread_mutex_unlock (&shared->mutex); }));
}

static void
post_and_wait (sem_t *semaphore, long count)
{
  int value;

  TIMED (count, ({ sem_post (semaphore);
                   sem_wait (semaphore); }));
  sem_getvalue (semaphore, &value);
  check (value == 0, "value");
}

static void
semaphore (long count, long unused)
{
  (void) unused;
  post_and_wait (&shared->semaphore, count);
}

static void
semaphore_named (long count, long unused)
{
  (void) unused;
  post_and_wait (named, count);
}

/* Two processes at once, each on its processor, do WORK.  */
static void
contend (long count, void (*work) (long count))
{
  shared->counter = shared->guarded = 0;
  shared->ready = shared->go = 0;
  pid_t child = start (1);
  if (child == 0)
    {
      shared->ready = 1;
      while (!shared->go)
        ;
      work (count);
      shared->end = now ();
      _exit (0);
    }
  pin (0);
  while (!shared->ready)
    pause_for (100000);
  int64_t begin = now ();
  shared->go = 1;
  work (count);
  int64_t end = now ();
  finish (child);
  check (shared->counter + shared->guarded == 2 * (uint64_t) count, "counter");
  answer ((end > shared->end ? end : shared->end) - begin, count);
}

static void
add (long count)
{
  for (long i = 0; i < count; i++)
    atomic_fetch_add (&shared->counter, 1);
}

static void
add_with_mutex (long count)
{
  for (long i = 0; i < count; i++)
    {
      pthread_mutex_lock (&shared->mutex);
      shared->guarded++;
      pthread_mutex_unlock (&shared->mutex);
    }
}

static void
add_with_semaphore (long count)
{
  for (long i = 0; i < count; i++)
    {
      sem_wait (&shared->binary);
      shared->guarded++;
      sem_post (&shared->binary);
    }
}

static void
fetch_add_contended (long count, long unused)
{
  (void) unused;
  contend (count, add);
}

static void
mutex_contended (long count, long unused)
{
  (void) unused;
  contend (count, add_with_mutex);
}

static void
semaphore_contended (long count, long unused)
{
  (void) unused;
  contend (count, add_with_semaphore);
}


/* Round trips, through two words.  */

#define SPIN 100000

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

static void
say_back (long count, long size, const char *bytes, int spin)
{
  char *copy = buffer ((size_t) size + 1);
  char *back = (char *) (uintptr_t) bytes + size;

  int64_t start = 0;

  for (long i = 1; i <= WARMING_UP + count; i++)
    {
      await (&shared->ping, (uint32_t) i, spin);
      if (i == WARMING_UP + 1)
        start = processor_time ();
      memcpy (copy, bytes, (size_t) size);
      memcpy (back, copy, (size_t) size);
      say (&shared->pong, (uint32_t) i);
    }
  shared->processor_time = processor_time () - start;
}

/* Both on processors HERE and THERE.  */
static void
trips (long count, long size, int here, int there, int spin, int is_sparse)
{
  int64_t *times = times_for (count), time = 0;
  char *bytes = share (2 * (size_t) size + PAGE);
  char *copy = buffer ((size_t) size + 1);

  shared->ping = shared->pong = 0;
  pid_t child = start (there);
  if (child == 0)
    {
      say_back (count, size, bytes, spin);
      _exit (0);
    }
  pin (here);
  for (long i = 1; i <= WARMING_UP + count; i++)
    {
      if (i == WARMING_UP + 1)
        time = processor_time ();
      if (is_sparse)
        pause_for (SPARSE_PAUSE);
      int64_t begin = now ();
      memcpy (bytes, copy, (size_t) size);
      say (&shared->ping, (uint32_t) i);
      await (&shared->pong, (uint32_t) i, spin);
      memcpy (copy, bytes + size, (size_t) size);
      times[i - 1] = now () - begin;
    }
  time = processor_time () - time;
  finish (child);
  for (long i = 0; i < size; i++)
    check (copy[i] == 1, "bytes");
  if (is_sparse)
    answer_sparse (times + WARMING_UP, count, time + shared->processor_time);
  else
    answer_percentiles (times + WARMING_UP, count);
  munmap (bytes, 2 * (size_t) size + PAGE);
  free (times);
  free (copy);
}

static void
trip_across (long count, long size)
{
  trips (count, size, 0, 1, SPIN, 0);
}

static void
trip_together (long count, long size)
{
  trips (count, size, 0, 0, 0, 0);
}

static void
trip_anywhere (long count, long size)
{
  trips (count, size, ANYWHERE, ANYWHERE, 0, 0);
}

static void
trip_sparse (long count, long size)
{
  trips (count, size, ANYWHERE, ANYWHERE, 0, 1);
}

static void
wake_across (long count, long unused)
{
  int64_t *times = times_for (count);

  (void) unused;
  shared->ping = shared->pong = 0;
  pid_t child = start (1);
  if (child == 0)
    {
      for (long i = 1; i <= WARMING_UP + count; i++)
        {
          await (&shared->pong, (uint32_t) i, 0);
          pause_for (WAKE_PAUSE);
          shared->end = now ();
          say (&shared->ping, (uint32_t) i);
        }
      _exit (0);
    }
  pin (0);
  for (long i = 1; i <= WARMING_UP + count; i++)
    {
      say (&shared->pong, (uint32_t) i);
      await (&shared->ping, (uint32_t) i, 0);
      times[i - 1] = now () - shared->end;
    }
  finish (child);
  answer_percentiles (times + WARMING_UP, count);
  free (times);
}


/* A ring.  One sender and one receiver never sleep, and look at each other's
   position only when they have to; more senders have a lock among them.  */

struct ring
{
  _Alignas (128) _Atomic uint64_t head;
  uint64_t seen_by_sender;
  _Alignas (128) _Atomic uint64_t tail;
  uint64_t size;
  _Alignas (128) char bytes[];
};

struct end
{
  struct ring *ring;
  uint64_t own, seen;
  int yields;
};

#define SKIP UINT64_MAX

static struct ring *
make_ring (size_t size)
{
  struct ring *ring = share (sizeof *ring + size);

  ring->size = size;
  return ring;
}

/* Room for four large messages, or many small ones.  */
static size_t
shallow (size_t size)
{
  return size > 16384 ? 4 * size : 65536;
}

/* Room for a thousand.  */
static size_t
deep (size_t size)
{
  return 1000 * (size + 16);
}

static void
give_ring_back (struct ring *ring)
{
  munmap (ring, sizeof *ring + (size_t) ring->size);
}

static uint64_t
record (uint64_t size)
{
  return 8 + ((size + 7) & ~UINT64_C (7));
}

/* Read the other side's POSITION again.  */
static void
look (struct end *end, _Atomic uint64_t *position)
{
  if (end->yields)
    sched_yield ();
  end->seen = atomic_load_explicit (position, memory_order_acquire);
}

static void
ring_send (struct end *end, const char *bytes, uint64_t size)
{
  struct ring *ring = end->ring;
  uint64_t at = end->own % ring->size, rest = ring->size - at;
  uint64_t need = record (size), skip = need > rest ? rest : 0;

  while (ring->size - (end->own - end->seen) < need + skip)
    look (end, &ring->tail);
  if (skip > 0)
    {
      memcpy (ring->bytes + at, &(uint64_t) { SKIP }, 8);
      end->own += skip;
      at = 0;
    }
  memcpy (ring->bytes + at, &size, 8);
  memcpy (ring->bytes + at + 8, bytes, (size_t) size);
  end->own += need;
  atomic_store_explicit (&ring->head, end->own, memory_order_release);
}

/* Into BYTES, or into fresh memory if that is NULL.  */
static void
ring_receive (struct end *end, char *bytes)
{
  struct ring *ring = end->ring;
  uint64_t size, at;

  for (;;)
    {
      while (end->own == end->seen)
        look (end, &ring->head);
      at = end->own % ring->size;
      memcpy (&size, ring->bytes + at, 8);
      if (size != SKIP)
        break;
      end->own += ring->size - at;
    }
  char *to = bytes != NULL ? bytes : malloc ((size_t) size);
  memcpy (to, ring->bytes + at + 8, (size_t) size);
  __asm__ volatile ("" : : "r" (to) : "memory");
  if (bytes == NULL)
    free (to);
  end->own += record (size);
  atomic_store_explicit (&ring->tail, end->own, memory_order_release);
}

/* From the first message on, since a fork takes long.  */
static void
one_way (long count, long size, size_t room, int here, int there, int fresh)
{
  char *from = buffer ((size_t) size), *to = buffer ((size_t) size);
  struct ring *ring = make_ring (room / 8 * 8);
  struct end end = { .ring = ring, .yields = here == ANYWHERE };

  memset (from, 2, (size_t) size);
  pid_t child = start (there);
  if (child == 0)
    {
      for (long i = 0; i <= count; i++)
        ring_send (&end, from, (uint64_t) size);
      _exit (0);
    }
  pin (here);
  ring_receive (&end, to);
  int64_t begin = now ();
  for (long i = 0; i < count; i++)
    ring_receive (&end, fresh ? NULL : to);
  int64_t time = now () - begin;
  finish (child);
  check (memcmp (from, to, (size_t) size) == 0, "message");
  answer (time, count);
  give_ring_back (ring);
  free (from);
  free (to);
}

static void
channel (long count, long size)
{
  one_way (count, size, shallow ((size_t) size), 0, 1, 0);
}

static void
channel_received (long count, long size)
{
  one_way (count, size, shallow ((size_t) size), 0, 1, 1);
}

/* A message that is overwritten again and again.  */
struct newest
{
  _Atomic uint64_t oldest, head; /* how many were claimed, and published */
  char bytes[];
};

static void
broadcast_among (long count, long unused)
{
  struct newest *newest = share (sizeof *newest + 64);
  char message[64];

  (void) unused;
  memset (message, 1, sizeof message);
  TIMED (
    count, ({
      uint64_t head
        = atomic_load_explicit (&newest->head, memory_order_relaxed);
      atomic_store_explicit (&newest->oldest, head + 1, memory_order_relaxed);
      atomic_thread_fence (memory_order_release);
      memcpy (newest->bytes, message, sizeof message);
      atomic_store_explicit (&newest->head, head + 1, memory_order_release);
    }));
  check (newest->bytes[63] == 1, "message");
}

static void
broadcast_latest (long count, long size)
{
  struct newest *newest = share (sizeof *newest + (size_t) size);
  char *target = buffer ((size_t) size);
  long good = 0;

  memset (newest->bytes, 3, (size_t) size);
  atomic_store (&newest->head, 1);
  atomic_store (&newest->oldest, 1);
  TIMED (count, ({
           uint64_t head
             = atomic_load_explicit (&newest->head, memory_order_acquire);
           memcpy (target, newest->bytes, (size_t) size);
           __asm__ volatile("" : : "r"(target) : "memory");
           atomic_thread_fence (memory_order_acquire);
           good += atomic_load_explicit (&newest->oldest, memory_order_relaxed)
                   == head;
         }));
  check (good == count && target[size - 1] == 3, "message");
  free (target);
}

static void
channel_anywhere (long count, long size)
{
  one_way (count, size, deep ((size_t) size), ANYWHERE, ANYWHERE, 0);
}

#define MESSAGE 64
#define MOST_SENDERS 64

/* How many the Ith of N senders sends: as many as are measured go before.  */
static long
share_of (long count, long i, long n)
{
  return 2 * count / n + (i < 2 * count % n);
}

static pid_t children[MOST_SENDERS];

/* Start N processes that SEND, COUNT messages beside those that go before.  */
static void
start_senders (long count, long n, void (*send) (void *to, long count),
               void *to)
{
  shared->ready = shared->go = 0;
  for (long i = 0; i < n; i++)
    if ((children[i] = start (ANYWHERE)) == 0)
      {
        atomic_fetch_add (&shared->ready, 1);
        while (!shared->go)
          pause_for (100000);
        send (to, share_of (count, i, n));
        _exit (0);
      }
  while (shared->ready != n)
    pause_for (100000);
  shared->go = 1;
}

static void
finish_senders (long n)
{
  for (long i = 0; i < n; i++)
    finish (children[i]);
}

static void
send_to_ring (void *to, long count)
{
  struct ring *ring = to;
  char message[MESSAGE] = { 1 };
  struct end end = { .ring = ring, .yields = 1 };

  for (long i = 0; i < count; i++)
    {
      pthread_mutex_lock (&shared->mutex);
      end.own = atomic_load (&ring->head);
      end.seen = ring->seen_by_sender;
      ring_send (&end, message, MESSAGE);
      ring->seen_by_sender = end.seen;
      pthread_mutex_unlock (&shared->mutex);
    }
}

static void
senders (long count, long n)
{
  struct ring *ring = make_ring (shallow (MESSAGE));
  struct end end = { .ring = ring, .yields = 1 };
  char message[64];

  start_senders (count, n, send_to_ring, ring);
  for (long i = 0; i < count; i++)
    ring_receive (&end, message);
  int64_t begin = now ();
  for (long i = 0; i < count; i++)
    ring_receive (&end, message);
  int64_t time = now () - begin;
  finish_senders (n);
  check (end.own == ring->head, "messages left");
  answer (time, count);
  give_ring_back (ring);
}


/* Faults, left by a jump.  */

static sigjmp_buf before_fault;

static void
on_fault (int signal)
{
  (void) signal;
  siglongjmp (before_fault, 1);
}

static void
catch_faults (int signal, struct sigaction *before)
{
  struct sigaction action = { .sa_handler = on_fault };

  sigaction (signal, &action, before);
}

static void
fault_lost (long count, long unused)
{
  int fd = create_object (PAGE);
  struct sigaction before;
  volatile long faults = 0;

  (void) unused;
  unlink_object ();
  catch_faults (SIGBUS, &before);
  TIMED (count, ({
    check (ftruncate (fd, PAGE) == 0, "ftruncate");
    volatile char *bytes = map_object (fd, PAGE, PROT_READ | PROT_WRITE);
    check (ftruncate (fd, 0) == 0, "ftruncate");
    if (sigsetjmp (before_fault, 1) == 0)
      (void) bytes[0];
    else
      faults++;
    munmap ((void *) (uintptr_t) bytes, PAGE); }));
  sigaction (SIGBUS, &before, NULL);
  close (fd);
  check (faults == count, "faults");
}

static void
fault_read_only (long count, long unused)
{
  int fd = create_object (PAGE);
  struct sigaction before;
  volatile long faults = 0;
  volatile char *bytes = map_object (fd, PAGE, PROT_READ);

  (void) unused;
  unlink_object ();
  catch_faults (SIGSEGV, &before);
  TIMED (count, ({
    if (sigsetjmp (before_fault, 1) == 0)
      bytes[0] = 1;
    else
      faults++; }));
  sigaction (SIGSEGV, &before, NULL);
  check (faults == count && bytes[0] == 0, "faults");
  munmap ((void *) (uintptr_t) bytes, PAGE);
  close (fd);
}


/* What there is.  */

static const struct row rows[]
  = { { "life-cycle", life_cycle },
      { "egg", egg },
      { "create", create },
      { "create-whole", create_whole },
      { "map", map },
      { "map-among", map_among },
      { "copy", copy },
      { "field", sum_fields },
      { "field-native", sum_fields },
      { "sum-mapped", sum_mapped },
      { "sum-ordinary", sum_ordinary },
      { "sum-view", sum_mapped },
      { "nothing", nothing },
      { "fetch-add", fetch_add },
      { "fetch-add-contended", fetch_add_contended },
      { "mutex", lock_and_unlock },
      { "mutex-around", lock_and_unlock },
      { "mutex-contended", mutex_contended },
      { "semaphore", semaphore },
      { "semaphore-named", semaphore_named },
      { "semaphore-contended", semaphore_contended },
      { "ping-pong-across", trip_across },
      { "ping-pong-together", trip_together },
      { "wake-across", wake_across },
      { "channel", channel },
      { "broadcast", channel_received },
      { "broadcast-among", broadcast_among },
      { "broadcast-latest", broadcast_latest },
      { "channel-anywhere", channel_anywhere },
      { "channel-received", channel_received },
      { "channel-in-place", channel },
      { "trip-across", trip_across },
      { "trip-together", trip_together },
      { "trip-anywhere", trip_anywhere },
      { "trip-busy", trip_anywhere },
      { "trip-sparse", trip_sparse },
      { "senders", senders },
      { "fault-lost", fault_lost },
      { "fault-read-only", fault_read_only },
      { NULL, NULL } };

int
main (void)
{
  prepare ();
  make_shared ();
#ifdef __clang__
  serve (__VERSION__, rows);
#else
  serve ("gcc " __VERSION__, rows);
#endif
  return EXIT_SUCCESS;
}

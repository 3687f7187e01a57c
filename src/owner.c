/* SPDX-License-Identifier: BSD-3-Clause
   owner.c - which thread of which process holds something, and does it live?

   A thread is dead if there is none of its id, or one that has ended and was
   not waited for, or one that started at another time.  What cannot be told
   counts as alive.  Starting another program (exec) does not end a thread.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "owner.h"

/* Elsewhere, as on macOS, a call of this name may be another.  */
#if defined __linux__ && defined SYS_gettid
# define HAVE_THREAD_IDS 1
#else
# define HAVE_THREAD_IDS 0
#endif

#define ID_SHIFT 3
#define ID_BITS 22
#define START_SHIFT (ID_SHIFT + ID_BITS)
#define ID_MASK ((UINT64_C (1) << ID_BITS) - 1)
#define START_MASK (UINT64_MAX >> START_SHIFT)

_Static_assert (sizeof (pid_t) <= sizeof (uint32_t), "ids are 32 bits");

/* The namespace of this process in the lower half, and flags; 0 until it is
   known, and in the child of a fork again.  */
static _Atomic uint64_t own_namespace;

#define IS_KNOWN (UINT64_C (1) << 32)
#define PROC_IS_OURS (UINT64_C (1) << 33)

static uint64_t
inode_of (const char *path)
{
  struct stat status;

  return stat (path, &status) == 0 ? (uint64_t) status.st_ino : 0;
}

static uint64_t
find_namespace (void)
{
  uint64_t known = atomic_load_explicit (&own_namespace, memory_order_relaxed);

  if (known == 0)
    {
      char self[24], target[24];

      /* That of clocks as well, which starts are told by.  */
      known = ((inode_of ("/proc/self/ns/pid")
                ^ inode_of ("/proc/self/ns/time") * 0x9e3779b1u)
               & UINT32_MAX)
              | IS_KNOWN;
      /* It may tell of another namespace.  */
      snprintf (self, sizeof self, "%ld", (long) getpid ());
      ssize_t length = readlink ("/proc/self", target, sizeof target);
      if (length > 0 && (size_t) length == strlen (self)
          && memcmp (self, target, (size_t) length) == 0)
        known |= PROC_IS_OURS;
      atomic_store_explicit (&own_namespace, known, memory_order_relaxed);
    }
  return known;
}

static int
proc_is_ours (void)
{
  return (find_namespace () & PROC_IS_OURS) != 0;
}

uint32_t
gshm_namespace (void)
{
  return (uint32_t) find_namespace ();
}

struct life
{
  char state;           /* as Linux writes it: Z and X are dead */
  uint64_t start;
};

/* What the system says of the thread ID.  Return whether it does.  */
static int
read_life (long id, struct life *life)
{
  char path[64], text[512];

  if (!proc_is_ours ())
    return 0;
  /* Not /proc/ID/stat, in which emulators of other processors show a process
     another start than they show others.  */
  snprintf (path, sizeof path, "/proc/%ld/task/%ld/stat", id, id);
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  ssize_t length = read (fd, text, sizeof text - 1);
  close (fd);
  if (length <= 0)
    return 0;
  text[length] = '\0';

  /* ID (NAME) STATE ...: the 3rd field is after the last parenthesis, since a
     name may hold some.  The start is the 22nd.  */
  char *field = strrchr (text, ')');
  if (field == NULL || field[1] != ' ')
    return 0;
  field += 2;
  life->state = *field;
  for (int i = 3; i < 22; i++)
    {
      field = strchr (field, ' ');
      if (field == NULL)
        return 0;
      field++;
    }
  life->start = strtoull (field, NULL, 10) & START_MASK;
  return 1;
}

static long
thread_id (void)
{
#if HAVE_THREAD_IDS
  return syscall (SYS_gettid);
#else
  return (long) getpid ();
#endif
}

/* Where a thread has no id of its own it is told from the others of its
   process by a number, which stands where others have their start.  */
static uint64_t
thread_start (long id)
{
#if HAVE_THREAD_IDS
  struct life life;

  return read_life (id, &life) ? life.start : 0;
#else
  static atomic_ulong count;

  (void) id;
  return ((uint64_t) atomic_fetch_add (&count, 1) + 1) & START_MASK;
#endif
}

GSHM_THREAD_LOCAL struct gshm_self gshm_known_self;

/* Bits that no other thread has.  */
static uint64_t
random_bits (void)
{
  uint64_t bits = 0;
  int fd = open ("/dev/urandom", O_RDONLY | O_CLOEXEC);

  if (fd >= 0)
    {
      if (read (fd, &bits, sizeof bits) != sizeof bits)
        bits = 0;
      close (fd);
    }
  if (bits == 0)
    {
      struct timespec time;
      clock_gettime (CLOCK_REALTIME, &time);
      bits = ((uint64_t) time.tv_sec << 30 ^ (uint64_t) time.tv_nsec
              ^ (uint64_t) thread_id () << 42)
             * UINT64_C (0x9e3779b97f4a7c15);
    }
  return bits;
}

uint64_t
gshm_find_self (uint32_t namespace)
{
  struct gshm_self *self = &gshm_known_self;

  if (self->owner == 0)
    {
      long id = thread_id ();
      self->namespace = gshm_namespace ();
      self->owner = thread_start (id) << START_SHIFT
                    | ((uint64_t) id & ID_MASK) << ID_SHIFT;
    }
  if (namespace == self->namespace)
    return self->owner;
  if (self->foreign == 0)
    self->foreign = (random_bits () & ~GSHM_OWNER_FLAGS) | GSHM_FOREIGN;
  return self->foreign;
}

int
gshm_is_dead (uint64_t owner, uint64_t known, uint32_t namespace)
{
  long id = (long) (owner >> ID_SHIFT & ID_MASK);

  if ((owner & GSHM_FOREIGN) || namespace != gshm_namespace ())
    return 0;
  if (id == 0)
    return 1;
  if (kill ((pid_t) id, 0) < 0 && errno == ESRCH)
    return 1;
#if HAVE_THREAD_IDS
  struct life life;
  uint64_t start = owner >> START_SHIFT, means = known >> START_SHIFT;

  return read_life (id, &life)
         && (life.state == 'Z' || life.state == 'X'
             || ((start & means) != 0 && ((life.start ^ start) & means) != 0));
#else
  return 0;
#endif
}

static void
forget (void)
{
  gshm_known_self.owner = gshm_known_self.foreign = 0;
  atomic_store (&own_namespace, 0);
}

void
gshm_owner_start (void)
{
  pthread_atfork (NULL, NULL, forget);
}

/* SPDX-License-Identifier: BSD-3-Clause
   owner.c - which thread of which process holds something, and does it live?

   A thread is dead if there is none of its id, or one that has ended and whose
   parent has not waited for it, or another one.  What cannot be told counts as
   alive.  From Linux 6.9 on a descriptor of the thread (pidfd) tells all that,
   without /proc and without waiting for the thread.  Before, its line in /proc
   does; but to read that waits while the thread starts another program (exec),
   which does not end it.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#ifdef __linux__
# include <sys/vfs.h>
#endif
#include <time.h>
#include <unistd.h>

#include "core/owner.h"

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
#define STARTS_ARE_SHARED (UINT64_C (1) << 34)
#define HAS_SERIALS (UINT64_C (1) << 35)

/* Of what stands for a thread's start: whether it is a serial number.  */
#define IS_SERIAL UINT64_C (1)

/* Whether ERR says nothing of what was asked for, but of what this process
   lacks.  */
static int
is_shortage (int err)
{
  return err == EMFILE || err == ENFILE || err == ENOMEM;
}

/* A descriptor in reserve, so that it can be asked whether an owner lives
   where no other is free; and the file behind it, by which it is known, in
   case the program has closed it.  BUSY guards all three, and waits for no
   thread.  */
#define NONE (-1)
#define BUSY (-2)

static atomic_int reserve = NONE;
static dev_t reserve_device;
static ino_t reserve_inode;

static int
claim_reserve (int expected)
{
  return atomic_compare_exchange_strong (&reserve, &expected, BUSY);
}

static void
fill_reserve (void)
{
#ifdef HAVE_MEMFD_CREATE
  struct stat status;

  if (atomic_load (&reserve) != NONE || !claim_reserve (NONE))
    return;
  int fd = memfd_create ("guile-shm-reserve", MFD_CLOEXEC);
  if (fd >= 0 && fstat (fd, &status) == 0)
    {
      reserve_device = status.st_dev;
      reserve_inode = status.st_ino;
    }
  atomic_store (&reserve, fd >= 0 ? fd : NONE);
#endif
}

/* Return whether a descriptor was freed, so that it is worth trying again.
   Fill the reserve afterwards.  */
static int
use_reserve (void)
{
  struct stat status;
  int fd = atomic_load (&reserve);

  if (fd < 0 || !claim_reserve (fd))
    return 0;
  int is_freed = (fstat (fd, &status) == 0
                  && status.st_dev == reserve_device
                  && status.st_ino == reserve_inode && close (fd) == 0);
  atomic_store (&reserve, NONE);
  return is_freed;
}

/* Read the beginning of the file PATH, SIZE - 1 bytes at most, as a string.
   Return 0 and set errno if that fails.  */
static int
read_text (const char *path, char *text, size_t size)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  int err = errno;

  if (fd < 0 && (err == EMFILE || err == ENFILE) && use_reserve ())
    {
      fd = open (path, O_RDONLY | O_CLOEXEC);
      err = errno;
    }
  if (fd < 0)
    {
      fill_reserve ();
      errno = err;
      return 0;
    }
  ssize_t length = read (fd, text, size - 1);
  err = errno;
  close (fd);
  fill_reserve ();
  errno = err;
  if (length <= 0)
    return 0;
  text[length] = '\0';
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

/* Bits that no other thread has.  */
static uint64_t random_bits (void);

#ifdef __linux__
/* The inode of the file PATH, or 0 and errno.  */
static uint64_t
inode_of (const char *path)
{
  struct stat status;

  return stat (path, &status) == 0 ? (uint64_t) status.st_ino : 0;
}

/* From linux/pidfd.h.  */
# define GET_PID_NAMESPACE _IO (0xff, 5)

/* The inode of the first time namespace, that of the boot: PROC_TIME_INIT_INO
   of Linux.  */
# define FIRST_TIME_NAMESPACE UINT64_C (0xeffffffa)

/* The inode of the PID namespace of this process, as in /proc, which may be
   missing.  Linux tells it from 6.11 on.  0 if it does not; if that is for a
   shortage, store its errno.  */
static uint64_t
inode_by_pidfd (int *shortage)
{
  uint64_t inode = 0;
# ifdef SYS_pidfd_open
  struct stat status;
  int process = (int) syscall (SYS_pidfd_open, getpid (), 0);
  int namespace = process < 0 ? -1 : ioctl (process, GET_PID_NAMESPACE, 0);

  if (namespace < 0 && is_shortage (errno))
    *shortage = errno;
  if (namespace >= 0)
    {
      if (fstat (namespace, &status) == 0)
        inode = (uint64_t) status.st_ino;
      close (namespace);
    }
  if (process >= 0)
    close (process);
# else
  (void) shortage;
# endif
  return inode;
}

/* From linux/pidfd.h and linux/magic.h.  */
# define THREAD_ONLY O_EXCL
# define PID_FILE_SYSTEM 0x50494446

/* Open a descriptor of the thread ID; if no other is free, by the reserve,
   which the caller fills again.  Return -1 and errno if that fails.  */
static int
open_thread (long id)
{
# ifdef SYS_pidfd_open
  int fd = (int) syscall (SYS_pidfd_open, id, THREAD_ONLY);

  if (fd < 0 && (errno == EMFILE || errno == ENFILE) && use_reserve ())
    fd = (int) syscall (SYS_pidfd_open, id, THREAD_ONLY);
  return fd;
# else
  (void) id;
  errno = ENOSYS;
  return -1;
# endif
}

/* Whether the thread behind FD has ended.  Of the first thread of a process
   poll says so only when the others have, too; but it is in no namespace
   then.  */
static int
is_thread_over (int fd)
{
  struct pollfd thread = { .fd = fd, .events = POLLIN };

  if (poll (&thread, 1, 0) == 1 && (thread.revents & POLLIN) != 0)
    return 1;
  int namespace = ioctl (fd, GET_PID_NAMESPACE, 0);
  if (namespace < 0)
    return errno == ESRCH;
  close (namespace);
  return 0;
}

/* What the thread ID is told from others by, of which none since the boot has
   the same, and whether it has ended.  Return 0 and set errno if that cannot
   be told.  */
static int
ask_thread (long id, uint64_t *serial, int *has_ended)
{
  struct stat status;
  struct statfs system;
  int fd = open_thread (id), err = errno;

  if (fd < 0)
    {
      fill_reserve ();
      errno = err;
      return 0;
    }
  int known = (fstatfs (fd, &system) == 0
               && (unsigned long) system.f_type == PID_FILE_SYSTEM
               && fstat (fd, &status) == 0);
  *has_ended = is_thread_over (fd);
  close (fd);
  fill_reserve ();
  if (known)
    *serial = ((uint64_t) status.st_ino << 1 | IS_SERIAL) & START_MASK;
  else
    errno = ENOSYS;
  return known;
}

/* Whether /proc tells of this process's namespace: then it knows the process
   by one number.  If that cannot be told for a shortage, store its errno.  */
static int
is_proc_ours (int *shortage)
{
  char text[4096];
  long id;
  int end = 0;

  if (!read_text ("/proc/self/status", text, sizeof text))
    {
      if (is_shortage (errno))
        *shortage = errno;
      return 0;
    }
  const char *line = strstr (text, "\nNSpid:");
  return (line != NULL && sscanf (line, "\nNSpid:%ld%n", &id, &end) == 1
          && line[end] == '\n' && id == (long) getpid ());
}

/* An unknown namespace is equal to no other.  Where starts are told by clocks
   of a time namespace of its own, a process compares none.  */
static uint64_t
namespace_of_process (int *shortage)
{
  uint64_t clocks = inode_of ("/proc/self/ns/time");
  /* Linux before 5.6 has no time namespaces.  */
  int is_first = clocks == FIRST_TIME_NAMESPACE
                 || (clocks == 0 && errno == ENOENT);
  uint64_t ids = inode_of ("/proc/self/ns/pid");

  if (ids == 0 && is_shortage (errno))
    *shortage = errno;
  else if (ids == 0)
    ids = inode_by_pidfd (shortage);
  uint64_t known = (ids == 0 ? random_bits () >> 32 : ids & UINT32_MAX);
  known |= IS_KNOWN;
  if (is_proc_ours (shortage))
    known |= PROC_IS_OURS;
  if (is_first)
    known |= STARTS_ARE_SHARED;
  uint64_t serial;
  int has_ended;
  if (ask_thread (thread_id (), &serial, &has_ended))
    known |= HAS_SERIALS;
  else if (is_shortage (errno))
    *shortage = errno;
  return known;
}
#else
/* There is but one.  */
static uint64_t
namespace_of_process (int *shortage)
{
  (void) shortage;
  return IS_KNOWN;
}
#endif

/* For a shortage, store its errno, and know as much as can be told.  */
static uint64_t
find_namespace (int *shortage)
{
  uint64_t known = atomic_load_explicit (&own_namespace, memory_order_relaxed);
  int lacks = 0;

  if (known == 0)
    {
      uint64_t found = namespace_of_process (&lacks);

      if (lacks != 0)
        {
          *shortage = lacks;
          return found;
        }
      /* Another thread may have found another random one.  */
      if (atomic_compare_exchange_strong (&own_namespace, &known, found))
        known = found;
    }
  return known;
}

uint32_t
gshm_namespace (void)
{
  int shortage;

  return (uint32_t) find_namespace (&shortage);
}

struct life
{
  char state;           /* as Linux writes it: Z and X are dead */
  uint64_t start;       /* 0 if it cannot be compared */
};

/* What the system says of the thread ID.  Return whether it does; if not for a
   shortage, store its errno.  */
static int
read_life (long id, struct life *life, int *shortage)
{
  char path[64], text[512];
  uint64_t namespace = find_namespace (shortage);

  if (!(namespace & PROC_IS_OURS))
    return 0;
  /* Not /proc/ID/stat, in which emulators of other processors show a process
     another start than they show others.  */
  snprintf (path, sizeof path, "/proc/%ld/task/%ld/stat", id, id);
  if (!read_text (path, text, sizeof text))
    {
      if (is_shortage (errno))
        *shortage = errno;
      return 0;
    }

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
  life->start = (namespace & STARTS_ARE_SHARED
                 ? strtoull (field, NULL, 10) << 1 & START_MASK : 0);
  return 1;
}

/* Where a thread has no id of its own it is told from the others of its
   process by a number, which stands where others have their start.  */
static uint64_t
thread_start (long id, int *shortage)
{
#if HAVE_THREAD_IDS
  struct life life;
# ifdef __linux__
  uint64_t serial;
  int has_ended;

  if (find_namespace (shortage) & HAS_SERIALS)
    {
      if (ask_thread (id, &serial, &has_ended))
        return serial;
      if (is_shortage (errno))
        *shortage = errno;
      return 0;
    }
# endif
  return read_life (id, &life, shortage) ? life.start : 0;
#else
  static atomic_ulong count;

  (void) id;
  (void) shortage;
  return ((uint64_t) atomic_fetch_add (&count, 1) + 1) & START_MASK;
#endif
}

GSHM_THREAD_LOCAL struct gshm_self gshm_known_self;

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

int
gshm_learn_self (void)
{
  struct gshm_self *self = &gshm_known_self;
  int shortage = 0;

  if (self->owner == 0)
    {
      long id = thread_id ();
      uint32_t namespace = (uint32_t) find_namespace (&shortage);
      uint64_t start = thread_start (id, &shortage);

      if (shortage != 0)
        return shortage;
      self->namespace = namespace;
      self->owner = start << START_SHIFT
                    | ((uint64_t) id & ID_MASK) << ID_SHIFT;
    }
  return 0;
}

uint64_t
gshm_find_self (uint32_t namespace)
{
  struct gshm_self *self = &gshm_known_self;

  if (gshm_learn_self () != 0)
    {
      /* The child of a fork that was made while this thread waited.  */
      self->namespace = gshm_namespace ();
      self->owner = ((uint64_t) thread_id () & ID_MASK) << ID_SHIFT;
    }
  if (namespace == self->namespace)
    return self->owner;
  if (self->foreign == 0)
    self->foreign = (random_bits () & ~GSHM_OWNER_FLAGS) | GSHM_FOREIGN;
  return self->foreign;
}

/* Whether START, of which the bits MEANS are known, is that of another thread
   than FOUND, where both are known and of the same kind.  */
static int
is_another (uint64_t start, uint64_t means, uint64_t found)
{
  return ((start & means) != 0 && found != 0
          && ((start ^ found) & IS_SERIAL) == 0
          && ((start ^ found) & means) != 0);
}

int
gshm_is_dead (uint64_t owner, uint64_t known, uint32_t namespace)
{
  long id = (long) (owner >> ID_SHIFT & ID_MASK);

  if ((owner & GSHM_FOREIGN) || namespace != gshm_namespace ())
    return 0;
  if (id == 0)
    return 1;
  /* If it was used or closed, in case descriptors are free again.  */
  fill_reserve ();
  if (kill ((pid_t) id, 0) < 0 && errno == ESRCH)
    return 1;
#if HAVE_THREAD_IDS
  uint64_t start = owner >> START_SHIFT, means = known >> START_SHIFT;
  struct life life;
  int shortage;
# ifdef __linux__
  uint64_t serial;
  int has_ended;

  if (find_namespace (&shortage) & HAS_SERIALS)
    return (ask_thread (id, &serial, &has_ended)
            ? has_ended || is_another (start, means, serial)
            : errno == ESRCH);
# endif
  return (read_life (id, &life, &shortage)
          && (life.state == 'Z' || life.state == 'X'
              || is_another (start, means, life.start)));
#else
  return 0;
#endif
}

static void
forget (void)
{
  /* Another thread of the parent's was at it.  */
  if (atomic_load (&reserve) == BUSY)
    atomic_store (&reserve, NONE);
  gshm_known_self.owner = gshm_known_self.foreign = 0;
  atomic_store (&own_namespace, 0);
}

void
gshm_owner_start (void)
{
  pthread_atfork (NULL, NULL, forget);
  fill_reserve ();
}

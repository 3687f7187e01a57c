/* SPDX-License-Identifier: BSD-3-Clause
   owner.c - the identity of a thread, and whether it is alive.

   A thread is dead if no thread has its id, if that thread is a zombie, or if
   it is another thread.  If this is not known, it counts as alive.  From Linux
   6.9 on a descriptor of the thread (pidfd) tells all that, without /proc and
   without blocking.  Before, /proc/ID/task/ID/stat does; but reading that
   blocks while the thread is in exec.  */

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

/* The namespace of this process in the low half, and flags; 0 until it is
   known, and again in the child of a fork.  */
static _Atomic uint64_t own_namespace;

#define IS_KNOWN (UINT64_C (1) << 32)
#define PROC_IS_OURS (UINT64_C (1) << 33)
#define STARTS_ARE_SHARED (UINT64_C (1) << 34)
#define HAS_SERIALS (UINT64_C (1) << 35)

/* Flag of a start: it is a serial number.  */
#define IS_SERIAL UINT64_C (1)

/* Whether ERR is about resources of this process, and so no answer.  */
static int
is_shortage (int err)
{
  return err == EMFILE || err == ENFILE || err == ENOMEM;
}

/* A reserve descriptor, to be closed if an owner is to be checked and no other
   descriptor is free; and its device and inode, since the program may have
   closed it and reused its number.  BUSY: a thread is accessing all three;
   others do not wait for it.  */
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

/* Free a descriptor, and return whether that succeeded.  The caller fills the
   reserve again.  */
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

/* Read at most SIZE - 1 bytes of the file PATH, as a string.  Return 0 and set
   errno if that fails.  */
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

/* Random bits, which no other thread has.  */
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

/* The inode of the PID namespace of this process without /proc, from
   Linux 6.11 on; else 0.  If a shortage is the reason, store its errno.  */
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

/* Open a descriptor of the thread ID, if necessary by means of the reserve,
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

/* Whether the thread behind FD has ended.  For the main thread of a process
   poll tells that only after all others have ended; but then it is in no
   namespace.  */
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

/* Store the serial number of the thread ID, unique since boot, and whether it
   has ended.  Return 0 and set errno if that is not known.  */
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

/* Whether /proc is that of this process's PID namespace: then NSpid has one
   number.  If a shortage prevents the answer, store its errno.  */
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

/* An unknown namespace gets a random number, equal to no other.  In a time
   namespace of its own a process has no start times to compare.  */
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

/* Return the namespace of this process and its flags.  If a shortage prevents
   a part of that, store its errno.  */
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
      /* Another thread may have chosen another random number.  */
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

#if HAVE_THREAD_IDS
struct thread_status
{
  char state;     /* Z and X are dead */
  uint64_t start; /* 0 if it is not comparable */
};

/* Read the status of the thread ID from /proc.  Return 0 if that fails; if a
   shortage is the reason, store its errno.  */
static int
read_status (long id, struct thread_status *status, int *shortage)
{
  char path[64], text[512];
  uint64_t namespace = find_namespace (shortage);

  if (!(namespace & PROC_IS_OURS))
    return 0;
  /* Not /proc/ID/stat: emulators of other processors show a process another
     start time there than they show to other processes.  */
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
  status->state = *field;
  for (int i = 3; i < 22; i++)
    {
      field = strchr (field, ' ');
      if (field == NULL)
        return 0;
      field++;
    }
  status->start = (namespace & STARTS_ARE_SHARED
                     ? strtoull (field, NULL, 10) << 1 & START_MASK
                     : 0);
  return 1;
}
#endif

/* The start of the thread ID.  Where threads have no ids of their own, a
   number that is unique in the process.  */
static uint64_t
thread_start (long id, int *shortage)
{
#if HAVE_THREAD_IDS
  struct thread_status status;
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
  return read_status (id, &status, shortage) ? status.start : 0;
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
gshm_identify_self (void)
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
gshm_self_elsewhere (uint32_t namespace)
{
  struct gshm_self *self = &gshm_known_self;

  if (gshm_identify_self () != 0)
    {
      /* This is the child of a fork that was made during a wait.  */
      self->namespace = gshm_namespace ();
      self->owner = ((uint64_t) thread_id () & ID_MASK) << ID_SHIFT;
    }
  if (namespace == self->namespace)
    return self->owner;
  if (self->foreign == 0)
    self->foreign = (random_bits () & ~GSHM_OWNER_FLAGS) | GSHM_FOREIGN;
  return self->foreign;
}

#if HAVE_THREAD_IDS
/* Whether START, of which the bits KNOWN are valid, and FOUND are known, of
   the same kind, and different.  */
static int
is_another (uint64_t start, uint64_t known, uint64_t found)
{
  return ((start & known) != 0 && found != 0
          && ((start ^ found) & IS_SERIAL) == 0
          && ((start ^ found) & known) != 0);
}
#endif

int
gshm_is_dead (uint64_t owner, uint64_t known, uint32_t namespace)
{
  long id = (long) (owner >> ID_SHIFT & ID_MASK);

  if ((owner & GSHM_FOREIGN) || namespace != gshm_namespace ())
    return 0;
  if (id == 0)
    return 1;
  /* Descriptors may be free again.  */
  fill_reserve ();
  if (kill ((pid_t) id, 0) < 0 && errno == ESRCH)
    return 1;
#if HAVE_THREAD_IDS
  uint64_t start = owner >> START_SHIFT, known_start = known >> START_SHIFT;
  struct thread_status status;
  int shortage;
# ifdef __linux__
  uint64_t serial;
  int has_ended;

  if (find_namespace (&shortage) & HAS_SERIALS)
    return (ask_thread (id, &serial, &has_ended)
              ? has_ended || is_another (start, known_start, serial)
              : errno == ESRCH);
# endif
  return (read_status (id, &status, &shortage)
          && (status.state == 'Z' || status.state == 'X'
              || is_another (start, known_start, status.start)));
#else
  (void) known;
  return 0;
#endif
}

static void
reset_in_child (void)
{
  /* Another thread of the parent was accessing it.  */
  if (atomic_load (&reserve) == BUSY)
    atomic_store (&reserve, NONE);
  gshm_known_self.owner = gshm_known_self.foreign = 0;
  atomic_store (&own_namespace, 0);
}

void
gshm_owner_start (void)
{
  pthread_atfork (NULL, NULL, reset_in_child);
  fill_reserve ();
}

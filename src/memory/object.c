/* SPDX-License-Identifier: BSD-3-Clause
   object.c - shared memory objects: names and descriptors.

   A name reaches the system as UTF-8 whatever the locale is, so that two
   processes that differ in their locale mean the same object by it.  */

#include <config.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#ifdef HAVE_SYSINFO
# include <sys/sysinfo.h>
#endif
#include <unistd.h>

#include "base/gshm.h"
#include "core/wait.h"
#include <gc/gc.h>

#define OPEN "shm-open"
#define UNLINK "shm-unlink"
#define ANONYMOUS "shm-open-anonymous"
#define SIZE "shm-size"
#define RESIZE "shm-resize!"
#define SEAL "shm-seal!"
#define SEALS "shm-seals"
#define CREATE "shm-create"
#define LIST "shm-list"
#define SEND "shm-send-fd"
#define RECEIVE "shm-receive-fd"

/* Where Linux has the objects, each a file by its name.  */
#define FOLDER "/dev/shm"

/* Why the LENGTH bytes at NAME are no name: an errno, or 0.  The system's own
   answers differ: glibc adds a missing slash and drops a second one.  */
static int
name_error (const char *name, size_t length)
{
  if (length < 2 || name[0] != '/'
      || memchr (name + 1, '/', length - 1) != NULL
      || memchr (name, '\0', length) != NULL
      || (length == 2 && memcmp (name, "/.", 2) == 0)
      || (length == 3 && memcmp (name, "/..", 3) == 0))
    return EINVAL;
  if (length > 1 + GSHM_NAME_MAX)
    return ENAMETOOLONG;
  return 0;
}

void
gshm_to_name (const char *subr, SCM scm_name, struct gshm_name *name)
{
  if (!scm_is_string (scm_name))
    gshm_wrong_type (subr, 1, scm_name, "string");

  size_t length;
  char *bytes = scm_to_utf8_stringn (scm_name, &length);
  int err = name_error (bytes, length);

  if (err == 0)
    {
      memcpy (name->bytes, bytes, length);
      name->bytes[length] = '\0';
    }
  free (bytes);
  if (err == EINVAL)
    gshm_system_error (subr, err, scm_name,
                       "a name is \"/\" and then one or more bytes, none of "
                       "them \"/\" or NUL, and not \"/.\" or \"/..\"");
  if (err != 0)
    gshm_system_error (subr, err, scm_name, NULL);
}

#define ACCEPTED_FLAGS (O_RDONLY | O_RDWR | O_CREAT | O_EXCL | O_TRUNC)

/* Flags of open that are none of shm_open's, for the message.  O_SYNC comes
   before the bits that it consists of.  */
static const struct
{
  int flag;
  const char *name;
} refused_flags[] = {
  { O_SYNC, "O_SYNC" },           { O_WRONLY, "O_WRONLY" },
  { O_APPEND, "O_APPEND" },       { O_NONBLOCK, "O_NONBLOCK" },
  { O_NOCTTY, "O_NOCTTY" },       { O_CLOEXEC, "O_CLOEXEC" },
  { O_DIRECTORY, "O_DIRECTORY" }, { O_NOFOLLOW, "O_NOFOLLOW" },
};

SCM_NORETURN static void
refuse_flag (SCM flag)
{
  gshm_out_of_range (OPEN, flag,
                     "Flag is not one of O_RDONLY, O_RDWR, O_CREAT, O_EXCL "
                     "and O_TRUNC");
}

/* Name a flag among FLAGS, some of which are not accepted.  */
SCM_NORETURN static void
refuse_flags (int flags)
{
  for (size_t i = 0; i < sizeof refused_flags / sizeof *refused_flags; i++)
    if (refused_flags[i].flag != 0
        && (flags & refused_flags[i].flag) == refused_flags[i].flag)
      refuse_flag (scm_from_utf8_symbol (refused_flags[i].name));
  refuse_flag (scm_from_int (flags));
}

SCM_NORETURN static void
refuse_access (SCM oflags)
{
  gshm_out_of_range (OPEN, oflags,
                     "Flags must hold exactly one of O_RDONLY and O_RDWR");
}

static int
flag_from_scm (SCM flag)
{
  if (!scm_is_exact_integer (flag))
    gshm_wrong_type (OPEN, 2, flag,
                     "flags by value, as in (list O_RDWR), not '(O_RDWR)");
  if (!scm_is_signed_integer (flag, 0, INT_MAX))
    refuse_flag (flag);
  return scm_to_int (flag);
}

static int
flags_from_list (SCM list)
{
  int flags = 0, accesses = 0;

  if (scm_ilength (list) < 0)
    gshm_wrong_type (OPEN, 2, list,
                     "flags by value, as in (list O_RDWR), not '(O_RDWR)");
  for (SCM rest = list; scm_is_pair (rest); rest = SCM_CDR (rest))
    {
      int flag = flag_from_scm (SCM_CAR (rest));

      if (flag == O_RDONLY || flag == O_RDWR)
        accesses++;
      else if (flag != O_CREAT && flag != O_EXCL && flag != O_TRUNC)
        refuse_flags (flag);
      flags |= flag;
    }
  if (accesses != 1)
    refuse_access (list);
  return flags;
}

static int
flags_from_integer (SCM integer)
{
  int flags = flag_from_scm (integer);
  int access = flags & O_ACCMODE;
  int refused = flags & ~(ACCEPTED_FLAGS | O_ACCMODE);

  if (access == O_WRONLY)
    refused |= O_WRONLY;
  if (refused != 0)
    refuse_flags (refused);
  if (access != O_RDONLY && access != O_RDWR)
    refuse_access (integer);
  return flags;
}

mode_t
gshm_to_mode (const char *subr, SCM mode)
{
  if (!scm_is_exact_integer (mode))
    scm_error (scm_arg_type_key, subr, "Mode is not an exact integer: ~A",
               scm_list_1 (gshm_shown (mode)), scm_list_1 (mode));
  if (!scm_is_unsigned_integer (mode, 0, 0777))
    gshm_out_of_range (subr, mode, "Mode is not in the range 0 to #o777");
  return (mode_t) scm_to_uint (mode);
}

static atomic_flag detached = ATOMIC_FLAG_INIT;
static GC_finalizer_notifier_proc notifier;     /* belongs to who set that */

static void
attach_notifier (void *data)
{
  (void) data;
  /* A fork ends Guile's thread, and puts there what will start another.  */
  if (GC_get_finalizer_notifier () == NULL)
    GC_set_finalizer_notifier (notifier);
  atomic_flag_clear (&detached);
}

/* In the child of a fork, where who would do so may be no more.  */
static void
attach_in_child (void)
{
  if (atomic_flag_test_and_set (&detached))
    attach_notifier (NULL);
  else
    atomic_flag_clear (&detached);
}

static SCM
run_finalizers (void *data)
{
  (void) data;
  scm_run_finalizers ();
  return SCM_UNSPECIFIED;
}

/* Collect, and run the finalizers before this returns.  The collector is kept
   from starting Guile's own thread for them meanwhile, since that needs
   descriptors, and where there are none Guile aborts.  A finalizer that raises
   an exception says so, as it would in that thread, and one may get here
   again.  */
void
gshm_collect (void)
{
  scm_dynwind_begin (0);
  if (!atomic_flag_test_and_set (&detached))
    {
      notifier = GC_get_finalizer_notifier ();
      scm_dynwind_unwind_handler (attach_notifier, NULL,
                                  SCM_F_WIND_EXPLICITLY);
      GC_set_finalizer_notifier (NULL);
    }
  GC_gcollect ();
  scm_internal_catch (SCM_BOOL_T, run_finalizers, NULL,
                      scm_handle_by_message_noexit, NULL);
  scm_dynwind_end ();
}

int
gshm_collect_for (int err, int *attempts)
{
  /* Twice, since what garbage with a finalizer refers to goes only after
     that.  */
  if (++*attempts > 2 || (err != EMFILE && err != ENFILE && err != ENOMEM
                          && err != ENOSPC))
    return 0;
  gshm_collect ();
  errno = err;
  return 1;
}

void
gshm_block_sigxfsz (sigset_t *before)
{
  sigset_t set;

  sigemptyset (&set);
  sigaddset (&set, SIGXFSZ);
  pthread_sigmask (SIG_BLOCK, &set, before);
}

void
gshm_unblock_sigxfsz (const sigset_t *before)
{
  int saved = errno, signal;
  sigset_t pending, set;

  sigemptyset (&set);
  sigaddset (&set, SIGXFSZ);
  /* The kernel sent it to this thread.  */
  if (!sigismember (before, SIGXFSZ) && sigpending (&pending) == 0
      && sigismember (&pending, SIGXFSZ))
    sigwait (&set, &signal);
  pthread_sigmask (SIG_SETMASK, before, NULL);
  errno = saved;
}

void
gshm_set_finalizer (SCM object, void (*finalize) (void *object, void *data),
                    void *data)
{
  GC_register_finalizer_unreachable (SCM_UNPACK_POINTER (object), finalize,
                                     data, NULL, NULL);
}

static int object_status (const struct gshm_name *name, struct stat *status);

/* On Linux an object is a file in a folder where all may create files.  To
   open another kind of file could wait for ever, or for as long as another
   process has a lease on it.  */
#ifdef __linux__
# define WITHOUT_WAITING O_NONBLOCK
#else
# define WITHOUT_WAITING 0
#endif

#if HAVE_SHM_OPEN
/* Return FD, without WITHOUT_WAITING, if it is that of an object; else close it
   and return -1 and EINVAL.  */
static int
accept_object (int fd)
{
  struct stat status;
  int flags, is_object = 1;

  if (WITHOUT_WAITING != 0)
    is_object = (fstat (fd, &status) == 0 && S_ISREG (status.st_mode)
                 && (flags = fcntl (fd, F_GETFL)) >= 0
                 && fcntl (fd, F_SETFL, flags & ~WITHOUT_WAITING) == 0);
  if (is_object)
    return fd;
  close (fd);
  errno = EINVAL;
  return -1;
}
#endif

/* Whether there is something under NAME that is not an object.  */
static int
is_other (const struct gshm_name *name)
{
#if HAVE_SHM_OPEN && defined __linux__
  struct stat status;
  int saved = errno;
  int other = (object_status (name, &status) == 0
               && !S_ISREG (status.st_mode));

  errno = saved;
  return other;
#else
  (void) name;
  return 0;
#endif
}

/* Open the object NAME, as shm_open does, without waiting for any other
   process.  EWOULDBLOCK means that one has a lease on it.  */
static int
open_object (const struct gshm_name *name, int flags, mode_t mode)
{
#if HAVE_SHM_OPEN
  int fd, attempts = 0;

  do
    GSHM_SYSTEM_CALL (fd, shm_open (name->bytes, flags | WITHOUT_WAITING,
                                    mode));
  while (fd < 0 && gshm_collect_for (errno, &attempts));
  if (fd >= 0)
    return accept_object (fd);
  if ((errno == ENXIO || errno == EISDIR || errno == ELOOP) && is_other (name))
    errno = EINVAL;
  return -1;
#else
  (void) name;
  (void) flags;
  (void) mode;
  errno = ENOSYS;
  return -1;
#endif
}

static int
unlink_object (const struct gshm_name *name)
{
#if HAVE_SHM_OPEN
  int result;

  GSHM_SYSTEM_CALL (result, shm_unlink (name->bytes));
  return result;
#else
  (void) name;
  errno = ENOSYS;
  return -1;
#endif
}

/* What to do where a name is taken.  */
#define TAKEN "attach to it, or unlink the name first"

#if HAVE_SHM_OPEN
# define HINT NULL
#else
# define HINT "this system has no POSIX shared memory"
#endif

/* For how long a file under a lease is tried again, in nanoseconds: longer than
   a process needs that only asks whether it is in use.  */
#define LEASE_PATIENCE INT64_C (100000000)

/* (NAME OFLAGS MODE PATIENT) -> descriptor.  If PATIENT, try again for a moment
   where another process has a lease on the object.  */
static SCM
gshm_open (SCM scm_name, SCM scm_oflags, SCM scm_mode, SCM patient)
{
  struct gshm_name name;
  gshm_to_name (OPEN, scm_name, &name);
  int flags = (scm_is_pair (scm_oflags) || scm_is_null (scm_oflags)
               ? flags_from_list (scm_oflags)
               : flags_from_integer (scm_oflags));
  mode_t mode = gshm_to_mode (OPEN, scm_mode);

  int64_t end = gshm_now () + LEASE_PATIENCE;
  int fd = open_object (&name, flags, mode);
  while (fd < 0 && errno == EWOULDBLOCK && scm_is_true (patient)
         && gshm_now () < end)
    {
      gshm_pause (1000000);
      SCM_TICK;
      fd = open_object (&name, flags, mode);
    }
  if (fd < 0)
    gshm_system_error (OPEN, errno, scm_name,
                       errno == EWOULDBLOCK
                       ? "another process has a lease on it"
                       : errno == EINVAL && is_other (&name)
                       ? "what has this name is not a shared memory object"
                       : errno == EEXIST ? TAKEN
                       : HINT);

  return scm_from_int (fd);
}

static SCM
gshm_unlink (SCM scm_name)
{
  struct gshm_name name;
  gshm_to_name (UNLINK, scm_name, &name);

  if (unlink_object (&name) < 0)
    gshm_system_error (UNLINK, errno, scm_name, HINT);

  return SCM_INUM0;
}



/* Descriptors.  */

SCM
gshm_name_to_scm (const char *bytes)
{
  return scm_from_stringn (bytes, strlen (bytes), "UTF-8",
                           SCM_FAILED_CONVERSION_QUESTION_MARK);
}

SCM
gshm_descriptor_object (SCM scm_fd)
{
  struct stat status;
  int saved = errno;
  SCM name = SCM_BOOL_F;

  if (fstat (scm_to_int (scm_fd), &status) == 0)
    name = gshm_name_of_file (status.st_dev, status.st_ino);
  /* Last, since to make a string can take a collection.  */
  errno = saved;
  return scm_is_false (name) ? scm_fd : name;
}

/* Raise errno for a call that failed on a descriptor.  */
SCM_NORETURN static void
descriptor_error (const char *subr, SCM scm_fd, const char *hint)
{
  int err = errno;

  gshm_system_error (subr, err, gshm_descriptor_object (scm_fd), hint);
}

static int
descriptor_from_scm (const char *subr, SCM scm_fd)
{
  return gshm_to_descriptor (subr, 1, scm_fd);
}

/* (FD) -> bytes.  */
static SCM
gshm_size (SCM scm_fd)
{
  struct stat status;

  if (fstat (descriptor_from_scm (SIZE, scm_fd), &status) < 0)
    descriptor_error (SIZE, scm_fd, NULL);
  return scm_from_intmax (status.st_size);
}

#ifdef HAVE_FALLOCATE
struct reservation
{
  int fd;
  off_t size;
  int result, error;
};

/* Reserve outside of Guile, so that the collector needs no signal to stop this
   thread, and with all signals blocked.  */
static void *
reserve_undisturbed (void *data)
{
  struct reservation *reservation = data;
  sigset_t all, before;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  reservation->result = fallocate (reservation->fd, 0, 0, reservation->size);
  reservation->error = errno;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return NULL;
}

/* Do as fallocate does.  Linux before 6.9 begins anew after each signal, so
   that a timer or a profiler could keep it from ever being done.  */
static int
reserve_pages (int fd, off_t size)
{
  struct reservation reservation = { .fd = fd, .size = size };

  for (int tries = 0; tries < 3; tries++)
    {
      int result = fallocate (fd, 0, 0, size);
      if (result == 0 || errno != EINTR)
        return result;
    }
  scm_without_guile (reserve_undisturbed, &reservation);
  errno = reservation.error;
  return reservation.result;
}
#endif

/* Have the system set memory aside for the first SIZE bytes of FD, now.
   Return 0, or -1 and errno.  Where it cannot do so, do nothing.  */
static int
reserve (int fd, off_t size)
{
  int result;

  if (size == 0)
    return 0;
#ifdef HAVE_SYSINFO
  /* An anonymous object has no limit, and the system would kill processes to
     find memory for it.  */
  struct sysinfo memory;
  if (sysinfo (&memory) == 0
      && (uintmax_t) size / memory.mem_unit
         > (uintmax_t) memory.totalram + memory.totalswap)
    {
      errno = ENOSPC;
      return -1;
    }
#endif
#ifdef HAVE_FALLOCATE
  result = reserve_pages (fd, size);
#elif defined HAVE_POSIX_FALLOCATE
  do
    errno = posix_fallocate (fd, 0, size);
  while (errno == EINTR);
  result = errno == 0 ? 0 : -1;
#else
  result = 0;
#endif
  /* The last two may be a sandbox; or a seal, which ftruncate will meet.  */
  if (result < 0
      && (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV
          || errno == EPERM || errno == EACCES))
    result = 0;
  return result;
}

/* Resize the object behind FD as gshm_resize is told to.  Return 0, or -1 and
   errno.  */
static int
resize (int fd, off_t size, int is_reserved)
{
  sigset_t before;
  int result = 0;

  gshm_block_sigxfsz (&before);
  if (is_reserved)
    result = reserve (fd, size);
  if (result == 0)
    do
      result = ftruncate (fd, size);
    while (result < 0 && errno == EINTR);
  gshm_unblock_sigxfsz (&before);
  return result;
}

static void
unblock_sigxfsz (void *before)
{
  gshm_unblock_sigxfsz (before);
}

/* (THUNK) -> what THUNK returns, without SIGXFSZ meanwhile.  */
static SCM
call_without_sigxfsz (SCM thunk)
{
  sigset_t before;

  gshm_block_sigxfsz (&before);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (unblock_sigxfsz, &before, SCM_F_WIND_EXPLICITLY);
  SCM result = scm_call_0 (thunk);
  scm_dynwind_end ();
  return result;
}

/* (FD SIZE RESERVE): with the memory first, so that nothing has changed where
   there is none.  */
static SCM
gshm_resize (SCM scm_fd, SCM scm_size, SCM scm_reserve)
{
  int fd = descriptor_from_scm (RESIZE, scm_fd);
  off_t size = gshm_to_off (RESIZE, "Size", scm_size);
  int result, attempts = 0;

  do
    result = resize (fd, size, scm_is_true (scm_reserve));
  while (result < 0 && gshm_collect_for (errno, &attempts));
  if (result < 0 && errno == EBADF && fcntl (fd, F_GETFD) >= 0)
    errno = EINVAL;
  if (result < 0)
    descriptor_error (RESIZE, scm_fd,
                      errno == EPERM ? "a seal forbids it"
                      : errno == EFBIG ? "see ulimit -f"
                      : errno == EINVAL ? "the descriptor is not open for "
                                          "writing, or is not one of a shared "
                                          "memory object"
                      : NULL);
  return SCM_UNSPECIFIED;
}

/* What memfd_create takes.  */
#define MAX_LABEL 249

/* (LABEL) -> descriptor, of an object without a name; or #f where the system
   can't.  */
static SCM
gshm_open_anonymous (SCM scm_label)
{
  if (!scm_is_string (scm_label))
    gshm_wrong_type (ANONYMOUS, SCM_ARGn, scm_label, "label, a string");
#ifdef HAVE_MEMFD_CREATE
  char *label = scm_to_utf8_string (scm_label);
  if (strlen (label) > MAX_LABEL)
    {
      free (label);
      gshm_out_of_range (ANONYMOUS, scm_label,
                         "Label is longer than 249 bytes");
    }
  int fd, attempts = 0;
  do
    fd = memfd_create (label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  while (fd < 0 && gshm_collect_for (errno, &attempts));
  int err = errno;
  free (label);
  if (fd >= 0)
    return scm_from_int (fd);
  /* Another refusal, as by a sandbox, leads to a fallback.  */
  if (err == EMFILE || err == ENFILE || err == ENOMEM)
    gshm_system_error (ANONYMOUS, err, scm_label, NULL);
#endif
  return SCM_BOOL_F;
}


/* Seals.  */

static struct
{
  const char *name;
  int seal;
  SCM symbol;
} seals[] = {
#ifdef F_SEAL_SEAL
  { .name = "shrink", .seal = F_SEAL_SHRINK },
  { .name = "grow", .seal = F_SEAL_GROW },
  { .name = "write", .seal = F_SEAL_WRITE },
  { .name = "seal", .seal = F_SEAL_SEAL },
#else
  { .name = "shrink" }, { .name = "grow" }, { .name = "write" },
  { .name = "seal" },
#endif
};

#define N_SEALS (sizeof seals / sizeof *seals)

static int
seal_from_scm (SCM symbol)
{
  if (!scm_is_symbol (symbol))
    gshm_wrong_type (SEAL, 2, symbol, "symbol");
  for (size_t i = 0; i < N_SEALS; i++)
    if (scm_is_eq (symbol, seals[i].symbol))
      return seals[i].seal;
  gshm_out_of_range (SEAL, symbol,
                     "Seal is not one of shrink, grow, write and seal");
}

/* (FD LIST).  */
static SCM
gshm_seal (SCM scm_fd, SCM list)
{
  int fd = descriptor_from_scm (SEAL, scm_fd);
  int set = 0;

  if (scm_ilength (list) < 0)
    gshm_wrong_type (SEAL, 2, list, "list of symbols");
  for (SCM rest = list; scm_is_pair (rest); rest = SCM_CDR (rest))
    set |= seal_from_scm (SCM_CAR (rest));
#ifdef F_ADD_SEALS
  if (fcntl (fd, F_ADD_SEALS, set) < 0)
    descriptor_error (SEAL, scm_fd,
                      errno == EBUSY ? "a mapping that can be written to is "
                                       "still there"
                      : errno == EPERM ? "the object is sealed already, has a "
                                         "name, or was opened for reading"
                      : errno == EINVAL ? "only anonymous objects take seals"
                      : NULL);
  return SCM_UNSPECIFIED;
#else
  (void) fd;
  (void) set;
  gshm_system_error (SEAL, ENOSYS, scm_fd, "this system has no seals");
#endif
}

/* (FD) -> list.  */
static SCM
gshm_seals (SCM scm_fd)
{
  int fd = descriptor_from_scm (SEALS, scm_fd);
  SCM list = SCM_EOL;
#ifdef F_GET_SEALS
  int set = fcntl (fd, F_GET_SEALS);
  if (set < 0 && errno != EINVAL)
    descriptor_error (SEALS, scm_fd, NULL);
  for (size_t i = N_SEALS; set > 0 && i-- > 0;)
    if (set & seals[i].seal)
      list = scm_cons (seals[i].symbol, list);
#else
  if (fcntl (fd, F_GETFD) < 0)
    descriptor_error (SEALS, scm_fd, NULL);
#endif
  return list;
}


/* Objects that appear whole.  */

/* What the object NAME is, into STATUS, as stat does.  */
static int
object_status (const struct gshm_name *name, struct stat *status)
{
#ifdef __linux__
  /* Even if the object may not be opened.  */
  char path[sizeof FOLDER + sizeof name->bytes];

  snprintf (path, sizeof path, FOLDER "%s", name->bytes);
  return lstat (path, status);
#else
  int fd = open_object (name, O_RDONLY, 0);
  if (fd < 0)
    return -1;
  int result = fstat (fd, status);
  close (fd);
  return result;
#endif
}

#if HAVE_SHM_OPEN && HAVE_DECL_O_TMPFILE
/* Whether gshm_publish can do its part.  */
/* Give the object behind FD the file name TO, which must be free.  */
static int
link_object (int fd, const char *to)
{
  char from[64];

  snprintf (from, sizeof from, "/proc/self/fd/%d", fd);
  return linkat (AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

/* Try once whether objects can be linked to names.  /proc, the file system and
   filters of system calls may refuse that in any way.  */
static int
try_to_publish (void)
{
  char name[64];
  struct timespec time;
  int fd = open (FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0)
    return 0;
  clock_gettime (CLOCK_REALTIME, &time);
  snprintf (name, sizeof name, FOLDER "/gshm-try-%lx-%lx",
            (unsigned long) getpid (), (unsigned long) time.tv_nsec);
  int done = link_object (fd, name) == 0;
  if (done)
    unlink (name);
  else
    /* Another process's attempt: then they can be linked.  */
    done = errno == EEXIST;
  close (fd);
  return done;
}

static int
can_publish (void)
{
  static atomic_int known;      /* 1: no, 2: yes */

  if (atomic_load (&known) == 0)
    atomic_store (&known, 1 + try_to_publish ());
  return atomic_load (&known) == 2;
}
#endif

/* (NAME MODE CHECK) -> descriptor of an object that does not have the name
   NAME yet, or #f where the system cannot give it one later.  If CHECK, raise
   an exception now already and not only then if the name is taken.  */
static SCM
gshm_open_unnamed (SCM scm_name, SCM scm_mode, SCM scm_check)
{
  struct gshm_name name;
  struct stat status;
  gshm_to_name (CREATE, scm_name, &name);
  mode_t mode = gshm_to_mode (CREATE, scm_mode);
  if (scm_is_true (scm_check) && object_status (&name, &status) == 0)
    gshm_system_error (CREATE, EEXIST, scm_name, TAKEN);
#if HAVE_SHM_OPEN && HAVE_DECL_O_TMPFILE
  if (!can_publish ())
    return SCM_BOOL_F;
  int fd, attempts = 0;
  do
    fd = open (FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
  while (fd < 0 && gshm_collect_for (errno, &attempts));
  if (fd >= 0)
    return scm_from_int (fd);
  int err = errno;
  if (err == EMFILE || err == ENFILE || err == ENOSPC)
    gshm_system_error (CREATE, err, scm_from_utf8_string (FOLDER), NULL);
#else
  (void) mode;
#endif
  return SCM_BOOL_F;
}

/* (FD NAME): give the object its name, which must be free.  */
static SCM
gshm_publish (SCM scm_fd, SCM scm_name)
{
  struct gshm_name name;
  int fd = descriptor_from_scm (CREATE, scm_fd);
  gshm_to_name (CREATE, scm_name, &name);
#if HAVE_SHM_OPEN && HAVE_DECL_O_TMPFILE
  char to[sizeof FOLDER + NAME_MAX + 2];

  snprintf (to, sizeof to, FOLDER "%s", name.bytes);
  if (link_object (fd, to) == 0)
    return SCM_UNSPECIFIED;
#else
  (void) fd;
  errno = ENOSYS;
#endif
  gshm_system_error (CREATE, errno, scm_name, errno == EEXIST ? TAKEN : NULL);
}

SCM
gshm_unlink_same (const char *subr, SCM scm_name, dev_t device, ino_t inode)
{
  struct gshm_name name;
  struct stat status;
  gshm_to_name (subr, scm_name, &name);

  return scm_from_bool (object_status (&name, &status) == 0
                        && status.st_dev == device && status.st_ino == inode
                        && unlink_object (&name) == 0);
}

/* (NAME FD) -> boolean: unlink NAME if it is that of the object behind FD.  */
static SCM
gshm_unlink_own (SCM scm_name, SCM scm_fd)
{
  struct stat own;

  if (fstat (descriptor_from_scm (CREATE, scm_fd), &own) < 0)
    descriptor_error (CREATE, scm_fd, NULL);
  return gshm_unlink_same (CREATE, scm_name, own.st_dev, own.st_ino);
}

#if HAVE_SHM_OPEN && defined __linux__
static void
close_folder (void *folder)
{
  closedir (folder);
}
#endif

#if HAVE_SHM_OPEN && defined __linux__
static SCM
entry_to_scm (const char *file, const struct stat *status)
{
  SCM name = scm_string_append (scm_list_2 (scm_from_utf8_string ("/"),
                                            gshm_name_to_scm (file)));

  return scm_cons (name,
                   scm_list_n (scm_from_int64 (status->st_size),
                               scm_from_int64 (512
                                               * (int64_t) status->st_blocks),
                               scm_from_uint32 (status->st_mode & 07777),
                               scm_from_uint32 (status->st_uid),
                               scm_from_uint32 (status->st_gid),
                               scm_from_int64 (status->st_mtime),
                               scm_from_uint64 (status->st_dev),
                               scm_from_uint64 (status->st_ino),
                               SCM_UNDEFINED));
}
#endif

/* () -> list of objects, each a list of its name, size, bytes of memory, mode,
   user, group, time of modification, device and inode.  */
static SCM
gshm_list (void)
{
  SCM list = SCM_EOL;
#if HAVE_SHM_OPEN && defined __linux__
  DIR *folder = opendir (FOLDER);
  struct dirent *entry;
  struct stat status;

  if (folder == NULL)
    {
      int err = errno;
      gshm_system_error (LIST, err, scm_from_utf8_string (FOLDER), NULL);
    }
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (close_folder, folder, SCM_F_WIND_EXPLICITLY);
  while ((entry = readdir (folder)) != NULL)
    /* Named semaphores are there, too.  */
    if (strncmp (entry->d_name, "sem.", 4) != 0
        && fstatat (dirfd (folder), entry->d_name, &status,
                    AT_SYMLINK_NOFOLLOW) == 0
        && S_ISREG (status.st_mode))
      list = scm_cons (entry_to_scm (entry->d_name, &status), list);
  scm_dynwind_end ();
  return list;
#else
  gshm_system_error (LIST, ENOSYS, list, "this system does not tell");
#endif
}


SCM
gshm_name_of_file (dev_t device, ino_t inode)
{
  SCM name = SCM_BOOL_F;
#if HAVE_SHM_OPEN && defined __linux__
  char bytes[GSHM_NAME_MAX + 2];
  struct stat status;
  const struct dirent *entry;
  int is_found = 0;

  if (inode == 0 || stat (FOLDER, &status) < 0 || status.st_dev != device)
    return name;
  DIR *folder = opendir (FOLDER);
  if (folder == NULL)
    return name;
  while (!is_found && (entry = readdir (folder)) != NULL)
    is_found = (entry->d_ino == inode
                && fstatat (dirfd (folder), entry->d_name, &status,
                            AT_SYMLINK_NOFOLLOW) == 0
                && status.st_dev == device && status.st_ino == inode);
  if (is_found)
    snprintf (bytes, sizeof bytes, "/%s", entry->d_name);
  closedir (folder);
  if (is_found)
    name = gshm_name_to_scm (bytes);
#else
  (void) device;
  (void) inode;
#endif
  return name;
}


/* Passing descriptors.  */

/* A descriptor goes with a byte of data, which tells it from the end of the
   stream.  */
union control
{
  struct cmsghdr header;
  char bytes[CMSG_SPACE (sizeof (int))];
};

/* And what else the kernel adds for a receiver that asked for it: credentials,
   a security label, a pidfd.  */
union received_control
{
  struct cmsghdr header;
  char bytes[4096];
};

/* (SOCKET FD): both descriptors.  */
static SCM
gshm_send_fd (SCM scm_socket, SCM scm_fd)
{
  int socket = gshm_to_int (SEND, 1, scm_socket, 0, INT_MAX);
  int fd = gshm_to_descriptor (SEND, 2, scm_fd);
  char byte = 0;
  union control control;
  struct iovec data = { &byte, 1 };
  struct msghdr message
    = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes };
  memset (&control, 0, sizeof control);
  struct cmsghdr *header = CMSG_FIRSTHDR (&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN (sizeof fd);
  memcpy (CMSG_DATA (header), &fd, sizeof fd);

  ssize_t sent;
  do
    {
      gshm_wait_until_ready (socket, POLLOUT);
      sent = sendmsg (socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  while (sent < 0 && (errno == EINTR || errno == EAGAIN));
  if (sent < 0)
    gshm_system_error (SEND, errno,
                       errno == EBADF ? gshm_descriptor_object (scm_fd)
                       : scm_socket, NULL);
  return SCM_UNSPECIFIED;
}

/* Take the descriptors out of MESSAGE: return the first, and close the others,
   which nobody asked for.  */
static int
take_descriptor (struct msghdr *message)
{
  int first = -1;

  for (struct cmsghdr *header = CMSG_FIRSTHDR (message); header != NULL;
       header = CMSG_NXTHDR (message, header))
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
      {
        size_t bytes = header->cmsg_len - CMSG_LEN (0);
        for (size_t i = 0; i + sizeof (int) <= bytes; i += sizeof (int))
          {
            int fd;
            memcpy (&fd, CMSG_DATA (header) + i, sizeof fd);
            if (first < 0)
              first = fd;
            else
              close (fd);
          }
      }
  return first;
}

/* Raise an exception if no descriptor is free: a message that brings one would
   be lost.  */
static void
require_descriptor (int socket)
{
  int fd, attempts = 0;

  do
    fd = fcntl (socket, F_DUPFD_CLOEXEC, 0);
  while (fd < 0 && gshm_collect_for (errno, &attempts));
  if (fd < 0)
    gshm_system_error (RECEIVE, errno, scm_from_int (socket), NULL);
  close (fd);
}

/* (SOCKET) -> descriptor.  */
static SCM
gshm_receive_fd (SCM scm_socket)
{
  int socket = gshm_to_int (RECEIVE, 1, scm_socket, 0, INT_MAX);
  char byte;
  union received_control control;
  struct iovec data = { &byte, 1 };
  struct msghdr message;

  ssize_t received;
  do
    {
      gshm_wait_until_ready (socket, POLLIN);
      require_descriptor (socket);
      message = (struct msghdr) { .msg_iov = &data, .msg_iovlen = 1,
                                  .msg_control = control.bytes,
                                  .msg_controllen = sizeof control.bytes };
      received = recvmsg (socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    }
  while (received < 0 && (errno == EINTR || errno == EAGAIN));
  if (received < 0)
    gshm_system_error (RECEIVE, errno, scm_socket, NULL);
  int fd = take_descriptor (&message);
  if (fd < 0 && received == 0)
    gshm_system_error (RECEIVE, ECONNRESET, scm_socket,
                       "the peer closed the socket and sent no descriptor");
  if (fd < 0)
    gshm_system_error (RECEIVE, (message.msg_flags & MSG_CTRUNC) ? EMFILE
                       : ENOMSG, scm_socket,
                       (message.msg_flags & MSG_CTRUNC)
                       ? "the descriptor that the peer sent is lost"
                       : "the peer sent data, but no descriptor");
  return scm_from_int (fd);
}

void
gshm_object_start (void)
{
  pthread_atfork (NULL, NULL, attach_in_child);
}

void
gshm_object_init (void)
{
  scm_c_define ("%posix-shm?", scm_from_bool (HAVE_SHM_OPEN));
  scm_c_export ("%posix-shm?", NULL);
  for (size_t i = 0; i < N_SEALS; i++)
    seals[i].symbol
      = scm_permanent_object (scm_from_utf8_symbol (seals[i].name));

  gshm_define ("%shm-open", 4, 0, gshm_open);
  gshm_define ("%call-without-sigxfsz", 1, 0, call_without_sigxfsz);
  gshm_define ("%shm-unlink", 1, 0, gshm_unlink);
  gshm_define ("%shm-unlink-own", 2, 0, gshm_unlink_own);
  gshm_define ("%shm-open-anonymous", 1, 0, gshm_open_anonymous);
  gshm_define ("%shm-open-unnamed", 3, 0, gshm_open_unnamed);
  gshm_define ("%shm-publish", 2, 0, gshm_publish);
  gshm_define ("%shm-size", 1, 0, gshm_size);
  gshm_define ("%shm-resize!", 3, 0, gshm_resize);
  gshm_define ("%shm-seal!", 2, 0, gshm_seal);
  gshm_define ("%shm-seals", 1, 0, gshm_seals);
  gshm_define ("%shm-list", 0, 0, gshm_list);
  gshm_define ("%shm-send-fd", 2, 0, gshm_send_fd);
  gshm_define ("%shm-receive-fd", 1, 0, gshm_receive_fd);
}

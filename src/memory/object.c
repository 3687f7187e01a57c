/* SPDX-License-Identifier: BSD-3-Clause
   object.c - shared memory objects: opened, unlinked, listed, published.  */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "core/wait.h"
#include "init.h"
#include "memory/name.h"
#include "memory/object.h"

#define OPEN "shm-open"
#define UNLINK "shm-unlink"
#define ANONYMOUS "shm-open-anonymous"
#define CREATE "shm-create"
#define LIST "shm-list"

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

static const char expected_flags[]
  = "flags by value, as in (list O_RDWR), not '(O_RDWR)";

static void
check_flag (SCM flag, int value)
{
  if (value < 0)
    refuse_flag (flag);
  if (value != O_RDONLY && value != O_RDWR && value != O_CREAT
      && value != O_EXCL && value != O_TRUNC)
    refuse_flags (value);
}

static int
flags_from_list (SCM list)
{
  int flags = gshm_to_flags (OPEN, list, expected_flags, check_flag);
  int accesses = 0;

  /* O_RDONLY may be 0.  */
  for (SCM rest = list; scm_is_pair (rest); rest = SCM_CDR (rest))
    if (scm_is_eq (SCM_CAR (rest), scm_from_int (O_RDONLY))
        || scm_is_eq (SCM_CAR (rest), scm_from_int (O_RDWR)))
      accesses++;
  if (accesses != 1)
    refuse_access (list);
  return flags;
}

static int
flags_from_integer (SCM integer)
{
  if (!scm_is_exact_integer (integer))
    gshm_wrong_type (OPEN, 2, integer, expected_flags);
  if (!scm_is_signed_integer (integer, 0, INT_MAX))
    refuse_flag (integer);
  int flags = scm_to_int (integer);
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
/* Return FD, without WITHOUT_WAITING, if it is that of an object; else close
   it and return -1 and EINVAL.  */
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

/* For how long a file under a lease is tried again, in nanoseconds: longer
   than a process needs that only asks whether it is in use.  */
#define LEASE_PATIENCE INT64_C (100000000)

/* (NAME OFLAGS MODE PATIENT) -> descriptor.  If PATIENT, try again for a
   moment where another process has a lease on the object.  */
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
  if (gshm_is_shortage (err))
    gshm_system_error (ANONYMOUS, err, scm_label, NULL);
#endif
  return SCM_BOOL_F;
}


/* Objects that appear whole.  */

/* What the object NAME is, into STATUS, as stat does.  */
static int
object_status (const struct gshm_name *name, struct stat *status)
{
#ifdef __linux__
  /* Even if the object may not be opened.  */
  char path[sizeof GSHM_FOLDER + sizeof name->bytes];

  snprintf (path, sizeof path, GSHM_FOLDER "%s", name->bytes);
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
   filters of system calls may refuse that in any way.  Return -1 and set errno
   if a shortage keeps it from being told.  */
static int
try_to_publish (void)
{
  char name[64];
  struct timespec time;
  int fd = open (GSHM_FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0)
    return gshm_is_shortage (errno) ? -1 : 0;
  clock_gettime (CLOCK_REALTIME, &time);
  snprintf (name, sizeof name, GSHM_FOLDER "/gshm-try-%lx-%lx",
            (unsigned long) getpid (), (unsigned long) time.tv_nsec);
  int done = link_object (fd, name) == 0, err = errno;
  if (done)
    unlink (name);
  close (fd);
  if (done || err == EEXIST)
    /* Another process's attempt: then they can be linked.  */
    return 1;
  errno = err;
  return gshm_is_shortage (err) ? -1 : 0;
}

static int
can_publish (void)
{
  static atomic_int known;      /* 1: no, 2: yes */
  int result, attempts = 0;

  if (atomic_load (&known) == 0)
    {
      do
        result = try_to_publish ();
      while (result < 0 && gshm_collect_for (errno, &attempts));
      if (result < 0)
        gshm_system_error (CREATE, errno, scm_from_utf8_string (GSHM_FOLDER),
                           NULL);
      atomic_store (&known, 1 + result);
    }
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
    fd = open (GSHM_FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
  while (fd < 0 && gshm_collect_for (errno, &attempts));
  if (fd >= 0)
    return scm_from_int (fd);
  int err = errno;
  if (gshm_is_shortage (err))
    gshm_system_error (CREATE, err, scm_from_utf8_string (GSHM_FOLDER), NULL);
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
  int fd = gshm_to_descriptor (CREATE, 1, scm_fd);
  gshm_to_name (CREATE, scm_name, &name);
#if HAVE_SHM_OPEN && HAVE_DECL_O_TMPFILE
  char to[sizeof GSHM_FOLDER + NAME_MAX + 2];

  snprintf (to, sizeof to, GSHM_FOLDER "%s", name.bytes);
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

  if (fstat (gshm_to_descriptor (CREATE, 1, scm_fd), &own) < 0)
    gshm_descriptor_error (CREATE, scm_fd, NULL);
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
  DIR *folder = opendir (GSHM_FOLDER);
  struct dirent *entry;
  struct stat status;

  if (folder == NULL)
    {
      int err = errno;
      gshm_system_error (LIST, err, scm_from_utf8_string (GSHM_FOLDER), NULL);
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


void
gshm_object_init (void)
{
  scm_c_define ("%posix-shm?", scm_from_bool (HAVE_SHM_OPEN));
  scm_c_export ("%posix-shm?", NULL);

  gshm_define ("%shm-open", 4, 0, gshm_open);
  gshm_define ("%shm-unlink", 1, 0, gshm_unlink);
  gshm_define ("%shm-unlink-own", 2, 0, gshm_unlink_own);
  gshm_define ("%shm-open-anonymous", 1, 0, gshm_open_anonymous);
  gshm_define ("%shm-open-unnamed", 3, 0, gshm_open_unnamed);
  gshm_define ("%shm-publish", 2, 0, gshm_publish);
  gshm_define ("%shm-list", 0, 0, gshm_list);
}

/* SPDX-License-Identifier: BSD-3-Clause
   object.c - shared memory objects: opened, unlinked, listed.  */

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
#define LIST "shm-list"

#define ACCEPTED_FLAGS (O_RDONLY | O_RDWR | O_CREAT | O_EXCL | O_TRUNC)

/* Flags of open that shm_open does not take, for the message.  */
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

/* On Linux an object is a file in a directory where every user may create
   files.  Opening another kind of file, or one under a lease, could block.  */
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

  /* FD has no other flag that F_SETFL changes.  */
  if (WITHOUT_WAITING == 0
      || (fstat (fd, &status) == 0 && S_ISREG (status.st_mode)
          && fcntl (fd, F_SETFL, 0) == 0))
    return fd;
  close (fd);
  errno = EINVAL;
  return -1;
}
#endif

int
gshm_is_not_object (const struct gshm_name *name)
{
#if HAVE_SHM_OPEN && defined __linux__
  struct stat status;
  int saved = errno;
  int other = (gshm_object_status (name, &status) == 0
               && !S_ISREG (status.st_mode));

  errno = saved;
  return other;
#else
  (void) name;
  return 0;
#endif
}

/* Open the object NAME, as shm_open does, without blocking.  EWOULDBLOCK means
   that another process has a lease on it.  */
static int
open_object (const struct gshm_name *name, int flags, mode_t mode)
{
#if HAVE_SHM_OPEN
  int fd, attempts = 0;

  /* What this call creates is an object.  */
  if ((flags & O_CREAT)
      && (fd = shm_open (name->bytes, flags | O_EXCL, mode)) >= 0)
    return fd;
  do
    GSHM_SYSTEM_CALL (fd, shm_open (name->bytes, flags | WITHOUT_WAITING,
                                    mode));
  while (fd < 0 && gshm_collect_and_retry (errno, &attempts));
  if (fd >= 0)
    return accept_object (fd);
  if ((errno == ENXIO || errno == EISDIR || errno == ELOOP)
      && gshm_is_not_object (name))
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

int
gshm_object_status (const struct gshm_name *name, struct stat *status)
{
#ifdef __linux__
  /* This needs no permission to open the object.  */
  struct gshm_path path = gshm_path_of (name);

  return lstat (path.bytes, status);
#else
  int fd = open_object (name, O_RDONLY, 0);
  if (fd < 0)
    return -1;
  int result = fstat (fd, status);
  close (fd);
  return result;
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

#if HAVE_SHM_OPEN
# define HINT NULL
#else
# define HINT "this system has no POSIX shared memory"
#endif

/* For how long to retry a file under a lease, in nanoseconds: longer than a
   process keeps one to find whether the file is in use.  */
#define LEASE_PATIENCE INT64_C (100000000)

int
gshm_open_patiently (const struct gshm_name *name, int flags, mode_t mode)
{
  int64_t end = gshm_now () + LEASE_PATIENCE;
  int fd = open_object (name, flags, mode);

  while (fd < 0 && errno == EWOULDBLOCK && gshm_now () < end)
    {
      gshm_pause (1000000);
      SCM_TICK;
      fd = open_object (name, flags, mode);
    }
  return fd;
}

/* (NAME OFLAGS MODE RETRY?) -> descriptor.  If RETRY?, retry while another
   process has a lease on the object, for a short time.  */
static SCM
gshm_open (SCM scm_name, SCM scm_oflags, SCM scm_mode, SCM is_retried)
{
  struct gshm_name name;
  gshm_to_name (OPEN, scm_name, &name);
  int flags = (scm_is_pair (scm_oflags) || scm_is_null (scm_oflags)
               ? flags_from_list (scm_oflags)
               : flags_from_integer (scm_oflags));
  mode_t mode = gshm_to_mode (OPEN, scm_mode);

  int fd = scm_is_true (is_retried) ? gshm_open_patiently (&name, flags, mode)
                                    : open_object (&name, flags, mode);
  if (fd < 0)
    gshm_system_error (OPEN, errno, scm_name,
                       errno == EWOULDBLOCK ? GSHM_LEASED
                       : errno == EINVAL && gshm_is_not_object (&name)
                         ? GSHM_OTHER
                       : errno == EEXIST ? GSHM_TAKEN
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


/* The limit of memfd_create, in bytes.  */
#define MAX_LABEL 249

/* (LABEL) -> descriptor of an anonymous object, or #f if the system has
   none.  */
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
  while (fd < 0 && gshm_collect_and_retry (errno, &attempts));
  int err = errno;
  free (label);
  if (fd >= 0)
    return scm_from_int (fd);
  /* For any other error, as of a sandbox, the caller has a fallback.  */
  if (gshm_is_shortage (err))
    gshm_system_error (ANONYMOUS, err, scm_label, NULL);
#endif
  return SCM_BOOL_F;
}

static int
is_same (const struct stat *status, dev_t device, ino_t inode)
{
  return status->st_dev == device && status->st_ino == inode;
}

#if HAVE_SHM_OPEN && defined __linux__ && HAVE_DECL_RENAME_NOREPLACE
/* Unlink NAME, which was that of the object of this device and inode; but
   another process may have given it to another object meanwhile.  So this first
   renames it to a name that no other process uses.  Return 1, or 0 if it was not
   unlinked, or -1 if it cannot be renamed.  */
static int
unlink_renamed (const struct gshm_name *name, dev_t device, ino_t inode,
                int (*may_unlink) (void *data), void *data)
{
  struct gshm_path path = gshm_path_of (name);
  struct gshm_own_path own = gshm_own_path ();
  struct stat status;

  if (renameat2 (AT_FDCWD, path.bytes, AT_FDCWD, own.bytes, RENAME_NOREPLACE)
      < 0)
    return errno == ENOENT ? 0 : -1;
  if (lstat (own.bytes, &status) == 0 && is_same (&status, device, inode)
      && (may_unlink == NULL || may_unlink (data)))
    return unlink (own.bytes) == 0;
  /* If the name is taken now, which this process had made free, the object has
     been replaced.  */
  if (renameat2 (AT_FDCWD, own.bytes, AT_FDCWD, path.bytes, RENAME_NOREPLACE)
        < 0
      && errno == EEXIST)
    unlink (own.bytes);
  return 0;
}
#endif

SCM
gshm_unlink_same (const char *subr, SCM scm_name, dev_t device, ino_t inode,
                  int (*may_unlink) (void *data), void *data)
{
  struct gshm_name name;
  struct stat status;
  int result = -1;
  gshm_to_name (subr, scm_name, &name);

  if (gshm_object_status (&name, &status) < 0
      || !is_same (&status, device, inode))
    return SCM_BOOL_F;
#if HAVE_SHM_OPEN && defined __linux__ && HAVE_DECL_RENAME_NOREPLACE
  result = unlink_renamed (&name, device, inode, may_unlink, data);
#endif
  if (result < 0)
    result = (may_unlink == NULL || may_unlink (data))
             && unlink_object (&name) == 0;
  return scm_from_bool (result);
}

#if HAVE_SHM_OPEN && defined __linux__
static void
close_folder (void *folder)
{
  closedir (folder);
}

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

/* () -> list of the objects and the named semaphores, which only Linux has as
   files, each a list of its name, size, bytes of memory, mode, user, group,
   time of modification, device and inode.  */
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
    if (fstatat (dirfd (folder), entry->d_name, &status,
                 AT_SYMLINK_NOFOLLOW) == 0
        && S_ISREG (status.st_mode))
      list = scm_cons (entry_to_scm (entry->d_name, &status), list);
  scm_dynwind_end ();
  return list;
#else
  gshm_system_error (LIST, ENOSYS, list, "this system cannot list objects");
#endif
}


void
gshm_object_init (void)
{
  scm_c_define ("%posix-shm?", scm_from_bool (HAVE_SHM_OPEN));
  scm_c_export ("%posix-shm?", NULL);

  gshm_define ("%shm-open", 4, 0, gshm_open);
  gshm_define ("%shm-unlink", 1, 0, gshm_unlink);
  gshm_define ("%shm-open-anonymous", 1, 0, gshm_open_anonymous);
  gshm_define ("%shm-list", 0, 0, gshm_list);
}

/* SPDX-License-Identifier: BSD-3-Clause
   object.c - shared memory objects: names and descriptors.

   A name reaches the system as UTF-8 whatever the locale is, so that two
   processes that differ in their locale mean the same object by it.  */

#include <config.h>

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if HAVE_SHM_OPEN
# include <sys/mman.h>
# include <sys/stat.h>
#endif

#include "gshm.h"

#define OPEN "shm-open"
#define UNLINK "shm-unlink"

#if HAVE_SHM_OPEN

#ifndef NAME_MAX
# define NAME_MAX _POSIX_NAME_MAX
#endif

/* A name as the system takes it: the slash, NAME_MAX bytes, the final NUL.  */
struct name
{
  char bytes[NAME_MAX + 2];
};

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
  if (length > 1 + NAME_MAX)
    return ENAMETOOLONG;
  return 0;
}

static void
name_from_scm (const char *subr, SCM scm_name, struct name *name)
{
  if (!scm_is_string (scm_name))
    scm_wrong_type_arg_msg (subr, 1, scm_name, "string");

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
    if ((flags & refused_flags[i].flag) == refused_flags[i].flag)
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
    scm_wrong_type_arg_msg (OPEN, 2, flag, "flag such as O_RDWR");
  if (!scm_is_signed_integer (flag, 0, INT_MAX))
    refuse_flag (flag);
  return scm_to_int (flag);
}

static int
flags_from_list (SCM list)
{
  int flags = 0, accesses = 0;

  if (scm_ilength (list) < 0)
    scm_wrong_type_arg_msg (OPEN, 2, list, "list of flags, or an integer");
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

static mode_t
mode_from_scm (SCM mode)
{
  if (!scm_is_exact_integer (mode))
    scm_wrong_type_arg_msg (OPEN, 3, mode, "exact integer");
  if (!scm_is_unsigned_integer (mode, 0, 0777))
    gshm_out_of_range (OPEN, mode, "Mode is not in the range 0 to #o777");
  return (mode_t) scm_to_uint (mode);
}

/* Collect, and run the finalizers before this returns.  Guile's own thread for
   them must not be started meanwhile: it needs descriptors, and where there
   are none Guile aborts.  */
static void
gshm_collect (void)
{
  static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
  int automatic;

  pthread_mutex_lock (&one_at_a_time);
  automatic = scm_set_automatic_finalization_enabled (0);
  scm_gc ();
  scm_run_finalizers ();
  scm_set_automatic_finalization_enabled (automatic);
  pthread_mutex_unlock (&one_at_a_time);
}

static int
open_object (const struct name *name, int flags, mode_t mode)
{
  int fd;

  GSHM_SYSTEM_CALL (fd, shm_open (name->bytes, flags, mode));
  return fd;
}

static SCM
gshm_open (SCM scm_name, SCM scm_oflags, SCM scm_mode)
{
  struct name name;
  name_from_scm (OPEN, scm_name, &name);
  int flags = (scm_is_pair (scm_oflags) || scm_is_null (scm_oflags)
               ? flags_from_list (scm_oflags)
               : flags_from_integer (scm_oflags));
  mode_t mode = mode_from_scm (scm_mode);

  int fd = open_object (&name, flags, mode);
  if (fd < 0 && (errno == EMFILE || errno == ENFILE))
    {
      /* Ports that nobody can reach any more may hold descriptors.  */
      gshm_collect ();
      fd = open_object (&name, flags, mode);
    }
  if (fd < 0)
    gshm_system_error (OPEN, errno, scm_name, NULL);

  return scm_from_int (fd);
}

static SCM
gshm_unlink (SCM scm_name)
{
  struct name name;
  name_from_scm (UNLINK, scm_name, &name);

  int result;
  GSHM_SYSTEM_CALL (result, shm_unlink (name.bytes));
  if (result < 0)
    gshm_system_error (UNLINK, errno, scm_name, NULL);

  return SCM_INUM0;
}

#else /* !HAVE_SHM_OPEN */

#define NO_SHM "this system has no POSIX shared memory"

static SCM
gshm_open (SCM scm_name, SCM scm_oflags, SCM scm_mode)
{
  (void) scm_oflags;
  (void) scm_mode;
  gshm_system_error (OPEN, ENOSYS, scm_name, NO_SHM);
}

static SCM
gshm_unlink (SCM scm_name)
{
  gshm_system_error (UNLINK, ENOSYS, scm_name, NO_SHM);
}

#endif /* !HAVE_SHM_OPEN */

void
gshm_object_init (void)
{
  scm_c_define ("%posix-shm?", scm_from_bool (HAVE_SHM_OPEN));
  scm_c_export ("%posix-shm?", NULL);
  gshm_define ("%shm-open", 3, gshm_open);
  gshm_define ("%shm-unlink", 1, gshm_unlink);
}

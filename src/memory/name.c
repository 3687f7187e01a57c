/* SPDX-License-Identifier: BSD-3-Clause
   name.c - names of objects, also in messages.

   A name is passed to the system as UTF-8, so that processes with different
   locales mean the same object by it.  */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "memory/name.h"

/* The errno for the LENGTH bytes at NAME if they are not a name, or 0.  The C
   library is less strict: glibc adds a missing slash, and drops a second
   one.  */
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

int
gshm_convert_name (SCM scm_name, struct gshm_name *name)
{
  if (!scm_is_string (scm_name))
    return EINVAL;
  size_t length;
  char *bytes = scm_to_utf8_stringn (scm_name, &length);
  int err = name_error (bytes, length);

  if (err == 0)
    {
      memcpy (name->bytes, bytes, length);
      name->bytes[length] = '\0';
    }
  free (bytes);
  return err;
}

void
gshm_to_name (const char *subr, SCM scm_name, struct gshm_name *name)
{
  int err = gshm_convert_name (scm_name, name);

  if (err != 0 && !scm_is_string (scm_name))
    gshm_wrong_type (subr, 1, scm_name, "string");
  if (err == EINVAL)
    gshm_system_error (subr, err, scm_name,
                       "a name is \"/\" and then one or more bytes, none of "
                       "them \"/\" or NUL, and not \"/.\" or \"/..\"");
  if (err != 0)
    gshm_system_error (subr, err, scm_name, NULL);
}

#ifdef __linux__
struct gshm_path
gshm_path_of (const struct gshm_name *name)
{
  struct gshm_path path;

  snprintf (path.bytes, sizeof path.bytes, GSHM_FOLDER "%s", name->bytes);
  return path;
}
#endif

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

  if (fstat (gshm_to_descriptor ("fileno", 1, scm_fd), &status) == 0)
    name = gshm_name_of_file (status.st_dev, status.st_ino);
  /* Allocating the string may have changed it.  */
  errno = saved;
  return scm_is_false (name) ? scm_fd : name;
}

void
gshm_descriptor_error (const char *subr, SCM scm_fd, const char *hint)
{
  int err = errno;

  gshm_system_error (subr, err, gshm_descriptor_object (scm_fd), hint);
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

  if (inode == 0 || stat (GSHM_FOLDER, &status) < 0 || status.st_dev != device)
    return name;
  DIR *folder = opendir (GSHM_FOLDER);
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

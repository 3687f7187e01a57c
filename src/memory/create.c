/* SPDX-License-Identifier: BSD-3-Clause
   create.c - new objects, which get their names once they are complete.

   To replace an object, the new one is published under a fresh name and
   renamed; a process that is killed between these two leaves the fresh
   name.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "core/publish.h"
#include "init.h"
#include "memory/mapping.h"
#include "memory/name.h"
#include "memory/object.h"
#include "memory/view.h"

#define CREATE "shm-create"

#define MAX_MODE 0777

#if GSHM_CAN_PUBLISH
static int
can_publish (void)
{
  int result, attempts = 0;

  do
    result = gshm_can_publish ();
  while (result < 0 && gshm_collect_and_retry (errno, &attempts));
  int err = errno;
  if (result < 0)
    gshm_system_error (CREATE, err, scm_from_utf8_string (GSHM_FOLDER), NULL);
  return result;
}
#endif

/* (NAME) -> boolean: is it taken?  */
static SCM
gshm_exists_p (SCM scm_name)
{
  struct gshm_name name;
  struct stat status;

  gshm_to_name (CREATE, scm_name, &name);
  return scm_from_bool (gshm_object_status (&name, &status) == 0);
}

/* (NAME MODE CHECK?) -> descriptor of an object that does not have the name
   NAME yet, or #f if the system cannot give it one later.  If CHECK?, raise
   EEXIST now if the name is taken, not only then.  */
static SCM
open_unnamed (SCM scm_name, SCM scm_mode, SCM is_checked)
{
  struct gshm_name name;
  struct stat status;
  gshm_to_name (CREATE, scm_name, &name);
  mode_t mode = gshm_to_mode (CREATE, scm_mode);
  if (scm_is_true (is_checked) && gshm_object_status (&name, &status) == 0)
    gshm_system_error (CREATE, EEXIST, scm_name, GSHM_TAKEN);
#if GSHM_CAN_PUBLISH
  if (!can_publish ())
    return SCM_BOOL_F;
  int fd, attempts = 0;
  do
    fd = gshm_open_unnamed (mode);
  while (fd < 0 && gshm_collect_and_retry (errno, &attempts));
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

/* (FD NAME): link the object to NAME, which must be free.  */
static SCM
publish (SCM scm_fd, SCM scm_name)
{
  struct gshm_name name;
  int fd = gshm_to_descriptor (CREATE, 1, scm_fd);
  gshm_to_name (CREATE, scm_name, &name);
#if GSHM_CAN_PUBLISH
  struct gshm_path to = gshm_path_of (&name);

  if (gshm_publish (fd, to.bytes) == 0)
    return SCM_UNSPECIFIED;
#else
  (void) fd;
  errno = ENOSYS;
#endif
  gshm_system_error (CREATE, errno, scm_name,
                     errno == EEXIST ? GSHM_TAKEN : NULL);
}

#if GSHM_CAN_PUBLISH
static void
close_descriptor (void *fd)
{
  close (*(int *) fd);
}

/* A bytevector of COUNT elements of TYPE, SIZE bytes, on the new object NAME;
   #f if a step fails, and then nothing is left behind.  */
static SCM
create_at_once (const struct gshm_name *name, mode_t mode, size_t size,
                size_t count, SCM type)
{
  struct gshm_path path = gshm_path_of (name);
  struct gshm_mapping *mapping = NULL;
  SCM bytevector = SCM_BOOL_F;

  gshm_prepare_mapping ();
  int fd = gshm_open_unnamed (mode);
  if (fd < 0)
    return SCM_BOOL_F;
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (close_descriptor, &fd, SCM_F_WIND_EXPLICITLY);
  if (gshm_set_size (fd, (off_t) size, 0) == 0)
    mapping = gshm_map_object (fd, size, name->bytes);
  if (mapping != NULL)
    bytevector = gshm_bytevector_on (mapping, count, type);
  if (mapping != NULL && gshm_publish (fd, path.bytes) < 0)
    {
      gshm_mapping_unmap (mapping);
      scm_remember_upto_here_1 (bytevector);
      bytevector = SCM_BOOL_F;
    }
  scm_dynwind_end ();
  return bytevector;
}
#endif

/* (NAME SIZE MODE TYPE) -> bytevector on the new object NAME, all steps in one
   call; or #f if an argument is wrong or a step fails: the caller goes through
   the steps one by one, which raise the exception.  */
static SCM
gshm_create_at_once (SCM scm_name, SCM scm_size, SCM scm_mode, SCM type)
{
#if GSHM_CAN_PUBLISH
  struct gshm_name name;
  size_t element_size = gshm_size_of_type (type);

  if (gshm_can_publish () > 0 && element_size > 0
      && gshm_convert_name (scm_name, &name) == 0
      && scm_is_unsigned_integer (scm_size, 1, PTRDIFF_MAX)
      && scm_is_unsigned_integer (scm_mode, 0, MAX_MODE))
    {
      size_t size = scm_to_size_t (scm_size);
      if (size % element_size == 0)
        return create_at_once (&name, (mode_t) scm_to_uint (scm_mode), size,
                               size / element_size, type);
    }
#else
  (void) scm_name;
  (void) scm_size;
  (void) scm_mode;
  (void) type;
#endif
  return SCM_BOOL_F;
}

/* (FROM TO): rename the object FROM to TO, whose object, if any, loses that
   name.  */
static SCM
gshm_rename (SCM scm_from, SCM scm_to)
{
  struct gshm_name from, to;
  gshm_to_name (CREATE, scm_from, &from);
  gshm_to_name (CREATE, scm_to, &to);
#ifdef __linux__
  struct gshm_path from_path = gshm_path_of (&from);
  struct gshm_path to_path = gshm_path_of (&to);

  if (gshm_is_not_object (&to))
    gshm_system_error (CREATE, EINVAL, scm_to, GSHM_OTHER);
  if (rename (from_path.bytes, to_path.bytes) == 0)
    return SCM_UNSPECIFIED;
  gshm_system_error (CREATE, errno, scm_to, NULL);
#else
  gshm_system_error (CREATE, ENOSYS, scm_to,
                     "this system cannot replace an object atomically");
#endif
}

/* (NAME FD) -> boolean: unlink NAME if it is that of the object behind FD.  */
static SCM
gshm_unlink_own (SCM scm_name, SCM scm_fd)
{
  struct stat own;

  if (fstat (gshm_to_descriptor (CREATE, 1, scm_fd), &own) < 0)
    gshm_descriptor_error (CREATE, scm_fd, NULL);
  return gshm_unlink_same (CREATE, scm_name, own.st_dev, own.st_ino, NULL,
                           NULL);
}

/* (SUBR MODE): raise an exception in the name of SUBR if MODE is not that of
   an object.  */
static SCM
gshm_check_mode (SCM scm_subr, SCM mode)
{
  if (scm_is_unsigned_integer (mode, 0, MAX_MODE))
    return SCM_UNSPECIFIED;
  char *subr = scm_to_utf8_string (scm_subr);

  scm_dynwind_begin (0);
  scm_dynwind_free (subr);
  gshm_to_mode (subr, mode);
  scm_dynwind_end ();
  return SCM_UNSPECIFIED;
}

void
gshm_create_init (void)
{
  gshm_define ("%shm-check-mode", 2, 0, gshm_check_mode);
  gshm_define ("%shm-create-at-once", 4, 0, gshm_create_at_once);
  gshm_define ("%shm-exists?", 1, 0, gshm_exists_p);
  gshm_define ("%shm-open-unnamed", 3, 0, open_unnamed);
  gshm_define ("%shm-publish", 2, 0, publish);
  gshm_define ("%shm-rename", 2, 0, gshm_rename);
  gshm_define ("%shm-unlink-own", 2, 0, gshm_unlink_own);
}

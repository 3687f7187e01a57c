/* SPDX-License-Identifier: BSD-3-Clause
   name.h - names of objects, also in messages.  */

#ifndef GSHM_NAME_H
#define GSHM_NAME_H

#include <libguile.h>
#include <limits.h>
#include <sys/types.h>

#include "core/publish.h"

#ifdef NAME_MAX
# define GSHM_NAME_MAX NAME_MAX
#else
# define GSHM_NAME_MAX _POSIX_NAME_MAX
#endif

/* A name for the system: the slash, the bytes, NUL.  */
struct gshm_name
{
  char bytes[GSHM_NAME_MAX + 2];
};

#ifdef __linux__
/* The path of the file with a name.  */
struct gshm_path
{
  char bytes[sizeof GSHM_FOLDER + sizeof (struct gshm_name)];
};

struct gshm_path gshm_path_of (const struct gshm_name *name);
#endif

/* Convert SCM_NAME.  Return 0, or the errno for what is not a name.  */
int gshm_convert_name (SCM scm_name, struct gshm_name *name);

/* Convert the first argument SCM_NAME of SUBR, or raise an exception.  */
void gshm_to_name (const char *subr, SCM scm_name, struct gshm_name *name);

/* Convert the argument MODE of SUBR, permission bits.  */
mode_t gshm_to_mode (const char *subr, SCM mode);

/* The object behind the descriptor FD, for a message: its name, or FD if that
   is not known.  This preserves errno.  */
SCM gshm_descriptor_object (SCM scm_fd);

/* The bytes of a name as a string, with "?" for those that are not UTF-8.  */
SCM gshm_name_to_scm (const char *bytes);

/* The name of the object of this device and inode, a string, or #f if it has
   none or that is not known.  */
SCM gshm_name_of_file (dev_t device, ino_t inode);

/* Raise errno, in the name of SUBR, for a call that failed on the descriptor
   SCM_FD.  */
SCM_NORETURN void gshm_descriptor_error (const char *subr, SCM scm_fd,
                                         const char *hint);

#endif /* GSHM_NAME_H */

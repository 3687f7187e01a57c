/* SPDX-License-Identifier: BSD-3-Clause
   name.h - names of objects, and what to call one in a message.  */

#ifndef GSHM_NAME_H
#define GSHM_NAME_H

#include <libguile.h>
#include <limits.h>
#include <sys/types.h>

/* Where Linux has the objects, each a file by its name.  */
#define GSHM_FOLDER "/dev/shm"

#ifdef NAME_MAX
# define GSHM_NAME_MAX NAME_MAX
#else
# define GSHM_NAME_MAX _POSIX_NAME_MAX
#endif

/* A name as the system takes it: the slash, the bytes, the final NUL.  */
struct gshm_name
{
  char bytes[GSHM_NAME_MAX + 2];
};

#ifdef __linux__
/* The file that has a name.  */
struct gshm_path
{
  char bytes[sizeof GSHM_FOLDER + sizeof (struct gshm_name)];
};

struct gshm_path gshm_path_of (const struct gshm_name *name);
#endif

/* The argument SCM_NAME, the first one, as a NAME.  */
void gshm_to_name (const char *subr, SCM scm_name, struct gshm_name *name);

/* The argument MODE as permission bits.  */
mode_t gshm_to_mode (const char *subr, SCM mode);

/* What to call the object behind the descriptor FD in a message: its name, or
   where that cannot be told FD itself.  This leaves errno alone.  */
SCM gshm_descriptor_object (SCM scm_fd);

/* The bytes of a name as a string, "?" for what is not UTF-8.  */
SCM gshm_name_to_scm (const char *bytes);

/* The name of the object of this device and inode, a string, or #f where it
   has none or that cannot be told.  */
SCM gshm_name_of_file (dev_t device, ino_t inode);

/* Raise errno, in the name of SUBR, for a call that failed on the descriptor
   SCM_FD.  */
SCM_NORETURN void gshm_descriptor_error (const char *subr, SCM scm_fd,
                                         const char *hint);

#endif /* GSHM_NAME_H */

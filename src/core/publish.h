/* SPDX-License-Identifier: BSD-3-Clause
   publish.h - objects that get their names once they are complete.

   On Linux an object is a file.  It begins without a name (O_TMPFILE) and is
   then linked to one (linkat), which fails if the name is taken.  A process
   that is killed before leaves nothing.  */

#ifndef GSHM_PUBLISH_H
#define GSHM_PUBLISH_H

#include <fcntl.h>
#include <sys/types.h>

/* The directory where Linux has objects as files.  */
#define GSHM_FOLDER "/dev/shm"

#if HAVE_SHM_OPEN && HAVE_DECL_O_TMPFILE && defined __linux__
# define GSHM_CAN_PUBLISH 1
#else
# define GSHM_CAN_PUBLISH 0
#endif

/* Whether ERR is about resources of the process or the system, and so no
   answer to the question that was asked.  */
int gshm_is_shortage (int err);

/* A path of GSHM_FOLDER that no other thread uses, for a moment.  */
struct gshm_own_path
{
  char bytes[80];
};

struct gshm_own_path gshm_own_path (void);

#if GSHM_CAN_PUBLISH
/* Return 1 if objects can be published, 0 if not, or -1 and errno if a
   shortage prevents the attempt to find out.  */
int gshm_can_publish (void);

/* Open a new object without a name.  Return its descriptor, or -1 and
   errno.  */
int gshm_open_unnamed (mode_t mode);

/* Give the object behind FD the path TO, which must be free.  Return 0, or -1
   and errno.  */
int gshm_publish (int fd, const char *to);
#endif

#endif /* GSHM_PUBLISH_H */

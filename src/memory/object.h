/* SPDX-License-Identifier: BSD-3-Clause
   object.h - what other files of this layer need of objects.  */

#ifndef GSHM_OBJECT_H
#define GSHM_OBJECT_H

#include <libguile.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "memory/name.h"

/* Hints in messages: the name is taken; it is not that of an object; another
   process has a lease on the object.  */
#define GSHM_TAKEN "attach to it, or unlink the name first"
#define GSHM_OTHER "what has this name is not a shared memory object"
#define GSHM_LEASED "another process has a lease on it"

/* Open the object NAME, as shm_open does, but not as long as that may block:
   if another process has a lease on the object, retry for a short time, then
   fail with EWOULDBLOCK.  Asyncs run meanwhile.  Return -1 and errno on
   failure.  */
int gshm_open_patiently (const struct gshm_name *name, int flags, mode_t mode);

/* Store the status of the object NAME; on Linux, of a symbolic link its own.
   Elsewhere this process must have the permission to open it.  Return 0, or -1
   and errno.  */
int gshm_object_status (const struct gshm_name *name, struct stat *status);

/* Set the size of the object behind FD; allocate its memory, if the system can
   do that, if IS_RESERVED.  Return 0, or -1 and errno.  */
int gshm_set_size (int fd, off_t size, int is_reserved);

/* Whether NAME is that of a file that is not an object.  This preserves
   errno.  */
int gshm_is_not_object (const struct gshm_name *name);

/* Unlink NAME if it is that of the object of this device and inode and, with
   MAY_UNLINK, if that returns true for DATA once the name is gone.  Return
   whether that was done.  */
SCM gshm_unlink_same (const char *subr, SCM name, dev_t device, ino_t inode,
                      int (*may_unlink) (void *data), void *data);

#endif /* GSHM_OBJECT_H */

/* SPDX-License-Identifier: BSD-3-Clause
   object.h - what other files of this layer need of objects.  */

#ifndef GSHM_OBJECT_H
#define GSHM_OBJECT_H

#include <libguile.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "memory/name.h"

/* Hints in messages: the name is taken; it is not that of an object.  */
#define GSHM_TAKEN "attach to it, or unlink the name first"
#define GSHM_OTHER "what has this name is not a shared memory object"

/* Store the status of the object NAME, as stat has it.  Return 0, or -1 and
   errno.  */
int gshm_object_status (const struct gshm_name *name, struct stat *status);

/* Whether NAME is that of a file that is not an object.  This preserves
   errno.  */
int gshm_is_not_object (const struct gshm_name *name);

/* Unlink NAME if it is that of the object of this device and inode, and return
   whether that was done.  */
SCM gshm_unlink_same (const char *subr, SCM name, dev_t device, ino_t inode);

#endif /* GSHM_OBJECT_H */

/* SPDX-License-Identifier: BSD-3-Clause
   object.h - what mappings need of objects.  */

#ifndef GSHM_OBJECT_H
#define GSHM_OBJECT_H

#include <libguile.h>
#include <sys/types.h>

/* Unlink NAME if it is that of the object of this device and inode, and return
   whether that was done.  */
SCM gshm_unlink_same (const char *subr, SCM name, dev_t device, ino_t inode);

#endif /* GSHM_OBJECT_H */

/* SPDX-License-Identifier: BSD-3-Clause
   lease.c - whether an object is in use.

   The kernel grants a write lease on a file only if no other descriptor and no
   mapping of it exists, in any process of any namespace.  The caller must be
   the file's owner or have CAP_LEASE.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/name.h"
#include "memory/object.h"

#define REMOVE "guild shm"

#if HAVE_SHM_OPEN && defined __linux__ && defined F_SETLEASE
# define CAN_LEASE 1
#else
# define CAN_LEASE 0
#endif

#if CAN_LEASE
static void
close_descriptor (void *data)
{
  close (*(int *) data);
}

/* Take a write lease on the object behind FD.  Return whether that succeeded:
   then no other descriptor and no mapping exists.  Until FD is closed, other
   processes that open it wait or fail with EWOULDBLOCK.  */
static int
take_lease (int fd)
{
  /* When a process tries to open the object, the kernel sends SIGIO to the
     lease's owner, which would end this process.  SIGURG does not.  */
  return fcntl (fd, F_SETSIG, SIGURG) == 0
         && fcntl (fd, F_SETLEASE, F_WRLCK) == 0;
}

/* Whether no process waits to open the object behind the descriptor with the
   lease.  */
static int
is_lease_whole (void *fd)
{
  return fcntl (*(int *) fd, F_GETLEASE) == F_WRLCK;
}

/* Open the object of DEVICE and INODE by its NAME.  Return -1 and errno if
   that fails, EAGAIN if the name is now that of another file.  */
static int
open_same (const struct gshm_name *name, dev_t device, ino_t inode)
{
  struct gshm_path path = gshm_path_of (name);
  struct stat status;
  int fd = open (path.bytes, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

  if (fd < 0 && (errno == ELOOP || errno == ENXIO))
    errno = EAGAIN;
  if (fd < 0 || (fstat (fd, &status) == 0 && status.st_dev == device
                 && status.st_ino == inode))
    return fd;
  close (fd);
  errno = EAGAIN;
  return -1;
}
#endif

/* (NAME DEVICE INODE REMOVE?) -> boolean: is the object NAME, of that device
   and inode, known not to be in use?  If so and REMOVE?, unlink it, unless a
   process is waiting to open it.  */
static SCM
gshm_unused_p (SCM scm_name, SCM scm_device, SCM scm_inode, SCM is_removed)
{
  struct gshm_name name;
  dev_t device = scm_to_uint64 (scm_device);
  ino_t inode = scm_to_uint64 (scm_inode);
  gshm_to_name (REMOVE, scm_name, &name);
#if CAN_LEASE
  int fd = open_same (&name, device, inode), is_unused;

  if (fd < 0 && (errno == EAGAIN || errno == EACCES || errno == ENOENT))
    return SCM_BOOL_F;
  if (fd < 0)
    gshm_system_error (REMOVE, errno, scm_name, NULL);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (close_descriptor, &fd, SCM_F_WIND_EXPLICITLY);
  is_unused = take_lease (fd);
  if (is_unused && scm_is_true (is_removed))
    is_unused = scm_is_true (
      gshm_unlink_same (REMOVE, scm_name, device, inode, is_lease_whole, &fd));
  scm_dynwind_end ();
  return scm_from_bool (is_unused);
#else
  (void) device;
  (void) inode;
  (void) is_removed;
  gshm_system_error (REMOVE, ENOSYS, scm_name,
                     "this system does not tell whether an object is in use");
#endif
}

void
gshm_lease_init (void)
{
  gshm_define ("%shm-unused?", 4, 0, gshm_unused_p);
}

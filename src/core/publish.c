/* SPDX-License-Identifier: BSD-3-Clause
   publish.c - objects that get their names once they are complete.  */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "core/futex.h"
#include "core/publish.h"

int
gshm_is_shortage (int err)
{
  return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOSPC
         || err == EDQUOT;
}

struct gshm_own_path
gshm_own_path (void)
{
  static atomic_uint count;
  struct gshm_own_path path;

  snprintf (path.bytes, sizeof path.bytes, GSHM_FOLDER "/gshm-%lx-%llx-%x",
            (unsigned long) getpid (), (unsigned long long) gshm_now (),
            atomic_fetch_add (&count, 1));
  return path;
}

#if GSHM_CAN_PUBLISH

/* Whether objects can be published.  */
static atomic_int known; /* 1: no, 2: yes */

static int
link_file (int fd, const char *to)
{
  char from[64];

  /* Without /proc; but that may take a capability.  */
  if (linkat (fd, "", AT_FDCWD, to, AT_EMPTY_PATH) == 0)
    return 0;
  if (errno == EEXIST)
    return -1;
  snprintf (from, sizeof from, "/proc/self/fd/%d", fd);
  return linkat (AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

/* /proc, the file system and filters of system calls may refuse to link, with
   any errno.  */
static int
try_to_publish (void)
{
  struct gshm_own_path own = gshm_own_path ();
  int fd = gshm_open_unnamed (0600);

  if (fd < 0)
    return gshm_is_shortage (errno) ? -1 : 0;
  int done = link_file (fd, own.bytes) == 0, err = errno;
  if (done)
    unlink (own.bytes);
  close (fd);
  if (done || err == EEXIST)
    return 1;
  errno = err;
  return gshm_is_shortage (err) ? -1 : 0;
}

int
gshm_can_publish (void)
{
  if (atomic_load (&known) == 0)
    {
      int result = try_to_publish ();
      if (result < 0)
        return -1;
      atomic_store (&known, 1 + result);
    }
  return atomic_load (&known) == 2;
}

int
gshm_open_unnamed (mode_t mode)
{
  return open (GSHM_FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
}

int
gshm_publish (int fd, const char *to)
{
  int result;

  do
    result = link_file (fd, to);
  while (result < 0 && errno == EINTR);
  /* The process may have lost its /proc, as by chroot: the next object begins
     with its name.  */
  if (result < 0 && errno != EEXIST && !gshm_is_shortage (errno))
    atomic_store (&known, 1);
  return result;
}

#endif

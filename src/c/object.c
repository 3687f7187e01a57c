/* SPDX-License-Identifier: BSD-3-Clause
   object.c - shared memory objects, for C.  */

#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "c/face.h"
#include "core/futex.h"
#include "core/publish.h"

/* The state of an object; 0 is closed.  */
enum
{
  CLOSED,
  UNNAMED, /* it is to be linked to its name */
  NAMED,   /* it has its name, but is not published yet */
  OPEN
};

/* How often to look whether an object is there.  */
#define POLL_NS (GSHM_SECOND / 500)

static int
check_name (const char *name)
{
  struct gshm_object object;

  if (name == NULL || name[0] != '/' || strchr (name + 1, '/') != NULL
      || strcmp (name, "/") == 0 || strcmp (name, "/.") == 0
      || strcmp (name, "/..") == 0)
    return -EINVAL;
  return strlen (name) < sizeof object.name ? 0 : -ENAMETOOLONG;
}

/* Map the object of OBJECT, SIZE bytes.  */
static int
map (struct gshm_object *object, size_t size, enum gshm_access access)
{
  int protection
    = access == GSHM_READ_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
  void *memory = mmap (NULL, size, protection, MAP_SHARED, object->fd, 0);

  if (memory == MAP_FAILED)
    return -1;
  object->memory = memory;
  object->size = size;
  return 0;
}

/* Give the errno back after OBJECT is closed.  */
static int
fail (struct gshm_object *object)
{
  int err = errno;

  gshm_object_close (object);
  return -err;
}

/* Set OBJECT to the descriptor FD, or fail with errno.  */
static int
set_descriptor (struct gshm_object *object, int fd, int state)
{
  if (fd < 0)
    return -errno;
  object->fd = fd;
  object->state = state;
  return 0;
}

#if HAVE_SHM_OPEN
static int
set_size (int fd, size_t size)
{
  int result;

  do
    result = ftruncate (fd, (off_t) size);
  while (result < 0 && errno == EINTR);
  return result;
}

static int
open_anonymous (struct gshm_object *object)
{
# ifdef HAVE_MEMFD_CREATE
  return set_descriptor (
    object, memfd_create ("gshm", MFD_CLOEXEC | MFD_ALLOW_SEALING), OPEN);
#  else
  struct gshm_own_path path = gshm_own_path ();
  const char *name = strrchr (path.bytes, '/');
  int fd = shm_open (name, O_RDWR | O_CREAT | O_EXCL, 0600);

  if (fd >= 0)
    shm_unlink (name);
  return set_descriptor (object, fd, OPEN);
#  endif
}

/* Open a new object that is to have the name of OBJECT.  */
static int
open_new (struct gshm_object *object, mode_t mode)
{
#  if GSHM_CAN_PUBLISH
  int can_publish = gshm_can_publish ();

  if (can_publish < 0)
    return -errno;
  if (can_publish)
    return set_descriptor (object, gshm_open_unnamed (mode), UNNAMED);
#  endif
  return set_descriptor (
    object, shm_open (object->name, O_RDWR | O_CREAT | O_EXCL, mode), NAMED);
}
#endif

int
gshm_object_create (struct gshm_object *object, const char *name, size_t size,
                    unsigned int mode)
{
  int error = name == NULL ? 0 : check_name (name);

  if (object == NULL)
    return -EINVAL;
  *object = (struct gshm_object) { .fd = -1 };
  if (error != 0)
    return error;
  if (size == 0 || size > PTRDIFF_MAX || mode > 0777)
    return -EINVAL;
  if (name != NULL)
    strcpy (object->name, name);
#if HAVE_SHM_OPEN
  error = name == NULL ? open_anonymous (object) : open_new (object, mode);
  if (error != 0)
    return error;
  return set_size (object->fd, size) < 0
             || map (object, size, GSHM_READ_WRITE) < 0
           ? fail (object)
           : 0;
#else
  return -ENOSYS;
#endif
}

int
gshm_object_reserve (struct gshm_object *object)
{
  if (object == NULL || object->state == CLOSED)
    return -EINVAL;
#ifdef HAVE_POSIX_FALLOCATE
  int error;

  do
    error = posix_fallocate (object->fd, 0, (off_t) object->size);
  while (error == EINTR);
  return -error;
#else
  return -ENOSYS;
#endif
}

int
gshm_object_publish (struct gshm_object *object)
{
  if (object == NULL || (object->state != UNNAMED && object->state != NAMED))
    return -EINVAL;
#if GSHM_CAN_PUBLISH
  if (object->state == UNNAMED)
    {
      char path[sizeof GSHM_FOLDER + sizeof object->name] = GSHM_FOLDER;

      if (gshm_publish (object->fd, strcat (path, object->name)) < 0)
        return -errno;
    }
#endif
  object->state = OPEN;
  return 0;
}

/* Map all of the object of OBJECT, which has a descriptor.  Return 0 or a
   negative errno; -ENODATA if it has no size yet.  */
static int
map_all (struct gshm_object *object, enum gshm_access access)
{
  struct stat status;

  if (fstat (object->fd, &status) < 0)
    return fail (object);
  if (status.st_size == 0)
    {
      gshm_object_close (object);
      return -ENODATA;
    }
  if ((uintmax_t) status.st_size > PTRDIFF_MAX)
    {
      gshm_object_close (object);
      return -ENOMEM;
    }
  return (map (object, (size_t) status.st_size, access) < 0 ? fail (object)
                                                            : 0);
}

#if HAVE_SHM_OPEN
/* Attach to NAME as it is now.  */
static int
attach_now (struct gshm_object *object, const char *name,
            enum gshm_access access)
{
  int error = set_descriptor (
    object, shm_open (name, access == GSHM_READ_WRITE ? O_RDWR : O_RDONLY, 0),
    OPEN);

  return error != 0 ? error : map_all (object, access);
}
#endif

int
gshm_object_attach (struct gshm_object *object, const char *name,
                    enum gshm_access access, int64_t timeout_ns)
{
  int error = check_name (name);

  if (object == NULL)
    return -EINVAL;
  *object = (struct gshm_object) { .fd = -1 };
  if (error != 0)
    return error;
  if (timeout_ns < 0 || (unsigned) access > GSHM_READ_WRITE)
    return -EINVAL;
#if HAVE_SHM_OPEN
  int64_t start = gshm_now ();
  /* EWOULDBLOCK: a process that looks whether the object is in use has a lease
     on it, for a moment.  */
  while (((error = attach_now (object, name, access)) == -ENOENT
          || error == -ENODATA || error == -EINTR || error == -EWOULDBLOCK)
         && gshm_now () - start < timeout_ns)
    gshm_pause (POLL_NS);
  return error == -ENODATA ? -ETIMEDOUT : error;
#else
  return -ENOSYS;
#endif
}

int
gshm_object_map (struct gshm_object *object, int fd, enum gshm_access access)
{
  if (object == NULL)
    return -EINVAL;
  *object = (struct gshm_object) { .fd = -1 };
  if ((unsigned) access > GSHM_READ_WRITE)
    return -EINVAL;
  int error = set_descriptor (object, fcntl (fd, F_DUPFD_CLOEXEC, 0), OPEN);
  if (error == 0)
    error = map_all (object, access);
  return error == -ENODATA ? -EINVAL : error;
}

#if HAVE_SHM_OPEN
/* Remove the name of OBJECT, unless another process has given it to another
   object meanwhile.  */
static void
unlink_own (const struct gshm_object *object)
{
  struct stat own, named;
  int fd = shm_open (object->name, O_RDONLY, 0);

  if (fd < 0)
    return;
  if (fstat (fd, &named) == 0 && fstat (object->fd, &own) == 0
      && named.st_dev == own.st_dev && named.st_ino == own.st_ino)
    shm_unlink (object->name);
  close (fd);
}
#endif

void
gshm_object_close (struct gshm_object *object)
{
  if (object == NULL || object->state == CLOSED)
    return;
#if HAVE_SHM_OPEN
  if (object->state == NAMED)
    unlink_own (object);
#endif
  if (object->memory != NULL)
    munmap (object->memory, object->size);
  close (object->fd);
  *object = (struct gshm_object) { .fd = -1 };
}

int
gshm_object_unlink (const char *name)
{
  int error = check_name (name);

#if HAVE_SHM_OPEN
  if (error == 0 && shm_unlink (name) < 0)
    error = -errno;
#else
  error = error == 0 ? -ENOSYS : error;
#endif
  return error;
}

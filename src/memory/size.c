/* SPDX-License-Identifier: BSD-3-Clause
   size.c - sizes of objects, and reserving their memory.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#ifdef HAVE_SYSINFO
# include <sys/sysinfo.h>
#endif
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/name.h"
#include "memory/object.h"

#define SIZE "shm-size"
#define RESIZE "shm-resize!"

/* (FD) -> bytes.  */
static SCM
gshm_size (SCM scm_fd)
{
  struct stat status;

  if (fstat (gshm_to_descriptor (SIZE, 1, scm_fd), &status) < 0)
    gshm_descriptor_error (SIZE, scm_fd, NULL);
  scm_remember_upto_here_1 (scm_fd);
  return scm_from_intmax (status.st_size);
}

#ifdef HAVE_FALLOCATE
struct reservation
{
  int fd;
  off_t size;
  int result, error;
};

/* Reserve outside of Guile, so that the collector need not stop this thread by
   a signal, and with all signals blocked.  */
static void *
reserve_undisturbed (void *data)
{
  struct reservation *reservation = data;
  sigset_t all, before;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  reservation->result = fallocate (reservation->fd, 0, 0, reservation->size);
  reservation->error = errno;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return NULL;
}

/* Do as fallocate does.  Linux before 6.9 restarts it after each signal, so
   that with a timer or a profiler it might never complete.  */
static int
reserve_pages (int fd, off_t size)
{
  struct reservation reservation = { .fd = fd, .size = size };

  for (int tries = 0; tries < 3; tries++)
    {
      int result = fallocate (fd, 0, 0, size);
      if (result == 0 || errno != EINTR)
        return result;
    }
  scm_without_guile (reserve_undisturbed, &reservation);
  errno = reservation.error;
  return reservation.result;
}
#endif

/* Allocate memory for the first SIZE bytes of FD.  Return 0, also if the
   system cannot do that, or -1 and errno.  */
static int
reserve (int fd, off_t size)
{
  int result;

  if (size == 0)
    return 0;
#ifdef HAVE_SYSINFO
  /* An anonymous object has no limit: the kernel would kill processes to free
     memory.  */
  struct sysinfo memory;
  if (sysinfo (&memory) == 0
      && (uintmax_t) size / memory.mem_unit
         > (uintmax_t) memory.totalram + memory.totalswap)
    {
      errno = ENOSPC;
      return -1;
    }
#endif
#ifdef HAVE_FALLOCATE
  result = reserve_pages (fd, size);
#elif defined HAVE_POSIX_FALLOCATE
  do
    errno = posix_fallocate (fd, 0, size);
  while (errno == EINTR);
  result = errno == 0 ? 0 : -1;
#else
  result = 0;
#endif
  /* The last two are from a sandbox; or from a seal, for which ftruncate
     fails, too.  */
  if (result < 0
      && (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV
          || errno == EPERM || errno == EACCES))
    result = 0;
  return result;
}

int
gshm_set_size (int fd, off_t size, int is_reserved)
{
  struct gshm_sigxfsz block;
  int result = 0;

  gshm_block_sigxfsz (&block);
  if (is_reserved)
    result = reserve (fd, size);
  if (result == 0)
    do
      result = ftruncate (fd, size);
    while (result < 0 && errno == EINTR);
  gshm_unblock_sigxfsz (&block);
  return result;
}

/* (FD SIZE RESERVE?).  Reserve first, so that the size has not changed if
   there is too little memory.  */
static SCM
gshm_resize (SCM scm_fd, SCM scm_size, SCM scm_reserve)
{
  int fd = gshm_to_descriptor (RESIZE, 1, scm_fd);
  off_t size = gshm_to_off (RESIZE, "Size", scm_size);
  int result, attempts = 0;

  do
    result = gshm_set_size (fd, size, scm_is_true (scm_reserve));
  while (result < 0 && gshm_collect_and_retry (errno, &attempts));
  if (result < 0 && errno == EBADF && fcntl (fd, F_GETFD) >= 0)
    errno = EINVAL;
  if (result < 0)
    gshm_descriptor_error (RESIZE, scm_fd,
                      errno == EPERM ? "a seal forbids it"
                      : errno == EFBIG ? "see ulimit -f"
                      : errno == EINVAL ? "the descriptor is not open for "
                                          "writing, or is not one of a shared "
                                          "memory object"
                      : NULL);
  scm_remember_upto_here_1 (scm_fd);
  return SCM_UNSPECIFIED;
}

void
gshm_size_init (void)
{
  gshm_define ("%shm-size", 1, 0, gshm_size);
  gshm_define ("%shm-resize!", 3, 0, gshm_resize);
}

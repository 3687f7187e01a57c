/* SPDX-License-Identifier: BSD-3-Clause
   chicken.c - reading and writing descriptors as CHICKEN programs do.

   CHICKEN 5 reads into and writes from strings and blobs alike; a string is
   bytes to it.  Here a string is Latin-1 and a blob is a bytevector.  */

#include <config.h>

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/object.h"

#define READ "file-read"
#define WRITE "file-write"
#define TRUNCATE "file-truncate"
#define CLOSE "file-close"

/* Some systems take no more than this at once; all take this much.  */
#define FILE_CHUNK ((size_t) 1 << 30)

/* What a pipe that poll calls writable takes without blocking.  */
#ifdef PIPE_BUF
# define PIPE_CHUNK ((size_t) PIPE_BUF)
#else
# define PIPE_CHUNK ((size_t) _POSIX_PIPE_BUF)
#endif

static size_t
at_most (size_t limit, size_t size)
{
  return size < limit ? size : limit;
}

/* The type of what FD is open on, as in st_mode.  */
static mode_t
type_of (int fd)
{
  struct stat status;

  return fstat (fd, &status) == 0 ? status.st_mode & S_IFMT : 0;
}

/* Let asyncs run while read or write would wait for FD, of TYPE, to be ready
   for EVENTS, POLLIN or POLLOUT.  */
static void
wait_if_needed (int fd, mode_t type, short events)
{
  int flags, wrong_way = events == POLLIN ? O_WRONLY : O_RDONLY;

  /* Some answer at once, perhaps with an error that poll does not know.  */
  if (type != S_IFREG && (flags = fcntl (fd, F_GETFL)) >= 0
      && !(flags & O_NONBLOCK) && (flags & O_ACCMODE) != wrong_way)
    /* Where it cannot be polled the call itself waits, or says why not.  */
    (void) gshm_wait_until_ready (fd, events);
}

/* Read up to SIZE bytes: fewer at the end of a file, and from a pipe, which
   would wait for bytes that may never come.  */
static size_t
read_bytes (int fd, SCM scm_fd, signed char *bytes, size_t size)
{
  mode_t type = type_of (fd);
  size_t done = 0;
  ssize_t n;

  do
    {
      if (size > 0)
        wait_if_needed (fd, type, POLLIN);
      GSHM_SYSTEM_CALL (n, read (fd, bytes + done,
                                 at_most (FILE_CHUNK, size - done)));
      if (n < 0 && done == 0)
        gshm_system_error (READ, errno, scm_fd, NULL);
      if (n > 0)
        done += (size_t) n;
    }
  while (type == S_IFREG && n > 0 && done < size);
  return done;
}

static ssize_t
write_some (int fd, const void *bytes, size_t size)
{
  struct gshm_sigxfsz block;

  gshm_block_sigxfsz (&block);
  ssize_t n = write (fd, bytes, size);
  gshm_unblock_sigxfsz (&block);
  return n;
}

/* Write SIZE bytes, or raise: a short count is easily overlooked.  */
static void
write_bytes (int fd, SCM scm_fd, const void *bytes, size_t size)
{
  mode_t type = type_of (fd);
  size_t chunk = type == S_IFIFO ? PIPE_CHUNK : FILE_CHUNK;
  size_t done = 0;

  do
    {
      ssize_t n;

      if (size > 0)
        wait_if_needed (fd, type, POLLOUT);
      GSHM_SYSTEM_CALL (n, write_some (fd, (const char *) bytes + done,
                                       at_most (chunk, size - done)));
      if (n < 0 || (n == 0 && size > 0))
        {
          int err = n < 0 ? errno : EIO;
          char hint[80];
          snprintf (hint, sizeof hint, "%zu of %zu bytes written", done, size);
          gshm_system_error (WRITE, err, scm_fd, hint);
        }
      done += (size_t) n;
    }
  while (done < size);
}

/* What make-string fills with, in CHICKEN too.  */
#define FILLER ' '

static SCM
latin1_string (SCM bytevector)
{
  SCM string
    = scm_from_latin1_stringn ((char *) SCM_BYTEVECTOR_CONTENTS (bytevector),
                               SCM_BYTEVECTOR_LENGTH (bytevector));
  scm_remember_upto_here_1 (bytevector);
  return string;
}

/* Raise an exception if the buffer is a literal, before anything else has
   happened.  */
static void
check_mutable (SCM buffer)
{
  if (scm_is_bytevector (buffer))
    {
      if (!SCM_MUTABLE_BYTEVECTOR_P (buffer))
        gshm_wrong_type (READ, 3, buffer, "mutable bytevector");
    }
  else if (scm_c_string_length (buffer) > 0)
    scm_c_string_set_x (buffer, 0, scm_c_string_ref (buffer, 0));
}

static size_t
buffer_length (const char *subr, int pos, SCM buffer)
{
  if (scm_is_bytevector (buffer))
    return SCM_BYTEVECTOR_LENGTH (buffer);
  if (scm_is_string (buffer))
    return scm_c_string_length (buffer);
  gshm_wrong_type (subr, pos, buffer, "string or bytevector");
}

/* (FD SIZE BUFFER) -> (buffer count): into BUFFER, a string or a bytevector,
   or where it is #f a new string of SIZE characters.  */
static SCM
gshm_file_read (SCM scm_fd, SCM scm_size, SCM buffer)
{
  int fd = gshm_to_int (READ, 1, scm_fd, INT_MIN, INT_MAX);
  size_t max = (scm_is_false (buffer) ? SIZE_MAX / 2
                : buffer_length (READ, 3, buffer));
  size_t size = gshm_to_size (READ, 2, scm_size, max);
  int into_string = scm_is_string (buffer);
  if (scm_is_true (buffer))
    check_mutable (buffer);

  SCM bytevector = (scm_is_bytevector (buffer) ? buffer
                    : scm_c_make_bytevector (size));
  signed char *bytes = SCM_BYTEVECTOR_CONTENTS (bytevector);
  size_t count = read_bytes (fd, scm_fd, bytes, size);

  if (scm_is_false (buffer))
    {
      memset (bytes + count, FILLER, size - count);
      buffer = latin1_string (bytevector);
    }
  else if (into_string)
    scm_string_copy_x (buffer, SCM_INUM0, latin1_string (bytevector),
                       SCM_INUM0, scm_from_size_t (count));

  scm_remember_upto_here_1 (bytevector);
  return scm_list_2 (buffer, scm_from_size_t (count));
}

/* Raise an exception that names the first of the SIZE characters that is no
   byte.  Guile's own conversion would not say which, or what to do.  */
static void
check_latin1 (SCM string, size_t size)
{
  if (scm_is_eq (scm_string_bytes_per_char (string), SCM_I_MAKINUM (1)))
    return;
  for (size_t i = 0; i < size; i++)
    {
      SCM character = scm_c_string_ref (string, i);
      if (SCM_CHAR (character) > 0xff)
        gshm_out_of_range (WRITE, character,
                           "Character is not a byte, convert the string with "
                           "string->utf8 first");
    }
}

/* (FD BUFFER SIZE) -> count: SIZE #f stands for all of BUFFER.  */
static SCM
gshm_file_write (SCM scm_fd, SCM buffer, SCM scm_size)
{
  int fd = gshm_to_int (WRITE, 1, scm_fd, INT_MIN, INT_MAX);
  size_t size = buffer_length (WRITE, 2, buffer);
  if (scm_is_true (scm_size))
    size = gshm_to_size (WRITE, 3, scm_size, size);

  if (scm_is_bytevector (buffer))
    {
      write_bytes (fd, scm_fd, SCM_BYTEVECTOR_CONTENTS (buffer), size);
      scm_remember_upto_here_1 (buffer);
    }
  else
    {
      check_latin1 (buffer, size);
      scm_dynwind_begin (0);
      SCM part = size < scm_c_string_length (buffer)
                 ? scm_c_substring (buffer, 0, size) : buffer;
      char *bytes = scm_to_latin1_stringn (part, &size);
      scm_dynwind_free (bytes);
      write_bytes (fd, scm_fd, bytes, size);
      scm_dynwind_end ();
    }

  return scm_from_size_t (size);
}

/* Truncate FILE, a path or a descriptor.  Return 0, or -1 and errno.  */
static int
truncate_file (SCM file, off_t size)
{
  struct gshm_sigxfsz block;
  int result;

  if (scm_is_string (file))
    {
      char *path = scm_to_locale_string (file);
      gshm_block_sigxfsz (&block);
      result = truncate (path, size);
      gshm_unblock_sigxfsz (&block);
      int err = errno;
      free (path);
      errno = err;
      return result;
    }
  return gshm_set_size (gshm_to_descriptor (TRUNCATE, 1, file), size, 0);
}

/* (FILE SIZE).  */
static SCM
gshm_file_truncate (SCM file, SCM scm_size)
{
  int result;

  gshm_check_exact_integer (TRUNCATE, 2, scm_size);
  if (!scm_is_signed_integer (scm_size, INT64_MIN, INT64_MAX))
    gshm_system_error (TRUNCATE, EFBIG, file, NULL);
  off_t size = (off_t) scm_to_int64 (scm_size);

  GSHM_SYSTEM_CALL (result, truncate_file (file, size));
  if (result < 0)
    gshm_system_error (TRUNCATE, errno, file, NULL);
  /* A port closes its descriptor when it is collected.  */
  scm_remember_upto_here_1 (file);
  return SCM_UNSPECIFIED;
}

/* (FD).  */
static SCM
gshm_file_close (SCM scm_fd)
{
  int fd = gshm_to_int (CLOSE, 1, scm_fd, INT_MIN, INT_MAX);

  /* Linux has closed it also if a signal interrupted the call.  */
  if (close (fd) < 0 && errno != EINTR)
    gshm_system_error (CLOSE, errno, scm_fd, NULL);
  return SCM_UNSPECIFIED;
}

void
gshm_chicken_init (void)
{
  gshm_define ("%file-truncate", 2, 0, gshm_file_truncate);
  gshm_define ("%file-close", 1, 0, gshm_file_close);
  gshm_define ("%file-read", 3, 0, gshm_file_read);
  gshm_define ("%file-write", 3, 0, gshm_file_write);
}

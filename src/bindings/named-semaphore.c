/* SPDX-License-Identifier: BSD-3-Clause
   named-semaphore.c - named POSIX semaphores.

   A Guile object refers to the semaphore of the C library, which is closed
   when the object is closed or collected, but not while a thread uses it.  */

#include <config.h>

#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/waiting.h"
#include "init.h"
#include "memory/mapping.h"
#include "memory/name.h"
#include "memory/object.h"

#define OPEN "semaphore-open"
#define POST "semaphore-post!"
#define WAIT "semaphore-wait!"
#define VALUE "semaphore-value"
#define CLOSE "semaphore-close!"
#define UNLINK "semaphore-unlink"

#ifndef SEM_VALUE_MAX
# define SEM_VALUE_MAX INT_MAX
#endif

/* STATE: the flag CLOSED, plus USER for each thread that uses the
   semaphore.  */
#define CLOSED 1u
#define USER 2u

struct semaphore
{
  sem_t *system;
  struct gshm_mapping *mapping; /* of its memory, for the guard of faults */
  atomic_uint state;
  char name[];
};

static scm_t_bits semaphore_tag;

/* Not all systems have named semaphores.  */
#if HAVE_SEM_OPEN

static sem_t *
open_semaphore (const char *name, int flags, mode_t mode, unsigned value)
{
  return sem_open (name, flags, mode, value);
}

static void
close_semaphore (sem_t *semaphore)
{
  sem_close (semaphore);
}

static int
unlink_semaphore (const char *name)
{
  return sem_unlink (name);
}

#else

static sem_t *
open_semaphore (const char *name, int flags, mode_t mode, unsigned value)
{
  (void) name;
  (void) flags;
  (void) mode;
  (void) value;
  errno = ENOSYS;
  return SEM_FAILED;
}

static void
close_semaphore (sem_t *semaphore)
{
  (void) semaphore;
}

static int
unlink_semaphore (const char *name)
{
  (void) name;
  errno = ENOSYS;
  return -1;
}

#endif

SCM_NORETURN static void
refuse (const char *subr, int err, SCM name)
{
  gshm_system_error (subr, err, name,
                     err == ENOSYS  ? "this system has no named semaphores"
                     : err == EFBIG ? "see ulimit -f"
                     : err == EWOULDBLOCK ? GSHM_LEASED
                     : err == EINVAL      ? "what has this name is not a "
                                            "semaphore"
                                          : NULL);
}

static void
release_semaphore (struct semaphore *semaphore)
{
  gshm_mapping_release (semaphore->mapping);
  close_semaphore (semaphore->system);
}

/* Close SEMAPHORE.  Return 0 if it was closed before.  */
static int
close_once (struct semaphore *semaphore)
{
  unsigned before = atomic_fetch_or (&semaphore->state, CLOSED);

  if (before == 0)
    release_semaphore (semaphore);
  return (before & CLOSED) == 0;
}

static void
finalize (void *object, void *semaphore)
{
  (void) object;
  close_once (semaphore);
}

static int
print_semaphore (SCM object, SCM port, scm_print_state *state)
{
  const struct semaphore *semaphore
    = (const struct semaphore *) SCM_SMOB_DATA (object);

  (void) state;
  scm_puts ("#<semaphore ", port);
  scm_write (gshm_name_to_scm (semaphore->name), port);
  if (atomic_load (&semaphore->state) & CLOSED)
    scm_puts (" closed", port);
  scm_puts (">", port);
  return 1;
}


/* Using one.  */

SCM_NORETURN static void
refuse_closed (const char *subr, const struct semaphore *semaphore)
{
  gshm_system_error (subr, EINVAL, gshm_name_to_scm (semaphore->name),
                     "the semaphore was closed");
}

/* The semaphore of OBJECT, which stays open until stop_using.  */
static struct semaphore *
start_using (const char *subr, SCM object)
{
  if (!SCM_SMOB_PREDICATE (semaphore_tag, object))
    gshm_wrong_type (subr, 1, object, "semaphore");

  struct semaphore *semaphore = (struct semaphore *) SCM_SMOB_DATA (object);
  unsigned state = atomic_load (&semaphore->state);
  do
    if (state & CLOSED)
      refuse_closed (subr, semaphore);
  while (!atomic_compare_exchange_weak (&semaphore->state, &state,
                                        state + USER));
  return semaphore;
}

static void
stop_using (void *data)
{
  struct semaphore *semaphore = data;

  if (atomic_fetch_sub (&semaphore->state, USER) == (USER | CLOSED))
    release_semaphore (semaphore);
}

static void
check_flag (SCM flag, int value)
{
  if (value < 0 || (value & ~(O_CREAT | O_EXCL | O_RDWR)) != 0)
    gshm_out_of_range (OPEN, flag, "Flag is not one of O_CREAT and O_EXCL");
}

static int
flags_from_scm (SCM oflags)
{
  SCM list = scm_is_exact_integer (oflags) ? scm_list_1 (oflags) : oflags;

  return gshm_to_flags (OPEN, list,
                        "flags by value, as in (list O_CREAT), not '(O_CREAT)",
                        check_flag)
         & (O_CREAT | O_EXCL);
}

/* Open the file of the semaphore NAME, if it exists, or raise an exception in
   the name of OPEN.  As long as it is open no process can have a lease on it,
   for which sem_open would block.  Return a descriptor, or -1 for none.  */
static int
open_file (const struct gshm_name *name, SCM scm_name)
{
#ifdef __GLIBC__
  struct gshm_name file;
  struct stat status;

  /* sem_open refuses a name that is too long.  */
  if (snprintf (file.bytes, sizeof file.bytes, "/sem.%s", name->bytes + 1)
      > GSHM_NAME_MAX)
    return -1;
  int fd = gshm_open_patiently (&file, O_RDWR, 0);
  if (fd < 0 && errno != ENOENT && errno != EACCES)
    refuse (OPEN, errno, scm_name);
  /* glibc does not check this.  */
  if (fd >= 0
      && (fstat (fd, &status) < 0 || status.st_size != (off_t) sizeof (sem_t)))
    {
      close (fd);
      refuse (OPEN, EINVAL, scm_name);
    }
  return fd;
#else
  (void) name;
  (void) scm_name;
  return -1;
#endif
}

/* glibc writes a new semaphore to a file.  */
static sem_t *
open_within_limit (const char *name, int flags, mode_t mode, unsigned value)
{
  struct gshm_sigxfsz block;

  gshm_block_sigxfsz (&block);
  sem_t *semaphore = open_semaphore (name, flags, mode, value);
  gshm_unblock_sigxfsz (&block);
  return semaphore;
}

/* (NAME OFLAGS MODE VALUE) -> semaphore.  */
static SCM
gshm_semaphore_open (SCM scm_name, SCM oflags, SCM scm_mode, SCM scm_value)
{
  struct gshm_name name;
  gshm_to_name (OPEN, scm_name, &name);
  int flags = flags_from_scm (oflags);
  mode_t mode = gshm_to_mode (OPEN, scm_mode);
  unsigned value = (unsigned) gshm_to_int (OPEN, 4, scm_value, 0,
                                           SEM_VALUE_MAX);

  size_t size = strlen (name.bytes) + 1;
  struct semaphore *semaphore
    = scm_gc_malloc_pointerless (sizeof *semaphore + size, "semaphore");
  memcpy (semaphore->name, name.bytes, size);
  /* Create the object, closed, before the semaphore: after that nothing can
     fail.  */
  atomic_init (&semaphore->state, CLOSED);
  SCM object = scm_new_smob (semaphore_tag, (scm_t_bits) semaphore);
  gshm_set_finalizer (object, finalize, semaphore);

  int fd = open_file (&name, scm_name), tries = 0, attempts = 0;
  do
    semaphore->system = open_within_limit (name.bytes, flags, mode, value);
  while (semaphore->system == SEM_FAILED
         && ((errno == EINTR && ++tries < 1000)
             || gshm_collect_and_retry (errno, &attempts)));
  int err = errno;
  if (fd >= 0)
    close (fd);
  errno = err;
  if (semaphore->system == SEM_FAILED && errno == ENOENT && (flags & O_CREAT))
    /* glibc could write only a part of the file.  */
    gshm_system_error (OPEN, errno, scm_name,
                       "it could not be written: see ulimit -f, and whether "
                       "/dev/shm is full");
  if (semaphore->system == SEM_FAILED)
    refuse (OPEN, errno, scm_name);
  semaphore->mapping = gshm_mapping_borrow (semaphore->system, sizeof (sem_t),
                                            name.bytes);
  if (semaphore->mapping == NULL)
    {
      close_semaphore (semaphore->system);
      refuse (OPEN, ENOMEM, scm_name);
    }
  atomic_store (&semaphore->state, 0);
  return object;
}

static SCM
gshm_semaphore_post (SCM object)
{
  struct semaphore *semaphore = start_using (POST, object);
  int err = sem_post (semaphore->system) < 0 ? errno : 0;

  stop_using (semaphore);
  if (err != 0)
    gshm_system_error (POST, err, gshm_name_to_scm (semaphore->name),
                       err == EOVERFLOW ? "its value is the largest "
                                          "possible"
                                        : NULL);
  scm_remember_upto_here_1 (object);
  return SCM_UNSPECIFIED;
}

struct taking
{
  struct semaphore *semaphore;
  int taken;
};

enum outcome
{
  TAKEN = 1,
  CLOSED_MEANWHILE
};

static int
sleep_for (void *data, int64_t nanoseconds)
{
  struct taking *taking = data;

#ifdef HAVE_SEM_CLOCKWAIT
  int64_t end = gshm_now () + nanoseconds;
  struct timespec time = { .tv_sec = (time_t) (end / GSHM_SECOND),
                           .tv_nsec = (long) (end % GSHM_SECOND) };

  taking->taken = sem_clockwait (taking->semaphore->system, CLOCK_MONOTONIC,
                                 &time) == 0;
  return taking->taken ? 0 : errno;
#else
  (void) taking;
  gshm_pause (nanoseconds < GSHM_SECOND / 1000 ? nanoseconds
              : GSHM_SECOND / 1000);
  return 0;
#endif
}

static int
attempt_to_take (void *data, struct gshm_sleep *sleep)
{
  struct taking *taking = data;

  if (taking->taken || sem_trywait (taking->semaphore->system) == 0)
    return TAKEN;
  if (atomic_load (&taking->semaphore->state) & CLOSED)
    return CLOSED_MEANWHILE;
  sleep->sleep_for = sleep_for;
  return 0;
}

/* (SEMAPHORE [TIMEOUT]) -> boolean.  */
static SCM
gshm_semaphore_wait (SCM object, SCM scm_timeout)
{
  int64_t timeout = gshm_to_timeout (WAIT, 2, scm_timeout);
  struct semaphore *semaphore = start_using (WAIT, object);
  struct taking taking = { .semaphore = semaphore };
  int outcome = TAKEN;

  if (sem_trywait (semaphore->system) == 0)
    stop_using (semaphore);
  else
    {
      scm_dynwind_begin (0);
      scm_dynwind_unwind_handler (stop_using, semaphore,
                                  SCM_F_WIND_EXPLICITLY);
      outcome = gshm_guile_wait (WAIT, SCM_BOOL_F, timeout, attempt_to_take,
                           &taking);
      scm_dynwind_end ();
    }
  if (outcome == CLOSED_MEANWHILE)
    refuse_closed (WAIT, semaphore);
  scm_remember_upto_here_1 (object);
  return scm_from_bool (outcome == TAKEN);
}

static SCM
gshm_semaphore_value (SCM object)
{
  struct semaphore *semaphore = start_using (VALUE, object);
  int value;
  int err = sem_getvalue (semaphore->system, &value) < 0 ? errno : 0;

  stop_using (semaphore);
  if (err != 0)
    gshm_system_error (VALUE, err, gshm_name_to_scm (semaphore->name), NULL);
  scm_remember_upto_here_1 (object);
  /* POSIX allows a negative value if threads wait.  */
  return scm_from_int (value < 0 ? 0 : value);
}

/* (SEMAPHORE) -> boolean: #f if that was done before.  */
static SCM
gshm_semaphore_close (SCM object)
{
  if (!SCM_SMOB_PREDICATE (semaphore_tag, object))
    gshm_wrong_type (CLOSE, 1, object, "semaphore");
  int closed = close_once ((struct semaphore *) SCM_SMOB_DATA (object));

  scm_remember_upto_here_1 (object);
  return scm_from_bool (closed);
}

static SCM
gshm_semaphore_unlink (SCM scm_name)
{
  struct gshm_name name;

  gshm_to_name (UNLINK, scm_name, &name);
  if (unlink_semaphore (name.bytes) < 0)
    refuse (UNLINK, errno, scm_name);
  return SCM_UNSPECIFIED;
}

void
gshm_named_semaphore_start (void)
{
  semaphore_tag = scm_make_smob_type ("semaphore", 0);
  scm_set_smob_print (semaphore_tag, print_semaphore);
}

void
gshm_named_semaphore_init (void)
{
  gshm_define ("%semaphore-open", 4, 0, gshm_semaphore_open);
  gshm_define (POST, 1, 0, gshm_semaphore_post);
  gshm_define (WAIT, 1, 1, gshm_semaphore_wait);
  gshm_define (VALUE, 1, 0, gshm_semaphore_value);
  gshm_define (CLOSE, 1, 0, gshm_semaphore_close);
  gshm_define ("%semaphore-unlink", 1, 0, gshm_semaphore_unlink);
}

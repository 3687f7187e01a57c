/* SPDX-License-Identifier: BSD-3-Clause
   ready.c - descriptors for event loops, as procedures.  */

#include <config.h>

#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/source.h"
#include "core/watch.h"
#include "init.h"
#include "memory/address.h"

#define READY "shm-ready-port"

static void
fail (int err, SCM bytevector)
{
  gshm_error_at (READY, err, "source", bytevector, SCM_INUM0,
                 "its port needs file descriptors and a thread");
}

static void
free_watch (void *object, void *watch)
{
  (void) object;
  gshm_watch_free (watch);
}

/* (BYTEVECTOR) -> watch, for a source there.  */
static SCM
make_watch (SCM bytevector)
{
  struct gshm_watch *watch = NULL;
  int attempts = 0;

  do
    watch = gshm_watch_new ();
  while (watch == NULL && gshm_collect_and_retry (errno, &attempts));
  if (watch == NULL)
    fail (errno, bytevector);
  SCM pointer = scm_from_pointer (watch, NULL);
  gshm_set_finalizer (pointer, free_watch, watch);
  return pointer;
}

static struct gshm_watch *
to_watch (SCM pointer)
{
  return scm_to_pointer (pointer);
}

/* (WATCH BYTEVECTOR) -> descriptor.  */
static SCM
watch_descriptor (SCM pointer, SCM bytevector)
{
  int fd, attempts = 0;

  do
    fd = gshm_watch_descriptor (to_watch (pointer));
  while (fd < 0 && gshm_collect_and_retry (errno, &attempts));
  if (fd < 0)
    fail (errno, bytevector);
  scm_remember_upto_here_1 (pointer);
  return scm_from_int (fd);
}

/* (WATCH) -> boolean: is it closed, or its parent's?  */
static SCM
watch_is_dead (SCM pointer)
{
  return scm_from_bool (gshm_watch_is_dead (to_watch (pointer)));
}

/* (WATCH).  */
static SCM
close_watch (SCM pointer)
{
  gshm_watch_close (to_watch (pointer));
  scm_remember_upto_here_1 (pointer);
  return SCM_UNSPECIFIED;
}

/* (WATCH BYTEVECTOR STATE): be not ready, until the source of these may have
   something to receive.  */
static SCM
arm_watch (SCM pointer, SCM bytevector, SCM state)
{
  struct gshm_watch *watch = to_watch (pointer);
  struct gshm_finding finding;

  if (gshm_watch_is_dead (watch))
    return SCM_UNSPECIFIED;
  gshm_finding_begin (&finding, READY, bytevector, state, 0);
  struct gshm_sleep sleep
    = { .announce = !gshm_finding_is_polled (&finding), .check_owners = 1 };
  int result = gshm_attempt_to_find (&finding, &sleep);
  if (result == 0)
    {
      gshm_watch_arm (watch, sleep.word, sleep.value,
                      gshm_finding_change (&finding));
      /* If the memory was unmapped before that, no other thread makes the
         watch ready.  */
      sleep.announce = 0;
      result = gshm_attempt_to_find (&finding, &sleep);
    }
  if (result != 0)
    gshm_watch_set_ready (watch);
  gshm_finding_end (&finding);
  scm_remember_upto_here_2 (pointer, bytevector);
  scm_remember_upto_here_1 (state);
  return SCM_UNSPECIFIED;
}

void
gshm_ready_init (void)
{
  gshm_define ("%shm-watch", 1, 0, make_watch);
  gshm_define ("%shm-watch-descriptor", 2, 0, watch_descriptor);
  gshm_define ("%shm-watch-dead?", 1, 0, watch_is_dead);
  gshm_define ("%shm-watch-close!", 1, 0, close_watch);
  gshm_define ("%shm-watch-arm!", 3, 0, arm_watch);
}

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

#define READY "shm-ready-port"

static void
free_watch (void *object, void *watch)
{
  (void) object;
  gshm_watch_free (watch);
}

/* () -> watch.  */
static SCM
make_watch (void)
{
  struct gshm_watch *watch = NULL;
  int attempts = 0;

  do
    watch = gshm_watch_new ();
  while (watch == NULL && gshm_collect_and_retry (errno, &attempts));
  if (watch == NULL)
    gshm_system_error (READY, errno, SCM_BOOL_F, NULL);
  SCM pointer = scm_from_pointer (watch, NULL);
  gshm_set_finalizer (pointer, free_watch, watch);
  return pointer;
}

static struct gshm_watch *
to_watch (SCM pointer)
{
  return scm_to_pointer (pointer);
}

/* (WATCH) -> descriptor.  */
static SCM
watch_descriptor (SCM pointer)
{
  int fd, attempts = 0;

  do
    fd = gshm_watch_descriptor (to_watch (pointer));
  while (fd < 0 && gshm_collect_and_retry (errno, &attempts));
  if (fd < 0)
    gshm_system_error (READY, errno, SCM_BOOL_F, NULL);
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
  int err = 0;

  if (gshm_watch_is_dead (watch))
    return SCM_UNSPECIFIED;
  gshm_finding_begin (&finding, READY, bytevector, state, 0);
  struct gshm_sleep sleep
    = { .announce = !gshm_finding_is_polled (&finding), .check_owners = 1 };
  if (gshm_attempt_to_find (&finding, &sleep) != 0)
    gshm_watch_set_ready (watch);
  else
    err = gshm_watch_arm (watch, sleep.word, sleep.value,
                          gshm_finding_change (&finding));
  gshm_finding_end (&finding);
  if (err != 0)
    gshm_system_error (READY, err, SCM_BOOL_F, "no thread can be started");
  scm_remember_upto_here_2 (pointer, bytevector);
  scm_remember_upto_here_1 (state);
  return SCM_UNSPECIFIED;
}

void
gshm_ready_init (void)
{
  gshm_define ("%shm-watch", 0, 0, make_watch);
  gshm_define ("%shm-watch-descriptor", 1, 0, watch_descriptor);
  gshm_define ("%shm-watch-dead?", 1, 0, watch_is_dead);
  gshm_define ("%shm-watch-close!", 1, 0, close_watch);
  gshm_define ("%shm-watch-arm!", 3, 0, arm_watch);
}

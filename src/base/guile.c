/* SPDX-License-Identifier: BSD-3-Clause
   guile.c - helpers for code that uses libguile.  */

#include <config.h>

#include <errno.h>
#include <gc/gc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "base/guile.h"
#include "core/publish.h"
#include "init.h"

/* How long to poll between two runs of asyncs, in milliseconds.  */
#define POLL_INTERVAL 50

void
gshm_define (const char *name, int required, int optional,
             scm_t_subr function)
{
  scm_c_define_gsubr (name, required, optional, 0, function);
  scm_c_export (name, NULL);
}

SCM
gshm_symbol (const char *name)
{
  return scm_permanent_object (scm_from_utf8_symbol (name));
}

void
gshm_define_size (const char *name, size_t size)
{
  scm_c_define (name, scm_from_size_t (size));
  scm_c_export (name, NULL);
}


static atomic_flag detached = ATOMIC_FLAG_INIT;
static GC_finalizer_notifier_proc notifier;     /* Guile's, while DETACHED */

static void
attach_notifier (void *data)
{
  (void) data;
  /* A fork ends Guile's thread for finalizers, and sets a notifier that starts
     another one.  */
  if (GC_get_finalizer_notifier () == NULL)
    GC_set_finalizer_notifier (notifier);
  atomic_flag_clear (&detached);
}

/* In the child of a fork, where the thread that detached it may not exist.  */
static void
attach_in_child (void)
{
  if (atomic_flag_test_and_set (&detached))
    attach_notifier (NULL);
  else
    atomic_flag_clear (&detached);
}

static SCM
run_finalizers (void *data)
{
  (void) data;
  scm_run_finalizers ();
  return SCM_UNSPECIFIED;
}

/* Collect, and run the finalizers before this returns.  Meanwhile the notifier
   is detached, so that the collector does not start Guile's thread for
   finalizers: that needs descriptors, without which Guile aborts.  If a
   finalizer raises an exception, that is printed, as in that thread.  A
   finalizer may call this again.  */
void
gshm_collect (void)
{
  scm_dynwind_begin (0);
  if (!atomic_flag_test_and_set (&detached))
    {
      notifier = GC_get_finalizer_notifier ();
      scm_dynwind_unwind_handler (attach_notifier, NULL,
                                  SCM_F_WIND_EXPLICITLY);
      GC_set_finalizer_notifier (NULL);
    }
  GC_gcollect ();
  scm_internal_catch (SCM_BOOL_T, run_finalizers, NULL,
                      scm_handle_by_message_noexit, NULL);
  scm_dynwind_end ();
}

int
gshm_collect_and_retry (int err, int *attempts)
{
  /* Twice: the second collection finds what only garbage with a finalizer
     referred to.  */
  if (++*attempts > 2 || !gshm_is_shortage (err))
    return 0;
  gshm_collect ();
  errno = err;
  return 1;
}

void
gshm_block_sigxfsz (struct gshm_sigxfsz *block)
{
  struct rlimit limit;
  sigset_t set;

  block->is_needed = (getrlimit (RLIMIT_FSIZE, &limit) < 0
                      || limit.rlim_cur != RLIM_INFINITY);
  if (!block->is_needed)
    return;
  sigemptyset (&set);
  sigaddset (&set, SIGXFSZ);
  pthread_sigmask (SIG_BLOCK, &set, &block->before);
}

void
gshm_unblock_sigxfsz (const struct gshm_sigxfsz *block)
{
  int saved = errno, signal;
  sigset_t pending, set;

  if (!block->is_needed)
    return;
  sigemptyset (&set);
  sigaddset (&set, SIGXFSZ);
  /* The kernel sends it to the thread that made the call.  */
  if (!sigismember (&block->before, SIGXFSZ) && sigpending (&pending) == 0
      && sigismember (&pending, SIGXFSZ))
    sigwait (&set, &signal);
  pthread_sigmask (SIG_SETMASK, &block->before, NULL);
  errno = saved;
}

void
gshm_set_finalizer (SCM object, void (*finalize) (void *object, void *data),
                    void *data)
{
  GC_register_finalizer_unreachable (SCM_UNPACK_POINTER (object), finalize,
                                     data, NULL, NULL);
}


int
gshm_wait_until_ready (int fd, short events)
{
  struct pollfd descriptor = { .fd = fd, .events = events };
  int ready;

  do
    {
      SCM_TICK;
      ready = poll (&descriptor, 1, POLL_INTERVAL);
    }
  while (ready == 0 || (ready < 0 && errno == EINTR));
  return ready < 0 ? -1 : 0;
}

void
gshm_guile_start (void)
{
  pthread_atfork (NULL, NULL, attach_in_child);
}

/* SPDX-License-Identifier: BSD-3-Clause
   async.h - an async that a handler of a signal can push.  */

#ifndef GSHM_ASYNC_H
#define GSHM_ASYNC_H

#include <libguile.h>

/* Make PROCEDURE the async.  Return whether the Guile that runs this lets it
   be pushed.  With asyncs blocked.  */
int gshm_async_start (SCM procedure);

/* See to it that THREAD, this one, runs the async.  Return 0 if there is no
   pair for it.  This allocates nothing and takes no lock.  */
int gshm_async_push (scm_thread *thread);

/* Replace the pairs that were pushed.  In Guile.  */
void gshm_async_renew (void);

/* At the beginning of a collection by THREAD: have what is in its list now
   found, whatever a handler pushes while it marks.  */
void gshm_async_keep (scm_thread *thread);

/* In the child of a fork: pairs that other threads were about to push are
   free.  */
void gshm_async_reset (void);

#endif /* GSHM_ASYNC_H */

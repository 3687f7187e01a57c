/* SPDX-License-Identifier: BSD-3-Clause
   async.h - an async that a signal handler can push.  */

#ifndef GSHM_ASYNC_H
#define GSHM_ASYNC_H

#include <libguile.h>

/* Make PROCEDURE the async.  Return whether it can be pushed in the running
   Guile.  With asyncs blocked.  */
int gshm_async_start (SCM procedure);

/* Make THREAD, the calling one, run the async.  Return 0 if no pair is left.
   This allocates nothing and takes no lock.  */
int gshm_async_push (scm_thread *thread);

/* Allocate pairs in place of those that were pushed.  In Guile mode.  */
void gshm_async_renew (void);

/* At the beginning of a collection by THREAD: make the collector find its list
   as it is now, also if a handler changes it while it marks.  */
void gshm_async_keep (scm_thread *thread);

/* In the child of a fork: free the pairs that other threads were about to
   push.  */
void gshm_async_reset (void);

#endif /* GSHM_ASYNC_H */

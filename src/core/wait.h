/* SPDX-License-Identifier: BSD-3-Clause
   wait.h - waiting for a word in shared memory to change.  */

#ifndef GSHM_WAIT_H
#define GSHM_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/host.h"

/* A timeout, in nanoseconds, that never expires.  */
#define GSHM_FOREVER INT64_MAX

/* What an attempt is told (in), and what it tells to sleep on (out).  */
struct gshm_sleep
{
  gshm_word *word; /* out: sleep while this ... */
  uint32_t value;  /* ... is this; or, if WORD is NULL, ... */
  int (*sleep_for) (void *data, int64_t nanoseconds); /* ... call this */
  /* out, or NULL: a hint, where the processor is that the thread that changes
     WORD used last */
  const gshm_word *processor;
  int announce;     /* in: make the thread that changes WORD wake this one */
  int check_owners; /* in: check whether owners are alive */
};

/* The number of the processor of this thread, plus 1; 0 if that is not known.
   It may be another one at once.  */
uint32_t gshm_processor (void);

/* Attempt an operation.  Return its result, which is not 0, or set what to
   sleep on.  An attempt ends after a bounded number of steps, whatever other
   threads do.  `sleep_for' is called outside of the host language, sleeps for
   at most NANOSECONDS, and returns EINTR if a signal ended it.  */
typedef int gshm_attempt (void *data, struct gshm_sleep *sleep);

/* Call ATTEMPT with DATA until it returns a result, and return that, or 0 when
   TIMEOUT expires.  HOST may leave in between, but only after an attempt
   without a result.  */
int gshm_wait (const struct gshm_host *host, int64_t timeout,
               gshm_attempt *attempt, void *data);

#endif /* GSHM_WAIT_H */

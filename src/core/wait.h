/* SPDX-License-Identifier: BSD-3-Clause
   wait.h - waiting for a word that threads share.  */

#ifndef GSHM_WAIT_H
#define GSHM_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/host.h"

/* Nanoseconds that never end.  */
#define GSHM_FOREVER INT64_MAX

/* What an attempt waits for, and what it is told.  */
struct gshm_sleep
{
  gshm_word *word;      /* Out: sleep until this */
  uint32_t value;       /* no longer is this; or, where there is no word, */
  int (*nap) (void *data, int64_t nanoseconds);         /* do this. */
  int announce;         /* In: say so, for its changer to wake this one. */
  int look;             /* In: it is time to see whether owners live.  */
};

/* Try to have what is waited for.  Return a result, which is not 0, or set
   what to sleep on.  It must not loop for as long as others change the memory.
   A nap is taken outside of Guile, lasts no longer than it is told, and
   returns EINTR if a signal ended it.  */
typedef int gshm_attempt (void *data, struct gshm_sleep *sleep);

/* Call ATTEMPT with DATA until it returns a result, and return that, or 0 when
   TIMEOUT is over.  HOST may leave in between, only after an attempt without a
   result.  */
int gshm_wait (const struct gshm_host *host, int64_t timeout,
               gshm_attempt *attempt, void *data);

#endif /* GSHM_WAIT_H */

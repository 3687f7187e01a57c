/* SPDX-License-Identifier: BSD-3-Clause
   waiting.h - waits of core in Guile, and timeouts.  */

#ifndef GSHM_GUILE_WAIT_H
#define GSHM_GUILE_WAIT_H

#include <libguile.h>
#include <stdint.h>

#include "core/wait.h"

/* The argument TIMEOUT, a real number of seconds, as nanoseconds from now; for
   what is #f or absent, for ever.  */
int64_t gshm_to_timeout (const char *subr, int pos, SCM timeout);

/* What a wait is for: the procedure that waits, and the offset of what it
   waits for.  */
struct gshm_wait_target
{
  const char *subr;
  SCM k;
};

/* Guile as the host of a wait for PLACE, which lives as long.  Asyncs run
   between two sleeps, and may leave by an exception; it is an error if the
   memory of the word is unmapped meanwhile.  */
struct gshm_host gshm_guile_host (const struct gshm_wait_target *place);

/* Wait as gshm_wait does, in Guile, for what is at offset K, in the name of
   SUBR.  */
int gshm_guile_wait (const char *subr, SCM k, int64_t timeout,
                     gshm_attempt *attempt, void *data);

#endif /* GSHM_GUILE_WAIT_H */

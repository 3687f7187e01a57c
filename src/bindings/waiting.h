/* SPDX-License-Identifier: BSD-3-Clause
   waiting.h - Guile as the host of a wait, and timeouts.  */

#ifndef GSHM_GUILE_WAIT_H
#define GSHM_GUILE_WAIT_H

#include <libguile.h>
#include <stdint.h>

#include "core/wait.h"

/* The slow path of gshm_to_timeout.  */
int64_t gshm_convert_timeout (const char *subr, int pos, SCM timeout);

/* Convert the argument TIMEOUT, a real number of seconds, to nanoseconds; #f
   and absent to FOREVER.  */
static inline int64_t
gshm_to_timeout (const char *subr, int pos, SCM timeout)
{
  if (SCM_UNBNDP (timeout) || scm_is_false (timeout))
    return GSHM_FOREVER;
  return gshm_convert_timeout (subr, pos, timeout);
}

/* The procedure that waits, and the offset of the structure that it waits
   for.  */
struct gshm_wait_target
{
  const char *subr;
  SCM k;
};

/* Guile as the host of a wait for TARGET, which must live as long.  Asyncs run
   between two sleeps, and may leave by an exception.  If the memory of the
   word is unmapped, the wait raises out-of-range.  */
struct gshm_host gshm_guile_host (const struct gshm_wait_target *target);

/* Wait as gshm_wait does, with Guile as the host, for the structure at offset
   K, in the name of SUBR.  */
int gshm_guile_wait (const char *subr, SCM k, int64_t timeout,
                     gshm_attempt *attempt, void *data);

#endif /* GSHM_GUILE_WAIT_H */

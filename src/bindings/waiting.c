/* SPDX-License-Identifier: BSD-3-Clause
   waiting.c - waits of core in Guile, and timeouts.

   A wait lets signals, asyncs and the collector through: it sleeps outside of
   Guile, and runs asyncs between two sleeps.  */

#include <config.h>

#include <math.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/waiting.h"
#include "init.h"
#include "memory/address.h"
#include "memory/fault.h"
#include "memory/registry.h"

int64_t
gshm_to_timeout (const char *subr, int pos, SCM timeout)
{
  if (SCM_UNBNDP (timeout) || scm_is_false (timeout))
    return GSHM_FOREVER;
  if (!scm_is_real (timeout))
    gshm_wrong_type (subr, pos, timeout, "real number of seconds, or #f");

  double nanoseconds = ceil (scm_to_double (timeout) * GSHM_SECOND);
  if (isnan (nanoseconds))
    gshm_out_of_range (subr, timeout, "Not a number of seconds");
  if (nanoseconds <= 0)
    return 0;
  return nanoseconds < 9e18 ? (int64_t) nanoseconds : GSHM_FOREVER;
}

/* It is an error if the memory of the word was unmapped meanwhile.  */
static void
check_mapped (void *data, const gshm_word *word)
{
  const struct gshm_wait_target *place = data;
  struct gshm_mapping mapping;

  if (word != NULL
      && gshm_registry_find ((const void *) (uintptr_t) word, &mapping) != NULL
      && mapping.state != GSHM_MAPPED)
    gshm_unmapped_error (place->subr, place->k);
}

/* Where asyncs are blocked a fault would be raised only after the wait, which
   what it waits for, in memory that is lost, never ends.  */
static void
run_asyncs (void *data)
{
  (void) data;
  SCM_TICK;
  gshm_fault_raise ();
}

struct gshm_host
gshm_guile_host (const struct gshm_wait_target *place)
{
  return (struct gshm_host) { .call_outside = scm_without_guile,
                              .after_sleep = check_mapped,
                              .between_sleeps = run_asyncs,
                              .is_fault_pending = gshm_fault_is_pending,
                              .data = (void *) (uintptr_t) place };
}

int
gshm_guile_wait (const char *subr, SCM k, int64_t timeout,
                 gshm_attempt *attempt, void *data)
{
  const struct gshm_wait_target place = { .subr = subr, .k = k };
  const struct gshm_host host = gshm_guile_host (&place);

  return gshm_wait (&host, timeout, attempt, data);
}

/* () -> integer: nanoseconds, of a clock that is never set.  */
static SCM
now_to_scm (void)
{
  return scm_from_int64 (gshm_now ());
}

void
gshm_wait_init (void)
{
  gshm_define ("%shm-now", 0, 0, now_to_scm);
}

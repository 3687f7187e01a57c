/* SPDX-License-Identifier: BSD-3-Clause
   waiting.c - Guile as the host of a wait, and timeouts.

   A wait sleeps outside of Guile, so that the collector can run, and runs
   asyncs between two sleeps.  */

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
gshm_convert_timeout (const char *subr, int pos, SCM timeout)
{
  if (!scm_is_real (timeout))
    gshm_wrong_type (subr, pos, timeout, "real number of seconds, or #f");

  double nanoseconds = ceil (scm_to_double (timeout) * GSHM_SECOND);
  if (isnan (nanoseconds))
    gshm_out_of_range (subr, timeout, "Not a number of seconds");
  if (nanoseconds <= 0)
    return 0;
  return nanoseconds < 9e18 ? (int64_t) nanoseconds : GSHM_FOREVER;
}

/* Raise an exception if the memory of the word was unmapped.  */
static void
check_mapped (void *data, const gshm_word *word)
{
  const struct gshm_wait_target *target = data;
  struct gshm_mapping mapping;

  if (word != NULL
      && gshm_registry_find ((const void *) (uintptr_t) word, &mapping) != NULL
      && mapping.state != GSHM_MAPPED)
    gshm_unmapped_error (target->subr, target->k);
}

/* Raise a pending fault also while asyncs are blocked: in lost memory the wait
   would never end.  */
static void
run_asyncs (void *data)
{
  (void) data;
  SCM_TICK;
  gshm_fault_raise ();
}

struct gshm_host
gshm_guile_host (const struct gshm_wait_target *target)
{
  return (struct gshm_host) { .call_outside = scm_without_guile,
                              .after_sleep = check_mapped,
                              .between_sleeps = run_asyncs,
                              .is_fault_pending = gshm_fault_is_pending,
                              .data = (void *) (uintptr_t) target };
}

int
gshm_guile_wait (const char *subr, SCM k, int64_t timeout,
                 gshm_attempt *attempt, void *data)
{
  const struct gshm_wait_target target = { .subr = subr, .k = k };
  const struct gshm_host host = gshm_guile_host (&target);

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

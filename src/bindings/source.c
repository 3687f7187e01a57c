/* SPDX-License-Identifier: BSD-3-Clause
   source.c - finding out whether a channel or a subscriber has a message.  */

#include <config.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/broadcast.h"
#include "bindings/source.h"
#include "memory/address.h"
#include "memory/fault.h"

/* A host that is only asked whether a fault is pending.  */
static const struct gshm_host checker
  = { .is_fault_pending = gshm_fault_is_pending };

static int
begin_channel (struct gshm_transfer *transfer, SCM bytevector, int64_t timeout)
{
  transfer->timeout = timeout;
  if (SCM_BYTEVECTOR_LENGTH (bytevector) < sizeof (struct gshm_channel_header)
      || gshm_transfer_begin (transfer, SCM_BYTEVECTOR_CONTENTS (bytevector),
                              SCM_BYTEVECTOR_LENGTH (bytevector), &checker)
           != GSHM_DONE)
    return 0;
  gshm_transfer_set_side (transfer, 0);
  return 1;
}

static int
begin_subscriber (struct gshm_reading *reading, SCM bytevector, SCM state)
{
  reading->subscriber = (void *) SCM_BYTEVECTOR_CONTENTS (state);
  reading->feed.host = &checker;
  return SCM_BYTEVECTOR_LENGTH (state) == sizeof (struct gshm_subscription)
         && SCM_BYTEVECTOR_LENGTH (bytevector)
              >= sizeof (struct gshm_broadcast_header)
         && gshm_feed_open (&reading->feed,
                            SCM_BYTEVECTOR_CONTENTS (bytevector),
                            SCM_BYTEVECTOR_LENGTH (bytevector))
              == GSHM_DONE;
}

/* If the source has faulted, its memory is no longer accessed.  A receiver
   will raise that; here it must not keep others from their turn.  Return
   whether it has.  */
static int
drop_if_faulted (struct gshm_finding *finding, int was_pending)
{
  if (was_pending || !gshm_fault_is_pending ())
    return 0;
  gshm_fault_clear ();
  finding->kind = GSHM_NO_SOURCE;
  return 1;
}

void
gshm_finding_begin (struct gshm_finding *finding, const char *subr,
                    SCM bytevector, SCM state, int64_t timeout)
{
  int was_pending = gshm_fault_is_pending ();

  gshm_require_self (subr);
  if (!SCM_BYTEVECTOR_P (bytevector))
    gshm_wrong_type (subr, SCM_ARGn, bytevector, "bytevector");
  finding->kind = GSHM_NO_SOURCE;
  if (SCM_BYTEVECTOR_P (state))
    {
      if (begin_subscriber (&finding->reading, bytevector, state))
        finding->kind = GSHM_SUBSCRIBER_SOURCE;
    }
  else if (begin_channel (&finding->transfer, bytevector, timeout))
    finding->kind = GSHM_CHANNEL_SOURCE;
  drop_if_faulted (finding, was_pending);
}

int
gshm_finding_is_polled (const struct gshm_finding *finding)
{
  return finding->kind == GSHM_SUBSCRIBER_SOURCE
         && !finding->reading.subscriber->can_write;
}

enum gshm_change
gshm_finding_change (const struct gshm_finding *finding)
{
  if (gshm_finding_is_polled (finding))
    return GSHM_SILENT_CHANGE;
  if (finding->kind == GSHM_CHANNEL_SOURCE && finding->transfer.is_busy)
    return GSHM_UNLOCKING;
  return GSHM_WAKING_CHANGE;
}

static int
attempt (struct gshm_finding *finding, struct gshm_sleep *sleep)
{
  switch (finding->kind)
    {
    case GSHM_CHANNEL_SOURCE:
      return gshm_transfer_attempt_to_find (&finding->transfer, sleep);
    case GSHM_SUBSCRIBER_SOURCE:
      return gshm_attempt_to_find_next (&finding->reading, sleep);
    default:
      return GSHM_CORRUPT;
    }
}

int
gshm_attempt_to_find (void *data, struct gshm_sleep *sleep)
{
  struct gshm_finding *finding = data;
  int was_pending = gshm_fault_is_pending ();
  int result = attempt (finding, sleep);

  return drop_if_faulted (finding, was_pending) ? GSHM_CORRUPT : result;
}

void
gshm_finding_end (const struct gshm_finding *finding)
{
  if (finding->kind == GSHM_CHANNEL_SOURCE)
    gshm_transfer_leave (&finding->transfer);
}

void
gshm_finding_cancel (struct gshm_finding *finding)
{
  if (finding->kind == GSHM_CHANNEL_SOURCE)
    gshm_transfer_cancel (&finding->transfer);
}

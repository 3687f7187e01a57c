/* SPDX-License-Identifier: BSD-3-Clause
   source.h - finding out whether a channel or a subscriber has a message.  */

#ifndef GSHM_BINDINGS_SOURCE_H
#define GSHM_BINDINGS_SOURCE_H

#include <libguile.h>
#include <stdint.h>

#include "core/channel.h"
#include "core/subscriber.h"
#include "core/watch.h"

/* The attempts to find a message in one source.  */
struct gshm_finding
{
  enum
  {
    GSHM_NO_SOURCE, /* its memory is unmapped, or corrupt */
    GSHM_CHANNEL_SOURCE,
    GSHM_SUBSCRIBER_SOURCE
  } kind;
  union
  {
    struct gshm_transfer transfer;
    struct gshm_reading reading;
  };
};

/* Begin with the channel in BYTEVECTOR or, if STATE is a bytevector, the
   subscriber of the broadcast there, in the name of SUBR.  */
void gshm_finding_begin (struct gshm_finding *finding, const char *subr,
                         SCM bytevector, SCM state, int64_t timeout);

/* Whether the threads that change the source cannot be told to wake this one;
   and what makes the word change that the last attempt said to sleep on.  */
int gshm_finding_is_polled (const struct gshm_finding *finding);
enum gshm_change gshm_finding_change (const struct gshm_finding *finding);

/* An attempt: its result is 0 if a receiver would wait.  DATA is a struct
   gshm_finding.  */
gshm_attempt gshm_attempt_to_find;

/* End the attempts; or cancel them, also if the memory is no longer
   accessible.  */
void gshm_finding_end (const struct gshm_finding *finding);
void gshm_finding_cancel (struct gshm_finding *finding);

#endif /* GSHM_BINDINGS_SOURCE_H */

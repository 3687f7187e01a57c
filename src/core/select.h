/* SPDX-License-Identifier: BSD-3-Clause
   select.h - waiting until one of several sources has a message.  */

#ifndef GSHM_SELECT_H
#define GSHM_SELECT_H

#include <stddef.h>

#include "core/futex.h"
#include "core/host.h"
#include "core/wait.h"

/* A source of messages: a channel or a subscriber.  */
struct gshm_source
{
  gshm_attempt *attempt; /* to find a message, and leave it there */
  void *data;            /* of the attempt */
  int is_polled;         /* this thread cannot announce that it sleeps */
  int result;            /* the last one; not 0: a receiver need not wait */
};

/* Wait until at least one of COUNT SOURCES has a result, or TIMEOUT expires.
   WORDS has space for COUNT elements.  If HOST leaves, the caller cancels what
   the attempts have begun.  */
void gshm_select (const struct gshm_host *host, int64_t timeout,
                  struct gshm_source *sources, struct gshm_awaited *words,
                  size_t count);

#endif /* GSHM_SELECT_H */

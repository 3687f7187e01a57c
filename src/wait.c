/* SPDX-License-Identifier: BSD-3-Clause
   wait.c - waiting that lets signals, asyncs and the collector through.  */

#include <config.h>

#include <poll.h>

#include "gshm.h"

#define SLICE_MILLISECONDS 50

void
gshm_wait_until_ready (int fd, short events)
{
  struct pollfd descriptor = { .fd = fd, .events = events };
  int ready;

  /* The thread that hands signals to Scheme may get to it only after a system
     call here was interrupted and called again: hence the slices.  */
  do
    {
      SCM_TICK;
      ready = poll (&descriptor, 1, SLICE_MILLISECONDS);
    }
  while (ready == 0 || (ready < 0 && errno == EINTR));
}

/* SPDX-License-Identifier: BSD-3-Clause
   host.h - hooks of a host language, which core calls while it waits.

   A C program has no host: NULL.  `after_sleep' and `between_sleeps' may leave
   without returning, by a jump or an exception.  All that an operation has
   begun by then is recorded in its struct, for its `cancel'.  */

#ifndef GSHM_HOST_H
#define GSHM_HOST_H

#include "core/futex.h"

struct gshm_host
{
  /* Call FUNCTION with DATA, which may sleep, outside of the host language,
     and return its result.  */
  void *(*call_outside) (void *(*function) (void *data), void *data);
  /* After a sleep on WORD, before the next attempt.  */
  void (*after_sleep) (void *data, const gshm_word *word);
  /* After an attempt without a result, before the next sleep.  */
  void (*between_sleeps) (void *data);
  /* Whether this thread has accessed a page that is not accessible, so that it
     must not publish what it read or wrote.  */
  int (*is_fault_pending) (void);
  void *data; /* for `after_sleep' and `between_sleeps' */
};

#endif /* GSHM_HOST_H */

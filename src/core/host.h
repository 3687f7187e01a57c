/* SPDX-License-Identifier: BSD-3-Clause
   host.h - what a host language does while core waits.

   A host has rules of its own for threads that sleep, and things to run in
   between.  A C program has none: its host is NULL.  `woken' and `between' may
   leave without returning, by a jump or an exception; whatever an operation
   has begun by then is in its struct, for `cancel'.  */

#ifndef GSHM_HOST_H
#define GSHM_HOST_H

#include "core/futex.h"

struct gshm_host
{
  /* Call FUNCTION with DATA where a thread may sleep, and return what that
     returns.  */
  void *(*outside) (void *(*function) (void *data), void *data);
  /* After a sleep on WORD, before the next attempt.  */
  void (*woken) (void *data, const gshm_word *word);
  /* After an attempt without a result, before the next sleep.  */
  void (*between) (void *data);
  /* Whether this thread has touched memory that was lost, so that it must not
     publish what it read or wrote.  */
  int (*is_fault_pending) (void);
  void *data;           /* for `woken' and `between' */
};

#endif /* GSHM_HOST_H */

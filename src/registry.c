/* SPDX-License-Identifier: BSD-3-Clause
   registry.c - the mappings of this process, found by address.

   The lock is a spin lock, so that a handler of SIGBUS or SIGSEGV may take it:
   whoever holds it touches no mapped memory, calls nothing of Guile's and does
   not wait, so the thread that faults never holds it.  A fork waits for it, so
   that it is free in the child.  */

#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <search.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "mapping.h"

static atomic_flag locked = ATOMIC_FLAG_INIT;

/* A red-black tree (tsearch) of disjoint address ranges.  */
static void *tree;
static size_t count;

/* After so many tries, sleep in between: a thread of a higher real-time
   priority than the holder's never yields to that.  */
#define TRIES 100

void
gshm_registry_lock (void)
{
  const struct timespec moment = { .tv_nsec = 50000 };

  /* Acquire: what the last holder did, as released below, is seen.  */
  for (int tries = 0;
       atomic_flag_test_and_set_explicit (&locked, memory_order_acquire);
       tries += tries < TRIES)
    if (tries < TRIES)
      sched_yield ();
    else
      nanosleep (&moment, NULL);
}

void
gshm_registry_unlock (void)
{
  atomic_flag_clear_explicit (&locked, memory_order_release);
}

static int
compare (const void *a, const void *b)
{
  const struct gshm_mapping *one = a, *other = b;

  if (one->base + one->length <= other->base)
    return -1;
  return other->base + other->length <= one->base;
}

int
gshm_registry_add (struct gshm_mapping *mapping)
{
  if (tsearch (mapping, &tree, compare) == NULL)
    return 0;
  count++;
  return 1;
}

void
gshm_registry_remove (const struct gshm_mapping *mapping)
{
  tdelete (mapping, &tree, compare);
  count--;
}

struct gshm_mapping *
gshm_registry_find (const void *address)
{
  struct gshm_mapping wanted = { .base = (char *) (uintptr_t) address,
                                 .length = 1 };
  struct gshm_mapping **found = tfind (&wanted, &tree, compare);

  return found == NULL ? NULL : *found;
}

size_t
gshm_registry_count (void)
{
  size_t result;

  gshm_registry_lock ();
  result = count;
  gshm_registry_unlock ();
  return result;
}

void
gshm_registry_init (void)
{
  pthread_atfork (gshm_registry_lock, gshm_registry_unlock,
                  gshm_registry_unlock);
}

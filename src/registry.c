/* SPDX-License-Identifier: BSD-3-Clause
   registry.c - the mappings of this process, found by address.

   A skip list of disjoint ranges in the order of their addresses, under one
   spin lock.  The handler of a fault looks an address up, and may have
   interrupted its own thread while that held the lock, if the handler of
   another signal touched the memory.  So the lock knows its holder, who may
   take it again, and whoever changes the list does so by stores after each of
   which it can be searched.  Nor does a fork wait for the lock: in the child,
   too, the list is one that can be searched and changed.  */

#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "registry.h"
#include "tls.h"

static GSHM_THREAD_LOCAL char this_thread;

/* How often this thread took the lock while it held it.  */
static GSHM_THREAD_LOCAL unsigned depth;

static _Atomic (const void *) holder;

/* The list's head: what is before the first range.  */
static struct gshm_mapping head;

static atomic_size_t count;

/* After so many tries, sleep in between: a thread of a higher real-time
   priority than the holder's never yields to that.  */
#define TRIES 100

static void
back_off (int *tries)
{
  const struct timespec pause = { .tv_nsec = 50000 };

  if (*tries < TRIES)
    {
      ++*tries;
      sched_yield ();
    }
  else
    nanosleep (&pause, NULL);
}

const void *
gshm_this_thread (void)
{
  return &this_thread;
}

void
gshm_registry_lock (void)
{
  const void *self = &this_thread, *expected = NULL;

  if (atomic_load_explicit (&holder, memory_order_relaxed) == self)
    {
      depth++;
      return;
    }
  /* Acquire: the stores of the previous holder, which released the lock, are
     seen.  */
  for (int tries = 0;
       !atomic_compare_exchange_weak_explicit (&holder, &expected, self,
                                               memory_order_acquire,
                                               memory_order_relaxed);
       expected = NULL)
    back_off (&tries);
}

void
gshm_registry_unlock (void)
{
  if (depth > 0)
    depth--;
  else
    atomic_store_explicit (&holder, NULL, memory_order_release);
}

void
gshm_spin_lock (atomic_flag *flag)
{
  for (int tries = 0;
       atomic_flag_test_and_set_explicit (flag, memory_order_acquire);)
    back_off (&tries);
}

void
gshm_spin_unlock (atomic_flag *flag)
{
  atomic_flag_clear_explicit (flag, memory_order_release);
}

/* The lock orders these among threads.  Release and acquire order them within
   a thread, for a handler that interrupts it, and for the child of a fork.  */
static struct gshm_mapping *
next_of (const struct gshm_mapping *mapping, int level)
{
  return atomic_load_explicit (&mapping->next[level], memory_order_acquire);
}

static void
set_next (struct gshm_mapping *mapping, int level, struct gshm_mapping *next)
{
  atomic_store_explicit (&mapping->next[level], next, memory_order_release);
}

/* Store in BEFORE, for each level, the last mapping that begins at or below
   ADDRESS, or with IS_STRICT below it; the head where there is none.  */
static void
search (const char *address, int is_strict,
        struct gshm_mapping *before[GSHM_REGISTRY_LEVELS])
{
  struct gshm_mapping *at = &head;

  for (int level = GSHM_REGISTRY_LEVELS - 1; level >= 0; level--)
    {
      for (struct gshm_mapping *next;
           (next = next_of (at, level)) != NULL
           && (is_strict ? next->base < address : next->base <= address);)
        at = next;
      before[level] = at;
    }
}

/* At how many levels the mapping that begins at BASE is: one in four at each
   next one.  The kernel chooses the addresses, so their bits are mixed.  */
static int
levels_of (const char *base)
{
  uint64_t bits = ((uint64_t) (uintptr_t) base >> 12)
                  * UINT64_C (0x9e3779b97f4a7c15) >> 40;
  int levels = 1;

  for (; levels < GSHM_REGISTRY_LEVELS && (bits & 3) == 0; bits >>= 2)
    levels++;
  return levels;
}

int
gshm_registry_add (struct gshm_mapping *mapping)
{
  static uint64_t serials;
  struct gshm_mapping *before[GSHM_REGISTRY_LEVELS];

  search (mapping->base, 0, before);
  const struct gshm_mapping *next = next_of (before[0], 0);
  if ((before[0] != &head
       && before[0]->base + before[0]->length > mapping->base)
      || (next != NULL && next->base < mapping->base + mapping->length))
    return 0;

  mapping->serial = ++serials;
  for (int level = 0; level < levels_of (mapping->base); level++)
    {
      set_next (mapping, level, next_of (before[level], level));
      set_next (before[level], level, mapping);
    }
  atomic_fetch_add (&count, 1);
  return 1;
}

void
gshm_registry_remove (struct gshm_mapping *mapping)
{
  struct gshm_mapping *before[GSHM_REGISTRY_LEVELS];

  search (mapping->base, 1, before);
  for (int level = GSHM_REGISTRY_LEVELS - 1; level >= 0; level--)
    if (next_of (before[level], level) == mapping)
      set_next (before[level], level, next_of (mapping, level));
  atomic_fetch_sub (&count, 1);
}

struct gshm_mapping *
gshm_registry_find (const void *address)
{
  struct gshm_mapping *before[GSHM_REGISTRY_LEVELS];

  search (address, 0, before);
  struct gshm_mapping *found = before[0];
  return (found != &head
          && (const char *) address < found->base + found->length
          ? found : NULL);
}

size_t
gshm_registry_count (void)
{
  return atomic_load (&count);
}

struct gshm_mapping *
gshm_registry_after (const struct gshm_mapping *mapping)
{
  return next_of (mapping == NULL ? &head : mapping, 0);
}

/* In the child of a fork, which has no other thread.  */
static void
forget_holder (void)
{
  if (atomic_load (&holder) != &this_thread)
    atomic_store (&holder, NULL);
}

void
gshm_registry_start (void)
{
  pthread_atfork (NULL, NULL, forget_holder);
}

/* SPDX-License-Identifier: BSD-3-Clause
   registry.c - the mappings of this process, found by address.

   A skip list of disjoint ranges in the order of their addresses.  A lock
   guards changes.  Searches take no lock, since the handler of a fault makes
   them, and it may have interrupted the owner of the lock, or the collector
   may have stopped that:

   - The stores of a change are in such an order that the list can be searched
     after each of them.
   - The memory of a mapping is reused only for other mappings.
   - A search during which a change began or ended may have followed a wrong
     link, and is repeated.

   A fork does not wait for the lock either: the list is searchable at any
   moment.  */

#include <config.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/tls.h"
#include "memory/registry.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The sentinel before the first range.  */
static struct gshm_mapping head;

/* How many changes have begun, plus how many have ended.  */
static atomic_ulong changes;

static atomic_size_t count;

/* Linked at level 0.  */
static _Atomic (struct gshm_mapping *) free_list;

const void *
gshm_this_thread (void)
{
  static GSHM_THREAD_LOCAL char this_thread;

  return &this_thread;
}

void
gshm_registry_lock (void)
{
  pthread_mutex_lock (&lock);
}

void
gshm_registry_unlock (void)
{
  pthread_mutex_unlock (&lock);
}

/* Acquire, and release below: a search that finds a mapping sees what was
   stored in it before it was linked.  */
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

/* The fence: a search that sees a store of the change sees its begin counted.
   Release, below: a search that sees its end counted sees all its stores.  */
static void
begin_change (void)
{
  atomic_fetch_add_explicit (&changes, 1, memory_order_relaxed);
  atomic_thread_fence (memory_order_release);
}

static void
end_change (void)
{
  atomic_fetch_add_explicit (&changes, 1, memory_order_release);
}

struct gshm_mapping *
gshm_registry_allocate (void)
{
  struct gshm_mapping *mapping = atomic_load (&free_list);

  if (mapping == NULL)
    return calloc (1, sizeof *mapping);
  atomic_store (&free_list, next_of (mapping, 0));
  /* A search that followed a wrong link may be reading it.  */
  begin_change ();
  memset (mapping, 0, sizeof *mapping);
  end_change ();
  return mapping;
}

void
gshm_registry_free (struct gshm_mapping *mapping)
{
  set_next (mapping, 0, atomic_load (&free_list));
  atomic_store (&free_list, mapping);
}

/* Store in BEFORE, for each level, the last mapping that begins at or below
   ADDRESS or, with IS_STRICT, below it; the head if there is none.  */
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

/* The number of levels of the mapping that begins at BASE.  One mapping in
   four is at the next level, too.  The kernel chooses the addresses, so their
   bits are hashed.  */
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
  begin_change ();
  for (int level = 0; level < levels_of (mapping->base); level++)
    {
      set_next (mapping, level, next_of (before[level], level));
      set_next (before[level], level, mapping);
    }
  end_change ();
  atomic_fetch_add (&count, 1);
  return 1;
}

void
gshm_registry_remove (struct gshm_mapping *mapping)
{
  struct gshm_mapping *before[GSHM_REGISTRY_LEVELS];

  search (mapping->base, 1, before);
  begin_change ();
  for (int level = GSHM_REGISTRY_LEVELS - 1; level >= 0; level--)
    if (next_of (before[level], level) == mapping)
      set_next (before[level], level, next_of (mapping, level));
  end_change ();
  atomic_fetch_sub (&count, 1);
}

struct gshm_mapping *
gshm_registry_after (const struct gshm_mapping *mapping)
{
  return next_of (mapping == NULL ? &head : mapping, 0);
}

size_t
gshm_registry_count (void)
{
  return atomic_load (&count);
}

struct gshm_mapping *
gshm_registry_find (const void *address, struct gshm_mapping *copy)
{
  for (;;)
    {
      unsigned long before
        = atomic_load_explicit (&changes, memory_order_acquire);
      struct gshm_mapping *last[GSHM_REGISTRY_LEVELS];

      search (address, 0, last);
      struct gshm_mapping *found = last[0];
      if (found == &head
          || (const char *) address >= found->base + found->length)
        found = NULL;
      else
        *copy = *found;
      /* The fence orders the loads above before this one.  */
      atomic_thread_fence (memory_order_acquire);
      if (atomic_load_explicit (&changes, memory_order_relaxed) == before)
        return found;
    }
}

/* In the child of a fork: another thread may have owned it.  */
static void
renew_lock (void)
{
  pthread_mutex_init (&lock, NULL);
}

void
gshm_registry_start (void)
{
  pthread_atfork (NULL, NULL, renew_lock);
}

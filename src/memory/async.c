/* SPDX-License-Identifier: BSD-3-Clause
   async.c - an async that a signal handler can push.

   Guile has a list of asyncs for each thread.  The handler pushes a pair that
   was allocated before, by a compare-and-swap, as Guile's own handlers do.  */

#include <config.h>

#include <stdatomic.h>

#include "memory/async.h"
#include "memory/patch.h"

#if GSHM_CAN_PATCH

static SCM async;

/* The number of preallocated pairs, each of which is pushed once.  If more
   threads have a pending fault, the next fault is passed on.  */
#define PAIRS 1024

enum pair_state
{
  EMPTY,
  FILLING,
  READY,
  TAKEN
};

/* A vector, so that libgc finds the pairs.  Its last element is the list of
   asyncs of the collecting thread when the collection began.  */
static SCM pairs;
static atomic_uchar pair_states[PAIRS];

/* Change the state of one pair from FROM to TO.  Return its index, or -1.  */
static int
claim_pair (enum pair_state from, enum pair_state to)
{
  for (int i = 0; i < PAIRS; i++)
    {
      unsigned char expected = (unsigned char) from;

      if (atomic_load_explicit (&pair_states[i], memory_order_relaxed) == from
          && atomic_compare_exchange_strong (&pair_states[i], &expected,
                                             (unsigned char) to))
        return i;
    }
  return -1;
}

void
gshm_async_renew (void)
{
  SCM pair = scm_cons (async, SCM_EOL);

  for (int i; (i = claim_pair (EMPTY, FILLING)) >= 0;
       pair = scm_cons (async, SCM_EOL))
    {
      SCM_SIMPLE_VECTOR_SET (pairs, (size_t) i, pair);
      atomic_store (&pair_states[i], READY);
    }
}

/* Guile accesses a thread's list of asyncs, and the pairs in it,
   atomically.  */
static _Atomic scm_t_bits *
atomic_scm (SCM *location)
{
  _Static_assert (sizeof (SCM) == sizeof (_Atomic scm_t_bits),
                  "an atomic word is as large as another");
  return (_Atomic scm_t_bits *) location;
}

static int
is_async_in (SCM list)
{
  for (; scm_is_pair (list); list = SCM_CDR (list))
    if (scm_is_eq (SCM_CAR (list), async))
      return 1;
  return 0;
}

/* The location of the empty list at the end of LIST, a pair.  */
static _Atomic scm_t_bits *
end_of (SCM list)
{
  while (scm_is_pair (SCM_CDR (list)))
    list = SCM_CDR (list);
  return atomic_scm (SCM_CDRLOC (list));
}

/* In Guile mode, push the pair to the front: the handler may have interrupted
   Guile while it removed the last pair.  Outside of Guile mode another thread
   may be marking: append it, since the collector may have marked the pair as
   it was before, and would not find the rest of the list behind it.  If this
   thread is marking, `gshm_async_keep' keeps the list.  */
int
gshm_async_push (scm_thread *thread)
{
  _Atomic scm_t_bits *front = atomic_scm (&thread->pending_asyncs);

  if (is_async_in (SCM_PACK (atomic_load (front))))
    return 1;
  int i = claim_pair (READY, TAKEN);
  if (i < 0)
    return 0;
  SCM pair = SCM_SIMPLE_VECTOR_REF (pairs, (size_t) i);
  for (int done = 0; !done;)
    {
      scm_t_bits list = atomic_load (front), end = SCM_UNPACK (SCM_EOL);
      int in_front = thread->guile_mode || scm_is_null (SCM_PACK (list));

      SCM_SETCDR (pair, in_front ? SCM_PACK (list) : SCM_EOL);
      done = (in_front
              ? atomic_compare_exchange_strong (front, &list,
                                                SCM_UNPACK (pair))
              : atomic_compare_exchange_strong (end_of (SCM_PACK (list)), &end,
                                                SCM_UNPACK (pair)));
    }
  /* From here on the thread's list refers to the pair.  */
  atomic_store (&pair_states[i], EMPTY);
  return 1;
}

void
gshm_async_keep (scm_thread *thread)
{
  SCM_SIMPLE_VECTOR_SET (
    pairs, PAIRS,
    SCM_PACK (atomic_load (atomic_scm (&thread->pending_asyncs))));
}

void
gshm_async_reset (void)
{
  for (int i = 0; i < PAIRS; i++)
    if (atomic_load (&pair_states[i]) != READY)
      atomic_store (&pair_states[i], EMPTY);
}

/* Whether the running Guile has `pending_asyncs' where the headers say: it
   changes when an async is marked.  With asyncs blocked.  */
static int
find_asyncs (void)
{
  scm_thread *thread = SCM_I_THREAD_DATA (scm_current_thread ());
  SCM before = thread->pending_asyncs;

  scm_system_async_mark (async);
  SCM after = thread->pending_asyncs;
  return (!scm_is_eq (before, after) && SCM_HEAP_OBJECT_P (after)
          && scm_is_pair (after) && scm_is_eq (SCM_CAR (after), async)
          && scm_is_eq (SCM_CDR (after), before));
}

int
gshm_async_start (SCM procedure)
{
  async = scm_permanent_object (procedure);
  pairs = scm_permanent_object (scm_c_make_vector (PAIRS + 1, SCM_BOOL_F));
  gshm_async_renew ();
  return find_asyncs ();
}

#endif /* GSHM_CAN_PATCH */

/* SPDX-License-Identifier: BSD-3-Clause
   async.c - an async that a handler of a signal can push.

   A thread's list of asyncs is Guile's.  The handler pushes a pair that was
   allocated before, by a compare-and-swap, as Guile's own handlers do.  */

#include <config.h>

#include <stdatomic.h>

#include "memory/async.h"
#include "memory/patch.h"

#if GSHM_CAN_PATCH

static SCM async;

/* Pairs to be pushed onto lists of asyncs, each once.  If more threads than
   that have a fault that is not yet raised, the next fault is passed on.  */
#define PAIRS 1024

enum pair_state
{
  EMPTY,
  FILLING,
  READY,
  TAKEN
};

/* A vector, so that libgc finds the pairs.  Behind them is the list of asyncs
   of the thread that collects, as it was when the collection began.  */
static SCM pairs;
static atomic_uchar pair_states[PAIRS];

/* Change the state of some pair FROM to TO, and return its index, or -1 if
   there is none.  */
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

/* The location of the end of LIST, a pair.  */
static _Atomic scm_t_bits *
end_of (SCM list)
{
  while (scm_is_pair (SCM_CDR (list)))
    list = SCM_CDR (list);
  return atomic_scm (SCM_CDRLOC (list));
}

/* In Guile the pair goes to the front, since the handler may have interrupted
   Guile when it was taking the last one off.  Outside of Guile another thread
   may be marking: then it goes to the end, since it might hide what is behind
   it, if the collector has already seen it as it was before.  While this
   thread marks, `gshm_async_keep' has seen to that.  */
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
  /* The thread's list keeps the pair from here on.  */
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

/* Whether the Guile that runs this has a thread's asyncs where the headers
   say: what is there changes if one is marked.  With asyncs blocked.  */
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

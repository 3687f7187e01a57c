/* SPDX-License-Identifier: BSD-3-Clause
   barrier.c - a barrier in shared memory.

   Each thread that arrives takes a free slot.  A slot records its owner and
   the generation in which it was taken or cleared; it is free if that is not
   the present generation, or if it was cleared.  A thread that finds all slots
   taken opens the barrier: it increments the generation, by which all slots
   become free.  The generation in a slot also keeps a thread that loaded the
   slot in an earlier generation from taking it.

   A thread that gives up, or finds a dead one, withdraws a slot in three
   steps: it marks the slot as leaving; it changes the state, so that a thread
   that counted the slot before cannot open the barrier; and it clears the
   slot.  */

#include <config.h>

#include <limits.h>

#include "core/barrier.h"

#define SLOT_OWNER_BITS 48
#define SLOT_OWNER ((UINT64_C (1) << SLOT_OWNER_BITS) - 1)

/* Flag of a slot: it does not count, but is not free yet.  With no owner: it
   was cleared.  */
#define LEAVING GSHM_MARK
#define CLEARED LEAVING

/* How often one of the waiters checks whether the others are alive, and after
   how long without a check an arriving thread does, in milliseconds.  */
#define CHECK_INTERVAL 40
#define CHECK_OVERDUE 100

static uint32_t
milliseconds (void)
{
  return (uint32_t) (gshm_now () / (GSHM_SECOND / 1000));
}

void
gshm_init_barrier (struct gshm_barrier_words *barrier, uint32_t parties)
{
  atomic_store (&barrier->format, 0);
  atomic_store (&barrier->namespace, gshm_namespace ());
  atomic_store (&barrier->parties, parties);
  atomic_store (&barrier->last_check, milliseconds ());
  atomic_store (&barrier->unused, 0);
  atomic_store (&barrier->state, 0);
  for (size_t i = 0; i < GSHM_MAX_PARTIES; i++)
    atomic_store (&barrier->arrived[i], 0);
  gshm_set_format (&barrier->format, GSHM_BARRIER_FORMAT);
}

enum gshm_result
gshm_barrier_begin (struct gshm_barrier_waiter *waiter,
                    struct gshm_barrier_words *barrier)
{
  *waiter = (struct gshm_barrier_waiter) {
    .barrier = barrier,
    .self = gshm_self (atomic_load (&barrier->namespace)),
    .parties = atomic_load (&barrier->parties)
  };
  return (waiter->parties < 1 || waiter->parties > GSHM_MAX_PARTIES
            ? GSHM_CORRUPT
            : GSHM_DONE);
}

static uint64_t
to_slot (uint64_t owner, uint32_t generation)
{
  return (owner & SLOT_OWNER) | (uint64_t) generation << SLOT_OWNER_BITS;
}

/* Whether a thread arrived in GENERATION and took SLOT.  */
static int
is_taken (uint64_t slot, uint32_t generation)
{
  return slot == to_slot (slot, generation)
         && GSHM_OWNER_OF (slot & SLOT_OWNER) != 0;
}

/* Withdraw OWNER from SLOT.  Return 1, or 0 if the barrier has opened before.
   The slot is cleared only after the state has changed: else another thread
   could take it, and a third one open the barrier with a count that included
   OWNER.  If the barrier has opened, the slot is free already.  */
static int
withdraw (struct gshm_barrier_words *barrier, gshm_long_word *slot,
          uint64_t owner, uint32_t generation)
{
  uint64_t leaving = to_slot (owner | LEAVING, generation), state;

  gshm_replace (slot, to_slot (owner, generation), leaving);
  state = atomic_load (&barrier->state);
  while ((uint32_t) state == generation)
    if (atomic_compare_exchange_weak (&barrier->state, &state,
                                      state + (UINT64_C (1) << 32)))
      {
        gshm_replace (slot, leaving, to_slot (CLEARED, generation));
        return 1;
      }
  return 0;
}

/* Whether this thread is to check which waiters are alive: one of the waiters
   once in an interval; or a thread that arrives, if that is overdue, since all
   waiters may be dead.  */
static int
is_check_due (const struct gshm_barrier_waiter *waiter,
              const struct gshm_sleep *sleep)
{
  struct gshm_barrier_words *barrier = waiter->barrier;
  uint32_t last_check = atomic_load (&barrier->last_check), time;

  if (waiter->slot != NULL && !sleep->check_owners)
    return 0;
  time = milliseconds ();
  return time - last_check
           > (waiter->slot == NULL ? CHECK_OVERDUE : CHECK_INTERVAL)
         && atomic_compare_exchange_strong (&barrier->last_check, &last_check,
                                            time);
}

/* Take a free slot, if there is one.  */
static void
arrive (struct gshm_barrier_waiter *waiter)
{
  struct gshm_barrier_words *barrier = waiter->barrier;

  for (uint32_t i = 0; i < waiter->parties; i++)
    {
      gshm_long_word *slot = &barrier->arrived[i];
      uint64_t old = atomic_load (slot);
      /* Loaded after the slot, which may be of a newer generation than a state
         that was loaded before.  */
      uint32_t generation = (uint32_t) atomic_load (&barrier->state);

      if (!is_taken (old, generation)
          && gshm_replace (slot, old, to_slot (waiter->self, generation)))
        {
          waiter->slot = slot;
          waiter->generation = generation;
          return;
        }
    }
}

int
gshm_barrier_attempt (void *data, struct gshm_sleep *sleep)
{
  struct gshm_barrier_waiter *waiter = data;
  struct gshm_barrier_words *barrier = waiter->barrier;
  uint64_t self = gshm_self (atomic_load (&barrier->namespace));

  if (!gshm_has_format (&barrier->format, GSHM_BARRIER_FORMAT))
    return GSHM_CORRUPT;
  if (self != waiter->self)
    {
      /* This is the child of a fork, which has not arrived.  */
      waiter->self = self;
      waiter->slot = NULL;
    }
  int check_owners = is_check_due (waiter, sleep);
  if (waiter->slot == NULL)
    arrive (waiter);
  uint64_t state = atomic_load (&barrier->state);
  uint32_t generation = (uint32_t) state, count = 0;
  if (waiter->slot != NULL && generation != waiter->generation)
    return GSHM_DONE;

  for (uint32_t i = 0; i < waiter->parties; i++)
    {
      uint64_t slot = atomic_load (&barrier->arrived[i]);

      if (!is_taken (slot, generation))
        continue;
      if (check_owners
          && gshm_is_dead (slot, SLOT_OWNER,
                           atomic_load (&barrier->namespace)))
        withdraw (barrier, &barrier->arrived[i], slot, generation);
      else if (!(slot & LEAVING))
        count++;
    }
  uint64_t next = ((state & ~(uint64_t) UINT32_MAX)
                   | (uint32_t) (generation + 1));
  if (count == waiter->parties)
    {
      if (gshm_replace (&barrier->state, state, next))
        {
          gshm_wake (gshm_low_half (&barrier->state), INT_MAX);
          if (waiter->slot != NULL)
            return GSHM_DONE;
        }
      /* Attempt again at once.  */
      generation = ~generation;
    }
  gshm_sleep_on_half (sleep, &barrier->state, generation);
  return 0;
}

int
gshm_barrier_leave (struct gshm_barrier_waiter *waiter)
{
  return waiter->slot != NULL
         && !withdraw (waiter->barrier, waiter->slot, waiter->self,
                       waiter->generation);
}

void
gshm_barrier_cancel (void *data)
{
  struct gshm_barrier_waiter *waiter = data;
  struct gshm_barrier_words *barrier = waiter->barrier;

  if (gshm_still_has_format (&barrier->format, GSHM_BARRIER_FORMAT,
                             sizeof *barrier)
      && gshm_self (atomic_load (&barrier->namespace)) == waiter->self)
    gshm_barrier_leave (waiter);
}

/* SPDX-License-Identifier: BSD-3-Clause
   barrier.c - a barrier in shared memory.

   Each thread that arrives takes a place that is not of this generation.  When
   there is no such place any more, the thread that sees it opens the barrier,
   by the next generation, in which all places are free again.  A place says of
   which generation it is, also when it is cleared, so that no thread that
   looked at it in one takes it in another.  A thread that gives up, or finds a
   dead one, says so in the place, then changes the state, so that no thread
   opens the barrier that looked before, and only then clears the place.  */

#include <config.h>


#include <limits.h>

#include "core/barrier.h"

#define PLACE_BITS 48
#define PLACE_OWNER ((UINT64_C (1) << PLACE_BITS) - 1)

/* Flags of a place.  LEAVING: it does not count, but is not free yet.  */
#define LEAVING GSHM_MARK
#define CLEARED LEAVING

/* How often one of the waiters looks, and how long it may be that none did,
   in milliseconds.  */
#define SLICE_OF_LOOKS 40
#define UNSEEN 100

static uint32_t
milliseconds (void)
{
  return (uint32_t) (gshm_now () / (GSHM_SECOND / 1000));
}

void
gshm_barrier_init (struct gshm_barrier *barrier, uint32_t parties)
{
  atomic_store (&barrier->format, 0);
  atomic_store (&barrier->namespace, gshm_namespace ());
  atomic_store (&barrier->parties, parties);
  atomic_store (&barrier->seen, milliseconds ());
  atomic_store (&barrier->unused, 0);
  atomic_store (&barrier->state, 0);
  for (size_t i = 0; i < GSHM_PARTIES; i++)
    atomic_store (&barrier->arrived[i], 0);
  gshm_set_format (&barrier->format, GSHM_BARRIER_FORMAT);
}

enum gshm_result
gshm_barrier_begin (struct gshm_arriving *arriving,
                    struct gshm_barrier *barrier)
{
  *arriving = (struct gshm_arriving) {
    .barrier = barrier, .self = gshm_self (atomic_load (&barrier->namespace)),
    .parties = atomic_load (&barrier->parties)
  };
  return (arriving->parties < 1 || arriving->parties > GSHM_PARTIES
          ? GSHM_CORRUPT : GSHM_DONE);
}

static uint64_t
to_place (uint64_t owner, uint32_t generation)
{
  return (owner & PLACE_OWNER) | (uint64_t) generation << PLACE_BITS;
}

/* Whether a thread arrived in GENERATION and took PLACE.  */
static int
is_taken (uint64_t place, uint32_t generation)
{
  return place == to_place (place, generation)
         && GSHM_WHO (place & PLACE_OWNER) != 0;
}

/* Clear the place of OWNER, which does not count any more.  Return whether
   that was still in time.  No thread may take the place before that is known,
   or the barrier could open with another there; and if it was not in time the
   place stays as it is, which is nothing in another generation.  */
static int
withdraw (struct gshm_barrier *barrier, gshm_long_word *place, uint64_t owner,
          uint32_t generation)
{
  uint64_t leaving = to_place (owner | LEAVING, generation), state;

  gshm_replace (place, to_place (owner, generation), leaving);
  state = atomic_load (&barrier->state);
  while ((uint32_t) state == generation)
    if (atomic_compare_exchange_weak (&barrier->state, &state,
                                      state + (UINT64_C (1) << 32)))
      {
        gshm_replace (place, leaving, to_place (CLEARED, generation));
        return 1;
      }
  return 0;
}

/* Whether it is time to see which waiters live: once in a slice for one of
   them, and for a thread that arrives where none has looked for longer, since
   all waiters may be dead.  */
static int
is_time_to_look (const struct gshm_arriving *arriving,
                 const struct gshm_sleep *sleep)
{
  struct gshm_barrier *barrier = arriving->barrier;
  uint32_t seen = atomic_load (&barrier->seen), time;

  if (arriving->place != NULL && !sleep->look)
    return 0;
  time = milliseconds ();
  return time - seen > (arriving->place == NULL ? UNSEEN : SLICE_OF_LOOKS)
         && atomic_compare_exchange_strong (&barrier->seen, &seen, time);
}

/* Take a place that is not of this generation, if there is one.  */
static void
arrive (struct gshm_arriving *arriving)
{
  struct gshm_barrier *barrier = arriving->barrier;

  for (uint32_t i = 0; i < arriving->parties; i++)
    {
      gshm_long_word *place = &barrier->arrived[i];
      uint64_t old = atomic_load (place);
      /* After the place, which may be of a generation that was not before.  */
      uint32_t generation = (uint32_t) atomic_load (&barrier->state);

      if (!is_taken (old, generation)
          && gshm_replace (place, old, to_place (arriving->self, generation)))
        {
          arriving->place = place;
          arriving->generation = generation;
          return;
        }
    }
}

int
gshm_barrier_attempt (void *data, struct gshm_sleep *sleep)
{
  struct gshm_arriving *arriving = data;
  struct gshm_barrier *barrier = arriving->barrier;
  uint64_t self = gshm_self (atomic_load (&barrier->namespace));

  if (!gshm_has_format (&barrier->format, GSHM_BARRIER_FORMAT))
    return GSHM_CORRUPT;
  if (self != arriving->self)
    {
      /* This is the child of a fork, which has not arrived.  */
      arriving->self = self;
      arriving->place = NULL;
    }
  int look = is_time_to_look (arriving, sleep);
  if (arriving->place == NULL)
    arrive (arriving);
  uint64_t state = atomic_load (&barrier->state);
  uint32_t generation = (uint32_t) state, count = 0;
  if (arriving->place != NULL && generation != arriving->generation)
    return GSHM_DONE;

  for (uint32_t i = 0; i < arriving->parties; i++)
    {
      uint64_t place = atomic_load (&barrier->arrived[i]);

      if (!is_taken (place, generation))
        continue;
      if (look
          && gshm_is_dead (place, PLACE_OWNER,
                           atomic_load (&barrier->namespace)))
        withdraw (barrier, &barrier->arrived[i], place, generation);
      else if (!(place & LEAVING))
        count++;
    }
  uint64_t next = ((state & ~(uint64_t) UINT32_MAX)
                   | (uint32_t) (generation + 1));
  if (count == arriving->parties)
    {
      if (gshm_replace (&barrier->state, state, next))
        {
          gshm_wake (gshm_low_half (&barrier->state), INT_MAX);
          if (arriving->place != NULL)
            return GSHM_DONE;
        }
      /* Look again at once.  */
      generation = ~generation;
    }
  gshm_sleep_on_half (sleep, &barrier->state, generation);
  return 0;
}

int
gshm_barrier_leave (struct gshm_arriving *arriving)
{
  return arriving->place != NULL
         && !withdraw (arriving->barrier, arriving->place, arriving->self,
                       arriving->generation);
}

void
gshm_barrier_cancel (void *data)
{
  struct gshm_arriving *arriving = data;
  struct gshm_barrier *barrier = arriving->barrier;

  if (gshm_still_has_format (&barrier->format, GSHM_BARRIER_FORMAT,
                             sizeof *barrier)
      && gshm_self (atomic_load (&barrier->namespace)) == arriving->self)
    gshm_barrier_leave (arriving);
}

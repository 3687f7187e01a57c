/* SPDX-License-Identifier: BSD-3-Clause
   lock.h - words in shared memory that name an owner.

   What is common to those structures that have owners (owner.h): to look at
   such a word, to change it, to sleep until another does so, and to take it
   over from a thread that died.  */

#ifndef GSHM_LOCK_H
#define GSHM_LOCK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/owner.h"
#include "core/result.h"
#include "core/wait.h"

/* Flags of an owner.  WAITERS: somebody may sleep until it changes.  MARK:
   what the structure wants it to mean.  */
#define GSHM_WAITERS UINT64_C (1)
#define GSHM_MARK UINT64_C (4)
#define GSHM_WHO(owner) ((owner) & ~(GSHM_WAITERS | GSHM_MARK))

/* What the low half of an owner never is, so that a sleep on it ends at
   once.  */
#define GSHM_NEVER GSHM_FOREIGN

/* Nobody who lives: whoever had it gave it up without mending what it
   guards.  */
#define GSHM_ABANDONED GSHM_WAITERS

static inline uint64_t
gshm_load (const gshm_long_word *word)
{
  return atomic_load_explicit (word, memory_order_relaxed);
}

static inline int
gshm_replace (gshm_long_word *word, uint64_t old, uint64_t new)
{
  return atomic_compare_exchange_strong (word, &old, new);
}

/* The half of a long word that one can sleep on.  It holds the flags.  */
static inline gshm_word *
gshm_low_half (const gshm_long_word *word)
{
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return (gshm_word *) (uintptr_t) word + 1;
#else
  return (gshm_word *) (uintptr_t) word;
#endif
}

static inline void
gshm_sleep_on_half (struct gshm_sleep *sleep, gshm_long_word *word,
                    uint64_t value)
{
  sleep->word = gshm_low_half (word);
  sleep->value = (uint32_t) value;
}

/* Sleep until WORD is no longer VALUE, with WAITERS set there if whoever
   changes it is to wake this thread.  If that fails somebody else has done so
   or the value is another, and the sleep ends at once.  */
static inline void
gshm_sleep_until_changed (struct gshm_sleep *sleep, gshm_long_word *word,
                          uint64_t value)
{
  if (sleep->announce && !(value & GSHM_WAITERS))
    {
      gshm_replace (word, value, value | GSHM_WAITERS);
      value |= GSHM_WAITERS;
    }
  gshm_sleep_on_half (sleep, word, value);
}

/* A lock, and how this thread tries to have it.  */
struct gshm_locking
{
  gshm_long_word *owner;        /* 0: free */
  const gshm_word *namespace;
  uint64_t self;
  int announced;        /* this thread may have slept, as others may do now */
};

/* Try to have the lock; if its owner is dead, with TAKEN_OVER, flags of an
   owner, set.  Whoever is the child of a fork by now is another SELF.  */
int gshm_attempt_to_lock (struct gshm_locking *locking, uint64_t taken_over,
                          struct gshm_sleep *sleep);

/* Who leaves without the lock may have been the one that was woken for it.  */
void gshm_give_up_locking (const struct gshm_locking *locking);

/* Give up the lock, to nobody (0) or to NOBODY.  */
void gshm_unlock (gshm_long_word *owner, uint64_t next);

/* The one of COUNT words at PLACES, each of which is somebody's or 0, that is
   OWNER's, or NULL.  */
gshm_long_word *gshm_place_of (gshm_long_word *places, size_t count,
                               uint64_t owner);

/* Make one of them OWNER's, or return NULL if there is none left.  */
gshm_long_word *gshm_take_place (gshm_long_word *places, size_t count,
                                 uint64_t owner);

/* How many of them are somebody's.  LOOK: who is dead does not count, and
   loses the place.  */
int gshm_count_places (gshm_long_word *places, size_t count, int look,
                       const gshm_word *namespace);

#endif /* GSHM_LOCK_H */

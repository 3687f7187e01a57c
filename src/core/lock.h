/* SPDX-License-Identifier: BSD-3-Clause
   lock.h - words in shared memory that name an owner (owner.h).

   What all structures with owners share: loading and changing such a word,
   sleeping until it changes, and taking it over from a dead owner.  */

#ifndef GSHM_LOCK_H
#define GSHM_LOCK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/owner.h"
#include "core/result.h"
#include "core/wait.h"

/* Flags of an owner.  WAITERS: a thread may sleep until the word changes.
   MARK: its meaning depends on the structure.  */
#define GSHM_WAITERS UINT64_C (1)
#define GSHM_MARK UINT64_C (4)
#define GSHM_OWNER_OF(owner) ((owner) & ~(GSHM_WAITERS | GSHM_MARK))

/* A value that the low half of an owner never has: a sleep on it ends at
   once.  */
#define GSHM_NO_OWNER_VALUE GSHM_FOREIGN

/* The word of a lock that is neither free nor owned: the last owner unlocked
   it without recovering the data.  The next thread takes it over at once.  */
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

/* The half of a long word that futexes can use, which has the flags.  */
static inline gshm_word *
gshm_low_half (const gshm_long_word *word)
{
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return (gshm_word *) (uintptr_t) word + 1;
#else
  return (gshm_word *) (uintptr_t) word;
#endif
}

/* Set SLEEP to sleep while the low half of WORD is that of VALUE.  */
static inline void
gshm_sleep_on_half (struct gshm_sleep *sleep, gshm_long_word *word,
                    uint64_t value)
{
  sleep->word = gshm_low_half (word);
  sleep->value = (uint32_t) value;
}

/* Set SLEEP to sleep until WORD is no longer VALUE; set WAITERS there if the
   thread that changes it is to wake this one.  If setting it fails, another
   thread has set it, or WORD has changed and the sleep ends at once.  */
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

/* An attempt to own a lock.  */
struct gshm_locking
{
  gshm_long_word *owner;        /* 0: free */
  const gshm_word *namespace;
  uint64_t self;
  /* This thread has announced that it will sleep.  From then on it locks with
     WAITERS, since others may sleep, too.  */
  int announced;
};

/* Attempt to lock.  If the owner is dead, take the lock over, and set
   TAKEN_OVER, flags of an owner.  SELF may change between two attempts: a fork
   makes the child another thread.  */
int gshm_attempt_to_lock (struct gshm_locking *locking, uint64_t taken_over,
                          struct gshm_sleep *sleep);

/* End the attempts without the lock.  Wake another waiter, since this thread
   may have been woken for the lock.  */
void gshm_cancel_locking (const struct gshm_locking *locking);

/* Unlock: store NEXT, 0 or ABANDONED.  */
static inline void
gshm_unlock (gshm_long_word *owner, uint64_t next)
{
  /* [free] Release: the next owner sees what this one stored.  */
  uint64_t last = atomic_exchange_explicit (owner, next, memory_order_release);

  /* [wake] The lock is free already: if this thread is killed here, the
     waiters find that when their bounded sleeps end.  */
  if (last & GSHM_WAITERS)
    gshm_wake (gshm_low_half (owner), 1);
}

/* SLOTS are COUNT words, each an owner or 0.  Return the slot of OWNER, or
   NULL.  */
gshm_long_word *gshm_find_slot (gshm_long_word *slots, size_t count,
                                uint64_t owner);

/* Store OWNER in a free slot and return that, or NULL if there is none.  */
gshm_long_word *gshm_take_slot (gshm_long_word *slots, size_t count,
                                uint64_t owner);

/* Return how many slots are taken.  With CHECK_OWNERS, free those of dead
   owners before.  */
int gshm_count_slots (gshm_long_word *slots, size_t count, int check_owners,
                      const gshm_word *namespace);

#endif /* GSHM_LOCK_H */

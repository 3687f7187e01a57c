/* SPDX-License-Identifier: BSD-3-Clause
   rwlock.c - a read-write lock in shared memory.

   A writer stores itself as the writer, which keeps further readers out, and
   then waits until no slot has a reader.  A reader takes a slot, then loads
   the writer, and if there is one, frees the slot again.  All these steps are
   sequentially consistent, so that of a reader and a writer that lock at the
   same time at least one sees the other.  */

#include <config.h>

#include <limits.h>

#include "core/rwlock.h"

/* A writer that still waits for readers to leave.  */
#define PENDING GSHM_MARK

void
gshm_init_rwlock (struct gshm_rwlock_words *rwlock)
{
  atomic_store (&rwlock->format, 0);
  atomic_store (&rwlock->writer, 0);
  atomic_store (&rwlock->namespace, gshm_namespace ());
  atomic_store (&rwlock->leaving, 0);
  for (size_t i = 0; i < GSHM_MAX_READERS; i++)
    atomic_store (&rwlock->readers[i], 0);
  gshm_set_format (&rwlock->format, GSHM_RWLOCK_FORMAT);
}

void
gshm_rwlock_begin (struct gshm_rwlock_locking *locking,
                   struct gshm_rwlock_words *rwlock)
{
  *locking = (struct gshm_rwlock_locking) {
    .rwlock = rwlock, .self = gshm_self (atomic_load (&rwlock->namespace))
  };
}

static gshm_long_word *
find_reader (struct gshm_rwlock_words *rwlock, uint64_t owner)
{
  return gshm_find_slot (rwlock->readers, GSHM_MAX_READERS, owner);
}

/* Also one that still waits for readers.  */
static int
is_writer (const struct gshm_rwlock_words *rwlock, uint64_t owner)
{
  return GSHM_OWNER_OF (atomic_load (&rwlock->writer)) == owner;
}

static int
has_readers (struct gshm_rwlock_words *rwlock, int check_owners)
{
  return gshm_count_slots (rwlock->readers, GSHM_MAX_READERS, check_owners,
                           &rwlock->namespace)
         > 0;
}

static void
leave_as_reader (struct gshm_rwlock_words *rwlock, gshm_long_word *slot)
{
  atomic_store (slot, 0);
  if (atomic_load (&rwlock->writer) & PENDING)
    {
      atomic_fetch_add (&rwlock->leaving, 1);
      gshm_wake (&rwlock->leaving, INT_MAX);
    }
}

/* Unlock as the writer; NEXT is 0 or ABANDONED.  */
static void
leave_as_writer (struct gshm_rwlock_words *rwlock, uint64_t next)
{
  if (atomic_exchange (&rwlock->writer, next) & GSHM_WAITERS)
    gshm_wake (gshm_low_half (&rwlock->writer), INT_MAX);
}

/* Set SLEEP to wait until WRITER is no longer the writer, and return 0.  If
   WRITER is dead or ABANDONED and may have changed the data, become the writer
   and return OWNER_DIED.  */
static int
wait_for_writer (struct gshm_rwlock_locking *locking, struct gshm_sleep *sleep,
                 uint64_t writer)
{
  struct gshm_rwlock_words *rwlock = locking->rwlock;

  if (writer == GSHM_ABANDONED
      || (sleep->check_owners
          && gshm_is_dead (writer, UINT64_MAX,
                           atomic_load (&rwlock->namespace))))
    {
      /* One that still waited for readers has not changed the data.  */
      if (writer & PENDING)
        {
          if (gshm_replace (&rwlock->writer, writer, 0))
            gshm_wake (gshm_low_half (&rwlock->writer), INT_MAX);
        }
      else if (gshm_replace (&rwlock->writer, writer,
                             locking->self | GSHM_WAITERS))
        return GSHM_OWNER_DIED;
      gshm_sleep_on_half (sleep, &rwlock->writer, GSHM_NO_OWNER_VALUE);
    }
  else
    gshm_sleep_until_changed (sleep, &rwlock->writer, writer);
  return 0;
}

/* Begin an attempt.  Return 0 if there is no valid lock.  */
static int
begin_attempt (struct gshm_rwlock_locking *locking,
               const struct gshm_sleep *sleep)
{
  struct gshm_rwlock_words *rwlock = locking->rwlock;
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));

  if (!gshm_has_format (&rwlock->format, GSHM_RWLOCK_FORMAT))
    return 0;
  locking->announced |= sleep->announce;
  if (self != locking->self)
    {
      /* This is the child of a fork, which is not the writer; or a faulty
         process has changed the namespace.  */
      locking->self = self;
      locking->pending = 0;
    }
  return 1;
}

int
gshm_rwlock_attempt_to_read (void *data, struct gshm_sleep *sleep)
{
  struct gshm_rwlock_locking *locking = data;
  struct gshm_rwlock_words *rwlock = locking->rwlock;

  if (!begin_attempt (locking, sleep))
    return GSHM_CORRUPT;
  uint64_t writer = atomic_load (&rwlock->writer);
  if (GSHM_OWNER_OF (writer) == locking->self
      || find_reader (rwlock, locking->self) != NULL)
    return GSHM_DEADLOCK;
  if (writer != 0)
    return wait_for_writer (locking, sleep, writer);

  uint32_t leaving = atomic_load (&rwlock->leaving);
  gshm_long_word *slot
    = gshm_take_slot (rwlock->readers, GSHM_MAX_READERS, locking->self);
  if (slot == NULL)
    {
      /* Free the slots of dead readers.  */
      gshm_count_slots (rwlock->readers, GSHM_MAX_READERS, sleep->check_owners,
                        &rwlock->namespace);
      sleep->word = &rwlock->leaving;
      sleep->value = leaving;
      return 0;
    }
  writer = atomic_load (&rwlock->writer);
  if (writer == 0)
    return GSHM_DONE;
  leave_as_reader (rwlock, slot);
  return wait_for_writer (locking, sleep, writer);
}

int
gshm_rwlock_attempt_to_write (void *data, struct gshm_sleep *sleep)
{
  struct gshm_rwlock_locking *locking = data;
  struct gshm_rwlock_words *rwlock = locking->rwlock;

  if (!begin_attempt (locking, sleep))
    return GSHM_CORRUPT;
  uint64_t writer = atomic_load (&rwlock->writer);
  if (!locking->pending)
    {
      if (GSHM_OWNER_OF (writer) == locking->self
          || find_reader (rwlock, locking->self) != NULL)
        return GSHM_DEADLOCK;
      if (writer != 0)
        return wait_for_writer (locking, sleep, writer);
      if (!gshm_replace (&rwlock->writer, 0,
                         locking->self | PENDING
                           | (locking->announced ? GSHM_WAITERS : 0)))
        {
          gshm_sleep_on_half (sleep, &rwlock->writer, GSHM_NO_OWNER_VALUE);
          return 0;
        }
      locking->pending = 1;
    }

  uint32_t leaving = atomic_load (&rwlock->leaving);
  if (has_readers (rwlock, sleep->check_owners))
    {
      sleep->word = &rwlock->leaving;
      sleep->value = leaving;
      return 0;
    }
  locking->pending = 0;
  for (writer = atomic_load (&rwlock->writer);
       GSHM_OWNER_OF (writer) == locking->self;)
    if (atomic_compare_exchange_weak (&rwlock->writer, &writer,
                                      writer & ~PENDING))
      return GSHM_DONE;
  /* A faulty process has stored another writer.  */
  gshm_sleep_on_half (sleep, &rwlock->writer, writer);
  return 0;
}

/* If this thread is a pending writer, unlock.  */
void
gshm_rwlock_cancel (void *data)
{
  struct gshm_rwlock_locking *locking = data;
  struct gshm_rwlock_words *rwlock = locking->rwlock;

  if (locking->pending
      && gshm_still_has_format (&rwlock->format, GSHM_RWLOCK_FORMAT,
                                sizeof *rwlock)
      && gshm_self (atomic_load (&rwlock->namespace)) == locking->self
      && is_writer (rwlock, locking->self))
    leave_as_writer (rwlock, 0);
}

/* Unlock as a reader or, with NEXT, as the writer.  Return DONE or
   NOT_OWNER.  */
static enum gshm_result
unlock (struct gshm_rwlock_words *rwlock, uint64_t next)
{
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));
  gshm_long_word *slot = find_reader (rwlock, self);

  if (slot != NULL)
    leave_as_reader (rwlock, slot);
  else if (is_writer (rwlock, self)
           && !(atomic_load (&rwlock->writer) & PENDING))
    leave_as_writer (rwlock, next);
  else
    return GSHM_NOT_OWNER;
  return GSHM_DONE;
}

enum gshm_result
gshm_unlock_rwlock (struct gshm_rwlock_words *rwlock)
{
  return unlock (rwlock, 0);
}

enum gshm_result
gshm_abandon_rwlock (struct gshm_rwlock_words *rwlock)
{
  return unlock (rwlock, GSHM_ABANDONED);
}

void
gshm_unlock_rwlock_if_owned (struct gshm_rwlock_words *rwlock,
                             int is_inconsistent)
{
  if (gshm_still_has_format (&rwlock->format, GSHM_RWLOCK_FORMAT,
                             sizeof *rwlock))
    unlock (rwlock, is_inconsistent ? GSHM_ABANDONED : 0);
}

int
gshm_rwlock_is_owned (struct gshm_rwlock_words *rwlock)
{
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));

  return is_writer (rwlock, self) || find_reader (rwlock, self) != NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause
   rwlock.c - a read-write lock in shared memory.

   A writer makes itself known, which keeps further readers out, and then waits
   for those inside to leave.  A reader takes a place and then looks whether
   there is a writer, in which case it leaves again: of a reader and a writer
   that come at the same time at least one sees the other, since all these
   steps are sequentially consistent.  */

#include <config.h>


#include <limits.h>

#include "core/rwlock.h"

/* A writer that still waits for readers to leave.  */
#define PENDING GSHM_MARK

void
gshm_rwlock_init (struct gshm_rwlock *rwlock)
{
  atomic_store (&rwlock->format, 0);
  atomic_store (&rwlock->writer, 0);
  atomic_store (&rwlock->namespace, gshm_namespace ());
  atomic_store (&rwlock->leaving, 0);
  for (size_t i = 0; i < GSHM_READERS; i++)
    atomic_store (&rwlock->readers[i], 0);
  gshm_set_format (&rwlock->format, GSHM_RWLOCK_FORMAT);
}

void
gshm_rwlock_begin (struct gshm_entering *entering, struct gshm_rwlock *rwlock)
{
  *entering = (struct gshm_entering) {
    .rwlock = rwlock, .self = gshm_self (atomic_load (&rwlock->namespace))
  };
}

static gshm_long_word *
place_of_reader (struct gshm_rwlock *rwlock, uint64_t owner)
{
  return gshm_place_of (rwlock->readers, GSHM_READERS, owner);
}

static int
is_writer (const struct gshm_rwlock *rwlock, uint64_t owner)
{
  return GSHM_WHO (atomic_load (&rwlock->writer)) == owner;
}

static int
has_readers (struct gshm_rwlock *rwlock, int look)
{
  return gshm_count_places (rwlock->readers, GSHM_READERS, look,
                            &rwlock->namespace) > 0;
}

static void
leave_as_reader (struct gshm_rwlock *rwlock, gshm_long_word *place)
{
  atomic_store (place, 0);
  if (atomic_load (&rwlock->writer) & PENDING)
    {
      atomic_fetch_add (&rwlock->leaving, 1);
      gshm_wake (&rwlock->leaving, INT_MAX);
    }
}

/* Unlock as the writer; NEXT is 0 or ABANDONED.  */
static void
leave_as_writer (struct gshm_rwlock *rwlock, uint64_t next)
{
  if (atomic_exchange (&rwlock->writer, next) & GSHM_WAITERS)
    gshm_wake (gshm_low_half (&rwlock->writer), INT_MAX);
}

/* Sleep until there is another writer than WRITER, or none.  If it is dead,
   take its place, with what it may have left half-way.  */
static int
wait_for_writer (struct gshm_entering *entering, struct gshm_sleep *sleep,
                 uint64_t writer)
{
  struct gshm_rwlock *rwlock = entering->rwlock;

  if (writer == GSHM_ABANDONED)
    {
      if (gshm_replace (&rwlock->writer, writer,
                        entering->self | GSHM_WAITERS))
        return GSHM_OWNER_DIED;
      gshm_sleep_on_half (sleep, &rwlock->writer, GSHM_NEVER);
    }
  else if (sleep->look
           && gshm_is_dead (writer, UINT64_MAX,
                            atomic_load (&rwlock->namespace)))
    {
      /* One that still waited for readers has changed nothing.  */
      if (writer & PENDING)
        {
          if (gshm_replace (&rwlock->writer, writer, 0))
            gshm_wake (gshm_low_half (&rwlock->writer), INT_MAX);
        }
      else if (gshm_replace (&rwlock->writer, writer,
                             entering->self | GSHM_WAITERS))
        return GSHM_OWNER_DIED;
      gshm_sleep_on_half (sleep, &rwlock->writer, GSHM_NEVER);
    }
  else
    gshm_sleep_until_changed (sleep, &rwlock->writer, writer);
  return 0;
}

/* What each attempt begins with.  Return whether the lock is there.  */
static int
begin_attempt (struct gshm_entering *entering, const struct gshm_sleep *sleep)
{
  struct gshm_rwlock *rwlock = entering->rwlock;
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));

  if (!gshm_has_format (&rwlock->format, GSHM_RWLOCK_FORMAT))
    return 0;
  entering->announced |= sleep->announce;
  if (self != entering->self)
    {
      /* This is the child of a fork, which is not the writer.  */
      entering->self = self;
      entering->pending = 0;
    }
  return 1;
}

int
gshm_rwlock_attempt_to_read (void *data, struct gshm_sleep *sleep)
{
  struct gshm_entering *entering = data;
  struct gshm_rwlock *rwlock = entering->rwlock;

  if (!begin_attempt (entering, sleep))
    return GSHM_CORRUPT;
  uint64_t writer = atomic_load (&rwlock->writer);
  if (GSHM_WHO (writer) == entering->self
      || place_of_reader (rwlock, entering->self) != NULL)
    return GSHM_DEADLOCK;
  if (writer != 0)
    return wait_for_writer (entering, sleep, writer);

  uint32_t leaving = atomic_load (&rwlock->leaving);
  gshm_long_word *place = gshm_take_place (rwlock->readers, GSHM_READERS,
                                           entering->self);
  if (place == NULL)
    {
      has_readers (rwlock, sleep->look);
      sleep->word = &rwlock->leaving;
      sleep->value = leaving;
      return 0;
    }
  writer = atomic_load (&rwlock->writer);
  if (writer == 0)
    return GSHM_DONE;
  leave_as_reader (rwlock, place);
  return wait_for_writer (entering, sleep, writer);
}

int
gshm_rwlock_attempt_to_write (void *data, struct gshm_sleep *sleep)
{
  struct gshm_entering *entering = data;
  struct gshm_rwlock *rwlock = entering->rwlock;

  if (!begin_attempt (entering, sleep))
    return GSHM_CORRUPT;
  uint64_t writer = atomic_load (&rwlock->writer);
  if (!entering->pending)
    {
      if (GSHM_WHO (writer) == entering->self
          || place_of_reader (rwlock, entering->self) != NULL)
        return GSHM_DEADLOCK;
      if (writer != 0)
        return wait_for_writer (entering, sleep, writer);
      if (!gshm_replace (&rwlock->writer, 0, entering->self | PENDING
                    | (entering->announced ? GSHM_WAITERS : 0)))
        {
          gshm_sleep_on_half (sleep, &rwlock->writer, GSHM_NEVER);
          return 0;
        }
      entering->pending = 1;
    }

  uint32_t leaving = atomic_load (&rwlock->leaving);
  if (has_readers (rwlock, sleep->look))
    {
      sleep->word = &rwlock->leaving;
      sleep->value = leaving;
      return 0;
    }
  entering->pending = 0;
  writer = atomic_fetch_and (&rwlock->writer, ~PENDING);
  if (GSHM_WHO (writer) == entering->self)
    return GSHM_DONE;
  /* A faulty process has written there.  */
  gshm_sleep_on_half (sleep, &rwlock->writer, writer);
  return 0;
}

/* A writer that waits no longer for readers.  */
void
gshm_rwlock_cancel (void *data)
{
  struct gshm_entering *entering = data;
  struct gshm_rwlock *rwlock = entering->rwlock;

  if (entering->pending
      && gshm_still_has_format (&rwlock->format, GSHM_RWLOCK_FORMAT,
                                sizeof *rwlock)
      && gshm_self (atomic_load (&rwlock->namespace)) == entering->self
      && is_writer (rwlock, entering->self))
    leave_as_writer (rwlock, 0);
}

/* Unlock as a reader or, with NEXT, as the writer.  Return DONE or
   NOT_OWNER.  */
static enum gshm_result
unlock (struct gshm_rwlock *rwlock, uint64_t next)
{
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));
  gshm_long_word *place = place_of_reader (rwlock, self);

  if (place != NULL)
    leave_as_reader (rwlock, place);
  else if (is_writer (rwlock, self))
    leave_as_writer (rwlock, next);
  else
    return GSHM_NOT_OWNER;
  return GSHM_DONE;
}

enum gshm_result
gshm_rwlock_unlock (struct gshm_rwlock *rwlock)
{
  return unlock (rwlock, 0);
}

void
gshm_rwlock_leave (struct gshm_rwlock *rwlock, int is_inconsistent)
{
  if (gshm_still_has_format (&rwlock->format, GSHM_RWLOCK_FORMAT,
                             sizeof *rwlock))
    unlock (rwlock, is_inconsistent ? GSHM_ABANDONED : 0);
}

int
gshm_rwlock_is_mine (struct gshm_rwlock *rwlock)
{
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));

  return is_writer (rwlock, self) || place_of_reader (rwlock, self) != NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause
   sync.c - the locks, for C.  */

#include <config.h>

#include <limits.h>

#include "c/face.h"
#include "core/barrier.h"
#include "core/condition.h"
#include "core/mutex.h"
#include "core/rwlock.h"
#include "core/semaphore.h"

_Static_assert (
  sizeof (struct gshm_mutex) == sizeof (struct gshm_mutex_words)
    && sizeof (struct gshm_condition_variable)
         == sizeof (struct gshm_condition_words)
    && sizeof (struct gshm_semaphore) == sizeof (struct gshm_semaphore_words)
    && sizeof (struct gshm_barrier) == sizeof (struct gshm_barrier_words)
    && sizeof (struct gshm_rwlock) == sizeof (struct gshm_rwlock_words),
  "gshm.h has the sizes that core has");
_Static_assert (GSHM_SEMAPHORE_MAX == GSHM_MAX_VALUE
                 && GSHM_BARRIER_MAX == GSHM_MAX_PARTIES
                 && GSHM_RWLOCK_MAX_READERS == GSHM_MAX_READERS,
               "gshm.h has the limits that core has");

/* Before a structure at ADDRESS is initialized.  */
static int
check_new (const void *address)
{
  return gshm_is_aligned (address) ? gshm_require_self () : -EINVAL;
}

/* Before the use of a structure of FORMAT at ADDRESS.  */
static inline int
check_use (const void *address, uint64_t format)
{
  return gshm_is_there (address, format) ? gshm_require_self () : -EINVAL;
}

/* The same for a wait.  */
static inline int
check_wait (const void *address, uint64_t format, int64_t timeout)
{
  return timeout < 0 ? -EINVAL : check_use (address, format);
}

/* Call ATTEMPT until OPERATION is done or TIMEOUT expires; else cancel it.  */
static int
wait_for (int64_t timeout, gshm_attempt *attempt,
          void (*cancel) (void *operation), void *operation)
{
  int result = gshm_wait (NULL, timeout, attempt, operation);

  if (result != GSHM_DONE && result != GSHM_OWNER_DIED)
    cancel (operation);
  return gshm_to_errno ((enum gshm_result) result);
}


/* Mutexes.  */

static struct gshm_mutex_words *
mutex_words (struct gshm_mutex *mutex)
{
  return (void *) mutex;
}

int
gshm_mutex_init (struct gshm_mutex *mutex)
{
  int error = check_new (mutex);

  if (error == 0)
    gshm_init_mutex (mutex_words (mutex));
  return error;
}

int
gshm_mutex_lock (struct gshm_mutex *mutex, int64_t timeout_ns)
{
  int error = check_wait (mutex, GSHM_MUTEX_FORMAT, timeout_ns);
  struct gshm_mutex_locking locking;

  if (error != 0 || gshm_try_mutex (mutex_words (mutex)))
    return error;
  gshm_mutex_begin (&locking, mutex_words (mutex));
  return wait_for (timeout_ns, gshm_mutex_attempt, gshm_mutex_cancel,
                   &locking);
}

int
gshm_mutex_unlock (struct gshm_mutex *mutex)
{
  int error = check_use (mutex, GSHM_MUTEX_FORMAT);

  return error != 0 ? error
                    : gshm_to_errno (gshm_unlock_mutex (mutex_words (mutex)));
}

int
gshm_mutex_abandon (struct gshm_mutex *mutex)
{
  int error = check_use (mutex, GSHM_MUTEX_FORMAT);

  if (error == 0 && !gshm_mutex_is_owned (mutex_words (mutex)))
    error = -EPERM;
  if (error == 0)
    gshm_unlock (&mutex_words (mutex)->owner, GSHM_ABANDONED);
  return error;
}


/* Condition variables.  */

static struct gshm_condition_words *
condition_words (struct gshm_condition_variable *condition)
{
  return (void *) condition;
}

int
gshm_condition_variable_init (struct gshm_condition_variable *condition)
{
  int error = check_new (condition);

  if (error == 0)
    gshm_init_condition (condition_words (condition));
  return error;
}

int
gshm_condition_variable_wait (struct gshm_condition_variable *condition,
                              struct gshm_mutex *mutex, int64_t timeout_ns)
{
  int error = check_wait (condition, GSHM_CONDITION_FORMAT, timeout_ns);
  struct gshm_condition_waiter waiter;

  if (error == 0)
    error = check_use (mutex, GSHM_MUTEX_FORMAT);
  if (error == 0 && !gshm_mutex_is_owned (mutex_words (mutex)))
    error = -EPERM;
  if (error != 0)
    return error;
  gshm_make_mutex_consistent (mutex_words (mutex));
  gshm_condition_begin (&waiter, condition_words (condition),
                        mutex_words (mutex));
  return gshm_to_errno (gshm_condition_wait (&waiter, NULL, timeout_ns));
}

static int
signal_waiters (struct gshm_condition_variable *condition, uint64_t count)
{
  int error = check_use (condition, GSHM_CONDITION_FORMAT);

  if (error == 0)
    gshm_signal_condition (condition_words (condition), count);
  return error;
}

int
gshm_condition_variable_signal (struct gshm_condition_variable *condition)
{
  return signal_waiters (condition, 1);
}

int
gshm_condition_variable_broadcast (struct gshm_condition_variable *condition)
{
  return signal_waiters (condition, INT_MAX);
}


/* Semaphores.  */

static struct gshm_semaphore_words *
semaphore_words (struct gshm_semaphore *semaphore)
{
  return (void *) semaphore;
}

int
gshm_semaphore_init (struct gshm_semaphore *semaphore, uint32_t value)
{
  if (!gshm_is_aligned (semaphore) || value > GSHM_MAX_VALUE)
    return -EINVAL;
  gshm_init_semaphore (semaphore_words (semaphore), value);
  return 0;
}

int
gshm_semaphore_post (struct gshm_semaphore *semaphore)
{
  if (!gshm_is_there (semaphore, GSHM_SEMAPHORE_FORMAT))
    return -EINVAL;
  return gshm_to_errno (gshm_post_semaphore (semaphore_words (semaphore)));
}

int
gshm_semaphore_wait (struct gshm_semaphore *semaphore, int64_t timeout_ns)
{
  if (timeout_ns < 0 || !gshm_is_there (semaphore, GSHM_SEMAPHORE_FORMAT))
    return -EINVAL;
  struct gshm_semaphore_waiter waiter
    = { .semaphore = semaphore_words (semaphore) };

  if (gshm_try_semaphore (waiter.semaphore))
    return 0;
  return wait_for (timeout_ns, gshm_semaphore_attempt, gshm_semaphore_cancel,
                   &waiter);
}

int
gshm_semaphore_value (const struct gshm_semaphore *semaphore, uint32_t *value)
{
  if (value == NULL || !gshm_is_there (semaphore, GSHM_SEMAPHORE_FORMAT))
    return -EINVAL;
  *value = gshm_value_of_semaphore ((const void *) semaphore);
  return 0;
}


/* Barriers.  */

int
gshm_barrier_init (struct gshm_barrier *barrier, uint32_t parties)
{
  int error = check_new (barrier);

  if (parties == 0 || parties > GSHM_MAX_PARTIES)
    return -EINVAL;
  if (error == 0)
    gshm_init_barrier ((void *) barrier, parties);
  return error;
}

int
gshm_barrier_wait (struct gshm_barrier *barrier, int64_t timeout_ns)
{
  int error = check_wait (barrier, GSHM_BARRIER_FORMAT, timeout_ns);
  struct gshm_barrier_waiter waiter;

  if (error != 0)
    return error;
  if (gshm_barrier_begin (&waiter, (void *) barrier) == GSHM_CORRUPT)
    return -EINVAL;
  int result = gshm_wait (NULL, timeout_ns, gshm_barrier_attempt, &waiter);
  if (result == GSHM_CORRUPT)
    gshm_barrier_cancel (&waiter);
  else if (result == GSHM_TIMED_OUT && gshm_barrier_leave (&waiter))
    result = GSHM_DONE;
  return gshm_to_errno ((enum gshm_result) result);
}


/* Read-write locks.  */

static struct gshm_rwlock_words *
rwlock_words (struct gshm_rwlock *rwlock)
{
  return (void *) rwlock;
}

int
gshm_rwlock_init (struct gshm_rwlock *rwlock)
{
  int error = check_new (rwlock);

  if (error == 0)
    gshm_init_rwlock (rwlock_words (rwlock));
  return error;
}

static int
lock_rwlock (struct gshm_rwlock *rwlock, gshm_attempt *attempt,
             int64_t timeout_ns)
{
  int error = check_wait (rwlock, GSHM_RWLOCK_FORMAT, timeout_ns);
  struct gshm_rwlock_locking locking;

  if (error != 0)
    return error;
  gshm_rwlock_begin (&locking, rwlock_words (rwlock));
  return wait_for (timeout_ns, attempt, gshm_rwlock_cancel, &locking);
}

int
gshm_rwlock_read_lock (struct gshm_rwlock *rwlock, int64_t timeout_ns)
{
  return lock_rwlock (rwlock, gshm_rwlock_attempt_to_read, timeout_ns);
}

int
gshm_rwlock_write_lock (struct gshm_rwlock *rwlock, int64_t timeout_ns)
{
  return lock_rwlock (rwlock, gshm_rwlock_attempt_to_write, timeout_ns);
}

int
gshm_rwlock_unlock (struct gshm_rwlock *rwlock)
{
  int error = check_use (rwlock, GSHM_RWLOCK_FORMAT);

  return error != 0
           ? error
           : gshm_to_errno (gshm_unlock_rwlock (rwlock_words (rwlock)));
}

int
gshm_rwlock_abandon (struct gshm_rwlock *rwlock)
{
  int error = check_use (rwlock, GSHM_RWLOCK_FORMAT);

  return error != 0
           ? error
           : gshm_to_errno (gshm_abandon_rwlock (rwlock_words (rwlock)));
}

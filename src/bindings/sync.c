/* SPDX-License-Identifier: BSD-3-Clause
   sync.c - locks in shared memory, as procedures.

   A lock is at an offset of a bytevector.  It consists of words of fixed size,
   for 32- and 64-bit processes, and contains no pointer and no unchecked
   index: whatever another process stores there, an operation stays within the
   structure and within its timeout.  The first word is its format.

   A waiter does not depend on a wake-up: it checks again after a bounded
   sleep.  Nor does it depend on the owner: it checks whether that is alive
   (owner.h), and takes over if not.  If an operation takes several steps,
   other threads can continue after each.

   This file checks arguments, calls an operation of core (mutex.c and so on),
   and converts its result to a value or an exception.  */

#include <config.h>

#include <errno.h>
#include <limits.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/hold.h"
#include "bindings/waiting.h"
#include "core/barrier.h"
#include "core/condition.h"
#include "core/mutex.h"
#include "core/rwlock.h"
#include "core/semaphore.h"
#include "init.h"
#include "memory/address.h"

static const char *const kinds[] = {
  [GSHM_MUTEX] = "mutex", [GSHM_CONDITION] = "condition variable",
  [GSHM_SEMAPHORE] = "semaphore", [GSHM_BARRIER] = "barrier",
  [GSHM_RWLOCK] = "read-write lock",
};

/* The arguments that identify a lock.  */
struct use
{
  const char *subr;
  SCM bytevector, k;
  enum gshm_kind kind;
};

static SCM abandoned;

SCM_NORETURN static void
refuse_format (const struct use *use)
{
  gshm_format_error (use->subr, kinds[use->kind], use->bytevector, use->k);
}

static inline void
check_format (const struct use *use, const gshm_long_word *format)
{
  if (!gshm_has_format (format, GSHM_SYNC_FORMAT (use->kind)))
    refuse_format (use);
}

/* The address of the lock of SIZE bytes that USE identifies.  */
static inline void *
structure (const struct use *use, size_t size)
{
  gshm_long_word *format
    = gshm_address (use->subr, use->bytevector, use->k, size, 8, 1);
  gshm_require_self (use->subr);
  check_format (use, format);
  return format;
}

/* The address of SIZE bytes that are to be initialized.  */
static void *
new_structure (const char *subr, SCM bytevector, SCM k, size_t size)
{
  void *address = gshm_address (subr, bytevector, k, size, 8, 1);

  gshm_require_self (subr);
  return address;
}

SCM_NORETURN static void
refuse (const struct use *use, int err, const char *hint)
{
  gshm_error_at (use->subr, err, kinds[use->kind], use->bytevector, use->k,
                 hint);
}

/* The same as result_to_scm for all results but DONE.  */
static SCM
failure_to_scm (const struct use *use, enum gshm_result result)
{
  switch (result)
    {
    case GSHM_TIMED_OUT:
      return SCM_BOOL_F;
    case GSHM_OWNER_DIED:
      return abandoned;
    case GSHM_DEADLOCK:
      refuse (use, EDEADLK, "this thread owns it already");
    case GSHM_NOT_OWNER:
      refuse (use, EPERM, "this thread does not own it");
    case GSHM_OVERFLOW:
      refuse (use, EOVERFLOW, "its value is the largest possible");
    default:
      refuse_format (use);
    }
}

/* RESULT as #t, #f or the symbol abandoned, or an exception.  */
static inline SCM
result_to_scm (const struct use *use, enum gshm_result result)
{
  return result == GSHM_DONE ? SCM_BOOL_T : failure_to_scm (use, result);
}

/* The same for a lock that begins with FORMAT.  If the memory was unmapped
   meanwhile, there are zeros, and the lock that this thread got is not the
   shared one: raise &shm-format-error.  */
static inline SCM
locked_to_scm (const struct use *use, const gshm_long_word *format,
               enum gshm_result result)
{
  if (result != GSHM_TIMED_OUT)
    check_format (use, format);
  return result_to_scm (use, result);
}

/* Call ATTEMPT until OPERATION is done or TIMEOUT expires.  Cancel it if the
   wait ends in any other way, also by an exception.  */
static enum gshm_result
wait_for (const struct use *use, int64_t timeout, gshm_attempt *attempt,
          void (*cancel) (void *operation), void *operation)
{
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (cancel, operation, 0);
  int result = gshm_guile_wait (use->subr, use->k, timeout, attempt,
                                operation);
  scm_dynwind_end ();
  if (result != GSHM_DONE && result != GSHM_OWNER_DIED)
    cancel (operation);
  return (enum gshm_result) result;
}


/* Mutexes.  */

#define MUTEX_INIT "shm-mutex-init!"
#define MUTEX_LOCK "shm-mutex-lock!"
#define MUTEX_UNLOCK "shm-mutex-unlock!"

static SCM
init_mutex (SCM bytevector, SCM k)
{
  gshm_init_mutex (new_structure (MUTEX_INIT, bytevector, k,
                                  sizeof (struct gshm_mutex_words)));
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static inline SCM
lock_mutex_for (const char *subr, SCM bytevector, SCM k, SCM scm_timeout)
{
  struct use use = { subr, bytevector, k, GSHM_MUTEX };
  struct gshm_mutex_words *mutex = structure (&use, sizeof *mutex);
  int64_t timeout = gshm_to_timeout (subr, 3, scm_timeout);
  struct gshm_mutex_locking locking;
  enum gshm_result result = GSHM_DONE;

  if (!gshm_try_mutex (mutex))
    {
      gshm_mutex_begin (&locking, mutex);
      result = wait_for (&use, timeout, gshm_mutex_attempt, gshm_mutex_cancel,
                         &locking);
    }
  SCM value = locked_to_scm (&use, &mutex->format, result);
  scm_remember_upto_here_1 (bytevector);
  return value;
}

static SCM
lock_mutex (SCM bytevector, SCM k, SCM timeout)
{
  return lock_mutex_for (MUTEX_LOCK, bytevector, k, timeout);
}

/* Unlocking declares the data consistent.  */
static inline void
unlock_mutex_for (const char *subr, SCM bytevector, SCM k)
{
  struct use use = { subr, bytevector, k, GSHM_MUTEX };
  struct gshm_mutex_words *mutex = structure (&use, sizeof *mutex);

  enum gshm_result result = gshm_unlock_mutex (mutex);
  if (result != GSHM_DONE)
    result_to_scm (&use, result);
  scm_remember_upto_here_1 (bytevector);
}

static SCM
unlock_mutex (SCM bytevector, SCM k)
{
  unlock_mutex_for (MUTEX_UNLOCK, bytevector, k);
  return SCM_UNSPECIFIED;
}

/* If this thread owns the mutex, unlock it, which itself records whether it is
   abandoned.  */
static void
leave_mutex (SCM bytevector, SCM k, int is_abandoned)
{
  (void) is_abandoned;
  if (!SCM_BYTEVECTOR_P (bytevector) || SCM_BYTEVECTOR_LENGTH (bytevector) > 0)
    gshm_unlock_mutex_if_owned (gshm_address (
      MUTEX_UNLOCK, bytevector, k, sizeof (struct gshm_mutex_words), 8, 1));
  scm_remember_upto_here_1 (bytevector);
}

/* Declare the data consistent that the mutex guards, which this thread
   owns.  */
static void
make_mutex_consistent (const char *subr, SCM bytevector, SCM k)
{
  struct use use = { subr, bytevector, k, GSHM_MUTEX };

  gshm_make_mutex_consistent (
    structure (&use, sizeof (struct gshm_mutex_words)));
  scm_remember_upto_here_1 (bytevector);
}

/* (BYTEVECTOR K) -> hold.  */
static SCM
hold_mutex (SCM bytevector, SCM k)
{
  static const struct gshm_hold_kind kind
    = { .subr = "call-with-shm-mutex",
        .what = "mutex",
        .begin = lock_mutex_for,
        .end = unlock_mutex_for,
        .leave = leave_mutex,
        .recover = make_mutex_consistent };

  return gshm_hold (&kind, bytevector, k);
}


/* Condition variables.  */

#define CONDITION_INIT "shm-condition-variable-init!"
#define CONDITION_WAIT "shm-condition-variable-wait!"
#define CONDITION_SIGNAL "shm-condition-variable-signal!"
#define CONDITION_BROADCAST "shm-condition-variable-broadcast!"

static SCM
init_condition (SCM bytevector, SCM k)
{
  gshm_init_condition (new_structure (CONDITION_INIT, bytevector, k,
                                      sizeof (struct gshm_condition_words)));
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static SCM
wait_on_condition (SCM bytevector, SCM k, SCM mutex_k, SCM scm_timeout)
{
  struct use use = { CONDITION_WAIT, bytevector, k, GSHM_CONDITION };
  struct use mutex_use = { CONDITION_WAIT, bytevector, mutex_k, GSHM_MUTEX };
  struct gshm_condition_words *condition = structure (&use, sizeof *condition);
  struct gshm_mutex_words *mutex = structure (&mutex_use, sizeof *mutex);
  int64_t timeout = gshm_to_timeout (CONDITION_WAIT, 4, scm_timeout);
  const struct gshm_wait_target target = { CONDITION_WAIT, k };
  const struct gshm_host host = gshm_guile_host (&target);
  struct gshm_condition_waiter waiting;

  if (!gshm_mutex_is_owned (mutex))
    result_to_scm (&mutex_use, GSHM_NOT_OWNER);
  gshm_condition_begin (&waiting, condition, mutex);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (gshm_condition_cancel, &waiting, 0);
  enum gshm_result result = gshm_condition_wait (&waiting, &host, timeout);
  scm_dynwind_end ();
  if (result == GSHM_CORRUPT)
    check_format (&use, &condition->format);
  check_format (&mutex_use, &mutex->format);
  SCM value = result_to_scm (&mutex_use, result);
  scm_remember_upto_here_1 (bytevector);
  return value;
}

static SCM
signal_condition (SCM bytevector, SCM k)
{
  struct use use = { CONDITION_SIGNAL, bytevector, k, GSHM_CONDITION };

  gshm_signal_condition (
    structure (&use, sizeof (struct gshm_condition_words)), 1);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static SCM
broadcast_condition (SCM bytevector, SCM k)
{
  struct use use = { CONDITION_BROADCAST, bytevector, k, GSHM_CONDITION };

  gshm_signal_condition (
    structure (&use, sizeof (struct gshm_condition_words)), INT_MAX);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}


/* Semaphores.  */

#define SEMAPHORE_INIT "shm-semaphore-init!"
#define SEMAPHORE_POST "shm-semaphore-post!"
#define SEMAPHORE_WAIT "shm-semaphore-wait!"
#define SEMAPHORE_VALUE "shm-semaphore-value"

static SCM
init_semaphore (SCM bytevector, SCM k, SCM scm_value)
{
  uint32_t value = (uint32_t) gshm_to_int (SEMAPHORE_INIT, 3, scm_value, 0,
                                           (int) GSHM_MAX_VALUE);

  gshm_init_semaphore (new_structure (SEMAPHORE_INIT, bytevector, k,
                                      sizeof (struct gshm_semaphore_words)),
                       value);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static SCM
post_semaphore (SCM bytevector, SCM k)
{
  struct use use = { SEMAPHORE_POST, bytevector, k, GSHM_SEMAPHORE };
  struct gshm_semaphore_words *semaphore = structure (&use, sizeof *semaphore);

  enum gshm_result result = gshm_post_semaphore (semaphore);
  if (result != GSHM_DONE)
    result_to_scm (&use, result);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static SCM
wait_for_semaphore (SCM bytevector, SCM k, SCM scm_timeout)
{
  struct use use = { SEMAPHORE_WAIT, bytevector, k, GSHM_SEMAPHORE };
  struct gshm_semaphore_words *semaphore = structure (&use, sizeof *semaphore);
  int64_t timeout = gshm_to_timeout (SEMAPHORE_WAIT, 3, scm_timeout);

  if (gshm_try_semaphore (semaphore))
    {
      scm_remember_upto_here_1 (bytevector);
      return SCM_BOOL_T;
    }
  struct gshm_semaphore_waiter waiting = { .semaphore = semaphore };
  SCM value = result_to_scm (&use, wait_for (&use, timeout,
                                             gshm_semaphore_attempt,
                                             gshm_semaphore_cancel, &waiting));
  scm_remember_upto_here_1 (bytevector);
  return value;
}

static SCM
semaphore_value (SCM bytevector, SCM k)
{
  struct use use = { SEMAPHORE_VALUE, bytevector, k, GSHM_SEMAPHORE };
  uint32_t value = gshm_value_of_semaphore (
    structure (&use, sizeof (struct gshm_semaphore_words)));

  scm_remember_upto_here_1 (bytevector);
  return scm_from_uint32 (value);
}


/* Barriers.  */

#define BARRIER_INIT "shm-barrier-init!"
#define BARRIER_WAIT "shm-barrier-wait!"

static SCM
init_barrier (SCM bytevector, SCM k, SCM scm_parties)
{
  uint32_t parties = (uint32_t) gshm_to_int (BARRIER_INIT, 3, scm_parties, 1,
                                             GSHM_MAX_PARTIES);

  gshm_init_barrier (new_structure (BARRIER_INIT, bytevector, k,
                                    sizeof (struct gshm_barrier_words)),
                     parties);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static SCM
wait_at_barrier (SCM bytevector, SCM k, SCM scm_timeout)
{
  struct use use = { BARRIER_WAIT, bytevector, k, GSHM_BARRIER };
  struct gshm_barrier_words *barrier = structure (&use, sizeof *barrier);
  int64_t timeout = gshm_to_timeout (BARRIER_WAIT, 3, scm_timeout);
  struct gshm_barrier_waiter waiting;

  if (gshm_barrier_begin (&waiting, barrier) == GSHM_CORRUPT)
    refuse_format (&use);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (gshm_barrier_cancel, &waiting, 0);
  int result = gshm_guile_wait (BARRIER_WAIT, k, timeout, gshm_barrier_attempt,
                                &waiting);
  scm_dynwind_end ();
  if (result == GSHM_CORRUPT)
    gshm_barrier_cancel (&waiting);
  else if (result == GSHM_TIMED_OUT && gshm_barrier_leave (&waiting))
    result = GSHM_DONE;
  scm_remember_upto_here_1 (bytevector);
  return result_to_scm (&use, (enum gshm_result) result);
}


/* Read-write locks.  */

#define RWLOCK_INIT "shm-rwlock-init!"
#define READ_LOCK "shm-rwlock-read-lock!"
#define WRITE_LOCK "shm-rwlock-write-lock!"
#define RWLOCK_UNLOCK "shm-rwlock-unlock!"

static SCM
init_rwlock (SCM bytevector, SCM k)
{
  gshm_init_rwlock (new_structure (RWLOCK_INIT, bytevector, k,
                                   sizeof (struct gshm_rwlock_words)));
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static SCM
enter_rwlock (const char *subr, SCM bytevector, SCM k, SCM scm_timeout,
              gshm_attempt *attempt)
{
  struct use use = { subr, bytevector, k, GSHM_RWLOCK };
  struct gshm_rwlock_words *rwlock = structure (&use, sizeof *rwlock);
  int64_t timeout = gshm_to_timeout (subr, 3, scm_timeout);
  struct gshm_rwlock_locking locking;

  gshm_rwlock_begin (&locking, rwlock);
  SCM value = locked_to_scm (
    &use, &rwlock->format,
    wait_for (&use, timeout, attempt, gshm_rwlock_cancel, &locking));
  scm_remember_upto_here_1 (bytevector);
  return value;
}

static SCM
read_lock_for (const char *subr, SCM bytevector, SCM k, SCM timeout)
{
  return enter_rwlock (subr, bytevector, k, timeout,
                       gshm_rwlock_attempt_to_read);
}

static SCM
write_lock_for (const char *subr, SCM bytevector, SCM k, SCM timeout)
{
  return enter_rwlock (subr, bytevector, k, timeout,
                       gshm_rwlock_attempt_to_write);
}

static SCM
read_lock (SCM bytevector, SCM k, SCM timeout)
{
  return read_lock_for (READ_LOCK, bytevector, k, timeout);
}

static SCM
write_lock (SCM bytevector, SCM k, SCM timeout)
{
  return write_lock_for (WRITE_LOCK, bytevector, k, timeout);
}

static void
unlock_rwlock_for (const char *subr, SCM bytevector, SCM k)
{
  struct use use = { subr, bytevector, k, GSHM_RWLOCK };
  struct gshm_rwlock_words *rwlock = structure (&use, sizeof *rwlock);

  result_to_scm (&use, gshm_unlock_rwlock (rwlock));
  scm_remember_upto_here_1 (bytevector);
}

static SCM
unlock_rwlock (SCM bytevector, SCM k)
{
  unlock_rwlock_for (RWLOCK_UNLOCK, bytevector, k);
  return SCM_UNSPECIFIED;
}

/* If this thread owns the lock, unlock it; as the writer and with
   IS_ABANDONED, leave it abandoned.  */
static void
leave_rwlock (SCM bytevector, SCM k, int is_abandoned)
{
  if (!SCM_BYTEVECTOR_P (bytevector) || SCM_BYTEVECTOR_LENGTH (bytevector) > 0)
    gshm_unlock_rwlock_if_owned (
      gshm_address (RWLOCK_UNLOCK, bytevector, k,
                    sizeof (struct gshm_rwlock_words), 8, 1),
      is_abandoned);
  scm_remember_upto_here_1 (bytevector);
}

/* (BYTEVECTOR K) -> hold as a reader.  */
static SCM
hold_to_read (SCM bytevector, SCM k)
{
  static const struct gshm_hold_kind kind
    = { .subr = "call-with-shm-read-lock",
        .what = "read-write lock",
        .begin = read_lock_for,
        .end = unlock_rwlock_for,
        .leave = leave_rwlock };

  return gshm_hold (&kind, bytevector, k);
}

/* (BYTEVECTOR K) -> hold as a writer.  */
static SCM
hold_to_write (SCM bytevector, SCM k)
{
  static const struct gshm_hold_kind kind
    = { .subr = "call-with-shm-write-lock",
        .what = "read-write lock",
        .begin = write_lock_for,
        .end = unlock_rwlock_for,
        .leave = leave_rwlock };

  return gshm_hold (&kind, bytevector, k);
}

void
gshm_sync_init (void)
{
  abandoned = gshm_symbol ("abandoned");

  gshm_define (MUTEX_INIT, 2, 0, init_mutex);
  gshm_define (MUTEX_LOCK, 2, 1, lock_mutex);
  gshm_define (MUTEX_UNLOCK, 2, 0, unlock_mutex);
  gshm_define ("%shm-hold-mutex", 2, 0, hold_mutex);
  gshm_define (CONDITION_INIT, 2, 0, init_condition);
  gshm_define (CONDITION_WAIT, 3, 1, wait_on_condition);
  gshm_define (CONDITION_SIGNAL, 2, 0, signal_condition);
  gshm_define (CONDITION_BROADCAST, 2, 0, broadcast_condition);
  gshm_define (SEMAPHORE_INIT, 3, 0, init_semaphore);
  gshm_define (SEMAPHORE_POST, 2, 0, post_semaphore);
  gshm_define (SEMAPHORE_WAIT, 2, 1, wait_for_semaphore);
  gshm_define (SEMAPHORE_VALUE, 2, 0, semaphore_value);
  gshm_define (BARRIER_INIT, 3, 0, init_barrier);
  gshm_define (BARRIER_WAIT, 2, 1, wait_at_barrier);
  gshm_define (RWLOCK_INIT, 2, 0, init_rwlock);
  gshm_define (READ_LOCK, 2, 1, read_lock);
  gshm_define (WRITE_LOCK, 2, 1, write_lock);
  gshm_define (RWLOCK_UNLOCK, 2, 0, unlock_rwlock);
  gshm_define ("%shm-hold-to-read", 2, 0, hold_to_read);
  gshm_define ("%shm-hold-to-write", 2, 0, hold_to_write);
  gshm_define_size ("shm-mutex-size", sizeof (struct gshm_mutex_words));
  gshm_define_size ("shm-condition-variable-size",
                    sizeof (struct gshm_condition_words));
  gshm_define_size ("shm-semaphore-size",
                    sizeof (struct gshm_semaphore_words));
  gshm_define_size ("shm-barrier-size", sizeof (struct gshm_barrier_words));
  gshm_define_size ("shm-rwlock-size", sizeof (struct gshm_rwlock_words));
}

/* SPDX-License-Identifier: BSD-3-Clause
   locks.c - the protocols of src/core/, tested without Guile.

   Each lock is used by threads at once, left by its host at every hook, and
   tried on memory that holds anything.  tests/core/run builds this with the
   sanitizers.  */

#include <config.h>

#include <stdlib.h>

#include "support.h"

#include "core/barrier.h"
#include "core/condition.h"
#include "core/mutex.h"
#include "core/rwlock.h"
#include "core/semaphore.h"

/* A thread that has something, from when it says so until it is told to give
   it up.  */
struct holder
{
  pthread_t thread;
  pthread_barrier_t has, give_up;
  void (*take) (void *lock);
  void (*release) (void *lock);
  void *lock;
};

static void *
hold (void *data)
{
  struct holder *holder = data;

  holder->take (holder->lock);
  pthread_barrier_wait (&holder->has);
  pthread_barrier_wait (&holder->give_up);
  holder->release (holder->lock);
  return NULL;
}

static void
start_holder (struct holder *holder, void (*take) (void *),
              void (*release) (void *), void *lock)
{
  holder->take = take;
  holder->release = release;
  holder->lock = lock;
  pthread_barrier_init (&holder->has, NULL, 2);
  pthread_barrier_init (&holder->give_up, NULL, 2);
  assert_int_equal (pthread_create (&holder->thread, NULL, hold, holder), 0);
  pthread_barrier_wait (&holder->has);
}

static void
stop_holder (struct holder *holder)
{
  pthread_barrier_wait (&holder->give_up);
  pthread_join (holder->thread, NULL);
  pthread_barrier_destroy (&holder->has);
  pthread_barrier_destroy (&holder->give_up);
}


/* Memory that holds anything.  The words around it must stay.  */

#define GARBAGE 3000
#define SENTINEL UINT64_C (0x5e5e5e5e5e5e5e5e)

/* For each of many: attempt on a scribbled structure of SIZE bytes, and leave
   it.  BEGIN returns whether there is something to attempt.  */
static void
try_garbage (size_t size, uint64_t format, gshm_attempt *attempt,
             int (*begin) (void *operation, void *memory),
             void (*cancel) (void *operation), void *operation)
{
  uint64_t *memory = malloc (size + 2 * sizeof *memory);

  memory[0] = memory[1 + size / sizeof *memory] = SENTINEL;
  for (int i = 0; i < GARBAGE; i++)
    {
      struct gshm_sleep sleep = { .announce = i % 2, .check_owners = i % 3 == 0 };

      scribble (memory + 1, size, format);
      if (!begin (operation, memory + 1))
        continue;
      for (int tries = 0; tries < 3; tries++)
        {
          int result = attempt (operation, &sleep);
          assert_in_range (result, GSHM_TIMED_OUT, GSHM_CORRUPT);
          if (result == GSHM_TIMED_OUT)
            assert_non_null (sleep.word);
        }
      cancel (operation);
    }
  assert_true (memory[0] == SENTINEL);
  assert_true (memory[1 + size / sizeof *memory] == SENTINEL);
  free (memory);
}

/* Where the format is another, an attempt says so.  */
static void
try_other_format (size_t size, gshm_attempt *attempt, void *operation,
                  void *memory)
{
  struct gshm_sleep sleep = { .check_owners = 1 };

  memset (memory, 0, size);
  assert_int_equal (attempt (operation, &sleep), GSHM_CORRUPT);
}


/* Mutexes.  */

static struct gshm_mutex_words mutex;
static uint64_t total;

static void
lock_it (void *data)
{
  struct gshm_mutex_locking locking;

  gshm_mutex_begin (&locking, data);
  assert_int_equal (gshm_wait (NULL, GSHM_FOREVER, gshm_mutex_attempt,
                               &locking), GSHM_DONE);
}

static void
unlock_it (void *data)
{
  assert_int_equal (gshm_unlock_mutex (data), GSHM_DONE);
}

static void *
add_with_mutex (void *data)
{
  (void) data;
  for (int i = 0; i < ROUNDS; i++)
    {
      if (!gshm_try_mutex (&mutex))
        lock_it (&mutex);
      total++;
      unlock_it (&mutex);
    }
  return NULL;
}

static int
begin_locking (void *operation, void *memory)
{
  gshm_mutex_begin (operation, memory);
  return 1;
}

static void
test_mutex (void **state)
{
  struct gshm_mutex_locking locking;
  struct gshm_sleep sleep = { .check_owners = 1 };
  struct holder holder;

  (void) state;
  gshm_init_mutex (&mutex);
  assert_int_equal (gshm_unlock_mutex (&mutex), GSHM_NOT_OWNER);
  lock_it (&mutex);
  gshm_mutex_begin (&locking, &mutex);
  assert_int_equal (gshm_mutex_attempt (&locking, &sleep), GSHM_DEADLOCK);
  unlock_it (&mutex);

  start_holder (&holder, lock_it, unlock_it, &mutex);
  assert_int_equal (gshm_unlock_mutex (&mutex), GSHM_NOT_OWNER);
  for (int hook = 0; hook < 6; hook++)
    {
      gshm_mutex_begin (&locking, &mutex);
      wait_and_leave (gshm_mutex_attempt, gshm_mutex_cancel, &locking, hook);
    }
  stop_holder (&holder);
  lock_it (&mutex);
  unlock_it (&mutex);

  total = 0;
  in_threads (add_with_mutex, NULL);
  assert_int_equal (total, THREADS * ROUNDS);

  try_garbage (sizeof mutex, GSHM_MUTEX_FORMAT, gshm_mutex_attempt,
               begin_locking, gshm_mutex_cancel, &locking);
  gshm_mutex_begin (&locking, &mutex);
  try_other_format (sizeof mutex, gshm_mutex_attempt, &locking, &mutex);
}

/* A thread that ends with the mutex has died as its owner.  */
static void *
lock_and_end (void *data)
{
  lock_it (data);
  return NULL;
}

static void
test_owner_that_died (void **state)
{
  struct gshm_mutex_locking locking;
  pthread_t thread;

  (void) state;
  gshm_init_mutex (&mutex);
  pthread_create (&thread, NULL, lock_and_end, &mutex);
  pthread_join (thread, NULL);
  for (int i = 0; i < 2; i++)
    {
      gshm_mutex_begin (&locking, &mutex);
      assert_int_equal (gshm_wait (NULL, 10 * GSHM_SECOND, gshm_mutex_attempt,
                                   &locking), GSHM_OWNER_DIED);
      assert_true (gshm_mutex_is_inconsistent (&mutex));
      /* Not made consistent, so that the next owner is told, too.  */
      gshm_unlock_mutex_as_is (&mutex);
    }
  gshm_mutex_begin (&locking, &mutex);
  assert_int_equal (gshm_wait (NULL, GSHM_SECOND, gshm_mutex_attempt,
                               &locking), GSHM_OWNER_DIED);
  gshm_make_mutex_consistent (&mutex);
  gshm_unlock_mutex_as_is (&mutex);
  lock_it (&mutex);
  unlock_it (&mutex);
}


/* Condition variables.  */

static struct gshm_condition_words condition;
static int turn;

static void *
take_turns (void *data)
{
  int mine = *(int *) data;

  for (int i = 0; i < ROUNDS / 4; i++)
    {
      struct gshm_condition_waiter awaiting;

      lock_it (&mutex);
      while (turn != mine)
        {
          gshm_condition_begin (&awaiting, &condition, &mutex);
          assert_int_equal (gshm_condition_wait (&awaiting, NULL,
                                                 10 * GSHM_SECOND), GSHM_DONE);
        }
      turn = !mine;
      gshm_signal_condition (&condition, 1);
      unlock_it (&mutex);
    }
  return NULL;
}

static void
test_condition (void **state)
{
  int turns[] = { 0, 1 };
  pthread_t threads[2];
  struct gshm_condition_waiter awaiting;

  (void) state;
  gshm_init_mutex (&mutex);
  gshm_init_condition (&condition);
  turn = 0;
  for (int i = 0; i < 2; i++)
    pthread_create (&threads[i], NULL, take_turns, &turns[i]);
  for (int i = 0; i < 2; i++)
    pthread_join (threads[i], NULL);

  lock_it (&mutex);
  gshm_condition_begin (&awaiting, &condition, &mutex);
  assert_int_equal (gshm_condition_wait (&awaiting, NULL, MILLISECOND),
                    GSHM_TIMED_OUT);
  unlock_it (&mutex);

  for (int hook = 0; hook < 6; hook++)
    {
      lock_it (&mutex);
      gshm_condition_begin (&awaiting, &condition, &mutex);
      hooks_before_leaving = hook;
      if (setjmp (left) == 0)
        {
          assert_int_equal (gshm_condition_wait (&awaiting, &leaving_host,
                                                 120 * MILLISECOND),
                            GSHM_TIMED_OUT);
          unlock_it (&mutex);
        }
      else
        {
          gshm_condition_cancel (&awaiting);
          assert_int_equal (gshm_unlock_mutex (&mutex), GSHM_NOT_OWNER);
        }
    }
  /* No waiter is left behind.  */
  assert_int_equal (atomic_load (&condition.state) >> 32, 0);

  /* A peer wipes the mutex meanwhile.  */
  lock_it (&mutex);
  gshm_condition_begin (&awaiting, &condition, &mutex);
  memset (&mutex, 0, sizeof mutex);
  assert_int_equal (gshm_condition_wait (&awaiting, NULL, MILLISECOND),
                    GSHM_CORRUPT);
}

static void
stay (void *data, const gshm_word *word)
{
  (void) data;
  (void) word;
}

static void
abandon_mutex (void *data)
{
  (void) data;
  if (GSHM_OWNER_OF (atomic_load (&mutex.owner)) == 0)
    atomic_store (&mutex.owner, GSHM_ABANDONED);
}

/* Also in another PID namespace, where a waiter cannot see that an owner is
   dead.  */
static void
test_condition_of_abandoned_mutex (void **state)
{
  struct gshm_condition_waiter awaiting;
  struct gshm_host host = { .call_outside = call_outside,
                            .after_sleep = stay,
                            .between_sleeps = abandon_mutex,
                            .is_fault_pending = is_no_fault_pending };
  int64_t start = gshm_now ();

  (void) state;
  gshm_init_mutex (&mutex);
  gshm_init_condition (&condition);
  atomic_store (&mutex.namespace, gshm_namespace () + 1);
  lock_it (&mutex);
  gshm_condition_begin (&awaiting, &condition, &mutex);
  assert_int_equal (gshm_condition_wait (&awaiting, &host, 100 * GSHM_SECOND),
                    GSHM_OWNER_DIED);
  assert_true (gshm_now () - start < 50 * GSHM_SECOND);
}


/* Semaphores.  */

static struct gshm_semaphore_words semaphore;

static void *
add_with_semaphore (void *data)
{
  (void) data;
  for (int i = 0; i < ROUNDS; i++)
    {
      struct gshm_semaphore_waiter waiting = { .semaphore = &semaphore };

      if (!gshm_try_semaphore (&semaphore))
        assert_int_equal (gshm_wait (NULL, GSHM_FOREVER,
                                     gshm_semaphore_attempt, &waiting),
                          GSHM_DONE);
      total++;
      assert_int_equal (gshm_post_semaphore (&semaphore), GSHM_DONE);
    }
  return NULL;
}

static int
begin_waiting (void *operation, void *memory)
{
  *(struct gshm_semaphore_waiter *) operation
    = (struct gshm_semaphore_waiter) { .semaphore = memory };
  return 1;
}

static void
test_semaphore (void **state)
{
  struct gshm_semaphore_waiter waiting;

  (void) state;
  gshm_init_semaphore (&semaphore, GSHM_MAX_VALUE);
  assert_int_equal (gshm_post_semaphore (&semaphore), GSHM_OVERFLOW);
  gshm_init_semaphore (&semaphore, 0);
  for (int hook = 0; hook < 6; hook++)
    {
      begin_waiting (&waiting, &semaphore);
      wait_and_leave (gshm_semaphore_attempt, gshm_semaphore_cancel, &waiting,
                      hook);
    }
  assert_int_equal (gshm_value_of_semaphore (&semaphore), 0);
  gshm_post_semaphore (&semaphore);
  total = 0;
  in_threads (add_with_semaphore, NULL);
  assert_int_equal (total, THREADS * ROUNDS);
  assert_int_equal (gshm_value_of_semaphore (&semaphore), 1);

  try_garbage (sizeof semaphore, GSHM_SEMAPHORE_FORMAT, gshm_semaphore_attempt,
               begin_waiting, gshm_semaphore_cancel, &waiting);
  begin_waiting (&waiting, &semaphore);
  try_other_format (sizeof semaphore, gshm_semaphore_attempt, &waiting,
                    &semaphore);
}


/* Barriers.  */

static struct gshm_barrier_words barrier;
static atomic_int arrivals;

static void *
pass_often (void *data)
{
  (void) data;
  for (int i = 0; i < ROUNDS / 10; i++)
    {
      struct gshm_barrier_waiter arriving;

      atomic_fetch_add (&arrivals, 1);
      assert_int_equal (gshm_barrier_begin (&arriving, &barrier), GSHM_DONE);
      assert_int_equal (gshm_wait (NULL, GSHM_FOREVER, gshm_barrier_attempt,
                                   &arriving), GSHM_DONE);
      assert_true (atomic_load (&arrivals) >= (i + 1) * THREADS);
    }
  return NULL;
}

static int
begin_arriving (void *operation, void *memory)
{
  return gshm_barrier_begin (operation, memory) == GSHM_DONE;
}

static void
test_barrier (void **state)
{
  struct gshm_barrier_waiter arriving;

  (void) state;
  gshm_init_barrier (&barrier, THREADS);
  for (int hook = 0; hook < 6; hook++)
    {
      assert_true (begin_arriving (&arriving, &barrier));
      wait_and_leave (gshm_barrier_attempt, gshm_barrier_cancel, &arriving,
                      hook);
    }
  atomic_store (&arrivals, 0);
  in_threads (pass_often, NULL);

  try_garbage (sizeof barrier, GSHM_BARRIER_FORMAT, gshm_barrier_attempt,
               begin_arriving, gshm_barrier_cancel, &arriving);
  begin_arriving (&arriving, &barrier);
  try_other_format (sizeof barrier, gshm_barrier_attempt, &arriving, &barrier);
}


/* Read-write locks.  */

static struct gshm_rwlock_words rwlock;

static void
enter (gshm_attempt *attempt, void *lock)
{
  struct gshm_rwlock_locking entering;

  gshm_rwlock_begin (&entering, lock);
  assert_int_equal (gshm_wait (NULL, GSHM_FOREVER, attempt, &entering),
                    GSHM_DONE);
}

static void
read_it (void *lock)
{
  enter (gshm_rwlock_attempt_to_read, lock);
}

static void
write_it (void *lock)
{
  enter (gshm_rwlock_attempt_to_write, lock);
}

static void
leave_it (void *lock)
{
  assert_int_equal (gshm_unlock_rwlock (lock), GSHM_DONE);
}

static void *
read_and_write (void *data)
{
  (void) data;
  for (int i = 0; i < ROUNDS / 4; i++)
    {
      write_it (&rwlock);
      total++;
      leave_it (&rwlock);
      read_it (&rwlock);
      assert_true (total > 0);
      leave_it (&rwlock);
    }
  return NULL;
}

static int
begin_entering (void *operation, void *memory)
{
  gshm_rwlock_begin (operation, memory);
  return 1;
}

/* Leave at every hook a wait that HOLDER's lock keeps from ending.  */
static void
leave_rwlock (void (*take) (void *), gshm_attempt *attempt)
{
  struct gshm_rwlock_locking entering;
  struct holder holder;

  start_holder (&holder, take, leave_it, &rwlock);
  for (int hook = 0; hook < 6; hook++)
    {
      gshm_rwlock_begin (&entering, &rwlock);
      wait_and_leave (attempt, gshm_rwlock_cancel, &entering, hook);
    }
  assert_int_equal (gshm_unlock_rwlock (&rwlock), GSHM_NOT_OWNER);
  stop_holder (&holder);
  write_it (&rwlock);
  leave_it (&rwlock);
}

static void *
write_lock_and_end (void *data)
{
  struct gshm_rwlock_locking locking;

  gshm_rwlock_begin (&locking, data);
  assert_int_equal (gshm_wait (NULL, GSHM_FOREVER, gshm_rwlock_attempt_to_write,
                               &locking), GSHM_DONE);
  return NULL;
}

/* A dead writer's lock, left inconsistent by a reader and a writer in turn.  */
static void
test_abandoned_rwlock (void **state)
{
  struct gshm_rwlock_locking locking;
  static struct gshm_rwlock_words lock;
  pthread_t thread;

  (void) state;
  gshm_init_rwlock (&lock);
  pthread_create (&thread, NULL, write_lock_and_end, &lock);
  pthread_join (thread, NULL);
  for (int i = 0; i < 4; i++)
    {
      gshm_rwlock_begin (&locking, &lock);
      assert_int_equal (gshm_wait (NULL, GSHM_SECOND,
                                   i % 2 == 0 ? gshm_rwlock_attempt_to_read
                                   : gshm_rwlock_attempt_to_write, &locking),
                        GSHM_OWNER_DIED);
      assert_true (gshm_rwlock_is_owned (&lock));
      gshm_unlock_rwlock_if_owned (&lock, i < 3);
    }
  gshm_rwlock_begin (&locking, &lock);
  assert_int_equal (gshm_wait (NULL, 0, gshm_rwlock_attempt_to_read, &locking),
                    GSHM_DONE);
  gshm_unlock_rwlock_if_owned (&lock, 1);
  assert_false (gshm_rwlock_is_owned (&lock));
}

/* The host's hook runs while the writer waits.  */
static void
test_pending_writer (void **state)
{
  struct gshm_rwlock_locking locking;
  struct gshm_sleep sleep = { .check_owners = 0 };
  struct holder holder;

  (void) state;
  gshm_init_rwlock (&rwlock);
  start_holder (&holder, read_it, leave_it, &rwlock);
  gshm_rwlock_begin (&locking, &rwlock);
  assert_int_equal (gshm_rwlock_attempt_to_write (&locking, &sleep), 0);
  assert_int_equal (gshm_unlock_rwlock (&rwlock), GSHM_NOT_OWNER);
  stop_holder (&holder);
  assert_int_equal (gshm_rwlock_attempt_to_write (&locking, &sleep),
                    GSHM_DONE);
  assert_int_equal (gshm_unlock_rwlock (&rwlock), GSHM_DONE);
}

static void
test_rwlock (void **state)
{
  struct gshm_rwlock_locking entering;

  (void) state;
  gshm_init_rwlock (&rwlock);
  leave_rwlock (write_it, gshm_rwlock_attempt_to_read);
  leave_rwlock (write_it, gshm_rwlock_attempt_to_write);
  leave_rwlock (read_it, gshm_rwlock_attempt_to_write);
  total = 0;
  in_threads (read_and_write, NULL);
  assert_int_equal (total, THREADS * (ROUNDS / 4));

  try_garbage (sizeof rwlock, GSHM_RWLOCK_FORMAT, gshm_rwlock_attempt_to_read,
               begin_entering, gshm_rwlock_cancel, &entering);
  try_garbage (sizeof rwlock, GSHM_RWLOCK_FORMAT, gshm_rwlock_attempt_to_write,
               begin_entering, gshm_rwlock_cancel, &entering);
  gshm_rwlock_begin (&entering, &rwlock);
  try_other_format (sizeof rwlock, gshm_rwlock_attempt_to_read, &entering,
                    &rwlock);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_mutex),
    cmocka_unit_test (test_owner_that_died),
    cmocka_unit_test (test_condition),
    cmocka_unit_test (test_condition_of_abandoned_mutex),
    cmocka_unit_test (test_semaphore),
    cmocka_unit_test (test_barrier),
    cmocka_unit_test (test_pending_writer),
    cmocka_unit_test (test_rwlock),
    cmocka_unit_test (test_abandoned_rwlock),
  };

  gshm_owner_start ();
  return cmocka_run_group_tests (tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause
   support.h - what the tests of src/core/ share.  */

#ifndef SUPPORT_H
#define SUPPORT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/result.h"
#include "core/wait.h"

#define MILLISECOND (GSHM_SECOND / 1000)
#define THREADS 4
#define ROUNDS 2000

/* A host that leaves at one of its hooks.  */

static jmp_buf left;
static int hooks_before_leaving;

static void
leave_in_time (void)
{
  if (hooks_before_leaving-- == 0)
    longjmp (left, 1);
}

static void *
call_outside (void *(*function) (void *data), void *data)
{
  return function (data);
}

static void
after_sleep (void *data, const gshm_word *word)
{
  (void) data;
  (void) word;
  leave_in_time ();
}

static void
between_sleeps (void *data)
{
  (void) data;
  leave_in_time ();
}

static int
is_no_fault_pending (void)
{
  return 0;
}

static const struct gshm_host leaving_host
  = { .call_outside = call_outside, .after_sleep = after_sleep,
      .between_sleeps = between_sleeps,
      .is_fault_pending = is_no_fault_pending };

/* Wait with OPERATION for 120 ms, in a host that leaves at the hook HOOK; then
   cancel, twice.  Return whether the host left.  */
static int
wait_and_leave (gshm_attempt *attempt, void (*cancel) (void *operation),
                void *operation, int hook)
{
  hooks_before_leaving = hook;
  if (setjmp (left) == 0)
    {
      assert_int_equal (gshm_wait (&leaving_host, 120 * MILLISECOND, attempt,
                                   operation), GSHM_TIMED_OUT);
      cancel (operation);
      return 0;
    }
  cancel (operation);
  cancel (operation);
  return 1;
}


/* Threads.  */

static void
in_threads (void *(*body) (void *data), void *data)
{
  pthread_t threads[THREADS];

  for (int i = 0; i < THREADS; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, body, data), 0);
  for (int i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
}


/* Arbitrary memory.  */

static void
scribble (void *memory, size_t size, uint64_t format)
{
  static const uint64_t likely[]
    = { 0, 1, 2, 4, 7, UINT64_MAX, UINT32_MAX, UINT64_C (1) << 32, 8 };
  gshm_long_word *words = memory;

  atomic_store (&words[0], format);
  for (size_t i = 1; i < size / sizeof *words; i++)
    {
      uint64_t random = (uint64_t) rand () << 32 ^ (uint64_t) rand ();
      atomic_store (&words[i], rand () % 2 ? random
                    : likely[(size_t) rand ()
                             % (sizeof likely / sizeof *likely)]);
    }
}

#endif /* SUPPORT_H */

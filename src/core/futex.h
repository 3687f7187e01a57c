/* SPDX-License-Identifier: BSD-3-Clause
   futex.h - words in shared memory, the clock, sleeping and waking.  */

#ifndef GSHM_FUTEX_H
#define GSHM_FUTEX_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef _Atomic uint32_t gshm_word;
typedef _Atomic uint64_t gshm_long_word;

/* Sleep for that long, or until a signal arrives.  */
void gshm_pause (int64_t nanoseconds);

/* The time on the clock CLOCK_MONOTONIC, in nanoseconds.  */
int64_t gshm_now (void);

#define GSHM_SECOND INT64_C (1000000000)

/* Sleep while WORD is VALUE, for at most that long.  Return 0 if another
   thread woke this one, else an errno: ETIMEDOUT, EAGAIN (WORD is not VALUE),
   EINTR (a signal arrived), EFAULT (its page is not accessible).  */
int gshm_futex_wait (gshm_word *word, uint32_t value, int64_t nanoseconds);

/* Wake at most COUNT of the threads that sleep on WORD.  Return how many were
   woken, or 0 if the system does not tell.  */
int gshm_wake (gshm_word *word, int count);

/* Whether the SIZE bytes at WORD, in at most two pages, are accessible.  This
   does not fault.  */
int gshm_is_accessible (gshm_word *word, size_t size);

#endif /* GSHM_FUTEX_H */

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

/* A word that a thread expects to be VALUE.  */
struct gshm_awaited
{
  gshm_word *word;
  uint32_t value;
};

#define GSHM_MAX_AWAITED 128

/* How long to sleep between two looks at words that no thread can sleep on, or
   that change without a wake-up.  */
#define GSHM_POLL_NS (GSHM_SECOND / 200)

/* The same for COUNT words, at most GSHM_MAX_AWAITED, until any of them is not
   what is expected, or this thread is woken on one, whose index is stored in
   WOKEN.  ENOSYS: the system cannot do that.  */
int gshm_futex_wait_many (const struct gshm_awaited *words, size_t count,
                          int64_t nanoseconds, size_t *woken);

/* Wake at most COUNT of the threads that sleep on WORD.  Return how many were
   woken, or 0 if the system does not tell.  */
int gshm_wake (gshm_word *word, int count);

/* Whether WORD is accessible and VALUE.  This does not fault.  Where the
   system does not tell, return 0.  */
int gshm_word_is (gshm_word *word, uint32_t value);

/* Whether the SIZE bytes at WORD, in at most two pages, are accessible.  This
   does not fault.  */
int gshm_is_accessible (gshm_word *word, size_t size);

#endif /* GSHM_FUTEX_H */

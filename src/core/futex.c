/* SPDX-License-Identifier: BSD-3-Clause
   futex.c - the clock, and sleeping until a word in shared memory changes.  */

#include <config.h>

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_LINUX_FUTEX_H
# include <linux/futex.h>
#endif

#include "core/futex.h"

#if defined HAVE_LINUX_FUTEX_H && defined SYS_futex
# define HAVE_FUTEX 1
#else
# define HAVE_FUTEX 0
#endif

#define SECOND GSHM_SECOND

int64_t
gshm_now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return (int64_t) time.tv_sec * SECOND + time.tv_nsec;
}

void
gshm_pause (int64_t nanoseconds)
{
  struct timespec time = { .tv_sec = (time_t) (nanoseconds / SECOND),
                           .tv_nsec = (long) (nanoseconds % SECOND) };

  nanosleep (&time, NULL);
}

#if HAVE_FUTEX

/* The kernel's timespec for this system call, whatever size time_t has.  */
struct futex_time
{
  long seconds, nanoseconds;
};

int
gshm_futex_wait (gshm_word *word, uint32_t value, int64_t nanoseconds)
{
  struct futex_time time = { .seconds = (long) (nanoseconds / SECOND),
                             .nanoseconds = (long) (nanoseconds % SECOND) };

  if (syscall (SYS_futex, word, FUTEX_WAIT, value, &time, NULL, 0) == 0)
    return 0;
  int err = errno;
  if (err != EAGAIN && err != EINTR && err != ETIMEDOUT)
    /* The page is not accessible, which the next load will report, or the
       system refuses the call: keep the caller from spinning.  */
    gshm_pause (SECOND / 1000);
  return err;
}

#  if HAVE_DECL_SYS_FUTEX_WAITV

int
gshm_futex_wait_many (const struct gshm_awaited *words, size_t count,
                      int64_t nanoseconds, size_t *woken)
{
  static atomic_int is_missing;
  struct futex_waitv waiters[GSHM_MAX_AWAITED];
  struct
  {
    int64_t seconds, nanoseconds;
  } end;

  _Static_assert (GSHM_MAX_AWAITED <= FUTEX_WAITV_MAX,
                 "more words than the system can wait for");
  if (atomic_load_explicit (&is_missing, memory_order_relaxed))
    return ENOSYS;
  for (size_t i = 0; i < count; i++)
    waiters[i] = (struct futex_waitv) { .val = words[i].value,
                                        .uaddr = (uintptr_t) words[i].word,
                                        .flags = FUTEX_32 };
  int64_t time = gshm_now () + nanoseconds;
  end.seconds = time / SECOND;
  end.nanoseconds = time % SECOND;
  long result = syscall (SYS_futex_waitv, waiters, (unsigned) count, 0, &end,
                         CLOCK_MONOTONIC);
  if (result >= 0)
    {
      *woken = (size_t) result;
      return 0;
    }
  int err = errno;
  if (err == ENOSYS || err == EPERM)
    {
      atomic_store_explicit (&is_missing, 1, memory_order_relaxed);
      return ENOSYS;
    }
  if (err != EAGAIN && err != EINTR && err != ETIMEDOUT)
    /* As above.  */
    gshm_pause (SECOND / 1000);
  return err;
}

#  endif

/* Requeue no sleeper, if WORD is VALUE.  FUTEX_WAIT with a timeout of 0 would
   enter the queue, and a waker could count this thread.  */
static int
compare (gshm_word *word, uint32_t value)
{
  return (int) syscall (SYS_futex, word, FUTEX_CMP_REQUEUE, 0, NULL, word,
                        value);
}

int
gshm_word_is (gshm_word *word, uint32_t value)
{
  return compare (word, value) == 0;
}

static int
is_word_there (gshm_word *word)
{
  return compare (word, 0) == 0 || errno != EFAULT;
}

int
gshm_is_accessible (gshm_word *word, size_t size)
{
  return is_word_there (word)
         && is_word_there (word + size / sizeof *word - 1);
}

int
gshm_wake (gshm_word *word, int count)
{
  long woken = syscall (SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);

  return woken < 0 ? 0 : (int) woken;
}

#else /* !HAVE_FUTEX */

int
gshm_futex_wait (gshm_word *word, uint32_t value, int64_t nanoseconds)
{
  int64_t end = gshm_now () + nanoseconds;

  while (atomic_load (word) == value)
    {
      int64_t left = end - gshm_now ();
      if (left <= 0)
        return ETIMEDOUT;
      gshm_pause (left < SECOND / 1000 ? left : SECOND / 1000);
    }
  return 0;
}

int
gshm_word_is (gshm_word *word, uint32_t value)
{
  int ends[2];
  uint32_t now;

  /* A system call that reads memory which is not accessible fails.  */
  if (pipe (ends) < 0)
    return 0;
  int is_equal
    = (write (ends[1], (const void *) (uintptr_t) word, sizeof now)
         == (ssize_t) sizeof now
       && read (ends[0], &now, sizeof now) == (ssize_t) sizeof now
       && now == value);
  close (ends[0]);
  close (ends[1]);
  return is_equal;
}

int
gshm_is_accessible (gshm_word *word, size_t size)
{
  (void) word;
  (void) size;
  return 1;
}

int
gshm_wake (gshm_word *word, int count)
{
  (void) word;
  (void) count;
  return 0;
}

#endif /* !HAVE_FUTEX */

#if !HAVE_FUTEX || !HAVE_DECL_SYS_FUTEX_WAITV

int
gshm_futex_wait_many (const struct gshm_awaited *words, size_t count,
                      int64_t nanoseconds, size_t *woken)
{
  (void) words;
  (void) count;
  (void) nanoseconds;
  (void) woken;
  return ENOSYS;
}

#endif

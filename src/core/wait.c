/* SPDX-License-Identifier: BSD-3-Clause
   wait.c - waiting for a word in shared memory to change.

   gshm_wait attempts the operation; spins for some microseconds, or yields if
   the other thread needs this processor; attempts again; then sleeps, outside
   of the host language and for a bounded time.  Between two sleeps it calls
   the host's hooks.  Sleeps are bounded because a host may queue a signal's
   handler only after the system call was interrupted and restarted, and
   because a thread that should wake this one may be killed before.  */

#include <config.h>

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "core/tls.h"
#include "core/wait.h"

#define SECOND GSHM_SECOND
#define MAX_SLEEP (SECOND / 20)
#define SHORT_SLEEP (SECOND / 1000)

/* For how long to spin: where the other thread is known to run on another
   processor; where that is not known; and, so that long waits cost little, for
   most waits after MANY_LONG_WAITS of them.  */
#define SPIN_NS 100000
#define BLIND_SPIN_NS 20000
#define SHORT_SPIN_NS 2000
#define MANY_LONG_WAITS 4
#define LONG_WAITS_PER_SPIN 16

#define MAX_PAUSES 64

/* A yield that takes longer lets threads run that have other work.  */
#define LONG_YIELD 100000


/* Time.  */

static int64_t
end_of (int64_t start, int64_t timeout)
{
  return timeout < GSHM_FOREVER - start ? start + timeout : GSHM_FOREVER;
}


/* Sleeping.  */

/* The duration of a sleep that begins now: at most MOST, until DEADLINE.  */
static int64_t
bounded_by (int64_t deadline, int64_t most)
{
  if (deadline == GSHM_FOREVER)
    return most;
  int64_t left = deadline - gshm_now ();
  return left < 0 ? 0 : left < most ? left : most;
}

/* The argument of sleep_outside.  */
struct sleeping
{
  const struct gshm_sleep *sleep;
  void *data;
  int64_t nanoseconds;
  int error;            /* 0: woken */
};

static void *
sleep_outside (void *data)
{
  struct sleeping *sleeping = data;
  const struct gshm_sleep *sleep = sleeping->sleep;

  sleeping->error
    = (sleep->word == NULL
         ? sleep->sleep_for (sleeping->data, sleeping->nanoseconds)
         : gshm_futex_wait (sleep->word, sleep->value, sleeping->nanoseconds));
  return NULL;
}

/* Sleep as SLEEP says, for at most NANOSECONDS.  Return 0 if another thread
   woke this one, else an errno.  */
static int
sleep_once (const struct gshm_host *host, const struct gshm_sleep *sleep,
            void *data, int64_t nanoseconds)
{
  struct sleeping sleeping = { .sleep = sleep, .data = data,
                               .nanoseconds = nanoseconds };

  if (host == NULL)
    sleep_outside (&sleeping);
  else
    {
      host->call_outside (sleep_outside, &sleeping);
      host->after_sleep (host->data, sleep->word);
    }
  return sleeping.error;
}


/* Spinning.  */

static int
count_processors (void)
{
#ifdef CPU_COUNT
  cpu_set_t set;

  if (sched_getaffinity (0, sizeof set, &set) == 0)
    return CPU_COUNT (&set);
#endif
  return (int) sysconf (_SC_NPROCESSORS_ONLN);
}

/* Whether this process may use more than one processor.  The answer may be a
   tenth of a second old.  */
static int
has_other_processors (int64_t time)
{
  static atomic_int processors;
  static _Atomic int64_t counted;
  int count = atomic_load_explicit (&processors, memory_order_relaxed);

  if (count == 0
      || time - atomic_load_explicit (&counted, memory_order_relaxed)
         > SECOND / 10)
    {
      count = count_processors ();
      atomic_store_explicit (&processors, count, memory_order_relaxed);
      atomic_store_explicit (&counted, time, memory_order_relaxed);
    }
  return count > 1;
}

static inline void
relax (void)
{
#if defined __x86_64__ || defined __i386__
  __builtin_ia32_pause ();
#elif defined __ARM_ARCH && __ARM_ARCH >= 7
  __asm__ __volatile__ ("yield");
#elif defined __GNUC__
  /* A barrier for the compiler only.  */
  __asm__ __volatile__ ("");
#endif
}

uint32_t
gshm_processor (void)
{
#ifdef HAVE_SCHED_GETCPU
  int processor = sched_getcpu ();

  return processor < 0 ? 0 : (uint32_t) processor + 1;
#else
  return 0;
#endif
}

/* A thread that spins.  It pauses between two polls, longer and longer, so
   that it takes the cache line from other threads less often; or it yields, if
   the other thread may need this processor.  */
struct spinning
{
  int64_t end;
  int may_yield;
  int has_others; /* processors */
  int pauses;     /* between two polls */
};

/* If other threads keep the processor busy, a yield may take longer than a
   sleep and a wake-up.  After one that did, this thread does not yield in so
   many waits.  */
#define WAITS_AFTER_LONG_YIELD 255
static GSHM_THREAD_LOCAL unsigned waits_without_yield;

/* How many waits in succession were longer than the spin.  */
static GSHM_THREAD_LOCAL unsigned long_waits;

/* Return whether it did not take long.  */
static int
yield_processor (void)
{
  int64_t before = gshm_now ();

  sched_yield ();
  if (gshm_now () - before < LONG_YIELD)
    return 1;
  waits_without_yield = WAITS_AFTER_LONG_YIELD;
  return 0;
}

/* Begin to spin at TIME for what SLEEP says.  */
static struct spinning
spinning_from (int64_t time, const struct gshm_sleep *sleep)
{
  struct spinning spinning
    = { .end = time + (sleep->processor != NULL ? SPIN_NS : BLIND_SPIN_NS),
        .may_yield = waits_without_yield == 0,
        .has_others = has_other_processors (time),
        .pauses = 1 };

  if (waits_without_yield > 0)
    waits_without_yield--;
  if (long_waits >= MANY_LONG_WAITS && long_waits % LONG_WAITS_PER_SPIN != 0)
    {
      spinning.end = time + SHORT_SPIN_NS;
      spinning.may_yield = 0;
    }
  return spinning;
}

/* Whether the thread that this one waits for needs the same processor: if that
   is the only one, or if the hint says so.  */
static int
is_yield_due (const struct spinning *spinning, const struct gshm_sleep *sleep)
{
  if (!spinning->has_others)
    return 1;
  if (sleep->processor == NULL)
    return 0;
  uint32_t processor
    = atomic_load_explicit (sleep->processor, memory_order_relaxed);
  return processor != 0 && processor == gshm_processor ();
}

/* Poll the word of SLEEP until it changes, or until it is time to sleep; if
   there is no word, pause once.  Return whether an attempt is worthwhile.  */
static int
spin (struct spinning *spinning, const struct gshm_sleep *sleep)
{
  while (gshm_now () < spinning->end)
    {
      if (is_yield_due (spinning, sleep))
        {
          if (!spinning->may_yield || !yield_processor ())
            spinning->end = 0;
        }
      else
        {
          for (int i = 0; i < spinning->pauses; i++)
            relax ();
          if (spinning->pauses < MAX_PAUSES)
            spinning->pauses++;
        }
      if (sleep->word == NULL
          || atomic_load_explicit (sleep->word, memory_order_relaxed)
               != sleep->value)
        return 1;
    }
  return 0;
}


/* Waiting.  */

int
gshm_wait (const struct gshm_host *host, int64_t timeout,
           gshm_attempt *attempt, void *data)
{
  struct gshm_sleep sleep = { .check_owners = timeout == 0 };
  int result = attempt (data, &sleep);

  if (result != 0 || timeout == 0)
    return result;

  int64_t start = gshm_now (), deadline = end_of (start, timeout);
  int64_t next_check = start + MAX_SLEEP;
  struct spinning spinning = spinning_from (start, &sleep);
  while (spin (&spinning, &sleep))
    {
      sleep.processor = NULL;
      if ((result = attempt (data, &sleep)) != 0)
        {
          long_waits = 0;
          return result;
        }
    }
  long_waits++;
  sleep.announce = 1;
  if ((result = attempt (data, &sleep)) != 0)
    return result;
  for (int64_t max_sleep = MAX_SLEEP;;)
    {
      int err
        = sleep_once (host, &sleep, data, bounded_by (deadline, max_sleep));

      /* The host queues a signal's handler shortly after the signal.  */
      max_sleep = (err == EINTR                ? SHORT_SLEEP
                   : 2 * max_sleep < MAX_SLEEP ? 2 * max_sleep
                                               : MAX_SLEEP);
      int64_t time = gshm_now ();
      sleep.check_owners = time >= next_check || time >= deadline;
      if (sleep.check_owners)
        next_check = time + MAX_SLEEP;
      /* Before the host may leave: a wake-up is not lost on a thread that
         leaves.  */
      result = attempt (data, &sleep);
      if (result != 0 || time >= deadline)
        return result;
      if (host != NULL)
        host->between_sleeps (host->data);
    }
}

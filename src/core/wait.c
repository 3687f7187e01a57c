/* SPDX-License-Identifier: BSD-3-Clause
   wait.c - waiting for a word that threads share.

   There is one way to wait (gshm_wait): attempt; spin for some microseconds,
   yielding the processor if there is but one, and attempt again; then sleep,
   outside of the host language and for a bounded time, and let the host run
   what it has to between two sleeps.  A signal's handler may be queued only
   after a system call was interrupted and called again: hence the bound.  It
   also bounds what a waker that was killed can cost.  */

#include <config.h>

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "core/tls.h"
#include "core/wait.h"

#define SECOND GSHM_SECOND
#define SLICE (SECOND / 20)
#define SHORT_SLICE (SECOND / 1000)

/* Longer than a round trip between two processors, and not much longer than
   going to sleep and being woken.  */
#define SPIN 20000
#define MOST_PAUSES 64

/* For which a thread that gives way is away, if others do more meanwhile than
   what it waits for.  */
#define LONG 100000


/* Time.  */

static int64_t
end_of (int64_t start, int64_t timeout)
{
  return timeout < GSHM_FOREVER - start ? start + timeout : GSHM_FOREVER;
}


/* Sleeping.  */

/* How long a sleep of at most MOST that begins now may last.  */
static int64_t
bounded_by (int64_t deadline, int64_t most)
{
  if (deadline == GSHM_FOREVER)
    return most;
  int64_t left = deadline - gshm_now ();
  return left < 0 ? 0 : left < most ? left : most;
}

/* A sleep, as the host calls it.  */
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

  sleeping->error = (sleep->word == NULL
                     ? sleep->nap (sleeping->data, sleeping->nanoseconds)
                     : gshm_futex_wait (sleep->word, sleep->value,
                                        sleeping->nanoseconds));
  return NULL;
}

/* Sleep as SLEEP says, for at most that long.  Return 0 if another thread woke
   this one, else an errno.  */
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
      host->outside (sleep_outside, &sleeping);
      host->woken (host->data, sleep->word);
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

/* Whether there is another processor for the thread that is waited for, as was
   so at most a tenth of a second before TIME.  */
static int
are_many_processors (int64_t time)
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
  /* Nothing, of which the compiler does not know.  */
  __asm__ __volatile__ ("");
#endif
}

/* A thread that spins looks less and less often, so that it disturbs those
   less that it waits for.  On one processor they could do nothing meanwhile,
   and it lets them have it: that takes less time than to go to sleep and be
   woken.  */
struct spinning
{
  int64_t end;
  int pauses;           /* between two looks; 0: give way instead */
};

/* Where others have much to do on its processor, a thread that gives way is
   away for longer than it takes to be woken.  Then it does not for a while,
   which gets longer as long as that goes on.  */
static GSHM_THREAD_LOCAL struct
{
  int64_t until, length;
} crowded;

static void
give_way (void)
{
  int64_t before = gshm_now ();

  sched_yield ();
  int64_t after = gshm_now ();
  if (after - before < LONG)
    crowded.length = 0;
  else
    {
      crowded.length = crowded.length == 0 ? SECOND / 1000
                       : crowded.length < SECOND ? 2 * crowded.length
                       : SECOND;
      crowded.until = after + crowded.length;
    }
}

/* To spin from TIME on.  */
static struct spinning
spinning_from (int64_t time)
{
  struct spinning spinning
    = { .end = time + SPIN, .pauses = are_many_processors (time) };

  if (spinning.pauses == 0 && time < crowded.until)
    spinning.end = 0;
  return spinning;
}

/* Wait, until it is time to sleep, for WORD not to be VALUE, or where there is
   no word for a moment.  Return whether it is worth an attempt.  */
static int
spin (struct spinning *spinning, const gshm_word *word, uint32_t value)
{
  while (gshm_now () < spinning->end)
    {
      if (spinning->pauses == 0)
        give_way ();
      else
        {
          for (int i = 0; i < spinning->pauses; i++)
            relax ();
          if (spinning->pauses < MOST_PAUSES)
            spinning->pauses++;
        }
      if (word == NULL
          || atomic_load_explicit (word, memory_order_relaxed) != value)
        return 1;
    }
  return 0;
}


/* Waiting.  */

int
gshm_wait (const struct gshm_host *host, int64_t timeout,
           gshm_attempt *attempt, void *data)
{
  struct gshm_sleep sleep = { .look = timeout == 0 };
  int result = attempt (data, &sleep);

  if (result != 0 || timeout == 0)
    return result;

  int64_t start = gshm_now (), deadline = end_of (start, timeout);
  int64_t next_look = start + SLICE;
  struct spinning spinning = spinning_from (start);
  while (spin (&spinning, sleep.word, sleep.value))
    if ((result = attempt (data, &sleep)) != 0)
      return result;
  sleep.announce = 1;
  if ((result = attempt (data, &sleep)) != 0)
    return result;
  for (int64_t slice = SLICE;;)
    {
      int err = sleep_once (host, &sleep, data, bounded_by (deadline, slice));

      /* What a signal asks for comes a little after it.  */
      slice = (err == EINTR ? SHORT_SLICE
               : 2 * slice < SLICE ? 2 * slice : SLICE);
      int64_t time = gshm_now ();
      sleep.look = time >= next_look || time >= deadline;
      if (sleep.look)
        next_look = time + SLICE;
      /* Before the host can leave, so that nothing is given to a thread that
         goes away.  */
      result = attempt (data, &sleep);
      if (result != 0 || time >= deadline)
        return result;
      if (host != NULL)
        host->between (host->data);
    }
}

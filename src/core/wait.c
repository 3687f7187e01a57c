/* SPDX-License-Identifier: BSD-3-Clause
   wait.c - waiting that lets signals, asyncs and the collector through.

   There is one way to wait for a word in memory that threads share
   (gshm_wait): try; try for some microseconds again, letting whoever it is
   that is waited for have the processor if there is but one; then leave Guile
   and sleep in slices, between which Guile runs what it has to.  A signal's
   handler may be queued only after a system call was interrupted and called
   again: hence the slices.  They also bound what a waker that was killed can
   cost.  */

#include <config.h>

#include <math.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_LINUX_FUTEX_H
# include <linux/futex.h>
#endif

#include "base/gshm.h"
#include "core/tls.h"
#include "core/wait.h"
#include "memory/mapping.h"

#if defined HAVE_LINUX_FUTEX_H && defined SYS_futex
# define HAVE_FUTEX 1
#else
# define HAVE_FUTEX 0
#endif

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

void
gshm_wait_until_ready (int fd, short events)
{
  struct pollfd descriptor = { .fd = fd, .events = events };
  int ready;

  do
    {
      SCM_TICK;
      ready = poll (&descriptor, 1, (int) (SLICE / 1000000));
    }
  while (ready == 0 || (ready < 0 && errno == EINTR));
}


/* Time.  */

int64_t
gshm_now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return (int64_t) time.tv_sec * SECOND + time.tv_nsec;
}

static int64_t
end_of (int64_t start, int64_t timeout)
{
  return timeout < GSHM_FOREVER - start ? start + timeout : GSHM_FOREVER;
}

int64_t
gshm_to_timeout (const char *subr, int pos, SCM timeout)
{
  if (SCM_UNBNDP (timeout) || scm_is_false (timeout))
    return GSHM_FOREVER;
  if (!scm_is_real (timeout))
    gshm_wrong_type (subr, pos, timeout, "real number of seconds, or #f");

  double nanoseconds = ceil (scm_to_double (timeout) * SECOND);
  if (isnan (nanoseconds))
    gshm_out_of_range (subr, timeout, "Not a number of seconds");
  if (nanoseconds <= 0)
    return 0;
  return nanoseconds < 9e18 ? (int64_t) nanoseconds : GSHM_FOREVER;
}


/* Sleeping and waking, outside of Guile.  */

struct sleeping
{
  gshm_word *word;
  uint32_t value;
  int64_t nanoseconds;
  int error;            /* 0: woken */
};

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

static void *
sleep_outside (void *data)
{
  struct sleeping *sleeping = data;
  struct futex_time time
    = { .seconds = (long) (sleeping->nanoseconds / SECOND),
        .nanoseconds = (long) (sleeping->nanoseconds % SECOND) };

  long result = syscall (SYS_futex, sleeping->word, FUTEX_WAIT,
                         sleeping->value, &time, NULL, 0);
  sleeping->error = result == 0 ? 0 : errno;
  if (sleeping->error == EFAULT)
    /* The page is lost, as whoever tries to read it will find.  */
    gshm_pause (SECOND / 1000);
  return NULL;
}

static int
is_word_there (gshm_word *word)
{
  /* Move none of those who sleep there to where they are.  To wait for no time
     would enter the queue, where who wakes others would count this thread.  */
  return syscall (SYS_futex, word, FUTEX_CMP_REQUEUE, 0, NULL, word, 0) == 0
         || errno != EFAULT;
}

int
gshm_is_there (gshm_word *word, size_t size)
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

static void *
sleep_outside (void *data)
{
  struct sleeping *sleeping = data;
  int64_t end = gshm_now () + sleeping->nanoseconds;

  sleeping->error = 0;
  while (atomic_load (sleeping->word) == sleeping->value)
    {
      int64_t left = end - gshm_now ();
      if (left <= 0)
        {
          sleeping->error = ETIMEDOUT;
          break;
        }
      gshm_pause (left < SECOND / 1000 ? left : SECOND / 1000);
    }
  return NULL;
}

int
gshm_is_there (gshm_word *word, size_t size)
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

/* How long a slice of at most MOST that begins now may last.  */
static int64_t
slice_before (int64_t deadline, int64_t most)
{
  if (deadline == GSHM_FOREVER)
    return most;
  int64_t left = deadline - gshm_now ();
  return left < 0 ? 0 : left < most ? left : most;
}

/* Sleep until WORD is not VALUE, DEADLINE or the end of a slice.  Return 0 if
   somebody woke this thread.  */
static int
sleep_for_a_slice (gshm_word *word, uint32_t value, int64_t deadline,
                   int64_t most)
{
  struct sleeping sleeping = { .word = word, .value = value,
                               .nanoseconds = slice_before (deadline, most) };

  scm_without_guile (sleep_outside, &sleeping);
  return sleeping.error;
}

struct napping
{
  int (*nap) (void *data, int64_t nanoseconds);
  void *data;
  int64_t nanoseconds;
  int error;
};

static void *
nap_outside (void *data)
{
  struct napping *napping = data;

  napping->error = napping->nap (napping->data, napping->nanoseconds);
  return NULL;
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

/* Whether there is another processor for whoever is waited for, as was so at
   most a tenth of a second before TIME.  */
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

static void
check_mapped (const char *subr, SCM k, const gshm_word *word)
{
  struct gshm_mapping mapping;

  if (gshm_registry_find ((const void *) (uintptr_t) word, &mapping) != NULL
      && mapping.state != GSHM_MAPPED)
    gshm_unmapped_error (subr, k);
}

/* Where asyncs are blocked a fault would be raised only after the wait, which
   what it waits for, in memory that is lost, never ends.  */
static void
run_asyncs (void)
{
  SCM_TICK;
  gshm_fault_raise ();
}

int
gshm_wait (const char *subr, SCM k, int64_t timeout, gshm_attempt *attempt,
           void *data)
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
      int err;
      if (sleep.word == NULL)
        {
          struct napping napping
            = { .nap = sleep.nap, .data = data,
                .nanoseconds = slice_before (deadline, slice) };
          scm_without_guile (nap_outside, &napping);
          err = napping.error;
        }
      else
        {
          err = sleep_for_a_slice (sleep.word, sleep.value, deadline, slice);
          check_mapped (subr, k, sleep.word);
        }
      /* What a signal asks for comes a little after it.  */
      slice = (err == EINTR ? SHORT_SLICE
               : 2 * slice < SLICE ? 2 * slice : SLICE);
      int64_t time = gshm_now ();
      sleep.look = time >= next_look || time >= deadline;
      if (sleep.look)
        next_look = time + SLICE;
      /* Before anything can leave, so that nothing is given to a thread that
         goes away.  */
      result = attempt (data, &sleep);
      if (result != 0 || time >= deadline)
        return result;
      run_asyncs ();
    }
}

/* () -> integer: nanoseconds, of a clock that nobody sets.  */
static SCM
now_to_scm (void)
{
  return scm_from_int64 (gshm_now ());
}

void
gshm_wait_init (void)
{
  gshm_define ("%shm-now", 0, 0, now_to_scm);
}

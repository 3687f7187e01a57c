/* SPDX-License-Identifier: BSD-3-Clause wait.c - waiting that lets signals,
   asyncs and the collector through.

   There is one way to wait for a word in memory that threads share
   (gshm_wait): try; try for some microseconds again, letting whoever it is
   that is waited for have the processor if there is but one; then leave Guile
   and sleep in slices, between which Guile runs what it has to.  A signal's
   handler may be queued only after a system call was interrupted and called
   again: hence the slices.  They also bound what a waker that was killed can
   cost.

   A thread that must keep its place in the system's queue (gshm_wait_in_queue)
   sleeps without slices, on two words at once.  The other one is its own, and
   changes when Guile has something for it to run: Guile says so by a condition
   variable, on which another, plain thread waits, its watcher.  Unmapping the
   memory changes it, too, and so does one more thread, the prober, if the
   memory is lost.  */

#include <config.h>

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_LINUX_FUTEX_H
# include <linux/futex.h>
#endif

#include "gshm.h"
#include "mapping.h"
#include "tls.h"
#include "wait.h"

#if defined HAVE_LINUX_FUTEX_H && defined SYS_futex
# define HAVE_FUTEX 1
#else
# define HAVE_FUTEX 0
#endif

#if HAVE_FUTEX && HAVE_DECL_SYS_FUTEX_WAITV && SCM_USE_PTHREAD_THREADS
# define CAN_QUEUE 1
#else
# define CAN_QUEUE 0
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
    scm_wrong_type_arg_msg (subr, pos, timeout,
                            "real number of seconds, or #f");

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

/* With the registry's lock held.  */
static int
is_unmapped (const gshm_word *word)
{
  const struct gshm_mapping *mapping
    = gshm_registry_find ((const void *) (uintptr_t) word);

  return mapping != NULL && mapping->state == GSHM_UNMAPPED;
}

static void
check_mapped (const char *subr, SCM k, const gshm_word *word)
{
  gshm_registry_lock ();
  int unmapped = is_unmapped (word);
  gshm_registry_unlock ();
  if (unmapped)
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


/* Waiting in a queue.  */

/* Guarded by the registry's lock: the threads that sleep without slices.  */
struct sleeper
{
  gshm_word *word;
  gshm_word *kick;
  struct sleeper *next;
};

static struct sleeper *sleepers;

static void
kick (gshm_word *word)
{
  atomic_store (word, 1);
  gshm_wake (word, 1);
}

void
gshm_kick_sleepers (const char *base, size_t length)
{
  for (const struct sleeper *s = sleepers; s != NULL; s = s->next)
    {
      uintptr_t address = (uintptr_t) s->word;

      if (address >= (uintptr_t) base && address - (uintptr_t) base < length)
        kick (s->kick);
    }
}

#if CAN_QUEUE

/* libgc may have put its own in its place, which registers threads with the
   collector that know nothing of Scheme.  */
# undef pthread_create
# undef pthread_detach
# undef pthread_join

struct watcher
{
  pthread_mutex_t mutex;
  pthread_cond_t started, marked;
  pthread_t thread;
  int is_ready, is_done;
  gshm_word kicked;             /* this thread has something to run */
  struct watcher *next;
};

static GSHM_THREAD_LOCAL struct watcher *own_watcher;

static pthread_key_t thread_exit;

/* Guarded by the registry's lock: watchers that watch no thread.  They are
   kept, since Guile may still be about to tell them something.  */
static struct watcher *idle;

/* Without a time-out: a signal that comes just then would be lost, and there
   is nothing else by which to know of it.  */
static void *
watch (void *data)
{
  struct watcher *watcher = data;

  pthread_mutex_lock (&watcher->mutex);
  watcher->is_ready = 1;
  pthread_cond_signal (&watcher->started);
  while (!watcher->is_done)
    {
      pthread_cond_wait (&watcher->marked, &watcher->mutex);
      kick (&watcher->kicked);
    }
  pthread_mutex_unlock (&watcher->mutex);
  return NULL;
}

/* Start a plain thread, which no signal disturbs.  */
static int
start_thread (pthread_t *thread, void *(*function) (void *), void *data)
{
  sigset_t all, before;
  pthread_attr_t attributes;

  pthread_attr_init (&attributes);
  pthread_attr_setstacksize (&attributes, 65536);
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  int err = pthread_create (thread, &attributes, function, data);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  pthread_attr_destroy (&attributes);
  return err == 0;
}

static int
start_watching (struct watcher *watcher)
{
  watcher->is_ready = watcher->is_done = 0;
  if (!start_thread (&watcher->thread, watch, watcher))
    return 0;

  /* It gives up the mutex when it waits to be told.  */
  pthread_mutex_lock (&watcher->mutex);
  while (!watcher->is_ready)
    pthread_cond_wait (&watcher->started, &watcher->mutex);
  pthread_mutex_unlock (&watcher->mutex);
  return 1;
}

/* Guarded by the registry's lock: whether there is a thread that sees once in
   a second whether what others sleep in is still there.  */
static int is_probing;

static void *
probe (void *data)
{
  (void) data;
  for (;;)
    {
      gshm_pause (SECOND);
      gshm_registry_lock ();
      for (const struct sleeper *s = sleepers; s != NULL; s = s->next)
        if (!is_word_there (s->word))
          kick (s->kick);
      gshm_registry_unlock ();
    }
  return NULL;
}

static void
start_probing (void)
{
  pthread_t prober;

  gshm_registry_lock ();
  int start = !is_probing;
  is_probing = 1;
  gshm_registry_unlock ();
  if (!start)
    return;
  if (start_thread (&prober, probe, NULL))
    pthread_detach (prober);
  else
    {
      /* The next thread tries again.  */
      gshm_registry_lock ();
      is_probing = 0;
      gshm_registry_unlock ();
    }
}

static void
initialize_watcher (struct watcher *watcher)
{
  memset (watcher, 0, sizeof *watcher);
  pthread_mutex_init (&watcher->mutex, NULL);
  pthread_cond_init (&watcher->started, NULL);
  pthread_cond_init (&watcher->marked, NULL);
}

static void
put_idle (struct watcher *watcher)
{
  gshm_registry_lock ();
  watcher->next = idle;
  idle = watcher;
  gshm_registry_unlock ();
}

static struct watcher *
take_idle (void)
{
  gshm_registry_lock ();
  struct watcher *watcher = idle;
  if (watcher != NULL)
    idle = watcher->next;
  gshm_registry_unlock ();

  if (watcher == NULL && (watcher = malloc (sizeof *watcher)) != NULL)
    initialize_watcher (watcher);
  return watcher;
}

/* This thread's watcher, or NULL where there can be none.  */
static struct watcher *
watcher_of_this_thread (void)
{
  if (own_watcher == NULL)
    {
      struct watcher *watcher = take_idle ();

      if (watcher == NULL)
        return NULL;
      if (!start_watching (watcher))
        {
          put_idle (watcher);
          return NULL;
        }
      own_watcher = watcher;
      pthread_setspecific (thread_exit, watcher);
      start_probing ();
    }
  return own_watcher;
}

/* At the end of a thread.  */
static void
stop_watching (void *data)
{
  struct watcher *watcher = data;

  own_watcher = NULL;
  pthread_mutex_lock (&watcher->mutex);
  watcher->is_done = 1;
  pthread_cond_signal (&watcher->marked);
  pthread_mutex_unlock (&watcher->mutex);
  pthread_join (watcher->thread, NULL);
  put_idle (watcher);
}

/* In the child of a fork nobody watches, and nobody knows the state of a
   condition variable that somebody waited for, or of a mutex that Guile held
   to tell a watcher something.  */
static void
forget_watchers (void)
{
  sleepers = NULL;
  is_probing = 0;
  for (struct watcher *w = idle; w != NULL; w = w->next)
    {
      struct watcher *next = w->next;
      initialize_watcher (w);
      w->next = next;
    }
  if (own_watcher != NULL)
    {
      initialize_watcher (own_watcher);
      own_watcher->next = idle;
      idle = own_watcher;
    }
  own_watcher = NULL;
  pthread_setspecific (thread_exit, NULL);
}

struct queueing
{
  struct sleeping sleeping;
  struct watcher *watcher;
  int64_t deadline;
};

/* The index of the word that queue_outside waits for.  If both were woken it
   is the last that the system tells of.  */
# define WANTED 1

static void *
queue_outside (void *data)
{
  struct queueing *queueing = data;
  struct futex_waitv words[] = {
    { .uaddr = (uintptr_t) &queueing->watcher->kicked, .flags = FUTEX_32 },
    [WANTED] = { .uaddr = (uintptr_t) queueing->sleeping.word,
                 .val = queueing->sleeping.value, .flags = FUTEX_32 },
  };
  struct
  {
    int64_t seconds, nanoseconds;
  } time = { queueing->deadline / SECOND, queueing->deadline % SECOND };

  long result = syscall (SYS_futex_waitv, words, 2, 0,
                         queueing->deadline == GSHM_FOREVER ? NULL : &time,
                         CLOCK_MONOTONIC);
  int err = result == WANTED ? 0 : result == 0 ? EINTR : errno;
  switch (err)
    {
    case 0: case EINTR: case EAGAIN: case ETIMEDOUT: case EFAULT:
      break;
    default:
      /* Whoever filters system calls may say anything.  */
      err = ENOSYS;
    }
  queueing->sleeping.error = err;
  return NULL;
}

static int
enter_queue (struct sleeper *sleeper)
{
  gshm_registry_lock ();
  int mapped = !is_unmapped (sleeper->word);
  if (mapped)
    {
      sleeper->next = sleepers;
      sleepers = sleeper;
    }
  gshm_registry_unlock ();
  return mapped;
}

static void
leave_queue (struct sleeper *sleeper)
{
  gshm_registry_lock ();
  for (struct sleeper **s = &sleepers; *s != NULL; s = &(*s)->next)
    if (*s == sleeper)
      {
        *s = sleeper->next;
        break;
      }
  gshm_registry_unlock ();
}

/* Sleep until WORD is not VALUE, DEADLINE, or something for this thread to do.
   Return 0 if somebody woke it, EAGAIN if WORD was not VALUE or there was
   something to do before, EINTR, ETIMEDOUT, EFAULT, or ENOSYS if this can't be
   done here.  */
static int
sleep_in_queue (gshm_word *word, uint32_t value, int64_t deadline)
{
  struct watcher *watcher = watcher_of_this_thread ();
  if (watcher == NULL)
    return ENOSYS;

  struct sleeper sleeper = { .word = word, .kick = &watcher->kicked };
  struct queueing queueing
    = { .sleeping = { .word = word, .value = value, .error = EINTR },
        .watcher = watcher, .deadline = deadline };

  /* In this order: what happens from here on kicks, and what happened before
     is seen.  */
  atomic_store (&watcher->kicked, 0);
  if (scm_c_prepare_to_wait_on_cond (&watcher->mutex, &watcher->marked))
    return EINTR;
  if (enter_queue (&sleeper))
    {
      scm_without_guile (queue_outside, &queueing);
      leave_queue (&sleeper);
    }
  scm_c_wait_finished ();
  return queueing.sleeping.error;
}

#else /* !CAN_QUEUE */

static int
sleep_in_queue (gshm_word *word, uint32_t value, int64_t deadline)
{
  (void) word;
  (void) value;
  (void) deadline;
  return ENOSYS;
}

#endif /* !CAN_QUEUE */

enum gshm_woken
gshm_wait_in_queue (const char *subr, SCM k, gshm_word *word, uint32_t value,
                    int64_t timeout)
{
  int64_t start = gshm_now (), deadline = end_of (start, timeout);

  struct spinning spinning = spinning_from (start);

  if (spin (&spinning, word, value))
    return GSHM_CHANGED;
  gshm_fault_raise ();
  for (int interrupted = 0;; interrupted = 1)
    {
      int err = sleep_in_queue (word, value, deadline);
      int slice = err == ENOSYS;
      if (slice)
        err = sleep_for_a_slice (word, value, deadline, SLICE);
      check_mapped (subr, k, word);
      if (err == 0)
        return GSHM_WOKEN;
      if ((err == ETIMEDOUT && !slice)
          || (deadline != GSHM_FOREVER && gshm_now () >= deadline))
        return GSHM_TIMED_OUT;
      /* This also reads memory that cannot be had, which raises a fault
         below.  */
      int changed = atomic_load (word) != value;
      if (changed && err == EAGAIN && !interrupted)
        return GSHM_CHANGED;
      run_asyncs ();
      /* This thread was not in the queue meanwhile, so whoever changed it may
         have found nobody to wake.  */
      if (changed || atomic_load (word) != value)
        return GSHM_WOKEN;
    }
}

/* () -> integer: nanoseconds, of a clock that nobody sets.  */
static SCM
now_to_scm (void)
{
  return scm_from_int64 (gshm_now ());
}

void
gshm_wait_start (void)
{
#if CAN_QUEUE
  pthread_key_create (&thread_exit, stop_watching);
  pthread_atfork (NULL, NULL, forget_watchers);
#endif
}

void
gshm_wait_init (void)
{
  gshm_define ("%shm-now", 0, 0, now_to_scm);
}

/* SPDX-License-Identifier: BSD-3-Clause
   watch.c - descriptors that become readable when words change.  */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef HAVE_SYS_EVENTFD_H
# include <sys/eventfd.h>
#endif

#include "core/watch.h"

/* Sleeps are bounded: a thread that changes a word may be killed before it
   wakes this one.  */
#define MAX_SLEEP (GSHM_SECOND / 20)

struct gshm_watch
{
  struct gshm_watch *next;
  int input, output; /* descriptors, which are the same for an eventfd */
  unsigned process;  /* of `processes' */
  int is_closed;
  int is_armed; /* and if so: */
  struct gshm_awaited awaited;
  enum gshm_change change;
  int64_t deadline; /* of UNLOCKING */
};

/* All that follows is accessed with the lock held, as is a watch, but for its
   descriptors, which stay the same until it is closed.  */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct gshm_watch *watches;
static int is_running;     /* the thread */
static unsigned processes; /* how many forks led to this process */

/* The thread sleeps on this as well.  It changes when a watch is armed.  */
static gshm_word changes;


/* The lock, and forks.  */

static void
before_fork (void)
{
  pthread_mutex_lock (&mutex);
}

static void
after_fork (void)
{
  pthread_mutex_unlock (&mutex);
}

static void
in_child (void)
{
  for (struct gshm_watch *watch = watches; watch != NULL; watch = watch->next)
    watch->is_armed = 0;
  is_running = 0;
  processes++;
  pthread_mutex_unlock (&mutex);
}

static void
prepare_for_forks (void)
{
  pthread_atfork (before_fork, after_fork, in_child);
}

static void
lock (void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, prepare_for_forks);
  pthread_mutex_lock (&mutex);
}

static void
unlock (void)
{
  pthread_mutex_unlock (&mutex);
}


/* Descriptors.  */

#ifdef HAVE_SYS_EVENTFD_H

static int
open_descriptors (struct gshm_watch *watch)
{
  watch->input = watch->output = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  return watch->input;
}

static void
close_descriptors (const struct gshm_watch *watch)
{
  close (watch->input);
}

#else

static int
open_descriptors (struct gshm_watch *watch)
{
  int ends[2];

  if (pipe (ends) < 0)
    return -1;
  for (int i = 0; i < 2; i++)
    {
      fcntl (ends[i], F_SETFD, FD_CLOEXEC);
      fcntl (ends[i], F_SETFL, O_NONBLOCK);
    }
  watch->input = ends[0];
  watch->output = ends[1];
  return 0;
}

static void
close_descriptors (const struct gshm_watch *watch)
{
  close (watch->input);
  close (watch->output);
}

#endif

/* Neither blocks: a descriptor that is readable already stays so.  */
static void
make_readable (const struct gshm_watch *watch)
{
  const uint64_t one = 1;
  ssize_t written;

  do
    written = write (watch->output, &one, sizeof one);
  while (written < 0 && errno == EINTR);
}

static void
make_unreadable (const struct gshm_watch *watch)
{
  uint64_t bytes;
  ssize_t count;

  do
    count = read (watch->input, &bytes, sizeof bytes);
  while (count > 0 || (count < 0 && errno == EINTR));
}


/* The thread.  */

static int64_t
earlier (int64_t a, int64_t b)
{
  return a < b ? a : b;
}

/* With the lock held: store what to sleep on in WORDS, how many in COUNT, and
   in IS_CROWDED whether others had no space there; return for how long.  */
static int64_t
collect_words (struct gshm_awaited words[GSHM_MAX_AWAITED], size_t *count,
               int *is_crowded)
{
  int64_t sleep = GSHM_SECOND * 3600;
  size_t n = 0;

  words[n++] = (struct gshm_awaited) { &changes, atomic_load (&changes) };
  for (const struct gshm_watch *watch = watches; watch != NULL;
       watch = watch->next)
    if (watch->is_armed)
      {
        if (n < GSHM_MAX_AWAITED)
          words[n++] = watch->awaited;
        else
          *is_crowded = 1;
        sleep
          = earlier (sleep, watch->change == GSHM_SILENT_CHANGE ? GSHM_POLL_NS
                                                                : MAX_SLEEP);
      }
  if (*is_crowded)
    sleep = earlier (sleep, GSHM_POLL_NS);
  *count = n;
  return sleep;
}

static void
set_ready (struct gshm_watch *watch)
{
  watch->is_armed = 0;
  make_readable (watch);
}

/* With the lock held, at TIME: check the armed watches; if WORD is not NULL,
   only that word may have changed.  */
static void
check_words (const gshm_word *word, int64_t time)
{
  for (struct gshm_watch *watch = watches; watch != NULL; watch = watch->next)
    if (watch->is_armed)
      {
        const struct gshm_awaited *awaited = &watch->awaited;

        if (((word == NULL || word == awaited->word)
             && !gshm_word_is (awaited->word, awaited->value))
            || (watch->change == GSHM_UNLOCKING && time >= watch->deadline))
          set_ready (watch);
      }
}

/* With the lock held: this thread was woken on WORD, in place of one that may
   use the message, or the lock.  Wake that one, unless this thread still waits
   for WORD: two that did so could wake each other for ever.  */
static void
pass_wake_on (gshm_word *word)
{
  for (const struct gshm_watch *watch = watches; watch != NULL;
       watch = watch->next)
    if (watch->is_armed && watch->awaited.word == word)
      return;
  gshm_wake (word, 1);
}

static void *
watch_words (void *unused)
{
  struct gshm_awaited words[GSHM_MAX_AWAITED];
  size_t count, woken;

  (void) unused;
  for (;;)
    {
      int is_crowded = 0;

      lock ();
      int64_t sleep = collect_words (words, &count, &is_crowded);
      unlock ();
      int err = gshm_futex_wait_many (words, count, sleep, &woken);
      if (err == ENOSYS)
        gshm_futex_wait (&changes, words[0].value,
                         count > 1 ? earlier (sleep, GSHM_POLL_NS) : sleep);
      lock ();
      check_words (err == 0 && !is_crowded ? words[woken].word : NULL,
                   gshm_now ());
      if (err == 0 && woken > 0)
        pass_wake_on (words[woken].word);
      unlock ();
    }
  return NULL;
}


/* With the lock held: start the thread, if it does not run, with all signals
   blocked, which are for other threads.  Return 0 or an errno.  */
static int
start_thread (void)
{
  pthread_attr_t attributes;
  sigset_t all, before;
  pthread_t thread;

  if (is_running)
    return 0;
  sigfillset (&all);
  pthread_attr_init (&attributes);
  pthread_attr_setdetachstate (&attributes, PTHREAD_CREATE_DETACHED);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  int err = pthread_create (&thread, &attributes, watch_words, NULL);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  pthread_attr_destroy (&attributes);
  is_running = err == 0;
  return err;
}


/* Watches.  */

struct gshm_watch *
gshm_watch_new (void)
{
  struct gshm_watch *watch = malloc (sizeof *watch);

  if (watch == NULL)
    return NULL;
  watch->is_armed = watch->is_closed = 0;
  if (open_descriptors (watch) < 0)
    {
      free (watch);
      return NULL;
    }
  lock ();
  int err = start_thread ();
  watch->process = processes;
  if (err == 0)
    {
      watch->next = watches;
      watches = watch;
    }
  unlock ();
  if (err != 0)
    {
      gshm_watch_free (watch);
      errno = err;
      return NULL;
    }
  return watch;
}

int
gshm_watch_descriptor (const struct gshm_watch *watch)
{
  return fcntl (watch->input, F_DUPFD_CLOEXEC, 0);
}

/* With the lock held.  */
static int
is_dead (const struct gshm_watch *watch)
{
  return watch->process != processes || watch->is_closed;
}

int
gshm_watch_is_dead (const struct gshm_watch *watch)
{
  lock ();
  int result = is_dead (watch);
  unlock ();
  return result;
}

void
gshm_watch_set_ready (struct gshm_watch *watch)
{
  lock ();
  if (!is_dead (watch))
    set_ready (watch);
  unlock ();
}

void
gshm_watch_arm (struct gshm_watch *watch, gshm_word *word, uint32_t value,
                enum gshm_change change)
{
  lock ();
  if (!is_dead (watch))
    {
      make_unreadable (watch);
      watch->awaited = (struct gshm_awaited) { word, value };
      watch->change = change;
      watch->deadline = gshm_now () + MAX_SLEEP;
      watch->is_armed = 1;
      atomic_fetch_add (&changes, 1);
    }
  unlock ();
  gshm_wake (&changes, 1);
}

void
gshm_watch_unmapped (const void *start, size_t size)
{
  lock ();
  for (struct gshm_watch *watch = watches; watch != NULL; watch = watch->next)
    if (watch->is_armed
        && (uintptr_t) watch->awaited.word - (uintptr_t) start < size)
      set_ready (watch);
  unlock ();
}

void
gshm_watch_close (struct gshm_watch *watch)
{
  lock ();
  if (!watch->is_closed)
    close_descriptors (watch);
  watch->is_closed = 1;
  watch->is_armed = 0;
  atomic_fetch_add (&changes, 1);
  unlock ();
  gshm_wake (&changes, 1);
}

void
gshm_watch_free (struct gshm_watch *watch)
{
  gshm_watch_close (watch);
  lock ();
  for (struct gshm_watch **at = &watches; *at != NULL; at = &(*at)->next)
    if (*at == watch)
      {
        *at = watch->next;
        break;
      }
  unlock ();
  free (watch);
}

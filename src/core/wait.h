/* SPDX-License-Identifier: BSD-3-Clause
   wait.h - waiting for a word that threads share, and waking who waits.  */

#ifndef GSHM_WAIT_H
#define GSHM_WAIT_H

#include <libguile.h>
#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint32_t gshm_word;
typedef _Atomic uint64_t gshm_long_word;

/* Wait until FD is ready for EVENTS, as poll has them, or for an error.
   Asyncs run meanwhile and may leave by an exception: own nothing that needs
   releasing.  */
void gshm_wait_until_ready (int fd, short events);

/* Nanoseconds that never end.  */
#define GSHM_FOREVER INT64_MAX

/* The argument TIMEOUT, a real number of seconds, as nanoseconds from now; for
   what is #f or absent, for ever.  */
int64_t gshm_to_timeout (const char *subr, int pos, SCM timeout);

/* What an attempt waits for, and what it is told.  */
struct gshm_sleep
{
  gshm_word *word;      /* Out: sleep until this */
  uint32_t value;       /* no longer is this; or, where there is no word, */
  int (*nap) (void *data, int64_t nanoseconds);         /* do this. */
  int announce;         /* In: say so, for who changes it to wake this one. */
  int look;             /* In: it is time to see whether owners live.  */
};

/* Try to have what is waited for.  Return a result, which is not 0, or set
   what to sleep on.  It must not loop for as long as others change the memory.
   A nap is taken outside of Guile, lasts no longer than it is told, and
   returns EINTR if a signal ended it.  */
typedef int gshm_attempt (void *data, struct gshm_sleep *sleep);

/* Call ATTEMPT with DATA until it returns a result, and return that, or 0 when
   TIMEOUT is over.  Asyncs run in between and may leave by an exception, only
   after an attempt without a result.  It is an error if the memory of the
   word, which for the message is at offset K, is unmapped meanwhile.  */
int gshm_wait (const char *subr, SCM k, int64_t timeout,
               gshm_attempt *attempt, void *data);

/* Sleep that long, or until a signal comes.  */
void gshm_pause (int64_t nanoseconds);

/* The time on the clock CLOCK_MONOTONIC, in nanoseconds.  */
int64_t gshm_now (void);

#define GSHM_SECOND INT64_C (1000000000)

/* Wake at most COUNT of the threads that sleep until WORD changes; return how
   many, where the system tells, else 0.  */
int gshm_wake (gshm_word *word, int count);

/* Whether the memory of the SIZE bytes at WORD, which are in at most two
   pages, can be had.  This does not fault.  */
int gshm_is_there (gshm_word *word, size_t size);

void gshm_wait_init (void);

#endif /* GSHM_WAIT_H */

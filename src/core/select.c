/* SPDX-License-Identifier: BSD-3-Clause
   select.c - waiting until one of several sources has a message.

   The attempts say what each would sleep on.  The thread sleeps on all these
   words at once, if the system can, and else on one, for short times.  */

#include <config.h>

#include <errno.h>

#include "core/select.h"

struct selection
{
  struct gshm_source *sources;
  struct gshm_awaited *words;
  size_t count;
  int is_polled; /* the change of a word may wake no thread */
};

static int
sleep_on_all (void *data, int64_t nanoseconds)
{
  const struct selection *selection = data;
  size_t count = selection->count, woken;
  int is_polled = selection->is_polled;

  if (count == 0)
    {
      gshm_pause (nanoseconds);
      return 0;
    }
  if (count > GSHM_MAX_AWAITED)
    {
      count = GSHM_MAX_AWAITED;
      is_polled = 1;
    }
  int64_t poll = nanoseconds < GSHM_POLL_NS ? nanoseconds : GSHM_POLL_NS;
  if (is_polled)
    nanoseconds = poll;
  int err
    = gshm_futex_wait_many (selection->words, count, nanoseconds, &woken);
  if (err == ENOSYS)
    err = gshm_futex_wait (selection->words[0].word, selection->words[0].value,
                           poll);
  return err;
}

static int
attempt_all (void *data, struct gshm_sleep *sleep)
{
  struct selection *selection = data;
  int is_ready = 0;

  selection->is_polled = 0;
  for (size_t i = 0; i < selection->count; i++)
    {
      struct gshm_source *source = &selection->sources[i];
      struct gshm_sleep own
        = { .announce = sleep->announce && !source->is_polled,
            .check_owners = sleep->check_owners };

      source->result = source->attempt (source->data, &own);
      if (source->result != 0)
        is_ready = 1;
      selection->is_polled |= source->is_polled;
      selection->words[i] = (struct gshm_awaited) { own.word, own.value };
    }
  sleep->word = NULL;
  sleep->sleep_for = sleep_on_all;
  sleep->processor = NULL;
  return is_ready;
}

void
gshm_select (const struct gshm_host *host, int64_t timeout,
             struct gshm_source *sources, struct gshm_awaited *words,
             size_t count)
{
  struct selection selection
    = { .sources = sources, .words = words, .count = count };

  gshm_wait (host, timeout, attempt_all, &selection);
}

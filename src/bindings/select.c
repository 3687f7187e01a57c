/* SPDX-License-Identifier: BSD-3-Clause
   select.c - waiting for several sources of messages, as a procedure.  */

#include <config.h>

#include <errno.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/source.h"
#include "bindings/waiting.h"
#include "core/select.h"
#include "init.h"
#include "memory/address.h"

#define SELECT "shm-select"

/* All that one call needs, in one piece of memory.  */
struct selection
{
  size_t count;
  struct gshm_source *sources;
  struct gshm_awaited *words;
  struct gshm_finding *findings;
};

static void
cancel (void *data)
{
  const struct selection *selection = data;

  for (size_t i = 0; i < selection->count; i++)
    gshm_finding_cancel (&selection->findings[i]);
}

/* Whether a receiver would block for itself.  */
static int
is_deadlocked (const struct gshm_source *source)
{
  return source->result == GSHM_SELF_WAIT || source->result == GSHM_DEADLOCK;
}

static int
is_ready (const struct gshm_source *source)
{
  return source->result != 0 && !is_deadlocked (source);
}

/* Raise an exception if no source in LIST is ready, and this thread would wait
   for itself.  */
static void
check_not_deadlocked (const struct selection *selection, SCM list)
{
  SCM deadlocked = SCM_BOOL_F;

  for (size_t i = 0; i < selection->count; i++, list = scm_cdr (list))
    {
      if (is_ready (&selection->sources[i]))
        return;
      if (is_deadlocked (&selection->sources[i]))
        deadlocked = scm_caar (list);
    }
  if (scm_is_true (deadlocked))
    gshm_error_at (SELECT, EDEADLK, "channel", deadlocked, SCM_INUM0,
                   "this thread must leave call-with-shm-slot or "
                   "call-with-shm-message first");
}

/* ((BYTEVECTOR . STATE) ...), of channels and subscribers, and a timeout ->
   list of booleans: need a receiver not wait?  */
static SCM
select_sources (SCM list, SCM scm_timeout)
{
  int64_t timeout = gshm_to_timeout (SELECT, SCM_ARGn, scm_timeout);
  size_t count = scm_to_size_t (scm_length (list));
  struct selection selection = { .count = count };
  SCM result = SCM_EOL;

  if (count == 0 && timeout == GSHM_FOREVER)
    gshm_out_of_range (SELECT, list, "There is nothing to wait for");

  scm_dynwind_begin (0);
  char *memory
    = scm_calloc (count
                    * (sizeof *selection.sources + sizeof *selection.words
                       + sizeof *selection.findings)
                  + 1);
  scm_dynwind_free (memory);
  selection.findings = (void *) memory;
  selection.sources = (void *) (selection.findings + count);
  selection.words = (void *) (selection.sources + count);
  SCM rest = list;
  for (size_t i = 0; i < count; i++, rest = scm_cdr (rest))
    {
      SCM source = scm_car (rest);
      gshm_finding_begin (&selection.findings[i], SELECT, scm_car (source),
                          scm_cdr (source), timeout);
      selection.sources[i].attempt = gshm_attempt_to_find;
      selection.sources[i].data = &selection.findings[i];
      selection.sources[i].is_polled
        = gshm_finding_is_polled (&selection.findings[i]);
    }
  scm_dynwind_unwind_handler (cancel, &selection, 0);
  const struct gshm_wait_target target = { SELECT, SCM_INUM0 };
  const struct gshm_host host = gshm_guile_host (&target);
  gshm_select (&host, timeout, selection.sources, selection.words, count);
  for (size_t i = 0; i < count; i++)
    gshm_finding_end (&selection.findings[i]);
  check_not_deadlocked (&selection, list);
  for (size_t i = count; i-- > 0;)
    result
      = scm_cons (scm_from_bool (is_ready (&selection.sources[i])), result);
  scm_dynwind_end ();
  scm_remember_upto_here_1 (list);
  return result;
}

void
gshm_select_init (void)
{
  gshm_define ("%shm-select", 2, 0, select_sources);
}

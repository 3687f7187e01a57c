/* SPDX-License-Identifier: BSD-3-Clause
   fault.c - an inaccessible page becomes an exception.

   An access faults if the page is lost, because the object was truncated or
   the system has no memory left (SIGBUS); and a store, if the mapping is
   read-only (SIGSEGV).  The handler cannot raise an exception in the middle of
   an instruction.  It puts private memory in place of the page (patch.c), so
   that the instruction completes, and makes the thread raise the exception at
   its next safe point:

   1. It pushes an async onto the thread's list, as Guile's own handlers do: a
      pair that was allocated before, by one compare-and-swap.
   2. It patches the page and records the fault in a thread-local variable.
   3. The async removes the patches of the thread, and raises the exception.

   The handler allocates nothing, and does not wait for a thread that could
   wait for this one.  For it may interrupt another signal handler, whose
   thread owns any lock, or has stopped all other threads to collect.  */

#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "base/error.h"
#include "base/guile.h"
#include "core/tls.h"
#include "init.h"
#include "memory/async.h"
#include "memory/fault.h"
#include "memory/mapping.h"
#include "memory/name.h"
#include "memory/pages.h"
#include "memory/patch.h"

static int can_guard;
static atomic_int is_enabled;

int
gshm_fault_is_guarded (void)
{
  return atomic_load (&is_enabled);
}

#if GSHM_CAN_PATCH

/* This thread's fault, until it is raised.  */
static GSHM_THREAD_LOCAL struct
{
  enum gshm_fault_kind kind;
  const char *address;
  uint64_t mapping;             /* its serial number */
  size_t offset;
} pending;

static SCM lost, read_only;

/* A Scheme procedure, since the type of the exception is defined there.  */
static SCM raiser;

/* The value of this key is a thread's `scm_thread', or NULL in a thread that
   is not Guile's.  */
static pthread_key_t guile_key;

static pthread_key_t thread_exit;

/* glibc allocates where a thread stores the value of a later key.  */
#define KEYS_WITHOUT_ALLOCATION 32


/* The handler.  */

/* Make the access of this thread to ADDRESS succeed.  Return 0 if it is not
   one to a mapping, or cannot succeed.  */
static int
handle_fault (enum gshm_fault_kind kind, char *address)
{
  scm_thread *thread = pthread_getspecific (guile_key);
  struct gshm_mapping mapping;

  if (gshm_registry_find (address, &mapping) == NULL)
    return 0;
  if (mapping.state == GSHM_UNMAPPING)
    {
      /* If another thread will soon have unmapped it, try the access again.
         This thread must not be kept here: the collector may have stopped the
         other one, and wait for this one.  */
      const struct timespec pause = { .tv_nsec = 50000 };
      if (!gshm_mapping_replace (&mapping))
        nanosleep (&pause, NULL);
      return 1;
    }
  /* Run clear_at_exit, also for patches of memory that was unmapped.  */
  if (thread_exit < KEYS_WITHOUT_ALLOCATION)
    pthread_setspecific (thread_exit, &pending);
  if (mapping.state != GSHM_MAPPED)
    return gshm_patch (&mapping, kind, address);

  if (!atomic_load (&is_enabled)
      /* The access is neither a load nor a store: the thread executes.  */
      || (kind == GSHM_READ_ONLY && mapping.is_writable)
      /* A thread that Guile does not know has no safe point.  */
      || thread == NULL || !gshm_async_push (thread))
    return 0;
  int is_first = pending.kind == GSHM_NO_FAULT;
  if (is_first)
    gshm_patch_begin ();
  if (!gshm_patch (&mapping, kind, address))
    return 0;
  if (is_first)
    {
      size_t within = (size_t) (address - mapping.base);

      pending.address = address;
      pending.mapping = mapping.serial;
      pending.offset = within < mapping.skip ? 0 : within - mapping.skip;
      pending.kind = kind;
    }
  return 1;
}

/* The handlers that the guard replaced, oldest first.  If there were more, the
   last one is the newest.  */
#define MAX_REPLACED 8

struct handlers
{
  struct sigaction replaced[MAX_REPLACED];
  atomic_int count;
};

static struct handlers bus_handlers, segv_handlers;

static struct sigaction standard_action = { .sa_handler = SIG_DFL };

/* The handler to which to pass on the signal with CONTEXT: the newest of
   HANDLERS; or, if a handler passed the signal back to the guard, the one that
   was installed before it.  The context itself records which one was last
   called, since a handler may leave by siglongjmp: Linux stores NULL in
   uc_link of each new context, and does not read it.  */
static struct sigaction *
handler_before (struct handlers *handlers, ucontext_t *context)
{
  int i = atomic_load (&handlers->count) - 1;

  for (int marked = i; marked >= 0; marked--)
    if (context->uc_link == (ucontext_t *) &handlers->replaced[marked])
      i = marked - 1;
  if (i < 0)
    return &standard_action;
  context->uc_link = (ucontext_t *) &handlers->replaced[i];
  return &handlers->replaced[i];
}

/* Whether the interrupted instruction will cause the signal again.  */
static int
is_fault (int signal, int code)
{
  return (signal == SIGBUS ? code == BUS_ADRERR || code == BUS_ADRALN
          : code == SEGV_MAPERR || code == SEGV_ACCERR);
}

/* Call the handler that the guard replaced, as the kernel would.  */
static void
pass_on (int signal, siginfo_t *info, void *context)
{
  struct handlers *handlers
    = signal == SIGBUS ? &bus_handlers : &segv_handlers;
  struct sigaction *replaced = handler_before (handlers, context);
  struct sigaction next = *replaced;
  int is_sent = info->si_code <= 0;

  if (next.sa_handler == SIG_IGN && is_sent)
    return;
  if (next.sa_handler == SIG_DFL || next.sa_handler == SIG_IGN)
    {
      /* The instruction faults again, and ends the process.  */
      sigaction (signal, &standard_action, NULL);
      if (!is_fault (signal, info->si_code))
        raise (signal);
      return;
    }
  if (next.sa_flags & (int) SA_RESETHAND)
    *replaced = standard_action;
  sigset_t mask;
  sigorset (&mask, &((ucontext_t *) context)->uc_sigmask, &next.sa_mask);
  if (!(next.sa_flags & SA_NODEFER))
    sigaddset (&mask, signal);
  pthread_sigmask (SIG_SETMASK, &mask, NULL);
  if (next.sa_flags & SA_SIGINFO)
    next.sa_sigaction (signal, info, context);
  else
    next.sa_handler (signal);
}

/* The kind of fault that a signal reports; NO_FAULT if a process sent it, or
   if nothing is mapped at the address.  */
static enum gshm_fault_kind
kind_of (int signal, int code)
{
  switch (signal)
    {
    case SIGBUS:
      return code == BUS_ADRERR ? GSHM_LOST : GSHM_NO_FAULT;
    default:
      return code == SEGV_ACCERR ? GSHM_READ_ONLY : GSHM_NO_FAULT;
    }
}

static void
handle_signal (int signal, siginfo_t *info, void *context)
{
  int saved = errno;
  enum gshm_fault_kind kind = kind_of (signal, info->si_code);
  int is_handled = 0;

  if (kind != GSHM_NO_FAULT)
    {
      /* As with sa_mask, in case another handler calls this one.  */
      sigset_t before;
      gshm_block_signals (&before);
      is_handled = handle_fault (kind, info->si_addr);
      pthread_sigmask (SIG_SETMASK, &before, NULL);
    }
  if (!is_handled)
    pass_on (signal, info, context);
  errno = saved;
}

static void
install (int signal, struct handlers *handlers)
{
  struct sigaction now;

  sigaction (signal, NULL, &now);
  if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle_signal)
    return;

  /* On the thread's stack, which the collector scans, if need be while the
     handler runs.  */
  struct sigaction ours = { .sa_sigaction = handle_signal,
                            .sa_flags = SA_SIGINFO };
  sigfillset (&ours.sa_mask);
  int count = atomic_load (&handlers->count);
  if (count == MAX_REPLACED)
    count--;
  handlers->replaced[count] = now;
  atomic_store (&handlers->count, count + 1);
  sigaction (signal, &ours, NULL);
}

/* Install the guard in front of other handlers.  */
static void
install_guard (void)
{
  install (SIGBUS, &bus_handlers);
  install (SIGSEGV, &segv_handlers);
}

void
gshm_fault_install (void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  if (atomic_load (&is_enabled))
    pthread_once (&once, install_guard);
}


/* Raising.  */

/* Remove this thread's patches and the record of its fault, with signals
   blocked, so that no handler sees only one of both.  */
static void
clear_pending (void)
{
  sigset_t before;

  gshm_block_signals (&before);
  gshm_patch_undo ();
  pending.kind = GSHM_NO_FAULT;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
}

/* The destructor of thread_exit: a thread may end before a safe point.  */
static void
clear_at_exit (void *data)
{
  (void) data;
  clear_pending ();
}

/* The name of the object at ADDRESS in the mapping with the number SERIAL; #f
   if it has none or was released.  */
static SCM
name_at (const char *address, uint64_t serial)
{
  struct gshm_mapping copy;
  char name[GSHM_NAME_MAX + 2];

  /* The lock keeps the name from being freed.  */
  gshm_registry_lock ();
  int is_there = (gshm_registry_find (address, &copy) != NULL
                  && copy.serial == serial);
  if (is_there && copy.name != NULL)
    copy.name = strcpy (name, copy.name);
  gshm_registry_unlock ();
  return is_there ? gshm_mapping_name (&copy) : SCM_BOOL_F;
}

int
gshm_fault_is_pending (void)
{
  return pending.kind != GSHM_NO_FAULT;
}

void
gshm_fault_raise (void)
{
  if (!gshm_fault_is_pending ())
    return;
  /* Not interned here: in the child of a fork, Guile's lock for symbols may be
     locked for ever.  */
  SCM kind = pending.kind == GSHM_LOST ? lost : read_only;
  SCM offset = scm_from_size_t (pending.offset);
  const char *address = pending.address;
  uint64_t mapping = pending.mapping;
  /* Before the name is looked up, which may raise an exception.  */
  clear_pending ();
  scm_call_3 (raiser, kind, name_at (address, mapping), offset);
}

void
gshm_fault_clear (void)
{
  /* The async that was pushed finds nothing to raise.  */
  if (gshm_fault_is_pending ())
    clear_pending ();
}

/* (): the async.  */
static SCM
run_async (void)
{
  gshm_async_renew ();
  gshm_fault_raise ();
  return SCM_UNSPECIFIED;
}

/* At the beginning of a collection by this thread.  Guile has just pushed an
   async of its own, without a compare-and-swap.  If a handler pushed ours at
   that moment, it was overwritten: push it again.  And keep the list as it is
   now, since a handler may change it while this thread marks.  */
static void *
begin_collection (void *hook_data, void *function_data, void *data)
{
  scm_thread *thread = pthread_getspecific (guile_key);

  (void) hook_data;
  (void) function_data;
  if (thread == NULL)
    return data;
  if (gshm_fault_is_pending ())
    gshm_async_push (thread);
  gshm_async_keep (thread);
  return data;
}

/* (PROC): set the procedure that raises faults, called with their kind, name
   and offset.  */
static SCM
set_raiser (SCM proc)
{
  raiser = scm_permanent_object (proc);
  return SCM_UNSPECIFIED;
}


/* Set up, once in a process.  */

static void
reset_in_child (void)
{
  gshm_patch_reset ();
  gshm_async_reset ();
}

/* Find the key of the thread-specific data in which Guile stores its record of
   a thread.  scm_current_thread would crash in a thread that Guile does not
   know.  */
static int
find_guile_key (void)
{
  scm_thread *thread = SCM_I_THREAD_DATA (scm_current_thread ());

  for (pthread_key_t key = 0; key < PTHREAD_KEYS_MAX; key++)
    if (pthread_getspecific (key) == thread)
      {
        guile_key = key;
        return 1;
      }
  return 0;
}

void
gshm_fault_start (void)
{
  lost = gshm_symbol ("lost");
  read_only = gshm_symbol ("read-only");
  raiser = SCM_BOOL_F;
  SCM async = scm_c_make_gsubr ("raise-shm-fault", 0, 0, 0, run_async);
  can_guard = (gshm_patch_start () && gshm_async_start (async)
               && find_guile_key ()
               && pthread_key_create (&thread_exit, clear_at_exit) == 0);
  atomic_store (&is_enabled, can_guard);
  if (can_guard)
    /* After Guile's own.  */
    scm_c_hook_add (&scm_before_gc_c_hook, begin_collection, NULL, 1);
  pthread_atfork (NULL, NULL, reset_in_child);
}

#else /* !GSHM_CAN_PATCH */

void
gshm_fault_install (void)
{
}

int
gshm_fault_is_pending (void)
{
  return 0;
}

void
gshm_fault_raise (void)
{
}

void
gshm_fault_clear (void)
{
}

static void
install_guard (void)
{
}

static SCM
set_raiser (SCM proc)
{
  (void) proc;
  return SCM_UNSPECIFIED;
}

void
gshm_fault_start (void)
{
}

#endif /* !GSHM_CAN_PATCH */

/* (VALUE) -> boolean: the previous setting; set it if VALUE is a boolean.  */
static SCM
gshm_fault_guard (SCM value)
{
  int before = atomic_load (&is_enabled);

  if (scm_is_eq (value, SCM_BOOL_T) && !can_guard)
    gshm_system_error ("shm-fault-guard", ENOSYS, value,
                       "this system can't move pages");
  if (scm_is_bool (value))
    {
      atomic_store (&is_enabled, scm_is_true (value));
      gshm_fault_install ();
      if (scm_is_true (value))
        install_guard ();
    }
  return scm_from_bool (before);
}

void
gshm_fault_init (void)
{
  gshm_define ("%shm-fault-guard", 1, 0, gshm_fault_guard);
  gshm_define ("%shm-fault-raiser!", 1, 0, set_raiser);
}

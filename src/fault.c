/* SPDX-License-Identifier: BSD-3-Clause
   fault.c - bad memory becomes an exception.

   A page of a mapping cannot be had if the object was cut short or the system
   has no memory left (SIGBUS), and cannot be written if the mapping is
   read-only (SIGSEGV).  The handler cannot raise an exception from the middle
   of an instruction.  It lets the instruction go on, with private memory, and
   sees to it that the thread raises one at its next safe point:

   1. It has an async marked for the thread, by a short-lived other thread:
      marking allocates, which a handler may not do on behalf of the
      interrupted code.
   2. It notes the fault in the thread's own record, moves the mapping's view
      of the page elsewhere ("aside") and puts a private page in its place, of
      zeros or, where the page can be read, a copy.  That is a patch.
   3. The async takes the fault (gshm_fault_take), which moves every page that
      the thread's faults have patched back, and raises the exception.

   One instruction of Guile's such as bytevector-fill! can fault on any number
   of pages before a safe point.  Each patch of such a run is twice as long as
   the one before, so that a run needs few.  */

#include <config.h>

/* For what libgc knows of threads, but not to have it put its own calls in
   place of the system's, which register threads with the collector that this
   file wants out of its sight.  */
#ifndef GC_THREADS
# define GC_THREADS 1
#endif
#define GC_NO_THREAD_REDIRECTS 1

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gshm.h"
#include "mapping.h"
#include "wait.h"
#include <gc/gc.h>

#if defined HAVE_MREMAP && defined HAVE_PROCESS_VM_READV
# define CAN_GUARD 1
#else
# define CAN_GUARD 0
#endif

/* Whether the system that runs this has what its C library has.  */
static int can_guard;

static atomic_int wanted;

int
gshm_fault_is_guarded (void)
{
  return atomic_load (&wanted);
}

#if CAN_GUARD

enum kind
{
  NONE,
  LOST,
  READ_ONLY
};

/* A thread's fault that was not raised yet, and how long its next patch is.
   Initial-exec, since a handler may not wait for memory for it.  */
static _Thread_local struct
{
  enum kind kind;
  struct gshm_mapping *mapping;
  size_t offset;
  size_t next_length;
} pending __attribute__ ((tls_model ("initial-exec")));

/* Guarded by the registry's lock.  There is room for more than the system lets
   a process have ranges of memory, by default; the first `used' may be in
   use.  */
static struct patch
{
  char *page;
  size_t length;         /* 0: free */
  char *aside;
  const struct gshm_mapping *mapping;
  const void *owner;     /* &pending of the thread that has to take it */
} patches[1 << 15];

#define PATCHES (sizeof patches / sizeof *patches)

static size_t used;

static size_t page_size;
static SCM fault_async, lost, read_only;

/* The handlers that faults elsewhere go to: those that were there before ours,
   the last time and the first time.  */
struct handlers
{
  struct sigaction previous, first;
  int known;
};

static struct handlers bus_handlers, segv_handlers;

static pthread_key_t thread_exit;


/* Patches.  The caller holds the registry's lock.  */

/* Read SIZE bytes, as far as they can be had.  This does not fault.  */
static size_t
read_memory (char *to, char *from, size_t size)
{
  struct iovec local = { to, size }, remote = { from, size };
  ssize_t n = process_vm_readv (getpid (), &local, 1, &remote, 1, 0);

  return n < 0 ? 0 : (size_t) n;
}

static int
is_readable (char *address)
{
  char byte;

  return read_memory (&byte, address, 1) == 1;
}

/* Try what a patch takes, which emulators of other processors and filters of
   system calls may not let through.  */
static int
try_to_guard (void)
{
  char *shared = mmap (NULL, page_size, PROT_READ, MAP_SHARED | MAP_ANONYMOUS,
                       -1, 0);
  char byte = 0;

  if (shared == MAP_FAILED)
    return 0;
  char *aside = mremap (shared, 0, page_size, MREMAP_MAYMOVE);
  int moved = aside != MAP_FAILED;
  if (moved)
    munmap (aside, page_size);
  munmap (shared, page_size);
  return moved && is_readable (&byte);
}

/* Copy what can be read; what cannot stays zero.  */
static void
copy_pages (char *to, char *from, size_t length)
{
  for (size_t done = 0; done < length;)
    {
      size_t n = read_memory (to + done, from + done, length - done);
      done += n < page_size ? page_size : n / page_size * page_size;
    }
}

static struct patch *
patch_at (const char *page)
{
  for (size_t i = 0; i < used; i++)
    if (patches[i].length != 0 && page >= patches[i].page
        && page < patches[i].page + patches[i].length)
      return &patches[i];
  return NULL;
}

static struct patch *
free_patch (void)
{
  for (size_t i = 0; i < used; i++)
    if (patches[i].length == 0)
      return &patches[i];
  return used < PATCHES ? &patches[used++] : NULL;
}

/* Stretch the page *START to *LENGTH bytes, upwards or, if what is above it is
   patched already, as by a copy that runs backwards, downwards; as far as
   there is neither an end of the mapping nor another patch.  */
static void
stretch (const struct gshm_mapping *mapping, enum kind kind, char **start,
         size_t *length)
{
  char *from = *start, *to = *start + page_size;
  int down = patch_at (to) != NULL;
  char *end = down ? mapping->base : mapping->base + mapping->length;

  for (size_t i = 0; i < used; i++)
    if (patches[i].length != 0)
      {
        char *low = patches[i].page, *high = low + patches[i].length;

        if (!down && low >= to && low < end)
          end = low;
        if (down && high <= from && high > end)
          end = high;
      }
  size_t room = (size_t) (down ? to - end : end - from);
  if (*length > room)
    *length = room;
  if (kind == LOST)
    /* What others store in pages that are there must not be lost.  */
    for (size_t done = page_size; done < *length; done += page_size)
      if (is_readable (down ? to - done - page_size : from + done))
        *length = done;
  if (down)
    *start = to - *length;
}

/* Put private memory over LENGTH bytes at PAGE, and move the object's aside.
   Return whether that was possible.  */
static int
patch_pages (const struct gshm_mapping *mapping, char *page, size_t length,
             const void *owner)
{
  struct patch *patch = free_patch ();
  if (patch == NULL)
    return 0;

  /* Of old size 0: a second view of shared pages, which stay where they are,
     so that no other thread ever finds nothing there.  */
  char *aside = mremap (page, 0, length, MREMAP_MAYMOVE);
  if (aside == MAP_FAILED && errno == EAGAIN
      && munlock (page, length) == 0)
    /* The user may not lock that much.  */
    aside = mremap (page, 0, length, MREMAP_MAYMOVE);
  if (aside == MAP_FAILED)
    return 0;
  char *copy = mmap (NULL, length, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (copy != MAP_FAILED)
    {
      copy_pages (copy, aside, length);
      if (mremap (copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, page)
          != MAP_FAILED)
        {
          *patch = (struct patch) { page, length, aside, mapping, owner };
          return 1;
        }
      munmap (copy, length);
    }
  munmap (aside, length);
  return 0;
}

static void
move_back (struct patch *patch)
{
  if (patch->mapping->unmapped)
    {
      munmap (patch->aside, patch->length);
      patch->length = 0;
    }
  else if (mremap (patch->aside, patch->length, patch->length,
                   MREMAP_MAYMOVE | MREMAP_FIXED, patch->page)
           != MAP_FAILED)
    {
      /* Who began to wait there meanwhile waits in private memory.  */
      gshm_kick_sleepers (patch->page, patch->length);
      patch->length = 0;
    }
}

void
gshm_fault_forget (const struct gshm_mapping *mapping)
{
  for (size_t i = 0; i < used; i++)
    if (patches[i].length != 0 && patches[i].mapping == mapping)
      {
        munmap (patches[i].aside, patches[i].length);
        patches[i].length = 0;
      }
}


/* Marking the async.  */

static void *
mark_in_guile (void *thread)
{
  scm_system_async_mark_for_thread (fault_async, *(SCM *) thread);
  return NULL;
}

/* Whether the system has two more descriptors: Guile needs them for each
   thread, and aborts where there are none.  */
static int
are_descriptors_left (void)
{
  int ends[2];

  if (pipe2 (ends, O_CLOEXEC) < 0)
    return 0;
  close (ends[0]);
  close (ends[1]);
  return 1;
}

/* Return NULL if the async is marked.  */
static void *
mark_in_thread (void *thread)
{
  sigset_t faults;

  if (!are_descriptors_left ())
    return thread;
  /* Guile may start threads of its own from here, which inherit the mask.  */
  sigemptyset (&faults);
  sigaddset (&faults, SIGBUS);
  sigaddset (&faults, SIGSEGV);
  pthread_sigmask (SIG_UNBLOCK, &faults, NULL);
  return scm_with_guile (mark_in_guile, thread);
}

/* Have the async marked for this thread.  The other thread has ended when this
   returns, so that nobody sees it, as a fork would.  */
static void
mark_async (void)
{
  SCM thread = scm_current_thread ();
  pthread_t other;
  void *unmarked = &thread;

  if (pthread_create (&other, NULL, mark_in_thread, &thread) == 0)
    pthread_join (other, &unmarked);
  if (unmarked != NULL)
    /* Better than to end the process: whoever touches shared memory is hardly
       in the middle of allocating.  But it may be outside of Guile, waiting
       for a semaphore, while the collector does not wait for it.  */
    GC_call_with_gc_active (mark_in_guile, unmarked);
}


/* The handler.  */

/* Patch the page at ADDRESS and note the fault, if it is one of ours.  */
static int
handle_fault (enum kind kind, char *address)
{
  int handled = 0;

  gshm_registry_lock ();
  struct gshm_mapping *mapping = gshm_registry_find (address);
  size_t within = mapping == NULL ? 0 : (size_t) (address - mapping->base);
  char *page = (mapping == NULL ? NULL
                : mapping->base + within / page_size * page_size);
  if (mapping != NULL && mapping->unmapped)
    /* It has private memory for reading, or will soon.  */
    handled = mmap (page, page_size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
              != MAP_FAILED;
  else if (mapping != NULL)
    {
      if (pending.kind == NONE)
        pending.next_length = page_size;
      size_t length = pending.next_length;

      /* Another thread that faulted there may have been first.  */
      handled = patch_at (page) != NULL;
      if (!handled)
        {
          stretch (mapping, kind, &page, &length);
          handled = patch_pages (mapping, page, length, &pending);
          pending.next_length = length > SIZE_MAX / 2 ? length : 2 * length;
        }
      if (handled && pending.kind == NONE)
        {
          mapping->references++;
          pthread_setspecific (thread_exit, &pending);
          pending.kind = kind;
          pending.mapping = mapping;
          pending.offset = within < mapping->skip ? 0 : within - mapping->skip;
        }
    }
  gshm_registry_unlock ();
  return handled;
}

enum place
{
  ELSEWHERE,
  MAPPED,
  UNMAPPED
};

static enum place
place_of (const char *address)
{
  gshm_registry_lock ();
  const struct gshm_mapping *mapping = gshm_registry_find (address);
  enum place place = (mapping == NULL ? ELSEWHERE
                      : mapping->unmapped ? UNMAPPED : MAPPED);
  gshm_registry_unlock ();
  return place;
}

/* Hand a signal on to the handler that was there before ours, or, if that one
   hands it to ours again, to the first.  */
static void
pass_on (int signal, siginfo_t *info, void *context)
{
  static _Thread_local int passing
    __attribute__ ((tls_model ("initial-exec")));
  const struct handlers *handlers
    = signal == SIGBUS ? &bus_handlers : &segv_handlers;
  const struct sigaction *next
    = passing ? &handlers->first : &handlers->previous;
  int sent = info->si_code <= 0;

  passing++;
  if (next->sa_flags & SA_SIGINFO)
    next->sa_sigaction (signal, info, context);
  else if (next->sa_handler == SIG_DFL
           || (next->sa_handler == SIG_IGN && !sent))
    {
      /* The instruction faults again, with nobody in the way.  */
      struct sigaction standard = { .sa_handler = SIG_DFL };
      sigaction (signal, &standard, NULL);
      if (sent)
        raise (signal);
    }
  else if (next->sa_handler != SIG_IGN)
    next->sa_handler (signal);
  passing--;
}

/* What a signal tells of; nothing for us if a process sent it, or if it was
   about an access to no memory at all.  */
static enum kind
kind_of (int signal, int code)
{
  switch (signal)
    {
    case SIGBUS:
      return code == BUS_ADRERR ? LOST : NONE;
    default:
      return code == SEGV_ACCERR ? READ_ONLY : NONE;
    }
}

static void
handle_signal (int signal, siginfo_t *info, void *context)
{
  int saved = errno;
  enum kind kind = kind_of (signal, info->si_code);

  enum place place = kind == NONE ? ELSEWHERE : place_of (info->si_addr);

  if (place == MAPPED
      && (!atomic_load (&wanted)
          /* Guile's threads are; a plain one of C's has no safe point, and no
             way to be told.  */
          || (pending.kind == NONE && !GC_thread_is_registered ())))
    place = ELSEWHERE;
  /* Before the patch, since that takes long, and what other threads store
     while there is a patch is lost.  */
  if (place == MAPPED && pending.kind == NONE)
    mark_async ();
  if (place == ELSEWHERE || !handle_fault (kind, info->si_addr))
    pass_on (signal, info, context);
  errno = saved;
}

static void
watch_signal (int signal, struct handlers *handlers)
{
  struct sigaction now;

  sigaction (signal, NULL, &now);
  if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle_signal)
    return;

  /* On the thread's own stack, which the collector may look through while the
     handler waits.  */
  struct sigaction ours = { .sa_sigaction = handle_signal,
                            .sa_flags = SA_SIGINFO };
  sigemptyset (&ours.sa_mask);
  if (!handlers->known)
    handlers->first = now;
  handlers->known = 1;
  handlers->previous = now;
  sigaction (signal, &ours, NULL);
}

void
gshm_fault_watch (void)
{
  if (atomic_load (&wanted))
    {
      watch_signal (SIGBUS, &bus_handlers);
      watch_signal (SIGSEGV, &segv_handlers);
    }
}

/* Give up the fault of this thread, and what it patched; return the mapping,
   with the reference that the fault held.  */
static struct gshm_mapping *
take_pending (void)
{
  gshm_registry_lock ();
  for (size_t i = 0; i < used; i++)
    if (patches[i].length != 0 && patches[i].owner == &pending)
      move_back (&patches[i]);
  pending.kind = NONE;
  gshm_registry_unlock ();
  return pending.mapping;
}

/* A thread that ends before its next safe point.  */
static void
take_at_exit (void *data)
{
  (void) data;
  if (pending.kind != NONE)
    gshm_mapping_release (take_pending ());
}

/* In the child of a fork, where the other threads are no more.  */
static void
take_of_others (void)
{
  gshm_registry_lock ();
  for (size_t i = 0; i < used; i++)
    if (patches[i].length != 0 && patches[i].owner != &pending)
      move_back (&patches[i]);
  gshm_registry_unlock ();
}

/* () -> #f, or (kind name offset): the fault that this thread has not
   raised yet, and with it the memory as it was before.  */
static SCM
gshm_fault_take (void)
{
  if (pending.kind == NONE)
    return SCM_BOOL_F;
  /* Not made here: Guile has a lock for symbols, which in the child of a fork
     another thread may have taken for ever.  */
  SCM kind = pending.kind == LOST ? lost : read_only;
  size_t offset = pending.offset;
  struct gshm_mapping *mapping = take_pending ();
  SCM name = gshm_mapping_name (mapping);
  gshm_mapping_release (mapping);
  return scm_list_3 (kind, name, scm_from_size_t (offset));
}

int
gshm_fault_is_pending (void)
{
  return pending.kind != NONE;
}

void
gshm_fault_raise (void)
{
  if (gshm_fault_is_pending ())
    scm_call_0 (fault_async);
}

/* (THUNK): have threads run THUNK at their next safe point after a fault.  */
static SCM
gshm_fault_async (SCM thunk)
{
  fault_async = scm_permanent_object (thunk);
  return SCM_UNSPECIFIED;
}

#else /* !CAN_GUARD */

void
gshm_fault_forget (const struct gshm_mapping *mapping)
{
  (void) mapping;
}

void
gshm_fault_watch (void)
{
}

static SCM
gshm_fault_take (void)
{
  return SCM_BOOL_F;
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

static SCM
gshm_fault_async (SCM thunk)
{
  (void) thunk;
  return SCM_UNSPECIFIED;
}

#endif /* !CAN_GUARD */

/* (VALUE) -> boolean: as it was before; set if VALUE is a boolean.  */
static SCM
gshm_fault_guard (SCM value)
{
  int before = atomic_load (&wanted);

  if (scm_is_eq (value, SCM_BOOL_T) && !can_guard)
    gshm_system_error ("shm-fault-guard", ENOSYS, value,
                       "this system can't move pages");
  if (scm_is_bool (value))
    {
      atomic_store (&wanted, scm_is_true (value));
      if (gshm_registry_count () > 0)
        gshm_fault_watch ();
    }
  return scm_from_bool (before);
}

void
gshm_fault_init (void)
{
  gshm_registry_init ();
#if CAN_GUARD
  page_size = (size_t) sysconf (_SC_PAGESIZE);
  can_guard = try_to_guard ();
  atomic_store (&wanted, can_guard);
  lost = scm_permanent_object (scm_from_utf8_symbol ("lost"));
  read_only = scm_permanent_object (scm_from_utf8_symbol ("read-only"));
  pthread_key_create (&thread_exit, take_at_exit);
  /* After the registry's, which frees the lock.  */
  pthread_atfork (NULL, NULL, take_of_others);
#endif
  gshm_define ("%shm-take-fault!", 0, 0, gshm_fault_take);
  gshm_define ("%shm-fault-guard", 1, 0, gshm_fault_guard);
  gshm_define ("%shm-fault-async!", 1, 0, gshm_fault_async);
}

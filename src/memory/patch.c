/* SPDX-License-Identifier: BSD-3-Clause
   patch.c - private memory in place of pages that cannot be accessed.

   A patch is a range of pages of a mapping that shows private memory: a copy
   of the object's pages, or zeros.  What the mapping showed there before is
   mapped elsewhere meanwhile ("aside"), and is moved back when the thread that
   made the patch raises its fault.

   One instruction of Guile's such as bytevector-fill! can fault on any number
   of pages before a safe point.  Its cost is bounded: each next patch is twice
   as long as the one before, up to MAX_LENGTH; a thread has MAX_PATCHES at
   most, and drops the oldest for a new one; and once it has copied MAX_COPIED
   bytes, further patches hold zeros, because reading a page that the object
   does not have yet would allocate it.

   What takes time in proportion to a patch is done without the lock.  Under it
   a patch is moved into place, or back.  The thread that holds the lock has
   all signals blocked: the collector does not stop it, and no handler
   interrupts it.  So it soon releases the lock, and a handler may wait for
   that, whatever its thread was doing.  A fork does not wait for the lock:
   gshm_patch_reset finds out what the other threads were doing.  */

#include <config.h>

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/tls.h"
#include "memory/fault.h"
#include "memory/pages.h"
#include "memory/patch.h"

#if GSHM_CAN_PATCH

enum state
{
  FREE,
  ACTIVE,
  UNDOING               /* may be in place still, or no longer */
};

struct patch
{
  _Atomic enum state state;
  char *page;
  size_t length;
  _Atomic (char *) aside;       /* NULL if the mapping was unmapped */
  uint64_t mapping;     /* its serial number */
  uint64_t serial;      /* of the patch: larger than those of older ones */
  const void *owner;    /* the thread */
};

/* More than the system lets a process have ranges of memory, by default; so
   many that the table is mapped when it is first needed.  The first `used' may
   be in use.  The lock guards all.  */
#define TABLE_SIZE ((size_t) 1 << 15)

static atomic_flag is_locked = ATOMIC_FLAG_INIT;
static struct patch *table;
static size_t page_size;
static size_t used;
static uint64_t serials;
static uint64_t changes;        /* of states */

#define MAX_LENGTH ((size_t) 256 << 10)
#define MAX_PATCHES 32
#define MAX_COPIED ((size_t) 16 << 20)

/* The patches that this thread makes before a safe point.  */
static GSHM_THREAD_LOCAL struct
{
  size_t next_length;   /* 0: one page */
  size_t copied;        /* bytes */
  uint64_t met;         /* serial of the patch where it faulted last */
} run;

/* After so many attempts, sleep in between: a thread of a higher real-time
   priority than the holder's never yields to that.  */
#define ATTEMPTS 100

static void
lock_table (void)
{
  const struct timespec pause = { .tv_nsec = 50000 };

  /* Acquire: the stores of the previous holder are seen.  */
  for (int attempts = 0;
       atomic_flag_test_and_set_explicit (&is_locked, memory_order_acquire);
       attempts += attempts < ATTEMPTS)
    if (attempts < ATTEMPTS)
      sched_yield ();
    else
      nanosleep (&pause, NULL);
}

static void
unlock_table (void)
{
  atomic_flag_clear_explicit (&is_locked, memory_order_release);
}


/* The table.  The caller holds the lock.  */

static int
is_used (const struct patch *patch)
{
  return atomic_load_explicit (&patch->state, memory_order_relaxed) != FREE;
}

/* A patch in the LENGTH bytes at START, or NULL.  */
static struct patch *
patch_in (const char *start, size_t length)
{
  for (size_t i = 0; i < used; i++)
    if (is_used (&table[i]) && table[i].page < start + length
        && start < table[i].page + table[i].length)
      return &table[i];
  return NULL;
}

static struct patch *
free_patch (void)
{
  for (size_t i = 0; i < used; i++)
    if (!is_used (&table[i]))
      return &table[i];
  return used < TABLE_SIZE ? &table[used++] : NULL;
}

static int
map_table (void)
{
  if (table == NULL)
    table = mmap (NULL, TABLE_SIZE * sizeof *table, PROT_READ | PROT_WRITE,
                  GSHM_PRIVATE, -1, 0);
  if (table == MAP_FAILED)
    table = NULL;
  return table != NULL;
}

/* Count PATCH as one less of its mapping.  */
static void
uncount (const struct patch *patch)
{
  struct gshm_mapping copy, *mapping = gshm_registry_find (patch->page, &copy);

  if (mapping != NULL && copy.serial == patch->mapping)
    atomic_fetch_sub (&mapping->patches, 1);
}

/* Count PATCH as one more of its mapping.  Return 0, without that, if the
   mapping is no longer in STATE.  In a total order with these two accesses a
   thread that changes the state does so before it loads the count: either it
   sees the patch, or this sees the change.  */
static int
count (const struct patch *patch, enum gshm_state state)
{
  struct gshm_mapping copy, *mapping = gshm_registry_find (patch->page, &copy);

  if (mapping == NULL || copy.serial != patch->mapping)
    return 0;
  atomic_fetch_add (&mapping->patches, 1);
  if (atomic_load (&mapping->state) == state)
    return 1;
  atomic_fetch_sub (&mapping->patches, 1);
  return 0;
}

/* Whether the mapping of PATCH is mapped.  */
static int
is_mapped (const struct patch *patch)
{
  struct gshm_mapping copy, *mapping = gshm_registry_find (patch->page, &copy);

  return (mapping != NULL && copy.serial == patch->mapping
          && atomic_load (&mapping->state) == GSHM_MAPPED);
}

/* The order of stores is for gshm_patch_reset.  */
static void
set_state (struct patch *patch, enum state state)
{
  changes++;
  atomic_store_explicit (&patch->state, state, memory_order_release);
}

/* Have the mapping show again what it showed before.  If that fails the patch
   stays until the next fault of its thread.  */
static void
undo (struct patch *patch)
{
  int done;

  set_state (patch, UNDOING);
  if (patch->aside == NULL)
    done = gshm_put_zeros (patch->page, patch->length);
  else
    do
      done = mremap (patch->aside, patch->length, patch->length,
                     MREMAP_MAYMOVE | MREMAP_FIXED, patch->page)
             != MAP_FAILED;
    while (!done && errno == ENOMEM && gshm_use_reserve ());
  if (done)
    {
      /* Another thread may have put zeros there just before.  It changes the
         state first: either it finds the object there, or this finds the
         change.  */
      if (patch->aside != NULL && !is_mapped (patch))
        gshm_put_zeros (patch->page, patch->length);
      /* In this order: the child of a fork in between counts one too many,
         and not one too few.  */
      set_state (patch, FREE);
      uncount (patch);
    }
  else
    set_state (patch, ACTIVE);
}

/* Undo the oldest patches of this thread until it has fewer than MOST.  */
static void
make_room (size_t most)
{
  for (;;)
    {
      struct patch *oldest = NULL;
      size_t count = 0;

      for (size_t i = 0; i < used; i++)
        if (is_used (&table[i]) && table[i].owner == gshm_this_thread ())
          {
            count++;
            if (oldest == NULL || table[i].serial < oldest->serial)
              oldest = &table[i];
          }
      if (count < most)
        return;
      undo (oldest);
      if (is_used (oldest))
        return;
    }
}

/* Stretch PATCH, of one page, to LENGTH bytes, upwards or, if the page above
   it is patched already, as by a copy that runs backwards, downwards; as far
   as there is neither an end of MAPPING nor another patch.  Return whether it
   is downwards.  */
static int
stretch (struct patch *patch, const struct gshm_mapping *mapping,
         size_t length)
{
  char *from = patch->page, *to = from + page_size;
  int down = patch_in (to, 1) != NULL;
  char *end = down ? mapping->base : mapping->base + mapping->length;

  for (size_t i = 0; i < used; i++)
    if (is_used (&table[i]))
      {
        char *low = table[i].page, *high = low + table[i].length;

        if (!down && low >= to && low < end)
          end = low;
        if (down && high <= from && high > end)
          end = high;
      }
  size_t room = (size_t) (down ? to - end : end - from);
  patch->length = length < room ? length : room;
  if (down)
    patch->page = to - patch->length;
  return down;
}


/* Making a patch, without the lock.  */

/* Shorten PATCH, of a page that is lost and pages above or, if IS_DOWN, below
   it, to those that are lost, too: another thread's store in one that is not
   would be lost.  */
static void
keep_lost (struct patch *patch, int is_down)
{
  char *end = patch->page + patch->length;

  for (size_t done = page_size; done < patch->length; done += page_size)
    if (!gshm_is_unreadable (is_down ? end - done - page_size
                             : patch->page + done))
      patch->length = done;
  if (is_down)
    patch->page = end - patch->length;
}

/* A second mapping of the pages of PATCH, which stay where they are, so that
   no other thread ever finds nothing there.  Return NULL if that fails.  */
static char *
map_aside (const struct patch *patch)
{
  char *aside;
  int unlocked = 0;

  do
    aside = mremap (patch->page, 0, patch->length, MREMAP_MAYMOVE);
  while (aside == MAP_FAILED
         && ((errno == ENOMEM && gshm_use_reserve ())
             /* The user may not lock that much.  */
             || (errno == EAGAIN && !unlocked++
                 && munlock (patch->page, patch->length) == 0)));
  return aside == MAP_FAILED ? NULL : aside;
}

/* Private memory for PATCH, or NULL: with what the object holds if the page
   can be read.  */
static char *
map_copy (const struct patch *patch, enum gshm_fault_kind kind)
{
  char *copy;

  do
    copy = mmap (NULL, patch->length, PROT_READ | PROT_WRITE, GSHM_PRIVATE, -1,
                 0);
  while (copy == MAP_FAILED && errno == ENOMEM && gshm_use_reserve ());
  if (copy == MAP_FAILED)
    return NULL;
  if (patch->aside != NULL && kind == GSHM_READ_ONLY
      && run.copied < MAX_COPIED)
    {
      run.copied += patch->length;
      if (!gshm_copy_pages (copy, patch->aside, patch->length))
        {
          gshm_unmap_range (copy, patch->length);
          return NULL;
        }
    }
  return copy;
}

/* Move COPY over the pages of PREPARED, in a mapping in STATE.  Return -1 if
   that fails, 0 if there is a patch already, or the mapping has changed, so
   that the access must be tried again, else 1.  */
static int
put_in_place (const struct patch *prepared, char *copy, enum gshm_state state)
{
  if (patch_in (prepared->page, prepared->length) != NULL
      || !count (prepared, state))
    return 0;
  make_room (MAX_PATCHES);
  struct patch *patch = free_patch ();
  if (patch != NULL)
    {
      patch->page = prepared->page;
      patch->length = prepared->length;
      patch->aside = prepared->aside;
      patch->mapping = prepared->mapping;
      patch->owner = prepared->owner;
      patch->serial = run.met = ++serials;
      set_state (patch, ACTIVE);
      char *moved;
      do
        moved = mremap (copy, patch->length, patch->length,
                        MREMAP_MAYMOVE | MREMAP_FIXED, patch->page);
      while (moved == MAP_FAILED && errno == ENOMEM && gshm_use_reserve ());
      if (moved != MAP_FAILED)
        return 1;
      set_state (patch, FREE);
    }
  uncount (prepared);
  return -1;
}

/* Whether it is worth trying the access to a page of PATCH again.  It is not
   if this thread did that before and met the same patch: then it does not
   store or load there, but execute.  */
static int
meet (const struct patch *patch)
{
  int is_new = patch->serial != run.met;

  run.met = patch->serial;
  return is_new;
}

void
gshm_patch_begin (void)
{
  run.next_length = run.copied = 0;
}

/* Whether the mapping is still as this copy of it says, and no patch has
   changed since there were CHANGES_BEFORE.  */
static int
is_unchanged (const struct gshm_mapping *before, uint64_t changes_before)
{
  struct gshm_mapping now;
  int is_same = (gshm_registry_find (before->base, &now) != NULL
                 && now.serial == before->serial
                 && now.state == before->state);

  lock_table ();
  is_same = is_same && changes == changes_before;
  unlock_table ();
  return is_same;
}

/* Patch the pages of PATCH as the access KIND in MAPPING wants it.  Return as
   put_in_place does.  CHANGES_BEFORE is of when the pages were not
   patched.  */
static int
make_patch (struct patch *patch, const struct gshm_mapping *mapping,
            enum gshm_fault_kind kind, uint64_t changes_before)
{
  int result = -1;

  if (mapping->state == GSHM_MAPPED)
    {
      char *aside = map_aside (patch);
      if (aside == NULL)
        /* Another thread may have patched these pages meanwhile, or unmapped
           them.  */
        return is_unchanged (mapping, changes_before) ? -1 : 0;
      patch->aside = aside;
    }
  char *copy = map_copy (patch, kind);
  if (copy != NULL)
    {
      lock_table ();
      result = put_in_place (patch, copy, mapping->state);
      unlock_table ();
    }
  if (result != 1)
    {
      if (copy != NULL)
        gshm_unmap_range (copy, patch->length);
      if (patch->aside != NULL)
        gshm_unmap_range (patch->aside, patch->length);
    }
  return result;
}

/* Patch at least the page of ADDRESS, and up to LENGTH bytes.  Return as
   put_in_place does.  */
static int
try_patch (const struct gshm_mapping *mapping, enum gshm_fault_kind kind,
           char *address, size_t length)
{
  size_t within = (size_t) (address - mapping->base);
  struct patch patch
    = { .page = mapping->base + within / page_size * page_size,
        .length = page_size, .mapping = mapping->serial,
        .owner = gshm_this_thread () };

  lock_table ();
  if (!map_table ())
    {
      unlock_table ();
      return -1;
    }
  const struct patch *present = patch_in (patch.page, 1);
  int is_new = present != NULL && meet (present);
  int is_down = present == NULL && stretch (&patch, mapping, length);
  uint64_t before = changes;
  unlock_table ();
  if (present != NULL)
    return is_new ? 0 : -1;

  if (kind == GSHM_LOST && mapping->state == GSHM_MAPPED)
    keep_lost (&patch, is_down);
  int result = make_patch (&patch, mapping, kind, before);
  if (result == 1)
    run.next_length = (2 * patch.length < MAX_LENGTH ? 2 * patch.length
                       : MAX_LENGTH);
  return result;
}

int
gshm_patch (const struct gshm_mapping *mapping, enum gshm_fault_kind kind,
            char *address)
{
  size_t length = run.next_length == 0 ? page_size : run.next_length;
  int result = try_patch (mapping, kind, address, length);

  /* There may be too little memory, or too few ranges, for so much.  */
  if (result < 0 && length > page_size)
    result = try_patch (mapping, kind, address, page_size);
  if (result < 0)
    {
      /* An access can need two pages more, where it begins in another, and
         where it copies from.  */
      lock_table ();
      make_room (4);
      unlock_table ();
      result = try_patch (mapping, kind, address, page_size);
    }
  return result >= 0;
}


/* Dropping patches.  */

void
gshm_patch_undo (void)
{
  lock_table ();
  for (size_t i = 0; i < used; i++)
    if (is_used (&table[i]) && table[i].owner == gshm_this_thread ())
      undo (&table[i]);
  unlock_table ();
  gshm_fill_reserve ();
}

void
gshm_patch_forget (const struct gshm_mapping *mapping, int is_unmapped)
{
  sigset_t before;

  gshm_block_signals (&before);
  lock_table ();
  for (size_t i = 0; i < used; i++)
    if (is_used (&table[i]) && table[i].mapping == mapping->serial)
      {
        char *aside = table[i].aside;

        if (is_unmapped)
          gshm_put_zeros (table[i].page, table[i].length);
        /* First, since the addresses may soon be another's, for the child of a
           fork.  */
        atomic_store (&table[i].aside, NULL);
        if (aside != NULL)
          gshm_unmap_range (aside, table[i].length);
        set_state (&table[i], FREE);
        uncount (&table[i]);
      }
  unlock_table ();
  pthread_sigmask (SIG_SETMASK, &before, NULL);
}

/* Whether PATCH is in place: private memory cannot be mapped twice.  Return -1
   if that cannot be told.  */
static int
is_in_place (const struct patch *patch)
{
  char *second;

  do
    second = mremap (patch->page, 0, patch->length, MREMAP_MAYMOVE);
  while (second == MAP_FAILED && errno == ENOMEM && gshm_use_reserve ());
  if (second == MAP_FAILED)
    return errno == EINVAL ? 1 : -1;
  gshm_unmap_range (second, patch->length);
  return 0;
}

void
gshm_patch_reset (void)
{
  unlock_table ();
  for (size_t i = 0; i < used; i++)
    {
      struct patch *patch = &table[i];

      if (!is_used (patch) || patch->owner == gshm_this_thread ())
        continue;
      char *aside = patch->aside;
      int in_place = aside == NULL ? 1 : is_in_place (patch);
      if (in_place == 1)
        undo (patch);
      else
        {
          /* It was moved back, and the range aside may be another's by now; or
             it was to be put in place.  */
          if (in_place == 0 && atomic_load (&patch->state) == ACTIVE)
            gshm_unmap_range (aside, patch->length);
          uncount (patch);
          set_state (patch, FREE);
        }
    }
}

int
gshm_patch_start (void)
{
  page_size = gshm_page_size ();
  if (!gshm_can_move_pages ())
    return 0;
  gshm_fill_reserve ();
  return 1;
}

#else /* !GSHM_CAN_PATCH */

void
gshm_patch_forget (const struct gshm_mapping *mapping, int is_unmapped)
{
  (void) mapping;
  (void) is_unmapped;
}

#endif /* !GSHM_CAN_PATCH */

/* SPDX-License-Identifier: BSD-3-Clause
   patch.c - private memory in place of inaccessible pages.

   A patch is a range of pages of a mapping where private memory is mapped: a
   copy of the object's pages, or zeros.  Meanwhile the object's pages are
   mapped elsewhere, "aside".  They are moved back when the thread that made
   the patch raises its fault.

   One instruction of Guile, such as bytevector-fill!, can fault on any number
   of pages before a safe point.  Its cost is bounded: each patch is twice as
   long as the last one, up to MAX_LENGTH; a thread has at most MAX_PATCHES,
   and removes the oldest for a new one; and after it has copied MAX_COPIED
   bytes, further patches contain zeros, since reading a page that the object
   does not have yet would allocate it.

   What takes time in proportion to a patch is done without the lock.  With the
   lock a thread moves a patch into place, or back, with all signals blocked:
   the collector does not stop it, and no handler interrupts it.  So it soon
   unlocks, and a handler may wait for that, whatever it interrupted.  A fork
   does not wait for the lock: gshm_patch_reset finds what the other threads
   were doing.  */

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
  UNDOING /* it may have been moved back already */
};

struct patch
{
  _Atomic enum state state;
  char *page;
  size_t length;
  _Atomic (char *) aside;       /* NULL if the mapping was unmapped */
  uint64_t mapping;     /* its serial number */
  uint64_t serial;      /* of the patch, larger than those of older ones */
  const void *owner;    /* the thread */
};

/* A process cannot have as many ranges of memory, by default.  The table is
   mapped when it is first needed.  Its first `used' elements may be in use.
   The lock guards all of this.  */
#define TABLE_SIZE ((size_t) 1 << 15)

static atomic_flag is_locked = ATOMIC_FLAG_INIT;
static struct patch *table;
static size_t page_size;
static size_t used;
static uint64_t serials;
static uint64_t changes; /* counts changes of states */

#define MAX_LENGTH ((size_t) 256 << 10)
#define MAX_PATCHES 32
#define MAX_COPIED ((size_t) 16 << 20)

/* The patches that this thread has made since its last safe point.  */
static GSHM_THREAD_LOCAL struct
{
  size_t next_length;   /* 0: one page */
  size_t copied;        /* bytes */
  uint64_t met;         /* serial of the patch where it last faulted */
} run;

/* After so many attempts, sleep in between: a thread does not yield to an
   owner of a lower real-time priority.  */
#define ATTEMPTS 100

static void
lock_table (void)
{
  const struct timespec pause = { .tv_nsec = 50000 };

  /* Acquire: this thread sees the stores of the last owner.  */
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


/* The table.  The caller owns the lock.  */

static int
is_used (const struct patch *patch)
{
  return atomic_load_explicit (&patch->state, memory_order_relaxed) != FREE;
}

/* A patch that overlaps the LENGTH bytes at START, or NULL.  */
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

/* Decrement the number of patches of PATCH's mapping.  */
static void
uncount (const struct patch *patch)
{
  struct gshm_mapping copy, *mapping = gshm_registry_find (patch->page, &copy);

  if (mapping != NULL && copy.serial == patch->mapping)
    atomic_fetch_sub (&mapping->patches, 1);
}

/* Increment the number of patches of PATCH's mapping.  Return 0, and leave it
   as it was, if the mapping is not in STATE.  A thread that changes the state
   loads the number afterwards.  All four accesses are sequentially consistent:
   either that thread sees the patch, or this one sees the change.  */
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

/* Remove PATCH: move the object's pages back.  If that fails, the patch stays
   until the next fault of its thread.  */
static void
undo (struct patch *patch)
{
  int done;

  set_state (patch, UNDOING);
  if (patch->aside == NULL)
    done = gshm_put_zeros (patch->page, patch->length, 0);
  else
    do
      done = mremap (patch->aside, patch->length, patch->length,
                     MREMAP_MAYMOVE | MREMAP_FIXED, patch->page)
             != MAP_FAILED;
    while (!done && errno == ENOMEM && gshm_use_reserve ());
  if (done)
    {
      /* Another thread may have unmapped the mapping, by zeros, before the
         move.  It changes the state first: either it puts the zeros over the
         object's pages, or this thread sees the change.  */
      if (patch->aside != NULL && !is_mapped (patch))
        gshm_put_zeros (patch->page, patch->length, 0);
      /* In this order: in the child of a fork in between, the number is one
         too large, and not one too small.  */
      set_state (patch, FREE);
      uncount (patch);
    }
  else
    set_state (patch, ACTIVE);
}

/* Remove the oldest patches of this thread until it has fewer than LIMIT.  */
static void
limit_patches (size_t limit)
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
      if (count < limit)
        return;
      undo (oldest);
      if (is_used (oldest))
        return;
    }
}

/* Extend PATCH, of one page, to at most LENGTH bytes: upwards, or downwards if
   the page above is patched already, as by a copy that runs backwards; but not
   beyond the ends of MAPPING, nor into another patch.  Return whether it is
   downwards.  */
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


/* Preparing a patch, without the lock.  */

/* Shorten PATCH, of a lost page and pages above or, if IS_DOWN, below it, to
   the pages that are lost, too: in a page that is not, the patch would hide
   other threads' stores from the object.  */
static void
shorten_to_lost (struct patch *patch, int is_down)
{
  char *end = patch->page + patch->length;

  for (size_t done = page_size; done < patch->length; done += page_size)
    if (!gshm_is_unreadable (is_down ? end - done - page_size
                             : patch->page + done))
      patch->length = done;
  if (is_down)
    patch->page = end - patch->length;
}

/* Map the pages of PATCH a second time; they stay mapped in place, too, for
   other threads.  Return NULL if that fails.  */
static char *
map_aside (const struct patch *patch)
{
  char *aside;
  int unlocked = 0;

  do
    aside = mremap (patch->page, 0, patch->length, MREMAP_MAYMOVE);
  while (aside == MAP_FAILED
         && ((errno == ENOMEM && gshm_use_reserve ())
             /* RLIMIT_MEMLOCK.  */
             || (errno == EAGAIN && !unlocked++
                 && munlock (patch->page, patch->length) == 0)));
  return aside == MAP_FAILED ? NULL : aside;
}

/* Map private memory for PATCH, with a copy of the object's pages if they are
   readable.  Return NULL if that fails.  */
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

/* With the lock owned: move COPY over the pages of PREPARED, in a mapping in
   STATE.  Return 1; or 0 if another thread has patched them or changed the
   mapping, so that the access is to be tried again; or -1 if that fails.  */
static int
put_in_place (const struct patch *prepared, char *copy, enum gshm_state state)
{
  if (patch_in (prepared->page, prepared->length) != NULL
      || !count (prepared, state))
    return 0;
  limit_patches (MAX_PATCHES);
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

/* Whether this thread faults for the first time in PATCH.  If it faults again,
   the access is neither a load nor a store: the thread executes.  */
static int
is_first_fault_in (const struct patch *patch)
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

/* Whether the mapping is in the same state as BEFORE, a copy of it, and no
   patch has changed since CHANGES_BEFORE.  */
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

/* Patch the pages of PATCH for an access of KIND in MAPPING.  Return what
   put_in_place does.  CHANGES_BEFORE is from when the pages were not
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
        /* Another thread may have patched or unmapped these pages.  */
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

/* Patch the page of ADDRESS, and up to LENGTH bytes.  Return what put_in_place
   does.  */
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
  int is_new = present != NULL && is_first_fault_in (present);
  int is_down = present == NULL && stretch (&patch, mapping, length);
  uint64_t before = changes;
  unlock_table ();
  if (present != NULL)
    return is_new ? 0 : -1;

  if (kind == GSHM_LOST && mapping->state == GSHM_MAPPED)
    shorten_to_lost (&patch, is_down);
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

  /* There may be too little memory, or too few ranges, for that length.  */
  if (result < 0 && length > page_size)
    result = try_patch (mapping, kind, address, page_size);
  if (result < 0)
    {
      /* One access can need three patches: where it starts, where it ends, and
         where it copies from.  */
      lock_table ();
      limit_patches (4);
      unlock_table ();
      result = try_patch (mapping, kind, address, page_size);
    }
  return result >= 0;
}


/* Removing patches.  */

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
          gshm_put_zeros (table[i].page, table[i].length, 0);
        /* First, for the child of a fork: the addresses may soon be those of
           another mapping.  */
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
   if that is not known.  */
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
          /* It was moved back, and the range aside may be another mapping; or
             it was about to be put in place.  */
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

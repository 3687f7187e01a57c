/* SPDX-License-Identifier: BSD-3-Clause
   mapping.c - creating, unmapping and releasing mappings.

   A mapping's memory is a range of pages.  Every bytevector on it refers to
   one pointer object, as its parent, so that the pointer's finalizer runs when
   the last of them is unreachable.  Only the finalizer unmaps the addresses:
   compiled code may keep a bytevector's address and length in registers, so
   that a thread that unmaps cannot know which other threads are accessing the
   memory.  shm-unmap! maps private zeros over the range instead, which
   releases the shared memory at once.  */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/tls.h"
#include "core/watch.h"
#include "init.h"
#include "memory/fault.h"
#include "memory/mapping.h"
#include "memory/name.h"
#include "memory/pages.h"
#include "memory/patch.h"

/* The number of bytes that are mapped, without those that are borrowed.  */
static atomic_size_t mapped_bytes;

size_t
gshm_mapped_bytes (void)
{
  return atomic_load (&mapped_bytes);
}


/* Creating and releasing.  */

/* Small ranges that were unmapped are released in batches: adjacent ones take
   one system call, and each system call interrupts all threads.  */
struct range
{
  char *base;
  size_t length;
};

#define BATCH 512
#define SMALL ((size_t) 65536)

/* The registry's lock guards these.  An element is stored before it is
   counted, for the child of a fork.  */
static struct range batch[BATCH];
static atomic_size_t batched;

static int
compare_ranges (const void *a, const void *b)
{
  const struct range *one = a, *other = b;

  return (one->base > other->base) - (one->base < other->base);
}

/* Add RANGE to the batch.  If that fills it, move it to FULL and return 1.  */
static int
add_to_batch (struct range range, struct range full[BATCH])
{
  gshm_registry_lock ();
  size_t n = atomic_load_explicit (&batched, memory_order_relaxed);
  batch[n++] = range;
  int is_full = n == BATCH;
  if (is_full)
    memcpy (full, batch, sizeof batch);
  atomic_store_explicit (&batched, is_full ? 0 : n, memory_order_release);
  gshm_registry_unlock ();
  return is_full;
}

/* Unmap RANGE.  At the limit of ranges that may fail if it is part of a larger
   one: then map zeros there, which cost only addresses.  */
static void
unmap_now (struct range range)
{
  if (!gshm_unmap_range (range.base, range.length))
    gshm_put_zeros (range.base, range.length, 0);
}

/* Unmap RANGE later, with others.  */
static void
unmap_later (struct range range)
{
  struct range full[BATCH];

  if (!add_to_batch (range, full))
    return;
  qsort (full, BATCH, sizeof *full, compare_ranges);
  for (size_t i = 0, next; i < BATCH; i = next)
    {
      range = full[i];
      for (next = i + 1; next < BATCH
           && full[next].base == range.base + range.length; next++)
        range.length += full[next].length;
      unmap_now (range);
    }
}

/* Unmap the addresses of MAPPING, which has no references.  */
static void
unmap_addresses (const struct gshm_mapping *mapping, int was_unmapped)
{
  struct range range = { mapping->base, mapping->length };

  if (was_unmapped && mapping->length <= SMALL)
    unmap_later (range);
  else
    unmap_now (range);
}

void
gshm_mapping_release (struct gshm_mapping *mapping)
{
  gshm_registry_lock ();
  int last = --mapping->references == 0;
  int was_unmapped = atomic_load (&mapping->state) == GSHM_UNMAPPED;
  if (last)
    {
      atomic_store (&mapping->state, GSHM_RELEASED);
      gshm_registry_remove (mapping);
    }
  gshm_registry_unlock ();
  if (!last)
    return;

  /* See `count' in patch.c.  */
  if (atomic_load (&mapping->patches) > 0)
    gshm_patch_forget (mapping, 0);
  /* After the removal: from now on another mapping can get the addresses.  */
  if (!mapping->is_borrowed)
    {
      unmap_addresses (mapping, was_unmapped);
      if (!was_unmapped)
        atomic_fetch_sub (&mapped_bytes, mapping->length);
    }
  free (mapping->name);
  gshm_registry_lock ();
  gshm_registry_free (mapping);
  gshm_registry_unlock ();
}

/* Add a mapping like MODEL.  With the registry's lock owned.  */
static struct gshm_mapping *
add_mapping (const struct gshm_mapping *model)
{
  struct gshm_mapping *mapping = gshm_registry_allocate ();

  if (mapping == NULL)
    return NULL;
  mapping->base = model->base;
  mapping->length = model->length;
  mapping->skip = model->skip;
  mapping->size = model->size;
  mapping->device = model->device;
  mapping->inode = model->inode;
  mapping->name = model->name;
  mapping->is_writable = model->is_writable;
  mapping->is_borrowed = model->is_borrowed;
  mapping->references = 1;
  if (gshm_registry_add (mapping))
    return mapping;
  gshm_registry_free (mapping);
  return NULL;
}

struct gshm_mapping *
gshm_mapping_new (const struct gshm_mapping *model)
{
  gshm_registry_lock ();
  struct gshm_mapping *mapping = add_mapping (model);
  gshm_registry_unlock ();
  if (mapping != NULL)
    atomic_fetch_add (&mapped_bytes, mapping->length);
  return mapping;
}

struct gshm_mapping *
gshm_mapping_borrow (void *address, size_t size, const char *name)
{
  size_t page = gshm_page_size ();
  uintptr_t start = (uintptr_t) address / page * page;
  struct gshm_mapping copy, model
    = { .base = (char *) start, .length = gshm_page_size (),
        .skip = (uintptr_t) address - start, .size = size,
        .name = strdup (name), .is_writable = 1, .is_borrowed = 1 };

  if (model.name == NULL)
    return NULL;
  gshm_registry_lock ();
  struct gshm_mapping *mapping = gshm_registry_find (address, &copy);
  if (mapping != NULL)
    mapping->references++;
  else
    mapping = add_mapping (&model);
  int is_named = mapping != NULL && mapping->name == model.name;
  gshm_registry_unlock ();

  if (!is_named)
    free (model.name);
  gshm_fault_install ();
  return mapping;
}

SCM
gshm_mapping_name (const struct gshm_mapping *mapping)
{
  if (mapping->name != NULL)
    return gshm_name_to_scm (mapping->name);
  return gshm_name_of_file (mapping->device, mapping->inode);
}


/* Unmapping.  */

/* How many threads are unmapping.  */
static atomic_uint unmappers;

/* The serial number of the mapping that this thread is unmapping, or 0.  */
static GSHM_THREAD_LOCAL volatile uint64_t unmapping;

int
gshm_mapping_replace (const struct gshm_mapping *copy)
{
  return unmapping == copy->serial
         && gshm_put_zeros (copy->base, copy->length, 1);
}

/* Unmap MAPPING, if it is mapped, and return whether it was.  If another
   thread is unmapping it, wait for that.  Return -1 and set errno if that
   fails.  */
static int
unmap (struct gshm_mapping *mapping)
{
  for (enum gshm_state state = GSHM_MAPPED;
       !atomic_compare_exchange_strong (&mapping->state, &state,
                                        GSHM_UNMAPPING);
       state = GSHM_MAPPED)
    {
      const struct timespec pause = { .tv_nsec = 50000 };

      if (state == GSHM_UNMAPPED)
        return 0;
      nanosleep (&pause, NULL);
    }
  int done = gshm_put_zeros (mapping->base, mapping->length, 0);
  int err = errno;
  /* See `count' in patch.c.  */
  if (done && atomic_load (&mapping->patches) > 0)
    gshm_patch_forget (mapping, 1);
  atomic_store (&mapping->state, done ? GSHM_UNMAPPED : GSHM_MAPPED);
  if (done)
    {
      atomic_fetch_sub (&mapped_bytes, mapping->length);
      gshm_watch_unmapped (mapping->base, mapping->length);
    }
  errno = err;
  return done ? 1 : -1;
}

int
gshm_mapping_unmap (struct gshm_mapping *mapping)
{
  /* Before the change of state, for a handler that interrupts this.  */
  unmapping = mapping->serial;
  atomic_fetch_add (&unmappers, 1);
  int result = unmap (mapping);
  atomic_fetch_sub (&unmappers, 1);
  unmapping = 0;
  return result;
}

/* In the child of a fork: another thread of the parent may have been
   unmapping.  */
static void
finish_unmapping (void)
{
  struct gshm_mapping *mapping = NULL;

  if (atomic_exchange (&unmappers, 0) > 0)
    while ((mapping = gshm_registry_after (mapping)) != NULL)
      if (atomic_load (&mapping->state) == GSHM_UNMAPPING)
        {
          gshm_put_zeros (mapping->base, mapping->length, 0);
          atomic_store (&mapping->state, GSHM_UNMAPPED);
          atomic_fetch_sub (&mapped_bytes, mapping->length);
        }
}

void
gshm_mapping_start (void)
{
  /* After those of the registry and of patches.  */
  pthread_atfork (NULL, NULL, finish_unmapping);
}

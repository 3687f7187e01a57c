/* SPDX-License-Identifier: BSD-3-Clause
   bytevector.c - new bytevectors for the contents of messages.

   The collector runs whenever a part of its heap has been allocated: for a
   small heap and messages of 1 MiB, at every third message.  So large ones
   are allocated outside of its heap, and some of their memory is kept when they
   are freed: the system clears memory that is new to the process.  */

#include <config.h>

#include <errno.h>
#include <gc/gc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/guile.h"
#include "bindings/bytevector.h"
#include "core/wait.h"
#include "init.h"

/* Smaller ones take less time in the collector's heap.  */
#define MIN_SIZE 1024

/* So many bytes may always be allocated between two collections.  */
#define MIN_BYTES ((size_t) 16 << 20)

/* The number of bytes of large ones, and that at which to collect.  */
static atomic_size_t allocated;
static _Atomic uint64_t limit = MIN_BYTES;


/* Memory that was freed.  */

#define MAX_KEPT 16
#define MAX_KEPT_BYTES MIN_BYTES

struct block
{
  void *memory;
  size_t size;
};

/* Finalizers may run in another thread.  A thread that does not get the lock
   goes on without these.  */
static atomic_flag lock = ATOMIC_FLAG_INIT;
static struct block kept[MAX_KEPT];
static size_t kept_count, kept_bytes;

static int
try_to_lock (void)
{
  return !atomic_flag_test_and_set_explicit (&lock, memory_order_acquire);
}

static void
unlock (void)
{
  atomic_flag_clear_explicit (&lock, memory_order_release);
}

/* Take a block of at least SIZE bytes, and at most twice as many.  */
static struct block
take_kept (size_t size)
{
  struct block block = { NULL, 0 };

  if (!try_to_lock ())
    return block;
  for (size_t i = kept_count; i > 0 && block.memory == NULL; i--)
    if (kept[i - 1].size >= size && kept[i - 1].size / 2 <= size)
      {
        block = kept[i - 1];
        kept[i - 1] = kept[--kept_count];
        kept_bytes -= block.size;
      }
  unlock ();
  return block;
}

/* Keep BLOCK in place of older ones, which are freed.  */
static void
keep_or_free (struct block block)
{
  if (block.size > MAX_KEPT_BYTES || !try_to_lock ())
    {
      free (block.memory);
      return;
    }
  size_t old = 0;
  for (; kept_count - old == MAX_KEPT
         || kept_bytes > MAX_KEPT_BYTES - block.size;
       old++)
    {
      kept_bytes -= kept[old].size;
      free (kept[old].memory);
    }
  kept_count -= old;
  memmove (kept, kept + old, kept_count * sizeof *kept);
  kept[kept_count++] = block;
  kept_bytes += block.size;
  unlock ();
}

/* In the child of a fork: another thread may have been changing what is
   kept.  */
static void
reset_in_child (void)
{
  if (!try_to_lock ())
    kept_count = kept_bytes = 0;
  unlock ();
}


static void
free_contents (void *pointer, void *size)
{
  struct block block
    = { SCM_POINTER_VALUE (SCM_PACK_POINTER (pointer)), (uintptr_t) size };

  atomic_fetch_sub (&allocated, block.size);
  keep_or_free (block);
}

/* How many bytes to allocate until the next collection, if the last one took
   NANOSECONDS: so many that it takes 0.1 ns a byte; but no fewer than
   MIN_BYTES, and no more than the collector, whose heap is as large as it is,
   would.  */
static uint64_t
next_bytes (int64_t nanoseconds)
{
  uint64_t bytes = 10 * (uint64_t) nanoseconds;
  uint64_t most = GC_get_heap_size () / 2;

  if (bytes > most)
    bytes = most;
  return bytes > MIN_BYTES ? bytes : MIN_BYTES;
}

/* Collect if there are too many bytes: at least twice as many as after the
   last collection.  */
static void
collect_if_needed (size_t size)
{
  if ((uint64_t) atomic_load (&allocated) + size <= atomic_load (&limit))
    return;
  int64_t start = gshm_now ();
  gshm_collect ();
  uint64_t more = next_bytes (gshm_now () - start);
  uint64_t bytes = atomic_load (&allocated);
  atomic_store (&limit, bytes + (bytes > more ? bytes : more));
}

SCM
gshm_make_bytevector (size_t size)
{
  if (size < MIN_SIZE)
    return scm_c_make_bytevector (size);

  collect_if_needed (size);
  struct block block = take_kept (size);
  int attempts = 0;
  if (block.memory == NULL)
    do
      block = (struct block) { malloc (size), size };
    while (block.memory == NULL && gshm_collect_and_retry (ENOMEM, &attempts));
  if (block.memory == NULL)
    return scm_c_make_bytevector (size);
  atomic_fetch_add (&allocated, block.size);
  SCM pointer = scm_from_pointer (block.memory, NULL);
  gshm_set_finalizer (pointer, free_contents, (void *) (uintptr_t) block.size);
  return scm_pointer_to_bytevector (pointer, scm_from_size_t (size), SCM_INUM0,
                                    SCM_UNDEFINED);
}

void
gshm_bytevector_start (void)
{
  pthread_atfork (NULL, NULL, reset_in_child);
}

/* SPDX-License-Identifier: BSD-3-Clause
   pages.c - ranges of pages, within the limit of ranges, and copying them.  */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#ifdef HAVE_PROCESS_VM_READV
# include <sys/uio.h>
#endif
#include <unistd.h>

#include "memory/fault.h"
#include "memory/pages.h"


/* The limit of ranges.

   Linux limits the number of ranges of memory in a process, and some calls
   fail if only a few are left.  Removing a patch must not fail after making it
   has succeeded.  So there is a reserve: ranges that are mapped only to be
   unmapped at the limit.  */

#define RESERVE 32

static _Atomic (char *) reserve;
static size_t page_size;

size_t
gshm_page_size (void)
{
  return page_size;
}

int
gshm_use_reserve (void)
{
  char *ranges = atomic_exchange (&reserve, NULL);

  return ranges != NULL && munmap (ranges, RESERVE * page_size) == 0;
}

void
gshm_fill_reserve (void)
{
  char *none = NULL;

  if (atomic_load (&reserve) != NULL)
    return;
  char *ranges = mmap (NULL, RESERVE * page_size, PROT_NONE, GSHM_PRIVATE, -1,
                       0);
  if (ranges == MAP_FAILED)
    return;
  /* Adjacent pages of different protection are different ranges.  */
  for (size_t i = 1; i < RESERVE; i += 2)
    if (mprotect (ranges + i * page_size, page_size, PROT_READ) < 0)
      {
        munmap (ranges, RESERVE * page_size);
        return;
      }
  if (!atomic_compare_exchange_strong (&reserve, &none, ranges))
    munmap (ranges, RESERVE * page_size);
}

int
gshm_unmap_range (char *base, size_t length)
{
  int result;

  do
    result = munmap (base, length);
  while (result < 0 && errno == ENOMEM && gshm_use_reserve ());
  return result == 0;
}

int
gshm_put_zeros (char *base, size_t length, int is_writable)
{
  int protection = (is_writable || !gshm_fault_is_guarded ()
                    ? PROT_READ | PROT_WRITE : PROT_READ);
  void *zeros;

  do
    zeros = mmap (base, length, protection, GSHM_PRIVATE | MAP_FIXED, -1, 0);
  while (zeros == MAP_FAILED && errno == ENOMEM && gshm_use_reserve ());
  return zeros != MAP_FAILED;
}

void
gshm_block_signals (sigset_t *before)
{
  sigset_t all;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, before);
}


/* Reading memory that may be inaccessible.  */

#ifdef HAVE_PROCESS_VM_READV

/* Read SIZE bytes; this does not fault.  Return how many are readable, or -1
   if that is not known.  */
static ssize_t
read_memory (char *to, char *from, size_t size)
{
  struct iovec local = { to, size }, remote = { from, size };
  ssize_t n = process_vm_readv (getpid (), &local, 1, &remote, 1, 0);

  return n < 0 && errno == EFAULT ? 0 : n;
}

int
gshm_is_unreadable (char *address)
{
  char byte;

  return read_memory (&byte, address, 1) == 0;
}

int
gshm_copy_pages (char *to, char *from, size_t length)
{
  for (size_t done = 0; done < length;)
    {
      ssize_t n = read_memory (to + done, from + done, length - done);
      if (n < 0)
        return 0;
      done += ((size_t) n < page_size ? page_size
               : (size_t) n / page_size * page_size);
    }
  return 1;
}

#ifdef HAVE_MREMAP
int
gshm_can_move_pages (void)
{
  char *shared = mmap (NULL, page_size, PROT_READ, MAP_SHARED | MAP_ANONYMOUS,
                       -1, 0);
  char byte = 0, copy;

  if (shared == MAP_FAILED)
    return 0;
  char *aside = mremap (shared, 0, page_size, MREMAP_MAYMOVE);
  int moved = aside != MAP_FAILED;
  if (moved)
    munmap (aside, page_size);
  munmap (shared, page_size);
  return moved && read_memory (&copy, &byte, 1) == 1;
}
#endif

#endif /* HAVE_PROCESS_VM_READV */

void
gshm_pages_start (void)
{
  page_size = (size_t) sysconf (_SC_PAGESIZE);
}

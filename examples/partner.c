/* SPDX-License-Identifier: BSD-3-Clause
   partner.c - a C program that shares memory with a Guile program.

   Usage: partner NAME

   It puts the square root of each number in the shared memory object NAME in
   its place.  partner.scm creates that object, and starts this.  To build it by hand: cc -o partner partner.c  (with older C
   libraries also -lrt).  */

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
# include <limits.h>
# include <linux/futex.h>
# include <sys/syscall.h>
#endif

/* What (shm-layout->c partner) returns, with an atomic state.  */
struct partner
{
  _Atomic uint32_t state;
  _Alignas (8) double numbers[4];
};
_Static_assert (sizeof (struct partner) == 40, "the size of partner");
#define HASH UINT64_C (0x5415d72522e01810)

/* What an object with a layout begins with.  */
struct object
{
  uint64_t format, hash, size, text_length, unused[4];
  struct partner partner;
};
_Static_assert (offsetof (struct object, partner) == 64,
                "the size of the header");
#define FORMAT (UINT64_C (0x4d485347) | UINT64_C (7) << 32 | UINT64_C (1) << 48)

static int
fail (const char *name, const char *message)
{
  fprintf (stderr, "partner: %s: %s\n", name, message);
  return EXIT_FAILURE;
}

/* What atomic-u32-notify! does: wake all threads in atomic-u32-wait.  */
static void
notify (_Atomic uint32_t *word)
{
#ifdef __linux__
  syscall (SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
#else
  (void) word;
#endif
}

/* The square root, by Newton's method, so that no library is needed.  */
static double
square_root (double x)
{
  double root = x > 1 ? x : 1;
  for (double next; (next = (root + x / root) / 2) < root;)
    root = next;
  return root;
}

int
main (int argc, char **argv)
{
  if (argc != 2)
    {
      fprintf (stderr, "Usage: partner NAME\n");
      return 2;
    }
  const char *name = argv[1];

  int fd = shm_open (name, O_RDWR, 0);
  struct stat status;
  if (fd < 0 || fstat (fd, &status) < 0)
    {
      perror (name);
      return EXIT_FAILURE;
    }
  size_t size = (size_t) status.st_size;
  if (size < sizeof (struct object))
    return fail (name, "too small");
  struct object *object
    = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (object == MAP_FAILED)
    {
      perror (name);
      return EXIT_FAILURE;
    }
  close (fd);

  if (object->format != FORMAT || object->hash != HASH)
    return fail (name, "not what partner.scm makes");

  struct partner *partner = &object->partner;
  for (int i = 0; i < 4; i++)
    partner->numbers[i] = square_root (partner->numbers[i]);

  /* A process that loads 1 here sees the numbers, too.  */
  atomic_store (&partner->state, 1);
  notify (&partner->state);
  return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: BSD-3-Clause
   partner.c - a C program that shares memory with a Guile program.

   Usage: partner NAME

   It puts the square root of each number in the shared memory object NAME in
   its place.  See partner.scm, which makes that object and starts this, for
   what is where.  To build it by hand: cc -o partner partner.c  (with older C
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

#define MAGIC 0x50415254

struct shared
{
  uint32_t magic;
  uint32_t count;
  _Atomic uint32_t state;
  uint32_t unused;
  double numbers[];
};

_Static_assert (offsetof (struct shared, numbers) == 16,
                "as partner.scm has it");

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
  if (size < sizeof (struct shared))
    return fail (name, "too small");
  struct shared *shared
    = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (shared == MAP_FAILED)
    {
      perror (name);
      return EXIT_FAILURE;
    }
  close (fd);

  /* Read once what decides how far to go: others can change it.  */
  uint32_t count = shared->count;
  if (shared->magic != MAGIC
      || count > (size - sizeof (struct shared)) / sizeof (double))
    return fail (name, "not what partner.scm makes");

  for (uint32_t i = 0; i < count; i++)
    shared->numbers[i] = square_root (shared->numbers[i]);

  /* A process that loads 1 here sees the numbers, too.  */
  atomic_store (&shared->state, 1);
  notify (&shared->state);
  return EXIT_SUCCESS;
}

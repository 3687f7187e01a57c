/* SPDX-License-Identifier: BSD-3-Clause
   producer.c - a C program that makes a shared memory object and fills it.

   Usage: producer NAME BLOCKS BLOCK-SIZE
   Byte J of block I is (I * 31 + J * 7) modulo 256.  */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#if HAVE_SHM_OPEN

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static int
fail (const char *what)
{
  perror (what);
  return EXIT_FAILURE;
}

int
main (int argc, char **argv)
{
  if (argc != 4)
    return EXIT_FAILURE;

  size_t blocks = strtoul (argv[2], NULL, 10);
  size_t block_size = strtoul (argv[3], NULL, 10);
  size_t size = blocks * block_size;

  int fd = shm_open (argv[1], O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0)
    return fail ("shm_open");
  if (ftruncate (fd, (off_t) size) < 0)
    return fail ("ftruncate");
  unsigned char *bytes
    = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (bytes == MAP_FAILED)
    return fail ("mmap");
  close (fd);

  for (size_t i = 0; i < blocks; i++)
    for (size_t j = 0; j < block_size; j++)
      bytes[i * block_size + j] = (unsigned char) (i * 31 + j * 7);
  return munmap (bytes, size) == 0 ? EXIT_SUCCESS : fail ("munmap");
}

#else

int
main (void)
{
  return EXIT_FAILURE;
}

#endif

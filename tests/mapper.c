/* SPDX-License-Identifier: BSD-3-Clause
   mapper.c - a C program that maps an object and adds 1 to each of its doubles.

   Usage: mapper NAME  */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#if HAVE_SHM_OPEN

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

int
main (int argc, char **argv)
{
  struct stat status;

  if (argc != 2)
    return EXIT_FAILURE;
  int fd = shm_open (argv[1], O_RDWR, 0);
  if (fd < 0 || fstat (fd, &status) < 0)
    {
      perror (argv[1]);
      return EXIT_FAILURE;
    }
  size_t size = (size_t) status.st_size;
  double *numbers
    = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (numbers == MAP_FAILED)
    {
      perror (argv[1]);
      return EXIT_FAILURE;
    }
  for (size_t i = 0; i < size / sizeof *numbers; i++)
    numbers[i] += 1;
  return EXIT_SUCCESS;
}

#else

int
main (void)
{
  return EXIT_FAILURE;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause
   poster.c - a C program at the other end of a named semaphore, for tests.

   Usage: poster NAME post|wait|value|create N  */

#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
main (int argc, char **argv)
{
  if (argc != 4)
    return 2;
  const char *what = argv[2];
  unsigned n = (unsigned) atoi (argv[3]);
  int flags = strcmp (what, "create") == 0 ? O_CREAT | O_EXCL : 0;

  sem_t *semaphore = sem_open (argv[1], flags, 0600, n);
  if (semaphore == SEM_FAILED)
    {
      perror (argv[1]);
      return 1;
    }
  for (unsigned i = 0; i < n; i++)
    if (strcmp (what, "post") == 0 ? sem_post (semaphore) < 0
        : strcmp (what, "wait") == 0 && sem_wait (semaphore) < 0)
      return 1;
  int value;
  if (sem_getvalue (semaphore, &value) < 0)
    return 1;
  printf ("%d\n", value);
  return 0;
}

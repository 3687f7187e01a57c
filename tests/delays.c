/* SPDX-License-Identifier: BSD-3-Clause
   delays.c - a library to preload: whoever calls the system is late, at
   random, so that tests find out who may come first.

   See build-aux/with-delays.  */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* What returns what, its parameters and arguments, and one in how many calls
   is late: those that start or stop somebody more often than those that all
   programs make by the hundred.  */
#define CALLS                                                             \
  CALL (pid_t, fork, (void), (), 2)                                       \
  CALL (int, pthread_create,                                              \
        (pthread_t *t, const pthread_attr_t *a, void *(*f) (void *),      \
         void *d),                                                        \
        (t, a, f, d), 3)                                                  \
  CALL (int, kill, (pid_t p, int s), (p, s), 3)                           \
  CALL (int, fallocate, (int f, int m, off_t o, off_t l), (f, m, o, l), 4) \
  CALL (int, linkat,                                                      \
        (int f, const char *p, int t, const char *q, int m),              \
        (f, p, t, q, m), 4)                                               \
  CALL (int, ftruncate, (int f, off_t l), (f, l), 6)                      \
  CALL (int, shm_open, (const char *n, int f, mode_t m), (n, f, m), 6)    \
  CALL (int, shm_unlink, (const char *n), (n), 6)                         \
  CALL (int, mprotect, (void *a, size_t l, int p), (a, l, p), 10)         \
  CALL (int, sigaction,                                                   \
        (int s, const struct sigaction *a, struct sigaction *o),          \
        (s, a, o), 10)                                                    \
  CALL (int, munmap, (void *a, size_t l), (a, l), 20)                     \
  CALL (void *, mmap,                                                     \
        (void *a, size_t l, int p, int f, int d, off_t o),                \
        (a, l, p, f, d, o), 30)                                           \
  CALL (int, close, (int f), (f), 60)

#define CALL(type, name, parameters, arguments, one_in) \
  static type (*real_##name) parameters;
CALLS
#undef CALL

/* What futexes are called by.  */
static long (*real_syscall) (long, ...);

/* Before a signal's handler may call any of them.  */
__attribute__ ((constructor)) static void
find_real (void)
{
#define CALL(type, name, parameters, arguments, one_in) \
  *(void **) &real_##name = dlsym (RTLD_NEXT, #name);
  CALLS
#undef CALL
  *(void **) &real_syscall = dlsym (RTLD_NEXT, "syscall");
}

static uint64_t
random_number (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  uint64_t x = (uint64_t) time.tv_nsec ^ (uintptr_t) &time;
  x *= UINT64_C (0x9e3779b97f4a7c15);
  x ^= x >> 29;
  return x * UINT64_C (0xbf58476d1ce4e5b9) >> 32;
}

/* Mostly for as long as it takes to be woken, and sometimes for as long as
   another has the processor.  */
static void
be_late (unsigned one_in)
{
  int saved = errno;

  if (random_number () % one_in == 0)
    {
      uint64_t n = random_number ();
      struct timespec time
        = { .tv_nsec = (long) (n % (n & 3 ? 300000 : 15000000)) };
      nanosleep (&time, NULL);
    }
  errno = saved;
}

#define CALL(type, name, parameters, arguments, one_in) \
  type                                                  \
  name parameters                                       \
  {                                                     \
    if (real_##name == NULL)                            \
      find_real ();                                     \
    be_late (one_in);                                   \
    type result = real_##name arguments;                \
    be_late (one_in);                                   \
    return result;                                      \
  }
CALLS

long
syscall (long number, ...)
{
  va_list list;
  long a[6];

  va_start (list, number);
  for (int i = 0; i < 6; i++)
    a[i] = va_arg (list, long);
  va_end (list);
  if (real_syscall == NULL)
    find_real ();
  be_late (12);
  long result = real_syscall (number, a[0], a[1], a[2], a[3], a[4], a[5]);
  be_late (12);
  return result;
}

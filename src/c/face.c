/* SPDX-License-Identifier: BSD-3-Clause
   face.c - what the C interface shares.  */

#include <config.h>

#include <pthread.h>

#include "c/face.h"

int
gshm_to_errno (enum gshm_result result)
{
  switch (result)
    {
    case GSHM_DONE:
      return 0;
    case GSHM_TIMED_OUT:
      return -ETIMEDOUT;
    case GSHM_OWNER_DIED:
      return -EOWNERDEAD;
    case GSHM_DEADLOCK:
    case GSHM_SELF_WAIT:
      return -EDEADLK;
    case GSHM_NOT_OWNER:
      return -EPERM;
    case GSHM_OVERFLOW:
      return -EOVERFLOW;
    case GSHM_CHANNEL_CLOSED:
      return -EPIPE;
    case GSHM_TOO_LONG:
      return -EMSGSIZE;
    case GSHM_CORRUPT:
      break;
    }
  return -EINVAL;
}

int
gshm_identify_late (void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, gshm_owner_start);
  return -gshm_identify_self ();
}

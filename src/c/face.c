/* SPDX-License-Identifier: BSD-3-Clause
   face.c - what the C interface shares.  */

#include <config.h>

#include <pthread.h>
#include <string.h>

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

const char *
gshm_strerror (int error)
{
  switch (error)
    {
    case 0:
      return "no error";
    case -EINVAL:
      return "an argument is wrong, or there is no such structure in this "
             "memory";
    case -ETIMEDOUT:
      return "the timeout has expired";
    case -EOWNERDEAD:
      return "the last owner of the lock died";
    case -EDEADLK:
      return "this thread would wait for itself";
    case -EPERM:
      return "this thread does not own it";
    case -EPIPE:
      return "the channel or broadcast is closed";
    case -EMSGSIZE:
      return "the message is too long";
    case -ENOENT:
      return "there is no such object";
    default:
      return strerror (-error);
    }
}

int
gshm_identify_late (void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, gshm_owner_start);
  return -gshm_identify_self ();
}

/* SPDX-License-Identifier: BSD-3-Clause
   result.h - what an operation of core returns.  */

#ifndef GSHM_RESULT_H
#define GSHM_RESULT_H

enum gshm_result
{
  GSHM_TIMED_OUT = 0,   /* of an attempt: not yet */
  GSHM_DONE,
  GSHM_OWNER_DIED,      /* done, and the last owner died holding the lock */
  GSHM_DEADLOCK,        /* this thread holds the lock already */
  GSHM_NOT_OWNER,       /* this thread does not hold the lock */
  GSHM_OVERFLOW,        /* the value is the largest possible */
  GSHM_CHANNEL_CLOSED,  /* nothing more is sent, or there is nothing left */
  GSHM_SELF_WAIT,       /* only this thread could end this wait, and cannot */
  GSHM_CORRUPT          /* the memory does not hold such a structure */
};

#endif /* GSHM_RESULT_H */

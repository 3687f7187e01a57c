/* SPDX-License-Identifier: BSD-3-Clause
   result.h - what an operation of core returns.  */

#ifndef GSHM_RESULT_H
#define GSHM_RESULT_H

enum gshm_result
{
  GSHM_TIMED_OUT = 0, /* of an attempt: wait, and try again */
  GSHM_DONE,
  GSHM_OWNER_DIED,     /* done; the last owner died while it owned the lock */
  GSHM_DEADLOCK,       /* this thread owns the lock already */
  GSHM_NOT_OWNER,      /* this thread does not own the lock */
  GSHM_OVERFLOW,       /* the value is the largest possible */
  GSHM_CHANNEL_CLOSED, /* for a receiver: and the channel is empty */
  GSHM_SELF_WAIT,      /* only this thread could end this wait */
  GSHM_TOO_LONG,       /* the message is larger than the memory for it */
  GSHM_CORRUPT         /* the memory does not contain a valid structure */
};

#endif /* GSHM_RESULT_H */

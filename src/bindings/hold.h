/* SPDX-License-Identifier: BSD-3-Clause
   hold.h - locks and loans that end however a procedure is left.  */

#ifndef GSHM_HOLD_H
#define GSHM_HOLD_H

#include <libguile.h>

/* What a hold is of: a lock, or a loan of a message.  DATUM is the offset of
   the lock; for a loan, what the hold was made with, then the message.  All
   but LEAVE may raise exceptions, in the name of SUBR.  */
struct gshm_hold_kind
{
  const char *subr, *what;
  int is_loan;

  /* Return a true value, or #f or the end-of-file object if there is nothing
     to hold.  */
  SCM (*begin) (const char *subr, SCM bytevector, SCM datum, SCM timeout);

  void (*end) (const char *subr, SCM bytevector, SCM datum);

  /* If this thread has it, end it as if nothing had been done; with
     IS_ABANDONED, leave the lock abandoned.  */
  void (*leave) (SCM bytevector, SCM datum, int is_abandoned);

  /* Of a lock that its owner abandoned: the data have been recovered.  NULL if
     there is nothing to do.  */
  void (*recover) (const char *subr, SCM bytevector, SCM datum);
};

/* A hold of KIND in BYTEVECTOR, which has not begun.  */
SCM gshm_hold (const struct gshm_hold_kind *kind, SCM bytevector, SCM datum);

#endif /* GSHM_HOLD_H */

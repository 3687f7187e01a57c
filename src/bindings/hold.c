/* SPDX-License-Identifier: BSD-3-Clause
   hold.c - locks and loans that end however a procedure is left.

   A hold is an object that can be called without arguments, and serves as the
   last guard of a dynamic-wind.  It begins and ends within that; the guard
   ends it only if the procedure was left in another way.  A guard in Scheme
   would not do: Guile runs asyncs before Scheme code calls a procedure, and an
   async that leaves by an exception there would leave the lock locked.  This
   code calls nothing before it has ended the hold.  */

#include <config.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/hold.h"
#include "init.h"
#include "memory/view.h"

enum state
{
  IDLE, /* not begun */
  HELD,
  ABANDONED, /* held, but the data have not been recovered */
  ENDED      /* by the procedure's return, or by the guard */
};

static scm_t_bits tag;
static SCM abandoned;

static const struct gshm_hold_kind *
kind_of (SCM hold)
{
  return (const struct gshm_hold_kind *) SCM_SMOB_DATA_3 (hold);
}

static enum state
state_of (SCM hold)
{
  return (enum state) SCM_SMOB_FLAGS (hold);
}

static void
set_state (SCM hold, enum state state)
{
  SCM_SET_SMOB_FLAGS (hold, state);
}

SCM
gshm_hold (const struct gshm_hold_kind *kind, SCM bytevector, SCM datum)
{
  return scm_new_double_smob (tag, SCM_UNPACK (bytevector), SCM_UNPACK (datum),
                              (scm_t_bits) kind);
}

/* (HOLD): the first guard.  A continuation may enter the procedure again,
   after it was left or in another thread.  If it has held something, others
   may have changed that since.  */
static SCM
enter (SCM hold)
{
  scm_assert_smob_type (tag, hold);
  const struct gshm_hold_kind *kind = kind_of (hold);

  if (state_of (hold) == IDLE)
    return SCM_UNSPECIFIED;
  scm_misc_error (kind->subr,
                  "A continuation entered a procedure again that has held the "
                  "~A of ~A",
                  scm_list_2 (scm_from_utf8_string (kind->what),
                              gshm_describe (SCM_SMOB_OBJECT_1 (hold))));
}

/* (HOLD TIMEOUT) -> as gshm_hold_kind says.  No async runs between the
   beginning and the change of state.  */
static SCM
begin_hold (SCM hold, SCM timeout)
{
  scm_assert_smob_type (tag, hold);
  const struct gshm_hold_kind *kind = kind_of (hold);
  SCM result = kind->begin (kind->subr, SCM_SMOB_OBJECT_1 (hold),
                            SCM_SMOB_OBJECT_2 (hold), timeout);

  if (scm_is_false (result) || SCM_EOF_OBJECT_P (result))
    return result;
  if (kind->is_loan)
    SCM_SET_SMOB_OBJECT_2 (hold, result);
  set_state (hold, scm_is_eq (result, abandoned) ? ABANDONED : HELD);
  return result;
}

/* (HOLD).  */
static SCM
end_hold (SCM hold)
{
  scm_assert_smob_type (tag, hold);
  const struct gshm_hold_kind *kind = kind_of (hold);

  kind->end (kind->subr, SCM_SMOB_OBJECT_1 (hold), SCM_SMOB_OBJECT_2 (hold));
  set_state (hold, ENDED);
  return SCM_UNSPECIFIED;
}

/* (HOLD): the data that the lock guards have been recovered.  */
static SCM
recover (SCM hold)
{
  scm_assert_smob_type (tag, hold);
  const struct gshm_hold_kind *kind = kind_of (hold);

  if (kind->recover != NULL)
    kind->recover (kind->subr, SCM_SMOB_OBJECT_1 (hold),
                   SCM_SMOB_OBJECT_2 (hold));
  set_state (hold, HELD);
  return SCM_UNSPECIFIED;
}

/* The last guard.  */
static SCM
leave (SCM hold)
{
  enum state state = state_of (hold);

  if (state == HELD || state == ABANDONED)
    {
      kind_of (hold)->leave (SCM_SMOB_OBJECT_1 (hold),
                             SCM_SMOB_OBJECT_2 (hold), state == ABANDONED);
      set_state (hold, ENDED);
    }
  return SCM_UNSPECIFIED;
}

/* (HOLD) -> list of the procedure, what the lock is, a description of the
   bytevector, and the offset.  */
static SCM
lock_of (SCM hold)
{
  scm_assert_smob_type (tag, hold);
  const struct gshm_hold_kind *kind = kind_of (hold);

  return scm_list_4 (
    scm_from_utf8_string (kind->subr), scm_from_utf8_string (kind->what),
    gshm_describe (SCM_SMOB_OBJECT_1 (hold)), SCM_SMOB_OBJECT_2 (hold));
}

void
gshm_hold_init (void)
{
  abandoned = gshm_symbol ("abandoned");
  tag = scm_make_smob_type ("shm-hold", 0);
  scm_set_smob_apply (tag, leave, 0, 0, 0);
  gshm_define ("%shm-hold-enter!", 1, 0, enter);
  gshm_define ("%shm-hold-begin!", 2, 0, begin_hold);
  gshm_define ("%shm-hold-end!", 1, 0, end_hold);
  gshm_define ("%shm-hold-lock", 1, 0, lock_of);
  gshm_define ("%shm-hold-recover!", 1, 0, recover);
}

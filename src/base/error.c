/* SPDX-License-Identifier: BSD-3-Clause
   error.c - checking arguments and raising exceptions as Guile does.  */

#include <config.h>

#include <limits.h>
#include <stdint.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"

/* The Scheme procedure that returns the string for an object.  */
static SCM show;

SCM
gshm_shown (SCM object)
{
  /* It is not set if only (posix-shm primitives) was loaded.  */
  if (SCM_UNPACK (show) == 0)
    return scm_object_to_string (object, SCM_UNDEFINED);
  return scm_call_1 (show, object);
}

void
gshm_system_error (const char *subr, int err, SCM object, const char *hint)
{
  SCM cause = scm_strerror (scm_from_int (err));
  SCM shown = gshm_shown (object);

  if (hint == NULL)
    scm_syserror_msg (subr, "~A: ~A", scm_list_2 (cause, shown), err);
  else
    scm_syserror_msg (subr, "~A: ~A (~A)",
                      scm_list_3 (cause, shown, scm_from_utf8_string (hint)),
                      err);
}

void
gshm_out_of_range (const char *subr, SCM value, const char *message)
{
  scm_error (scm_out_of_range_key, subr, "~A: ~A",
             scm_list_2 (scm_from_utf8_string (message), gshm_shown (value)),
             scm_list_1 (value));
}

void
gshm_out_of_range_of (const char *subr, SCM value, const char *message,
                      SCM object)
{
  scm_error (scm_out_of_range_key, subr, "~A ~A: ~A",
             scm_list_3 (scm_from_utf8_string (message), gshm_shown (object),
                         gshm_shown (value)),
             scm_list_1 (value));
}

void
gshm_wrong_type (const char *subr, int pos, SCM object, const char *expected)
{
  SCM what = scm_from_utf8_string (expected), shown = gshm_shown (object);

  if (pos == SCM_ARGn)
    scm_error (scm_arg_type_key, subr,
               "Wrong type argument (expecting ~A): ~A",
               scm_list_2 (what, shown), scm_list_1 (object));
  scm_error (scm_arg_type_key, subr,
             "Wrong type argument in position ~A (expecting ~A): ~A",
             scm_list_3 (scm_from_int (pos), what, shown),
             scm_list_1 (object));
}

SCM_NORETURN static void
position_out_of_range (const char *subr, int pos, SCM value)
{
  if (pos == SCM_ARGn)
    gshm_out_of_range (subr, value, "Argument out of range");
  scm_error (scm_out_of_range_key, subr, "Argument ~A out of range: ~A",
             scm_list_2 (scm_from_int (pos), gshm_shown (value)),
             scm_list_1 (value));
}

void
gshm_check_exact_integer (const char *subr, int pos, SCM value)
{
  if (!scm_is_exact_integer (value))
    gshm_wrong_type (subr, pos, value, "exact integer");
}

int
gshm_to_int (const char *subr, int pos, SCM value, int min, int max)
{
  gshm_check_exact_integer (subr, pos, value);
  if (!scm_is_signed_integer (value, min, max))
    position_out_of_range (subr, pos, value);
  return scm_to_int (value);
}

int
gshm_to_descriptor (const char *subr, int pos, SCM value)
{
  if (SCM_OPFPORTP (value))
    return SCM_FPORT_FDES (value);
  if (!scm_is_exact_integer (value))
    gshm_wrong_type (subr, pos, value,
                     "file descriptor or open file port");
  return gshm_to_int (subr, pos, value, INT_MIN, INT_MAX);
}

size_t
gshm_to_size (const char *subr, int pos, SCM value, size_t max)
{
  if (SCM_I_INUMP (value) && SCM_I_INUM (value) >= 0
      && (size_t) SCM_I_INUM (value) <= max)
    return (size_t) SCM_I_INUM (value);
  gshm_check_exact_integer (subr, pos, value);
  if (!scm_is_unsigned_integer (value, 0, max))
    position_out_of_range (subr, pos, value);
  return scm_to_size_t (value);
}

int
gshm_to_flags (const char *subr, SCM list, const char *expected,
               void (*check) (SCM flag, int value))
{
  int flags = 0;

  if (scm_ilength (list) < 0)
    gshm_wrong_type (subr, 2, list, expected);
  for (; scm_is_pair (list); list = SCM_CDR (list))
    {
      SCM flag = SCM_CAR (list);

      if (!scm_is_exact_integer (flag))
        gshm_wrong_type (subr, 2, flag, expected);
      /* No flag is negative.  */
      int value = (scm_is_signed_integer (flag, 0, INT_MAX)
                   ? scm_to_int (flag) : -1);
      check (flag, value);
      flags |= value;
    }
  return flags;
}

off_t
gshm_to_off (const char *subr, const char *what, SCM value)
{
  int64_t max = sizeof (off_t) == 8 ? INT64_MAX : INT32_MAX;

  if (!scm_is_exact_integer (value))
    scm_error (scm_arg_type_key, subr, "~A is not an exact integer: ~A",
               scm_list_2 (scm_from_utf8_string (what), gshm_shown (value)),
               scm_list_1 (value));
  if (!scm_is_signed_integer (value, 0, max))
    scm_error (scm_out_of_range_key, subr, "~A is negative or too large: ~A",
               scm_list_2 (scm_from_utf8_string (what), gshm_shown (value)),
               scm_list_1 (value));
  return (off_t) scm_to_int64 (value);
}

/* (SHOW): SHOW returns the string that stands for an object in a message.  */
static SCM
show_with (SCM procedure)
{
  show = scm_permanent_object (procedure);
  return SCM_UNSPECIFIED;
}

void
gshm_error_init (void)
{
  gshm_define ("%shm-show-with!", 1, 0, show_with);
}

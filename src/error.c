/* SPDX-License-Identifier: BSD-3-Clause
   error.c - arguments checked and exceptions raised as Guile itself does.  */

#include <config.h>

#include <stdint.h>

#include "gshm.h"

void
gshm_define (const char *name, int required, scm_t_subr function)
{
  scm_c_define_gsubr (name, required, 0, 0, function);
  scm_c_export (name, NULL);
}

void
gshm_system_error (const char *subr, int err, SCM object, const char *hint)
{
  SCM cause = scm_strerror (scm_from_int (err));

  if (hint == NULL)
    scm_syserror_msg (subr, "~A: ~S", scm_list_2 (cause, object), err);
  else
    scm_syserror_msg (subr, "~A: ~S (~A)",
                      scm_list_3 (cause, object, scm_from_utf8_string (hint)),
                      err);
}

void
gshm_out_of_range (const char *subr, SCM value, const char *message)
{
  scm_error (scm_out_of_range_key, subr, "~A: ~S",
             scm_list_2 (scm_from_utf8_string (message), value),
             scm_list_1 (value));
}

void
gshm_out_of_range_of (const char *subr, SCM value, const char *message,
                      SCM object)
{
  scm_error (scm_out_of_range_key, subr, "~A ~S: ~S",
             scm_list_3 (scm_from_utf8_string (message), object, value),
             scm_list_1 (value));
}

static void
check_exact_integer (const char *subr, int pos, SCM value)
{
  if (!scm_is_exact_integer (value))
    scm_wrong_type_arg_msg (subr, pos, value, "exact integer");
}

int
gshm_to_int (const char *subr, int pos, SCM value, int min, int max)
{
  check_exact_integer (subr, pos, value);
  if (!scm_is_signed_integer (value, min, max))
    scm_out_of_range_pos (subr, value, scm_from_int (pos));
  return scm_to_int (value);
}

size_t
gshm_to_size (const char *subr, int pos, SCM value, size_t max)
{
  check_exact_integer (subr, pos, value);
  if (!scm_is_unsigned_integer (value, 0, max))
    scm_out_of_range_pos (subr, value, scm_from_int (pos));
  return scm_to_size_t (value);
}

off_t
gshm_to_off (const char *subr, const char *what, SCM value)
{
  int64_t max = sizeof (off_t) == 8 ? INT64_MAX : INT32_MAX;

  check_exact_integer (subr, 0, value);
  if (!scm_is_signed_integer (value, 0, max))
    scm_error (scm_out_of_range_key, subr, "~A is negative or too large: ~S",
               scm_list_2 (scm_from_utf8_string (what), value),
               scm_list_1 (value));
  return (off_t) scm_to_int64 (value);
}

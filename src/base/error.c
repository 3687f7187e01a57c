/* SPDX-License-Identifier: BSD-3-Clause
   error.c - arguments checked and exceptions raised as Guile itself does.  */

#include <config.h>

#include <limits.h>
#include <stdint.h>

#include "base/gshm.h"
#include "memory/mapping.h"
#include "memory/place.h"

/* Procedures of Scheme: the exceptions' types are Scheme's, and printing is
   easier there.  */
static SCM raise_format_error, raise_closed, show;

SCM
gshm_shown (SCM object)
{
  return scm_call_1 (show, object);
}

void
gshm_define (const char *name, int required, int optional,
             scm_t_subr function)
{
  scm_c_define_gsubr (name, required, optional, 0, function);
  scm_c_export (name, NULL);
}

void
gshm_define_size (const char *name, size_t size)
{
  scm_c_define (name, scm_from_size_t (size));
  scm_c_export (name, NULL);
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
gshm_place_error (const char *subr, int err, const char *what, SCM bytevector,
                  SCM k, const char *hint)
{
  scm_syserror_msg (subr, "~A: the ~A at offset ~A of ~A (~A)",
                    scm_list_5 (scm_strerror (scm_from_int (err)),
                                scm_from_utf8_string (what), gshm_shown (k),
                                gshm_describe (bytevector),
                                scm_from_utf8_string (hint)),
                    err);
}

void
gshm_unmapped_error (const char *subr, SCM k)
{
  scm_error (scm_out_of_range_key, subr,
             "The memory at offset ~A was unmapped",
             scm_list_1 (gshm_shown (k)), scm_list_1 (k));
}

void
gshm_format_error (const char *subr, const char *what, SCM bytevector, SCM k)
{
  /* If the memory is lost, or was given back, that is what there is to
     say.  */
  SCM_TICK;
  if (gshm_is_unmapped (bytevector))
    gshm_unmapped_error (subr, k);
  scm_call_4 (raise_format_error, scm_from_utf8_string (subr),
              scm_from_utf8_string (what), gshm_describe (bytevector), k);
  scm_misc_error (subr, "There is no ~A at offset ~A",
                  scm_list_2 (scm_from_utf8_string (what), k));
}

void
gshm_closed_error (const char *subr, SCM bytevector)
{
  scm_call_2 (raise_closed, scm_from_utf8_string (subr),
              gshm_describe (bytevector));
  scm_misc_error (subr, "The channel is closed", SCM_EOL);
}

/* (FORMAT CLOSED SHOW): call these.  FORMAT and CLOSED do not return: FORMAT
   gets a procedure's name, what is missing, where, and at which offset, CLOSED
   a procedure's name and where the channel is.  SHOW returns the string that
   stands for an object in a message.  */
static SCM
gshm_set_reporters (SCM format, SCM closed, SCM shown)
{
  raise_format_error = scm_permanent_object (format);
  raise_closed = scm_permanent_object (closed);
  show = scm_permanent_object (shown);
  return SCM_UNSPECIFIED;
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

static void
check_exact_integer (const char *subr, int pos, SCM value)
{
  if (!scm_is_exact_integer (value))
    gshm_wrong_type (subr, pos, value, "exact integer");
}

int
gshm_to_int (const char *subr, int pos, SCM value, int min, int max)
{
  check_exact_integer (subr, pos, value);
  if (!scm_is_signed_integer (value, min, max))
    position_out_of_range (subr, pos, value);
  return scm_to_int (value);
}

int
gshm_to_descriptor (const char *subr, int pos, SCM value)
{
  if (!scm_is_exact_integer (value))
    gshm_wrong_type (subr, pos, value, "file descriptor, an integer");
  return gshm_to_int (subr, pos, value, INT_MIN, INT_MAX);
}

size_t
gshm_to_size (const char *subr, int pos, SCM value, size_t max)
{
  if (SCM_I_INUMP (value) && SCM_I_INUM (value) >= 0
      && (size_t) SCM_I_INUM (value) <= max)
    return (size_t) SCM_I_INUM (value);
  check_exact_integer (subr, pos, value);
  if (!scm_is_unsigned_integer (value, 0, max))
    position_out_of_range (subr, pos, value);
  return scm_to_size_t (value);
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

void *
gshm_find_place (const char *subr, SCM bytevector, SCM k, size_t size,
                 size_t alignment, int is_written)
{
  if (!scm_is_bytevector (bytevector))
    gshm_wrong_type (subr, 1, bytevector, "bytevector");
  if (is_written && !SCM_MUTABLE_BYTEVECTOR_P (bytevector))
    gshm_wrong_type (subr, 1, bytevector, "mutable bytevector");
  check_exact_integer (subr, 2, k);

  size_t length = SCM_BYTEVECTOR_LENGTH (bytevector);
  if (length == 0 && gshm_is_unmapped (bytevector))
    gshm_unmapped_error (subr, k);
  if (length < size
      || !scm_is_unsigned_integer (k, 0, length - size))
    scm_error (scm_out_of_range_key, subr,
               "There are not ~A bytes from offset ~A on in a bytevector of "
               "~A",
               scm_list_3 (scm_from_size_t (size), gshm_shown (k),
                           scm_from_size_t (length)),
               scm_list_1 (k));
  size_t offset = scm_to_size_t (k);
  signed char *address = SCM_BYTEVECTOR_CONTENTS (bytevector) + offset;
  if (offset % alignment != 0)
    scm_error (scm_out_of_range_key, subr,
               "Offset is not a multiple of ~A: ~A",
               scm_list_2 (scm_from_size_t (alignment), k), scm_list_1 (k));
  if ((uintptr_t) address % alignment != 0)
    scm_error (scm_out_of_range_key, subr,
               "The bytevector's memory is not at a multiple of ~A bytes: ~A",
               scm_list_2 (scm_from_size_t (alignment), k), scm_list_1 (k));
  return address;
}

void
gshm_find_out_self (const char *subr)
{
  int err, attempts = 0;

  do
    err = gshm_learn_self ();
  while (err != 0 && gshm_collect_for (err, &attempts));
  if (err != 0)
    gshm_system_error (subr, err, scm_from_utf8_string ("/proc/self"),
                       "a thread's first use of a lock or channel reads from "
                       "there");
}

void
gshm_error_init (void)
{
  gshm_define ("%shm-report-with!", 3, 0, gshm_set_reporters);
}

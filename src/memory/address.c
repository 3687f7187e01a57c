/* SPDX-License-Identifier: BSD-3-Clause
   address.c - addresses of offsets in bytevectors, and errors about them.  */

#include <config.h>

#include <stdint.h>

#include "base/error.h"
#include "base/guile.h"
#include "init.h"
#include "memory/address.h"
#include "memory/fault.h"
#include "memory/view.h"

/* Scheme procedures, since the types of the exceptions are defined there.  */
static SCM raise_format_error, raise_closed;

void
gshm_error_at (const char *subr, int err, const char *what, SCM bytevector,
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
  /* A pending fault, or the unmapping, is the reason.  Raise the fault also
     while asyncs are blocked.  */
  SCM_TICK;
  gshm_fault_raise ();
  if (gshm_is_unmapped (bytevector))
    gshm_unmapped_error (subr, k);
  if (SCM_UNPACK (raise_format_error) != 0)
    scm_call_4 (raise_format_error, scm_from_utf8_string (subr),
                scm_from_utf8_string (what), gshm_describe (bytevector), k);
  scm_misc_error (subr, "There is no ~A at offset ~A",
                  scm_list_2 (scm_from_utf8_string (what), k));
}

void
gshm_closed_error (const char *subr, const char *what, SCM bytevector)
{
  if (SCM_UNPACK (raise_closed) != 0)
    scm_call_3 (raise_closed, scm_from_utf8_string (subr),
                scm_from_utf8_string (what), gshm_describe (bytevector));
  scm_misc_error (subr, "The ~A is closed",
                  scm_list_1 (scm_from_utf8_string (what)));
}

/* (FORMAT CLOSED): the procedures that raise &shm-format-error, called with a
   procedure's name, the kind of structure, the bytevector's description and
   the offset; and &shm-closed, called with a procedure's name, the kind and a
   description.  */
static SCM
set_raisers (SCM format, SCM closed)
{
  raise_format_error = scm_permanent_object (format);
  raise_closed = scm_permanent_object (closed);
  return SCM_UNSPECIFIED;
}

void *
gshm_find_address (const char *subr, SCM bytevector, SCM k, size_t size,
                   size_t alignment, int is_written)
{
  if (!scm_is_bytevector (bytevector))
    gshm_wrong_type (subr, 1, bytevector, "bytevector");
  if (is_written && !SCM_MUTABLE_BYTEVECTOR_P (bytevector))
    gshm_wrong_type (subr, 1, bytevector, "mutable bytevector");
  gshm_check_exact_integer (subr, 2, k);

  size_t length = SCM_BYTEVECTOR_LENGTH (bytevector);
  if (length == 0 && gshm_is_unmapped (bytevector))
    gshm_unmapped_error (subr, k);
  if (length < size || !scm_is_unsigned_integer (k, 0, length - size))
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
gshm_identify_self_in (const char *subr)
{
  int err, attempts = 0;

  do
    err = gshm_identify_self ();
  while (err != 0 && gshm_collect_and_retry (err, &attempts));
  if (err != 0)
    gshm_system_error (subr, err, scm_from_utf8_string ("/proc/self"),
                       "a thread's first use of a lock or channel reads from "
                       "there");
}

void
gshm_address_init (void)
{
  gshm_define ("%shm-raise-with!", 2, 0, set_raisers);
}

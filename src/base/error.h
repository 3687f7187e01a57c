/* SPDX-License-Identifier: BSD-3-Clause
   error.h - checking arguments and raising exceptions as Guile does.  */

#ifndef GSHM_ERROR_H
#define GSHM_ERROR_H

#include <libguile.h>
#include <stddef.h>
#include <sys/types.h>

/* The string for OBJECT in a message, at most a part of a line.  */
SCM gshm_shown (SCM object);

/* Raise an exception in the name of the procedure SUBR.  HINT, or NULL, is
   appended in parentheses: the reason, or what to do.  */
SCM_NORETURN void gshm_system_error (const char *subr, int err, SCM object,
                                     const char *hint);
SCM_NORETURN void gshm_out_of_range (const char *subr, SCM value,
                                     const char *message);
SCM_NORETURN void gshm_out_of_range_of (const char *subr, SCM value,
                                        const char *message, SCM object);

/* The argument OBJECT at position POS of SUBR, or SCM_ARGn for that of a
   keyword, is not the EXPECTED type.  */
SCM_NORETURN void gshm_wrong_type (const char *subr, int pos, SCM object,
                                   const char *expected);

/* Raise wrong-type-arg unless VALUE is an exact integer.  */
void gshm_check_exact_integer (const char *subr, int pos, SCM value);

/* Convert the argument VALUE at position POS of SUBR.  Raise wrong-type-arg if
   it is not an exact integer, out-of-range if it does not fit.  A descriptor
   may also be a file port, which the caller must keep alive.  */
int gshm_to_int (const char *subr, int pos, SCM value, int min, int max);
int gshm_to_descriptor (const char *subr, int pos, SCM value);
size_t gshm_to_size (const char *subr, int pos, SCM value, size_t max);

/* Convert the argument at position 2 of SUBR, a list of flags: call CHECK with
   each, and return their union.  EXPECTED is for wrong-type-arg.  */
int gshm_to_flags (const char *subr, SCM list, const char *expected,
                   void (*check) (SCM flag, int value));

/* Convert the argument VALUE, an offset or a size; WHAT, as in "Offset", names
   it in the message.  */
off_t gshm_to_off (const char *subr, const char *what, SCM value);

#endif /* GSHM_ERROR_H */

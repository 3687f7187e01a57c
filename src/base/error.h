/* SPDX-License-Identifier: BSD-3-Clause
   error.h - arguments checked and exceptions raised as Guile itself does.  */

#ifndef GSHM_ERROR_H
#define GSHM_ERROR_H

#include <libguile.h>
#include <stddef.h>
#include <sys/types.h>

/* The string that stands for OBJECT in a message: part of a line, whatever
   OBJECT is.  */
SCM gshm_shown (SCM object);

/* Each raises an exception in the name of the procedure SUBR, as Guile's own
   procedures do.  HINT, which may be NULL, tells the user what to do.  */
SCM_NORETURN void gshm_system_error (const char *subr, int err, SCM object,
                                     const char *hint);
SCM_NORETURN void gshm_out_of_range (const char *subr, SCM value,
                                     const char *message);
SCM_NORETURN void gshm_out_of_range_of (const char *subr, SCM value,
                                        const char *message, SCM object);

/* The argument OBJECT at position POS of SUBR, or SCM_ARGn for a keyword's, is
   not what is EXPECTED there.  */
SCM_NORETURN void gshm_wrong_type (const char *subr, int pos, SCM object,
                                   const char *expected);

/* Raise wrong-type-arg unless VALUE is an exact integer.  */
void gshm_check_exact_integer (const char *subr, int pos, SCM value);

/* The argument VALUE at position POS of SUBR as a C value: wrong-type-arg for
   what is no exact integer, out-of-range for one that does not fit.  A
   descriptor may also be a file port, which the caller must keep alive.  */
int gshm_to_int (const char *subr, int pos, SCM value, int min, int max);
int gshm_to_descriptor (const char *subr, int pos, SCM value);
size_t gshm_to_size (const char *subr, int pos, SCM value, size_t max);

/* The argument at position 2 of SUBR, a list of flags: call CHECK with each,
   and return all.  EXPECTED says what they are, for the message about
   others.  */
int gshm_to_flags (const char *subr, SCM list, const char *expected,
                   void (*check) (SCM flag, int value));

/* The argument VALUE as an offset or a size that the system knows; WHAT, as in
   "Offset", says which for the message.  */
off_t gshm_to_off (const char *subr, const char *what, SCM value);

#endif /* GSHM_ERROR_H */

/* SPDX-License-Identifier: BSD-3-Clause
   gshm.h - what the rooms of libguile-shm share.  */

#ifndef GSHM_H
#define GSHM_H

#include <libguile.h>
#include <errno.h>
#include <stddef.h>

/* The entry, and what it calls: each defines and exports a room's primitives
   in the current module.  */
void gshm_init (void);
void gshm_object_init (void);
void gshm_chicken_init (void);

/* Define the primitive NAME and export it.  */
void gshm_define (const char *name, int required, scm_t_subr function);

/* Each raises an exception in the name of the procedure SUBR, as Guile's own
   procedures do.  HINT, which may be NULL, tells the user what to do.  */
SCM_NORETURN void gshm_system_error (const char *subr, int err, SCM object,
                                     const char *hint);
SCM_NORETURN void gshm_out_of_range (const char *subr, SCM object,
                                     const char *message);

/* The argument VALUE at position POS of SUBR as a C value: wrong-type-arg for
   what is no exact integer, out-of-range for one that does not fit.  */
int gshm_to_int (const char *subr, int pos, SCM value, int min, int max);
size_t gshm_to_size (const char *subr, int pos, SCM value, size_t max);

/* Store in RESULT the value of the system call EXPRESSION, again for as long
   as a signal interrupts it.  Asyncs run in between and may leave by an
   exception: own nothing that needs releasing.  */
#define GSHM_SYSTEM_CALL(result, expression)                    \
  do                                                            \
    {                                                           \
      while (((result) = (expression)) < 0 && errno == EINTR)   \
        SCM_TICK;                                               \
    }                                                           \
  while (0)

#endif /* GSHM_H */

/* SPDX-License-Identifier: BSD-3-Clause
   view.h - bytevectors on parts of a mapping, and types of elements.  */

#ifndef GSHM_VIEW_H
#define GSHM_VIEW_H

#include <libguile.h>
#include <stddef.h>

/* The mapping that BYTEVECTOR is on; if it is on none, raise an exception in
   the name of SUBR.  */
struct gshm_mapping *gshm_mapping_wanted (const char *subr, SCM bytevector);

/* Whether BYTEVECTOR is on a mapping that was unmapped.  */
int gshm_is_unmapped (SCM bytevector);

/* Whether BYTEVECTOR, which had SIZE bytes and may be on a mapping, was
   unmapped.  */
static inline int
gshm_was_unmapped (SCM bytevector, size_t size)
{
  return SCM_BYTEVECTOR_LENGTH (bytevector) < size
         || (scm_is_true (SCM_BYTEVECTOR_PARENT (bytevector))
             && gshm_is_unmapped (bytevector));
}

/* A description of BYTEVECTOR for messages, a string.  */
SCM gshm_describe (SCM bytevector);

/* The size of the elements of TYPE, or 0 if it is not a type.  */
size_t gshm_size_of_type (SCM type);

/* The size of the elements of TYPE, a symbol; if it is not a type, raise an
   exception in the name of SUBR.  */
size_t gshm_type_size (const char *subr, SCM type);

/* A bytevector on the LENGTH bytes at ADDRESS, which are part of BYTEVECTOR.
   It keeps the mapping alive.  */
SCM gshm_view_bytes (SCM bytevector, char *address, size_t length);

/* Set the length of BYTEVECTOR to 0.  */
void gshm_set_empty (SCM bytevector);

#endif /* GSHM_VIEW_H */

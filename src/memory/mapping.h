/* SPDX-License-Identifier: BSD-3-Clause
   mapping.h - what a mapping is, for the rooms that deal with its memory.  */

#ifndef GSHM_MAPPING_H
#define GSHM_MAPPING_H

#include <libguile.h>
#include <stddef.h>

#include "memory/registry.h"

/* The name of the object, a string, or #f.  */
SCM gshm_mapping_name (const struct gshm_mapping *mapping);

/* Whether BYTEVECTOR is on a mapping that was unmapped.  */
int gshm_is_unmapped (SCM bytevector);

/* A bytevector on the LENGTH bytes at ADDRESS, which are part of BYTEVECTOR
   and live as long.  */
SCM gshm_view_bytes (SCM bytevector, char *address, size_t length);

/* Make BYTEVECTOR one of no bytes.  */
void gshm_set_empty (SCM bytevector);

/* What to call BYTEVECTOR in a message, a string.  */
SCM gshm_describe (SCM bytevector);

/* Give up a reference; the last one gives back the range.  */
void gshm_mapping_release (struct gshm_mapping *mapping);

/* A mapping for SIZE bytes at ADDRESS, in one page, that somebody else has
   mapped, so that faults there are caught, or NULL where there is no memory
   for it.  It is given up with a reference, before that page is unmapped.  */
struct gshm_mapping *gshm_mapping_borrow (void *address, size_t size,
                                          const char *name);

/* Install the guard of faults, unless the user does not want that, or it was
   installed before.  */
void gshm_fault_watch (void);

/* Whether they are, so that a store into the memory of a mapping that was
   unmapped makes that memory writable.  */
int gshm_fault_is_guarded (void);

/* Whether this thread has had a fault that it has not raised yet.  */
int gshm_fault_is_pending (void);

/* If so, raise it.  */
void gshm_fault_raise (void);

#endif /* GSHM_MAPPING_H */

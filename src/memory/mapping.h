/* SPDX-License-Identifier: BSD-3-Clause
   mapping.h - the life of a mapping.  */

#ifndef GSHM_MAPPING_H
#define GSHM_MAPPING_H

#include <libguile.h>
#include <stddef.h>

#include "memory/registry.h"

/* The name of the object, a string, or #f.  */
SCM gshm_mapping_name (const struct gshm_mapping *mapping);

/* How many bytes are mapped here, without those that are borrowed.  */
size_t gshm_mapped_bytes (void);

/* A mapping with the range, object, name and access of MODEL, in the registry,
   with one reference.  Return NULL if there is no memory for it, and leave the
   range and the name to the caller.  */
struct gshm_mapping *gshm_mapping_new (const struct gshm_mapping *model);

/* Unmap MAPPING, if it is mapped, and return whether it was.  Return -1 and
   set errno if that fails.  */
int gshm_mapping_unmap (struct gshm_mapping *mapping);

/* Give up a reference; the last one gives back the range.  */
void gshm_mapping_release (struct gshm_mapping *mapping);

/* A mapping for SIZE bytes at ADDRESS, in one page, that other code has
   mapped, so that faults there are caught, or NULL where there is no memory
   for it.  It is given up with a reference, before that page is unmapped.  */
struct gshm_mapping *gshm_mapping_borrow (void *address, size_t size,
                                          const char *name);

#endif /* GSHM_MAPPING_H */

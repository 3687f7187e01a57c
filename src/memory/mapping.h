/* SPDX-License-Identifier: BSD-3-Clause
   mapping.h - creating, unmapping and releasing mappings.  */

#ifndef GSHM_MAPPING_H
#define GSHM_MAPPING_H

#include <libguile.h>
#include <stddef.h>

#include "memory/registry.h"

/* The name of the object, a string, or #f.  */
SCM gshm_mapping_name (const struct gshm_mapping *mapping);

/* The number of bytes that are mapped, without those that are borrowed.  */
size_t gshm_mapped_bytes (void);

/* Add a mapping with the range, object, name and access of MODEL to the
   registry, with one reference.  Return NULL if there is too little memory;
   then the caller still owns the range and the name.  */
struct gshm_mapping *gshm_mapping_new (const struct gshm_mapping *model);

/* Before a mapping is made: collect, if there are too many.  */
void gshm_prepare_mapping (void);

/* Map the SIZE bytes of the object NAME behind FD, writable.  Return NULL on
   failure.  */
struct gshm_mapping *gshm_map_object (int fd, size_t size, const char *name);

/* A bytevector of COUNT elements of TYPE on MAPPING.  It takes over the
   caller's reference, also if this raises an exception.  */
SCM gshm_bytevector_on (struct gshm_mapping *mapping, size_t count, SCM type);

/* Unmap MAPPING, if it is mapped, and return whether it was.  Return -1 and
   set errno if that fails.  */
int gshm_mapping_unmap (struct gshm_mapping *mapping);

/* Also for signal handlers: if this thread is unmapping the mapping of which
   COPY is a copy, a handler that interrupted it cannot wait for that.  Map
   zeros over the range, which can be written to, until the thread goes on.
   Return whether that was done.  */
int gshm_mapping_replace (const struct gshm_mapping *copy);

/* Release a reference; with the last one, unmap the range.  */
void gshm_mapping_release (struct gshm_mapping *mapping);

/* Add a mapping, or a reference to one, for SIZE bytes at ADDRESS, in one page
   that other code has mapped, so that the guard handles faults there.  Return
   NULL if there is too little memory.  The caller releases the reference
   before the page is unmapped.  */
struct gshm_mapping *gshm_mapping_borrow (void *address, size_t size,
                                          const char *name);

#endif /* GSHM_MAPPING_H */

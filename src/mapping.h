/* SPDX-License-Identifier: BSD-3-Clause
   mapping.h - what a mapping is, for the rooms that deal with its memory.  */

#ifndef GSHM_MAPPING_H
#define GSHM_MAPPING_H

#include <libguile.h>
#include <stddef.h>
#include <sys/types.h>

/* A mapping of a shared memory object into this process.  It lives as long as
   the pointer object that all its bytevectors refer to, whose finalizer gives
   up one of the references; each fault that is not yet raised holds another.
   The range of addresses is not given back before the last one is gone.  */
struct gshm_mapping
{
  char *base;             /* where the range of pages begins */
  size_t length;          /* and its size in bytes */
  size_t skip;            /* from there to the first byte that was asked for */
  size_t size;            /* and how many bytes were */
  dev_t device;           /* the object */
  ino_t inode;
  char *name;             /* its name, or NULL where that is not known */
  int is_borrowed;        /* the range is another's, who unmaps it */
  unsigned references;    /* the rest is guarded by the registry's lock */
  int unmapped;           /* the range no longer shows the object */
};

/* This takes the lock itself.  */
size_t gshm_registry_count (void);

/* For these the caller holds the lock.  What is added is in no other's
   range.  */
int gshm_registry_add (struct gshm_mapping *mapping);
void gshm_registry_remove (const struct gshm_mapping *mapping);
struct gshm_mapping *gshm_registry_find (const void *address);

void gshm_registry_lock (void);
void gshm_registry_unlock (void);
void gshm_registry_init (void);

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

/* See to it that faults in mappings are caught, unless the user does not want
   that.  */
void gshm_fault_watch (void);

/* Whether they are, so that a store into the memory of a mapping that was
   unmapped makes that memory writable.  */
int gshm_fault_is_guarded (void);

/* Whether this thread has had a fault that it has not raised yet.  */
int gshm_fault_is_pending (void);

/* If so, raise it.  */
void gshm_fault_raise (void);

/* With the lock held: give up what faults have put over a mapping.  */
void gshm_fault_forget (const struct gshm_mapping *mapping);

#endif /* GSHM_MAPPING_H */

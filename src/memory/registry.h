/* SPDX-License-Identifier: BSD-3-Clause
   registry.h - the mappings of this process, found by address.  */

#ifndef GSHM_REGISTRY_H
#define GSHM_REGISTRY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum gshm_state
{
  GSHM_MAPPED,
  GSHM_UNMAPPING, /* a thread is unmapping it */
  GSHM_UNMAPPED,  /* private zeros are mapped in the range */
  GSHM_RELEASED   /* the range will be unmapped */
};

#define GSHM_REGISTRY_LEVELS 8

/* A mapping of a shared memory object into this process.  It lives at least as
   long as the pointer object that all its bytevectors refer to, whose
   finalizer releases a reference.  With the last one the range of addresses is
   unmapped.  */
struct gshm_mapping
{
  char *base;             /* the start of the range of pages */
  size_t length;          /* the size of the range in bytes */
  size_t skip;            /* from the start to the first byte of the user */
  size_t size;            /* the number of bytes of the user */
  dev_t device;           /* the object */
  ino_t inode;
  char *name; /* its name, allocated; NULL if it is not known */
  int is_writable;
  int is_borrowed;        /* other code maps and unmaps the range */
  unsigned references;    /* the registry's lock guards this */

  _Atomic enum gshm_state state;
  atomic_uint patches;    /* see patch.h */

  /* The registry's own.  */
  uint64_t serial;        /* no other mapping of this process has the same */
  _Atomic (struct gshm_mapping *) next[GSHM_REGISTRY_LEVELS];
};

/* Set up, once in a process.  */
void gshm_registry_start (void);

/* An address that identifies this thread among the live threads.  */
const void *gshm_this_thread (void);


/* Not for signal handlers.  */

/* The lock guards changes.  */
void gshm_registry_lock (void);
void gshm_registry_unlock (void);

/* Allocate a mapping, all zeros, or return NULL; and free it.  With the lock
   owned.  */
struct gshm_mapping *gshm_registry_allocate (void);
void gshm_registry_free (struct gshm_mapping *mapping);

/* Add MAPPING, with a new serial number.  Return 0 if its range overlaps
   another one.  With the lock owned.  */
int gshm_registry_add (struct gshm_mapping *mapping);
void gshm_registry_remove (struct gshm_mapping *mapping);

/* The mapping at the lowest address above MAPPING or, if that is NULL, at the
   lowest address; NULL if there is none.  With the lock owned.  */
struct gshm_mapping *gshm_registry_after (const struct gshm_mapping *mapping);

/* The number of mappings.  */
size_t gshm_registry_count (void);


/* Also for signal handlers.  */

/* Copy the mapping whose range contains ADDRESS to COPY, and return its
   address, or NULL if there is none.  The address is valid while the caller
   has a reference; after that it may be that of another mapping.  */
struct gshm_mapping *gshm_registry_find (const void *address,
                                         struct gshm_mapping *copy);

#endif /* GSHM_REGISTRY_H */

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
  GSHM_UNMAPPING,         /* MAPPED before, and UNMAPPED soon */
  GSHM_UNMAPPED,          /* the range no longer shows the object */
  GSHM_RELEASED           /* the range will be unmapped */
};

#define GSHM_REGISTRY_LEVELS 8

/* A mapping of a shared memory object into this process.  It lives as long as
   the pointer object that all its bytevectors refer to, whose finalizer drops
   one of the references.  The range of addresses is unmapped with the last
   reference.  */
struct gshm_mapping
{
  char *base;             /* the start of the range of pages */
  size_t length;          /* the size of the range in bytes */
  size_t skip;            /* from the start to the first byte asked for */
  size_t size;            /* the number of bytes asked for */
  dev_t device;           /* the object */
  ino_t inode;
  char *name;             /* its name, allocated, or NULL if not known */
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

/* What names this thread in this process: unique among live threads.  */
const void *gshm_this_thread (void);


/* For code that maps and unmaps, and not for the handlers of signals.  */

/* Guards changes.  */
void gshm_registry_lock (void);
void gshm_registry_unlock (void);

/* Memory for a mapping, all zeros, or NULL; and that memory given back.  With
   the lock held.  */
struct gshm_mapping *gshm_registry_allocate (void);
void gshm_registry_free (struct gshm_mapping *mapping);

/* Add MAPPING and give it a serial number.  Return 0 if another mapping has an
   address of its range.  With the lock held.  */
int gshm_registry_add (struct gshm_mapping *mapping);
void gshm_registry_remove (struct gshm_mapping *mapping);

/* The mapping at the lowest address above MAPPING or, if that is NULL, at the
   lowest address; NULL if there is none.  With the lock held.  */
struct gshm_mapping *gshm_registry_after (const struct gshm_mapping *mapping);

/* The number of mappings.  */
size_t gshm_registry_count (void);


/* For the handlers of signals as well.  */

/* Copy the mapping whose range ADDRESS is in to COPY, and return where it is,
   or NULL if there is none.  It is there as long as something refers to the
   mapping; after that the memory may be another mapping's.  */
struct gshm_mapping *gshm_registry_find (const void *address,
                                         struct gshm_mapping *copy);

#endif /* GSHM_REGISTRY_H */

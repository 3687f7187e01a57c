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
  GSHM_UNMAPPED           /* the range no longer shows the object */
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
  char *name;             /* its name, or NULL where that is not known */
  int is_writable;
  int is_borrowed;        /* other code maps and unmaps the range */

  /* The registry's lock guards the rest.  */
  uint64_t serial;        /* no other mapping of this process has the same */
  unsigned references;
  unsigned patches;       /* see patch.h */
  enum gshm_state state;
  const void *unmapper;   /* the thread that is unmapping it */
  _Atomic (struct gshm_mapping *) next[GSHM_REGISTRY_LEVELS];
};

/* A signal handler may call each of these, also when it interrupted another of
   them in its own thread.  */

/* What names this thread in this process: unique among live threads.  */
const void *gshm_this_thread (void);

/* The number of mappings.  */
size_t gshm_registry_count (void);

/* The lock nests only where a signal handler interrupts a thread that holds
   it.  Hold it for a few steps, and for no system call.  */
void gshm_registry_lock (void);
void gshm_registry_unlock (void);

/* The rest is called with the lock held.  */

/* Add MAPPING and give it a serial number.  Return 0 if another mapping has an
   address of its range.  */
int gshm_registry_add (struct gshm_mapping *mapping);
void gshm_registry_remove (struct gshm_mapping *mapping);

/* The mapping whose range ADDRESS is in, or NULL.  */
struct gshm_mapping *gshm_registry_find (const void *address);

/* The mapping at the lowest address above MAPPING or, if that is NULL, at the
   lowest address.  NULL if there is none.  */
struct gshm_mapping *gshm_registry_after (const struct gshm_mapping *mapping);

/* Locks for the handlers of faults, which do not nest.  */
void gshm_spin_lock (atomic_flag *flag);
void gshm_spin_unlock (atomic_flag *flag);

/* Set up, once in a process.  */
void gshm_registry_start (void);

#endif /* GSHM_REGISTRY_H */

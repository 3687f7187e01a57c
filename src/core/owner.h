/* SPDX-License-Identifier: BSD-3-Clause
   owner.h - which thread of which process holds something, and does it live?

   An owner is 64 bits, so that one compare-and-swap settles who it is:

     bits 0 to 2    flags, free for the structure that the owner is in, but for
                    GSHM_FOREIGN
     bits 3 to 24   the thread's id
     bits 25 to 63  what tells it from others of its id: where bit 25 is set
                    the serial number that the kernel gave it (the inode of
                    its pidfd), else when it started, in clock ticks since the
                    boot, or 0 where neither is known

   Ids mean something in one PID namespace (as containers have their own).  A
   structure records the one in which it was initialized; an owner of another
   one says so, has random bits for its id and start there, and is taken to
   live.  Times of the start mean something in the boot's time namespace; in
   another one they are not known, and not compared.  */

#ifndef GSHM_OWNER_H
#define GSHM_OWNER_H

#include <stdint.h>

#include "core/tls.h"

#define GSHM_FOREIGN UINT64_C (2)
#define GSHM_OWNER_FLAGS UINT64_C (7)

/* The namespace of this process.  */
uint32_t gshm_namespace (void);

/* This thread as an owner, with no flags, and the namespace in which it is
   that; 0 until that is known, and in the child of a fork again.  */
extern GSHM_THREAD_LOCAL struct gshm_self
{
  uint64_t owner;
  uint64_t foreign;     /* in structures of other namespaces */
  uint32_t namespace;
} gshm_known_self;

/* Find out what this thread is.  Return 0, or an errno if it lacks descriptors
   or memory to do so.  Call this before an operation that makes the thread an
   owner.  */
int gshm_learn_self (void);

uint64_t gshm_find_self (uint32_t namespace);

/* This thread as an owner, with no flags, in a structure of NAMESPACE.  */
static inline uint64_t
gshm_self (uint32_t namespace)
{
  if (gshm_known_self.owner != 0 && gshm_known_self.namespace == namespace)
    return gshm_known_self.owner;
  return gshm_find_self (namespace);
}

/* Whether OWNER, in a structure of NAMESPACE, is known to be dead.  Its flags
   but for GSHM_FOREIGN mean nothing, nor does what is not among the bits KNOWN
   of its start.  An owner that has no id is none that ever lived.  */
int gshm_is_dead (uint64_t owner, uint64_t known, uint32_t namespace);

/* Set up, once in a process.  */
void gshm_owner_start (void);

#endif /* GSHM_OWNER_H */

/* SPDX-License-Identifier: BSD-3-Clause
   owner.h - the identity of a thread, and whether it is alive.

   An owner is 64 bits, so that one compare-and-swap changes it:

     bits 0 to 2    flags; GSHM_FOREIGN, and two for the structure that the
                    owner is in
     bits 3 to 24   the thread's id
     bits 25 to 63  the start, which distinguishes threads of the same id: if
                    bit 25 is set, the serial number that the kernel gave the
                    thread (the inode of its pidfd); else its start time in
                    clock ticks since boot; 0 if neither is known

   Thread ids are valid in one PID namespace.  A structure records the one in
   which it was initialized.  An owner from another namespace has FOREIGN set
   and random bits as its id and start, and counts as alive.  Start times are
   valid in the boot's time namespace; in another one they are unknown, and not
   compared.  */

#ifndef GSHM_OWNER_H
#define GSHM_OWNER_H

#include <stdint.h>

#include "core/tls.h"

#define GSHM_FOREIGN UINT64_C (2)
#define GSHM_OWNER_FLAGS UINT64_C (7)

/* The namespace of this process.  */
uint32_t gshm_namespace (void);

/* This thread as an owner, without flags, and its namespace; 0 until they are
   known, and again in the child of a fork.  */
extern GSHM_THREAD_LOCAL struct gshm_self
{
  uint64_t owner;
  uint64_t foreign; /* the owner in structures of other namespaces */
  uint32_t namespace;
} gshm_known_self;

/* Set gshm_known_self.  Return 0, or an errno if there are too few descriptors
   or too little memory.  Call this before an operation that makes the thread
   an owner.  */
int gshm_identify_self (void);

/* The same as gshm_self, if it is not known yet or NAMESPACE is another.  */
uint64_t gshm_self_elsewhere (uint32_t namespace);

/* This thread as an owner, without flags, in a structure of NAMESPACE.  */
static inline uint64_t
gshm_self (uint32_t namespace)
{
  if (gshm_known_self.owner != 0 && gshm_known_self.namespace == namespace)
    return gshm_known_self.owner;
  return gshm_self_elsewhere (namespace);
}

/* Whether OWNER, in a structure of NAMESPACE, is known to be dead.  Flags
   other than GSHM_FOREIGN are ignored, and so are those bits of its start that
   are not set in KNOWN.  An owner without an id is dead.  */
int gshm_is_dead (uint64_t owner, uint64_t known, uint32_t namespace);

/* Set up, once in a process.  */
void gshm_owner_start (void);

#endif /* GSHM_OWNER_H */

/* SPDX-License-Identifier: BSD-3-Clause place.h - what and where in a
   bytevector something is that threads share.  */

#ifndef GSHM_PLACE_H
#define GSHM_PLACE_H

#include <libguile.h>
#include <stddef.h>
#include <stdint.h>

#include "core/owner.h"

/* What a structure in shared memory begins with: "GSHM" on a little-endian
   machine, which kind it is of, and the version of its layout.  */
#define GSHM_FORMAT(kind, version)                      \
  (UINT64_C (0x4d485347) | (uint64_t) (kind) << 32      \
   | (uint64_t) (version) << 48)

enum gshm_kind
{
  GSHM_MUTEX = 1,
  GSHM_CONDITION,
  GSHM_SEMAPHORE,
  GSHM_BARRIER,
  GSHM_RWLOCK,
  GSHM_CHANNEL
};

/* The same as below, or an exception that says what is wrong.  */
void *gshm_find_place (const char *subr, SCM bytevector, SCM k, size_t size,
                       size_t alignment, int is_written);

/* The address of the SIZE bytes at offset K of BYTEVECTOR.  Both K and the
   address must be multiples of ALIGNMENT.  The memory stays for as long as the
   bytevector is known, also if it is unmapped meanwhile.  */
static inline void *
gshm_place (const char *subr, SCM bytevector, SCM k, size_t size,
            size_t alignment, int is_written)
{
  if (is_written ? SCM_MUTABLE_BYTEVECTOR_P (bytevector)
      : SCM_BYTEVECTOR_P (bytevector))
    if (SCM_I_INUMP (k) && SCM_I_INUM (k) >= 0)
      {
        size_t offset = (size_t) SCM_I_INUM (k);
        size_t length = SCM_BYTEVECTOR_LENGTH (bytevector);
        signed char *address = SCM_BYTEVECTOR_CONTENTS (bytevector) + offset;

        if (offset <= length && length - offset >= size
            && ((offset | (uintptr_t) address) & (alignment - 1)) == 0)
          return address;
      }
  return gshm_find_place (subr, bytevector, k, size, alignment, is_written);
}

/* The same as below, where it does not know yet.  */
void gshm_find_out_self (const char *subr);

/* Make sure that this thread knows what it is as an owner, or raise an
   exception in the name of SUBR.  */
static inline void
gshm_require_self (const char *subr)
{
  if (gshm_known_self.owner == 0)
    gshm_find_out_self (subr);
}

#endif /* GSHM_PLACE_H */

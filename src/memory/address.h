/* SPDX-License-Identifier: BSD-3-Clause
   address.h - addresses of offsets in bytevectors, and errors about them.  */

#ifndef GSHM_ADDRESS_H
#define GSHM_ADDRESS_H

#include <libguile.h>
#include <stddef.h>
#include <stdint.h>

#include "core/owner.h"

/* Raise system-error with ERR about the WHAT, such as "mutex", at offset K of
   BYTEVECTOR.  HINT tells the user why.  */
SCM_NORETURN void gshm_error_at (const char *subr, int err, const char *what,
                                 SCM bytevector, SCM k, const char *hint);

/* Raise out-of-range: the memory at offset K was unmapped.  */
SCM_NORETURN void gshm_unmapped_error (const char *subr, SCM k);

/* Raise &shm-format-error: there is no WHAT at offset K of BYTEVECTOR.  */
SCM_NORETURN void gshm_format_error (const char *subr, const char *what,
                                     SCM bytevector, SCM k);

/* Raise &shm-closed: nothing can be sent to the WHAT in BYTEVECTOR.  */
SCM_NORETURN void gshm_closed_error (const char *subr, const char *what,
                                     SCM bytevector);

/* The slow path of gshm_address, which raises the exceptions.  */
void *gshm_find_address (const char *subr, SCM bytevector, SCM k, size_t size,
                         size_t alignment, int is_written);

/* The address of the SIZE bytes at offset K of BYTEVECTOR.  Raise an exception
   if they are not within it, or if K or the address is not a multiple of
   ALIGNMENT.  The address stays valid while the bytevector is reachable, also
   if it is unmapped meanwhile.  */
static inline void *
gshm_address (const char *subr, SCM bytevector, SCM k, size_t size,
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
  return gshm_find_address (subr, bytevector, k, size, alignment, is_written);
}

/* The slow path of gshm_require_self.  */
void gshm_identify_self_in (const char *subr);

/* Identify this thread as an owner, or raise an exception in the name of
   SUBR.  */
static inline void
gshm_require_self (const char *subr)
{
  if (gshm_known_self.owner == 0)
    gshm_identify_self_in (subr);
}

#endif /* GSHM_ADDRESS_H */

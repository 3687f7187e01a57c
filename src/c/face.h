/* SPDX-License-Identifier: BSD-3-Clause
   face.h - what the C interface shares: checking arguments and converting
   results.  */

#ifndef GSHM_FACE_H
#define GSHM_FACE_H

#include <errno.h>
#include <stdint.h>

#include "c/gshm.h"
#include "core/format.h"
#include "core/owner.h"
#include "core/result.h"

/* RESULT as 0 or a negative errno.  */
int gshm_to_errno (enum gshm_result result);

/* Find out the identity of this thread, which did not know it.  */
int gshm_identify_late (void);

/* Before an operation that may make this thread an owner.  Return 0 or a
   negative errno.  */
static inline int
gshm_require_self (void)
{
  return gshm_known_self.owner != 0 ? 0 : gshm_identify_late ();
}

/* Whether a structure can be at ADDRESS.  */
static inline int
gshm_is_aligned (const void *address)
{
  return address != NULL && (uintptr_t) address % 8 == 0;
}

/* Whether there is a structure of FORMAT at ADDRESS.  */
static inline int
gshm_is_there (const void *address, uint64_t format)
{
  return gshm_is_aligned (address)
         && gshm_has_format ((const gshm_long_word *) address, format);
}

#endif /* GSHM_FACE_H */

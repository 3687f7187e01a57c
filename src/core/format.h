/* SPDX-License-Identifier: BSD-3-Clause
   format.h - what a structure in shared memory begins with.  */

#ifndef GSHM_FORMAT_H
#define GSHM_FORMAT_H

#include <stdint.h>

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

#endif /* GSHM_FORMAT_H */

/* SPDX-License-Identifier: BSD-3-Clause
   format.h - what a structure in shared memory begins with.  */

#ifndef GSHM_FORMAT_H
#define GSHM_FORMAT_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/futex.h"

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

/* The layout of the locks.  */
#define GSHM_SYNC_FORMAT(kind) GSHM_FORMAT (kind, 1)

/* Whether FORMAT is what a structure of KIND begins with.  Acquire: what
   initialization stored before it is seen.  */
static inline int
gshm_has_format (const gshm_long_word *format, uint64_t expected)
{
  return atomic_load_explicit (format, memory_order_acquire) == expected;
}

/* Whether the SIZE bytes at FORMAT can be accessed and begin with it.  For
   cancelling: it does not fault.  */
static inline int
gshm_still_has_format (gshm_long_word *format, uint64_t expected, size_t size)
{
  return gshm_is_there ((gshm_word *) format, size)
         && atomic_load (format) == expected;
}

/* Initialization is over.  Release: all of it is seen by a thread that sees
   the format.  */
static inline void
gshm_set_format (gshm_long_word *format, uint64_t value)
{
  atomic_store_explicit (format, value, memory_order_release);
}

#endif /* GSHM_FORMAT_H */

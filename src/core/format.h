/* SPDX-License-Identifier: BSD-3-Clause
   format.h - the first word of a structure in shared memory.  */

#ifndef GSHM_FORMAT_H
#define GSHM_FORMAT_H

#include <stdatomic.h>
#include <stdint.h>

#include "core/futex.h"

/* The first word of a structure in shared memory: "GSHM" on a little-endian
   machine, its kind, and the version of its layout.  */
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
  GSHM_CHANNEL,
  GSHM_LAYOUT,
  GSHM_BROADCAST
};

/* The format of the locks, whose layout has version 1.  */
#define GSHM_SYNC_FORMAT(kind) GSHM_FORMAT (kind, 1)

/* Whether FORMAT is EXPECTED.  Acquire: this thread sees what initialization
   stored before.  */
static inline int
gshm_has_format (const gshm_long_word *format, uint64_t expected)
{
  return atomic_load_explicit (format, memory_order_acquire) == expected;
}

/* Whether the SIZE bytes at FORMAT are accessible and FORMAT is EXPECTED.
   This does not fault: for cancelling.  */
static inline int
gshm_still_has_format (gshm_long_word *format, uint64_t expected, size_t size)
{
  return gshm_is_accessible ((gshm_word *) format, size)
         && atomic_load (format) == expected;
}

/* End initialization.  Release: a thread that sees FORMAT sees all that was
   stored before.  */
static inline void
gshm_set_format (gshm_long_word *format, uint64_t value)
{
  atomic_store_explicit (format, value, memory_order_release);
}

#endif /* GSHM_FORMAT_H */

/* SPDX-License-Identifier: BSD-3-Clause
   patch.h - private memory in place of pages that cannot be accessed.  */

#ifndef GSHM_PATCH_H
#define GSHM_PATCH_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/registry.h"

#if defined HAVE_MREMAP && defined HAVE_PROCESS_VM_READV \
  && defined HAVE_STRUCT_SCM_THREAD_PENDING_ASYNCS
# define GSHM_CAN_PATCH 1
#else
# define GSHM_CAN_PATCH 0
#endif

/* Drop all patches of MAPPING.  If it IS_UNMAPPED, its range shows zeros
   afterwards; else the caller unmaps the range.  */
void gshm_patch_forget (const struct gshm_mapping *mapping, int is_unmapped);

#if GSHM_CAN_PATCH

/* Set up, once in a process.  Return whether the system lets patches work.  */
int gshm_patch_start (void);

/* Why a page cannot be accessed.  */
enum gshm_fault_kind
{
  GSHM_NO_FAULT,
  GSHM_LOST,
  GSHM_READ_ONLY
};

/* The next patch is the first one of a fault.  */
void gshm_patch_begin (void);

/* Have this thread's access to ADDRESS, which faulted in a mapping of which
   MAPPING is a copy, succeed in private memory, or be tried again.  Return 0
   if it cannot.  All signals are blocked.  */
int gshm_patch (const struct gshm_mapping *mapping, enum gshm_fault_kind kind,
                char *address);

/* Drop the patches of this thread: their mappings show the objects again.
   All signals are blocked.  */
void gshm_patch_undo (void);

/* In the child of a fork: drop the patches of other threads.  */
void gshm_patch_reset (void);

#endif /* GSHM_CAN_PATCH */

#endif /* GSHM_PATCH_H */

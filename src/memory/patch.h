/* SPDX-License-Identifier: BSD-3-Clause
   patch.h - private memory in place of inaccessible pages.  */

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

/* Remove all patches of MAPPING.  If it IS_UNMAPPED, put zeros in their place;
   else the caller unmaps the range.  */
void gshm_patch_forget (const struct gshm_mapping *mapping, int is_unmapped);

#if GSHM_CAN_PATCH

/* Set up, once in a process.  Return whether the system supports patches.  */
int gshm_patch_start (void);

/* Why a page is inaccessible.  */
enum gshm_fault_kind
{
  GSHM_NO_FAULT,
  GSHM_LOST,
  GSHM_READ_ONLY
};

/* The next patch is the first one of a fault.  */
void gshm_patch_begin (void);

/* Patch memory so that this thread's access to ADDRESS, which faulted,
   succeeds when it is tried again.  MAPPING is a copy.  Return 0 if that
   fails.  All signals are blocked.  */
int gshm_patch (const struct gshm_mapping *mapping, enum gshm_fault_kind kind,
                char *address);

/* Remove the patches of this thread.  All signals are blocked.  */
void gshm_patch_undo (void);

/* In the child of a fork: remove the patches of other threads.  */
void gshm_patch_reset (void);

#endif /* GSHM_CAN_PATCH */

#endif /* GSHM_PATCH_H */

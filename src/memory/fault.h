/* SPDX-License-Identifier: BSD-3-Clause
   fault.h - an inaccessible page becomes an exception.  */

#ifndef GSHM_FAULT_H
#define GSHM_FAULT_H

/* Install the guard, unless it is disabled or was installed before.  */
void gshm_fault_install (void);

/* Whether the guard is enabled, so that a store into memory that was unmapped
   makes that memory writable.  */
int gshm_fault_is_guarded (void);

/* Whether this thread has a fault that it has not raised yet.  */
int gshm_fault_is_pending (void);

/* If so, raise it; or clear it without that.  */
void gshm_fault_raise (void);
void gshm_fault_clear (void);

#endif /* GSHM_FAULT_H */

/* SPDX-License-Identifier: BSD-3-Clause
   fault.h - faults become exceptions.  */

#ifndef GSHM_FAULT_H
#define GSHM_FAULT_H

/* Install the guard of faults, unless the user does not want that, or it was
   installed before.  */
void gshm_fault_install (void);

/* Whether they are, so that a store into the memory of a mapping that was
   unmapped makes that memory writable.  */
int gshm_fault_is_guarded (void);

/* Whether this thread has had a fault that it has not raised yet.  */
int gshm_fault_is_pending (void);

/* If so, raise it.  */
void gshm_fault_raise (void);

#endif /* GSHM_FAULT_H */

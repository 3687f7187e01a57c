/* SPDX-License-Identifier: BSD-3-Clause
   init.h - the functions of each component that libguile-shm.c calls.

   A `start' function sets up a component once in a process; an `init' function
   defines and exports its primitives in the current module.  */

#ifndef GSHM_INIT_H
#define GSHM_INIT_H

#include <libguile.h>

/* The entry.  */
void gshm_init (void);

/* base */
void gshm_guile_start (void);
void gshm_error_init (void);

/* memory */
void gshm_object_init (void);
void gshm_create_init (void);
void gshm_lease_init (void);
void gshm_size_init (void);
void gshm_seal_init (void);
void gshm_pass_init (void);
void gshm_mapping_start (void);
void gshm_map_init (void);
void gshm_view_start (void);
void gshm_view_init (void);
void gshm_fault_start (void);
void gshm_fault_init (void);
void gshm_address_init (void);

/* bindings */
void gshm_wait_init (void);
void gshm_atomic_init (void);
void gshm_bytevector_start (void);
void gshm_hold_init (void);
void gshm_sync_init (void);
void gshm_named_semaphore_start (void);
void gshm_named_semaphore_init (void);
void gshm_channel_init (void);
void gshm_broadcast_init (void);
void gshm_select_init (void);
void gshm_ready_init (void);
void gshm_encode_start (void);
void gshm_datum_init (void);
void gshm_channel_port_start (void);
void gshm_channel_port_init (void);
void gshm_chicken_init (void);

#endif /* GSHM_INIT_H */

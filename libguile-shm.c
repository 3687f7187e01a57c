/* SPDX-License-Identifier: BSD-3-Clause
   libguile-shm.c - the entry of the extension.

   There are four layers, of which each calls only those below it:

     src/bindings/  the primitives that users call: atomic, sync (locks),
                    channel, broadcast, datum (with encode and decode),
                    source: what both are received from; select, ready;
                    named-semaphore, chicken; waiting has the hooks of a
                    wait
     src/memory/    name, object, create, lease, size, seal, pass: objects;
                    map, view, mapping, registry: mappings; fault, async,
                    patch, pages: inaccessible pages; address: offsets in
                    bytevectors
     src/base/      guile and error: helpers for code that uses libguile
     src/core/      code without libguile: futex, wait, owner, lock;
                    mutex, condition, semaphore, barrier, rwlock;
                    ring, channel; feed, broadcast, subscriber; select,
                    watch

   HACKING.md lists the modules, tests and chapters of each component.  */

#include <config.h>

#include <pthread.h>

#include "core/owner.h"
#include "init.h"
#include "memory/pages.h"
#include "memory/registry.h"

static void
start (void)
{
  gshm_guile_start ();
  gshm_owner_start ();
  gshm_registry_start ();
  gshm_pages_start ();
  gshm_fault_start ();
  gshm_mapping_start ();
  gshm_view_start ();
  gshm_named_semaphore_start ();
  gshm_channel_port_start ();
  gshm_bytevector_start ();
  gshm_encode_start ();
}

/* With asyncs blocked: an exception would leave pthread_once.  */
static void *
start_once (void *data)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, start);
  return data;
}

/* Called by (load-extension "libguile-shm" "gshm_init") in module
   (posix-shm primitives), which is the current module here.  */
__attribute__ ((visibility ("default")))
void
gshm_init (void)
{
  scm_c_call_with_blocked_asyncs (start_once, NULL);
  gshm_error_init ();
  gshm_object_init ();
  gshm_create_init ();
  gshm_lease_init ();
  gshm_size_init ();
  gshm_seal_init ();
  gshm_pass_init ();
  gshm_fault_init ();
  gshm_map_init ();
  gshm_view_init ();
  gshm_address_init ();
  gshm_wait_init ();
  gshm_atomic_init ();
  gshm_hold_init ();
  gshm_sync_init ();
  gshm_named_semaphore_init ();
  gshm_channel_init ();
  gshm_broadcast_init ();
  gshm_select_init ();
  gshm_ready_init ();
  gshm_channel_port_init ();
  gshm_datum_init ();
  gshm_chicken_init ();
}

/* SPDX-License-Identifier: BSD-3-Clause
   libguile-shm.c - the entry of the extension.

   Four layers, of which each calls only those below it:

     src/bindings/  what users call: atomic, sync (locks), channel,
                    named-semaphore, chicken; waiting is Guile's part in a wait
     src/memory/    name, object, create, lease, size, seal, pass: objects; map,
                    view, mapping, registry: mappings; fault, async, patch, pages:
                    pages that cannot be accessed; place: offsets in bytevectors
     src/base/      guile and error: what all that knows Guile shares
     src/core/      what knows nothing of Guile: futex, wait, owner, lock;
                    mutex, condition, semaphore, barrier, rwlock;
                    ring, channel

   HACKING.md has the modules, tests and chapters that belong to each.  */

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
}

/* With asyncs blocked: an exception would leave the once-only call begun.  */
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
  gshm_place_init ();
  gshm_wait_init ();
  gshm_atomic_init ();
  gshm_sync_init ();
  gshm_named_semaphore_init ();
  gshm_channel_init ();
  gshm_channel_port_init ();
  gshm_chicken_init ();
}

/* SPDX-License-Identifier: BSD-3-Clause
   libguile-shm.c - the front door: what is where, and the one entry.

   The extension is a house of rooms, each a file in src/, a module in
   module/posix-shm/, a test in tests/ and a chapter in doc/:

     object    names and descriptors of shared memory objects
     mapping   bytevectors on shared memory
     fault     an inaccessible page becomes an exception; patch.c is what
               stands in for it meanwhile
     atomic    atomic operations, wait and notify
     sync      locks and their like in shared memory
     semaphore the system's named semaphores
     channel   messages between processes; ring.c is what they are in
     chicken   the file operations of the CHICKEN egg's programs

   Beside them src/error.c raises what every room raises, src/place.h says
   where in a bytevector something is, src/wait.c waits, src/lock.c has words
   that name who holds something, src/owner.c knows who lives, and
   src/registry.c finds mappings by their addresses.  Calls run down only:
   channel -> ring -> lock -> wait, channel -> mapping, semaphore -> mapping ->
   fault -> patch -> registry, mapping -> object, chicken -> object; atomic and sync
   know of mappings only by what waits and raises.  */

#include <config.h>

#include <pthread.h>

#include "core/owner.h"
#include "init.h"
#include "memory/registry.h"

static void
start (void)
{
  gshm_guile_start ();
  gshm_owner_start ();
  gshm_registry_start ();
  gshm_fault_start ();
  gshm_mapping_start ();
  gshm_view_start ();
  gshm_named_semaphore_start ();
  gshm_channel_start ();
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
  gshm_chicken_init ();
}

/* SPDX-License-Identifier: BSD-3-Clause
   iceoryx.c - messages that iceoryx lends, which are not copied: a peer of
   bench/run.  It starts iceoryx's daemon, and ends it.  */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iceoryx_binding_c/log.h>
#include <iceoryx_binding_c/publisher.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/subscriber.h>

#include "support.h"
#include "transport.h"

/* The largest queue.  */
#define MAX_DEPTH 256

static const char *const events[] = { "there", "back" };
static uint64_t capacity;
static char instance[40];

static iox_pub_storage_t publisher_storage;
static iox_sub_storage_t subscriber_storage;
static iox_pub_t publisher;
static iox_sub_t subscriber;

static int
open_ways (size_t size, size_t depth)
{
  (void) size;
  capacity = depth < MAX_DEPTH ? depth : MAX_DEPTH;
  snprintf (instance, sizeof instance, "%ld", (long) getpid ());
  return 1;
}

static void
connect_ways (int is_child)
{
  iox_pub_options_t pub_options;
  iox_sub_options_t sub_options;
  char own_name[80];

  snprintf (own_name, sizeof own_name, "bench-%s-%d", instance, is_child);
  iox_set_loglevel (Iceoryx_LogLevel_Off);
  iox_runtime_init (own_name);
  iox_pub_options_init (&pub_options);
  pub_options.subscriberTooSlowPolicy
    = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
  iox_sub_options_init (&sub_options);
  sub_options.queueCapacity = capacity;
  sub_options.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
  subscriber = iox_sub_init (&subscriber_storage, "bench", instance,
                             events[is_child ? BACK : THERE], &sub_options);
  publisher = iox_pub_init (&publisher_storage, "bench", instance,
                            events[is_child ? THERE : BACK], &pub_options);
  while (!iox_pub_has_subscribers (publisher)
         || iox_sub_get_subscription_state (subscriber)
              != SubscribeState_SUBSCRIBED)
    pause_for (1000000);
}

static void
lend (enum way way, const char *bytes, size_t size)
{
  void *chunk;

  (void) way;
  while (iox_pub_loan_chunk (publisher, &chunk, (uint32_t) size)
         != AllocationResult_SUCCESS)
    sched_yield ();
  ((char *) chunk)[0] = bytes[0];
  ((char *) chunk)[size - 1] = bytes[size - 1];
  iox_pub_publish_chunk (publisher, chunk);
}

static void
look (enum way way, char *bytes, size_t size)
{
  const void *chunk;

  (void) way;
  while (iox_sub_take_chunk (subscriber, &chunk)
         != ChunkReceiveResult_SUCCESS)
    ;
  bytes[0] = ((const char *) chunk)[0];
  bytes[size - 1] = ((const char *) chunk)[size - 1];
  iox_sub_release_chunk (subscriber, chunk);
}

static void
close_ways (void)
{
}

static pid_t daemon_process;

/* It does not always unlink these.  */
static const char *const segments[] = { "/iceoryx_mgmt", "/root" };

/* If they exist, a daemon of another program may be running.  */
static void
start_daemon (void)
{
  for (int i = 0; i < 2; i++)
    if (shm_open (segments[i], O_RDONLY, 0) >= 0)
      exit (77);
  daemon_process = fork ();
  if (daemon_process == 0)
    {
      prctl (PR_SET_PDEATHSIG, SIGTERM);
      freopen ("/dev/null", "w", stdout);
      freopen ("/dev/null", "w", stderr);
      execlp ("iox-roudi", "iox-roudi", "-m", "off", "-l", "off",
              (char *) NULL);
      _exit (77);
    }
  /* If it is not installed, it ends at once.  */
  pause_for (500000000);
  if (waitpid (daemon_process, NULL, WNOHANG) != 0)
    exit (77);
}

static void
end_daemon (void)
{
  kill (daemon_process, SIGTERM);
  waitpid (daemon_process, NULL, 0);
  for (int i = 0; i < 2; i++)
    shm_unlink (segments[i]);
}

int
main (void)
{
  static const struct transport transport
    = { .version = "iceoryx 2", .is_in_place = 1, .open = open_ways,
        .connect = connect_ways, .send = lend, .receive = look,
        .close = close_ways };

  start_daemon ();
  int status = serve_transport (&transport);
  end_daemon ();
  return status;
}

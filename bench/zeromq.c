/* SPDX-License-Identifier: BSD-3-Clause
   zeromq.c - ZeroMQ's pairs over ipc: a peer of bench/run.  */

#include <stdio.h>
#include <zmq.h>

#include "support.h"
#include "transport.h"

static void *context, *sockets[2];
static char endpoints[2][100];
static int watermark;

static int
open_sockets (size_t size, size_t depth)
{
  (void) size;
  watermark = (int) depth;
  /* Its threads do not survive a fork: each process has a context of its
     own.  */
  for (int way = THERE; way <= BACK; way++)
    snprintf (endpoints[way], sizeof endpoints[way], "ipc:///dev/shm%s-%d",
              name, way);
  return 1;
}

static void
connect_sockets (int is_child)
{
  context = zmq_ctx_new ();
  for (int way = THERE; way <= BACK; way++)
    {
      sockets[way] = zmq_socket (context, ZMQ_PAIR);
      zmq_setsockopt (sockets[way], ZMQ_SNDHWM, &watermark, sizeof watermark);
      zmq_setsockopt (sockets[way], ZMQ_RCVHWM, &watermark, sizeof watermark);
      check ((is_child ? zmq_connect (sockets[way], endpoints[way])
                       : zmq_bind (sockets[way], endpoints[way])) == 0,
             "zmq_bind");
    }
}

static void
send_by_socket (enum way way, const char *bytes, size_t size)
{
  check (zmq_send (sockets[way], bytes, size, 0) == (int) size, "zmq_send");
}

static void
receive_by_socket (enum way way, char *bytes, size_t size)
{
  check (zmq_recv (sockets[way], bytes, size, 0) == (int) size, "zmq_recv");
}

static void
close_sockets (void)
{
  zmq_close (sockets[THERE]);
  zmq_close (sockets[BACK]);
  zmq_ctx_term (context);
  for (int way = THERE; way <= BACK; way++)
    remove (endpoints[way] + sizeof "ipc://" - 1);
}

int
main (void)
{
  static char version[40];
  static const struct transport transport
    = { .version = version, .open = open_sockets, .connect = connect_sockets,
        .send = send_by_socket, .receive = receive_by_socket,
        .close = close_sockets };
  int major, minor, patch;

  zmq_version (&major, &minor, &patch);
  snprintf (version, sizeof version, "ZeroMQ %d.%d.%d", major, minor, patch);
  return serve_transport (&transport);
}

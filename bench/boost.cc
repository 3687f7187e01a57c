/* SPDX-License-Identifier: BSD-3-Clause
   boost.cc - Boost.Interprocess's message_queue: a peer of bench/run.  */

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>
#include <string>

#include "support.h"
#include "transport.h"

namespace ipc = boost::interprocess;

static ipc::message_queue *queues[2];

static int
open_queues (size_t size, size_t depth)
{
  for (int way = THERE; way <= BACK; way++)
    {
      std::string queue = std::string (name + 1) + (way == THERE ? "-0" : "-1");
      queues[way]
        = new ipc::message_queue (ipc::create_only, queue.c_str (), depth, size);
      ipc::message_queue::remove (queue.c_str ());
    }
  return 1;
}

static void
send_to_queue (enum way way, const char *bytes, size_t size)
{
  queues[way]->send (bytes, size, 0);
}

static void
receive_from_queue (enum way way, char *bytes, size_t size)
{
  ipc::message_queue::size_type received;
  unsigned priority;

  queues[way]->receive (bytes, size, received, priority);
  check (received == size, "receive");
}

static void
close_queues (void)
{
  delete queues[THERE];
  delete queues[BACK];
}

int
main ()
{
  static const struct transport transport
    = { "Boost " BOOST_LIB_VERSION, 0, open_queues, nullptr, send_to_queue,
        receive_from_queue, close_queues };

  return serve_transport (&transport);
}

/* SPDX-License-Identifier: BSD-3-Clause
   pipes.c - what the system itself has for messages: a peer of bench/run.
   Usage: pipes [mq]   (POSIX message queues instead of pipes)  */

#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support.h"
#include "transport.h"


/* Pipes.  */

static int pipes[2][2];

static int
open_pipes (size_t size, size_t depth)
{
  (void) size;
  (void) depth;
  for (int way = THERE; way <= BACK; way++)
    check (pipe (pipes[way]) == 0, "pipe");
  return 1;
}

static void
write_all (enum way way, const char *bytes, size_t size)
{
  for (size_t done = 0; done < size;)
    {
      ssize_t n = write (pipes[way][1], bytes + done, size - done);
      check (n > 0, "write");
      done += (size_t) n;
    }
}

static void
read_all (enum way way, char *bytes, size_t size)
{
  for (size_t done = 0; done < size;)
    {
      ssize_t n = read (pipes[way][0], bytes + done, size - done);
      check (n > 0, "read");
      done += (size_t) n;
    }
}

static void
close_pipes (void)
{
  for (int way = THERE; way <= BACK; way++)
    {
      close (pipes[way][0]);
      close (pipes[way][1]);
    }
}


/* POSIX message queues, as large as the system lets a user make them.  */

#define MAX_MESSAGES 10
#define MAX_SIZE 8192

static mqd_t queues[2];

static int
open_queues (size_t size, size_t depth)
{
  struct mq_attr attributes
    = { .mq_maxmsg = depth < MAX_MESSAGES ? (long) depth : MAX_MESSAGES,
        .mq_msgsize = (long) size };

  if (size > MAX_SIZE)
    return 0;
  for (int way = THERE; way <= BACK; way++)
    {
      queues[way]
        = mq_open (name, O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
      check (queues[way] != (mqd_t) -1, "mq_open");
      mq_unlink (name);
    }
  return 1;
}

static void
send_to_queue (enum way way, const char *bytes, size_t size)
{
  check (mq_send (queues[way], bytes, size, 0) == 0, "mq_send");
}

static void
receive_from_queue (enum way way, char *bytes, size_t size)
{
  check (mq_receive (queues[way], bytes, size, NULL) == (ssize_t) size,
         "mq_receive");
}

static void
close_queues (void)
{
  mq_close (queues[THERE]);
  mq_close (queues[BACK]);
}

int
main (int argc, char **argv)
{
  static const struct transport by_pipe
    = { .version = "pipe(2)", .open = open_pipes, .send = write_all,
        .receive = read_all, .close = close_pipes };
  static const struct transport by_queue
    = { .version = "mq_overview(7)", .open = open_queues,
        .send = send_to_queue, .receive = receive_from_queue,
        .close = close_queues };

  return serve_transport (argc > 1 && strcmp (argv[1], "mq") == 0 ? &by_queue
                                                                  : &by_pipe);
}

/* SPDX-License-Identifier: BSD-3-Clause
   transport.h - something that carries messages between two processes, for
   the peers of bench/run that are not in shared memory of our own.  */

#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Ways: there, from the child to the parent, and back.  */
enum way
{
  THERE,
  BACK
};

/* All but VERSION may be called again and again.  They exit on errors.  */
struct transport
{
  const char *version;

  /* It copies only the ends of a message.  Then each row has a process of its
     own, and the processes are connected once.  */
  int is_in_place;

  /* Before the fork: prepare for messages of SIZE bytes, DEPTH of them on
     their way.  Return 0 if that is not possible.  */
  int (*open) (size_t size, size_t depth);

  /* After the fork, in each process; NULL if there is nothing to do.  */
  void (*connect) (int is_child);

  void (*send) (enum way way, const char *bytes, size_t size);
  void (*receive) (enum way way, char *bytes, size_t size);

  /* In the parent.  */
  void (*close) (void);
};

/* Serve as a peer by TRANSPORT.  Return the status of the process.  */
int serve_transport (const struct transport *transport);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_TRANSPORT_H */

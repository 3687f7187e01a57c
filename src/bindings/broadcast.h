/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.h - the steps of a procedure that uses a broadcast.  */

#ifndef GSHM_BINDINGS_BROADCAST_H
#define GSHM_BINDINGS_BROADCAST_H

#include <libguile.h>
#include <stddef.h>

#include "core/broadcast.h"
#include "core/subscriber.h"

/* What is sent, with the arguments of the procedure.  */
struct gshm_publication
{
  struct gshm_sending sending;
  const char *subr;
  SCM bytevector;
};

/* Begin to send to the broadcast in BYTEVECTOR, in the name of SUBR, or raise
   an exception.  */
void gshm_publication_begin (struct gshm_publication *publication,
                             const char *subr, SCM bytevector);

/* Wait for the lock to send LENGTH bytes.  Return DONE, with the lock owned,
   or TIMED_OUT; or raise an exception.  */
enum gshm_result gshm_publication_wait (struct gshm_publication *publication,
                                        size_t length, SCM timeout);

/* With the lock owned: publish the message and unlock; or raise an
   exception.  */
void gshm_publication_end (struct gshm_publication *publication);

/* What is received, with the arguments of the procedure.  */
struct gshm_reception
{
  struct gshm_reading reading; /* first, for the hook `prepare' */
  const char *subr;
  SCM bytevector;
  void *data; /* of the hook */
};

/* Receive from the broadcast in BYTEVECTOR, in the name of SUBR, with the
   state of the subscriber and the hook, into the memory from that.  Return
   DONE, TIMED_OUT or CHANNEL_CLOSED; or raise an exception.  */
enum gshm_result gshm_receive_broadcast (
  struct gshm_reception *reception, const char *subr, SCM bytevector,
  SCM state, SCM timeout,
  void *(*prepare) (struct gshm_reading *reading, uint64_t length),
  void *data);

#endif /* GSHM_BINDINGS_BROADCAST_H */

/* SPDX-License-Identifier: BSD-3-Clause
   channel.h - the steps of a procedure that sends or receives.  */

#ifndef GSHM_BINDINGS_CHANNEL_H
#define GSHM_BINDINGS_CHANNEL_H

#include <libguile.h>
#include <stddef.h>

#include "core/channel.h"

/* A transfer, with the arguments of the procedure.  */
struct gshm_operation
{
  struct gshm_transfer transfer; /* first, for the hook `prepare' */
  const char *subr;
  SCM bytevector;
  void *data; /* of the hook */
};

/* Begin a transfer with the channel in BYTEVECTOR, in the name of SUBR, or
   raise an exception.  */
void gshm_operation_begin (struct gshm_operation *operation, const char *subr,
                           SCM bytevector, int is_sender);

/* Wait for space for a message of LENGTH bytes.  Return DONE, with the lock
   owned, or TIMED_OUT; or raise an exception.  */
enum gshm_result gshm_wait_for_space (struct gshm_operation *operation,
                                      size_t length, SCM timeout);

/* Wait for a message.  Return DONE, with the lock owned, TIMED_OUT or
   CHANNEL_CLOSED; or raise an exception.  */
enum gshm_result gshm_wait_for_message (struct gshm_operation *operation,
                                        SCM timeout);

/* The value of a receiver without a message.  */
SCM gshm_no_message (enum gshm_result result);

/* With the lock owned: publish, or release, the message and unlock; or raise
   an exception.  */
void gshm_end_sending (struct gshm_operation *operation);
void gshm_end_receiving (struct gshm_operation *operation);

#endif /* GSHM_BINDINGS_CHANNEL_H */

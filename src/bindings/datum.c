/* SPDX-License-Identifier: BSD-3-Clause
   datum.c - Scheme data as messages of a channel or a broadcast.

   A datum is encoded into a buffer before this thread waits for space, and
   decoded from one after it has unlocked: it owns a lock only while it copies
   bytes.  */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/broadcast.h"
#include "bindings/cbor.h"
#include "bindings/channel.h"
#include "init.h"
#include "memory/address.h"

#define SEND "shm-channel-send-datum!"
#define RECEIVE "shm-channel-receive-datum!"
#define BROADCAST "shm-broadcast-send-datum!"
#define RECEIVE_BROADCAST "shm-broadcast-receive-datum!"

static const char channel_kind[] = "channel";
static const char broadcast_kind[] = "broadcast";

static void
keep_buffer (void *buffer)
{
  gshm_keep_buffer (buffer);
}

SCM_NORETURN static void
raise_no_memory (const char *subr, const char *kind, SCM bytevector)
{
  gshm_error_at (subr, ENOMEM, kind, bytevector, SCM_INUM0,
                 "there is too little memory for the datum");
}

/* Encode DATUM into BUFFER, for the structure of KIND in BYTEVECTOR, or raise
   why that is not possible.  */
static void
encode (const char *subr, const char *kind, SCM bytevector, SCM datum,
        struct gshm_buffer *buffer)
{
  SCM culprit;

  switch (gshm_encode (datum, buffer, &culprit))
    {
    case GSHM_ENCODED:
      return;
    case GSHM_NOT_DATA:
      gshm_wrong_type (subr, 2, culprit, "data that CBOR can represent");
    case GSHM_TOO_DEEP:
      scm_error (scm_arg_type_key, subr,
                 "Wrong type argument in position 2: lists and vectors are "
                 "nested more than ~A deep, or contain themselves",
                 scm_list_1 (scm_from_int (GSHM_MAX_DEPTH)), SCM_BOOL_F);
    case GSHM_CHANGED:
      scm_misc_error (subr, "Another thread changed the datum", SCM_EOL);
    case GSHM_NO_MEMORY:
      raise_no_memory (subr, kind, bytevector);
    }
}

/* (CHANNEL DATUM TIMEOUT) -> boolean.  */
static SCM
send_datum (SCM channel, SCM datum, SCM timeout)
{
  struct gshm_operation operation;

  gshm_operation_begin (&operation, SEND, channel, 1);
  struct gshm_transfer *transfer = &operation.transfer;
  struct gshm_buffer buffer
    = gshm_take_buffer ((size_t) transfer->ring.size - GSHM_RECORD_HEADER);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (keep_buffer, &buffer, SCM_F_WIND_EXPLICITLY);
  encode (SEND, channel_kind, channel, datum, &buffer);
  enum gshm_result result
    = gshm_wait_for_space (&operation, buffer.length, timeout);
  if (result == GSHM_DONE)
    {
      memcpy (transfer->bytes, buffer.bytes, buffer.length);
      gshm_end_sending (&operation);
    }
  scm_dynwind_end ();
  scm_remember_upto_here_1 (channel);
  return scm_from_bool (result == GSHM_DONE);
}

/* Before this thread locks.  If there is too little memory, the message may
   still be smaller.  */
static void
prepare_buffer (struct gshm_transfer *transfer, uint64_t length)
{
  gshm_grow_buffer (((struct gshm_operation *) transfer)->data,
                    (size_t) length);
}

/* Copy the message to BUFFER, and unlock.  */
static void
receive_bytes (struct gshm_operation *operation, struct gshm_buffer *buffer)
{
  const struct gshm_transfer *transfer = &operation->transfer;

  if (!gshm_grow_buffer (buffer, (size_t) transfer->length))
    {
      gshm_transfer_abort (&operation->transfer);
      raise_no_memory (RECEIVE, channel_kind, operation->bytevector);
    }
  buffer->length = (size_t) transfer->length;
  if (buffer->length > 0)
    memcpy (buffer->bytes, transfer->bytes, buffer->length);
  gshm_end_receiving (operation);
}

/* The value of a receiver for RESULT: a pair of DATUM and any object, #f or
   the end-of-file object.  Call RAISE, which does not return, with the number
   of bytes, SIZE, and ERROR if DATUM is SCM_UNDEFINED.  */
static SCM
value_of (enum gshm_result result, SCM datum, size_t size,
          const struct gshm_decoding_error *error, SCM raise)
{
  if (result != GSHM_DONE)
    return gshm_no_message (result);
  if (SCM_UNBNDP (datum))
    {
      SCM reason = scm_from_utf8_string (error->message);
      if (error->has_number)
        reason = scm_simple_format (
          SCM_BOOL_F, reason, scm_list_1 (scm_from_uint64 (error->number)));
      scm_call_3 (raise, scm_from_size_t (size), reason,
                  scm_from_size_t (error->offset));
    }
  return scm_cons (datum, SCM_EOL);
}

/* (CHANNEL TIMEOUT RAISE) -> as value_of.  */
static SCM
receive_datum (SCM channel, SCM timeout, SCM raise)
{
  struct gshm_operation operation;
  struct gshm_decoding_error error;
  struct gshm_buffer buffer = gshm_take_buffer (SIZE_MAX);

  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (keep_buffer, &buffer, SCM_F_WIND_EXPLICITLY);
  gshm_operation_begin (&operation, RECEIVE, channel, 0);
  operation.transfer.prepare = prepare_buffer;
  operation.data = &buffer;
  enum gshm_result result = gshm_wait_for_message (&operation, timeout);
  SCM datum = SCM_UNDEFINED;
  if (result == GSHM_DONE)
    {
      receive_bytes (&operation, &buffer);
      datum = gshm_decode (buffer.bytes, buffer.length, &error);
    }
  size_t size = buffer.length;
  scm_dynwind_end ();
  scm_remember_upto_here_1 (channel);
  return value_of (result, datum, size, &error, raise);
}


/* Broadcasts.  */

/* (BROADCAST DATUM TIMEOUT) -> boolean.  */
static SCM
send_to_all (SCM broadcast, SCM datum, SCM timeout)
{
  struct gshm_publication publication;

  gshm_publication_begin (&publication, BROADCAST, broadcast);
  struct gshm_sending *sending = &publication.sending;
  struct gshm_buffer buffer
    = gshm_take_buffer ((size_t) sending->feed.capacity / 2);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (keep_buffer, &buffer, SCM_F_WIND_EXPLICITLY);
  encode (BROADCAST, broadcast_kind, broadcast, datum, &buffer);
  enum gshm_result result
    = gshm_publication_wait (&publication, buffer.length, timeout);
  if (result == GSHM_DONE)
    {
      gshm_sending_write (sending, buffer.bytes);
      gshm_publication_end (&publication);
    }
  scm_dynwind_end ();
  scm_remember_upto_here_1 (broadcast);
  return scm_from_bool (result == GSHM_DONE);
}

/* A hook: the message is to be in a buffer.  */
static void *
prepare_bytes (struct gshm_reading *reading, uint64_t length)
{
  const struct gshm_reception *reception = (struct gshm_reception *) reading;
  struct gshm_buffer *buffer = reception->data;

  /* Not without memory, also for an empty message.  */
  if (!gshm_grow_buffer (buffer, (size_t) length + 1))
    raise_no_memory (RECEIVE_BROADCAST, broadcast_kind, reception->bytevector);
  buffer->length = (size_t) length;
  return buffer->bytes;
}

/* (BROADCAST STATE TIMEOUT RAISE) -> as value_of.  */
static SCM
receive_broadcast_datum (SCM broadcast, SCM state, SCM timeout, SCM raise)
{
  struct gshm_reception reception;
  struct gshm_decoding_error error;
  struct gshm_buffer buffer = gshm_take_buffer (SIZE_MAX);

  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (keep_buffer, &buffer, SCM_F_WIND_EXPLICITLY);
  enum gshm_result result
    = gshm_receive_broadcast (&reception, RECEIVE_BROADCAST, broadcast, state,
                              timeout, prepare_bytes, &buffer);
  SCM datum = SCM_UNDEFINED;
  if (result == GSHM_DONE)
    datum = gshm_decode (buffer.bytes, buffer.length, &error);
  size_t size = buffer.length;
  scm_dynwind_end ();
  return value_of (result, datum, size, &error, raise);
}

void
gshm_datum_init (void)
{
  gshm_define ("%shm-channel-send-datum!", 3, 0, send_datum);
  gshm_define ("%shm-channel-receive-datum!", 3, 0, receive_datum);
  gshm_define ("%shm-broadcast-send-datum!", 3, 0, send_to_all);
  gshm_define ("%shm-broadcast-receive-datum!", 4, 0, receive_broadcast_datum);
}

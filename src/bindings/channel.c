/* SPDX-License-Identifier: BSD-3-Clause
   channel.c - channels, as procedures.

   This file checks arguments, calls an operation of core (channel.h), and
   converts its result to a value or an exception.  It copies the bytes of a
   message, with the lock owned, and unlocks if that fails.  */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/bytevector.h"
#include "bindings/channel.h"
#include "bindings/hold.h"
#include "bindings/waiting.h"
#include "init.h"
#include "memory/address.h"
#include "memory/fault.h"
#include "memory/view.h"

#define INIT "shm-channel-init!"
#define SEND "shm-channel-send!"
#define RECEIVE "shm-channel-receive!"
#define RECEIVE_INTO "shm-channel-receive-into!"
#define SLOT "call-with-shm-slot"
#define MESSAGE "call-with-shm-message"
#define CLOSE "shm-channel-close!"
#define CLOSED "shm-channel-closed?"
#define STATISTICS "shm-channel-statistics"

static const char what[] = "channel";


/* Beginning and ending.  */

SCM_NORETURN static void
refuse_format (const struct gshm_operation *operation)
{
  gshm_format_error (operation->subr, what, operation->bytevector, SCM_INUM0);
}

/* A host that is only asked whether a fault is pending: the operations with it
   do not wait.  */
static const struct gshm_host publisher
  = { .is_fault_pending = gshm_fault_is_pending };

/* Begin an operation on the channel in BYTEVECTOR, in the name of SUBR.  */
static void
begin (struct gshm_operation *operation, const char *subr, SCM bytevector)
{
  size_t header = sizeof (struct gshm_channel_header);
  int is_long_enough = SCM_BYTEVECTOR_P (bytevector)
                       && SCM_BYTEVECTOR_LENGTH (bytevector) >= header;
  void *memory = gshm_address (subr, bytevector, SCM_INUM0,
                               is_long_enough ? header : 0, 8, 1);

  gshm_require_self (subr);
  operation->subr = subr;
  operation->bytevector = bytevector;
  operation->data = NULL;
  if (gshm_transfer_begin (&operation->transfer, memory,
                           SCM_BYTEVECTOR_LENGTH (bytevector), &publisher)
      != GSHM_DONE)
    refuse_format (operation);
}

void
gshm_operation_begin (struct gshm_operation *operation, const char *subr,
                      SCM bytevector, int is_sender)
{
  begin (operation, subr, bytevector);
  gshm_transfer_set_side (&operation->transfer, is_sender);
}

/* Raise the pending fault, or that there is no valid channel.  */
SCM_NORETURN static void
refuse_memory (const struct gshm_operation *operation)
{
  gshm_fault_raise ();
  refuse_format (operation);
}


/* Waiting.  */

/* Raise the exception for RESULT, if there is one.  */
static void
check_result (const struct gshm_operation *operation, enum gshm_result result)
{
  const struct gshm_transfer *transfer = &operation->transfer;
  int is_sender = transfer->side == &transfer->ring.channel->senders;
  const char *hint = NULL;

  if (result == GSHM_CORRUPT)
    refuse_memory (operation);
  if (result == GSHM_DEADLOCK)
    hint = (is_sender
            ? "this thread is sending to it already: the message or "
              "call-with-shm-slot must end first"
            : "this thread is receiving from it already: "
              "call-with-shm-message must end first");
  if (result == GSHM_SELF_WAIT)
    hint
      = (is_sender
           ? "no receiver can free space before this thread has left "
             "call-with-shm-message"
           : "no sender can send before this thread has sent its own message "
             "or left call-with-shm-slot");
  if (hint != NULL)
    gshm_error_at (operation->subr, EDEADLK, what, operation->bytevector,
                   SCM_INUM0, hint);
}

/* Wait until ATTEMPT has a result or TIMEOUT expires.  Return DONE, with the
   lock owned, CHANNEL_CLOSED or TIMED_OUT.  */
static enum gshm_result
wait_for (struct gshm_operation *operation, gshm_attempt *attempt, SCM timeout)
{
  struct gshm_transfer *transfer = &operation->transfer;
  enum gshm_result result = gshm_transfer_try (
    transfer, attempt, gshm_to_timeout (operation->subr, SCM_ARGn, timeout));

  if (result == GSHM_TIMED_OUT)
    {
      const struct gshm_wait_target target = { operation->subr, SCM_INUM0 };
      const struct gshm_host host = gshm_guile_host (&target);

      scm_dynwind_begin (0);
      scm_dynwind_unwind_handler (gshm_transfer_cancel, transfer, 0);
      result = gshm_transfer_wait (transfer, attempt, &host);
      scm_dynwind_end ();
    }
  if (result != GSHM_DONE)
    check_result (operation, result);
  return result;
}


/* Sending.  */

static SCM
init_channel (SCM bytevector)
{
  void *memory = gshm_address (
    INIT, bytevector, SCM_INUM0,
    sizeof (struct gshm_channel_header) + GSHM_RECORD_HEADER, 8, 1);

  gshm_require_self (INIT);
  gshm_ring_init (memory, SCM_BYTEVECTOR_LENGTH (bytevector),
                  gshm_namespace ());
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

enum gshm_result
gshm_wait_for_space (struct gshm_operation *operation, size_t length,
                     SCM timeout)
{
  struct gshm_transfer *transfer = &operation->transfer;

  if (!gshm_ring_fits (&transfer->ring, length))
    scm_error (
      scm_out_of_range_key, operation->subr,
      "A message of ~A bytes can never be sent: the largest has ~A",
      scm_list_2 (scm_from_size_t (length),
                  scm_from_uint64 (transfer->ring.size - GSHM_RECORD_HEADER)),
      scm_list_1 (scm_from_size_t (length)));
  transfer->length = length;
  enum gshm_result result
    = wait_for (operation, gshm_transfer_attempt_to_send, timeout);
  if (result == GSHM_CHANNEL_CLOSED)
    gshm_closed_error (operation->subr, what, operation->bytevector);
  return result;
}

SCM_NORETURN static void
refuse_bytevector (const char *subr, SCM object)
{
  gshm_wrong_type (subr, 2, object, "bytevector");
}

void
gshm_end_sending (struct gshm_operation *operation)
{
  enum gshm_result result = gshm_transfer_end_sending (&operation->transfer);

  if (result == GSHM_CHANNEL_CLOSED)
    gshm_closed_error (operation->subr, what, operation->bytevector);
  if (result != GSHM_DONE)
    check_result (operation, result);
}

/* With the lock owned: unlock, and raise that the user's bytevector was
   unmapped.  */
SCM_NORETURN static void
leave_unmapped (struct gshm_operation *operation, SCM k)
{
  gshm_transfer_abort (&operation->transfer);
  gshm_unmapped_error (operation->subr, k);
}

/* (CHANNEL BYTEVECTOR START COUNT TIMEOUT) -> boolean.  COUNT #f means up to
   the end.  */
static SCM
gshm_channel_send (SCM bytevector, SCM data, SCM scm_start, SCM scm_count,
                   SCM timeout)
{
  struct gshm_operation operation;

  gshm_operation_begin (&operation, SEND, bytevector, 1);
  if (!SCM_BYTEVECTOR_P (data))
    refuse_bytevector (SEND, data);
  size_t size = SCM_BYTEVECTOR_LENGTH (data);
  size_t start = gshm_to_size (SEND, 3, scm_start, size), count = size - start;
  if (scm_is_true (scm_count))
    count = gshm_to_size (SEND, 4, scm_count, count);
  enum gshm_result result = gshm_wait_for_space (&operation, count, timeout);
  if (result == GSHM_DONE)
    {
      memmove (operation.transfer.bytes,
               SCM_BYTEVECTOR_CONTENTS (data) + start, count);
      if (gshm_was_unmapped (data, size))
        leave_unmapped (&operation, scm_start);
      gshm_end_sending (&operation);
    }
  scm_remember_upto_here_2 (bytevector, data);
  return scm_from_bool (result == GSHM_DONE);
}


/* Receiving.  */

SCM
gshm_no_message (enum gshm_result result)
{
  return result == GSHM_CHANNEL_CLOSED ? SCM_EOF_VAL : SCM_BOOL_F;
}

/* Make COPY a bytevector of LENGTH bytes.  */
static void
make_copy (SCM *copy, uint64_t length)
{
  if (scm_is_false (*copy) || SCM_BYTEVECTOR_LENGTH (*copy) != length)
    *copy = gshm_make_bytevector ((size_t) length);
}

/* Before this thread locks, so that it usually does not allocate while it owns
   the lock.  */
static void
prepare_copy (struct gshm_transfer *transfer, uint64_t length)
{
  make_copy (((struct gshm_operation *) transfer)->data, length);
}

enum gshm_result
gshm_wait_for_message (struct gshm_operation *operation, SCM timeout)
{
  return wait_for (operation, gshm_transfer_attempt_to_receive, timeout);
}

void
gshm_end_receiving (struct gshm_operation *operation)
{
  enum gshm_result result = gshm_transfer_end_receiving (&operation->transfer);

  if (result != GSHM_DONE)
    check_result (operation, result);
}

/* (CHANNEL TIMEOUT) -> bytevector, #f or the end-of-file object.  */
static SCM
gshm_channel_receive (SCM bytevector, SCM timeout)
{
  struct gshm_operation operation;
  SCM copy = SCM_BOOL_F;

  gshm_operation_begin (&operation, RECEIVE, bytevector, 0);
  struct gshm_transfer *transfer = &operation.transfer;
  transfer->prepare = prepare_copy;
  operation.data = &copy;
  enum gshm_result result = gshm_wait_for_message (&operation, timeout);
  if (result != GSHM_DONE)
    return gshm_no_message (result);
  if (SCM_BYTEVECTOR_LENGTH (copy) != transfer->length)
    {
      /* Another receiver has received the message that the copy was for.  */
      scm_dynwind_begin (0);
      scm_dynwind_unwind_handler (gshm_transfer_abort, transfer, 0);
      make_copy (&copy, transfer->length);
      scm_dynwind_end ();
    }
  memcpy (SCM_BYTEVECTOR_CONTENTS (copy), transfer->bytes,
          (size_t) transfer->length);
  gshm_end_receiving (&operation);
  scm_remember_upto_here_2 (bytevector, copy);
  return copy;
}

/* (CHANNEL BYTEVECTOR START TIMEOUT) -> count, #f or the end-of-file
   object.  */
static SCM
gshm_channel_receive_into (SCM bytevector, SCM target, SCM scm_start,
                           SCM timeout)
{
  struct gshm_operation operation;

  if (!SCM_MUTABLE_BYTEVECTOR_P (target))
    refuse_bytevector (RECEIVE_INTO, target);
  size_t start = gshm_to_size (RECEIVE_INTO, 3, scm_start,
                               SCM_BYTEVECTOR_LENGTH (target));
  gshm_operation_begin (&operation, RECEIVE_INTO, bytevector, 0);
  const struct gshm_transfer *transfer = &operation.transfer;
  enum gshm_result result = gshm_wait_for_message (&operation, timeout);
  if (result != GSHM_DONE)
    return gshm_no_message (result);
  size_t size = SCM_BYTEVECTOR_LENGTH (target);
  size_t room = size < start ? 0 : size - start;
  if (transfer->length > room)
    {
      gshm_transfer_abort (&operation.transfer);
      SCM length = scm_from_uint64 (transfer->length);
      scm_error (scm_out_of_range_key, RECEIVE_INTO,
                 "The message has ~A bytes, and there is room for ~A",
                 scm_list_2 (length, scm_from_size_t (room)),
                 scm_list_1 (length));
    }
  memmove (SCM_BYTEVECTOR_CONTENTS (target) + start, transfer->bytes,
           (size_t) transfer->length);
  if (gshm_was_unmapped (target, size))
    leave_unmapped (&operation, scm_start);
  SCM length = scm_from_uint64 (transfer->length);
  gshm_end_receiving (&operation);
  scm_remember_upto_here_2 (bytevector, target);
  return length;
}


/* Loans.  */

/* With the lock owned: return a bytevector on the message; unlock if that
   raises an exception.  */
static SCM
make_view (struct gshm_operation *operation)
{
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (gshm_transfer_abort, &operation->transfer, 0);
  SCM view = gshm_view_bytes (operation->bytevector, operation->transfer.bytes,
                              (size_t) operation->transfer.length);
  scm_dynwind_end ();
  return view;
}

/* The slot of a message of SIZE bytes, with the senders' lock owned, or #f. */
static SCM
begin_slot (const char *subr, SCM bytevector, SCM scm_size, SCM timeout)
{
  struct gshm_operation operation;

  gshm_operation_begin (&operation, subr, bytevector, 1);
  size_t size = gshm_to_size (subr, 2, scm_size, SIZE_MAX);
  if (gshm_wait_for_space (&operation, size, timeout) != GSHM_DONE)
    return SCM_BOOL_F;
  SCM view = make_view (&operation);
  scm_remember_upto_here_1 (bytevector);
  return view;
}

/* The next message, with the receivers' lock owned, #f or the end-of-file
   object.  */
static SCM
begin_message (const char *subr, SCM bytevector, SCM unused, SCM timeout)
{
  struct gshm_operation operation;

  (void) unused;
  gshm_operation_begin (&operation, subr, bytevector, 0);
  enum gshm_result result = gshm_wait_for_message (&operation, timeout);
  if (result != GSHM_DONE)
    return gshm_no_message (result);
  SCM view = make_view (&operation);
  scm_remember_upto_here_1 (bytevector);
  return view;
}

/* Empty VIEW, the message; check that this thread still owns the lock.  */
static void
end_loan (struct gshm_operation *operation, SCM view)
{
  gshm_set_empty (view);
  if (!gshm_transfer_has_lock (&operation->transfer, operation->transfer.side))
    gshm_error_at (operation->subr, EPERM, what, operation->bytevector,
                   SCM_INUM0, "this thread no longer owns the message");
}

/* Publish the message in VIEW.  */
static void
end_slot (const char *subr, SCM bytevector, SCM view)
{
  struct gshm_operation operation;
  size_t size = SCM_BYTEVECTOR_LENGTH (view);

  gshm_operation_begin (&operation, subr, bytevector, 1);
  operation.transfer.length = size;
  end_loan (&operation, view);
  gshm_end_sending (&operation);
  scm_remember_upto_here_1 (bytevector);
}

/* Release the message in VIEW.  */
static void
end_message (const char *subr, SCM bytevector, SCM view)
{
  struct gshm_operation operation;

  gshm_operation_begin (&operation, subr, bytevector, 0);
  end_loan (&operation, view);
  struct gshm_transfer *transfer = &operation.transfer;
  if (gshm_ring_peek (&transfer->ring, &transfer->bytes, &transfer->length)
      != GSHM_RING_READY)
    {
      gshm_transfer_abort (transfer);
      refuse_memory (&operation);
    }
  gshm_end_receiving (&operation);
  scm_remember_upto_here_1 (bytevector);
}

/* Empty VIEW; if this thread still owns the lock, unlock it.  */
static void
leave_loan (SCM bytevector, SCM view, int is_sender)
{
  gshm_set_empty (view);
  if (!SCM_BYTEVECTOR_P (bytevector) || SCM_BYTEVECTOR_LENGTH (bytevector) > 0)
    {
      struct gshm_transfer transfer;
      struct gshm_channel_header *channel
        = gshm_address (SLOT, bytevector, SCM_INUM0, sizeof *channel, 8, 1);

      if (gshm_is_accessible ((gshm_word *) channel, sizeof *channel)
          && gshm_transfer_begin (&transfer, channel,
                                  SCM_BYTEVECTOR_LENGTH (bytevector),
                                  &publisher)
               == GSHM_DONE)
        {
          gshm_transfer_set_side (&transfer, is_sender);
          if (gshm_transfer_has_lock (&transfer, transfer.side))
            gshm_transfer_abort (&transfer);
        }
    }
  scm_remember_upto_here_1 (bytevector);
}

static void
leave_slot (SCM bytevector, SCM view, int unused)
{
  (void) unused;
  leave_loan (bytevector, view, 1);
}

static void
leave_message (SCM bytevector, SCM view, int unused)
{
  (void) unused;
  leave_loan (bytevector, view, 0);
}

/* (CHANNEL SIZE) -> hold of the slot of a message.  */
static SCM
hold_slot (SCM bytevector, SCM size)
{
  static const struct gshm_hold_kind kind = { .subr = SLOT,
                                              .what = "message",
                                              .is_loan = 1,
                                              .begin = begin_slot,
                                              .end = end_slot,
                                              .leave = leave_slot };

  return gshm_hold (&kind, bytevector, size);
}

/* (CHANNEL) -> hold of the next message.  */
static SCM
hold_message (SCM bytevector)
{
  static const struct gshm_hold_kind kind = { .subr = MESSAGE,
                                              .what = "message",
                                              .is_loan = 1,
                                              .begin = begin_message,
                                              .end = end_message,
                                              .leave = leave_message };

  return gshm_hold (&kind, bytevector, SCM_BOOL_F);
}


/* The channel as a whole.  */

/* (BYTEVECTOR SUBR) -> integer: the capacity of the channel, in the name of
   the procedure SUBR, a string.  */
static SCM
gshm_channel_size (SCM bytevector, SCM subr)
{
  struct gshm_operation operation;
  char name[32];

  memset (name, 0, sizeof name);
  scm_to_locale_stringbuf (subr, name, sizeof name - 1);
  begin (&operation, name, bytevector);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_uint64 (operation.transfer.ring.size);
}

/* (CHANNEL) -> boolean: was it open?  */
static SCM
gshm_channel_close (SCM bytevector)
{
  struct gshm_operation operation;

  begin (&operation, CLOSE, bytevector);
  int was_closed = gshm_ring_close (&operation.transfer.ring);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (!was_closed);
}

/* (CHANNEL) -> boolean: is it closed?  */
static SCM
gshm_channel_closed_p (SCM bytevector)
{
  struct gshm_operation operation;

  begin (&operation, CLOSED, bytevector);
  int is_closed = gshm_ring_is_closed (&operation.transfer.ring);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (is_closed);
}

/* (CHANNEL) -> list: messages and bytes in, messages and bytes out, waiting
   senders and receivers, and whether it is closed.  */
static SCM
gshm_channel_statistics (SCM bytevector)
{
  struct gshm_operation operation;

  begin (&operation, STATISTICS, bytevector);
  struct gshm_channel_header *channel = operation.transfer.ring.channel;
  /* The receivers' first, so that not more is counted as received than as
     sent.  */
  struct gshm_totals out = gshm_ring_totals (&channel->receivers);
  struct gshm_totals in = gshm_ring_totals (&channel->senders);
  int senders = gshm_count_slots (channel->senders.waiting, GSHM_MAX_WAITERS,
                                  1, &channel->namespace);
  int receivers = gshm_count_slots (channel->receivers.waiting,
                                    GSHM_MAX_WAITERS, 1, &channel->namespace);
  int is_closed = gshm_ring_is_closed (&operation.transfer.ring);
  scm_remember_upto_here_1 (bytevector);
  return scm_list_n (scm_from_uint64 (in.messages), scm_from_uint64 (in.bytes),
                     scm_from_uint64 (out.messages),
                     scm_from_uint64 (out.bytes), scm_from_int (senders),
                     scm_from_int (receivers), scm_from_bool (is_closed),
                     SCM_UNDEFINED);
}

void
gshm_channel_init (void)
{
  gshm_define ("%shm-channel-init!", 1, 0, init_channel);
  gshm_define ("%shm-channel-send!", 5, 0, gshm_channel_send);
  gshm_define ("%shm-channel-receive!", 2, 0, gshm_channel_receive);
  gshm_define ("%shm-channel-receive-into!", 4, 0, gshm_channel_receive_into);
  gshm_define ("%shm-hold-slot", 2, 0, hold_slot);
  gshm_define ("%shm-hold-message", 1, 0, hold_message);
  gshm_define ("%shm-channel-size", 2, 0, gshm_channel_size);
  gshm_define ("%shm-channel-close!", 1, 0, gshm_channel_close);
  gshm_define ("%shm-channel-closed?", 1, 0, gshm_channel_closed_p);
  gshm_define ("%shm-channel-statistics", 1, 0, gshm_channel_statistics);
  gshm_define_size ("shm-channel-header-size",
                    sizeof (struct gshm_channel_header));
  gshm_define_size ("shm-message-header-size", GSHM_RECORD_HEADER);
}

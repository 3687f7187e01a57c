/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.c - broadcasts, as procedures.

   This file checks arguments, calls an operation of core (broadcast.h,
   subscriber.h), and converts its result to a value or an exception.  The
   state of a subscriber is in a bytevector of its own.  */

#include <config.h>

#include <string.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/broadcast.h"
#include "bindings/bytevector.h"
#include "bindings/channel.h"
#include "bindings/waiting.h"
#include "init.h"
#include "memory/address.h"
#include "memory/fault.h"
#include "memory/view.h"

#define CREATE "shm-broadcast-create"
#define SUBSCRIBE "shm-broadcast-subscribe"
#define SEND "shm-broadcast-send!"
#define RECEIVE "shm-broadcast-receive!"
#define LATEST "shm-broadcast-latest"
#define LATEST_INTO "shm-broadcast-latest-into!"
#define CLOSE "shm-broadcast-close!"
#define STATISTICS "guild shm"

/* How long senders may overwrite each message that this thread tries to read
   before another one has come.  Only a hostile process does so for long.  */
#define LATEST_PATIENCE GSHM_SECOND

static const char what[] = "broadcast";

/* A host that is only asked whether a fault is pending: the operations with it
   do not wait.  */
static const struct gshm_host checker
  = { .is_fault_pending = gshm_fault_is_pending };

/* Raise the pending fault, or that there is no valid broadcast.  */
SCM_NORETURN static void
refuse_memory (const char *subr, SCM bytevector)
{
  gshm_fault_raise ();
  gshm_format_error (subr, what, bytevector, SCM_INUM0);
}

/* Set FEED to the broadcast in BYTEVECTOR.  */
static void
open_feed (struct gshm_feed *feed, const char *subr, SCM bytevector,
           int is_written)
{
  size_t header = sizeof (struct gshm_broadcast_header);
  int is_long_enough = SCM_BYTEVECTOR_P (bytevector)
                       && SCM_BYTEVECTOR_LENGTH (bytevector) >= header;
  void *memory = gshm_address (subr, bytevector, SCM_INUM0,
                               is_long_enough ? header : 0, 8, is_written);

  feed->host = &checker;
  if (gshm_feed_open (feed, memory, SCM_BYTEVECTOR_LENGTH (bytevector))
      != GSHM_DONE)
    refuse_memory (subr, bytevector);
}


/* The broadcast as a whole.  */

/* (CAPACITY) -> integer: the size of the memory that it needs.  */
static SCM
broadcast_size (SCM capacity)
{
  return scm_from_size_t (
    gshm_feed_memory_size (gshm_to_size (CREATE, 2, capacity, SIZE_MAX / 4)));
}

/* (BYTEVECTOR CAPACITY) */
static SCM
init_broadcast (SCM bytevector, SCM scm_capacity)
{
  size_t capacity = gshm_to_size (CREATE, 2, scm_capacity, SIZE_MAX / 4);
  void *memory = gshm_address (CREATE, bytevector, SCM_INUM0,
                               gshm_feed_memory_size (capacity), 8, 1);

  gshm_require_self (CREATE);
  gshm_feed_init (memory, capacity, gshm_namespace ());
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

/* (BYTEVECTOR SUBR) -> integer: the capacity of the broadcast, in the name of
   the procedure SUBR, a string.  */
static SCM
broadcast_capacity (SCM bytevector, SCM subr)
{
  struct gshm_feed feed;
  char name[32];

  memset (name, 0, sizeof name);
  scm_to_locale_stringbuf (subr, name, sizeof name - 1);
  open_feed (&feed, name, bytevector, 0);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_uint64 (feed.capacity);
}

/* (BYTEVECTOR) -> list: the capacity; how many messages were sent, and how
   many of them can still be received; is the broadcast closed?  */
static SCM
statistics (SCM bytevector)
{
  struct gshm_feed feed;
  struct gshm_subscription first, next;

  open_feed (&feed, STATISTICS, bytevector, 0);
  if (gshm_subscribe (&feed, GSHM_START_OLDEST, &first) != GSHM_DONE
      || gshm_subscribe (&feed, GSHM_START_NOW, &next) != GSHM_DONE)
    refuse_memory (STATISTICS, bytevector);
  uint64_t head = gshm_load (&feed.broadcast->head);
  scm_remember_upto_here_1 (bytevector);
  return scm_list_4 (scm_from_uint64 (feed.capacity),
                     scm_from_uint64 (next.sequence),
                     scm_from_uint64 (next.sequence - first.sequence),
                     scm_from_bool (head & GSHM_BROADCAST_CLOSED));
}

/* (BROADCAST) -> boolean: was it open?  */
static SCM
close_broadcast (SCM bytevector)
{
  struct gshm_feed feed;

  open_feed (&feed, CLOSE, bytevector, 1);
  int was_closed = gshm_feed_close (&feed);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (!was_closed);
}


/* Sending.  */

void
gshm_publication_begin (struct gshm_publication *publication, const char *subr,
                        SCM bytevector)
{
  publication->subr = subr;
  publication->bytevector = bytevector;
  open_feed (&publication->sending.feed, subr, bytevector, 1);
  gshm_require_self (subr);
}

/* Raise the exception for RESULT, if there is one.  */
static void
check_sent (const struct gshm_publication *publication,
            enum gshm_result result)
{
  if (result == GSHM_CHANNEL_CLOSED)
    gshm_closed_error (publication->subr, what, publication->bytevector);
  if (result == GSHM_CORRUPT)
    refuse_memory (publication->subr, publication->bytevector);
}

enum gshm_result
gshm_publication_wait (struct gshm_publication *publication, size_t length,
                       SCM timeout)
{
  struct gshm_sending *sending = &publication->sending;
  uint64_t largest = sending->feed.capacity / 2;

  if (length > largest)
    scm_error (
      scm_out_of_range_key, publication->subr,
      "A message of ~A bytes can never be sent: the largest has ~A, "
      "half the capacity of the broadcast",
      scm_list_2 (scm_from_size_t (length), scm_from_uint64 (largest)),
      scm_list_1 (scm_from_size_t (length)));
  gshm_sending_begin (sending, length);
  enum gshm_result result = gshm_sending_try (
    sending, gshm_to_timeout (publication->subr, SCM_ARGn, timeout));
  if (result == GSHM_TIMED_OUT)
    {
      const struct gshm_wait_target target = { publication->subr, SCM_INUM0 };
      const struct gshm_host host = gshm_guile_host (&target);

      scm_dynwind_begin (0);
      scm_dynwind_unwind_handler (gshm_sending_cancel, sending, 0);
      result = gshm_sending_wait (sending, &host);
      scm_dynwind_end ();
    }
  check_sent (publication, result);
  return result;
}

void
gshm_publication_end (struct gshm_publication *publication)
{
  check_sent (publication, gshm_sending_end (&publication->sending));
}

/* (BROADCAST BYTEVECTOR START COUNT TIMEOUT) -> boolean.  COUNT #f means up to
   the end.  */
static SCM
send (SCM bytevector, SCM data, SCM scm_start, SCM scm_count, SCM timeout)
{
  struct gshm_publication publication;

  gshm_publication_begin (&publication, SEND, bytevector);
  if (!SCM_BYTEVECTOR_P (data))
    gshm_wrong_type (SEND, 2, data, "bytevector");
  size_t size = SCM_BYTEVECTOR_LENGTH (data);
  size_t start = gshm_to_size (SEND, 3, scm_start, size), count = size - start;
  if (scm_is_true (scm_count))
    count = gshm_to_size (SEND, 4, scm_count, count);
  enum gshm_result result
    = gshm_publication_wait (&publication, count, timeout);
  if (result == GSHM_DONE)
    {
      gshm_sending_write (&publication.sending,
                          SCM_BYTEVECTOR_CONTENTS (data) + start);
      if (gshm_was_unmapped (data, size))
        {
          gshm_sending_abort (&publication.sending);
          gshm_unmapped_error (SEND, scm_start);
        }
      gshm_publication_end (&publication);
    }
  scm_remember_upto_here_2 (bytevector, data);
  return scm_from_bool (result == GSHM_DONE);
}


/* Subscribing.  */

/* (BYTEVECTOR FROM CAN-WRITE?) -> bytevector: the state of a new subscriber.
   FROM is one of enum gshm_start.  */
static SCM
subscribe (SCM bytevector, SCM from, SCM can_write)
{
  struct gshm_feed feed;
  SCM state = scm_c_make_bytevector (sizeof (struct gshm_subscription));
  struct gshm_subscription *subscriber
    = (void *) SCM_BYTEVECTOR_CONTENTS (state);

  open_feed (&feed, SUBSCRIBE, bytevector, 0);
  if (gshm_subscribe (&feed, (enum gshm_start) scm_to_int (from), subscriber)
      != GSHM_DONE)
    refuse_memory (SUBSCRIBE, bytevector);
  subscriber->can_write = scm_is_true (can_write);
  scm_remember_upto_here_1 (bytevector);
  return state;
}

static struct gshm_subscription *
to_subscriber (const char *subr, SCM state)
{
  if (!SCM_BYTEVECTOR_P (state)
      || SCM_BYTEVECTOR_LENGTH (state) != sizeof (struct gshm_subscription))
    gshm_wrong_type (subr, 2, state, "state of a subscriber");
  return (void *) SCM_BYTEVECTOR_CONTENTS (state);
}

/* (STATE) -> integer: how many messages were overwritten before the subscriber
   received them.  */
static SCM
missed (SCM state)
{
  return scm_from_uint64 (
    to_subscriber ("shm-broadcast-missed", state)->missed);
}


/* Receiving.  */

static void
begin_reception (struct gshm_reception *reception, const char *subr,
                 SCM bytevector, SCM state,
                 void *(*prepare) (struct gshm_reading *reading,
                                   uint64_t length),
                 void *data)
{
  reception->subr = subr;
  reception->bytevector = bytevector;
  reception->data = data;
  reception->reading.subscriber = to_subscriber (subr, state);
  reception->reading.prepare = prepare;
  open_feed (&reception->reading.feed, subr, bytevector, 0);
}

/* Wait until ATTEMPT has a result or TIMEOUT expires.  */
static enum gshm_result
wait_for (struct gshm_reception *reception, gshm_attempt *attempt,
          int64_t timeout)
{
  int result = gshm_guile_wait (reception->subr, SCM_INUM0, timeout, attempt,
                                &reception->reading);

  if (result == GSHM_CORRUPT)
    refuse_memory (reception->subr, reception->bytevector);
  return (enum gshm_result) result;
}

enum gshm_result
gshm_receive_broadcast (struct gshm_reception *reception, const char *subr,
                        SCM bytevector, SCM state, SCM timeout,
                        void *(*prepare) (struct gshm_reading *reading,
                                          uint64_t length),
                        void *data)
{
  begin_reception (reception, subr, bytevector, state, prepare, data);
  enum gshm_result result
    = wait_for (reception, gshm_attempt_to_read,
                gshm_to_timeout (subr, SCM_ARGn, timeout));
  scm_remember_upto_here_2 (bytevector, state);
  return result;
}

/* Read the newest message, in the same way.  Return TIMED_OUT if there is
   none.  */
static enum gshm_result
receive_latest (struct gshm_reception *reception)
{
  enum gshm_result result
    = wait_for (reception, gshm_attempt_to_read_latest, LATEST_PATIENCE);

  if (result == GSHM_TIMED_OUT)
    refuse_memory (reception->subr, reception->bytevector);
  return reception->reading.is_found ? result : GSHM_TIMED_OUT;
}

/* A hook: the message is to be in a new bytevector, which is stored in a
   variable.  */
static void *
prepare_copy (struct gshm_reading *reading, uint64_t length)
{
  SCM *copy = ((struct gshm_reception *) reading)->data;

  if (scm_is_false (*copy) || SCM_BYTEVECTOR_LENGTH (*copy) != length)
    *copy = gshm_make_bytevector ((size_t) length);
  return SCM_BYTEVECTOR_CONTENTS (*copy);
}

/* (BROADCAST STATE TIMEOUT) -> bytevector, #f or the end-of-file object.  */
static SCM
receive (SCM bytevector, SCM state, SCM timeout)
{
  struct gshm_reception reception;
  SCM copy = SCM_BOOL_F;
  enum gshm_result result = gshm_receive_broadcast (
    &reception, RECEIVE, bytevector, state, timeout, prepare_copy, &copy);

  return result == GSHM_DONE ? copy : gshm_no_message (result);
}

/* (BROADCAST STATE) -> bytevector or #f.  */
static SCM
latest (SCM bytevector, SCM state)
{
  struct gshm_reception reception;
  SCM copy = SCM_BOOL_F;

  begin_reception (&reception, LATEST, bytevector, state, prepare_copy, &copy);
  enum gshm_result result = receive_latest (&reception);
  scm_remember_upto_here_2 (bytevector, state);
  return result == GSHM_DONE ? copy : SCM_BOOL_F;
}

/* Of a hook: the message is to be in BYTEVECTOR from START on.  */
struct target
{
  SCM bytevector;
  size_t start, size; /* the bytevector's when the call began */
};

static size_t
room_in (const struct target *target)
{
  size_t size = SCM_BYTEVECTOR_LENGTH (target->bytevector);

  return size < target->start ? 0 : size - target->start;
}

static void *
prepare_target (struct gshm_reading *reading, uint64_t length)
{
  const struct target *target = ((struct gshm_reception *) reading)->data;

  return (length > room_in (target)
            ? NULL
            : SCM_BYTEVECTOR_CONTENTS (target->bytevector) + target->start);
}

/* (BROADCAST STATE BYTEVECTOR START) -> count or #f.  */
static SCM
latest_into (SCM bytevector, SCM state, SCM scm_target, SCM scm_start)
{
  struct gshm_reception reception;
  struct target target = { .bytevector = scm_target };

  if (!SCM_MUTABLE_BYTEVECTOR_P (scm_target))
    gshm_wrong_type (LATEST_INTO, 2, scm_target, "bytevector");
  target.size = SCM_BYTEVECTOR_LENGTH (scm_target);
  target.start = gshm_to_size (LATEST_INTO, 3, scm_start, target.size);
  begin_reception (&reception, LATEST_INTO, bytevector, state, prepare_target,
                   &target);
  enum gshm_result result = receive_latest (&reception);
  SCM length = scm_from_uint64 (reception.reading.length);
  if (result != GSHM_TIMED_OUT && gshm_was_unmapped (scm_target, target.size))
    gshm_unmapped_error (LATEST_INTO, scm_start);
  if (result == GSHM_TOO_LONG)
    scm_error (scm_out_of_range_key, LATEST_INTO,
               "The message has ~A bytes, and there is room for ~A",
               scm_list_2 (length, scm_from_size_t (room_in (&target))),
               scm_list_1 (length));
  scm_remember_upto_here_2 (bytevector, state);
  scm_remember_upto_here_1 (scm_target);
  return result == GSHM_DONE ? length : SCM_BOOL_F;
}

void
gshm_broadcast_init (void)
{
  gshm_define ("%shm-broadcast-size", 1, 0, broadcast_size);
  gshm_define ("%shm-broadcast-init!", 2, 0, init_broadcast);
  gshm_define ("%shm-broadcast-capacity", 2, 0, broadcast_capacity);
  gshm_define ("%shm-broadcast-close!", 1, 0, close_broadcast);
  gshm_define ("%shm-broadcast-statistics", 1, 0, statistics);
  gshm_define ("%shm-broadcast-send!", 5, 0, send);
  gshm_define ("%shm-broadcast-subscribe", 3, 0, subscribe);
  gshm_define ("%shm-broadcast-missed", 1, 0, missed);
  gshm_define ("%shm-broadcast-receive!", 3, 0, receive);
  gshm_define ("%shm-broadcast-latest", 2, 0, latest);
  gshm_define ("%shm-broadcast-latest-into!", 4, 0, latest_into);
}

/* SPDX-License-Identifier: BSD-3-Clause
   channel.c - messages between processes, first in first out.

   A channel is a ring of messages (ring.h), a lock of its senders and one of
   its receivers (lock.h), and waiting (wait.h).  An operation takes its side's
   lock, does a step on the ring and gives the lock up:

   - A receiver first waits for a message and then for the lock, which it has
     only for as long as it takes the message.
   - A sender first waits for the lock and keeps it while it waits for room,
     marked: it is its turn.  So a large message is not passed by small ones
     for ever.  The mark tells other senders that they may wait for long.

   A message in place is a step that takes as long as the user's procedure
   does.

   Nobody depends on being woken, as sync.c says, nor on a thread that has
   died: its lock is taken over, and there is nothing to repair.  */

#include <config.h>

#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/waiting.h"
#include "core/format.h"
#include "core/lock.h"
#include "core/owner.h"
#include "core/ring.h"
#include "init.h"
#include "memory/fault.h"
#include "memory/mapping.h"
#include "memory/place.h"
#include "memory/view.h"

#define INIT "shm-channel-init!"
#define SEND "shm-channel-send!"
#define RECEIVE "shm-channel-receive!"
#define SEND_DATUM "shm-channel-send-datum!"
#define RECEIVE_DATUM "shm-channel-receive-datum!"
#define RECEIVE_INTO "shm-channel-receive-into!"
#define SLOT "call-with-shm-slot"
#define MESSAGE "call-with-shm-message"
#define CLOSE "shm-channel-close!"
#define STATISTICS "shm-channel-statistics"

static const char what[] = "channel";

/* How long one who does not want to wait waits for who has the lock just
   now.  */
#define MOMENT (GSHM_SECOND / 1000)

/* The mark of a sender whose turn it is and who waits for room.  */
#define TURN GSHM_MARK

/* A word that no position has, so that a sleep until one is not it ends at
   once.  */
#define NOWHERE GSHM_MARK

/* What attempts return, beside 0.  */
enum outcome
{
  DONE = GSHM_DONE,           /* with the lock held */
  HELD_BY_SELF = GSHM_DEADLOCK,
  WAITS_FOR_SELF,               /* which lock.h does not know, nor */
  CLOSED
};

/* One thread's use of a channel.  */
struct operation
{
  const char *subr;
  SCM bytevector;
  struct gshm_ring ring;
  struct gshm_side *side, *other;       /* this thread's, and the other */
  struct gshm_locking lock;             /* of this side */
  int64_t timeout;
  uint64_t length;                      /* of the message */
  char *bytes;                          /* where it is */
  gshm_long_word *place;                /* among who waits */
  int is_turn;          /* this operation set the mark of its side's lock */
  int wants_copy;
  SCM copy;                             /* bytevector for the message, or #f */
  int busy;             /* a lock was not to be had, just now */
  int announced;        /* this thread may sleep until the other side moves */
};


/* Beginning and ending.  */

SCM_NORETURN static void
refuse_format (const struct operation *operation)
{
  gshm_format_error (operation->subr, what, operation->bytevector, SCM_INUM0);
}

static const struct gshm_host publisher
  = { .is_fault_pending = gshm_fault_is_pending };

/* Begin an operation on the channel in BYTEVECTOR, in the name of SUBR.  */
static void
begin (struct operation *operation, const char *subr, SCM bytevector)
{
  size_t header = sizeof (struct gshm_channel);
  int is_long_enough = SCM_BYTEVECTOR_P (bytevector)
                       && SCM_BYTEVECTOR_LENGTH (bytevector) >= header;
  void *memory = gshm_place (subr, bytevector, SCM_INUM0,
                             is_long_enough ? header : 0, 8, 1);

  gshm_require_self (subr);
  *operation = (struct operation) { .subr = subr, .bytevector = bytevector };
  operation->ring.host = &publisher;
  if (!gshm_ring_find (&operation->ring, memory,
                       SCM_BYTEVECTOR_LENGTH (bytevector)))
    refuse_format (operation);
}

/* What this thread is there.  */
static void
set_side (struct operation *operation, int is_sender)
{
  struct gshm_channel *channel = operation->ring.channel;

  operation->side = is_sender ? &channel->senders : &channel->receivers;
  operation->other = is_sender ? &channel->receivers : &channel->senders;
  operation->lock.owner = &operation->side->owner;
  operation->lock.namespace = &channel->namespace;
}

static void
begin_on_side (struct operation *operation, const char *subr, SCM bytevector,
               int is_sender)
{
  begin (operation, subr, bytevector);
  set_side (operation, is_sender);
}

static uint64_t
self_in (const struct operation *operation)
{
  return gshm_self (atomic_load_explicit (operation->lock.namespace,
                                          memory_order_relaxed));
}

/* Whether this thread has the lock of SIDE.  */
static int
has_lock (const struct operation *operation, const struct gshm_side *side)
{
  uint64_t owner = gshm_load (&side->owner);

  return GSHM_WHO (owner) == self_in (operation);
}

static void
unlock (const struct operation *operation)
{
  gshm_unlock (&operation->side->owner, 0);
}

/* Give up the lock without having moved, but for what was skipped.  What is
   there, another may have; and for what was skipped a sender may wait.  */
static void
leave (void *data)
{
  const struct operation *operation = data;

  unlock (operation);
  gshm_ring_wake (operation->other);
  gshm_ring_wake (operation->side);
}

/* Raise what is wrong with the memory: some that this thread touched was not
   to be had, or it is not that of a channel any more.  */
SCM_NORETURN static void
refuse_memory (const struct operation *operation)
{
  gshm_fault_raise ();
  refuse_format (operation);
}

/* With the lock held: give it up and do not go on if something is.  */
static void
leave_if_broken (struct operation *operation)
{
  if (gshm_fault_is_pending () || !gshm_ring_is_there (&operation->ring))
    {
      leave (operation);
      refuse_memory (operation);
    }
}

/* With the lock held: this side has moved, or could not.  */
static void
end (struct operation *operation, enum gshm_ring_state state)
{
  int was_there = gshm_ring_is_there (&operation->ring);

  unlock (operation);
  if (state == GSHM_RING_READY && was_there)
    gshm_ring_wake (operation->side);
  else if (state == GSHM_RING_CLOSED && operation->side
           == &operation->ring.channel->senders)
    gshm_closed_error (operation->subr, operation->bytevector);
  else
    refuse_memory (operation);
}

static void
end_sending (struct operation *operation)
{
  leave_if_broken (operation);
  end (operation, gshm_ring_send (&operation->ring, operation->length));
}

static void
end_receiving (struct operation *operation)
{
  leave_if_broken (operation);
  end (operation, gshm_ring_receive (&operation->ring, operation->length));
}


/* Waiting.  */

/* Whether this thread has the other side's lock, so that the other side does
   not move before this operation ends.  */
static int
waits_for_self (const struct operation *operation)
{
  return operation->timeout != 0 && has_lock (operation, operation->other);
}

static int
attempt_to_lock (struct operation *operation, struct gshm_sleep *sleep)
{
  int outcome = gshm_attempt_to_lock (&operation->lock, 0, sleep);

  /* Whose turn it is may wait for long.  */
  operation->busy = (outcome == 0
                     && !(gshm_load (operation->lock.owner) & TURN));
  if (outcome == GSHM_OWNER_DIED)
    return DONE;
  if (outcome == HELD_BY_SELF && operation->is_turn)
    return DONE;
  return outcome;
}

/* Say that this thread waits, for who counts.  LOOK: if there is no place
   left, see whether those who have one live.  */
static void
take_place (struct operation *operation, int look)
{
  gshm_long_word *waiting = operation->side->waiting;
  uint64_t self = self_in (operation);

  if (operation->place != NULL && atomic_load (operation->place) == self)
    return;
  operation->place = gshm_take_place (waiting, GSHM_WAITING, self);
  if (operation->place == NULL && look)
    {
      gshm_count_places (waiting, GSHM_WAITING, 1, operation->lock.namespace);
      operation->place = gshm_take_place (waiting, GSHM_WAITING, self);
    }
}

/* What each attempt begins with.  */
static void
begin_attempt (struct operation *operation, const struct gshm_sleep *sleep)
{
  if (!gshm_ring_is_there (&operation->ring))
    refuse_format (operation);
  if (sleep->announce)
    take_place (operation, sleep->look);
}

/* Sleep until the other side's position is no longer WORD.  */
static void
sleep_on_other (struct operation *operation, struct gshm_sleep *sleep,
                uint64_t word)
{
  operation->announced |= sleep->announce;
  gshm_sleep_until_changed (sleep, &operation->other->position, word);
}

/* [help] If all that is in the way is a record to be skipped, do so in the
   receivers' place; there may be none.  Return whether that may have
   helped.  */
static int
skip_for_receivers (struct operation *operation,
                    const struct gshm_sleep *sleep)
{
  struct gshm_locking lock = { .owner = &operation->other->owner,
                               .namespace = operation->lock.namespace };
  struct gshm_sleep none = { .look = sleep->look };
  uint64_t length;
  char *bytes;

  if (!gshm_ring_is_to_skip (&operation->ring))
    return 0;
  int outcome = gshm_attempt_to_lock (&lock, 0, &none);
  operation->busy = outcome == 0;
  if (outcome == 0 || outcome == GSHM_DEADLOCK)
    return 0;
  gshm_ring_next (&operation->ring, &bytes, &length);
  gshm_unlock (lock.owner, 0);
  return 1;
}

/* A sender is about to sleep, and has said so: if the channel was closed
   before that, nobody wakes it.  */
static int
closed_or_asleep (const struct operation *operation)
{
  return gshm_ring_is_closed (&operation->ring) ? CLOSED : 0;
}

static int
attempt_to_send (void *data, struct gshm_sleep *sleep)
{
  struct operation *operation = data;
  struct gshm_ring *ring = &operation->ring;
  uint64_t tail;

  begin_attempt (operation, sleep);
  if (gshm_ring_is_closed (ring))
    return CLOSED;
  int outcome = attempt_to_lock (operation, sleep);
  if (outcome == 0 && (gshm_load (operation->lock.owner) & TURN)
      && waits_for_self (operation))
    return WAITS_FOR_SELF;
  if (outcome == 0)
    return closed_or_asleep (operation);
  if (outcome != DONE)
    return outcome;

  enum gshm_ring_state state
    = gshm_ring_room (ring, operation->length, &operation->bytes, &tail);
  if (state == GSHM_RING_WAIT && !waits_for_self (operation))
    {
      /* [turn] */
      atomic_fetch_or (operation->lock.owner, TURN);
      operation->is_turn = 1;
      sleep_on_other (operation, sleep, tail);
      /* Only now, since a receiver that has the lock just then wakes those who
         have said that they sleep.  */
      if (skip_for_receivers (operation, sleep))
        state = gshm_ring_room (ring, operation->length, &operation->bytes,
                                &tail);
      if (state == GSHM_RING_WAIT)
        return closed_or_asleep (operation);
    }
  switch (state)
    {
    case GSHM_RING_READY:
      if (gshm_load (operation->lock.owner) & TURN)
        atomic_fetch_and (operation->lock.owner, ~TURN);
      return DONE;
    case GSHM_RING_WAIT:
      unlock (operation);
      return WAITS_FOR_SELF;
    case GSHM_RING_CLOSED:
      unlock (operation);
      return CLOSED;
    default:
      unlock (operation);
      refuse_memory (operation);
    }
}

static void
make_copy (struct operation *operation, uint64_t length)
{
  if (scm_is_false (operation->copy)
      || SCM_BYTEVECTOR_LENGTH (operation->copy) != length)
    operation->copy = scm_c_make_bytevector ((size_t) length);
}

static int
attempt_to_receive (void *data, struct gshm_sleep *sleep)
{
  struct operation *operation = data;
  struct gshm_ring *ring = &operation->ring;
  uint64_t head;

  begin_attempt (operation, sleep);
  enum gshm_ring_state state = gshm_ring_peek (ring, &head);
  if (state == GSHM_RING_READY)
    {
      if (operation->wants_copy)
        make_copy (operation, gshm_ring_guess (ring));
      int outcome = attempt_to_lock (operation, sleep);
      if (outcome != DONE)
        return outcome;
      state = gshm_ring_next (ring, &operation->bytes, &operation->length);
      if (state == GSHM_RING_READY)
        return DONE;
      unlock (operation);
      if (state == GSHM_RING_BROKEN)
        refuse_memory (operation);
      /* Another receiver was faster, or there was only something to skip, for
         which a sender may wait.  */
      gshm_ring_wake (operation->side);
      state = gshm_ring_peek (ring, &head);
    }
  switch (state)
    {
    case GSHM_RING_CLOSED:
      return CLOSED;
    case GSHM_RING_WAIT:
      if (waits_for_self (operation))
        return WAITS_FOR_SELF;
      sleep_on_other (operation, sleep, head);
      return 0;
    default:
      gshm_sleep_on_half (sleep, &operation->other->position, NOWHERE);
      return 0;
    }
}

static void
leave_place (const struct operation *operation)
{
  if (operation->place != NULL)
    gshm_replace (operation->place, self_in (operation), 0);
}

/* The wait ended without the lock.  */
static void
give_up (const struct operation *operation)
{
  leave_place (operation);
  if (operation->is_turn && has_lock (operation, operation->side))
    unlock (operation);
  gshm_give_up_locking (&operation->lock);
  if (operation->announced)
    gshm_ring_wake (operation->other);
}

static void
unwind (void *data)
{
  const struct operation *operation = data;
  struct gshm_channel *channel = operation->ring.channel;

  if (gshm_is_there ((gshm_word *) channel, sizeof *channel)
      && gshm_ring_is_there (&operation->ring))
    give_up (operation);
}

SCM_NORETURN static void
refuse_to_wait (const struct operation *operation, const char *hint)
{
  gshm_place_error (operation->subr, EDEADLK, what, operation->bytevector,
                    SCM_INUM0, hint);
}

/* Wait until ATTEMPT has a result, for as long as TIMEOUT says.  Return DONE,
   with the lock held, or CLOSED, or 0 if the time is over.  */
static int
wait_for (struct operation *operation, gshm_attempt *attempt, SCM scm_timeout)
{
  struct gshm_sleep sleep = { .look = 0 };

  operation->timeout = gshm_to_timeout (operation->subr, SCM_ARGn,
                                        scm_timeout);
  sleep.look = operation->timeout == 0;
  int outcome = attempt (operation, &sleep);
  if (outcome == 0)
    {
      int64_t timeout = operation->timeout;
      if (timeout == 0 && operation->busy)
        timeout = MOMENT;
      if (timeout > 0)
        {
          scm_dynwind_begin (0);
          scm_dynwind_unwind_handler (unwind, operation, 0);
          outcome = gshm_guile_wait (operation->subr, SCM_INUM0, timeout, attempt,
                               operation);
          scm_dynwind_end ();
        }
      if (outcome == DONE)
        leave_place (operation);
      else
        give_up (operation);
    }
  int is_sender = operation->side == &operation->ring.channel->senders;
  if (outcome == HELD_BY_SELF)
    refuse_to_wait (operation, is_sender
                    ? "this thread is sending to it already: the message or "
                      "call-with-shm-slot must end first"
                    : "this thread is receiving from it already: "
                      "call-with-shm-message must end first");
  if (outcome == WAITS_FOR_SELF)
    refuse_to_wait (operation, is_sender
                    ? "no receiver can make room before this thread has left "
                      "call-with-shm-message"
                    : "no sender can send before this thread has sent its own "
                      "message or left call-with-shm-slot");
  return outcome;
}


/* Sending.  */

static SCM
init_channel (SCM bytevector)
{
  void *memory = gshm_place (INIT, bytevector, SCM_INUM0,
                             sizeof (struct gshm_channel) + GSHM_RECORD_HEADER,
                             8, 1);

  gshm_require_self (INIT);
  gshm_ring_init (memory, SCM_BYTEVECTOR_LENGTH (bytevector),
                  gshm_namespace ());
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

/* Wait for room for a message of LENGTH bytes.  */
static int
wait_for_room (struct operation *operation, size_t length, SCM timeout)
{
  if (!gshm_ring_fits (&operation->ring, length))
    scm_error (scm_out_of_range_key, operation->subr,
               "A message of ~A bytes can never be sent: the largest has ~A",
               scm_list_2 (scm_from_size_t (length),
                           scm_from_uint64 (operation->ring.size
                                            - GSHM_RECORD_HEADER)),
               scm_list_1 (scm_from_size_t (length)));
  operation->length = length;
  int outcome = wait_for (operation, attempt_to_send, timeout);
  if (outcome == CLOSED)
    gshm_closed_error (operation->subr, operation->bytevector);
  return outcome;
}

SCM_NORETURN static void
refuse_bytevector (const char *subr, SCM object)
{
  gshm_wrong_type (subr, 2, object, "bytevector");
}

/* Whether BYTEVECTOR, which may be on memory of any kind, no longer has SIZE
   bytes or shows what it did.  */
static int
is_gone (SCM bytevector, size_t size)
{
  return SCM_BYTEVECTOR_LENGTH (bytevector) < size
         || (scm_is_true (SCM_BYTEVECTOR_PARENT (bytevector))
             && gshm_is_unmapped (bytevector));
}

/* With the lock held: the user's memory is no more.  */
SCM_NORETURN static void
leave_unmapped (struct operation *operation, SCM k)
{
  leave (operation);
  gshm_unmapped_error (operation->subr, k);
}

/* (CHANNEL BYTEVECTOR START COUNT TIMEOUT DATUM?) -> boolean.  COUNT #f
   reaches to the end; DATUM? is whether the procedure is the one that sends a
   datum.  */
static SCM
gshm_channel_send (SCM bytevector, SCM data, SCM scm_start, SCM scm_count,
                   SCM timeout, SCM is_datum)
{
  const char *subr = scm_is_true (is_datum) ? SEND_DATUM : SEND;
  struct operation operation;

  begin_on_side (&operation, subr, bytevector, 1);
  if (!SCM_BYTEVECTOR_P (data))
    refuse_bytevector (subr, data);
  size_t size = SCM_BYTEVECTOR_LENGTH (data);
  size_t start = gshm_to_size (subr, 3, scm_start, size), count = size - start;
  if (scm_is_true (scm_count))
    count = gshm_to_size (subr, 4, scm_count, count);
  int outcome = wait_for_room (&operation, count, timeout);
  if (outcome == DONE)
    {
      memmove (operation.bytes, SCM_BYTEVECTOR_CONTENTS (data) + start, count);
      if (is_gone (data, size))
        leave_unmapped (&operation, scm_start);
      end_sending (&operation);
    }
  scm_remember_upto_here_2 (bytevector, data);
  return scm_from_bool (outcome == DONE);
}


/* Receiving.  */

/* What a receiver without a message returns.  */
static SCM
no_message (int outcome)
{
  return outcome == CLOSED ? SCM_EOF_VAL : SCM_BOOL_F;
}

/* (CHANNEL TIMEOUT DATUM?) -> bytevector, #f or the end-of-file object.  */
static SCM
gshm_channel_receive (SCM bytevector, SCM timeout, SCM is_datum)
{
  struct operation operation;

  begin_on_side (&operation, scm_is_true (is_datum) ? RECEIVE_DATUM : RECEIVE,
                 bytevector, 0);
  operation.wants_copy = 1;
  operation.copy = SCM_BOOL_F;
  int outcome = wait_for (&operation, attempt_to_receive, timeout);
  if (outcome != DONE)
    return no_message (outcome);
  if (SCM_BYTEVECTOR_LENGTH (operation.copy) != operation.length)
    {
      /* It is not the message that this thread had seen before it had the
         lock.  */
      scm_dynwind_begin (0);
      scm_dynwind_unwind_handler (leave, &operation, 0);
      make_copy (&operation, operation.length);
      scm_dynwind_end ();
    }
  memcpy (SCM_BYTEVECTOR_CONTENTS (operation.copy), operation.bytes,
          (size_t) operation.length);
  end_receiving (&operation);
  scm_remember_upto_here_2 (bytevector, operation.copy);
  return operation.copy;
}

/* (CHANNEL BYTEVECTOR START TIMEOUT) -> count, #f or the end-of-file
   object.  */
static SCM
gshm_channel_receive_into (SCM bytevector, SCM target, SCM scm_start,
                           SCM timeout)
{
  struct operation operation;

  if (!SCM_MUTABLE_BYTEVECTOR_P (target))
    refuse_bytevector (RECEIVE_INTO, target);
  size_t start = gshm_to_size (RECEIVE_INTO, 3, scm_start,
                               SCM_BYTEVECTOR_LENGTH (target));
  begin_on_side (&operation, RECEIVE_INTO, bytevector, 0);
  int outcome = wait_for (&operation, attempt_to_receive, timeout);
  if (outcome != DONE)
    return no_message (outcome);
  size_t size = SCM_BYTEVECTOR_LENGTH (target);
  size_t room = size < start ? 0 : size - start;
  if (operation.length > room)
    {
      leave (&operation);
      SCM length = scm_from_uint64 (operation.length);
      scm_error (scm_out_of_range_key, RECEIVE_INTO,
                 "The message has ~A bytes, and there is room for ~A",
                 scm_list_2 (length, scm_from_size_t (room)),
                 scm_list_1 (length));
    }
  memmove (SCM_BYTEVECTOR_CONTENTS (target) + start, operation.bytes,
           (size_t) operation.length);
  if (is_gone (target, size))
    leave_unmapped (&operation, scm_start);
  end_receiving (&operation);
  scm_remember_upto_here_2 (bytevector, target);
  return scm_from_uint64 (operation.length);
}


/* In place.  */

/* The message's bytes, with the lock held, which is given up if there is no
   memory for that.  */
static SCM
make_view (struct operation *operation)
{
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (leave, operation, 0);
  SCM view = gshm_view_bytes (operation->bytevector, operation->bytes,
                              (size_t) operation->length);
  scm_dynwind_end ();
  return view;
}

/* (CHANNEL SIZE TIMEOUT) -> bytevector or #f: the room for a message, with the
   senders' lock held.  */
static SCM
gshm_channel_begin_slot (SCM bytevector, SCM scm_size, SCM timeout)
{
  struct operation operation;

  begin_on_side (&operation, SLOT, bytevector, 1);
  size_t size = gshm_to_size (SLOT, 2, scm_size, SIZE_MAX);
  if (wait_for_room (&operation, size, timeout) != DONE)
    return SCM_BOOL_F;
  SCM view = make_view (&operation);
  scm_remember_upto_here_1 (bytevector);
  return view;
}

/* (CHANNEL TIMEOUT) -> bytevector, #f or the end-of-file object: the next
   message, with the receivers' lock held.  */
static SCM
gshm_channel_begin_message (SCM bytevector, SCM timeout)
{
  struct operation operation;

  begin_on_side (&operation, MESSAGE, bytevector, 0);
  int outcome = wait_for (&operation, attempt_to_receive, timeout);
  if (outcome != DONE)
    return no_message (outcome);
  SCM view = make_view (&operation);
  scm_remember_upto_here_1 (bytevector);
  return view;
}

/* What is in VIEW is no longer to be had there.  */
static void
begin_to_end (struct operation *operation, SCM view)
{
  if (!SCM_BYTEVECTOR_P (view))
    refuse_bytevector (operation->subr, view);
  gshm_set_empty (view);
  if (!has_lock (operation, operation->side))
    gshm_place_error (operation->subr, EPERM, what, operation->bytevector,
                      SCM_INUM0, "this thread no longer holds the message");
}

/* (CHANNEL VIEW SIZE): send what VIEW, of SIZE bytes, holds.  */
static SCM
gshm_channel_end_slot (SCM bytevector, SCM view, SCM scm_size)
{
  struct operation operation;

  begin_on_side (&operation, SLOT, bytevector, 1);
  operation.length = gshm_to_size (SLOT, 2, scm_size, SIZE_MAX);
  begin_to_end (&operation, view);
  end_sending (&operation);
  scm_remember_upto_here_1 (bytevector);
  return SCM_BOOL_T;
}

/* (CHANNEL VIEW): the message in VIEW was received.  */
static SCM
gshm_channel_end_message (SCM bytevector, SCM view)
{
  struct operation operation;

  begin_on_side (&operation, MESSAGE, bytevector, 0);
  begin_to_end (&operation, view);
  if (gshm_ring_next (&operation.ring, &operation.bytes, &operation.length)
      != GSHM_RING_READY)
    {
      unlock (&operation);
      refuse_memory (&operation);
    }
  end_receiving (&operation);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

/* (CHANNEL VIEW SENDER?): if this thread still has a message in place, have it
   as if it had not.  This raises no exception where there is no channel any
   more.  VIEW may be #f.  */
static SCM
gshm_channel_leave (SCM bytevector, SCM view, SCM is_sender)
{
  if (SCM_BYTEVECTOR_P (view))
    gshm_set_empty (view);
  if (!SCM_BYTEVECTOR_P (bytevector) || SCM_BYTEVECTOR_LENGTH (bytevector) > 0)
    {
      struct operation operation = { .subr = SLOT };
      struct gshm_channel *channel
        = gshm_place (SLOT, bytevector, SCM_INUM0, sizeof *channel, 8, 1);

      if (gshm_is_there ((gshm_word *) channel, sizeof *channel)
          && gshm_ring_find (&operation.ring, channel,
                             SCM_BYTEVECTOR_LENGTH (bytevector)))
        {
          set_side (&operation, scm_is_true (is_sender));
          if (has_lock (&operation, operation.side))
            leave (&operation);
        }
    }
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

/* (CHANNEL SENDER?) -> boolean: has this thread a message in place?  */
static SCM
gshm_channel_is_mine (SCM bytevector, SCM is_sender)
{
  struct operation operation;

  begin_on_side (&operation, scm_is_true (is_sender) ? SLOT : MESSAGE,
                 bytevector, scm_is_true (is_sender));
  int mine = has_lock (&operation, operation.side);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (mine);
}


/* Input ports.  Guile's custom ports do not tell char-ready? whether there is
   something to read.  The stream is a pair of procedures.  */

static scm_t_port_type *input_port_type;

static size_t
read_port (SCM port, SCM target, size_t start, size_t count)
{
  return scm_to_size_t (scm_call_3 (SCM_CAR (SCM_PACK (SCM_STREAM (port))),
                                    target, scm_from_size_t (start),
                                    scm_from_size_t (count)));
}

static int
port_is_ready (SCM port)
{
  return scm_is_true (scm_call_0 (SCM_CDR (SCM_PACK (SCM_STREAM (port)))));
}

/* (READ! READY?) -> binary input port.  READ! stores bytes in a bytevector from
   an index on, up to a count, and returns how many, 0 at the end; READY? tells
   whether it would not wait.  */
static SCM
make_input_port (SCM read, SCM is_ready)
{
  return scm_c_make_port_with_encoding (input_port_type, SCM_OPN | SCM_RDNG,
                                        scm_from_utf8_symbol ("ISO-8859-1"),
                                        scm_from_utf8_symbol ("error"),
                                        SCM_UNPACK (scm_cons (read,
                                                              is_ready)));
}


/* The channel as a whole.  */

/* (BYTEVECTOR SUBR) -> integer: the size of the ring of the channel there, for
   the procedure named SUBR, a string.  */
static SCM
gshm_channel_size (SCM bytevector, SCM subr)
{
  struct operation operation;
  char name[32];

  memset (name, 0, sizeof name);
  scm_to_locale_stringbuf (subr, name, sizeof name - 1);
  begin (&operation, name, bytevector);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_uint64 (operation.ring.size);
}

/* (CHANNEL) -> boolean: was it open?  */
static SCM
gshm_channel_close (SCM bytevector)
{
  struct operation operation;

  begin (&operation, CLOSE, bytevector);
  int was_closed = gshm_ring_close (&operation.ring);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (!was_closed);
}

/* (CHANNEL) -> list: the ring's size, messages and bytes in, messages and
   bytes out, waiting senders and receivers, and whether it is closed.  */
static SCM
gshm_channel_statistics (SCM bytevector)
{
  struct operation operation;

  begin (&operation, STATISTICS, bytevector);
  struct gshm_channel *channel = operation.ring.channel;
  /* First, so that no more goes out than went in.  */
  struct gshm_passed out = gshm_ring_passed (&channel->receivers);
  struct gshm_passed in = gshm_ring_passed (&channel->senders);
  int senders = gshm_count_places (channel->senders.waiting, GSHM_WAITING, 1,
                                   &channel->namespace);
  int receivers = gshm_count_places (channel->receivers.waiting, GSHM_WAITING,
                                     1, &channel->namespace);
  int is_closed = gshm_ring_is_closed (&operation.ring);
  scm_remember_upto_here_1 (bytevector);
  return scm_list_n (scm_from_uint64 (operation.ring.size),
                     scm_from_uint64 (in.messages), scm_from_uint64 (in.bytes),
                     scm_from_uint64 (out.messages),
                     scm_from_uint64 (out.bytes),
                     scm_from_int (senders), scm_from_int (receivers),
                     scm_from_bool (is_closed), SCM_UNDEFINED);
}

void
gshm_channel_start (void)
{
  static char name[] = "shm-channel";

  input_port_type = scm_make_port_type (name, read_port, NULL);
  scm_set_port_input_waiting (input_port_type, port_is_ready);
}

void
gshm_channel_init (void)
{
  gshm_define ("%shm-channel-init!", 1, 0, init_channel);
  gshm_define ("%shm-channel-send!", 6, 0, gshm_channel_send);
  gshm_define ("%shm-channel-receive!", 3, 0, gshm_channel_receive);
  gshm_define ("%shm-channel-receive-into!", 4, 0, gshm_channel_receive_into);
  gshm_define ("%shm-channel-begin-slot!", 3, 0, gshm_channel_begin_slot);
  gshm_define ("%shm-channel-end-slot!", 3, 0, gshm_channel_end_slot);
  gshm_define ("%shm-channel-begin-message!", 2, 0,
               gshm_channel_begin_message);
  gshm_define ("%shm-channel-end-message!", 2, 0, gshm_channel_end_message);
  gshm_define ("%shm-channel-leave!", 3, 0, gshm_channel_leave);
  gshm_define ("%shm-channel-mine?", 2, 0, gshm_channel_is_mine);
  gshm_define ("%shm-channel-size", 2, 0, gshm_channel_size);
  gshm_define ("%shm-channel-input-port", 2, 0, make_input_port);
  gshm_define ("%shm-channel-close!", 1, 0, gshm_channel_close);
  gshm_define ("%shm-channel-statistics", 1, 0, gshm_channel_statistics);
  gshm_define_size ("shm-channel-header-size", sizeof (struct gshm_channel));
  gshm_define_size ("shm-message-header-size", GSHM_RECORD_HEADER);
}

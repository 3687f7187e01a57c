/* SPDX-License-Identifier: BSD-3-Clause
   broadcast.pml - the broadcast of src/core/feed.c, broadcast.c and
   subscriber.c: send, receive, read the latest, close, die.

   The memory is sequentially consistent.  Each access to it that others can
   distinguish from the one before is a step, with what follows in the process
   alone, and a sender may be killed before each.  The names in brackets are
   those of the C.  What is abstracted away: the format, the halves of words,
   bytes, timeouts, what hostile processes do, and how senders wait for the
   lock, which is that of mutex.pml: here, to take it is one step.  The fences
   are what make the C's accesses appear in this order.

   The ring has SIZE units, and a record has one to MOST.  Both halves of a
   message name its sender and its number.

   The end of a bounded sleep comes only if a sender was killed, and only where
   there is something to receive, so that a lost wake-up is what the judge finds
   when nothing moves any more.  */

#ifndef SENDERS
# define SENDERS 2
#endif
#ifndef SENDS
# define SENDS 2                /* of each sender */
#endif
#ifndef MOST
# define MOST 1                 /* units of a record */
#endif
#ifndef LEAST
# define LEAST 1
#endif
#ifndef START
# define START 0                /* the position of the first record */
#endif
#ifdef MUTANT_SMALL_RING
# define SIZE (2 * MOST)
#else
# define SIZE (3 * MOST)
#endif

/* Flags of the head.  */
#define WAITERS 1
#define CLOSED 2
#define WORD(position) ((position) << 2)
#define POSITION(word) ((word) >> 2)
#define HEAD POSITION (head)

byte owner;                     /* of the lock: 0, or a sender's number + 1 */
byte head = WORD (START);
byte oldest = START;
byte counted_at[2], messages[2], last[2];

/* Of the record that begins in a unit: its length, its sequence number, and
   half of the message; of the one that ends there: the other half.  */
byte length[SIZE], sequence[SIZE], half[SIZE], other_half[SIZE];
#define SKIP 9
#define OFFSET(position) ((position) % SIZE)
#define REST(position) (SIZE - OFFSET (position))

bool asleep;                    /* the subscriber */
bool dead[SENDERS];
bool killed;

/* What is said about it: how many messages were published, and which; and
   whether the broadcast was closed before.  */
byte sent;
byte order[SENDERS * SENDS + 1];
byte done;                      /* senders */

#ifdef NO_KILLS
# define OR_DIE
#else
# define OR_DIE :: goto die
#endif
#define STEP(...) if :: atomic { __VA_ARGS__ } OR_DIE fi

/* The counters that are valid at POSITION.  */
#define AT(position) (counted_at[0] == (position) -> 0 : 1)
#ifdef MUTANT_COUNT_IN_PLACE
# define NEXT(position) AT (position)
#else
# define NEXT(position) (1 - AT (position))
#endif


/* Sending.  */

#define CONTENT (8 * me + n + 1)
#define RECORD (from + skipped)
#define END (RECORD + units)

/* [claim] In the process alone, since only owners of the lock write what is
   read here.  */
inline claim ()
{
  STEP (old = oldest;
        do
        :: END - old > SIZE ->
           old = (length[OFFSET (old)] == SKIP -> old + REST (old) : old);
           assert (old < from);
           old = old + length[OFFSET (old)]
        :: else -> break
        od;
#ifdef MUTANT_CLAIM_SHORT
        old = (old > oldest -> oldest : old);
#endif
        oldest = old;
        old = 0)
}

#ifdef MUTANT_CLAIM_LATE
# define CLAIM_BEFORE
# define CLAIM_AFTER claim ()
#else
# define CLAIM_BEFORE claim ()
# define CLAIM_AFTER
#endif

inline write ()
{
  STEP (half[OFFSET (RECORD)] = CONTENT);
  STEP (other_half[OFFSET (END - 1)] = CONTENT);
  STEP (length[OFFSET (RECORD)] = units);
  STEP (sequence[OFFSET (RECORD)] = messages[AT (from)])
}

/* [count] */
inline count ()
{
  STEP (messages[NEXT (from)] = messages[AT (from)] + 1);
  STEP (last[NEXT (from)] = RECORD);
  STEP (counted_at[NEXT (from)] = END)
}

/* [publish] */
inline publish ()
{
  STEP (word = head;
#ifndef MUTANT_PUBLISH_CLOSED
        if
        :: word & CLOSED -> goto unlock
        :: else
        fi;
#endif
        assert (!(word & CLOSED) && POSITION (word) == from);
        head = WORD (END);
        order[sent] = CONTENT;
        sent++;
        n++)
}

proctype sender (byte me)
{
  byte n, units, from, skipped, word, old;

next:
  if
  :: n == SENDS || (head & CLOSED) -> goto finished
  :: else
  fi;
  STEP (owner == 0 || dead[owner - 1] ->
        owner = me + 1;
        from = HEAD;
        select (units : LEAST .. MOST);
        skipped = (units > REST (from) -> REST (from) : 0));
  CLAIM_BEFORE;
  if
  :: skipped > 0 -> STEP (length[OFFSET (from)] = SKIP)
  :: else
  fi;
#ifdef MUTANT_PUBLISH_FIRST
  count ();
  publish ();
  n--;
  write ();
  n++;
#else
  write ();
  CLAIM_AFTER;
# ifdef MUTANT_COUNT_LATE
  publish ();
  count ();
# else
  count ();
  publish ();
# endif
#endif
unlock:
  STEP (assert (owner == me + 1); owner = 0);
  if
  :: word & WAITERS ->
#ifndef MUTANT_WAKE_NONE
     STEP (/* [wake] */ asleep = false)
#else
     skip
#endif
  :: else
  fi;
  atomic { word = 0; from = 0; skipped = 0; units = 0 };
  goto next;

die:
  atomic { dead[me] = true; killed = true };
finished:
  done++
}


/* Receiving.  */

/* [validate] */
#define IS_INTACT(position) (oldest <= (position))

#ifdef MUTANT_BELIEVE
# define VALIDATE(where, otherwise)
#else
# define VALIDATE(where, otherwise)                                           \
  if                                                                          \
  :: IS_INTACT (where)                                                        \
  :: !IS_INTACT (where) -> otherwise                                          \
  fi
#endif

byte position, expected, missed, received;

#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#else
# define SLICE_ENDS (killed && (HEAD != position || (head & CLOSED)))
#endif

#ifndef WATCHES
active proctype subscriber ()
{
  byte word, where, units, number, content;

  /* From now on; the senders may have begun.  */
subscribe:
  where = HEAD;
  number = messages[AT (where)];
#ifndef MUTANT_SUMMARY_UNCHECKED
  if
  :: HEAD == where
  :: HEAD != where -> goto subscribe
  fi;
#endif
  atomic { position = where; expected = number; received = number };

attempt:
  word = head;
  if
  :: POSITION (word) == position && (word & CLOSED) -> goto closed
  :: POSITION (word) == position && !(word & CLOSED) -> goto sleep
  :: else
  fi;
  where = position;
record:
  units = length[OFFSET (where)];
  number = sequence[OFFSET (where)];
  VALIDATE (position, goto catch_up);
  if
  :: units == SKIP ->
     atomic {
       assert (OFFSET (where) > 0);
       where = where + REST (where)
     };
     goto record
  :: else
  fi;
  assert (units >= LEAST && units <= MOST && number == expected);
  content = half[OFFSET (where)];
#ifdef MUTANT_VALIDATE_EARLY
  VALIDATE (where, goto catch_up);
#endif
  if
  :: content == other_half[OFFSET (where + units - 1)]
  :: content != other_half[OFFSET (where + units - 1)] -> content = 0
  fi;
#ifndef MUTANT_VALIDATE_EARLY
  VALIDATE (where, goto catch_up);
#endif
  atomic {
    assert (content != 0 && content == order[expected]);
    position = where + units;
    expected++;
    received++;
    content = 0;
    goto attempt
  }

catch_up:
  where = oldest;
  units = length[OFFSET (where)];
  number = sequence[OFFSET (where)];
  VALIDATE (where, goto catch_up);
  atomic {
    assert (units >= LEAST && units <= MOST && where > position);
    assert (number > expected);
#ifndef MUTANT_MISS_NOTHING
    missed = missed + number - expected;
#endif
    position = where;
    expected = number;
    goto attempt
  }

sleep:
#ifndef MUTANT_NO_ANNOUNCE
  /* [announce] */
  if
  :: word & WAITERS
  :: else ->
     atomic {
       if
       :: head == word -> head = word | WAITERS
       :: else
       fi;
       word = word | WAITERS
     }
  fi;
#endif
  atomic {
    if
#ifdef MUTANT_SLEEP_ON_ANY
    :: true -> asleep = true
#else
    :: head == word -> asleep = true
    :: head != word -> goto attempt
#endif
    fi
  };
end_asleep:
  if
  :: !asleep
  :: atomic { SLICE_ENDS -> asleep = false }
  fi;
  goto attempt;

closed:
  assert (received + missed == sent)
}

#else

/* In its place, one that reads the latest, twice.  What is said about it: how
   many messages were sent when it began.  */
active proctype watcher ()
{
  byte from, number, where, units, seen, content, before, calls;

begin:
  before = sent;
again:
  from = HEAD;
  number = messages[AT (from)];
  where = last[AT (from)];
#ifndef MUTANT_SUMMARY_UNCHECKED
  if
  :: HEAD == from
  :: HEAD != from -> goto again
  fi;
#endif
  if
  :: number == 0 -> assert (before == 0); goto end
  :: else
  fi;
  units = length[OFFSET (where)];
  seen = sequence[OFFSET (where)];
  VALIDATE (where, goto overtaken);
  assert (where + units == from && seen == number - 1);
  content = half[OFFSET (where)];
  if
  :: content == other_half[OFFSET (where + units - 1)]
  :: content != other_half[OFFSET (where + units - 1)] -> content = 0
  fi;
  VALIDATE (where, goto overtaken);
  /* It was the newest at some moment of the call.  */
  assert (content == order[seen] && seen + 1 >= before && seen < sent);
end:
  atomic {
    content = 0;
    calls++;
    if
    :: calls < 2 -> goto begin
    :: else -> goto finish
    fi
  }
overtaken:
  /* Only if there is a newer one.  */
  atomic { assert (HEAD != from); goto again }
finish:
  skip
}
#endif

#ifdef CLOSES
active proctype closer ()
{
  /* [close] */
  head = head | CLOSED;
  asleep = false
}
#endif

init
{
  atomic {
    counted_at[0] = START;
    counted_at[1] = 255;
    run sender (0);
#if SENDERS > 1
    run sender (1);
#endif
  }
  /* The judge: when nothing moves any more all was received, and no thread
     sleeps that has something to receive.  */
  timeout -> assert (done == SENDERS
#if !defined CLOSES && !defined WATCHES
                     && asleep && position == HEAD && received + missed == sent
#endif
                     )
}

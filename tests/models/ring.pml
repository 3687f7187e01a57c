/* SPDX-License-Identifier: BSD-3-Clause
   ring.pml - the channel of src/core/ring.c and channel.c: send, receive, give
   up, leave, close, die.

   The memory is sequentially consistent.  Each access to it that others can
   tell from the one before is a step, with what follows in the process alone,
   and a process may be killed before each.  The names in brackets are those of
   the C.  What is abstracted away: the format, the halves of words (the futex
   compares all of them), bytes, who is counted as waiting, signals' handlers,
   and spinning, whose attempts are the first one again.  The lock is that of
   mutex.pml: here, to look at it and to take it if it is free is one step.

   The ring has SIZE units, and a record has one or two.  Both halves of a
   message name its sender and its number.

   A wake-up may choose any sleeper.  The end of a bounded sleep comes only if a process
   was killed, and only where there is something to see, so that a lost wake-up
   is what the judge sees when nothing moves any more.  */

#ifndef SIZE
# define SIZE 3
#endif
#ifndef SENDERS
# define SENDERS 2
#endif
#ifndef RECEIVERS
# define RECEIVERS 2
#endif
#ifndef SENDS
# define SENDS 1                /* of each sender */
#endif
#ifndef RECEIVES
# define RECEIVES 2             /* of each receiver */
#endif
#ifndef LEAST
# define LEAST 1                /* units of a record */
#endif
#ifndef MOST
# define MOST 2
#endif
#ifndef START
# define START 0                /* where the first record goes */
#endif

/* Flags of an owner and of a position.  */
#define WAITERS 1
#define CLOSED 2
#define TURN 4
#define OWNER(i) (8 * (i) + 8)
#define OWNER_ID(owner) ((owner) / 8 - 1)
#define IS_DEAD(owner) ((owner) >= 8 && dead[OWNER_ID (owner)])
#define WORD(position) ((position) << 2)
#define POSITION(word) ((word) >> 2)

/* The sides, and what one can sleep on.  */
#define SEND 0
#define RECEIVE 1
#define OWNER_OF(side) (1 + (side))
#define POSITION_OF(side) (3 + (side))

byte owner[2];
byte position[2];               /* words: the head, and the tail */
byte seen[2];
#define HEAD POSITION (position[SEND])
#define TAIL POSITION (position[RECEIVE])
#define IS_CLOSED (position[SEND] & CLOSED)

/* Of the record that begins in a unit: its length, and half of the message; of
   the one that ends there: the other half.  */
byte length[SIZE], half[SIZE], other_half[SIZE];
#define SKIP 9
#define OFFSET(position) ((position) % SIZE)
#define REST(position) (SIZE - OFFSET (position))
#define CONTENT (16 * me + passed[me] + 1)
#define SENDER_OF(content) ((content) / 16)
#define NUMBER_OF(content) ((content) % 16 - 1)

byte asleep[4];                 /* 0, or what it sleeps on */
bool dead[4];

/* What is said about it: who has which lock; how many messages of each sender
   were sent, and, the last two, received; whether a process was killed.  */
byte holder[2];
byte passed[4];
byte need[2];                   /* of each sender: units */
bool killed;
#define ALL_RECEIVED (passed[0] == passed[2] && passed[1] == passed[3])

#define WANTED(need) ((need) < REST (HEAD) -> (need) : REST (HEAD))
#define IS_ROOM(need, tail) (SIZE - (HEAD - (tail)) >= WANTED (need))
#define IS_TO_SKIP (TAIL < HEAD && length[OFFSET (TAIL)] == SKIP)

/* Who sleeps would see this.  */
#define CAN_LOCK(side) (owner[side] == 0 || IS_DEAD (owner[side]))
#define SEES(i)                                                               \
  ((asleep[i] == POSITION_OF (SEND) && (HEAD != TAIL || IS_CLOSED))           \
   || (asleep[i] == OWNER_OF (RECEIVE) && CAN_LOCK (RECEIVE))                 \
   || (asleep[i] == OWNER_OF (SEND) && (CAN_LOCK (SEND) || IS_CLOSED))        \
   || (asleep[i] == POSITION_OF (RECEIVE)                                     \
       && (IS_CLOSED || IS_ROOM (need[i], TAIL)                               \
           || (IS_TO_SKIP && CAN_LOCK (RECEIVE)))))

#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#else
# define SLICE_ENDS (killed && SEES (me))
#endif

/* One sender and one receiver give up when they like.  */
#ifdef TIMES_OUT
# define HAS_TIMEOUT (me == 1 || me == 3)
#else
# define HAS_TIMEOUT false
#endif

#ifdef NO_KILLS
# define OR_DIE
#elif defined ONE_KILL
# define OR_DIE :: atomic { !killed -> goto die }
#else
# define OR_DIE :: goto die
#endif
#define STEP(...) if :: atomic { __VA_ARGS__ } OR_DIE fi

/* What some mutants do not ask.  */
#ifdef MUTANT_TAKE_OVER_BLINDLY
# define IS_OWNER(side) true
#else
# define IS_OWNER(side) (owner[side] == word)
#endif
#ifdef MUTANT_PUBLISH_BLINDLY
# define IS_SAME(side) true
#else
# define IS_SAME(side) (position[side] == word)
#endif
#ifdef MUTANT_PUBLISH_CLOSED
# define IS_REFUSED(side) false
#else
# define IS_REFUSED(side) ((side) == SEND && (word & CLOSED))
#endif
#ifdef MUTANT_DROP_WAITERS
# define KEPT(word) ((word) & CLOSED)
#else
# define KEPT(word) ((word) & (WAITERS | CLOSED))
#endif
#ifdef MUTANT_SLEEP_ON_ANY
# define MAY_SLEEP(where) true
#else
# define MAY_SLEEP(where) (where == word)
#endif

#define SLEEPS(on)                                                            \
  (asleep[0] == (on) || asleep[1] == (on) || asleep[2] == (on)                \
   || asleep[3] == (on))

inline rouse (on)
{
  if
  :: asleep[0] == on -> asleep[0] = 0
  :: asleep[1] == on -> asleep[1] = 0
  :: asleep[2] == on -> asleep[2] = 0
  :: asleep[3] == on -> asleep[3] = 0
  :: else
  fi
}

#define ROUSE_IF(i, on) asleep[i] = (asleep[i] == (on) -> 0 : asleep[i])

inline rouse_all (on)
{
  ROUSE_IF (0, on);
  ROUSE_IF (1, on);
  ROUSE_IF (2, on);
  ROUSE_IF (3, on)
}

inline held (side)
{
  assert (holder[side] == 0 || dead[holder[side] - 1]);
  holder[side] = me + 1
}

/* Have the lock and go to LOCKED, or sleep.  */
inline lock (side)
{
  STEP (word = owner[side];
        if
        :: word == 0 ->
           /* [take] */
           owner[side] = OWNER (me) | (told_lock -> WAITERS : 0);
           told_lock = false;
           held (side);
           goto locked
        :: word >= 8 && OWNER_ID (word) == me ->
           assert (side == SEND && (word & TURN)); goto locked
        :: word >= 8 && OWNER_ID (word) != me && look && IS_DEAD (word)
        :: else -> told_lock = told_lock || announce; goto taken
        fi);
  STEP (/* [take over] */
        if
        :: IS_OWNER (side) ->
           owner[side] = OWNER (me) | WAITERS;
           told_lock = false;
           held (side);
           goto locked
        :: else -> goto again
        fi);
taken:
  announce_on (owner[side]);
  if
  :: side == SEND -> refuse_closed ()
  :: else
  fi;
  sleep_on (owner[side], OWNER_OF (side))
}

/* [free] */
inline unlock (side)
{
  STEP (assert (OWNER_ID (owner[side]) == me);
        word = owner[side];
        owner[side] = 0;
        holder[side] = 0);
  if
  :: word & WAITERS -> STEP (/* [wake] */ rouse (OWNER_OF (side)))
  :: else
  fi;
  word = 0
}

/* Look again, for a close that wakes nobody who was not known to sleep.  */
inline refuse_closed ()
{
#if defined CLOSES && !defined MUTANT_REFUSE_EARLY
  STEP (if
        :: IS_CLOSED -> word = 0; goto give_up
        :: else
        fi)
#else
  skip
#endif
}

/* [announce] WORD was there.  */
inline announce_on (where)
{
  if
  :: announce && !(word & WAITERS) ->
     STEP (if
           :: where == word -> where = word | WAITERS
           :: else
           fi;
           word = word | WAITERS)
  :: else
  fi
}

inline sleep_on (where, key)
{
  if
  :: !announce -> goto again
  :: else
  fi;
  STEP (look = false;
        if
        :: last -> word = 0; goto give_up
        :: MAY_SLEEP (where) && !last ->
           asleep[me] = key; word = 0; goto sleeping
        :: else -> word = 0; goto attempt
        fi)
}

/* Once asleep; once an attempt ended that cannot sleep; once the time is over.
   Nobody can tell one that is killed in its sleep from one that is killed
   before.  */
inline be_asleep ()
{
  skip;
end_asleep:
  if
  :: atomic { asleep[me] == 0 -> goto attempt }
  :: atomic { SLICE_ENDS -> asleep[me] = 0; look = true; goto attempt }
  :: atomic {
       HAS_TIMEOUT -> asleep[me] = 0; look = true; last = true; goto attempt
     }
  /* An exception: it gives up without an attempt.  */
  :: atomic { HAS_TIMEOUT -> asleep[me] = 0; goto give_up }
  fi;
again:
  atomic {
    look = false;
    word = 0;
    if
    :: last || (!announce && HAS_TIMEOUT) -> goto give_up
    :: !last -> announce = true; goto attempt
    fi
  }
}

/* [count] In two steps: so many more, if the side is at TO.  */
#ifdef TALLY
byte counted_at[4], counted[4];
# define TALLY_AT(side, where)                                                \
  (2 * (side) + (counted_at[2 * (side)] != (where)))
# ifdef MUTANT_COUNT_IN_PLACE
#  define NEXT(side) TALLY_AT (side, POSITION (position[side]))
# else
#  define NEXT(side) (4 * (side) + 1 - TALLY_AT (side, POSITION (position[side])))
# endif
# define COUNT(side, to, messages)                                            \
  STEP (counted[NEXT (side)]                                                  \
          = counted[TALLY_AT (side, POSITION (position[side]))] + messages);  \
  STEP (counted_at[NEXT (side)] = to);
# define IS_COUNTED(side)                                                     \
  (counted[TALLY_AT (side, POSITION (position[side]))]                        \
   == passed[2 * (side)] + passed[2 * (side) + 1])
#else
# define COUNT(side, to, messages)
# define IS_COUNTED(side) true
#endif
#ifdef MUTANT_COUNT_LATE
# define COUNT_BEFORE(side, to, messages)
# define COUNT_AFTER(side, to, messages) COUNT (side, to, messages)
#else
# define COUNT_BEFORE(side, to, messages) COUNT (side, to, messages)
# define COUNT_AFTER(side, to, messages)
#endif

/* Move SIDE on, by MESSAGES of WHOSE.  */
inline publish (side, units, messages, whose)
{
  STEP (word = position[side]);
  COUNT_BEFORE (side, POSITION (word) + units, messages)
  do
  :: atomic {
       /* [publish] */
       if
       :: IS_REFUSED (side) -> word = 0; in_vain = true; goto unlock_side
       :: !IS_REFUSED (side) && IS_SAME (side) ->
          assert (side != SEND || messages == 0 || !IS_CLOSED);
          position[side] = WORD (POSITION (word) + units) | KEPT (word);
          passed[whose] = passed[whose] + messages;
          assert (TAIL <= HEAD && HEAD - TAIL <= SIZE);
          assert (IS_COUNTED (side));
          word = 0;
          break
       :: else -> word = position[side]
       fi
     }
  OR_DIE
  od;
  COUNT_AFTER (side, TAIL, messages)
}

inline wake (side)
{
  STEP (word = position[side]);
  if
  :: word & WAITERS ->
     STEP (/* [wake] */
           if
           :: SLEEPS (POSITION_OF (side)) ->
              rouse (POSITION_OF (side)); word = 0
           :: else
           fi);
     if
     :: word != 0 ->
        STEP (/* [quiet] */
              if
              :: position[side] == word -> position[side] = word & ~WAITERS
              :: else -> word = 0
              fi);
#ifndef MUTANT_QUIET_SILENTLY
        if
        :: word != 0 -> STEP (rouse_all (POSITION_OF (side)))
        :: else
        fi
#endif
     :: else
     fi
  :: else
  fi;
  word = 0
}

#define FORGET                                                                \
  word = 0; announce = false; told_lock = false; told = false;                \
  look = false; last = false; in_vain = false

proctype sender (byte me)
{
  byte sends = SENDS, word;
  bool announce, told_lock, told, look, last, in_vain;

start:
  atomic {
    FORGET;
    need[me] = 0;
    if
    :: sends == 0 -> goto gone
    :: else -> sends--
    fi;
    if
    :: need[me] = LEAST
    :: need[me] = MOST
    fi
  };
attempt:
#ifdef CLOSES
  STEP (if
        :: IS_CLOSED -> goto give_up
        :: else
        fi);
#endif
  lock (SEND);

locked:
  STEP (word = 0;
        if
        :: IS_CLOSED -> in_vain = true; goto unlock_side
        :: !IS_CLOSED && IS_ROOM (need[me], seen[SEND]) -> goto room
        :: else
        fi);
  STEP (word = position[RECEIVE];
        seen[SEND] = POSITION (word);
        if
        :: IS_ROOM (need[me], seen[SEND]) -> goto room
        :: else
        fi);
  STEP (/* [block] */ owner[SEND] = owner[SEND] | TURN; told = told || announce);
#if !defined MUTANT_NO_ANNOUNCE && !defined MUTANT_HELP_UNANNOUNCED
  announce_on (position[RECEIVE]);
#endif
#ifndef MUTANT_NO_SKIP_HELP
  STEP (/* [help] */
        if
        :: length[OFFSET (TAIL)] == SKIP
           && (owner[RECEIVE] == 0 || (look && IS_DEAD (owner[RECEIVE]))) ->
           owner[RECEIVE] = OWNER (me) | (owner[RECEIVE] == 0 -> 0 : WAITERS);
           held (RECEIVE);
           goto helping
        :: else
        fi);
#endif
#ifdef MUTANT_HELP_UNANNOUNCED
  announce_on (position[RECEIVE]);
#endif
  refuse_closed ();
  sleep_on (position[RECEIVE], POSITION_OF (RECEIVE));
sleeping:
  be_asleep ();

helping:
  STEP (word = 0;
        seen[RECEIVE] = (seen[RECEIVE] == TAIL -> HEAD : seen[RECEIVE]));
  if
  :: atomic { IS_TO_SKIP -> skip }; publish (RECEIVE, REST (TAIL), 0, 2)
  :: else
  fi;
  unlock (RECEIVE);
  goto locked;

room:
  if
  :: need[me] > REST (HEAD) ->
     STEP (/* [skip] */ length[OFFSET (HEAD)] = SKIP; word = 0);
     publish (SEND, REST (HEAD), 0, me);
     goto locked
  :: else
  fi;
#ifndef MUTANT_PUBLISH_FIRST
  STEP (owner[SEND] = owner[SEND] & ~TURN; half[OFFSET (HEAD)] = CONTENT);
  STEP (other_half[OFFSET (HEAD) + need[me] - 1] = CONTENT;
        length[OFFSET (HEAD)] = need[me]);
#endif
  publish (SEND, need[me], 1, me);
#ifdef MUTANT_PUBLISH_FIRST
  STEP (half[OFFSET (HEAD - need[me])] = CONTENT - 1;
        other_half[OFFSET (HEAD - 1)] = CONTENT - 1;
        length[OFFSET (HEAD - need[me])] = need[me]);
#endif
unlock_side:
  unlock (SEND);
  if
  :: in_vain -> goto given_up
  :: else -> goto wake_side
  fi;

give_up:
  atomic {
    word = 0;
    in_vain = true;
    if
    :: owner[SEND] >= 8 && OWNER_ID (owner[SEND]) == me -> goto unlock_side
    :: else
    fi
  };
given_up:
#ifndef MUTANT_GIVE_UP_SILENTLY
  if
  :: told_lock -> STEP (/* [give up] */ rouse (OWNER_OF (SEND)))
  :: else
  fi;
#endif
  if
  :: !told -> goto start
  :: else
  fi;
wake_side:
  /* Its own, which moved, or, having given up, those who wait as it did.  */
  wake ((in_vain -> RECEIVE : SEND));
  goto start;
#ifndef NO_KILLS
die:
  atomic { dead[me] = true; killed = true };
#endif
gone:
  atomic { FORGET; need[me] = 0; sends = 0 }
}

proctype receiver (byte me)
{
  byte receives = RECEIVES, word, content;
  bool announce, told_lock, told, look, last, in_vain, nothing;

start:
  atomic {
    FORGET;
    nothing = false;
    content = 0;
    if
    :: receives == 0 -> goto gone
    :: else -> receives--
    fi
  };
attempt:
  /* The tail, what was seen of the head, the head: only the last matters.  */
  STEP (if
        :: HEAD != TAIL || seen[RECEIVE] != TAIL
        :: else -> word = position[SEND]; goto nothing_there
        fi);
  lock (RECEIVE);

locked:
  STEP (word = 0;
        seen[RECEIVE] = (seen[RECEIVE] == TAIL -> HEAD : seen[RECEIVE]);
        if
        :: seen[RECEIVE] == TAIL -> nothing = true; goto unlock_side
        :: seen[RECEIVE] != TAIL && length[OFFSET (TAIL)] == SKIP
        :: else -> content = half[OFFSET (TAIL)]; goto read
        fi);
  publish (RECEIVE, REST (TAIL), 0, 2);
  goto locked;
read:
  STEP (assert (length[OFFSET (TAIL)] >= LEAST
                && length[OFFSET (TAIL)] <= MOST);
        assert (content > 0
                && content == other_half[OFFSET (TAIL) + length[OFFSET (TAIL)]
                                         - 1]);
        assert (NUMBER_OF (content) == passed[2 + SENDER_OF (content)]));
#ifdef LEAVES
  if
  :: true
  :: in_vain = true; goto unlock_side
  fi;
#endif
  publish (RECEIVE, length[OFFSET (TAIL)], 1, 2 + SENDER_OF (content));
unlock_side:
  content = 0;
  unlock (RECEIVE);
  goto wake_side;

nothing_there:
  if
  :: word & CLOSED -> assert (ALL_RECEIVED); receives = 0; goto give_up
  :: else
  fi;
#ifndef MUTANT_NO_ANNOUNCE
  announce_on (position[SEND]);
#endif
  told = told || announce;
  sleep_on (position[SEND], POSITION_OF (SEND));
sleeping:
  be_asleep ();

give_up:
  atomic { word = 0; in_vain = true; look = false };
#ifdef MUTANT_GIVE_UP_SILENTLY
  goto start;
#endif
  if
  :: told_lock -> STEP (/* [give up] */ rouse (OWNER_OF (RECEIVE)))
  :: else
  fi;
  wake (SEND);
  goto start;

wake_side:
#ifdef LEAVES
  if
  :: in_vain ->
     wake (SEND);
# ifdef MUTANT_LEAVE_SKIPPED
     goto start
# endif
  :: else
  fi;
#endif
  /* It moved, or skipped something before it found that it does not.  */
  wake (RECEIVE);
  if
  :: nothing -> nothing = false; goto again
  :: else -> goto start
  fi;
#ifndef NO_KILLS
die:
  atomic { dead[me] = true; killed = true };
#endif
gone:
  atomic { FORGET; nothing = false; content = 0; receives = 0 }
}

#ifdef CLOSES
proctype closer ()
{
  /* [close] */
  STEP (position[SEND] = position[SEND] | CLOSED);
# ifndef MUTANT_CLOSE_SILENTLY
  STEP (rouse_all (POSITION_OF (SEND)));
#  ifndef MUTANT_CLOSE_HEAD_ONLY
  STEP (position[RECEIVE] = position[RECEIVE] & ~WAITERS);
#  endif
  STEP (rouse_all (POSITION_OF (RECEIVE)));
#  ifndef MUTANT_CLOSE_HEAD_ONLY
  STEP (owner[SEND] = owner[SEND] & ~WAITERS);
#  endif
  STEP (rouse_all (OWNER_OF (SEND)));
# endif
# ifndef NO_KILLS
  goto gone;
die:
  killed = true;
gone:
# endif
  skip
}
#endif

#ifdef READS
/* The statistics.  */
proctype reader (byte side)
{
  byte before, messages, which, then;

  atomic {
    before = POSITION (position[side]);
    messages = passed[2 * side] + passed[2 * side + 1]
  };
  which = TALLY_AT (side, before);
  then = counted[which];
  atomic {
    assert (before != POSITION (position[side]) || then == messages);
    before = 0; messages = 0; which = 0; then = 0
  }
}
#endif

/* Only who waits for room that there is not, skipping included, and who waits
   for that one, sleep for ever, and receivers of nothing.  */
#define TAIL_THEN (IS_TO_SKIP -> TAIL + REST (TAIL) : TAIL)
#define MAY_SLEEP_ON_TAIL(i)                                                  \
  (asleep[i] == POSITION_OF (RECEIVE) && OWNER_ID (owner[SEND]) == (i)             \
   && !IS_ROOM (need[i], TAIL_THEN))
#define MAY_SLEEP_ON_LOCK(i)                                                  \
  (asleep[i] == OWNER_OF (SEND) && owner[SEND] >= 8                           \
   && !dead[OWNER_ID (owner[SEND])] && MAY_SLEEP_ON_TAIL (OWNER_ID (owner[SEND])))
#define MAY_STAY(i)                                                           \
  (asleep[i] == 0                                                             \
   || (!IS_CLOSED && (MAY_SLEEP_ON_TAIL (i) || MAY_SLEEP_ON_LOCK (i))))

/* When nothing moves any more.  */
active proctype judge ()
{
end:
  timeout ->
  assert (MAY_STAY (0));
  assert (MAY_STAY (1));
  assert ((asleep[2] == 0 && asleep[3] == 0) || (HEAD == TAIL && !IS_CLOSED));
  assert (HEAD != TAIL || ALL_RECEIVED);
  assert (IS_COUNTED (SEND) && IS_COUNTED (RECEIVE))
}

init
{
  atomic {
    position[SEND] = WORD (START);
    position[RECEIVE] = WORD (START);
    seen[SEND] = START;
    seen[RECEIVE] = START;
#ifdef TALLY
    counted_at[2 * SEND] = START;
    counted_at[2 * RECEIVE] = START;
#endif
#ifdef READS
    run reader (SEND);
    run reader (RECEIVE);
#endif
#ifdef CLOSES
    run closer ();
#endif
#if SENDERS > 1
    run sender (1);
#endif
#if RECEIVERS > 0
    run receiver (2);
#endif
#if RECEIVERS > 1
    run receiver (3);
#endif
    run sender (0)
  }
}

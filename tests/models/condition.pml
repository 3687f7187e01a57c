/* SPDX-License-Identifier: BSD-3-Clause
   condition.pml - the condition of src/core/condition.c: wait, leave, signal, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   The names in brackets are those of the C.  What is abstracted away: the
   mutex (see mutex.pml), which can be locked if it is free or its owner is
   dead; the loops that change the state by compare-and-swap, each of which is
   one step; that the sequence comes round again; the largest count of who
   waits; and the format.

   The state is one long word: the sequence, how many wait, how many signals
   are owed.  Who signals does not hold the mutex.

   The system wakes in the order of arrival; here, any of those who went to
   sleep with the oldest sequence.  The end of a bounded sleep comes only if a process
   was killed, or with -DSLICES also if nobody was, and only where there is
   something to see, so that nobody may look for ever.

   A signal is given to those who wait then, and to no more than those.  What
   is said about them: none is left at the end while somebody waits who entered
   before the last one; and, but for what was meant for one who is killed or
   leaves by an exception, no more are taken than are given.  As long as
   nobody comes while one is left, nobody who waits for ever was given more
   signals than were taken since.  That need not be if somebody does: when the
   next signal is given, the one who entered then may take the one before as
   well, from somebody who waited alone for it.  */

#ifndef SIGNALS_0
# define SIGNALS_0 1            /* of the first process that signals */
#endif
#ifndef SIGNALS_1
# define SIGNALS_1 2            /* of the second one */
#endif
#ifndef MOST
# define MOST 1                 /* what the first one signals: one, or all */
#endif
#ifndef WAITERS
# define WAITERS 3
#endif
#define ALL 3

byte sequence, waiting, owed;   /* one word */
byte mutex;                     /* its owner, and 1; 0: free */
bool asleep[3];
byte slept[3];                  /* the sequence with which it went to sleep */
bool dead[5];

/* What is said about it: how many signals were given since a thread waits,
   less those that threads took since then; whether it waits, and entered after
   the last one; how many of all that were given are left; whether somebody entered
   while one was; whether a process was killed or left by an exception; whether
   a process was killed.  */
byte due[3];
bool waits[3];
bool late[3];
byte rest;
bool mixed, spare, killed;

#define CAN_LOCK (mutex == 0 || dead[mutex - 1])
#define IS_DEAD_OWNER (mutex != 0 && dead[mutex - 1])
#define IS_OWED (entered != sequence && owed > 0)
#ifdef SLICES
# define ALWAYS true
#else
# define ALWAYS false
#endif
#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#else
# define SLICE_ENDS ((killed || ALWAYS) && (SEES_SIGNAL || IS_DEAD_OWNER))
#endif

/* One thread gives up when it likes; the others wait for ever.  */
#ifdef MAY_TIME_OUT
# define HAS_TIMEOUT (me == 2)
#else
# define HAS_TIMEOUT false
#endif
#ifdef MAY_LEAVE
# define HAS_EXCEPTION (me == 2)
#else
# define HAS_EXCEPTION false
#endif

#ifdef NO_KILLS
# define OR_DIE
# define OR_DIE_IF(condition)
#else
# define OR_DIE :: goto die
# define OR_DIE_IF(condition) :: condition -> goto die
#endif

/* What a waiter looks for, and what it must find when it has the mutex.  */
#if defined MUTANT_LOOK_AT_ANY || defined MUTANT_TAKE_ANY
# define SEES_SIGNAL (owed > 0)
#else
# define SEES_SIGNAL IS_OWED
#endif
#ifdef MUTANT_TAKE_ANY
# define CAN_TAKE (owed > 0)
#elif defined MUTANT_TAKE_UNSEEN
# define CAN_TAKE (IS_OWED || outcome == DONE)
#else
# define CAN_TAKE IS_OWED
#endif

/* Outcomes of waiting.  */
#define NONE 0
#define DONE 1
#define ABANDONED 2

#define SLEEPS_FIRST(i)                                                       \
  (asleep[i] && !(asleep[0] && slept[0] < slept[i])                           \
   && !(asleep[1] && slept[1] < slept[i])                                     \
   && !(asleep[2] && slept[2] < slept[i]))

#define ROUSE(i) asleep[i] = false; slept[i] = 0

inline wake (most)
{
  if
  :: most == 1 ->
     if
     :: SLEEPS_FIRST (0) -> ROUSE (0)
     :: SLEEPS_FIRST (1) -> ROUSE (1)
     :: SLEEPS_FIRST (2) -> ROUSE (2)
     :: else
     fi
  :: else -> ROUSE (0); ROUSE (1); ROUSE (2)
  fi
}

#define COUNT_GIVEN(i, most)                                                  \
  late[i] = false;                                                            \
  due[i] = (waits[i] -> due[i] + most : due[i])
#define AT_MOST(a, b) ((a) < (b) -> (a) : (b))
#define WAITS (waits[0] + waits[1] + waits[2])
#define MAY_TAKE(i) (waits[i] && !late[i])
#define CAN_BE_LEFT (MAY_TAKE (0) + MAY_TAKE (1) + MAY_TAKE (2))

inline count_given (most)
{
  COUNT_GIVEN (0, most);
  COUNT_GIVEN (1, most);
  COUNT_GIVEN (2, most);
  rest = AT_MOST (rest + most, WAITS)
}

#define COUNT_TAKEN(i) due[i] = (due[i] > 0 -> due[i] - 1 : 0)

inline count_taken ()
{
  assert (!late[me]);
  assert (rest > 0 || spare);
  rest = (rest > 0 -> rest - 1 : 0);
  waits[me] = false;
  due[me] = 0;
  COUNT_TAKEN (0);
  COUNT_TAKEN (1);
  COUNT_TAKEN (2)
}

#ifdef MUTANT_OWE_NOBODY
# define MORE(most) (owed + (most))
#else
# define MORE(most) AT_MOST (owed + (most), waiting)
#endif

inline enter ()
{
  /* [enter] */
  mixed = (mixed || rest > 0);
  late[me] = true;
  owed = (waiting == 0 -> 0 : owed);
  waiting++;
  entered = sequence
}

proctype signaller (byte me, count, most)
{
start:
  atomic {
    if
    :: count == 0 -> goto gone
    :: else -> count--
    fi
  };
#ifdef MUTANT_WAKE_BEFORE_SIGNAL
  if
  :: atomic { wake (most) }
  OR_DIE
  fi;
#endif
  if
  :: atomic {
       /* [signal] Or nothing, if nobody waits.  */
       count_given (most);
       if
       :: waiting > 0 -> owed = MORE (most); sequence++
       :: else -> goto start
       fi
     }
  OR_DIE
  fi;
#ifndef MUTANT_WAKE_BEFORE_SIGNAL
  if
  :: atomic {
       /* [wake] */
       wake (most)
     }
  OR_DIE
  fi;
#endif
  goto start;
#ifndef NO_KILLS
die:
  atomic { killed = true; dead[me] = true };
#endif
gone:
  atomic { count = 0; most = 0 }
}

proctype waiter (byte me)
{
  byte entered, seen, outcome;
  bool look, locked, signalled, pass_on;
  byte last;            /* 1: the time is over; 2: and was when it began */

  if
  :: atomic { CAN_LOCK -> mutex = me + 1 }
  OR_DIE_IF (CAN_LOCK)
  fi;
#ifndef MUTANT_COME_AFTER_UNLOCK
  if
  :: atomic { enter (); waits[me] = true }
  OR_DIE
  fi;
#endif
unlock:
  if
  :: atomic {
       last = (last > 0 -> 2 : 0);
       look = (last > 0);
       outcome = NONE;
       waits[me] = true;
       assert (mutex == me + 1);
       mutex = 0
     }
  OR_DIE
  fi;
#ifdef MUTANT_COME_AFTER_UNLOCK
  if
  :: atomic { enter () }
  OR_DIE
  fi;
#endif
attempt:
  if
  :: atomic {
       seen = sequence;
       if
       :: SEES_SIGNAL -> outcome = DONE; goto relock
       :: else
       fi
     }
  OR_DIE
  :: HAS_EXCEPTION -> goto leave
  fi;
  if
  :: atomic {
       if
       :: look && IS_DEAD_OWNER -> outcome = ABANDONED; goto relock
       :: else
       fi;
       look = false;
       if
       :: last > 0 -> goto relock
       :: else
       fi;
       if
       :: sequence == seen -> asleep[me] = true; slept[me] = seen; seen = 0
       :: else -> seen = 0; goto attempt
       fi
     }
  OR_DIE
  fi;
end_asleep:
  /* A kill here, or while it waits for the mutex, is indistinguishable,
     from one that is killed before or after, and if it could be, there would
     always be something that moves.  */
  if
  :: atomic { !asleep[me] -> goto attempt }
  :: atomic { SLICE_ENDS -> ROUSE (me); look = true; goto attempt }
  :: atomic {
       HAS_TIMEOUT -> ROUSE (me); look = true; last = 1; goto attempt
     }
  /* The memory is unmapped here: it does not even attempt.  */
  :: atomic { HAS_EXCEPTION -> ROUSE (me); goto leave }
  fi;
relock:
#ifdef MUTANT_TAKE_WITHOUT_MUTEX
  if
  :: atomic {
       if
       :: CAN_TAKE ->
          waiting--;
          owed = AT_MOST (owed - 1, waiting);
          count_taken ();
          /* That of one who is killed before it returns.  */
          due[0] = due[0] + waits[0];
          due[1] = due[1] + waits[1];
          due[2] = due[2] + waits[2];
          signalled = true
       :: else
       fi
     }
  OR_DIE
  fi;
#endif
  if
  :: atomic {
       CAN_LOCK ->
       seen = 0;
       look = false;
       locked = (mutex == 0);
       mutex = me + 1
     }
  OR_DIE_IF (CAN_LOCK)
  :: HAS_EXCEPTION -> goto leave
  fi;
  if
  :: atomic {
#ifdef MUTANT_TAKE_WITHOUT_MUTEX
       if
       :: signalled ->
          COUNT_TAKEN (0);
          COUNT_TAKEN (1);
          COUNT_TAKEN (2);
          goto returned
       :: else -> skip
       fi;
#endif
       /* [take signal] */
       if
       :: CAN_TAKE ->
          count_taken ();
          waiting--;
#ifndef MUTANT_TAKE_FOR_NOTHING
          owed--;
#endif
          owed = AT_MOST (owed, waiting);
          signalled = true;
          goto returned
       :: else
       fi;
       if
       :: locked && outcome == DONE && last < 2 -> goto unlock
       :: else
       fi
     }
  OR_DIE
  fi;
leave:
  if
  :: atomic {
       waits[me] = false;
       due[me] = 0;
       late[me] = false;
       rest = AT_MOST (rest, CAN_BE_LEFT);
       spare = (spare || mutex != me + 1);
       pass_on = IS_OWED;
       waiting--;
       owed = AT_MOST (owed, waiting);
       seen = 0;
       look = false;
#ifdef MUTANT_NO_PASS_ON
       goto may_return
#else
       if
       :: pass_on -> pass_on = false
       :: else -> goto may_return
       fi
#endif
     }
  OR_DIE
  fi;
  if
  :: atomic {
       /* [pass on] */
       wake (1)
     }
  OR_DIE
  fi;
may_return:
  atomic {
    pass_on = false;
    if
    :: mutex != me + 1 -> goto gone
    :: else
    fi
  };
returned:
  if
  :: atomic {
       assert (mutex == me + 1);
       assert (signalled || last > 0 || !locked || outcome == ABANDONED);
       mutex = 0;
       goto gone
     }
  OR_DIE
  fi;
#ifndef NO_KILLS
die:
  atomic {
    dead[me] = true;
    killed = true;
    spare = true;
    waits[me] = false;
    late[me] = false;
    rest = AT_MOST (rest, CAN_BE_LEFT);
    due[me] = 0;
    ROUSE (me)
  };
#endif
gone:
  atomic {
    entered = 0;
    seen = 0;
    outcome = NONE;
    look = false;
    locked = false;
    signalled = false;
    pass_on = false;
    last = 0
  }
}

#define NOTHING_IS_LOST(i)                                                    \
  (!waits[i] || ((due[i] == 0 || mixed) && (rest == 0 || late[i])))

/* When nothing moves any more.  */
active proctype judge ()
{
end:
  timeout ->
  assert (NOTHING_IS_LOST (0));
  assert (NOTHING_IS_LOST (1));
  assert (NOTHING_IS_LOST (2));
  assert (owed == rest || spare)
}

init
{
  atomic {
    run waiter (0);
    run waiter (1);
#if WAITERS > 2
    run waiter (2);
#endif
    run signaller (3, SIGNALS_0, MOST);
    run signaller (4, SIGNALS_1, 1)
  }
}

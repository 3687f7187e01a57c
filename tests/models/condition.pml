/* SPDX-License-Identifier: BSD-3-Clause
   condition.pml - the condition of src/sync.c: wait, leave, signal, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   The names in brackets are those of the C.  What is abstracted away: the
   mutex (see mutex.pml), which can be locked if it is free or its owner is
   dead; the loop that takes one off a count, which is one step; and the
   format.

   Here the sequence, the count of who waits and what is owed are one long
   word, so that to come, to signal and to take are one step each.  With
   -DSPLIT they are three words, and a signal has the steps [owe] and [signal];
   that loses signals, unless who signals holds the mutex (-DWITH_MUTEX).

   The system wakes in the order of arrival; here, any of those who went to
   sleep with the oldest sequence.  The end of a slice comes only if somebody
   was killed, and only where there is something to see.

   A signal is lost if somebody waits for ever, but more signals were begun
   since it waits than threads returned for.  One that was taken by a thread
   that is killed before it has the mutex counts only with -DSTRICT.  */

#ifndef SIGNALS_0
# define SIGNALS_0 1            /* of the first process that signals */
#endif
#ifndef SIGNALS_1
# define SIGNALS_1 2            /* of the second one */
#endif
#ifndef MOST
# define MOST 1                 /* what the first one signals: one, or all */
#endif
#define ALL 3

byte sequence, waiting, owed;
byte mutex;                     /* its owner, and 1; 0: free */
bool asleep[3];
byte slept[3];                  /* the sequence with which it went to sleep */
bool dead[5];

/* What is said about it: how many signals were begun since a thread waits,
   less those that threads returned for since then; whether it waits; how many
   signals there were, and how many were taken; whether anybody was killed.  */
byte due[3];
bool waits[3];
byte signals, taken;
bool killed;

#define CAN_LOCK (mutex == 0 || dead[mutex - 1])
#define IS_OWED (came != sequence && owed > 0)
#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#else
# define SLICE_ENDS (killed && (IS_OWED || (mutex != 0 && dead[mutex - 1])))
#endif

/* One thread leaves when it likes; the others wait for ever.  */
#ifdef NO_LEAVING
# define MAY_LEAVE false
#else
# define MAY_LEAVE (me == 2)
#endif

#ifdef NO_KILLS
# define OR_DIE
# define OR_DIE_IF(condition)
#else
# define OR_DIE :: goto die
# define OR_DIE_IF(condition) :: condition -> goto die
#endif

#ifdef MUTANT_TAKE_ANY
# define CAN_TAKE (owed > 0)
#elif defined SPLIT
# define CAN_TAKE (owed > 0)
#else
# define CAN_TAKE IS_OWED
#endif

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

#define COUNT_DUE(i)                                                          \
  if                                                                          \
  :: waits[i] -> due[i]++                                                     \
  :: else                                                                     \
  fi

inline count_due ()
{
  COUNT_DUE (0);
  COUNT_DUE (1);
  COUNT_DUE (2)
}

#define COUNT_RETURN(i)                                                       \
  if                                                                          \
  :: due[i] > 0 -> due[i]--                                                   \
  :: else                                                                     \
  fi

inline count_return ()
{
  COUNT_RETURN (0);
  COUNT_RETURN (1);
  COUNT_RETURN (2)
}

/* What to owe, of what was seen.  */
#define AT_MOST(a, b) ((a) < (b) -> (a) : (b))
#define MORE(most, debt, waited) AT_MOST ((debt) + (most), waited)

proctype signaller (byte me, count, most)
{
  bool begun;           /* a signal that is not given yet */
#ifdef SPLIT
  byte waited, debt;
#endif

begin:
  if
  :: atomic {
       if
       :: count == 0 -> goto gone
       :: else
       fi;
#ifdef WITH_MUTEX
       CAN_LOCK -> mutex = me + 1;
#endif
       count--;
       signals = signals + most;
       if
       :: most == 1 -> count_due (); begun = true
       :: else
       fi
     }
  OR_DIE
  fi;
#ifndef SPLIT
# ifdef MUTANT_WAKE_BEFORE_SIGNAL
  if
  :: atomic { wake (most) }
  OR_DIE
  fi;
# endif
  if
  :: atomic {
       /* [owe] [signal] A compare-and-swap of one long word, or nothing.  */
       begun = false;
       if
       :: waiting > 0 ->
          owed = MORE (most, owed, waiting);
          sequence++
       :: else -> goto done
       fi
     }
  OR_DIE
  fi;
#else
  if
  :: atomic {
       waited = waiting;
       if
       :: waited == 0 -> begun = false; goto done
       :: else
       fi
     }
  OR_DIE
  fi;
# ifdef MUTANT_OWE_AFTER_SIGNAL
  if
  :: atomic { sequence++ }
  OR_DIE
  fi;
  if
  :: atomic { wake (most) }
  OR_DIE
  fi;
# endif
  if
  :: atomic { debt = owed }
  OR_DIE
  fi;
again:
  if
  :: atomic {
       /* [owe] */
       if
       :: owed == debt ->
          owed = MORE (most, debt, waited);
          waited = 0;
          debt = 0
       :: else -> debt = owed; goto again
       fi
     }
  OR_DIE
  fi;
# ifdef MUTANT_OWE_AFTER_SIGNAL
  atomic { begun = false; goto done };
# endif
  if
  :: atomic {
       /* [signal] */
       sequence++;
       begun = false
     }
  OR_DIE
  fi;
#endif
  if
  :: atomic {
       /* [wake] */
#ifdef MUTANT_WAKE_BEFORE_SIGNAL
       skip
#else
       wake (most)
#endif
     }
  OR_DIE
  fi;
done:
#ifdef WITH_MUTEX
  if
  :: atomic { mutex = 0 }
  OR_DIE
  fi;
#endif
  goto begin;
#ifndef NO_KILLS
die:
  atomic {
    killed = true;
    dead[me] = true;
    if
    :: begun -> count_return ()
    :: else
    fi
  }
#endif
gone:
  atomic {
    begun = false;
#ifdef SPLIT
    waited = 0;
    debt = 0;
#endif
    count = 0;
    most = 0
  }
}

proctype waiter (byte me)
{
  byte came, seen;
  bool signalled;       /* it took a signal */

  if
  :: atomic { CAN_LOCK -> mutex = me + 1 }
  OR_DIE_IF (CAN_LOCK)
  fi;
  /* [come] */
#ifdef SPLIT
  if
  :: atomic {
       if
       :: waiting == 0 -> skip
       :: else -> goto count
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic { owed = 0 }
  OR_DIE
  fi;
count:
  if
  :: atomic { waiting++ }
  OR_DIE
  fi;
  if
  :: atomic { came = sequence }
  OR_DIE
  fi;
#elif !defined MUTANT_COME_AFTER_UNLOCK
  if
  :: atomic { waiting++; came = sequence }
  OR_DIE
  fi;
#endif
  if
  :: atomic { mutex = 0; waits[me] = true }
  OR_DIE
  fi;
#ifdef MUTANT_COME_AFTER_UNLOCK
  if
  :: atomic { waiting++; came = sequence }
  OR_DIE
  fi;
#endif
attempt:
#ifdef SPLIT
  if
  :: atomic {
       seen = sequence;
       if
       :: seen != came -> skip
       :: else -> goto sleep
       fi
     }
  OR_DIE
  fi;
#endif
  if
  :: atomic {
       /* [take signal] */
#ifndef SPLIT
       seen = sequence;
#endif
       if
       :: CAN_TAKE ->
#ifndef MUTANT_TAKE_FOR_NOTHING
          owed--;
#endif
#ifndef SPLIT
          waiting--;
#endif
          taken++;
          assert (taken <= signals || killed);
          signalled = true;
          seen = 0;
#ifdef SPLIT
          goto leave
#else
          waits[me] = false;
          due[me] = 0;
          goto relock
#endif
       :: else
       fi
     }
  OR_DIE
  fi;
sleep:
  if
  :: atomic {
       if
       :: sequence == seen ->
          asleep[me] = true;
          slept[me] = seen;
          seen = 0
       :: else -> seen = 0; goto attempt
       fi
     }
  OR_DIE
  fi;
end_asleep:
  /* Nobody can tell one that is killed here, or while it waits for the mutex,
     from one that is killed before or after, and if it could be, there would
     always be something that moves.  */
  if
  :: atomic { !asleep[me] -> goto attempt }
  :: atomic {
       SLICE_ENDS -> ROUSE (me);
       if
       :: mutex != 0 && dead[mutex - 1] -> goto leave
       :: else -> goto attempt
       fi
     }
  /* Unmapped, perhaps after it was woken: it does not even attempt.  */
  :: atomic { MAY_LEAVE -> ROUSE (me); goto leave }
  fi;
leave:
  if
  :: atomic {
       waits[me] = false;
       due[me] = 0;
       waiting--;
#ifndef SPLIT
       owed = AT_MOST (owed, waiting);
# ifdef MUTANT_NO_PASS_ON
       goto relock
# else
       /* [pass on] */
       if
       :: IS_OWED -> skip
       :: else -> goto relock
       fi
# endif
#endif
     }
  OR_DIE
  fi;
#ifdef SPLIT
  if
  :: atomic {
       /* [pass on] */
       if
       :: sequence != came -> skip
       :: else -> goto relock
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: owed > 0 -> skip
       :: else -> goto relock
       fi
     }
  OR_DIE
  fi;
#endif
  if
  :: atomic { wake (1) }
  OR_DIE
  fi;
relock:
  if
  :: atomic {
       CAN_LOCK ->
       mutex = me + 1;
       if
       :: signalled -> count_return (); signalled = false
       :: else
       fi
     }
  OR_DIE_IF (CAN_LOCK)
  fi;
  if
  :: atomic { assert (mutex == me + 1); mutex = 0; goto gone }
  OR_DIE
  fi;
#ifndef NO_KILLS
die:
  atomic {
    dead[me] = true;
    killed = true;
    /* A signal that was taken by one who is killed before it has the mutex is
       lost.  */
#ifndef STRICT
    if
    :: signalled -> count_return ()
    :: else
    fi;
#endif
    waits[me] = false;
    due[me] = 0;
    ROUSE (me)
  }
#endif
gone:
  atomic { came = 0; seen = 0; signalled = false }
}

#define NOTHING_IS_LOST(i) (!waits[i] || due[i] == 0)

/* When nothing moves any more.  */
active proctype judge ()
{
end:
  timeout ->
  assert (NOTHING_IS_LOST (0));
  assert (NOTHING_IS_LOST (1));
  assert (NOTHING_IS_LOST (2))
}

init
{
  atomic {
    run waiter (0);
    run waiter (1);
#ifndef NO_LEAVING
    run waiter (2);
#endif
    run signaller (3, SIGNALS_0, MOST);
    run signaller (4, SIGNALS_1, 1)
  }
}

/* SPDX-License-Identifier: BSD-3-Clause
   queue.pml - waiting in a queue as src/wait.c does: notify, kick, unmap, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the thread alone.  Threads 0 and 1 are of the process that
   unmaps the memory, thread 2 is of another one, which may be killed before
   each step.  Thread 0 has asyncs marked for it, thread 2 has a time-out.

   What is abstracted away: spinning; how a watcher starts and ends; and the
   watcher of a thread for which no async is marked.  A watcher holds its mutex
   but for waiting, so that who signals the condition variable finds it
   waiting, or about to kick.  The system compares and enters each of the two
   words of a thread in a step of its own, and leaves both in one step.

   There are no slices: whoever waits in vain, waits for ever, which the judge
   sees when nothing moves any more.  */

#ifndef MARKS
# define MARKS 2                /* how many asyncs are marked */
#endif
#ifndef NOTIFIES
# define NOTIFIES 2             /* how often who changes nothing wakes one */
#endif

bool value;                     /* of the word; all expect false */
bool kicked[3];

/* The system's queues: whether a thread is in that for its kick, and for the
   word, and was woken there.  */
bool queues_kick[3], queues_word[3], woken_kick[3], woken_word[3];

/* Of Guile: asyncs are pending, and whom to wake then; and of the library.  */
bool pending, wake_watcher, signalled;
bool registry_locked, sleeps[3], unmapped;

/* What is said about it.  */
bool waits[3];                  /* it sleeps in the system */
byte oks, counted;              /* who returned ok, and who was counted */
bool changed;                   /* the word was */
bool missed;                    /* it was, and who notified found nobody */
bool killed;

/* The result of a sleep.  */
#define WOKEN 1
#define INTERRUPTED 2
#define TIMED_OUT 3

#define HAS_ASYNCS (me == 0)
#define HAS_TIMEOUT (me == 2)
#define IS_UNMAPPED (unmapped && me != 2)
#define VALUE (value && !IS_UNMAPPED)

#ifdef NO_KILLS
# define OR_DIE
# define OR_DIE_2
#else
# define OR_DIE :: goto die
# define OR_DIE_2 :: me == 2 -> goto die
#endif

#ifdef MUTANT_KICK_FIRST
# define RESULT (woken_kick[me] -> INTERRUPTED : WOKEN)
#else
# define RESULT (woken_word[me] -> WOKEN : INTERRUPTED)
#endif

inline wake_kick (who)
{
  if
  :: queues_kick[who] -> queues_kick[who] = false; woken_kick[who] = true
  :: else
  fi
}

/* The first in the queue may be any.  */
inline notify_one ()
{
  if
  :: queues_word[0] ->
     queues_word[0] = false;
     woken_word[0] = true;
     counted++
  :: queues_word[1] ->
     queues_word[1] = false;
     woken_word[1] = true;
     counted++
  :: queues_word[2] ->
     queues_word[2] = false;
     woken_word[2] = true;
     counted++
  :: else ->
     if
     :: changed -> missed = true
     :: else
     fi
  fi
}

inline leave_system ()
{
  waits[me] = false;
  queues_kick[me] = false;
  queues_word[me] = false;
  woken_kick[me] = false;
  woken_word[me] = false
}

proctype waiter (byte me)
{
  byte result;
  bool interrupted;

  if
  :: atomic {
       if
       :: VALUE -> goto gone
       :: else
       fi
     }
  OR_DIE_2
  fi;
again:
  result = INTERRUPTED;
#ifndef MUTANT_CLEAR_LATE
  kicked[me] = false;
#endif
  if
  :: HAS_ASYNCS ->
     wake_watcher = true;
     if
#ifndef MUTANT_PREPARE_BLINDLY
     :: pending -> wake_watcher = false; goto woken
#endif
     :: else
     fi
  :: else
  fi;
  /* enter_queue */
  atomic {
    !registry_locked;
#ifndef MUTANT_ENTER_BLINDLY
    if
    :: IS_UNMAPPED -> goto finished
    :: else
    fi;
#endif
    sleeps[me] = true
  };
#ifdef MUTANT_CLEAR_LATE
  kicked[me] = false;
#endif
  /* queue_outside */
  atomic {
    if
    :: kicked[me] -> goto leave
    :: else -> queues_kick[me] = true
    fi
  };
  atomic {
    if
#ifndef MUTANT_NO_COMPARE
    :: VALUE -> leave_system (); goto leave
#endif
    :: else -> queues_word[me] = true; waits[me] = true
    fi
  };
end_asleep:
  if
  :: atomic {
       woken_kick[me] || woken_word[me] ->
       result = RESULT;
       leave_system ()
     }
  :: atomic {
       HAS_TIMEOUT ->
       result = (woken_word[me] -> WOKEN : TIMED_OUT);
       leave_system ()
     }
  fi;
leave:
  atomic { !registry_locked -> sleeps[me] = false };
finished:
  if
  :: HAS_ASYNCS -> wake_watcher = false
  :: else
  fi;
woken:
  if
  :: atomic {
       if
       :: IS_UNMAPPED -> goto gone
       :: else
       fi;
       if
       :: result == WOKEN -> oks++; goto gone
       :: else
       fi
     }
  OR_DIE_2
  fi;
  if
  :: atomic {
       if
       :: VALUE && interrupted -> oks++; goto gone
       :: VALUE && !interrupted -> goto gone
       :: !VALUE && result == TIMED_OUT -> goto gone
       :: else
       fi;
       interrupted = true
     }
  OR_DIE_2
  fi;
  /* SCM_TICK */
  if
  :: HAS_ASYNCS -> pending = false
  :: else
  fi;
  goto again;
#ifndef NO_KILLS
die:
  atomic { killed = true; leave_system (); sleeps[me] = false }
#endif
gone:
  atomic { result = 0; interrupted = false }
}

/* Of thread 0.  */
active proctype watcher ()
{
end:
  do
  :: atomic { signalled -> signalled = false };
     kicked[0] = true;
     atomic { wake_kick (0) }
  od
}

active proctype marker ()
{
  byte marks;
  bool wake;

  do
  :: marks < MARKS ->
     marks++;
     pending = true;
     atomic { wake = wake_watcher; wake_watcher = false };
     if
     :: wake -> signalled = true
     :: else
     fi
  :: else -> break
  od
}

/* It changes nothing, as one who only wakes does.  */
active proctype notifier ()
{
  byte notifies;

  do
  :: notifies < NOTIFIES ->
     notifies++;
     if
     :: atomic { notify_one () }
     OR_DIE
     fi
  :: else -> break
  od;
#ifndef NO_KILLS
die:
  skip
#endif
}

#ifdef CHANGES
active proctype changer ()
{
  if
  :: atomic { value = true; changed = true }
  OR_DIE
  fi;
  if
  :: atomic { notify_one () }
  OR_DIE
  fi;
# ifndef NO_KILLS
die:
  skip
# endif
}
#endif

#ifdef UNMAPS
active proctype unmapper ()
{
# ifdef MUTANT_UNMAP_LATE
  bool late;
# endif

# ifndef MUTANT_UNMAP_LATE
  atomic { !registry_locked -> unmapped = true };
# endif
  /* gshm_wake_unmapped */
  atomic { !registry_locked -> registry_locked = true };
  if
  :: sleeps[0] -> kicked[0] = true; atomic { wake_kick (0) }
  :: else
  fi;
  if
  :: sleeps[1] -> kicked[1] = true; atomic { wake_kick (1) }
  :: else
  fi;
  registry_locked = false;
# ifdef MUTANT_UNMAP_LATE
  unmapped = true
# endif
}
#endif

#define WAITS_IN_VAIN(i)                                                      \
  (waits[i]                                                                   \
   && ((i == 0 && pending) || (i != 2 && unmapped)                            \
       || (missed && !(i != 2 && unmapped))))

/* When nothing moves any more.  */
active proctype judge ()
{
end:
  timeout ->
  assert (!WAITS_IN_VAIN (0));
  assert (!WAITS_IN_VAIN (1));
  assert (!WAITS_IN_VAIN (2));
  assert (killed || unmapped || oks >= counted);
  assert (killed || unmapped || changed || oks == counted)
}

init
{
  atomic { run waiter (0); run waiter (1); run waiter (2) }
}

/* SPDX-License-Identifier: BSD-3-Clause
   mutex.pml - the mutex of src/sync.c: lock, time out, unlock, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   The names in brackets are those of the C.  What is abstracted away: the
   format, the halves of the owner (the futex compares all of it), and
   spinning, whose attempts are the first one again.

   A wake-up may choose any sleeper.  The end of a slice comes only if somebody
   was killed, so that without that a lost wake-up is a deadlock, and only
   where there is something to see, so that a lock that is lost is a deadlock,
   too.  With -DSLICES it comes whenever it likes: then it is a cycle if
   somebody looks for ever, and as everybody ends after some rounds, no cycle
   is fair.  */

#ifndef ROUNDS
# define ROUNDS 2
#endif

/* Owners are even; an odd one says that somebody may sleep.  */
#define WAITERS 1
#define OWNER(i) (2 * (i) + 2)
#define WHO(owner) ((owner) / 2 - 1)

byte owner;
bool asleep[3];
bool dead[3];

/* What is said about it: who believes to hold it, how many deaths of those who
   held it are not reported yet, and whether anybody was killed.  */
bool holds[3];
byte unreported;
bool killed;

#define NOBODY_HOLDS                                                          \
  (!(holds[0] && !dead[0]) && !(holds[1] && !dead[1])                         \
   && !(holds[2] && !dead[2]))

#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#elif defined SLICES
# define SLICE_ENDS true
#else
# define SLICE_ENDS (killed && (owner < 2 || dead[WHO (owner)]))
#endif

/* Two processes wait for ever, or nobody would see a lost wake-up.  */
#define HAS_TIMEOUT (me == 2)

#ifdef NO_KILLS
# define OR_DIE
#else
# define OR_DIE :: goto die
#endif

/* Whether the mutex changed hands since this thread looked.  */
#ifdef MUTANT_TAKE_OVER_BLINDLY
# define IS_UNCHANGED true
#else
# define IS_UNCHANGED (owner == seen)
#endif

/* A sleep until the mutex is not free may never end: one that found it taken
   and then free does not sleep, by a value that the owner never is.  */
#ifdef MUTANT_SLEEP_ON_FREE
# define NO_SLEEP 0
#else
# define NO_SLEEP WAITERS
#endif

#ifdef MUTANT_NEVER_LOOK
# define LOOK false
#else
# define LOOK true
#endif

#ifdef MUTANT_TAKE_WITHOUT_WAITERS
# define ANNOUNCED 0
#else
# define ANNOUNCED WAITERS
#endif

#ifdef MUTANT_TAKE_OVER_SILENTLY
# define REPORTED 0
#else
# define REPORTED 1
#endif

inline wake ()
{
  if
  :: asleep[0] -> asleep[0] = false
  :: asleep[1] -> asleep[1] = false
  :: asleep[2] -> asleep[2] = false
  :: else
  fi
}

inline held (report)
{
  assert (NOBODY_HOLDS);
  assert (unreported == report);
  unreported = 0;
  holds[me] = true
}

proctype process (byte me)
{
  byte rounds;
  byte seen;            /* the owner when this thread looked */
  bool look, last;

start:
  if
  :: atomic {
       /* [take] The first attempt, which announces nothing.  */
       if
       :: rounds == ROUNDS -> goto gone
       :: else -> rounds++
       fi;
       if
       :: owner == 0 -> owner = OWNER (me); held (0); goto locked
       :: else
       fi
     }
  OR_DIE
  fi;
attempt:
  if
  :: atomic {
       seen = owner;
       if
       :: seen == 0 -> goto take
       :: seen != 0 && look && dead[WHO (seen)] -> goto take_over
       :: else
       fi;
#ifndef MUTANT_NO_ANNOUNCE
       if
       :: !(seen & WAITERS) -> goto announce
       :: else
       fi;
#endif
       goto sleep
     }
  OR_DIE
  fi;
take:
  if
  :: atomic {
       /* [take] */
       if
       :: owner == 0 -> owner = OWNER (me) | ANNOUNCED; held (0); goto locked
       :: else
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       seen = owner;
       if
       :: seen == 0 -> seen = NO_SLEEP; goto sleep
       :: seen != 0 && look && dead[WHO (seen)] -> goto take_over
       :: seen != 0 && !(look && dead[WHO (seen)]) && (seen & WAITERS) ->
          goto sleep
       :: else
       fi
#ifdef MUTANT_NO_ANNOUNCE
       ;
       goto sleep
#endif
     }
  OR_DIE
  fi;
announce:
  if
  :: atomic {
       /* [announce] */
       if
       :: owner == seen -> owner = seen | WAITERS
       :: else
       fi;
       seen = seen | WAITERS;
       goto sleep
     }
  OR_DIE
  fi;
take_over:
  if
  :: atomic {
       /* [take over] */
       if
       :: IS_UNCHANGED ->
          owner = OWNER (me) | WAITERS;
          held (REPORTED);
          goto locked
       :: else
       fi
     }
  OR_DIE
  fi;
sleep:
  if
  :: atomic {
       look = false;
       if
       :: last -> seen = 0; goto pass_on
       :: else
       fi;
       /* The futex compares and goes to sleep at once.  */
       if
       :: owner == seen -> asleep[me] = true; seen = 0
       :: else -> seen = 0; goto attempt
       fi
     }
  OR_DIE
  fi;
  /* Nobody can tell one that is killed here from one that is killed before,
     and if it could be, this would not be the end where it must not be.  */
  if
  :: atomic { !asleep[me] -> goto attempt }
  :: atomic { SLICE_ENDS -> asleep[me] = false; look = LOOK; goto attempt }
  /* The time-out of the caller, who then attempts once more.  */
  :: atomic {
       HAS_TIMEOUT ->
       asleep[me] = false;
       look = true;
       last = true;
       goto attempt
     }
  fi;
locked:
  if
  :: atomic {
       look = false;
       last = false;
       assert (WHO (owner) == me);
       seen = owner;
#ifdef MUTANT_WAKE_BEFORE_FREE
       if
       :: seen & WAITERS -> wake ()
       :: else
       fi
#else
       /* [free] */
       owner = 0;
       holds[me] = false;
       if
       :: !(seen & WAITERS) -> goto next
       :: else
       fi
#endif
     }
  OR_DIE
  fi;
  if
  :: atomic {
#ifdef MUTANT_WAKE_BEFORE_FREE
       owner = 0;
       holds[me] = false
#else
       /* [wake] */
       wake ()
#endif
       ;
       goto next
     }
  OR_DIE
  fi;
pass_on:
#ifndef MUTANT_GIVE_UP_SILENTLY
  /* [pass on] Who gives up may have been woken, for others that sleep.  */
  if
  :: atomic {
       wake ()
     }
  OR_DIE
  fi;
#endif
next:
  atomic { seen = 0; last = false; look = false; goto start }
#ifndef NO_KILLS
die:
  atomic {
    dead[me] = true;
    killed = true;
    asleep[me] = false;
    if
    :: owner >= 2 && WHO (owner) == me -> unreported++
    :: else
    fi
  }
#endif
gone:
  atomic { seen = 0; last = false; look = false; rounds = 0 }
}

init
{
  atomic { run process (0); run process (1); run process (2) }
}

/* SPDX-License-Identifier: BSD-3-Clause
   mutex.pml - the mutex of src/core/mutex.c: lock, give up, unlock, leave, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   The names in brackets are those of the C.  What is abstracted away: the
   format, the halves of the owner (the futex compares all of it), and
   spinning, whose attempts are the first one again.

   A wake-up may choose any sleeper.  The end of a bounded sleep comes only where
   there is something to see: that the owner is dead, or, if somebody was
   killed, that there is none, so that without that a lost wake-up is a
   deadlock.  A lock that is lost is one, too.  With -DSLICES a slice ends
   whenever it likes: then it is a cycle if somebody looks for ever, and as
   everybody ends after some rounds, no cycle is fair.  With -DLEFT the mutex
   is that of a dead thread at first.  */

#ifndef ROUNDS
# define ROUNDS 2
#endif

/* Flags of an owner, and what is none that lives.  */
#define WAITERS 1
#define UNMENDED 2
#define ABANDONED WAITERS
#define NEVER UNMENDED
#define OWNER(i) (4 * (i) + 4)
#define OWNER_ID(owner) ((owner) / 4 - 1)
#define IS_DEAD(owner) ((owner) >= 4 && dead[OWNER_ID (owner)])

byte owner;
bool asleep[3];
bool dead[4];

/* What is said about it: who believes to hold it; whether what it guards was
   left by one who was killed, or who did not mend it, and nobody was told;
   whether a process was killed.  */
bool holds[3];
bool broken;
bool killed;

#define NO_OWNER                                                          \
  (!(holds[0] && !dead[0]) && !(holds[1] && !dead[1])                         \
   && !(holds[2] && !dead[2]))

#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#elif defined SLICES
# define SLICE_ENDS true
#else
# define SLICE_ENDS ((killed && owner < 4) || IS_DEAD (owner))
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
# define NO_SLEEP NEVER
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

#ifdef MUTANT_TAKE_OVER_WITHOUT_WAITERS
# define TAKEN_OVER UNMENDED
#elif defined MUTANT_TAKE_OVER_MENDED
# define TAKEN_OVER WAITERS
#else
# define TAKEN_OVER (WAITERS | UNMENDED)
#endif

#ifdef MUTANT_TAKE_OVER_SILENTLY
# define REPORTED false
#else
# define REPORTED true
#endif

#ifdef MUTANT_LEAVE_AS_FREE
# define LEFT_TO 0
#else
# define LEFT_TO ABANDONED
#endif

#ifdef MUTANT_NOBODY_LIVES
# define CAN_TAKE_OVER(owner) (look && IS_DEAD (owner))
#else
# define CAN_TAKE_OVER(owner) ((owner) == ABANDONED || (look && IS_DEAD (owner)))
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
  assert (NO_OWNER);
  assert (broken == report);
  broken = false;
  holds[me] = true
}

proctype process (byte me)
{
  byte rounds;
  byte seen;            /* the owner when this thread looked */
  byte then;            /* what it leaves there */
  bool look, last;
  bool slept;           /* or is about to, for this mutex */
  bool told;            /* that it took over, and has not mended yet */

start:
  if
  :: atomic {
       /* [take] The first attempt, which announces nothing.  */
       if
       :: rounds == ROUNDS -> goto gone
       :: else -> rounds++
       fi;
       if
       :: owner == 0 -> owner = OWNER (me); held (false); goto locked
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
       :: seen == 0 -> skip
       :: else -> goto taken
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       /* [take] */
       if
       :: owner == 0 ->
          owner = OWNER (me) | (slept -> ANNOUNCED : 0);
          held (false);
          goto locked
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
       :: else
       fi
     }
  OR_DIE
  fi;
taken:
  atomic {
    assert (seen < 4 || OWNER_ID (seen) != me);
    if
    :: CAN_TAKE_OVER (seen) -> goto take_over
    :: !CAN_TAKE_OVER (seen) && (seen & WAITERS) -> slept = true; goto sleep
    :: else
    fi
  };
#ifndef MUTANT_NO_ANNOUNCE
  if
  :: atomic {
       /* [announce] */
       if
       :: owner == seen -> owner = seen | WAITERS
       :: else
       fi;
       seen = seen | WAITERS;
       slept = true
     }
  OR_DIE
  fi;
#endif
  goto sleep;
take_over:
  if
  :: atomic {
       /* [take over] */
       if
       :: IS_UNCHANGED ->
          owner = OWNER (me) | TAKEN_OVER;
          held (REPORTED);
          told = true;
          goto locked
       :: else -> seen = NO_SLEEP
       fi
     }
  OR_DIE
  fi;
sleep:
  if
  :: atomic {
       look = false;
       if
       :: last -> seen = 0; goto give_up
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
  /* A kill here is indistinguishable from one before,
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
  /* The memory is unmapped here: it gives up without an attempt.  */
  :: atomic { HAS_TIMEOUT -> asleep[me] = false; goto give_up }
  fi;
locked:
  if
  :: atomic {
       look = false;
       last = false;
       assert (OWNER_ID (owner) == me);
       /* Who took over from a dead one may unlock it, as if it were mended;
          or mend it and leave; or leave as it is.  */
       if
       :: goto leave
       :: told -> goto mend
       :: told = false; goto free
       fi
     }
  OR_DIE
  fi;
mend:
  if
  :: atomic { owner = owner & ~UNMENDED; told = false }
  OR_DIE
  fi;
leave:
  if
  :: atomic {
       if
       :: owner & UNMENDED -> then = LEFT_TO
       :: else
       fi
     }
  OR_DIE
  fi;
free:
  if
  :: atomic {
       seen = owner;
#ifdef MUTANT_WAKE_BEFORE_FREE
       if
       :: seen & WAITERS -> wake ()
       :: else
       fi
#else
       /* [free] */
       owner = then;
       broken = told;
       told = false;
       then = 0;
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
       owner = then;
       broken = told;
       told = false;
       then = 0;
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
give_up:
#ifndef MUTANT_GIVE_UP_SILENTLY
  /* [give up] It may have been woken, for others that sleep.  */
  if
  :: atomic { wake () }
  OR_DIE
  fi;
#endif
next:
  atomic { seen = 0; last = false; look = false; slept = false; goto start };
#ifndef NO_KILLS
die:
  atomic {
    dead[me] = true;
    killed = true;
    asleep[me] = false;
    if
    :: owner >= 4 && OWNER_ID (owner) == me -> broken = true
    :: else
    fi
  };
#endif
gone:
  atomic {
    seen = 0;
    then = 0;
    told = false;
    last = false;
    look = false;
    rounds = 0
  }
}

init
{
  atomic {
#ifdef LEFT
    dead[3] = true;
    owner = OWNER (3);
    broken = true;
#endif
    run process (0);
    run process (1);
    run process (2)
  }
}

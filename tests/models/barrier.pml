/* SPDX-License-Identifier: BSD-3-Clause
   barrier.pml - the barrier of src/sync.c: arrive, open, withdraw, reap, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   What is abstracted away: the loop that changes the state when somebody
   withdraws, which is one step, and the format.

   The end of a slice comes only if somebody was killed, and only where there
   is something to see.

   There are three processes.  With three parties, a thread can arrive late
   only for a generation that cannot open without it.  With two, the barrier
   may open twice meanwhile, and the place looks as before.  With -DCLAIM that
   is no harm: a place is claimed first, if it is empty, and then its owner
   arrives, and empties it when it goes on; who withdraws claims the place
   again, changes the state, and empties the place then.  */

#ifndef PARTIES
# define PARTIES 3
#endif
#ifndef ROUNDS
# define ROUNDS 2
#endif
#define NO_PLACE 255

/* A place holds 0, or an owner with the lowest bit of the generation, or with
   CLAIMED.  */
#define CLAIMED 2
#define OWNER(i, generation) (4 * (i) + 4 + ((generation) & 1))
#define CLAIM_OF(i) (4 * (i) + 4 + CLAIMED)
#define WHO(owner) ((owner) / 4 - 1)
#define IS_OF(owner, generation)                                              \
  ((owner) != 0 && ((owner) & 3) == ((generation) & 1))

byte generation, withdrawals;   /* one word */
byte arrived[PARTIES];
bool asleep[3];
bool dead[3];

/* What is said about it: in which generation, and 1, a thread stands; whether
   it was counted when that opened; whether anybody was killed.  */
byte stands[3];
bool passed[3];
bool killed;

#define STANDS_HERE(i) (stands[i] == generation + 1)
#define ALL_STAND                                                             \
  (STANDS_HERE (0) + STANDS_HERE (1) + STANDS_HERE (2) >= PARTIES)

#ifdef CLAIM
# define IS_DEAD_IN(i) (arrived[i] != 0 && dead[WHO (arrived[i])])
# define CAN_TAKE(owner) ((owner) == 0)
#else
# define IS_DEAD_IN(i)                                                        \
  (IS_OF (arrived[i], generation) && dead[WHO (arrived[i])])
# define CAN_TAKE(owner) (!IS_OF (owner, arrival))
#endif
#define IS_FREE(i) (!IS_OF (arrived[i], generation))
#if PARTIES == 2
# define DEAD_IN_ANY (IS_DEAD_IN (0) || IS_DEAD_IN (1))
# define ANY_FREE (IS_FREE (0) || IS_FREE (1))
# define ANY_EMPTY (arrived[0] == 0 || arrived[1] == 0)
#else
# define DEAD_IN_ANY (IS_DEAD_IN (0) || IS_DEAD_IN (1) || IS_DEAD_IN (2))
# define ANY_FREE (IS_FREE (0) || IS_FREE (1) || IS_FREE (2))
# define ANY_EMPTY (arrived[0] == 0 || arrived[1] == 0 || arrived[2] == 0)
#endif

#define SLICE_ENDS                                                            \
  ((killed || SLICES)                                                         \
   && (DEAD_IN_ANY || !ANY_FREE || (place == NO_PLACE && ANY_EMPTY)           \
       || passed[me]))
#ifndef SLICES
# define SLICES false
#endif

/* To see other errors than those of who arrives late.  */
#ifndef LATE_IS_FINE
# define LATE_IS_FINE false
#endif

#ifdef NO_TIMEOUTS
# define HAS_TIMEOUT false
#else
# define HAS_TIMEOUT (me == 2)
#endif

#ifdef NO_KILLS
# define OR_DIE
#else
# define OR_DIE :: goto die
#endif

/* One whose state changed under it looks again at once.  */
#ifdef MUTANT_SLEEP_AFTER_CHANGE
# define SLEEPS_AFTER_CHANGE true
#else
# define SLEEPS_AFTER_CHANGE false
#endif

#ifdef CLAIM
# define NO_MORE(i) CLAIM_OF (i)
# define CAN_REAP (owner != 0)
#else
# define NO_MORE(i) 0
# define CAN_REAP IS_OF (owner, seen)
#endif

#ifdef MUTANT_COUNT_ANY
# define IS_COUNTED (owner != 0)
#else
# define IS_COUNTED IS_OF (owner, seen)
#endif

#define PASS(i)                                                               \
  if                                                                          \
  :: STANDS_HERE (i) -> passed[i] = !dead[i]; stands[i] = 0                   \
  :: else                                                                     \
  fi

inline open ()
{
  assert (ALL_STAND);
  PASS (0);
  PASS (1);
  PASS (2);
  generation++
}

inline wake_all ()
{
  asleep[0] = false;
  asleep[1] = false;
  asleep[2] = false
}

proctype process (byte me)
{
  byte rounds;
  byte place, arrival;          /* where it stands, and of what generation */
  byte i, count, owner, seen, seen_withdrawals;
  bool look, last, changed;

start:
  if
  :: atomic {
       if
       :: rounds == ROUNDS -> goto gone
       :: else -> rounds++
       fi;
       place = NO_PLACE;
       arrival = 0
     }
  OR_DIE
  fi;
attempt:
  if
  :: place != NO_PLACE -> goto see
#ifdef CLAIM
  :: atomic { place == NO_PLACE -> i = 0 }
#else
  :: atomic { place == NO_PLACE -> arrival = generation; i = 0 }
#endif
  OR_DIE
  fi;
arrive:
  if
  :: atomic {
       owner = arrived[i];
       if
       :: !CAN_TAKE (owner) ->
          owner = 0;
          i++;
          if
          :: i < PARTIES -> goto arrive
          :: else -> i = 0; arrival = 0; goto see
          fi
       :: else
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: arrived[i] == owner ->
          place = i;
          owner = 0;
#ifdef CLAIM
          arrived[i] = CLAIM_OF (me);
          i = 0
#else
          arrived[i] = OWNER (me, arrival);
          i = 0;
          if
          :: arrival == generation -> stands[me] = generation + 1
          :: else
          fi;
          goto see
#endif
       :: else ->
          owner = 0;
          i++;
          if
          :: i < PARTIES -> goto arrive
          :: else -> i = 0; arrival = 0; goto see
          fi
       fi
     }
  OR_DIE
  fi;
#ifdef CLAIM
  /* The barrier cannot open before this place is of this generation, so that
     the generation cannot change.  */
  if
  :: atomic { arrival = generation }
  OR_DIE
  fi;
  if
  :: atomic {
       assert (generation == arrival);
       arrived[place] = OWNER (me, arrival);
       stands[me] = generation + 1
     }
  OR_DIE
  fi;
#endif
see:
  if
  :: atomic {
       seen = generation;
       seen_withdrawals = withdrawals;
       count = 0;
       i = 0;
       if
       :: place != NO_PLACE && seen != arrival -> goto done
       :: else
       fi
     }
  OR_DIE
  fi;
count_one:
  if
  :: atomic {
       owner = arrived[i];
       if
       :: CAN_REAP && look && dead[WHO (owner)] -> goto reap
       :: else
       fi;
       if
       :: IS_COUNTED -> count++
       :: else
       fi;
       owner = 0;
       goto next
     }
  OR_DIE
  fi;
reap:
  if
  :: atomic {
       if
       :: arrived[i] == owner -> arrived[i] = NO_MORE (WHO (owner))
       :: else -> owner = 0; goto next
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
#ifndef MUTANT_REAP_WITHOUT_STATE
       if
       :: generation == seen -> withdrawals++; stands[WHO (owner)] = 0
       :: else
       fi;
#else
       if
       :: generation == seen -> stands[WHO (owner)] = 0
       :: else
       fi;
#endif
#ifdef CLAIM
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: arrived[i] == CLAIM_OF (WHO (owner)) -> arrived[i] = 0
       :: else
       fi;
#endif
       owner = 0
     }
  OR_DIE
  fi;
next:
  atomic {
    i++;
    if
    :: i < PARTIES -> goto count_one
    :: else -> i = 0
    fi;
    changed = false;
    if
    :: count < PARTIES -> count = 0; goto sleep
    :: else -> count = 0
    fi
  }
  if
  :: atomic {
#ifdef MUTANT_OPEN_BLINDLY
       if
       :: generation == seen ->
#else
       if
       :: generation == seen && withdrawals == seen_withdrawals ->
#endif
          open ()
       :: else -> changed = !SLEEPS_AFTER_CHANGE; goto sleep
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       wake_all ();
       if
       :: place != NO_PLACE -> goto done
       :: else
       fi
     }
  OR_DIE
  fi;
sleep:
  if
  :: atomic {
       look = false;
       seen_withdrawals = 0;
       if
       :: last -> seen = 0; changed = false; goto give_up
       :: else
       fi;
       if
       :: generation == seen && !changed -> asleep[me] = true; seen = 0
       :: else -> seen = 0; changed = false; goto attempt
       fi
     }
  OR_DIE
  fi;
end_asleep:
  /* Nobody can tell one that is killed here from one that is killed before,
     and if it could be, there would always be something that moves.  */
  if
  :: atomic { !asleep[me] -> goto attempt }
  :: atomic { SLICE_ENDS -> asleep[me] = false; look = true; goto attempt }
  :: atomic {
       HAS_TIMEOUT ->
       asleep[me] = false;
       look = true;
       last = true;
       goto attempt
     }
  fi;
give_up:
  if
  :: atomic {
       if
       :: place == NO_PLACE -> goto timed_out
       :: place != NO_PLACE && arrived[place] == OWNER (me, arrival) ->
          arrived[place] = NO_MORE (me)
       :: else -> goto overwritten
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: generation == arrival ->
#ifndef MUTANT_WITHDRAW_WITHOUT_STATE
          withdrawals++;
#endif
          stands[me] = 0;
          goto withdrawn
       :: else -> goto done
       fi
     }
  OR_DIE
  fi;
withdrawn:
#ifdef CLAIM
  if
  :: atomic { arrived[place] = 0 }
  OR_DIE
  fi;
#endif
  goto timed_out;
overwritten:
  if
  :: atomic {
       if
       :: generation == arrival -> stands[me] = 0; goto timed_out
       :: else -> goto done
       fi
     }
  OR_DIE
  fi;
timed_out:
  atomic { assert (!passed[me]); goto forget };
done:
  atomic { assert (passed[me] || LATE_IS_FINE); passed[me] = false };
#ifdef CLAIM
  if
  :: atomic {
       if
       :: WHO (arrived[place]) == me -> arrived[place] = 0
       :: else
       fi
     }
  OR_DIE
  fi;
#endif
forget:
  atomic {
    seen = 0;
    seen_withdrawals = 0;
    look = false;
    last = false;
    goto start
  }
#ifndef NO_KILLS
die:
  atomic { dead[me] = true; killed = true; passed[me] = false }
#endif
gone:
  atomic {
    rounds = 0;
    place = 0;
    arrival = 0;
    i = 0;
    count = 0;
    owner = 0;
    seen = 0;
    seen_withdrawals = 0;
    look = false;
    last = false;
    changed = false
  }
}

/* When nothing moves any more.  */
active proctype judge ()
{
end:
  timeout ->
  assert (!passed[0] && !passed[1] && !passed[2]);
  assert (ANY_FREE || !(asleep[0] || asleep[1] || asleep[2]))
}

init
{
  atomic { run process (0); run process (1); run process (2) }
}

/* SPDX-License-Identifier: BSD-3-Clause
   barrier.pml - the barrier of src/core/barrier.c: arrive, open, withdraw, reap, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   What is abstracted away: the loop that changes the state when somebody
   withdraws, which is one step; the format; that the generation in a place
   comes round again after 65536; spinning; and the time at which somebody was
   last seen, so that who comes looks for the dead only after a slice.

   Somebody who sleeps with a place sees the end of a bounded sleep only if a process
   was killed; one who has none, also if there is one now: nobody wakes it for
   that.  It comes only where there is something to see.

   There are three processes.  A thread stands from when it takes a place
   until it has left in time, as the state changes.  When the barrier opens as
   many as there are parties must stand, and it is they who pass.  */

#ifndef PARTIES
# define PARTIES 3
#endif
#ifndef ROUNDS
# define ROUNDS 2
#endif
#ifndef LASTING
# define LASTING 2              /* the first ones wait for ever */
#endif
#define NO_PLACE 255

/* A place: 2 bits of its owner, 0 for nobody; LEAVING; and the generation.  */
#define LEAVING 4
#define CLEARED LEAVING
#ifdef MUTANT_CLEAR_WITHOUT_GENERATION
# define NO_MORE(generation) CLEARED
#else
# define NO_MORE(generation) TO_PLACE (CLEARED, generation)
#endif
#ifdef MUTANT_CLEAR_BEFORE_STATE
# define LEAVE(place) TO_PLACE (CLEARED, (place) >> 3)
#else
# define LEAVE(place) ((place) | LEAVING)
#endif
#define OWNER(i) ((i) + 1)
#define TO_PLACE(owner, generation) (((owner) & 7) + 8 * (generation))
#define OWNER_ID(place) (((place) & 3) - 1)
#ifdef MUTANT_COUNT_ANY
# define IS_TAKEN(place, generation) (((place) & 3) != 0)
#else
# define IS_TAKEN(place, generation)                                          \
  (((place) & 3) != 0 && (place) >> 3 == (generation))
#endif

byte generation, withdrawals;   /* one word */
byte arrived[PARTIES];
bool asleep[3];
bool dead[3];

/* What is said about it: in which generation, and 1, a thread stands; whether
   it was counted when that opened; whether a process was killed.  */
byte stands[3];
bool passed[3];
bool killed;

#define STANDS_HERE(i) (stands[i] == generation + 1)
#define ALL_STAND                                                             \
  (STANDS_HERE (0) + STANDS_HERE (1) + STANDS_HERE (2) == PARTIES)

#define IS_DEAD_IN(i)                                                         \
  (((arrived[i] & 3) != 0) && arrived[i] >> 3 == generation                   \
   && dead[OWNER_ID (arrived[i])])
#define IS_FREE(i) (!(((arrived[i] & 3) != 0) && arrived[i] >> 3 == generation))
#if PARTIES == 2
# define DEAD_IN_ANY (IS_DEAD_IN (0) || IS_DEAD_IN (1))
# define ANY_FREE (IS_FREE (0) || IS_FREE (1))
#else
# define DEAD_IN_ANY (IS_DEAD_IN (0) || IS_DEAD_IN (1) || IS_DEAD_IN (2))
# define ANY_FREE (IS_FREE (0) || IS_FREE (1) || IS_FREE (2))
#endif

#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#else
# define SLICE_ENDS                                                           \
  ((killed && (DEAD_IN_ANY || !ANY_FREE || passed[me]))                       \
   || (place == NO_PLACE && ANY_FREE))
#endif

#define HAS_TIMEOUT (me >= LASTING)

#ifdef NO_KILLS
# define OR_DIE
#else
# define OR_DIE :: goto die
#endif

/* Who was too late does not clear the place.  */
#ifdef MUTANT_CLEAR_LATE
# define LATE clear_late
#else
# define LATE done
#endif

#ifdef MUTANT_OPEN_BLINDLY
# define IS_UNCHANGED (generation == seen)
#else
# define IS_UNCHANGED (generation == seen && withdrawals == seen_withdrawals)
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
  atomic {
    if
    :: rounds == ROUNDS -> goto gone
    :: else -> rounds++
    fi;
    place = NO_PLACE
  };
attempt:
  if
  :: place != NO_PLACE -> goto see
  :: else
  fi;
arrive:
#ifdef MUTANT_STATE_BEFORE_PLACE
  if
  :: atomic {
       if
       :: i == 0 -> arrival = generation
       :: else
       fi
     }
  OR_DIE
  fi;
#endif
  if
  :: atomic { owner = arrived[i] }
  OR_DIE
  fi;
  if
  :: atomic {
#ifndef MUTANT_STATE_BEFORE_PLACE
       arrival = generation;
#endif
       if
       :: IS_TAKEN (owner, arrival) -> owner = 0; goto next_place
       :: else
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: arrived[i] == owner ->
          owner = 0;
          place = i;
          i = 0;
          arrived[place] = TO_PLACE (OWNER (me), arrival);
          if
          :: arrival == generation -> stands[me] = generation + 1
          :: else
          fi;
          goto see
       :: else -> owner = 0; goto next_place
       fi
     }
  OR_DIE
  fi;
next_place:
  atomic {
    i++;
    if
    :: i < PARTIES -> goto arrive
    :: else -> i = 0; arrival = 0
    fi
  };
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
       :: IS_TAKEN (owner, seen) && look && dead[OWNER_ID (owner)] -> goto reap
       :: else
       fi;
       if
#ifdef MUTANT_COUNT_LEAVING
       :: IS_TAKEN (owner, seen) -> count++
#else
       :: IS_TAKEN (owner, seen) && !(owner & LEAVING) -> count++
#endif
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
       :: arrived[i] == owner -> arrived[i] = LEAVE (owner)
       :: else
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: generation == seen ->
#ifndef MUTANT_REAP_WITHOUT_STATE
          withdrawals++;
#endif
          stands[OWNER_ID (owner)] = 0
       :: else -> owner = 0; goto next
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: arrived[i] == (owner | LEAVING) ->
          arrived[i] = NO_MORE (seen)
       :: else
       fi;
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
  };
  if
  :: atomic {
       changed = true;
       if
       :: IS_UNCHANGED -> open ()
       :: else -> goto sleep
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
  /* A kill here is indistinguishable from one before,
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
  /* The memory is unmapped, or so: it gives up without an attempt.  */
  :: atomic { HAS_TIMEOUT -> asleep[me] = false; goto give_up }
  fi;
give_up:
  if
  :: atomic {
       if
       :: place == NO_PLACE -> goto timed_out
       :: else
       fi;
       if
       :: arrived[place] == TO_PLACE (OWNER (me), arrival) ->
          arrived[place] = LEAVE (arrived[place])
       :: else
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
          stands[me] = 0
       :: else -> goto LATE
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: arrived[place] == TO_PLACE (OWNER (me) | LEAVING, arrival) ->
          arrived[place] = NO_MORE (arrival)
       :: else
       fi
     }
  OR_DIE
  fi;
timed_out:
  atomic { assert (!passed[me]); goto forget };
#ifdef MUTANT_CLEAR_LATE
clear_late:
  atomic {
    if
    :: arrived[place] == TO_PLACE (OWNER (me) | LEAVING, arrival) ->
       arrived[place] = NO_MORE (arrival)
    :: else
    fi
  };
#endif
done:
  atomic { assert (passed[me]); passed[me] = false };
forget:
  atomic {
    seen = 0;
    seen_withdrawals = 0;
    place = 0;
    arrival = 0;
    changed = false;
    look = false;
    last = false;
    goto start
  };
#ifndef NO_KILLS
die:
  atomic { dead[me] = true; killed = true; passed[me] = false };
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

/* When nothing moves any more, fewer than the parties wait.  */
active proctype judge ()
{
end:
  timeout ->
  assert (!passed[0] && !passed[1] && !passed[2]);
  assert (asleep[0] + asleep[1] + asleep[2] < PARTIES)
}

init
{
  atomic { run process (0); run process (1); run process (2) }
}

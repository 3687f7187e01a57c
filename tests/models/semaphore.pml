/* SPDX-License-Identifier: BSD-3-Clause
   semaphore.pml - the semaphore of src/core/semaphore.c: post, take, give up, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   What is abstracted away: the format, the loop that adds one, which is a
   step, and spinning, whose attempts are the first one again.

   A wake-up may choose any sleeper.  The end of a bounded sleep comes only if
   a process was killed, and only where there is something to take.  Somebody
   who sleeps for ever beside a value that is not 0 is what the judge sees
   when nothing moves any more.  */

#ifndef TAKES
# define TAKES 2                /* of each thread */
#endif
#ifndef POSTS
# define POSTS 2                /* of the first one; the second posts once */
#endif

#define SLEEPERS 128            /* somebody may sleep */
#define COUNT(value) ((value) & 127)

byte value;
bool asleep[3];

/* What is said about it: how many there are that were posted and not taken;
   whether a process was killed.  */
byte rest;
bool killed;

#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#else
# define SLICE_ENDS (killed && COUNT (value) > 0)
#endif

/* One process gives up when it likes; the others wait for ever.  */
#define HAS_TIMEOUT (me == 2)

#ifdef NO_KILLS
# define OR_DIE
#else
# define OR_DIE :: goto die
#endif

/* Who found something that others took then does not sleep before it has
   announced that, but where SLEEPERS stands.  */
#ifdef MUTANT_SLEEP_ON_TAKEN
# define NO_SLEEP COUNT (value)
#else
# define NO_SLEEP SLEEPERS
#endif

#ifdef MUTANT_TAKE_BLINDLY
# define IS_UNCHANGED true
#else
# define IS_UNCHANGED (value == seen)
#endif

#ifdef MUTANT_TAKE_WITHOUT_SLEEPERS
# define ANNOUNCED 0
#else
# define ANNOUNCED SLEEPERS
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

inline took ()
{
  assert (rest > 0);
  rest--
}

proctype taker (byte me, takes)
{
  byte seen;
  bool last;

start:
  if
  :: atomic {
       /* The first attempt, which announces nothing.  */
       if
       :: takes == 0 -> goto gone
       :: else -> takes--
       fi;
       if
       :: COUNT (value) > 0 -> value--; took (); goto start
       :: else
       fi
     }
  OR_DIE
  fi;
attempt:
  if
  :: atomic {
       seen = value;
       if
       :: seen == SLEEPERS -> goto sleep
       :: seen == 0 -> goto announce
       :: else
       fi
     }
  OR_DIE
  fi;
  /* Take.  */
  if
  :: atomic {
       if
       :: IS_UNCHANGED ->
          value = (seen - 1) | ANNOUNCED;
          seen = value;
          took ()
       :: else -> seen = NO_SLEEP; goto sleep
       fi
     }
  OR_DIE
  fi;
#ifndef MUTANT_NO_PASS_ON_REST
  if
  :: atomic {
       if
       :: (seen & SLEEPERS) && COUNT (seen) > 0 -> wake ()
       :: else
       fi
     }
  OR_DIE
  fi;
#endif
  atomic { seen = 0; last = false; goto start };
announce:
  if
  :: atomic {
       if
       :: value == 0 -> value = SLEEPERS
       :: else
       fi;
       seen = SLEEPERS
     }
  OR_DIE
  fi;
sleep:
  if
  :: atomic {
       if
       :: last -> seen = 0; last = false; goto give_up
       :: else
       fi;
       if
       :: value == seen -> asleep[me] = true; seen = 0
       :: else -> seen = 0; goto attempt
       fi
     }
  OR_DIE
  fi;
end_asleep:
  /* A kill here is indistinguishable from one before,
     and if it could be, there would always be something that moves.  */
  if
  :: atomic { !asleep[me] -> goto attempt }
  :: atomic { SLICE_ENDS -> asleep[me] = false; goto attempt }
  :: atomic { HAS_TIMEOUT -> asleep[me] = false; last = true; goto attempt }
  /* The memory is unmapped here: it gives up without an attempt.  */
  :: atomic { HAS_TIMEOUT -> asleep[me] = false; goto give_up }
  fi;
give_up:
#ifndef MUTANT_GIVE_UP_SILENTLY
  /* It may have been woken, for others that sleep.  */
  if
  :: atomic { wake () }
  OR_DIE
  fi;
#endif
  goto start;
#ifndef NO_KILLS
die:
  atomic { killed = true };
#endif
gone:
  atomic { seen = 0; last = false; takes = 0 }
}

proctype poster (byte posts)
{
  byte seen;

start:
  if
  :: atomic {
       if
       :: posts == 0 -> goto gone
       :: else -> posts--
       fi;
       seen = value;
       value = COUNT (seen) + 1;
       rest++
     }
  OR_DIE
  fi;
#ifndef MUTANT_POST_SILENTLY
  if
  :: atomic {
       if
       :: seen & SLEEPERS -> wake ()
       :: else
       fi
     }
  OR_DIE
  fi;
#endif
  atomic { seen = 0; goto start };
#ifndef NO_KILLS
die:
  atomic { killed = true };
#endif
gone:
  atomic { seen = 0; posts = 0 }
}

/* When nothing moves any more.  */
active proctype judge ()
{
end:
  timeout ->
  assert (COUNT (value) == rest);
  assert (rest == 0 || !(asleep[0] || asleep[1] || asleep[2]))
}

init
{
  atomic {
    run taker (0, TAKES);
    run taker (1, TAKES);
    run taker (2, TAKES);
    run poster (POSTS);
    run poster (1)
  }
}

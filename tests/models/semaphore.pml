/* SPDX-License-Identifier: BSD-3-Clause
   semaphore.pml - the semaphore of src/sync.c: post, take, time out.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone.  What is abstracted away: the format, and
   spinning, whose attempts are the first one again.

   Nobody is killed, and no slice ends: a lost wake-up is somebody who sleeps
   for ever beside a value that is not 0, which the judge sees when nothing
   moves any more.  A wake-up may choose any sleeper.  */

#define SLEEPERS 128            /* somebody may sleep */
#define COUNT(value) ((value) & 127)

byte value;
bool asleep[3];

/* One process gives up when it likes; the others wait for ever.  */
#define HAS_TIMEOUT (me == 2)

/* Who found something that others took then does not sleep until there is
   something: it has not announced that.  */
#ifdef MUTANT_SLEEP_ON_TAKEN
# define NO_SLEEP(value) (COUNT (value) > 0 -> SLEEPERS : (value))
#else
# define NO_SLEEP(value) SLEEPERS
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

proctype taker (byte me, takes)
{
  byte seen;
  bool last;

start:
  /* The first attempt, which announces nothing.  */
  atomic {
    if
    :: takes == 0 -> goto gone
    :: else -> takes--
    fi;
    if
    :: COUNT (value) > 0 -> value--; goto start
    :: else
    fi
  };
attempt:
  atomic {
    seen = value;
    if
    :: COUNT (seen) == 0 -> goto announce
    :: else
    fi
  };
  /* Take.  */
  atomic {
    if
    :: value == seen -> value = (seen - 1) | SLEEPERS; seen = value
    :: else -> seen = NO_SLEEP (value); goto sleep
    fi
  };
#ifndef MUTANT_NO_PASS_ON_REST
  atomic {
    if
    :: COUNT (seen) > 0 -> wake ()
    :: else
    fi
  };
#endif
  atomic { seen = 0; last = false; goto start };
announce:
  atomic {
    if
    :: value == seen -> value = SLEEPERS
    :: else
    fi;
    seen = SLEEPERS
  };
sleep:
  atomic {
    if
    :: last -> seen = 0; last = false; goto give_up
    :: else
    fi;
    if
    :: value == seen -> asleep[me] = true; seen = 0
    :: else -> seen = 0; goto attempt
    fi
  };
end_asleep:
  if
  :: atomic { !asleep[me] -> goto attempt }
  :: atomic { HAS_TIMEOUT -> asleep[me] = false; last = true; goto attempt }
  fi;
give_up:
#ifndef MUTANT_GIVE_UP_SILENTLY
  /* It may have been woken, for others that sleep.  */
  atomic { wake () };
#endif
  goto start;
gone:
  skip
}

proctype poster (byte posts)
{
  byte seen;

  do
  :: posts > 0 ->
     atomic { posts--; seen = value; value = COUNT (seen) + 1 };
#ifndef MUTANT_POST_SILENTLY
     atomic {
       if
       :: seen & SLEEPERS -> wake ()
       :: else
       fi;
       seen = 0
     }
#endif
  :: else -> break
  od
}

/* When nothing moves any more.  */
active proctype judge ()
{
end:
  timeout ->
  assert (COUNT (value) == 0 || !(asleep[0] || asleep[1] || asleep[2]))
}

init
{
  atomic {
    run taker (0, 2);
    run taker (1, 2);
    run taker (2, 2);
    run poster (2);
    run poster (2)
  }
}

/* SPDX-License-Identifier: BSD-3-Clause
   wait.pml - waiting for a word to change: gshm_wait in src/core/wait.c, as
   atomic-u32-wait uses it.

   The memory is sequentially consistent.  Each access to it is a step, and a
   process that changes the word may be killed before each.  A waiter returns
   only if it has seen another value.  The end of a bounded sleep comes only if
   a process was killed; a waiter that sleeps for ever beside a word that has
   changed is an invalid end state.  */

#ifndef WAITERS
# define WAITERS 2
#endif

byte word;                      /* waiters wait for it not to be 0 */
bool asleep[WAITERS];
bool killed;

#ifdef NO_KILLS
# define OR_DIE
#else
# define OR_DIE :: killed = true; goto die
#endif

#ifdef MUTANT_UNBOUNDED
# define SLEEP_ENDS false
#else
# define SLEEP_ENDS (killed && word != 0)
#endif

proctype waiter (byte me)
{
  byte seen;

again:
  seen = word;                  /* [is_changed] */
  if
  :: seen != 0 -> goto done
  :: else
  fi;
  /* [sleep_outside] The kernel compares, and enters its queue, in one step.  */
#ifdef MUTANT_SLEEP_BLINDLY
  asleep[me] = true;
#else
  atomic
    {
      if
      :: word == 0 -> asleep[me] = true
      :: else -> goto again
      fi
    }
#endif
  if
  :: !asleep[me]
  :: atomic { SLEEP_ENDS -> asleep[me] = false }
  fi;
#ifdef MUTANT_RETURN_WOKEN
  goto done;
#endif
  goto again;
done:
#ifdef MUTANT_RETURN_WOKEN
  assert (word != 0)
#else
  assert (seen != 0)
#endif
}

/* Wakes all.  */
inline notify ()
{
  d_step
    {
      i = 0;
      do
      :: i < WAITERS -> asleep[i] = false; i++
      :: else -> break
      od
    }
}

proctype changer ()
{
  byte i;

#ifdef MUTANT_NOTIFY_FIRST
  notify ();
  word = 1
#else
  if
  :: word = 1
  OR_DIE
  fi;
  if
  :: notify ()
  OR_DIE
  fi;
#endif
die:
  skip
}

/* Notifies without a change.  */
proctype notifier ()
{
  byte i;

  notify ()
}

/* The word is changed by this one if the other is killed before.  */
proctype last ()
{
  byte i;

end:
  killed;
  if
  :: word == 0 -> word = 2; notify ()
  :: else
  fi
}

init
{
  byte n = 0;

  atomic
    {
      do
      :: n < WAITERS -> run waiter (n); n++
      :: else -> break
      od;
      run changer ();
      run notifier ()
#ifndef NO_KILLS
      ; run last ()
#endif
    }
}

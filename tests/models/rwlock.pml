/* SPDX-License-Identifier: BSD-3-Clause
   rwlock.pml - the read-write lock of src/core/rwlock.c: enter, leave, give up, die.

   The memory is sequentially consistent.  Each access to it is a step, with
   what follows in the process alone, and a process may be killed before each.
   What is abstracted away: the format, spinning, that a thread looks whether
   it is inside already, and the search for a place: process I takes place I,
   as if the others were taken.  A writer may say that others sleep or not,
   whether or not it slept.

   The end of a bounded sleep comes only if a process was killed, and only where there
   is something to see, so that a waiter that is never woken is a deadlock.  */

#ifndef ROUNDS
# define ROUNDS 1
#endif
#ifndef READERS
# define READERS 1              /* the others write */
#endif

/* Writers are multiples of 4.  */
#define WAITERS 1
#define PENDING 2
#define NEVER 3                 /* what the writer never is */
#define ABANDONED WAITERS       /* left by an owner that did not recover */
#define OWNER(i) (4 * (i) + 4)
#define OWNER_ID(writer) ((writer) / 4 - 1)

byte writer, leaving;
bool reader[3];
bool asleep[3];                 /* until the writer changes */
bool drowsy[3];                 /* until somebody leaves */
bool dead[3];

/* What is said about it: who believes to read or to write, whether a writer
   died that nobody was told of, whether a process was killed.  */
bool reads[3], writes[3];
bool unreported, killed;

/* A writer that waits for readers is not killed any more while it sleeps, or
   there would always be something that moves.  */
bool spared;

#define LIVE_READER(i) (reads[i] && !dead[i])
#define LIVE_WRITER(i) (writes[i] && !dead[i])
#define NO_READER (!LIVE_READER (0) && !LIVE_READER (1) && !LIVE_READER (2))
#define NO_WRITER (!LIVE_WRITER (0) && !LIVE_WRITER (1) && !LIVE_WRITER (2))

#define HAS_READERS (reader[0] || reader[1] || reader[2])
#define DEAD_READER                                                           \
  ((reader[0] && dead[0]) || (reader[1] && dead[1]) || (reader[2] && dead[2]))

#ifdef MUTANT_NO_SLICES
# define SLICE_ENDS false
#else
# define SLICE_ENDS                                                           \
  (killed                                                                     \
   && (asleep[me] -> writer < 4 || dead[OWNER_ID (writer)]                         \
       : DEAD_READER || !HAS_READERS))
#endif

/* One process gives up when it likes; the others wait for ever.  */
#define HAS_TIMEOUT (me == 2)

#ifdef NO_KILLS
# define OR_DIE
#else
# define OR_DIE :: goto die
#endif

/* Who found no writer, or a dead one, and then another does not sleep before
   it has looked again.  */
#ifdef MUTANT_SLEEP_ON_FREE
# define NO_SLEEP 0
#else
# define NO_SLEEP NEVER
#endif

#ifdef MUTANT_LEAVE_AS_FREE
# define LEFT_AS 0
#else
# define LEFT_AS ABANDONED
#endif

#ifdef MUTANT_TAKE_OVER_BLINDLY
# define IS_UNCHANGED true
#else
# define IS_UNCHANGED (writer == seen)
#endif

inline wake_asleep ()
{
  asleep[0] = false;
  asleep[1] = false;
  asleep[2] = false
}

inline wake_drowsy ()
{
  drowsy[0] = false;
  drowsy[1] = false;
  drowsy[2] = false
}

inline begin_to_read ()
{
  assert (NO_WRITER);
  assert (!unreported);
  reads[me] = true
}

inline begin_to_write (report)
{
  assert (NO_WRITER && NO_READER);
  assert (unreported == report);
  unreported = false;
  writes[me] = true
}

proctype process (byte me)
{
  byte rounds, seen, i;
  bool look, last, pending, inside;
  bool told;            /* that it took over, and has not recovered yet */

start:
  atomic {
    if
    :: rounds == ROUNDS -> goto gone
    :: else -> rounds++
    fi
  };
attempt:
  if
  :: atomic {
       if
       :: pending -> goto search
       :: else
       fi;
       seen = writer;
       if
       :: seen != 0 -> goto wait_for_writer
       :: seen == 0 && me >= READERS -> goto write
       :: else
       fi
     }
  OR_DIE
  fi;

  /* A reader takes its place, and then looks for a writer again.  */
  if
  :: atomic { reader[me] = true }
  OR_DIE
  fi;
  if
  :: atomic {
       seen = writer;
#ifdef MUTANT_NO_RECHECK
       seen = 0;
#endif
       if
       :: seen == 0 -> begin_to_read (); goto locked
       :: else
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic { reader[me] = false }
  OR_DIE
  fi;
  if
  :: atomic {
       if
       :: writer & PENDING -> skip
       :: else -> goto wait_for_writer
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic { leaving++ }
  OR_DIE
  fi;
  if
  :: atomic { wake_drowsy (); goto wait_for_writer }
  OR_DIE
  fi;

write:
  if
  :: atomic {
       if
       :: writer == 0 -> writer = OWNER (me) | PENDING; pending = true
       :: writer == 0 ->
          writer = OWNER (me) | PENDING | WAITERS;
          pending = true
       :: else -> seen = NO_SLEEP; goto sleep
       fi
     }
  OR_DIE
  fi;
search:
  if
  :: atomic { seen = leaving; i = 0; inside = false }
  OR_DIE
  fi;
search_one:
  if
  :: atomic {
       if
       :: !reader[i]
       :: reader[i] && look && dead[i] -> goto reap
       :: else -> inside = true
       fi;
       goto next
     }
  OR_DIE
  fi;
reap:
  if
  :: atomic { reader[i] = false }
  OR_DIE
  fi;
next:
  atomic {
    i++;
    if
    :: i < 3 -> goto search_one
    :: else -> i = 0
    fi;
#ifdef MUTANT_NO_SEARCH
    inside = false;
#endif
    if
    :: inside -> inside = false; goto drowse
    :: else
    fi
  };
  if
  :: atomic {
       assert (OWNER_ID (writer) == me);
       writer = writer & ~PENDING;
       seen = 0;
       pending = false;
       begin_to_write (false);
       goto locked
     }
  OR_DIE
  fi;

wait_for_writer:
  atomic {
    if
    :: seen == ABANDONED -> goto take_over
    :: else
    fi;
    if
    :: look && dead[OWNER_ID (seen)] && (seen & PENDING) -> goto clear
    :: look && dead[OWNER_ID (seen)] && !(seen & PENDING) -> goto take_over
    :: !(look && dead[OWNER_ID (seen)]) && (seen & WAITERS) -> goto sleep
    :: else
    fi
  };
  if
  :: atomic {
       if
       :: writer == seen -> writer = seen | WAITERS
       :: else
       fi;
       seen = seen | WAITERS;
       goto sleep
     }
  OR_DIE
  fi;
clear:
  if
  :: atomic {
       if
       :: IS_UNCHANGED -> writer = 0; seen = NO_SLEEP
       :: else -> seen = NO_SLEEP; goto sleep
       fi
     }
  OR_DIE
  fi;
  if
  :: atomic { wake_asleep (); goto sleep }
  OR_DIE
  fi;
take_over:
  if
  :: atomic {
       if
       :: IS_UNCHANGED ->
          writer = OWNER (me) | WAITERS;
          seen = 0;
          told = true;
          begin_to_write (true);
          goto locked
       :: else -> seen = NO_SLEEP; goto sleep
       fi
     }
  OR_DIE
  fi;

sleep:
  if
  :: atomic {
       look = false;
       if
       :: last -> goto give_up
       :: else
       fi;
       if
       :: writer == seen -> asleep[me] = true; seen = 0; goto is_asleep
       :: else -> seen = 0; goto attempt
       fi
     }
  OR_DIE
  fi;
drowse:
  if
  :: atomic {
       look = false;
       if
       :: last -> goto give_up
       :: else
       fi;
       if
       :: leaving == seen -> drowsy[me] = true; seen = 0
       :: else -> seen = 0; goto attempt
       fi
     }
  OR_DIE
  fi;
is_asleep:
  /* A kill here is indistinguishable from one before,
     but for a writer that waits for readers.  */
  if
  :: atomic { !asleep[me] && !drowsy[me] -> goto attempt }
  :: atomic {
       SLICE_ENDS ->
       asleep[me] = false;
       drowsy[me] = false;
       look = true;
       goto attempt
     }
  :: atomic {
       HAS_TIMEOUT ->
       asleep[me] = false;
       drowsy[me] = false;
       look = true;
       last = true;
       goto attempt
     }
  /* The memory is unmapped here: it gives up without an attempt.  */
  :: atomic {
       HAS_TIMEOUT -> asleep[me] = false; drowsy[me] = false; goto give_up
     }
#ifndef NO_KILLS
  :: pending && !spared -> goto die
#endif
  fi;

give_up:
  if
  :: atomic {
       last = false;
       seen = 0;
       if
       :: pending -> assert (OWNER_ID (writer) == me)
       :: else -> goto start
       fi;
       pending = false;
       seen = writer;
       writer = 0
     }
  OR_DIE
  fi;
  goto wake;

locked:
  if
  :: atomic {
       look = false;
       last = false;
       if
       :: reads[me] -> goto leave
       :: else
       fi;
       assert (OWNER_ID (writer) == me && !(writer & PENDING));
       seen = writer;
       writer = 0;
       if
       :: told -> writer = LEFT_AS; unreported = true
       :: true
       fi;
       told = false;
       writes[me] = false
     }
  OR_DIE
  fi;
wake:
  if
  :: atomic {
       if
       :: seen & WAITERS -> wake_asleep ()
       :: else
       fi;
       seen = 0;
       goto start
     }
  OR_DIE
  fi;
leave:
  if
  :: atomic { reader[me] = false; reads[me] = false }
  OR_DIE
  fi;
  if
  :: atomic {
       seen = 0;
       if
       :: writer & PENDING -> skip
       :: else -> goto start
       fi
     }
  OR_DIE
  fi;
#ifndef MUTANT_LEAVE_SILENTLY
  if
  :: atomic { leaving++ }
  OR_DIE
  fi;
  if
  :: atomic { wake_drowsy () }
  OR_DIE
  fi;
#endif
  goto start;
#ifndef NO_KILLS
die:
  atomic {
    dead[me] = true;
    killed = true;
    asleep[me] = false;
    drowsy[me] = false;
    if
    :: writer >= 4 && OWNER_ID (writer) == me && !(writer & PENDING) ->
       unreported = true
    :: else
    fi
  };
#endif
gone:
  atomic {
    rounds = 0;
    seen = 0;
    i = 0;
    look = false;
    last = false;
    pending = false;
    told = false;
    inside = false
  }
}

init
{
#ifdef NO_KILLS
  atomic { run process (0); run process (1); run process (2) }
#else
  atomic { run process (0); run process (1); run process (2) };
  spared = true
#endif
}

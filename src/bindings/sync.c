/* SPDX-License-Identifier: BSD-3-Clause
   sync.c - locks and their like in memory that processes share.

   Each lives in a bytevector and consists of words of fixed size, so that 32-
   and 64-bit processes share it, and of nothing that leads anywhere: no
   pointer and no index that is followed unchecked.  Whatever is written there,
   by whomever, an attempt to use it ends.  The first word says what it is.

   Waiting is gshm_wait's.  Nobody depends on being woken: who sleeps looks
   again after a slice, so that a waker that was killed costs that much time.
   And nobody depends on a thread that holds something: who waits sees whether
   the thread lives (owner.h), and takes over if it does not.

   Where an operation takes more than one step, each step leaves what others
   can go on with.  The steps of the mutex and of the condition have the names
   that tests/models/ gives them, in brackets.  */

#include <config.h>

#include <limits.h>
#include <stdatomic.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/waiting.h"
#include "core/format.h"
#include "core/lock.h"
#include "core/owner.h"
#include "init.h"
#include "memory/place.h"

#define LAYOUT 1
#define FORMAT(kind) GSHM_FORMAT (kind, LAYOUT)

enum kind
{
  MUTEX = GSHM_MUTEX,
  CONDITION = GSHM_CONDITION,
  SEMAPHORE = GSHM_SEMAPHORE,
  BARRIER = GSHM_BARRIER,
  RWLOCK = GSHM_RWLOCK
};

static const char *const kinds[] = {
  [MUTEX] = "mutex", [CONDITION] = "condition", [SEMAPHORE] = "semaphore",
  [BARRIER] = "barrier", [RWLOCK] = "read-write lock",
};

#define PARTIES 256
#define READERS 128

struct mutex
{
  gshm_long_word format;
  gshm_long_word owner;         /* and WAITERS; 0: free */
  gshm_word namespace;
  gshm_word unused;
};

struct condition
{
  gshm_long_word format;
  /* In the low half the sequence, which changes with each signal; then 16 bits
     of the number of threads that wait, too large if some were killed; and 16
     of the signals that are owed: nobody has taken them yet.  */
  gshm_long_word state;
};

struct semaphore
{
  gshm_long_word format;
  gshm_word value;              /* and SLEEPERS */
  gshm_word unused;
};

struct barrier
{
  gshm_long_word format;
  gshm_word namespace;
  gshm_word parties;
  gshm_word seen;               /* when somebody last looked, in ms */
  gshm_word unused;
  /* In the low half the generation: how often the barrier opened.  In the high
     half the withdrawals of this generation.  */
  gshm_long_word state;
  /* Who has arrived: the low 48 bits of an owner; in the others, those of the
     generation in which that was.  */
  gshm_long_word arrived[PARTIES];
};

struct rwlock
{
  gshm_long_word format;
  gshm_long_word writer;        /* an owner, WAITERS and PENDING; 0: none */
  gshm_word namespace;
  gshm_word leaving;            /* changes when a reader leaves for a writer */
  gshm_long_word readers[READERS];
};

_Static_assert (sizeof (struct mutex) == 24, "a layout that processes share");
_Static_assert (sizeof (struct condition) == 16,
                "a layout that processes share");
_Static_assert (sizeof (struct semaphore) == 16,
                "a layout that processes share");
_Static_assert (sizeof (struct barrier) == 32 + 8 * PARTIES,
                "a layout that processes share");
_Static_assert (sizeof (struct rwlock) == 24 + 8 * READERS,
                "a layout that processes share");

/* MARK as it is used here.  PENDING: a writer that still waits for readers to
   leave.  UNMENDED: who holds a mutex took over from a dead one, and has not
   said that what it guards is whole.  */
#define PENDING GSHM_MARK
#define UNMENDED GSHM_MARK

static int
is_dead (uint64_t owner, const gshm_word *namespace)
{
  return gshm_is_dead (owner, UINT64_MAX, atomic_load (namespace));
}


/* What a procedure is called with.  */
struct use
{
  const char *subr;
  SCM bytevector, k;
  enum kind kind;
};

/* What attempts return, beside 0.  */
enum outcome
{
  DONE = GSHM_LOCKED,
  ABANDONED = GSHM_TAKEN_OVER,
  HELD_BY_SELF = GSHM_HELD_BY_SELF
};

static SCM abandoned;

static void
check_format (const struct use *use, const gshm_long_word *format)
{
  /* Acquire: what initialization stored before it, is seen.  */
  if (atomic_load_explicit (format, memory_order_acquire)
      != FORMAT (use->kind))
    gshm_format_error (use->subr, kinds[use->kind], use->bytevector, use->k);
}

/* For those who clean up after an exception: whether the structure of SIZE
   bytes is still there.  What is lost, if only in part, or is another thing
   now is not touched.  */
static int
is_still_there (const struct use *use, gshm_long_word *format, size_t size)
{
  return gshm_is_there ((gshm_word *) format, size)
         && atomic_load (format) == FORMAT (use->kind);
}

static inline void *
structure (const struct use *use, size_t size)
{
  gshm_long_word *format = gshm_place (use->subr, use->bytevector, use->k,
                                       size, 8, 1);
  gshm_require_self (use->subr);
  check_format (use, format);
  return format;
}

/* The place of a structure that is to be initialized, which until it is, is
   none.  */
static void *
new_structure (const char *subr, SCM bytevector, SCM k, size_t size)
{
  gshm_long_word *format = gshm_place (subr, bytevector, k, size, 8, 1);

  gshm_require_self (subr);
  atomic_store (format, 0);
  return format;
}

static SCM
initialized (gshm_long_word *format, enum kind kind)
{
  /* Release: what is initialized is seen by whoever sees what it is.  */
  atomic_store_explicit (format, FORMAT (kind), memory_order_release);
  return SCM_UNSPECIFIED;
}

SCM_NORETURN static void
refuse (const struct use *use, int err, const char *hint)
{
  gshm_place_error (use->subr, err, kinds[use->kind], use->bytevector, use->k,
                    hint);
}

static SCM
outcome_to_scm (const struct use *use, int outcome)
{
  if (outcome == HELD_BY_SELF)
    refuse (use, EDEADLK, "this thread holds it already");
  return outcome == ABANDONED ? abandoned : scm_from_bool (outcome != 0);
}

/* The same of a lock.  If the memory was unmapped before this thread had it,
   what it has is in other memory, of zeros.  */
static SCM
locked_to_scm (const struct use *use, const gshm_long_word *format,
               int outcome)
{
  if (outcome != 0)
    check_format (use, format);
  return outcome_to_scm (use, outcome);
}


/* Mutexes.  */

#define MUTEX_INIT "shm-mutex-init!"
#define MUTEX_LOCK "shm-mutex-lock!"
#define MUTEX_UNLOCK "shm-mutex-unlock!"

struct locking
{
  const struct use *use;
  struct mutex *mutex;
  struct gshm_locking lock;
};

static SCM
init_mutex (SCM bytevector, SCM k)
{
  struct mutex *mutex
    = new_structure (MUTEX_INIT, bytevector, k, sizeof *mutex);

  atomic_store (&mutex->owner, 0);
  atomic_store (&mutex->namespace, gshm_namespace ());
  atomic_store (&mutex->unused, 0);
  return initialized (&mutex->format, MUTEX);
}

static uint64_t
self_in_mutex (const struct mutex *mutex)
{
  return gshm_self (atomic_load_explicit (&mutex->namespace,
                                          memory_order_relaxed));
}

static int
attempt_to_lock (void *data, struct gshm_sleep *sleep)
{
  struct locking *locking = data;

  check_format (locking->use, &locking->mutex->format);
  return gshm_attempt_to_lock (&locking->lock, UNMENDED, sleep);
}

static void
give_up_locking (void *data)
{
  const struct locking *locking = data;

  gshm_give_up_locking (&locking->lock);
}

static int
lock (const struct use *use, struct mutex *mutex, int64_t timeout)
{
  struct locking locking
    = { .use = use, .mutex = mutex,
        .lock = { .owner = &mutex->owner, .namespace = &mutex->namespace } };
  uint64_t none = 0;

  /* [take] Acquire: what the last owner did is seen.  */
  if (atomic_compare_exchange_strong_explicit (&mutex->owner, &none,
                                               self_in_mutex (mutex),
                                               memory_order_acquire,
                                               memory_order_relaxed))
    return DONE;
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (give_up_locking, &locking, 0);
  int outcome = gshm_guile_wait (use->subr, use->k, timeout, attempt_to_lock,
                           &locking);
  scm_dynwind_end ();
  if (outcome == 0)
    give_up_locking (&locking);
  return outcome;
}

static SCM
gshm_mutex_lock (SCM bytevector, SCM k, SCM scm_timeout)
{
  struct use use = { MUTEX_LOCK, bytevector, k, MUTEX };
  struct mutex *mutex = structure (&use, sizeof *mutex);
  int64_t timeout = gshm_to_timeout (MUTEX_LOCK, 3, scm_timeout);
  SCM result = locked_to_scm (&use, &mutex->format,
                              lock (&use, mutex, timeout));

  scm_remember_upto_here_1 (bytevector);
  return result;
}

static int
is_locked_by_self (const struct mutex *mutex)
{
  return GSHM_WHO (gshm_load (&mutex->owner)) == self_in_mutex (mutex);
}

/* Give up MUTEX, which this thread holds: if it took over from a dead one and
   has not mended what that left, so that the next one is told.  */
static void
give_up (struct mutex *mutex)
{
  gshm_unlock (&mutex->owner,
               gshm_load (&mutex->owner) & UNMENDED ? GSHM_NOBODY : 0);
}

/* An owner that unlocks says that all is mended.  */
static SCM
gshm_mutex_unlock (SCM bytevector, SCM k)
{
  struct use use = { MUTEX_UNLOCK, bytevector, k, MUTEX };
  struct mutex *mutex = structure (&use, sizeof *mutex);

  if (!is_locked_by_self (mutex))
    refuse (&use, EPERM, "this thread does not hold it");
  gshm_unlock (&mutex->owner, 0);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

/* (BYTEVECTOR K): if this thread holds the mutex, give it up.  This raises no
   exception where there is no mutex any more.  */
static SCM
gshm_mutex_leave (SCM bytevector, SCM k)
{
  struct use use = { MUTEX_UNLOCK, bytevector, k, MUTEX };

  if (!SCM_BYTEVECTOR_P (bytevector) || SCM_BYTEVECTOR_LENGTH (bytevector) > 0)
    {
      struct mutex *mutex = gshm_place (MUTEX_UNLOCK, bytevector, k,
                                        sizeof *mutex, 8, 1);
      if (is_still_there (&use, &mutex->format, sizeof *mutex)
          && is_locked_by_self (mutex))
        give_up (mutex);
    }
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

/* (BYTEVECTOR K): what the mutex guards, which this thread holds, is whole, or
   somebody else was told that it is not.  */
static SCM
gshm_mutex_mended (SCM bytevector, SCM k)
{
  struct use use = { "call-with-shm-mutex", bytevector, k, MUTEX };
  struct mutex *mutex = structure (&use, sizeof *mutex);

  if (is_locked_by_self (mutex))
    atomic_fetch_and (&mutex->owner, ~UNMENDED);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

/* (BYTEVECTOR K) -> boolean: does this thread hold the mutex?  */
static SCM
gshm_mutex_is_mine (SCM bytevector, SCM k)
{
  struct use use = { "call-with-shm-mutex", bytevector, k, MUTEX };
  struct mutex *mutex = structure (&use, sizeof *mutex);
  int mine = is_locked_by_self (mutex);

  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (mine);
}


/* Conditions.

   A signal changes the sequence, and one more is owed.  A waiter may take what
   is owed if the sequence changed since it came, and does so when it has the
   mutex again, after which it just returns.  So a signal is not lost on a
   waiter that is killed: others that waited then look after a slice and find
   it owed.  All of this is one word, since who signals need not hold the
   mutex.  */

#define CONDITION_INIT "shm-condition-init!"
#define CONDITION_WAIT "shm-condition-wait!"
#define CONDITION_SIGNAL "shm-condition-signal!"
#define CONDITION_BROADCAST "shm-condition-broadcast!"

struct awaiting
{
  const struct use *use;
  struct condition *condition;
  struct mutex *mutex;
  uint64_t self;
  uint32_t came;        /* the sequence then */
  int mends;            /* what the mutex guards, after a dead owner */
};

#define SEQUENCE(state) ((uint32_t) (state))
#define WAITING(state) ((state) >> 32 & 0xffff)
#define OWED(state) ((state) >> 48)

static uint64_t
condition_state (uint32_t sequence, uint64_t waiting, uint64_t owed)
{
  return sequence | waiting << 32 | (owed < waiting ? owed : waiting) << 48;
}

static SCM
init_condition (SCM bytevector, SCM k)
{
  struct condition *condition
    = new_structure (CONDITION_INIT, bytevector, k, sizeof *condition);

  atomic_store (&condition->state, 0);
  return initialized (&condition->format, CONDITION);
}

/* [come] With the mutex held, so that no signal for a change that this thread
   has not seen comes before.  */
static void
come (struct awaiting *awaiting)
{
  gshm_long_word *word = &awaiting->condition->state;
  uint64_t state = atomic_load (word), next;

  awaiting->self = self_in_mutex (awaiting->mutex);
  do
    {
      uint64_t waiting = WAITING (state);
      next = condition_state (SEQUENCE (state),
                              waiting < 0xffff ? waiting + 1 : waiting,
                              waiting == 0 ? 0 : OWED (state));
    }
  while (!atomic_compare_exchange_weak (word, &state, next));
  awaiting->came = SEQUENCE (next);
}

/* If this is the child of a fork, nobody has come for it yet.  */
static void
come_as_child (struct awaiting *awaiting)
{
  if (awaiting->self != self_in_mutex (awaiting->mutex))
    come (awaiting);
}

/* Go, with SIGNALS of those that are owed, 0 or 1.  Return whether this thread
   may have as many.  */
static int
go (struct awaiting *awaiting, uint64_t signals)
{
  gshm_long_word *word = &awaiting->condition->state;
  uint64_t state = atomic_load (word), waiting;

  do
    {
      if (signals > 0
          && (SEQUENCE (state) == awaiting->came || OWED (state) < signals))
        return 0;
      waiting = WAITING (state);
    }
  while (!atomic_compare_exchange_weak (
    word, &state,
    condition_state (SEQUENCE (state), waiting - (waiting > 0),
                     OWED (state) - signals)));
  if (signals == 0 && SEQUENCE (state) != awaiting->came && OWED (state) > 0)
    /* [pass on] It may have been woken for a signal that it does not take.  */
    gshm_wake (gshm_low_half (word), 1);
  return 1;
}

static void
go_without (void *data)
{
  struct awaiting *awaiting = data;

  if (is_still_there (awaiting->use, &awaiting->condition->format,
                      sizeof *awaiting->condition)
      && gshm_is_there ((gshm_word *) awaiting->mutex, sizeof *awaiting->mutex)
      && awaiting->self == self_in_mutex (awaiting->mutex))
    go (awaiting, 0);
}

/* Whether a signal may be taken, to which the mutex is needed.  */
static int
attempt_to_be_signalled (void *data, struct gshm_sleep *sleep)
{
  struct awaiting *awaiting = data;
  struct condition *condition = awaiting->condition;
  struct mutex *mutex = awaiting->mutex;

  check_format (awaiting->use, &condition->format);
  come_as_child (awaiting);
  uint64_t state = atomic_load (&condition->state);
  if (SEQUENCE (state) != awaiting->came && OWED (state) > 0)
    return DONE;
  if (sleep->look)
    {
      /* Who died holding the mutex will not signal.  */
      uint64_t owner = gshm_load (&mutex->owner);
      if (owner != 0 && !(awaiting->mends && owner == GSHM_NOBODY)
          && is_dead (owner, &mutex->namespace))
        return ABANDONED;
    }
  gshm_sleep_on_half (sleep, &condition->state, state);
  return 0;
}

static SCM
gshm_condition_wait (SCM bytevector, SCM k, SCM mutex_k, SCM scm_timeout)
{
  struct use use = { CONDITION_WAIT, bytevector, k, CONDITION };
  struct use mutex_use = { CONDITION_WAIT, bytevector, mutex_k, MUTEX };
  struct condition *condition = structure (&use, sizeof *condition);
  struct mutex *mutex = structure (&mutex_use, sizeof *mutex);
  int64_t timeout = gshm_to_timeout (CONDITION_WAIT, 4, scm_timeout);
  struct awaiting awaiting = { .use = &use, .condition = condition,
                               .mutex = mutex };
  int64_t start = gshm_now (), left = timeout;
  int outcome, locked, signalled, is_over;

  if (!is_locked_by_self (mutex))
    refuse (&mutex_use, EPERM, "this thread does not hold it");
  awaiting.mends = (gshm_load (&mutex->owner) & UNMENDED) != 0;
  come (&awaiting);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (go_without, &awaiting, 0);
  do
    {
      is_over = left == 0;
      give_up (mutex);
      SCM_TICK;
      outcome = gshm_guile_wait (CONDITION_WAIT, k, left, attempt_to_be_signalled,
                           &awaiting);
      locked = lock (&mutex_use, mutex, GSHM_FOREVER);
      if (awaiting.mends && locked == ABANDONED)
        locked = DONE;
      come_as_child (&awaiting);
      /* [take signal] With the mutex held: who is killed before has not taken
         it, and who is killed after does so holding the mutex, of which the
         next one is told.  */
      signalled = go (&awaiting, 1);
      if (timeout != GSHM_FOREVER)
        {
          left = timeout - (gshm_now () - start);
          if (left < 0)
            left = 0;
        }
    }
  while (!signalled && locked == DONE && outcome == DONE && !is_over);
  scm_dynwind_end ();
  if (!signalled)
    go (&awaiting, 0);
  SCM result = locked_to_scm (&mutex_use, &mutex->format, locked);
  scm_remember_upto_here_1 (bytevector);
  return locked == DONE ? scm_from_bool (signalled || outcome == ABANDONED)
         : result;
}

static void
signal_waiters (struct condition *condition, uint64_t most)
{
  uint64_t state = atomic_load (&condition->state), waiting;

  /* [signal] */
  do
    {
      waiting = WAITING (state);
      if (waiting == 0)
        return;
    }
  while (!atomic_compare_exchange_weak (
    &condition->state, &state,
    condition_state (SEQUENCE (state) + 1, waiting, OWED (state) + most)));
  /* [wake] */
  gshm_wake (gshm_low_half (&condition->state), (int) most);
}

static SCM
gshm_condition_signal (SCM bytevector, SCM k)
{
  struct use use = { CONDITION_SIGNAL, bytevector, k, CONDITION };

  signal_waiters (structure (&use, sizeof (struct condition)), 1);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static SCM
gshm_condition_broadcast (SCM bytevector, SCM k)
{
  struct use use = { CONDITION_BROADCAST, bytevector, k, CONDITION };

  signal_waiters (structure (&use, sizeof (struct condition)), INT_MAX);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}


/* Semaphores.  */

#define SEMAPHORE_INIT "shm-semaphore-init!"
#define SEMAPHORE_POST "shm-semaphore-post!"
#define SEMAPHORE_WAIT "shm-semaphore-wait!"
#define SEMAPHORE_VALUE "shm-semaphore-value"

/* Somebody may sleep until the value changes.  */
#define SLEEPERS UINT32_C (0x80000000)
#define MOST (SLEEPERS - 1)

struct taking
{
  const struct use *use;
  struct semaphore *semaphore;
  int announced;
};

static SCM
init_semaphore (SCM bytevector, SCM k, SCM scm_value)
{
  uint32_t value = (uint32_t) gshm_to_int (SEMAPHORE_INIT, 3, scm_value, 0,
                                           (int) MOST);
  struct semaphore *semaphore
    = new_structure (SEMAPHORE_INIT, bytevector, k, sizeof *semaphore);

  atomic_store (&semaphore->value, value);
  atomic_store (&semaphore->unused, 0);
  return initialized (&semaphore->format, SEMAPHORE);
}

static SCM
gshm_semaphore_post (SCM bytevector, SCM k)
{
  struct use use = { SEMAPHORE_POST, bytevector, k, SEMAPHORE };
  struct semaphore *semaphore = structure (&use, sizeof *semaphore);
  uint32_t value = atomic_load_explicit (&semaphore->value,
                                         memory_order_relaxed);

  /* Release: what was done before is seen by whoever takes this.  */
  do
    if ((value & MOST) == MOST)
      refuse (&use, EOVERFLOW, "its value is the largest that there is");
  while (!atomic_compare_exchange_weak_explicit (&semaphore->value, &value,
                                                 (value & MOST) + 1,
                                                 memory_order_release,
                                                 memory_order_relaxed));
  if (value & SLEEPERS)
    gshm_wake (&semaphore->value, 1);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

static int
attempt_to_take (void *data, struct gshm_sleep *sleep)
{
  struct taking *taking = data;
  struct semaphore *semaphore = taking->semaphore;
  uint32_t value = atomic_load (&semaphore->value);

  check_format (taking->use, &semaphore->format);
  taking->announced |= sleep->announce;
  if ((value & MOST) > 0)
    {
      uint32_t rest = (value - 1) | (taking->announced ? SLEEPERS : 0);

      /* Acquire, as in a first attempt.  */
      if (atomic_compare_exchange_strong (&semaphore->value, &value, rest))
        {
          /* Others that slept were not woken for what is left, since the first
             post took the flag away.  */
          if ((rest & SLEEPERS) && (rest & MOST) > 0)
            gshm_wake (&semaphore->value, 1);
          return DONE;
        }
      /* Look again at once, or where that stands sleep.  */
      value = SLEEPERS;
    }
  else if (sleep->announce && value == 0)
    {
      /* If this fails there is something to take, and the sleep ends at
         once.  */
      atomic_compare_exchange_strong (&semaphore->value, &value, SLEEPERS);
      value = SLEEPERS;
    }
  sleep->word = &semaphore->value;
  sleep->value = value;
  return 0;
}

/* Who leaves with nothing may have been the one that was woken for it.  */
static void
give_up_taking (void *data)
{
  struct taking *taking = data;

  if (taking->announced)
    gshm_wake (&taking->semaphore->value, 1);
}

static int
take (struct taking *taking, int64_t timeout)
{
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (give_up_taking, taking, 0);
  int outcome = gshm_guile_wait (SEMAPHORE_WAIT, taking->use->k, timeout,
                           attempt_to_take, taking);
  scm_dynwind_end ();
  if (outcome == 0)
    give_up_taking (taking);
  return outcome;
}

static SCM
gshm_semaphore_wait (SCM bytevector, SCM k, SCM scm_timeout)
{
  struct use use = { SEMAPHORE_WAIT, bytevector, k, SEMAPHORE };
  struct semaphore *semaphore = structure (&use, sizeof *semaphore);
  int64_t timeout = gshm_to_timeout (SEMAPHORE_WAIT, 3, scm_timeout);
  struct taking taking = { .use = &use, .semaphore = semaphore };
  uint32_t value = atomic_load_explicit (&semaphore->value,
                                         memory_order_relaxed);
  int outcome = DONE;

  /* Acquire: what was done before the post is seen.  */
  if ((value & MOST) == 0
      || !atomic_compare_exchange_strong_explicit (&semaphore->value, &value,
                                                   value - 1,
                                                   memory_order_acquire,
                                                   memory_order_relaxed))
    outcome = take (&taking, timeout);
  scm_remember_upto_here_1 (bytevector);
  return outcome_to_scm (&use, outcome);
}

static SCM
gshm_semaphore_value (SCM bytevector, SCM k)
{
  struct use use = { SEMAPHORE_VALUE, bytevector, k, SEMAPHORE };
  const struct semaphore *semaphore = structure (&use, sizeof *semaphore);
  uint32_t value = atomic_load (&semaphore->value);

  scm_remember_upto_here_1 (bytevector);
  return scm_from_uint32 (value & MOST);
}


/* Barriers.

   Each who arrives takes a place that is not of this generation.  When there
   is no such place any more, whoever sees it opens the barrier, by the next
   generation, in which all places are free again.  A place says of which
   generation it is, also when it is cleared, so that nobody who looked at it
   in one takes it in another.  Who gives up, or finds a dead one, says so in
   the place, then changes the state, so that nobody opens the barrier who
   looked before, and only then clears the place.  */

#define BARRIER_INIT "shm-barrier-init!"
#define BARRIER_WAIT "shm-barrier-wait!"

struct arriving
{
  const struct use *use;
  struct barrier *barrier;
  uint64_t self;
  uint32_t parties, generation;
  gshm_long_word *place;        /* NULL: not arrived */
};

#define PLACE_BITS 48
#define PLACE_OWNER ((UINT64_C (1) << PLACE_BITS) - 1)

/* Flags of a place.  LEAVING: it does not count, but is not free yet.  */
#define LEAVING PENDING
#define CLEARED LEAVING

/* How often one of those who wait looks, and how long it may be that none did,
   in milliseconds.  */
#define SLICE_OF_LOOKS 40
#define UNSEEN 100

static uint32_t
milliseconds (void)
{
  return (uint32_t) (gshm_now () / (GSHM_SECOND / 1000));
}

static SCM
init_barrier (SCM bytevector, SCM k, SCM scm_parties)
{
  uint32_t parties = (uint32_t) gshm_to_int (BARRIER_INIT, 3, scm_parties, 1,
                                             PARTIES);
  struct barrier *barrier
    = new_structure (BARRIER_INIT, bytevector, k, sizeof *barrier);

  atomic_store (&barrier->namespace, gshm_namespace ());
  atomic_store (&barrier->parties, parties);
  atomic_store (&barrier->seen, milliseconds ());
  atomic_store (&barrier->unused, 0);
  atomic_store (&barrier->state, 0);
  for (size_t i = 0; i < PARTIES; i++)
    atomic_store (&barrier->arrived[i], 0);
  return initialized (&barrier->format, BARRIER);
}

static uint64_t
to_place (uint64_t owner, uint32_t generation)
{
  return (owner & PLACE_OWNER) | (uint64_t) generation << PLACE_BITS;
}

/* Whether somebody arrived in GENERATION and took PLACE.  */
static int
is_taken (uint64_t place, uint32_t generation)
{
  return place == to_place (place, generation)
         && GSHM_WHO (place & PLACE_OWNER) != 0;
}

/* Clear the place of OWNER, who does not count any more.  Return whether that
   was still in time.  Nobody may take the place before that is known, or the
   barrier could open with another there; and if it was not in time the place
   stays as it is, which is nothing in another generation.  */
static int
withdraw (struct barrier *barrier, gshm_long_word *place, uint64_t owner,
          uint32_t generation)
{
  uint64_t leaving = to_place (owner | LEAVING, generation), state;

  gshm_replace (place, to_place (owner, generation), leaving);
  state = atomic_load (&barrier->state);
  while ((uint32_t) state == generation)
    if (atomic_compare_exchange_weak (&barrier->state, &state,
                                      state + (UINT64_C (1) << 32)))
      {
        gshm_replace (place, leaving, to_place (CLEARED, generation));
        return 1;
      }
  return 0;
}

/* Whether it is time to see who lives among those who wait: once in a slice
   for one of those who wait, and for one who comes where nobody has looked for
   longer, since all who wait may be dead.  */
static int
is_time_to_look (const struct arriving *arriving,
                 const struct gshm_sleep *sleep)
{
  struct barrier *barrier = arriving->barrier;
  uint32_t seen = atomic_load (&barrier->seen), time;

  if (arriving->place != NULL && !sleep->look)
    return 0;
  time = milliseconds ();
  return time - seen > (arriving->place == NULL ? UNSEEN : SLICE_OF_LOOKS)
         && atomic_compare_exchange_strong (&barrier->seen, &seen, time);
}

/* Take a place that is not of this generation, if there is one.  */
static void
arrive (struct arriving *arriving)
{
  struct barrier *barrier = arriving->barrier;

  for (uint32_t i = 0; i < arriving->parties; i++)
    {
      gshm_long_word *place = &barrier->arrived[i];
      uint64_t old = atomic_load (place);
      /* After the place, which may be of a generation that was not before.  */
      uint32_t generation = (uint32_t) atomic_load (&barrier->state);

      if (!is_taken (old, generation)
          && gshm_replace (place, old, to_place (arriving->self, generation)))
        {
          arriving->place = place;
          arriving->generation = generation;
          return;
        }
    }
}

static int
attempt_to_pass (void *data, struct gshm_sleep *sleep)
{
  struct arriving *arriving = data;
  struct barrier *barrier = arriving->barrier;
  uint64_t self = gshm_self (atomic_load (&barrier->namespace));

  check_format (arriving->use, &barrier->format);
  if (self != arriving->self)
    {
      /* This is the child of a fork, which has not arrived.  */
      arriving->self = self;
      arriving->place = NULL;
    }
  int look = is_time_to_look (arriving, sleep);
  if (arriving->place == NULL)
    arrive (arriving);
  uint64_t state = atomic_load (&barrier->state);
  uint32_t generation = (uint32_t) state, count = 0;
  if (arriving->place != NULL && generation != arriving->generation)
    return DONE;

  for (uint32_t i = 0; i < arriving->parties; i++)
    {
      uint64_t place = atomic_load (&barrier->arrived[i]);

      if (!is_taken (place, generation))
        continue;
      if (look
          && gshm_is_dead (place, PLACE_OWNER,
                           atomic_load (&barrier->namespace)))
        withdraw (barrier, &barrier->arrived[i], place, generation);
      else if (!(place & LEAVING))
        count++;
    }
  uint64_t next = ((state & ~(uint64_t) UINT32_MAX)
                   | (uint32_t) (generation + 1));
  if (count == arriving->parties)
    {
      if (gshm_replace (&barrier->state, state, next))
        {
          gshm_wake (gshm_low_half (&barrier->state), INT_MAX);
          if (arriving->place != NULL)
            return DONE;
        }
      /* Look again at once.  */
      generation = ~generation;
    }
  gshm_sleep_on_half (sleep, &barrier->state, generation);
  return 0;
}

/* Go away.  Return whether the barrier had not opened yet.  */
static int
stop_arriving (struct arriving *arriving)
{
  return arriving->place == NULL
         || withdraw (arriving->barrier, arriving->place, arriving->self,
                      arriving->generation);
}

static void
give_up_arriving (void *data)
{
  struct arriving *arriving = data;
  struct barrier *barrier = arriving->barrier;

  if (is_still_there (arriving->use, &barrier->format, sizeof *barrier)
      && gshm_self (atomic_load (&barrier->namespace)) == arriving->self)
    stop_arriving (arriving);
}

static SCM
gshm_barrier_wait (SCM bytevector, SCM k, SCM scm_timeout)
{
  struct use use = { BARRIER_WAIT, bytevector, k, BARRIER };
  struct barrier *barrier = structure (&use, sizeof *barrier);
  int64_t timeout = gshm_to_timeout (BARRIER_WAIT, 3, scm_timeout);
  struct arriving arriving
    = { .use = &use, .barrier = barrier,
        .self = gshm_self (atomic_load (&barrier->namespace)),
        .parties = atomic_load (&barrier->parties) };

  if (arriving.parties < 1 || arriving.parties > PARTIES)
    gshm_format_error (BARRIER_WAIT, kinds[BARRIER], bytevector, k);
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (give_up_arriving, &arriving, 0);
  int outcome = gshm_guile_wait (BARRIER_WAIT, k, timeout, attempt_to_pass,
                           &arriving);
  scm_dynwind_end ();
  if (outcome == 0 && !stop_arriving (&arriving))
    outcome = DONE;
  scm_remember_upto_here_1 (bytevector);
  return outcome_to_scm (&use, outcome);
}


/* Read-write locks.

   A writer makes itself known, which keeps further readers out, and then waits
   for those inside to leave.  A reader takes a place and then looks whether
   there is a writer, in which case it leaves again: of a reader and a writer
   that come at the same time at least one sees the other, since all these
   steps are sequentially consistent.  */

#define RWLOCK_INIT "shm-rwlock-init!"
#define READ_LOCK "shm-rwlock-read-lock!"
#define WRITE_LOCK "shm-rwlock-write-lock!"
#define RWLOCK_UNLOCK "shm-rwlock-unlock!"

struct entering
{
  const struct use *use;
  struct rwlock *rwlock;
  uint64_t self;
  int announced, pending;
};

static SCM
init_rwlock (SCM bytevector, SCM k)
{
  struct rwlock *rwlock
    = new_structure (RWLOCK_INIT, bytevector, k, sizeof *rwlock);

  atomic_store (&rwlock->writer, 0);
  atomic_store (&rwlock->namespace, gshm_namespace ());
  atomic_store (&rwlock->leaving, 0);
  for (size_t i = 0; i < READERS; i++)
    atomic_store (&rwlock->readers[i], 0);
  return initialized (&rwlock->format, RWLOCK);
}

static gshm_long_word *
place_of_reader (struct rwlock *rwlock, uint64_t owner)
{
  return gshm_place_of (rwlock->readers, READERS, owner);
}

static int
has_readers (struct rwlock *rwlock, int look)
{
  return gshm_count_places (rwlock->readers, READERS, look,
                            &rwlock->namespace) > 0;
}

static void
leave_as_reader (struct rwlock *rwlock, gshm_long_word *place)
{
  atomic_store (place, 0);
  if (atomic_load (&rwlock->writer) & PENDING)
    {
      atomic_fetch_add (&rwlock->leaving, 1);
      gshm_wake (&rwlock->leaving, INT_MAX);
    }
}

static void
leave_as_writer (struct rwlock *rwlock)
{
  if (atomic_exchange (&rwlock->writer, 0) & GSHM_WAITERS)
    gshm_wake (gshm_low_half (&rwlock->writer), INT_MAX);
}

/* Sleep until there is another writer than WRITER, or none.  If it is dead,
   take its place, with what it may have left half-way.  */
static int
wait_for_writer (struct entering *entering, struct gshm_sleep *sleep,
                 uint64_t writer)
{
  struct rwlock *rwlock = entering->rwlock;

  if (sleep->look && is_dead (writer, &rwlock->namespace))
    {
      /* One that still waited for readers has changed nothing.  */
      if (writer & PENDING)
        {
          if (gshm_replace (&rwlock->writer, writer, 0))
            gshm_wake (gshm_low_half (&rwlock->writer), INT_MAX);
        }
      else if (gshm_replace (&rwlock->writer, writer,
                             entering->self | GSHM_WAITERS))
        return ABANDONED;
      gshm_sleep_on_half (sleep, &rwlock->writer, GSHM_NEVER);
    }
  else
    gshm_sleep_until_changed (sleep, &rwlock->writer, writer);
  return 0;
}

/* What each attempt begins with.  */
static void
begin_to_enter (struct entering *entering, const struct gshm_sleep *sleep)
{
  struct rwlock *rwlock = entering->rwlock;
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));

  check_format (entering->use, &rwlock->format);
  entering->announced |= sleep->announce;
  if (self != entering->self)
    {
      /* This is the child of a fork, which is not the writer.  */
      entering->self = self;
      entering->pending = 0;
    }
}

static int
attempt_to_read (void *data, struct gshm_sleep *sleep)
{
  struct entering *entering = data;
  struct rwlock *rwlock = entering->rwlock;

  begin_to_enter (entering, sleep);
  uint64_t writer = atomic_load (&rwlock->writer);
  if (GSHM_WHO (writer) == entering->self
      || place_of_reader (rwlock, entering->self) != NULL)
    return HELD_BY_SELF;
  if (writer != 0)
    return wait_for_writer (entering, sleep, writer);

  uint32_t leaving = atomic_load (&rwlock->leaving);
  gshm_long_word *place = gshm_take_place (rwlock->readers, READERS,
                                           entering->self);
  if (place == NULL)
    {
      has_readers (rwlock, sleep->look);
      sleep->word = &rwlock->leaving;
      sleep->value = leaving;
      return 0;
    }
  writer = atomic_load (&rwlock->writer);
  if (writer == 0)
    return DONE;
  leave_as_reader (rwlock, place);
  return wait_for_writer (entering, sleep, writer);
}

static int
attempt_to_write (void *data, struct gshm_sleep *sleep)
{
  struct entering *entering = data;
  struct rwlock *rwlock = entering->rwlock;

  begin_to_enter (entering, sleep);
  uint64_t writer = atomic_load (&rwlock->writer);
  if (!entering->pending)
    {
      if (GSHM_WHO (writer) == entering->self
          || place_of_reader (rwlock, entering->self) != NULL)
        return HELD_BY_SELF;
      if (writer != 0)
        return wait_for_writer (entering, sleep, writer);
      if (!gshm_replace (&rwlock->writer, 0, entering->self | PENDING
                    | (entering->announced ? GSHM_WAITERS : 0)))
        {
          gshm_sleep_on_half (sleep, &rwlock->writer, GSHM_NEVER);
          return 0;
        }
      entering->pending = 1;
    }

  uint32_t leaving = atomic_load (&rwlock->leaving);
  if (has_readers (rwlock, sleep->look))
    {
      sleep->word = &rwlock->leaving;
      sleep->value = leaving;
      return 0;
    }
  entering->pending = 0;
  writer = atomic_fetch_and (&rwlock->writer, ~PENDING);
  if (GSHM_WHO (writer) == entering->self)
    return DONE;
  /* Somebody has written there what nobody may.  */
  gshm_sleep_on_half (sleep, &rwlock->writer, writer);
  return 0;
}

/* A writer that waits no longer for readers.  */
static void
give_up_writing (void *data)
{
  struct entering *entering = data;
  struct rwlock *rwlock = entering->rwlock;

  if (entering->pending
      && is_still_there (entering->use, &rwlock->format, sizeof *rwlock)
      && gshm_self (atomic_load (&rwlock->namespace)) == entering->self
      && GSHM_WHO (atomic_load (&rwlock->writer)) == entering->self)
    leave_as_writer (rwlock);
}

static SCM
enter (const char *subr, SCM bytevector, SCM k, SCM scm_timeout,
       gshm_attempt *attempt)
{
  struct use use = { subr, bytevector, k, RWLOCK };
  struct rwlock *rwlock = structure (&use, sizeof *rwlock);
  int64_t timeout = gshm_to_timeout (subr, 3, scm_timeout);
  struct entering entering
    = { .use = &use, .rwlock = rwlock,
        .self = gshm_self (atomic_load (&rwlock->namespace)) };

  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (give_up_writing, &entering,
                              SCM_F_WIND_EXPLICITLY);
  int outcome = gshm_guile_wait (subr, k, timeout, attempt, &entering);
  scm_dynwind_end ();
  SCM result = locked_to_scm (&use, &rwlock->format, outcome);
  scm_remember_upto_here_1 (bytevector);
  return result;
}

static SCM
gshm_read_lock (SCM bytevector, SCM k, SCM timeout)
{
  return enter (READ_LOCK, bytevector, k, timeout, attempt_to_read);
}

static SCM
gshm_write_lock (SCM bytevector, SCM k, SCM timeout)
{
  return enter (WRITE_LOCK, bytevector, k, timeout, attempt_to_write);
}

static SCM
gshm_rwlock_unlock (SCM bytevector, SCM k)
{
  struct use use = { RWLOCK_UNLOCK, bytevector, k, RWLOCK };
  struct rwlock *rwlock = structure (&use, sizeof *rwlock);
  uint64_t self = gshm_self (atomic_load (&rwlock->namespace));
  gshm_long_word *place = place_of_reader (rwlock, self);

  if (place != NULL)
    leave_as_reader (rwlock, place);
  else if (GSHM_WHO (atomic_load (&rwlock->writer)) == self)
    leave_as_writer (rwlock);
  else
    refuse (&use, EPERM, "this thread does not hold it");
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

void
gshm_sync_init (void)
{
  abandoned = scm_permanent_object (scm_from_utf8_symbol ("abandoned"));

  gshm_define (MUTEX_INIT, 2, 0, init_mutex);
  gshm_define (MUTEX_LOCK, 2, 1, gshm_mutex_lock);
  gshm_define (MUTEX_UNLOCK, 2, 0, gshm_mutex_unlock);
  gshm_define ("%shm-mutex-mine?", 2, 0, gshm_mutex_is_mine);
  gshm_define ("%shm-mutex-leave!", 2, 0, gshm_mutex_leave);
  gshm_define ("%shm-mutex-mended!", 2, 0, gshm_mutex_mended);
  gshm_define (CONDITION_INIT, 2, 0, init_condition);
  gshm_define (CONDITION_WAIT, 3, 1, gshm_condition_wait);
  gshm_define (CONDITION_SIGNAL, 2, 0, gshm_condition_signal);
  gshm_define (CONDITION_BROADCAST, 2, 0, gshm_condition_broadcast);
  gshm_define (SEMAPHORE_INIT, 3, 0, init_semaphore);
  gshm_define (SEMAPHORE_POST, 2, 0, gshm_semaphore_post);
  gshm_define (SEMAPHORE_WAIT, 2, 1, gshm_semaphore_wait);
  gshm_define (SEMAPHORE_VALUE, 2, 0, gshm_semaphore_value);
  gshm_define (BARRIER_INIT, 3, 0, init_barrier);
  gshm_define (BARRIER_WAIT, 2, 1, gshm_barrier_wait);
  gshm_define (RWLOCK_INIT, 2, 0, init_rwlock);
  gshm_define (READ_LOCK, 2, 1, gshm_read_lock);
  gshm_define (WRITE_LOCK, 2, 1, gshm_write_lock);
  gshm_define (RWLOCK_UNLOCK, 2, 0, gshm_rwlock_unlock);
  gshm_define_size ("shm-mutex-size", sizeof (struct mutex));
  gshm_define_size ("shm-condition-size", sizeof (struct condition));
  gshm_define_size ("shm-semaphore-size", sizeof (struct semaphore));
  gshm_define_size ("shm-barrier-size", sizeof (struct barrier));
  gshm_define_size ("shm-rwlock-size", sizeof (struct rwlock));
}

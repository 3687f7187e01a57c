/* SPDX-License-Identifier: BSD-3-Clause
   atomic.c - atomic operations on bytevectors, wait and notify.

   All operations are sequentially consistent, the simplest order for users.
   They take no lock, of which other processes would not know.  */

#include <config.h>

#include <limits.h>
#include <math.h>
#include <stdatomic.h>

#include "base/error.h"
#include "base/guile.h"
#include "bindings/waiting.h"
#include "init.h"
#include "memory/address.h"

#define WAIT "atomic-u32-wait"
#define NOTIFY "atomic-u32-notify!"

_Static_assert (__atomic_always_lock_free (8, 0),
                "atomic operations on 64 bits need no lock");
_Static_assert (sizeof (_Atomic uint64_t) == 8
                && sizeof (_Atomic uint32_t) == 4,
                "atomic integers are as large as others");

SCM_NORETURN static void
bad_value (const char *subr, int pos, SCM value, const char *type)
{
  if (!scm_is_exact_integer (value))
    gshm_wrong_type (subr, pos, value, "exact integer");
  scm_error (scm_out_of_range_key, subr, "Not a value of type ~A: ~A",
             scm_list_2 (scm_from_utf8_symbol (type), gshm_shown (value)),
             scm_list_1 (value));
}

/* As SCM_POSFIXABLE and SCM_FIXABLE, which shift negative numbers.  */
static inline int
is_small (uint64_t n)
{
  return n <= INTPTR_MAX >> 2;
}

static inline int
is_small_signed (int64_t n)
{
  return n <= INTPTR_MAX >> 2 && n >= -(INTPTR_MAX >> 2) - 1;
}

/* Conversions of integers of TYPE from and to Scheme, for small ones without a
   call.  FITS: whether TYPE has the small integer N.  */
#define DEFINE_TYPE(tag, type, fits, is_integer, min, max, to_c, fixable,     \
                    to_scm)                                                   \
  static inline type                                                          \
  tag##_from_scm (const char *subr, int pos, SCM value)                       \
  {                                                                           \
    if (SCM_I_INUMP (value))                                                  \
      {                                                                       \
        int64_t n = SCM_I_INUM (value);                                       \
        if (fits)                                                             \
          return (type) n;                                                    \
      }                                                                       \
    if (!is_integer (value, min, max))                                        \
      bad_value (subr, pos, value, #tag);                                     \
    return to_c (value);                                                      \
  }                                                                           \
  static inline SCM                                                           \
  tag##_to_scm (type value)                                                   \
  {                                                                           \
    return fixable (value) ? SCM_I_MAKINUM (value) : to_scm (value);          \
  }

DEFINE_TYPE (u32, uint32_t, n >= 0 && n <= UINT32_MAX, scm_is_unsigned_integer,
             0, UINT32_MAX, scm_to_uint32, is_small,
             scm_from_uint32)
DEFINE_TYPE (s32, int32_t, n >= INT32_MIN && n <= INT32_MAX,
             scm_is_signed_integer, INT32_MIN, INT32_MAX, scm_to_int32,
             is_small_signed, scm_from_int32)
DEFINE_TYPE (u64, uint64_t, n >= 0, scm_is_unsigned_integer, 0, UINT64_MAX,
             scm_to_uint64, is_small, scm_from_uint64)
DEFINE_TYPE (s64, int64_t, 1, scm_is_signed_integer, INT64_MIN, INT64_MAX,
             scm_to_int64, is_small_signed, scm_from_int64)

#define DEFINE_REF(tag, type)                                                 \
  static SCM tag##_ref (SCM bytevector, SCM k)                                \
  {                                                                           \
    const _Atomic type *word = gshm_address (                                 \
      "atomic-" #tag "-ref", bytevector, k, sizeof (type), sizeof (type), 0); \
    return tag##_to_scm (atomic_load (word));                                 \
  }

#define DEFINE_SET(tag, type)                                                 \
  static SCM tag##_set (SCM bytevector, SCM k, SCM value)                     \
  {                                                                           \
    static const char subr[] = "atomic-" #tag "-set!";                        \
    _Atomic type *word                                                        \
      = gshm_address (subr, bytevector, k, sizeof (type), sizeof (type), 1);  \
    atomic_store (word, tag##_from_scm (subr, 3, value));                     \
    return SCM_UNSPECIFIED;                                                   \
  }

#define DEFINE_COMPARE_AND_SWAP(tag, type)                                    \
  static SCM tag##_compare_and_swap (SCM bytevector, SCM k, SCM scm_expected, \
                                     SCM scm_value)                           \
  {                                                                           \
    static const char subr[] = "atomic-" #tag "-compare-and-swap!";           \
    _Atomic type *word                                                        \
      = gshm_address (subr, bytevector, k, sizeof (type), sizeof (type), 1);  \
    type expected = tag##_from_scm (subr, 3, scm_expected);                   \
    type value = tag##_from_scm (subr, 4, scm_value);                         \
    atomic_compare_exchange_strong (word, &expected, value);                  \
    return tag##_to_scm (expected);                                           \
  }

/* OPERATION returns the previous value.  */
#define DEFINE_UPDATE(tag, type, function, name, operation)                   \
  static SCM tag##_##function (SCM bytevector, SCM k, SCM scm_value)          \
  {                                                                           \
    static const char subr[] = "atomic-" #tag "-" name;                       \
    _Atomic type *word                                                        \
      = gshm_address (subr, bytevector, k, sizeof (type), sizeof (type), 1);  \
    type value = tag##_from_scm (subr, 3, scm_value);                         \
    return tag##_to_scm (operation (word, value));                            \
  }

#define FOR_EACH_UPDATE(do, tag, type)                                        \
  do (tag, type, swap, "swap!", atomic_exchange)                              \
  do (tag, type, fetch_add, "fetch-add!", atomic_fetch_add)                   \
  do (tag, type, fetch_sub, "fetch-sub!", atomic_fetch_sub)                   \
  do (tag, type, fetch_and, "fetch-and!", atomic_fetch_and)                   \
  do (tag, type, fetch_or, "fetch-or!", atomic_fetch_or)                      \
  do (tag, type, fetch_xor, "fetch-xor!", atomic_fetch_xor)

#define DEFINE_OPERATIONS(tag, type)                                          \
  DEFINE_REF (tag, type)                                                      \
  DEFINE_SET (tag, type)                                                      \
  DEFINE_COMPARE_AND_SWAP (tag, type)                                         \
  FOR_EACH_UPDATE (DEFINE_UPDATE, tag, type)

#define EXPORT_UPDATE(tag, type, function, name, operation)                   \
  gshm_define ("atomic-" #tag "-" name, 3, 0, tag##_##function);

#define EXPORT_OPERATIONS(tag, type)                                          \
  gshm_define ("atomic-" #tag "-ref", 2, 0, tag##_ref);                       \
  gshm_define ("atomic-" #tag "-set!", 3, 0, tag##_set);                      \
  gshm_define ("atomic-" #tag "-compare-and-swap!", 4, 0,                     \
               tag##_compare_and_swap);                                       \
  FOR_EACH_UPDATE (EXPORT_UPDATE, tag, type)

#define FOR_EACH_TYPE(do)                                                     \
  do (u32, uint32_t)                                                          \
  do (s32, int32_t)                                                           \
  do (u64, uint64_t)                                                          \
  do (s64, int64_t)

FOR_EACH_TYPE (DEFINE_OPERATIONS)


/* Waiting.  */

static gshm_word *
word_address (const char *subr, SCM bytevector, SCM k)
{
  return gshm_address (subr, bytevector, k, sizeof (gshm_word),
                       sizeof (gshm_word), 0);
}

struct change
{
  gshm_word *word;
  uint32_t old;
};

static int
is_changed (void *data, struct gshm_sleep *sleep)
{
  const struct change *change = data;

  sleep->word = change->word;
  sleep->value = change->old;
  return atomic_load (change->word) != change->old;
}

/* (BYTEVECTOR K OLD [TIMEOUT]) -> boolean.  */
static SCM
gshm_atomic_wait (SCM bytevector, SCM k, SCM scm_old, SCM scm_timeout)
{
  struct change change = { .word = word_address (WAIT, bytevector, k),
                           .old = u32_from_scm (WAIT, 3, scm_old) };
  int64_t timeout = gshm_to_timeout (WAIT, 4, scm_timeout);

  int changed = gshm_guile_wait (WAIT, k, timeout, is_changed, &change);
  scm_remember_upto_here_1 (bytevector);
  return scm_from_bool (changed);
}

static int
count_from_scm (SCM count)
{
  if (SCM_UNBNDP (count) || scm_is_false (count)
      || (SCM_REALP (count) && isinf (SCM_REAL_VALUE (count))
          && SCM_REAL_VALUE (count) > 0))
    return INT_MAX;
  if (!scm_is_exact_integer (count))
    gshm_wrong_type (NOTIFY, 3, count,
                     "exact integer, +inf.0 for all, or #f");
  if (scm_is_true (scm_negative_p (count)))
    gshm_out_of_range (NOTIFY, count, "Count of threads is negative");
  return scm_is_signed_integer (count, 0, INT_MAX) ? scm_to_int (count)
         : INT_MAX;
}

/* (BYTEVECTOR K [COUNT]) -> unspecified.  */
static SCM
gshm_atomic_notify (SCM bytevector, SCM k, SCM scm_count)
{
  gshm_word *word = word_address (NOTIFY, bytevector, k);
  int count = count_from_scm (scm_count);

  /* The kernel would wake one.  */
  if (count > 0 && gshm_wake (word, count) == 0)
    /* This faults if the memory is lost.  */
    atomic_load (word);
  scm_remember_upto_here_1 (bytevector);
  return SCM_UNSPECIFIED;
}

void
gshm_atomic_init (void)
{
  FOR_EACH_TYPE (EXPORT_OPERATIONS)
  gshm_define (WAIT, 3, 1, gshm_atomic_wait);
  gshm_define (NOTIFY, 2, 1, gshm_atomic_notify);
}

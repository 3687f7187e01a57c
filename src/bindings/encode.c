/* SPDX-License-Identifier: BSD-3-Clause
   encode.c - Scheme data as CBOR.

   One pass over the datum, with a stack on the heap, into a buffer.  It runs
   no Scheme code.  Another thread may change the datum meanwhile: sizes are
   loaded once, and each access is checked.  */

#include <config.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/guile.h"
#include "bindings/cbor.h"
#include "core/cbor.h"
#include "core/tls.h"
#include "init.h"

#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#  define TAGS(big, little) (big), (little)
#else
#  define TAGS(big, little) (little), (big)
#endif

#define TYPE(name) SCM_ARRAY_ELEMENT_TYPE_##name

const struct gshm_typed_array gshm_typed_arrays[] = {
  { TYPE (U8), "u8", 64, 64, 1, 0 },
  { TYPE (U16), "u16", TAGS (65, 69), 2, 0 },
  { TYPE (U32), "u32", TAGS (66, 70), 4, 0 },
  { TYPE (U64), "u64", TAGS (67, 71), 8, 0 },
  { TYPE (S8), "s8", 72, 72, 1, 0 },
  { TYPE (S16), "s16", TAGS (73, 77), 2, 0 },
  { TYPE (S32), "s32", TAGS (74, 78), 4, 0 },
  { TYPE (S64), "s64", TAGS (75, 79), 8, 0 },
  { TYPE (F32), "f32", TAGS (81, 85), 4, 0 },
  { TYPE (F64), "f64", TAGS (82, 86), 8, 0 },
  { TYPE (C32), "c32", TAGS (81, 85), 4, 1 },
  { TYPE (C64), "c64", TAGS (82, 86), 8, 1 },
};

const size_t gshm_typed_array_count
  = sizeof gshm_typed_arrays / sizeof *gshm_typed_arrays;


/* Buffers.  */

#define MAX_KEPT ((size_t) 1 << 16)

/* The bytes of a buffer, for the next one.  A key, since thread-local
   variables have no destructors.  */
static pthread_key_t kept;

struct kept_bytes
{
  size_t capacity;
  unsigned char bytes[];
};

struct gshm_buffer
gshm_take_buffer (size_t limit)
{
  struct gshm_buffer buffer = { .limit = limit };
  struct kept_bytes *bytes = pthread_getspecific (kept);

  if (bytes != NULL)
    {
      pthread_setspecific (kept, NULL);
      buffer.bytes = bytes->bytes;
      buffer.capacity = bytes->capacity;
    }
  return buffer;
}

static struct kept_bytes *
kept_bytes_of (unsigned char *bytes)
{
  return (
    struct kept_bytes *) (void *) (bytes
                                   - offsetof (struct kept_bytes, bytes));
}

void
gshm_keep_buffer (struct gshm_buffer *buffer)
{
  if (buffer->bytes == NULL)
    return;
  struct kept_bytes *bytes = kept_bytes_of (buffer->bytes);
  buffer->bytes = NULL;
  bytes->capacity = buffer->capacity;
  if (buffer->capacity > MAX_KEPT || pthread_getspecific (kept) != NULL
      || pthread_setspecific (kept, bytes) != 0)
    free (bytes);
}

int
gshm_grow_buffer (struct gshm_buffer *buffer, size_t size)
{
  if (size <= buffer->capacity)
    return 1;
  size_t capacity = 2 * buffer->capacity;
  if (capacity < 512)
    capacity = 512;
  if (capacity > buffer->limit)
    capacity = buffer->limit;
  if (capacity < size)
    capacity = size;
  struct kept_bytes *old
    = buffer->bytes == NULL ? NULL : kept_bytes_of (buffer->bytes);
  struct kept_bytes *bytes = realloc (old, sizeof *bytes + capacity);
  if (bytes == NULL)
    return 0;
  buffer->bytes = bytes->bytes;
  buffer->capacity = capacity;
  return 1;
}


/* Encoding.  */

/* A container whose elements are being encoded.  */
struct frame
{
  enum
  {
    LIST,        /* REST is what is left of it */
    DOTTED_LIST, /* its last element is the tail */
    VECTOR,      /* REST is the vector */
    TABLE        /* REST is an association list; KEY, half-way */
  } kind;
  size_t left; /* elements */
  SCM rest;
  int is_value_next;
};

#define SMALL_DEPTH 32

struct encoder
{
  struct gshm_buffer *buffer;
  enum gshm_encoded status;
  SCM culprit;
  size_t depth, max_depth;
  struct frame *frames; /* where libgc finds what they refer to */
  struct frame small[SMALL_DEPTH];
};

static void
fail (struct encoder *encoder, enum gshm_encoded status, SCM culprit)
{
  encoder->status = status;
  encoder->culprit = culprit;
}

/* SIZE bytes more, or NULL beyond the limit or without memory.  */
static unsigned char *
append (struct encoder *encoder, size_t size)
{
  struct gshm_buffer *buffer = encoder->buffer;
  size_t start = buffer->length;

  buffer->length += size;
  if (buffer->length <= buffer->capacity)
    return buffer->bytes + start;
  if (buffer->length > buffer->limit)
    return NULL;
  if (!gshm_grow_buffer (buffer, buffer->length))
    {
      fail (encoder, GSHM_NO_MEMORY, SCM_BOOL_F);
      return NULL;
    }
  return buffer->bytes + start;
}

static void
append_bytes (struct encoder *encoder, const void *bytes, size_t size)
{
  unsigned char *to = append (encoder, size);

  if (to != NULL)
    memcpy (to, bytes, size);
}

static void
append_head (struct encoder *encoder, enum gshm_cbor_major major,
             uint64_t argument)
{
  struct gshm_buffer *buffer = encoder->buffer;

  if (buffer->capacity - buffer->length >= GSHM_CBOR_MAX_HEAD
      && buffer->length < buffer->capacity)
    buffer->length
      += gshm_cbor_put_head (buffer->bytes + buffer->length, major, argument);
  else
    {
      unsigned char head[GSHM_CBOR_MAX_HEAD];

      append_bytes (encoder, head, gshm_cbor_put_head (head, major, argument));
    }
}

static void
append_double (struct encoder *encoder, double number)
{
  unsigned char bytes[9];
  uint64_t bits;

  memcpy (&bits, &number, sizeof bits);
  bytes[0] = GSHM_CBOR_SIMPLE << 5 | GSHM_CBOR_8_BYTES;
  gshm_cbor_put (bytes + 1, bits, 8);
  append_bytes (encoder, bytes, sizeof bytes);
}

/* The magnitude of BIGNUM, or of -1 - BIGNUM, as bytes.  */
static void
append_bignum (struct encoder *encoder, SCM bignum)
{
  int is_negative = scm_is_true (scm_negative_p (bignum));
  SCM magnitude = is_negative ? scm_lognot (bignum) : bignum;
  enum gshm_cbor_major major
    = is_negative ? GSHM_CBOR_NEGATIVE : GSHM_CBOR_UNSIGNED;

  if (scm_is_unsigned_integer (magnitude, 0, UINT64_MAX))
    {
      append_head (encoder, major, scm_to_uint64 (magnitude));
      return;
    }
  size_t bits = scm_to_size_t (scm_integer_length (magnitude));
  size_t size = (bits + 7) / 8;
  append_head (encoder, GSHM_CBOR_TAG,
               is_negative ? GSHM_TAG_NEGATIVE_BIGNUM
                           : GSHM_TAG_POSITIVE_BIGNUM);
  append_head (encoder, GSHM_CBOR_BYTES, size);
  unsigned char *to = append (encoder, size);
  if (to == NULL)
    return;
  SCM bytes = scm_c_make_bytevector (size);
  scm_bytevector_uint_set_x (bytes, SCM_INUM0, magnitude, scm_endianness_big,
                             scm_from_size_t (size));
  memcpy (to, SCM_BYTEVECTOR_CONTENTS (bytes), size);
}

static void
append_integer (struct encoder *encoder, SCM integer)
{
  if (SCM_I_INUMP (integer))
    {
      scm_t_inum n = SCM_I_INUM (integer);

      if (n >= 0)
        append_head (encoder, GSHM_CBOR_UNSIGNED, (uint64_t) n);
      else
        append_head (encoder, GSHM_CBOR_NEGATIVE, (uint64_t) - (n + 1));
    }
  else
    append_bignum (encoder, integer);
}

static int
is_large (SCM integer)
{
  return scm_to_size_t (scm_integer_length (integer)) > 8 * GSHM_MAX_RATIONAL;
}

static void
append_fraction (struct encoder *encoder, SCM fraction)
{
  SCM numerator = scm_numerator (fraction);
  SCM denominator = scm_denominator (fraction);

  if (is_large (numerator) || is_large (denominator))
    {
      fail (encoder, GSHM_NOT_DATA, fraction);
      return;
    }
  append_head (encoder, GSHM_CBOR_TAG, GSHM_TAG_RATIONAL);
  append_head (encoder, GSHM_CBOR_ARRAY, 2);
  append_integer (encoder, numerator);
  append_integer (encoder, denominator);
}

static void
append_string (struct encoder *encoder, SCM string)
{
  size_t size;
  char *bytes = scm_to_utf8_stringn (string, &size);

  append_head (encoder, GSHM_CBOR_TEXT, size);
  append_bytes (encoder, bytes, size);
  free (bytes);
}

static void
append_symbol (struct encoder *encoder, uint64_t tag, SCM symbol)
{
  if (scm_is_false (scm_symbol_interned_p (symbol)))
    {
      fail (encoder, GSHM_NOT_DATA, symbol);
      return;
    }
  append_head (encoder, GSHM_CBOR_TAG, tag);
  append_string (encoder, scm_symbol_to_string (symbol));
}

static void
append_bytevector (struct encoder *encoder, SCM bytevector)
{
  scm_t_array_element_type type = SCM_BYTEVECTOR_ELEMENT_TYPE (bytevector);
  size_t size = SCM_BYTEVECTOR_LENGTH (bytevector);

  for (size_t i = 0; i < gshm_typed_array_count; i++)
    if (gshm_typed_arrays[i].type == type)
      {
        if (gshm_typed_arrays[i].is_complex)
          append_head (encoder, GSHM_CBOR_TAG, GSHM_TAG_COMPLEX_VECTOR);
        append_head (encoder, GSHM_CBOR_TAG, gshm_typed_arrays[i].tag);
      }
  append_head (encoder, GSHM_CBOR_BYTES, size);
  append_bytes (encoder, SCM_BYTEVECTOR_CONTENTS (bytevector), size);
  scm_remember_upto_here_1 (bytevector);
}

static void
append_constant (struct encoder *encoder, SCM object)
{
  unsigned value = scm_is_eq (object, SCM_BOOL_T)        ? GSHM_CBOR_TRUE
                   : scm_is_eq (object, SCM_BOOL_F)      ? GSHM_CBOR_FALSE
                   : scm_is_eq (object, SCM_ELISP_NIL)   ? GSHM_CBOR_NULL
                   : scm_is_eq (object, SCM_UNSPECIFIED) ? GSHM_CBOR_UNDEFINED
                                                         : 0;

  if (value == 0)
    fail (encoder, GSHM_NOT_DATA, object);
  else
    append_head (encoder, GSHM_CBOR_SIMPLE, value);
}


/* Containers.  */

void *
gshm_double (const void *frames, size_t *count, size_t size)
{
  void *more = scm_gc_malloc (2 * *count * size, "stack");

  memcpy (more, frames, *count * size);
  *count *= 2;
  return more;
}

static void
push (struct encoder *encoder, struct frame frame, SCM container)
{
  if (encoder->depth == GSHM_MAX_DEPTH)
    {
      fail (encoder, GSHM_TOO_DEEP, container);
      return;
    }
  if (encoder->depth == encoder->max_depth)
    encoder->frames
      = gshm_double (encoder->frames, &encoder->max_depth, sizeof frame);
  encoder->frames[encoder->depth++] = frame;
}

/* The number of pairs of LIST, and its TAIL after the last one; SIZE_MAX if it
   is circular.  */
static size_t
count_pairs (SCM list, SCM *tail)
{
  SCM slow = list;
  size_t count = 0;

  while (scm_is_pair (list))
    {
      list = SCM_CDR (list);
      count++;
      if (count % 2 == 0)
        {
          slow = SCM_CDR (slow);
          if (scm_is_eq (slow, list) && scm_is_pair (list))
            return SIZE_MAX;
        }
    }
  *tail = list;
  return count;
}

static void
append_list (struct encoder *encoder, SCM list)
{
  SCM tail;
  size_t count = count_pairs (list, &tail);
  struct frame frame = { .kind = LIST, .left = count, .rest = list };

  if (count == SIZE_MAX)
    {
      fail (encoder, GSHM_TOO_DEEP, list);
      return;
    }
  if (!scm_is_eq (tail, SCM_EOL))
    {
      frame.kind = DOTTED_LIST;
      frame.left++;
      append_head (encoder, GSHM_CBOR_TAG, GSHM_TAG_DOTTED_LIST);
    }
  append_head (encoder, GSHM_CBOR_ARRAY, frame.left);
  push (encoder, frame, list);
}

static void
append_vector (struct encoder *encoder, SCM vector)
{
  size_t count = SCM_SIMPLE_VECTOR_LENGTH (vector);

  append_head (encoder, GSHM_CBOR_TAG, GSHM_TAG_VECTOR);
  append_head (encoder, GSHM_CBOR_ARRAY, count);
  push (encoder,
        (struct frame) { .kind = VECTOR, .left = count, .rest = vector },
        vector);
}

static SCM
add_pair (void *closure, SCM key, SCM value, SCM list)
{
  (void) closure;
  return scm_acons (key, value, list);
}

static void
append_table (struct encoder *encoder, SCM table)
{
  SCM list = scm_internal_hash_fold (add_pair, NULL, SCM_EOL, table), tail;
  size_t count = count_pairs (list, &tail);

  append_head (encoder, GSHM_CBOR_MAP, count);
  push (encoder,
        (struct frame) { .kind = TABLE, .left = 2 * count, .rest = list },
        table);
}

/* The next element of FRAME, or SCM_UNDEFINED if another thread has made a
   list shorter.  */
static SCM
next_element (struct frame *frame)
{
  SCM element;

  frame->left--;
  switch (frame->kind)
    {
    case VECTOR:
      return SCM_SIMPLE_VECTOR_REF (
        frame->rest, SCM_SIMPLE_VECTOR_LENGTH (frame->rest) - 1 - frame->left);
    case TABLE:
      element = SCM_CAR (frame->rest);
      frame->is_value_next = !frame->is_value_next;
      if (frame->is_value_next)
        return SCM_CAR (element);
      frame->rest = SCM_CDR (frame->rest);
      return SCM_CDR (element);
    default:
      if (frame->kind == DOTTED_LIST && frame->left == 0)
        return frame->rest;
      if (!scm_is_pair (frame->rest))
        return SCM_UNDEFINED;
      element = SCM_CAR (frame->rest);
      frame->rest = SCM_CDR (frame->rest);
      return element;
    }
}

/* Append OBJECT; if it is a container, its head, and push it.  */
static void
append_object (struct encoder *encoder, SCM object)
{
  if (scm_is_exact_integer (object))
    append_integer (encoder, object);
  else if (scm_is_pair (object) || scm_is_eq (object, SCM_EOL))
    append_list (encoder, object);
  else if (scm_is_string (object))
    append_string (encoder, object);
  else if (scm_is_symbol (object))
    append_symbol (encoder, GSHM_TAG_SYMBOL, object);
  else if (SCM_REALP (object))
    append_double (encoder, SCM_REAL_VALUE (object));
  else if (SCM_BYTEVECTOR_P (object))
    append_bytevector (encoder, object);
  else if (scm_is_vector (object))
    append_vector (encoder, object);
  else if (SCM_FRACTIONP (object))
    append_fraction (encoder, object);
  else if (SCM_COMPLEXP (object))
    {
      append_head (encoder, GSHM_CBOR_TAG, GSHM_TAG_COMPLEX);
      append_head (encoder, GSHM_CBOR_ARRAY, 2);
      append_double (encoder, SCM_COMPLEX_REAL (object));
      append_double (encoder, SCM_COMPLEX_IMAG (object));
    }
  else if (SCM_CHARP (object))
    {
      append_head (encoder, GSHM_CBOR_TAG, GSHM_TAG_CHARACTER);
      append_head (encoder, GSHM_CBOR_UNSIGNED, (uint64_t) SCM_CHAR (object));
    }
  else if (scm_is_keyword (object))
    append_symbol (encoder, GSHM_TAG_KEYWORD, scm_keyword_to_symbol (object));
  else if (SCM_HASHTABLE_P (object))
    append_table (encoder, object);
  else
    append_constant (encoder, object);
}

enum gshm_encoded
gshm_encode (SCM datum, struct gshm_buffer *buffer, SCM *culprit)
{
  struct encoder encoder
    = { .buffer = buffer, .culprit = SCM_BOOL_F, .max_depth = SMALL_DEPTH };
  /* Shared structure is copied, so that a small datum can be endless.  */
  size_t enough = buffer->limit + ((size_t) 64 << 20);

  encoder.frames = encoder.small;
  append_object (&encoder, datum);
  while (encoder.depth > 0 && encoder.status == GSHM_ENCODED
         && buffer->length < enough)
    {
      struct frame *frame = &encoder.frames[encoder.depth - 1];

      if (frame->left == 0)
        encoder.depth--;
      else
        {
          SCM element = next_element (frame);
          if (SCM_UNBNDP (element))
            fail (&encoder, GSHM_CHANGED, frame->rest);
          else
            append_object (&encoder, element);
        }
    }
  *culprit = encoder.culprit;
  scm_remember_upto_here_1 (datum);
  return encoder.status;
}

static void
free_kept (void *bytes)
{
  free (bytes);
}

void
gshm_encode_start (void)
{
  pthread_key_create (&kept, free_kept);
}

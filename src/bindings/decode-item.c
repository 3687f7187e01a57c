/* SPDX-License-Identifier: BSD-3-Clause
   decode-item.c - data from CBOR items that hold no others: text, numbers,
   uniform vectors.  */

#include <config.h>

#include <gc/gc.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "bindings/bytevector.h"
#include "bindings/decode.h"

SCM
gshm_decode_fail (struct gshm_decoder *decoder, const char *message)
{
  if (decoder->error->message == NULL)
    *decoder->error
      = (struct gshm_decoding_error) { .message = message,
                                       .offset = decoder->offset };
  return SCM_UNDEFINED;
}

SCM
gshm_decode_fail_with (struct gshm_decoder *decoder, const char *message,
                       uint64_t number)
{
  gshm_decode_fail (decoder, message);
  decoder->error->number = number;
  decoder->error->has_number = 1;
  return SCM_UNDEFINED;
}


int
gshm_decode_head (struct gshm_decoder *decoder, struct gshm_cbor_head *head)
{
  const unsigned char *bytes = decoder->bytes + decoder->offset;
  size_t left = decoder->size - decoder->offset;
  unsigned size = left == 0 ? 1 : gshm_cbor_head_size (*bytes);

  if (size == 0 || size > left)
    {
      gshm_decode_fail (decoder, size == 0 ? "there is an invalid head"
                                           : GSHM_TRUNCATED);
      return 0;
    }
  *head = gshm_cbor_get_head (bytes);
  decoder->offset += size;
  return 1;
}

/* The SIZE bytes of a string, or NULL.  */
static const unsigned char *
next_bytes (struct gshm_decoder *decoder, uint64_t size)
{
  const unsigned char *bytes = decoder->bytes + decoder->offset;

  if (size > decoder->size - decoder->offset)
    {
      gshm_decode_fail (decoder, GSHM_TRUNCATED);
      return NULL;
    }
  decoder->offset += (size_t) size;
  return bytes;
}

/* Read the chunks of a string of MAJOR and unknown length, and copy their
   bytes to TO, if that is not NULL.  Store their number in SIZE.  Return 0 if
   one is not valid.  */
static int
read_chunks (struct gshm_decoder *decoder, enum gshm_cbor_major major,
             unsigned char *to, size_t *size)
{
  struct gshm_cbor_head chunk;

  for (*size = 0; gshm_decode_head (decoder, &chunk);)
    {
      if (chunk.major == GSHM_CBOR_SIMPLE
          && chunk.info == GSHM_CBOR_INDEFINITE)
        return 1;
      if (chunk.major != major || chunk.info == GSHM_CBOR_INDEFINITE)
        {
          gshm_decode_fail (decoder, "there is an invalid chunk of a string");
          return 0;
        }
      const unsigned char *bytes = next_bytes (decoder, chunk.argument);
      if (bytes == NULL)
        return 0;
      if (to != NULL)
        memcpy (to + *size, bytes, (size_t) chunk.argument);
      *size += (size_t) chunk.argument;
    }
  return 0;
}

/* The bytes of the string with HEAD, and their number in SIZE.  If its length
   is unknown, its chunks are copied.  Return NULL if it is not valid.  */
static const unsigned char *
string_bytes (struct gshm_decoder *decoder, const struct gshm_cbor_head *head,
              size_t *size)
{
  size_t start = decoder->offset;

  if (head->info != GSHM_CBOR_INDEFINITE)
    {
      *size = (size_t) head->argument;
      return next_bytes (decoder, head->argument);
    }
  if (!read_chunks (decoder, head->major, NULL, size))
    return NULL;
  unsigned char *joined = scm_gc_malloc_pointerless (*size + 1, "string");
  decoder->offset = start;
  return read_chunks (decoder, head->major, joined, size) ? joined : NULL;
}


/* Text.  */

/* Whether all of SIZE bytes are ASCII.  */
static int
is_ascii (const unsigned char *bytes, size_t size)
{
  uint64_t bits = 0, word;

  for (; size >= sizeof word; size -= sizeof word, bytes += sizeof word)
    {
      memcpy (&word, bytes, sizeof word);
      bits |= word;
    }
  for (; size > 0; size--)
    bits |= *bytes++;
  return (bits & UINT64_C (0x8080808080808080)) == 0;
}

/* How many bytes the UTF-8 sequence has that begins with the FIRST byte, and
   the smallest character that needs as many; 0 for none.  */
static unsigned
sequence_size (unsigned char first, uint32_t *min)
{
  *min = first < 0x80   ? 0
         : first < 0xe0 ? 0x80
         : first < 0xf0 ? 0x800
                        : 0x10000;
  return first < 0x80   ? 1
         : first < 0xc0 ? 0
         : first < 0xe0 ? 2
         : first < 0xf0 ? 3
         : first < 0xf8 ? 4
                        : 0;
}

static int
is_utf8 (const unsigned char *bytes, size_t size)
{
  while (size > 0)
    {
      uint32_t min, c;
      unsigned n = sequence_size (*bytes, &min);

      if (n == 0 || n > size)
        return 0;
      c = n == 1 ? *bytes : *bytes & (0x7fu >> n);
      for (unsigned i = 1; i < n; i++)
        {
          if ((bytes[i] & 0xc0) != 0x80)
            return 0;
          c = c << 6 | (bytes[i] & 0x3f);
        }
      if (c < min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
      bytes += n;
      size -= n;
    }
  return 1;
}

SCM
gshm_decode_text (struct gshm_decoder *decoder,
                  const struct gshm_cbor_head *head, int is_symbol)
{
  size_t size;
  const unsigned char *bytes = string_bytes (decoder, head, &size);

  if (bytes == NULL)
    return SCM_UNDEFINED;
  const char *text = (const char *) bytes;
  if (is_ascii (bytes, size))
    return is_symbol ? scm_from_latin1_symboln (text, size)
                     : scm_from_latin1_stringn (text, size);
  if (!is_utf8 (bytes, size))
    return gshm_decode_fail (decoder, "a string or symbol is not UTF-8");
  return is_symbol ? scm_from_utf8_symboln (text, size)
                   : scm_from_utf8_stringn (text, size);
}


/* Numbers.  */

SCM
gshm_decode_integer (uint64_t argument, int is_negative)
{
  if (argument < UINT64_C (1) << (SCM_I_FIXNUM_BIT - 1))
    return SCM_I_MAKINUM (is_negative ? -1 - (scm_t_inum) argument
                                      : (scm_t_inum) argument);
  SCM n = scm_from_uint64 (argument);
  return is_negative ? scm_lognot (n) : n;
}

SCM
gshm_decode_bignum (struct gshm_decoder *decoder,
                    const struct gshm_cbor_head *head)
{
  size_t size;
  const unsigned char *bytes = string_bytes (decoder, head, &size);

  if (bytes == NULL)
    return SCM_UNDEFINED;
  if (size == 0)
    return SCM_INUM0;
  SCM copy = scm_c_make_bytevector (size);
  memcpy (SCM_BYTEVECTOR_CONTENTS (copy), bytes, size);
  return scm_bytevector_uint_ref (copy, SCM_INUM0, scm_endianness_big,
                                  scm_from_size_t (size));
}

/* If so many elements are needed, most of the pairs that libgc allocates at
   once will be used.  */
#define MANY 128

SCM
gshm_decode_pair (struct gshm_decoder *decoder, SCM car, SCM cdr)
{
  if (decoder->pairs == NULL && decoder->needed >= MANY)
    decoder->pairs = GC_malloc_many (sizeof (scm_t_cell));
  void *cell = decoder->pairs;
  if (cell == NULL)
    return scm_cons (car, cdr);
  decoder->pairs = GC_NEXT (cell);
  SCM pair = SCM_PACK_POINTER (cell);
  SCM_SET_CELL_OBJECT_1 (pair, cdr);
  SCM_SET_CELL_OBJECT_0 (pair, car);
  return pair;
}

static double
half_to_double (unsigned half)
{
  int exponent = (int) (half >> 10 & 31);
  double significand = half & 0x3ff, magnitude;

  if (exponent == 0)
    magnitude = ldexp (significand, -24);
  else if (exponent != 31)
    magnitude = ldexp (significand + 1024, exponent - 25);
  else
    magnitude = significand == 0 ? (double) INFINITY : (double) NAN;
  return half & 0x8000 ? -magnitude : magnitude;
}

SCM
gshm_decode_simple (struct gshm_decoder *decoder,
                    const struct gshm_cbor_head *head)
{
  uint32_t bits = (uint32_t) head->argument;
  float single;
  double number;

  switch (head->info)
    {
    case GSHM_CBOR_FALSE:
      return SCM_BOOL_F;
    case GSHM_CBOR_TRUE:
      return SCM_BOOL_T;
    case GSHM_CBOR_NULL:
      return SCM_ELISP_NIL;
    case GSHM_CBOR_UNDEFINED:
      return SCM_UNSPECIFIED;
    case GSHM_CBOR_2_BYTES:
      return scm_from_double (half_to_double (bits));
    case GSHM_CBOR_4_BYTES:
      memcpy (&single, &bits, sizeof single);
      return scm_from_double ((double) single);
    case GSHM_CBOR_8_BYTES:
      memcpy (&number, &head->argument, sizeof number);
      return scm_from_double (number);
    case GSHM_CBOR_INDEFINITE:
      return gshm_decode_fail (decoder, "there is a break that ends nothing");
    default:
      return gshm_decode_fail_with (
        decoder, "there is no datum for the simple value ~A", head->argument);
    }
}


/* Uniform vectors.  */

SCM
gshm_decode_bytes (struct gshm_decoder *decoder,
                   const struct gshm_cbor_head *head)
{
  size_t size;
  const unsigned char *bytes = string_bytes (decoder, head, &size);

  if (bytes == NULL)
    return SCM_UNDEFINED;
  SCM bytevector = gshm_make_bytevector (size);
  memcpy (SCM_BYTEVECTOR_CONTENTS (bytevector), bytes, size);
  return bytevector;
}

static void
swap_each (unsigned char *bytes, size_t size, unsigned number_size)
{
  for (size_t i = 0; i < size; i += number_size)
    for (unsigned j = 0; j < number_size / 2; j++)
      {
        unsigned char byte = bytes[i + j];
        bytes[i + j] = bytes[i + number_size - 1 - j];
        bytes[i + number_size - 1 - j] = byte;
      }
}

static const struct gshm_typed_array *
find_typed_array (uint64_t tag, int is_complex)
{
  for (size_t i = 0; i < gshm_typed_array_count; i++)
    if ((gshm_typed_arrays[i].tag == tag
         || gshm_typed_arrays[i].other_tag == tag)
        && gshm_typed_arrays[i].is_complex == is_complex)
      return &gshm_typed_arrays[i];
  return NULL;
}

SCM
gshm_decode_typed_array (struct gshm_decoder *decoder, uint64_t tag,
                         int is_complex)
{
  const struct gshm_typed_array *array = find_typed_array (tag, is_complex);
  struct gshm_cbor_head head;
  size_t size;

  if (array == NULL)
    return gshm_decode_fail_with (decoder, "there is no datum for tag ~A",
                                  tag);
  if (!gshm_decode_head (decoder, &head))
    return SCM_UNDEFINED;
  if (head.major != GSHM_CBOR_BYTES)
    return gshm_decode_fail_with (decoder, GSHM_INVALID_TAG, tag);
  const unsigned char *bytes = string_bytes (decoder, &head, &size);
  if (bytes == NULL)
    return SCM_UNDEFINED;
  size_t element_size = array->size * (is_complex ? 2 : 1);
  if (size % element_size != 0)
    return gshm_decode_fail_with (
      decoder, "the size of what tag ~A is on is no multiple", tag);
  SCM vector = scm_make_srfi_4_vector (scm_from_utf8_symbol (array->name),
                                       scm_from_size_t (size / element_size),
                                       SCM_UNDEFINED);
  unsigned char *contents = (unsigned char *) SCM_BYTEVECTOR_CONTENTS (vector);
  memcpy (contents, bytes, size);
  if (tag != array->tag)
    swap_each (contents, size, array->size);
  return vector;
}

/* SPDX-License-Identifier: BSD-3-Clause
   cbor.h - Scheme data as CBOR (RFC 8949), and back.  */

#ifndef GSHM_BINDINGS_CBOR_H
#define GSHM_BINDINGS_CBOR_H

#include <libguile.h>
#include <stddef.h>
#include <stdint.h>

/* Tags of others: RFC 8949, RFC 8746 (typed arrays), and
   http://cbor.schmorp.de/rational, http://cbor.schmorp.de/identifier.  */
#define GSHM_TAG_POSITIVE_BIGNUM 2
#define GSHM_TAG_NEGATIVE_BIGNUM 3
#define GSHM_TAG_RATIONAL 30
#define GSHM_TAG_SYMBOL 39

/* Our own tags, all over the data item that the comment says.  The manual has
   the same table.  */
#define GSHM_TAG_VECTOR 63180 /* array */
#define GSHM_TAG_DOTTED_LIST                                                  \
  63181                               /* array, whose last element is the     \
                                         tail */
#define GSHM_TAG_KEYWORD 63182        /* text */
#define GSHM_TAG_CHARACTER 63183      /* unsigned integer */
#define GSHM_TAG_COMPLEX 63184        /* array of two floats */
#define GSHM_TAG_COMPLEX_VECTOR 63185 /* typed array of floats, in pairs */

/* Containers may be nested so deep.  */
#define GSHM_MAX_DEPTH 10000

/* The size in bytes of the numerator and of the denominator of a rational
   number is at most this, since finding their common divisor takes time that
   grows faster than the size.  */
#define GSHM_MAX_RATIONAL 4096

/* Uniform vectors.  TAG is that of RFC 8746, for the byte order of this
   machine, and OTHER_TAG that for the other byte order.  */
struct gshm_typed_array
{
  scm_t_array_element_type type;
  const char *name; /* of the type */
  unsigned tag, other_tag;
  unsigned size; /* of a number, in bytes */
  int is_complex;
};

extern const struct gshm_typed_array gshm_typed_arrays[];
extern const size_t gshm_typed_array_count;

/* A buffer that grows, for encoded data.  */
struct gshm_buffer
{
  unsigned char *bytes;
  size_t capacity;
  size_t length; /* of the data, also of what LIMIT kept out */
  size_t limit;
};

/* Take the buffer that this thread has kept, if any, with LIMIT; and keep it,
   or free it if it is large.  */
struct gshm_buffer gshm_take_buffer (size_t limit);
void gshm_keep_buffer (struct gshm_buffer *buffer);

/* Make the capacity at least SIZE.  Return 0 if there is too little memory. */
int gshm_grow_buffer (struct gshm_buffer *buffer, size_t size);

/* Copy a full stack of COUNT frames of SIZE bytes, which refer to objects, to a
   new one for twice as many, and double COUNT.  */
void *gshm_double (const void *frames, size_t *count, size_t size);

enum gshm_encoded
{
  GSHM_ENCODED, /* if LENGTH is at most LIMIT */
  GSHM_NOT_DATA,
  GSHM_TOO_DEEP,
  GSHM_CHANGED, /* by another thread */
  GSHM_NO_MEMORY
};

/* Append DATUM to BUFFER.  If that is not possible, store in CULPRIT the
   object that is the reason.  */
enum gshm_encoded gshm_encode (SCM datum, struct gshm_buffer *buffer,
                               SCM *culprit);

/* Why bytes are not a datum: MESSAGE, a format string for NUMBER if that is
   not SCM_UNDEFINED, at byte OFFSET.  */
struct gshm_decoding_error
{
  const char *message;
  uint64_t number;
  int has_number;
  size_t offset;
};

/* The datum in SIZE bytes, or SCM_UNDEFINED and ERROR.  */
SCM gshm_decode (const unsigned char *bytes, size_t size,
                 struct gshm_decoding_error *error);

#endif /* GSHM_BINDINGS_CBOR_H */

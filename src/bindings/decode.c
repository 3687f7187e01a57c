/* SPDX-License-Identifier: BSD-3-Clause
   decode.c - Scheme data from CBOR.

   One pass over the bytes, with a stack on the heap.  The bytes may come from
   a hostile process: each is checked, and what is allocated is in proportion
   to how many there are.  */

#include <config.h>

#include <string.h>

#include "bindings/decode.h"

enum kind
{
  LIST,
  DOTTED_LIST,
  VECTOR,      /* of known length: OBJECT */
  OPEN_VECTOR, /* of unknown length: a list first */
  TABLE,       /* OBJECT; KEY is SCM_UNDEFINED before a key */
  RATIONAL,
  COMPLEX
};

/* A container whose elements are being decoded.  */
struct frame
{
  enum kind kind;
  int is_open;          /* a break ends it */
  uint64_t left, count; /* elements to come, and seen */
  SCM object, last, key;
};

#define SMALL_DEPTH 32

/* The containers that are being decoded, innermost last.  */
struct stack
{
  struct gshm_decoder decoder;
  size_t depth, max_depth;
  struct frame *frames; /* where libgc finds what they refer to */
  struct frame small[SMALL_DEPTH];
};


/* Containers.  */

/* Begin the container with HEAD.  Return SCM_UNDEFINED, also if that is not
   possible.  */
static SCM
push (struct stack *stack, enum kind kind, const struct gshm_cbor_head *head)
{
  struct frame frame = {
    .kind = kind, .object = SCM_EOL, .last = SCM_EOL, .key = SCM_UNDEFINED
  };
  size_t bytes_left = stack->decoder.size - stack->decoder.offset;

  frame.is_open = head->info == GSHM_CBOR_INDEFINITE;
  frame.left = head->argument;
  if (stack->depth == GSHM_MAX_DEPTH)
    return gshm_decode_fail (&stack->decoder, "too much is nested");
  if (frame.left > bytes_left)
    return gshm_decode_fail (&stack->decoder, GSHM_TRUNCATED);
  if (kind == TABLE)
    frame.left *= 2;
  stack->decoder.needed += frame.left;
  if (stack->decoder.needed > bytes_left)
    return gshm_decode_fail (&stack->decoder, GSHM_TRUNCATED);
  if (kind == DOTTED_LIST && frame.is_open)
    return gshm_decode_fail_with (&stack->decoder, GSHM_INVALID_TAG,
                                  GSHM_TAG_DOTTED_LIST);
  if (kind == VECTOR && frame.is_open)
    frame.kind = OPEN_VECTOR;
  else if (kind == VECTOR)
    frame.object = scm_c_make_vector ((size_t) frame.left, SCM_BOOL_F);
  else if (kind == TABLE)
    frame.object = scm_c_make_hash_table ((unsigned long) head->argument);

  if (stack->depth == stack->max_depth)
    stack->frames
      = gshm_double (stack->frames, &stack->max_depth, sizeof frame);
  stack->frames[stack->depth++] = frame;
  return SCM_UNDEFINED;
}

/* Add the next element, a VALUE, to FRAME.  */
static void
add_element (struct gshm_decoder *decoder, struct frame *frame, SCM value)
{
  frame->count++;
  switch (frame->kind)
    {
    case VECTOR:
      SCM_SIMPLE_VECTOR_SET (frame->object, (size_t) frame->count - 1, value);
      break;
    case TABLE:
      if (SCM_UNBNDP (frame->key))
        frame->key = value;
      else
        {
          scm_hash_set_x (frame->object, frame->key, value);
          frame->key = SCM_UNDEFINED;
        }
      break;
    default:
      if (frame->kind == DOTTED_LIST && frame->left == 0 && frame->count > 1)
        {
          SCM_SETCDR (frame->last, value);
          break;
        }
      SCM pair = gshm_decode_pair (decoder, value, SCM_EOL);
      if (frame->count == 1)
        frame->object = pair;
      else
        SCM_SETCDR (frame->last, pair);
      frame->last = pair;
    }
}

static SCM
finish_rational (struct stack *stack, SCM numerator, SCM denominator)
{
  if (!scm_is_exact_integer (numerator) || !scm_is_exact_integer (denominator)
      || scm_is_false (scm_positive_p (denominator))
      || scm_to_size_t (scm_integer_length (numerator)) > 8 * GSHM_MAX_RATIONAL
      || scm_to_size_t (scm_integer_length (denominator))
           > 8 * GSHM_MAX_RATIONAL)
    return gshm_decode_fail (&stack->decoder,
                             "there is an invalid rational number");
  return scm_divide (numerator, denominator);
}

/* The datum of FRAME, whose elements are complete.  */
static SCM
finish (struct stack *stack, const struct frame *frame)
{
  switch (frame->kind)
    {
    case OPEN_VECTOR:
      return scm_vector (frame->object);
    case TABLE:
      if (!SCM_UNBNDP (frame->key))
        return gshm_decode_fail (&stack->decoder,
                                 "a map has a key without a value");
      if (SCM_HASHTABLE_N_ITEMS (frame->object) != frame->count / 2)
        return gshm_decode_fail (&stack->decoder, "a map has a key twice");
      return frame->object;
    case DOTTED_LIST:
      if (frame->count < 2)
        return gshm_decode_fail_with (&stack->decoder, GSHM_INVALID_TAG,
                                      GSHM_TAG_DOTTED_LIST);
      return frame->object;
    case RATIONAL:
      if (frame->count != 2)
        return gshm_decode_fail_with (&stack->decoder, GSHM_INVALID_TAG,
                                      GSHM_TAG_RATIONAL);
      return finish_rational (stack, SCM_CAR (frame->object),
                              SCM_CADR (frame->object));
    case COMPLEX:
      if (frame->count != 2 || !SCM_REALP (SCM_CAR (frame->object))
          || !SCM_REALP (SCM_CADR (frame->object)))
        return gshm_decode_fail_with (&stack->decoder, GSHM_INVALID_TAG,
                                      GSHM_TAG_COMPLEX);
      return scm_c_make_rectangular (
        SCM_REAL_VALUE (SCM_CAR (frame->object)),
        SCM_REAL_VALUE (SCM_CADR (frame->object)));
    default:
      return frame->object;
    }
}


/* Items.  */

/* What the tags must be on.  */
static enum gshm_cbor_major
major_below (uint64_t tag)
{
  switch (tag)
    {
    case GSHM_TAG_POSITIVE_BIGNUM:
    case GSHM_TAG_NEGATIVE_BIGNUM:
      return GSHM_CBOR_BYTES;
    case GSHM_TAG_SYMBOL:
    case GSHM_TAG_KEYWORD:
      return GSHM_CBOR_TEXT;
    case GSHM_TAG_CHARACTER:
      return GSHM_CBOR_UNSIGNED;
    case GSHM_TAG_COMPLEX_VECTOR:
      return GSHM_CBOR_TAG;
    default:
      return GSHM_CBOR_ARRAY;
    }
}

/* Decode the item that TAG, one of those below, is on.  */
static SCM
decode_below (struct stack *stack, uint64_t tag)
{
  struct gshm_cbor_head head;
  SCM datum;

  if (!gshm_decode_head (&stack->decoder, &head))
    return SCM_UNDEFINED;
  if (head.major != major_below (tag))
    return gshm_decode_fail_with (&stack->decoder, GSHM_INVALID_TAG, tag);
  switch (tag)
    {
    case GSHM_TAG_POSITIVE_BIGNUM:
      return gshm_decode_bignum (&stack->decoder, &head);
    case GSHM_TAG_NEGATIVE_BIGNUM:
      datum = gshm_decode_bignum (&stack->decoder, &head);
      return SCM_UNBNDP (datum) ? datum : scm_lognot (datum);
    case GSHM_TAG_SYMBOL:
      return gshm_decode_text (&stack->decoder, &head, 1);
    case GSHM_TAG_KEYWORD:
      datum = gshm_decode_text (&stack->decoder, &head, 1);
      return SCM_UNBNDP (datum) ? datum : scm_symbol_to_keyword (datum);
    case GSHM_TAG_CHARACTER:
      if (head.argument > 0x10ffff
          || (head.argument >= 0xd800 && head.argument < 0xe000))
        return gshm_decode_fail (&stack->decoder,
                                 "there is an invalid character");
      return SCM_MAKE_CHAR ((scm_t_wchar) head.argument);
    case GSHM_TAG_COMPLEX_VECTOR:
      return gshm_decode_typed_array (&stack->decoder, head.argument, 1);
    case GSHM_TAG_RATIONAL:
      return push (stack, RATIONAL, &head);
    case GSHM_TAG_COMPLEX:
      return push (stack, COMPLEX, &head);
    case GSHM_TAG_DOTTED_LIST:
      return push (stack, DOTTED_LIST, &head);
    default:
      return push (stack, VECTOR, &head);
    }
}

static SCM
decode_tagged (struct stack *stack, uint64_t tag)
{
  switch (tag)
    {
    case GSHM_TAG_POSITIVE_BIGNUM:
    case GSHM_TAG_NEGATIVE_BIGNUM:
    case GSHM_TAG_RATIONAL:
    case GSHM_TAG_SYMBOL:
    case GSHM_TAG_VECTOR:
    case GSHM_TAG_DOTTED_LIST:
    case GSHM_TAG_KEYWORD:
    case GSHM_TAG_CHARACTER:
    case GSHM_TAG_COMPLEX:
    case GSHM_TAG_COMPLEX_VECTOR:
      return decode_below (stack, tag);
    default:
      return gshm_decode_typed_array (&stack->decoder, tag, 0);
    }
}

/* Decode an item, without the elements of a container: those are pushed.
   Return SCM_UNDEFINED then, and after an error.  */
static SCM
decode_item (struct stack *stack, const struct gshm_cbor_head *head)
{
  switch (head->major)
    {
    case GSHM_CBOR_UNSIGNED:
    case GSHM_CBOR_NEGATIVE:
      return gshm_decode_integer (head->argument,
                                  head->major == GSHM_CBOR_NEGATIVE);
    case GSHM_CBOR_BYTES:
      return gshm_decode_bytes (&stack->decoder, head);
    case GSHM_CBOR_TEXT:
      return gshm_decode_text (&stack->decoder, head, 0);
    case GSHM_CBOR_ARRAY:
      return push (stack, LIST, head);
    case GSHM_CBOR_MAP:
      return push (stack, TABLE, head);
    case GSHM_CBOR_TAG:
      return decode_tagged (stack, head->argument);
    default:
      return gshm_decode_simple (&stack->decoder, head);
    }
}

/* Decode the next item, or end the open container that a break ends.  */
static SCM
decode_next (struct stack *stack)
{
  struct gshm_cbor_head head;
  struct frame *top
    = stack->depth == 0 ? NULL : &stack->frames[stack->depth - 1];

  if (!gshm_decode_head (&stack->decoder, &head))
    return SCM_UNDEFINED;
  if (top != NULL && !top->is_open)
    {
      top->left--;
      stack->decoder.needed--;
    }
  else if (top != NULL && head.major == GSHM_CBOR_SIMPLE
           && head.info == GSHM_CBOR_INDEFINITE)
    {
      /* From here on as if its length had been known.  */
      top->is_open = 0;
      return SCM_UNDEFINED;
    }
  return decode_item (stack, &head);
}

SCM
gshm_decode (const unsigned char *bytes, size_t size,
             struct gshm_decoding_error *error)
{
  struct stack stack
    = { .decoder = { .bytes = bytes, .size = size, .error = error },
        .max_depth = SMALL_DEPTH };
  SCM datum;

  *error = (struct gshm_decoding_error) { .message = NULL };
  stack.frames = stack.small;
  do
    {
      datum = decode_next (&stack);
      /* A datum may complete its container, which is a datum, and so on.  */
      while (error->message == NULL && stack.depth > 0)
        {
          struct frame *top = &stack.frames[stack.depth - 1];

          if (!SCM_UNBNDP (datum))
            add_element (&stack.decoder, top, datum);
          datum = SCM_UNDEFINED;
          if (top->is_open || top->left > 0)
            break;
          datum = finish (&stack, top);
          stack.depth--;
        }
      if (error->message != NULL)
        return SCM_UNDEFINED;
    }
  while (SCM_UNBNDP (datum));
  if (stack.decoder.offset != size)
    return gshm_decode_fail (&stack.decoder, "more follows the datum");
  return datum;
}

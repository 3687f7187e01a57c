/* SPDX-License-Identifier: BSD-3-Clause
   cbor.h - heads of CBOR data items (RFC 8949).

   An item begins with a head: three bits of a major type, five bits of
   additional information, and, as those say, an argument of 0 to 8 bytes.  */

#ifndef GSHM_CBOR_H
#define GSHM_CBOR_H

#include <stddef.h>
#include <stdint.h>

enum gshm_cbor_major
{
  GSHM_CBOR_UNSIGNED,
  GSHM_CBOR_NEGATIVE, /* -1 minus the argument */
  GSHM_CBOR_BYTES,
  GSHM_CBOR_TEXT,
  GSHM_CBOR_ARRAY,
  GSHM_CBOR_MAP,
  GSHM_CBOR_TAG,
  GSHM_CBOR_SIMPLE /* or a float, or a break */
};

/* Additional information: the argument has 1, 2, 4 or 8 bytes; or, for bytes,
   text, arrays and maps, the length is not known, and a break ends them.  */
#define GSHM_CBOR_1_BYTE 24
#define GSHM_CBOR_2_BYTES 25
#define GSHM_CBOR_4_BYTES 26
#define GSHM_CBOR_8_BYTES 27
#define GSHM_CBOR_INDEFINITE 31

#define GSHM_CBOR_BREAK 0xff

/* Simple values.  */
#define GSHM_CBOR_FALSE 20
#define GSHM_CBOR_TRUE 21
#define GSHM_CBOR_NULL 22
#define GSHM_CBOR_UNDEFINED 23

#define GSHM_CBOR_MAX_HEAD 9

struct gshm_cbor_head
{
  enum gshm_cbor_major major;
  unsigned info;
  uint64_t argument;
};

/* Store the SIZE low bytes of VALUE at BYTES, most significant first.  */
static inline void
gshm_cbor_put (unsigned char *bytes, uint64_t value, unsigned size)
{
  for (unsigned i = 0; i < size; i++)
    bytes[i] = (unsigned char) (value >> 8 * (size - 1 - i));
}

static inline uint64_t
gshm_cbor_get (const unsigned char *bytes, unsigned size)
{
  uint64_t value = 0;

  for (unsigned i = 0; i < size; i++)
    value = value << 8 | bytes[i];
  return value;
}

/* How many bytes the argument has after the first byte of a head: the
   shortest that hold ARGUMENT.  */
static inline unsigned
gshm_cbor_argument_size (uint64_t argument)
{
  return argument < GSHM_CBOR_1_BYTE ? 0
         : argument <= UINT8_MAX     ? 1
         : argument <= UINT16_MAX    ? 2
         : argument <= UINT32_MAX    ? 4
                                     : 8;
}

/* Store a head at BYTES, at most GSHM_CBOR_MAX_HEAD, and return its size.  */
static inline unsigned
gshm_cbor_put_head (unsigned char *bytes, enum gshm_cbor_major major,
                    uint64_t argument)
{
  unsigned size = gshm_cbor_argument_size (argument);
  unsigned info = size == 0   ? (unsigned) argument
                  : size == 1 ? GSHM_CBOR_1_BYTE
                  : size == 2 ? GSHM_CBOR_2_BYTES
                  : size == 4 ? GSHM_CBOR_4_BYTES
                              : GSHM_CBOR_8_BYTES;

  bytes[0] = (unsigned char) ((unsigned) major << 5 | info);
  gshm_cbor_put (bytes + 1, argument, size);
  return 1 + size;
}

/* The size of the head that begins with the byte FIRST, or 0 if none does.  */
static inline unsigned
gshm_cbor_head_size (unsigned char first)
{
  unsigned major = first >> 5, info = first & 31;

  if (info < GSHM_CBOR_1_BYTE)
    return 1;
  if (info <= GSHM_CBOR_8_BYTES)
    return 1 + (1u << (info - GSHM_CBOR_1_BYTE));
  return info == GSHM_CBOR_INDEFINITE && major >= GSHM_CBOR_BYTES
         && major != GSHM_CBOR_TAG;
}

/* Load the head at BYTES, all of which may be read.  The argument of
   INDEFINITE is 0.  */
static inline struct gshm_cbor_head
gshm_cbor_get_head (const unsigned char *bytes)
{
  struct gshm_cbor_head head
    = { .major = (enum gshm_cbor_major) (bytes[0] >> 5),
        .info = bytes[0] & 31 };

  if (head.info < GSHM_CBOR_1_BYTE)
    head.argument = head.info;
  else if (head.info != GSHM_CBOR_INDEFINITE)
    head.argument
      = gshm_cbor_get (bytes + 1, 1u << (head.info - GSHM_CBOR_1_BYTE));
  return head;
}

#endif /* GSHM_CBOR_H */

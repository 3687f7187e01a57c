/* SPDX-License-Identifier: BSD-3-Clause
   decode.h - what decodes containers (decode.c), and what decodes the items in
   them (decode-item.c).  */

#ifndef GSHM_BINDINGS_DECODE_H
#define GSHM_BINDINGS_DECODE_H

#include <libguile.h>
#include <stddef.h>
#include <stdint.h>

#include "bindings/cbor.h"
#include "core/cbor.h"

/* Bytes that are being decoded, up to OFFSET.  */
struct gshm_decoder
{
  const unsigned char *bytes;
  size_t size, offset;
  struct gshm_decoding_error *error;
  /* Elements that containers still need, at most one for each byte left, so
     that claims are limited together.  */
  uint64_t needed;
  void *pairs; /* see gshm_decode_pair */
};

#define GSHM_TRUNCATED "it ends before the datum does"
#define GSHM_INVALID_TAG "tag ~A is not on what it must be on"

/* Store the error MESSAGE, if it is the first one.  Return SCM_UNDEFINED.  */
SCM gshm_decode_fail (struct gshm_decoder *decoder, const char *message);
SCM gshm_decode_fail_with (struct gshm_decoder *decoder, const char *message,
                           uint64_t number);

/* Load the next head.  Return 0 if there is none.  */
int gshm_decode_head (struct gshm_decoder *decoder,
                      struct gshm_cbor_head *head);

/* As scm_cons; but if many elements are needed, libgc allocates many pairs at
   once, and the others are linked at PAIRS, on the stack, where it finds
   them.  (Of objects without pointers it would find only the first.)  */
SCM gshm_decode_pair (struct gshm_decoder *decoder, SCM car, SCM cdr);

/* Return the datum with HEAD, or SCM_UNDEFINED after an error.  */
SCM gshm_decode_integer (uint64_t argument, int is_negative);
SCM gshm_decode_bignum (struct gshm_decoder *decoder,
                        const struct gshm_cbor_head *head);
SCM gshm_decode_simple (struct gshm_decoder *decoder,
                        const struct gshm_cbor_head *head);
SCM gshm_decode_bytes (struct gshm_decoder *decoder,
                       const struct gshm_cbor_head *head);
SCM gshm_decode_text (struct gshm_decoder *decoder,
                      const struct gshm_cbor_head *head, int is_symbol);

/* The uniform vector in the bytes that TAG is on.  */
SCM gshm_decode_typed_array (struct gshm_decoder *decoder, uint64_t tag,
                             int is_complex);

#endif /* GSHM_BINDINGS_DECODE_H */

/* SPDX-License-Identifier: BSD-3-Clause
   cbor.c - what the decoder makes of any bytes, for libFuzzer.

   A datum that it returns is encoded again, and that decoded again.  */

#include <config.h>

#include <stdlib.h>

#include "bindings/bytevector.h"
#include "bindings/cbor.h"
#include "init.h"

int LLVMFuzzerInitialize (int *argc, char ***argv);
int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t size);

static void
check (int condition)
{
  if (!condition)
    abort ();
}

SCM
gshm_make_bytevector (size_t size)
{
  return scm_c_make_bytevector (size);
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  (void) argc;
  (void) argv;
  scm_init_guile ();
  gshm_encode_start ();
  return 0;
}

int
LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t size)
{
  struct gshm_decoding_error error;
  SCM culprit, datum = gshm_decode (bytes, size, &error);

  check (SCM_UNBNDP (datum) == (error.message != NULL));
  check (error.offset <= size);
  if (SCM_UNBNDP (datum))
    return 0;
  struct gshm_buffer buffer = gshm_take_buffer (SIZE_MAX / 2);
  check (gshm_encode (datum, &buffer, &culprit) == GSHM_ENCODED);
  SCM again = gshm_decode (buffer.bytes, buffer.length, &error);
  check (!SCM_UNBNDP (again));
  check (scm_is_true (scm_hash_table_p (datum))
         || scm_is_eq (scm_class_of (datum), scm_class_of (again)));
  gshm_keep_buffer (&buffer);
  return 0;
}

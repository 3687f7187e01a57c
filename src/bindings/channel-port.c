/* SPDX-License-Identifier: BSD-3-Clause
   channel-port.c - input ports on channels.

   Guile's custom ports do not support char-ready?.  The stream of a port of
   this type is a pair of procedures.  */

#include <config.h>

#include "base/guile.h"
#include "init.h"

static scm_t_port_type *input_port_type;

static size_t
read_port (SCM port, SCM target, size_t start, size_t count)
{
  return scm_to_size_t (scm_call_3 (SCM_CAR (SCM_PACK (SCM_STREAM (port))),
                                    target, scm_from_size_t (start),
                                    scm_from_size_t (count)));
}

static int
port_is_ready (SCM port)
{
  return scm_is_true (scm_call_0 (SCM_CDR (SCM_PACK (SCM_STREAM (port)))));
}

/* (READ! READY?) -> binary input port.  READ! stores bytes in a bytevector
   from an index on, up to a count, and returns how many, 0 at the end; READY?
   returns whether READ! would not block.  */
static SCM
make_input_port (SCM read, SCM is_ready)
{
  return scm_c_make_port_with_encoding (input_port_type, SCM_OPN | SCM_RDNG,
                                        scm_from_utf8_symbol ("ISO-8859-1"),
                                        scm_from_utf8_symbol ("error"),
                                        SCM_UNPACK (scm_cons (read,
                                                              is_ready)));
}

void
gshm_channel_port_start (void)
{
  static char name[] = "shm-channel";

  input_port_type = scm_make_port_type (name, read_port, NULL);
  scm_set_port_input_waiting (input_port_type, port_is_ready);
}

void
gshm_channel_port_init (void)
{
  gshm_define ("%shm-channel-input-port", 2, 0, make_input_port);
}

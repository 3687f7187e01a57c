/* SPDX-License-Identifier: BSD-3-Clause
   send.c - send a message to the channel in an object.

   Usage: send NAME MESSAGE  */

#include <gshm.h>
#include <stdio.h>
#include <string.h>

int
main (int argc, char **argv)
{
  struct gshm_object object;
  struct gshm_channel channel;

  if (argc != 3)
    {
      fprintf (stderr, "Usage: send NAME MESSAGE\n");
      return 2;
    }
  int error = gshm_object_attach (&object, argv[1], GSHM_READ_WRITE, 0);
  if (error == 0)
    error = gshm_channel_open (&channel, object.memory, object.size);
  if (error == 0)
    error = gshm_channel_send (&channel, argv[2], strlen (argv[2]),
                               1000000000 /* ns */);
  if (error != 0)
    fprintf (stderr, "send: %s: %s\n", argv[1], gshm_strerror (error));
  gshm_object_close (&object);
  return error != 0;
}

/* SPDX-License-Identifier: BSD-3-Clause
   detector.c - find the brightest pixel of each picture that camera.py sends.

   Usage: detector NAME
   display.scm starts this.  */

#include <errno.h>
#include <stdio.h>

#include "video.h"

#define WIDTH 64

/* Receive pictures until the channel is closed.  Return 0 or a negative
   errno.  */
static int
detect (struct video *video, const struct gshm_channel *frames)
{
  struct gshm_slot frame;
  int error;

  for (uint32_t n = 1;
       (error = gshm_channel_peek (frames, &frame, GSHM_FOREVER)) == 0; n++)
    {
      const unsigned char *pixels = frame.bytes;
      uint32_t brightest = 0;

      for (uint32_t i = 0; i < frame.length; i++)
        if (pixels[i] > pixels[brightest])
          brightest = i;
      gshm_channel_release (&frame);
      /* -EOWNERDEAD: the numbers may be half stored.  This stores all three.
       */
      error = gshm_mutex_lock (&video->lock, GSHM_FOREVER);
      if (error != 0 && error != -EOWNERDEAD)
        return error;
      video->frame = n;
      video->x = brightest % WIDTH;
      video->y = brightest / WIDTH;
      gshm_mutex_unlock (&video->lock);
      gshm_semaphore_post (&video->found);
    }
  return error == -EPIPE ? 0 : error;
}

int
main (int argc, char **argv)
{
  struct gshm_object object;
  struct gshm_channel frames;

  if (argc != 2)
    {
      fprintf (stderr, "Usage: detector NAME\n");
      return 2;
    }
  int error = gshm_object_attach (&object, argv[1], GSHM_READ_WRITE, 0);
  if (error == 0 && object.size < 64 + sizeof (struct video))
    error = -EINVAL;
  if (error == 0)
    {
      /* A layout begins at byte 64 of its object.  */
      struct video *video = (void *) ((char *) object.memory + 64);

      error = gshm_channel_open (&frames, video->frames, sizeof video->frames);
      if (error == 0)
        error = detect (video, &frames);
    }
  if (error != 0)
    fprintf (stderr, "detector: %s: %s\n", argv[1], gshm_strerror (error));
  gshm_object_close (&object);
  return error != 0;
}

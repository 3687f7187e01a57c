/* SPDX-License-Identifier: BSD-3-Clause
   video.h - what (shm-layout->c video) returns: see display.scm.  */

/* video, at byte 64 of an object.  Hash: 0x77e9146b51b211db.  */
#include <gshm.h>

struct video
{
  struct gshm_mutex lock;  /* mutex */
  uint32_t frame;  /* u32 */
  uint32_t x;  /* u32 */
  uint32_t y;  /* u32 */
  struct gshm_semaphore found;  /* semaphore */
  _Alignas (8) uint64_t frames[4304];  /* (channel 32768) */
};
_Static_assert (sizeof (struct video) == 34488, "the size of video");

/* SPDX-License-Identifier: BSD-3-Clause
   ring.c - a fuzzer for src/core/ring.c: operations on arbitrary memory.

   The input is pairs of an offset and 8 bytes, which are stored in the
   channel's header, and then operations.  None may access memory outside of the
   ring, which the address sanitizer detects, and each must end.  */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "core/ring.h"
#include "core/wait.h"

/* No thread sleeps here.  */
int
gshm_wake (gshm_word *word, int count)
{
  (void) word;
  (void) count;
  return 0;
}

uint32_t
gshm_processor (void)
{
  return 1;
}

struct input
{
  const uint8_t *bytes;
  size_t left;
};

static uint8_t
take_byte (struct input *input)
{
  if (input->left == 0)
    return 0;
  input->left--;
  return *input->bytes++;
}

static uint64_t
take_word (struct input *input)
{
  uint64_t word = 0;

  for (int i = 0; i < 8; i++)
    word = word << 8 | take_byte (input);
  return word;
}

/* Write something somewhere, more often where it matters.  */
static void
scribble (struct input *input, struct gshm_channel_header *channel,
          size_t length)
{
  gshm_long_word *const places[] = {
    &channel->senders.position, &channel->senders.cached_position,
    &channel->senders.counters[0].position,
    &channel->receivers.position, &channel->receivers.cached_position,
    &channel->receivers.counters[0].position, &channel->size,
  };
  size_t count = sizeof places / sizeof *places;
  uint8_t place = take_byte (input);
  gshm_long_word *words = (gshm_long_word *) channel;
  size_t ring = length / 8 - sizeof *channel / 8;

  atomic_store (place < count ? places[place]
                : &words[sizeof *channel / 8 + place % ring],
                take_word (input));
}

static void
operate (struct input *input, struct gshm_ring *ring, size_t length)
{
  uint64_t size, word;
  volatile char sum = 0;
  char *bytes;

  switch (take_byte (input) % 8)
    {
    case 0:
    case 1:
      size = take_byte (input);
      if (gshm_ring_fits (ring, size)
          && gshm_ring_reserve (ring, size, &bytes, &word) == GSHM_RING_READY)
        {
          memset (bytes, 0xa5, size);
          gshm_ring_commit (ring, size);
        }
      break;
    case 2:
    case 3:
      if (gshm_ring_peek (ring, &bytes, &size) == GSHM_RING_READY)
        {
          for (uint64_t i = 0; i < size; i++)
            sum = bytes[i];
          gshm_ring_release (ring, size);
        }
      break;
    case 4:
      scribble (input, ring->channel, length);
      break;
    case 5:
      gshm_ring_poll (ring, &word);
      if (gshm_ring_next_length (ring) > ring->size)
        abort ();
      break;
    case 6:
      gshm_ring_totals (&ring->channel->senders);
      gshm_ring_totals (&ring->channel->receivers);
      break;
    default:
      if (take_byte (input) == 0)
        gshm_ring_close (ring);
      gshm_ring_wake (&ring->channel->senders);
      break;
    }
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input input = { data, size };
  struct gshm_ring ring = { .host = NULL };
  size_t length
    = sizeof (struct gshm_channel_header) + 8 + take_byte (&input) % 32 * 8u;
  void *memory = malloc (length);

  if (memory == NULL)
    return 0;
  gshm_ring_init (memory, length, 1);
  for (uint8_t n = take_byte (&input) % 8; n > 0; n--)
    scribble (&input, memory, length);
  while (input.left > 0 && gshm_ring_open (&ring, memory, length))
    operate (&input, &ring, length);
  free (memory);
  return 0;
}

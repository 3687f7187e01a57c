# SPDX-License-Identifier: BSD-3-Clause
"""camera.py - send computed pictures to detector.c.

Usage: python3 camera.py NAME
display.scm starts this.
"""

import sys
import time

import gshm
from video import video

WIDTH, HEIGHT = 64, 48


def paint(picture, n):
    """Paint picture N: a bright pixel on a grey ramp."""
    for y in range(HEIGHT):
        picture[y * WIDTH : (y + 1) * WIDTH] = bytes(range(WIDTH))
    picture[3 * n % HEIGHT * WIDTH + 7 * n % WIDTH] = 255


if len(sys.argv) != 2:
    sys.exit("Usage: python3 camera.py NAME")

memory = gshm.attach(sys.argv[1], writable=True)
# A layout begins at byte 64 of its object.
frames = gshm.Channel(memory, 64 + video.frames.offset, video.frames.size)
n = 0
try:
    while True:
        n += 1
        with frames.slot(WIDTH * HEIGHT) as picture:
            paint(picture, n)
        time.sleep(0.01)
except gshm.Closed:
    pass

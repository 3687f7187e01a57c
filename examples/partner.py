# SPDX-License-Identifier: BSD-3-Clause
"""partner.py - a Python program that shares memory with a Guile program.

Usage: python3 partner.py NAME

It puts the square root of each number in the shared memory object NAME in its
place.  See partner.scm, which makes that object and starts this, for what is
where.  It needs nothing but Python, and Linux, where objects are files.
"""

import math
import mmap
import sys

MAGIC = 0x50415254

if len(sys.argv) != 2:
    sys.exit("Usage: python3 partner.py NAME")

# Not multiprocessing.shared_memory: before Python 3.13 it takes what it
# attaches to for its own, and removes the object when this program ends.
with open("/dev/shm" + sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)

header = memoryview(memory)[:16].cast("I")
magic, count = header[0], header[1]
if magic != MAGIC:
    sys.exit("partner.py: not what partner.scm makes")

numbers = memoryview(memory)[16 : 16 + 8 * count].cast("d")
for i in range(count):
    numbers[i] = math.sqrt(numbers[i])

# The last thing: say that it is done.
header[2] = 1

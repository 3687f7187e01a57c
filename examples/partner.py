# SPDX-License-Identifier: BSD-3-Clause
"""partner.py - a Python program that shares memory with a Guile program.

Usage: python3 partner.py NAME

It puts the square root of each number in the shared memory object NAME in its
place.  partner.scm creates that object, and starts this.  It needs nothing but
Python, and Linux, where objects are files.
"""

import ctypes
import math
import mmap
import sys

HASH = 0x5415d72522e01810


# What (shm-layout->ctypes partner) returns.
class partner(ctypes.Structure):
    _layout_ = "ms"
    _pack_ = 1
    _fields_ = [
        ("state", ctypes.c_uint32),
        ("_pad_4", ctypes.c_uint8 * 4),
        ("numbers", ctypes.c_double * 4),
    ]


if len(sys.argv) != 2:
    sys.exit("Usage: python3 partner.py NAME")

# Not multiprocessing.shared_memory: before Python 3.13 it takes what it
# attaches to for its own, and removes the object when this program ends.
with open("/dev/shm" + sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)

# The header's second word says which layout follows it.
if len(memory) < 64 or memoryview(memory)[:64].cast("Q")[1] != HASH:
    sys.exit("partner.py: not what partner.scm makes")

shared = partner.from_buffer(memory, 64)
for i in range(4):
    shared.numbers[i] = math.sqrt(shared.numbers[i])

# The last thing: say that it is done.
shared.state = 1

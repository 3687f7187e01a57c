# SPDX-License-Identifier: BSD-3-Clause
"""video.py - what (shm-layout->ctypes video) returns: see display.scm."""

# video, at byte 64 of an object.  Hash: 0x77e9146b51b211db.
import ctypes


class video(ctypes.Structure):
    _layout_ = "ms"
    _pack_ = 1
    _fields_ = [
        ("lock", ctypes.c_uint64 * 3),
        ("frame", ctypes.c_uint32),
        ("x", ctypes.c_uint32),
        ("y", ctypes.c_uint32),
        ("_pad_36", ctypes.c_uint8 * 4),
        ("found", ctypes.c_uint64 * 2),
        ("frames", ctypes.c_uint64 * 4304),
    ]

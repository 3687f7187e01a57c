# SPDX-License-Identifier: BSD-3-Clause
"""send.py - send a message to the channel in an object.

Usage: python3 send.py NAME MESSAGE
"""

import sys

import gshm

if len(sys.argv) != 3:
    sys.exit("Usage: python3 send.py NAME MESSAGE")

gshm.Channel.attach(sys.argv[1]).send(sys.argv[2].encode(), timeout=1)

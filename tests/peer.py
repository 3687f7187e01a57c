# SPDX-License-Identifier: BSD-3-Clause
"""peer.py - one side of what languages.scm tests, in Python.

Usage: peer.py send|receive|publish|subscribe NAME COUNT
       peer.py lock NAME COUNT
       peer.py work NAME SLOT
       peer.py echo NAME NAME
It does the same as peer.c and peer.scm.  "echo" sends the data that it receives from one
channel to another, until the first is closed.
"""

import sys

import gshm

PATTERN = bytes(range(256)) * 14
CHANNEL_OFFSET = 4096


def make_message(i):
    size = 3000 if i % 1000 == 0 else i * 7919 % 301
    start = i % 256
    return i.to_bytes(8, "little") + PATTERN[start : start + size]


def check_message(message, i):
    if message != make_message(i):
        raise ValueError(f"message {i} is another one: {message!r}")


def number(message):
    return int.from_bytes(message[:8], "little")


def send(name, count):
    channel = gshm.Channel.attach(name, timeout=20)
    for i in range(count):
        message = make_message(i)
        if i % 3 != 0:
            channel.send(message)
        else:
            with channel.slot(len(message)) as slot:
                slot[:] = message


def receive(name, count):
    channel = gshm.Channel.attach(name, timeout=20)
    for i in range(count):
        if i % 3 != 0:
            check_message(channel.receive(), i)
        else:
            with channel.message() as message:
                check_message(message, i)


def publish(name, count):
    with gshm.Broadcast.attach(name, timeout=20) as broadcast:
        for i in range(count):
            broadcast.send(make_message(i))


def subscribe(name, count):
    subscriber = gshm.Subscriber(name, "oldest", timeout=20)
    following = count
    missed = 0
    for message in subscriber:
        i = number(message)
        skipped = subscriber.missed - missed
        check_message(message, i)
        if following != count and i != following + skipped:
            raise ValueError(f"{i} is not {following} + {skipped}")
        following = i + 1
        missed += skipped
    if following != count:
        raise ValueError(f"{following} is not the last one, {count}")


def lock(name, count):
    memory = gshm.attach(name, writable=True, timeout=20)
    words = memory.memory.cast("Q")
    mutex = gshm.Mutex(memory)
    for _ in range(count):
        with mutex:
            words[3] += 1


def work(name, slot):
    memory = gshm.attach(name, writable=True, timeout=20)
    words = memory.memory.cast("Q")

    def repair():
        words[4] = words[3]

    mutex = gshm.Mutex(memory, repair=repair)
    channel = gshm.Channel(memory, CHANNEL_OFFSET)
    n = 0
    while words[5] == 0:
        with mutex:
            if words[3] != words[4]:
                raise ValueError("the data are inconsistent")
            words[3] += 1
            words[4] += 1
        try:
            channel.send(make_message(n), timeout=0.01)
        except TimeoutError:
            pass
        try:
            message = channel.receive(timeout=0.01)
            check_message(message, number(message))
        except TimeoutError:
            pass
        words[6 + slot] += 1
        n += 1


def echo(name, other):
    channel = gshm.Channel.attach(name, timeout=20)
    replies = gshm.Channel.attach(other, timeout=20)
    while True:
        try:
            replies.send_data(channel.receive_data())
        except gshm.Closed:
            return


command, name, argument = sys.argv[1:]
if command == "echo":
    echo(name, argument)
else:
    {
        "send": send,
        "receive": receive,
        "publish": publish,
        "subscribe": subscribe,
        "lock": lock,
        "work": work,
    }[command](name, int(argument))

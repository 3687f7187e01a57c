# SPDX-License-Identifier: BSD-3-Clause
# mp-queue.py - in Python what bench/channel.scm measures in Guile.
#
# Reads lines "MEASUREMENT SIZE COUNT" and answers each with the nanoseconds that
# COUNT messages of SIZE bytes took through a multiprocessing.Queue.

import multiprocessing
import sys
import time


def send(queue, size, count):
    message = b'x' * size
    for _ in range(count + 1):
        queue.put(message)


def one_way(size, count):
    queue = multiprocessing.Queue()
    sender = multiprocessing.Process(target=send, args=(queue, size, count))
    sender.start()
    queue.get()
    start = time.perf_counter_ns()
    for _ in range(count):
        queue.get()
    elapsed = time.perf_counter_ns() - start
    sender.join()
    return elapsed


if __name__ == '__main__':
    for line in sys.stdin:
        _, size, count = line.split()
        print(one_way(int(size), int(count)), flush=True)

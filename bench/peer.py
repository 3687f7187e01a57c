# SPDX-License-Identifier: BSD-3-Clause
# peer.py - what Python's standard library does of the benchmark's rows.
#
# Prints a line that names it, then reads lines "ROW COUNT ARGUMENT" and
# answers each with nanoseconds per operation: one number, or the 50th, 99th
# and 99.9th percentile; or with "-", "killed" or "wrong WHY".

import array
import contextlib
import itertools
import mmap
import multiprocessing
import os
import pickle
import platform
import resource
import signal
import sys
import time
from multiprocessing import shared_memory

import _posixshmem

PAGE = 4096
TEXT = b'Hello, world!'
WARMING_UP = 200

clock = time.monotonic_ns
context = multiprocessing.get_context('fork')
numbers = itertools.count()


class Wrong(Exception):
    """What was measured did something else than it should."""


def check(good, why):
    if not good:
        raise Wrong(why)


def percentiles(times):
    times = sorted(times)
    return [times[len(times) * part // 1000] for part in (500, 990, 999)]


# Objects and mappings.

@contextlib.contextmanager
def fresh_name():
    name = '/gshm-bench-%d-%d' % (os.getpid(), next(numbers))
    try:
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            _posixshmem.shm_unlink(name)


def is_gone(name):
    return not os.path.exists('/dev/shm' + name)


def nameless(size):
    """Return a descriptor of an object of SIZE bytes that has no name."""
    with fresh_name() as name:
        fd = _posixshmem.shm_open(
            name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
    os.ftruncate(fd, size)
    return fd


kept = {}


def kept_object(size):
    if size not in kept:
        kept[size] = nameless(size)
    return kept[size]


@contextlib.contextmanager
def mapping(size, **options):
    fd = nameless(size)
    try:
        with mmap.mmap(fd, size, **options) as memory:
            yield memory
    finally:
        os.close(fd)


def byte_a_page(size):
    return b'\1' * ((size + PAGE - 1) // PAGE)


# Processes.

processors = sorted(os.sched_getaffinity(0)) \
    if hasattr(os, 'sched_getaffinity') else []


def pin(wanted):
    if wanted:
        os.sched_setaffinity(0, wanted)


def run_child(body, processor):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        pin(processor)
        body()
    except BaseException:
        # The parent may be waiting for what never comes.
        os.kill(os.getppid(), signal.SIGUSR1)
        raise


def child_failed(*_):
    raise Wrong('a child failed')


@contextlib.contextmanager
def children(bodies, processor=()):
    """Run each of BODIES in a process of its own meanwhile."""
    started = []
    try:
        for body in bodies:
            child = context.Process(target=run_child, args=(body, processor),
                                    daemon=True)
            child.start()
            started.append(child)
        yield
        for child in started:
            child.join()
            check(child.exitcode == 0, 'a child failed')
    finally:
        for child in started:
            child.kill()
            child.join()


@contextlib.contextmanager
def partner(body, placement='across'):
    """Run BODY in a child meanwhile, each on a processor of its own, both on
    the first, or anywhere."""
    here = processors if placement == 'anywhere' else processors[:1]
    there = (processors[1:2] or here) if placement == 'across' else here
    try:
        pin(here)
        with children([body], there):
            yield
    finally:
        pin(processors)


@contextlib.contextmanager
def shared_words():
    """Words of 8 bytes that children share."""
    with mmap.mmap(-1, PAGE) as memory:
        with memoryview(memory) as view, view.cast('Q') as words:
            yield words


def both(count, work):
    """Nanoseconds that two processes take to do work(COUNT), over COUNT."""
    ready, go, done = (context.Semaphore(0) for _ in range(3))

    def other():
        ready.release()
        go.acquire()
        work(count)
        done.release()

    with partner(other):
        ready.acquire()
        start = clock()
        go.release()
        work(count)
        done.acquire()
        return (clock() - start) / count


def rounds(count, action):
    """The percentiles of COUNT actions, after some that do not count."""
    times = [0] * count
    for _ in range(WARMING_UP):
        action()
    for i in range(count):
        start = clock()
        action()
        times[i] = clock() - start
    return percentiles(times)


# Rows: objects.

def life_cycle(count, _):
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with fresh_name() as name:
        start = clock()
        for _ in range(count):
            os.close(_posixshmem.shm_open(name, flags, mode=0o600))
            _posixshmem.shm_unlink(name)
        elapsed = clock() - start
        check(is_gone(name), 'the name is still there')
    return elapsed / count


def egg(count, _):
    same = 0
    with fresh_name() as name:
        start = clock()
        for _ in range(count):
            fd = _posixshmem.shm_open(name, os.O_RDWR | os.O_CREAT,
                                      mode=0o744)
            os.ftruncate(fd, len(TEXT))
            os.write(fd, TEXT)
            os.close(fd)
            fd = _posixshmem.shm_open(name, os.O_RDONLY, mode=0o744)
            same += os.read(fd, len(TEXT)) == TEXT
            os.close(fd)
            _posixshmem.shm_unlink(name)
        elapsed = clock() - start
        check(same == count, 'something else was read')
        check(is_gone(name), 'the name is still there')
    return elapsed / count


def create_times(count, size):
    touch = byte_a_page(size)
    with fresh_name() as name:
        start = clock()
        for _ in range(count):
            memory = shared_memory.SharedMemory(name, True, size)
            memory.buf[::PAGE] = touch
            memory.close()
            memory.unlink()
        elapsed = clock() - start
        check(is_gone(name), 'the name is still there')
    return elapsed / count


def create(count, size):
    # The first object starts multiprocessing's resource tracker.
    create_times(1, size)
    return create_times(count, size)


# Rows: mappings.

def map_times(fd, count, size):
    touch = byte_a_page(size)
    last = (len(touch) - 1) * PAGE
    os.pwrite(fd, b'\0', last)
    start = clock()
    for _ in range(count):
        mapped = mmap.mmap(fd, size)
        mapped[::PAGE] = touch
        mapped.close()
    elapsed = clock() - start
    check(os.pread(fd, 1, last) == b'\1', 'the last page was not stored to')
    return elapsed / count


def map_object(count, size):
    return map_times(kept_object(size), count, size)


def descriptors_for(wanted):
    """Allow WANTED descriptors, if that may be, and say whether it is so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE,
                               (wanted, max(hard, wanted)))
            return True
        return False
    return True


def map_among(count, others):
    # Before 3.13 each mapping keeps a descriptor.
    options = {}
    if sys.version_info >= (3, 13):
        options['trackfd'] = False
    elif not descriptors_for(others + 100):
        return None
    fd = kept_object(PAGE)
    mapped = []
    try:
        for _ in range(others):
            mapped.append(mmap.mmap(fd, PAGE, **options))
        return map_times(fd, count, PAGE)
    finally:
        for other in mapped:
            other.close()


def copy(count, size):
    with mapping(size) as memory, memoryview(memory) as source:
        source[:] = bytes(i % 251 for i in range(size))
        buffer = bytearray(size)
        target = memoryview(buffer)
        start = clock()
        for _ in range(count):
            target[:] = source
        elapsed = clock() - start
        check(buffer == source, 'the copy differs')
    return elapsed / count


def sum_times(count, floats):
    start = clock()
    for _ in range(count):
        total = sum(floats)
    elapsed = clock() - start
    check(total == sum(i % 1000 for i in range(len(floats))),
          'the sum is %r' % total)
    return elapsed / count


def floats(length):
    return array.array('d', (float(i % 1000) for i in range(length)))


def sum_mapped(count, length):
    with mapping(8 * length) as memory, memoryview(memory) as view:
        with view.cast('d') as mapped:
            mapped[:] = memoryview(floats(length))
            return sum_times(count, mapped)


def sum_ordinary(count, length):
    return sum_times(count, floats(length))


def sum_view(count, length):
    with mapping(8 * length + PAGE) as memory, memoryview(memory) as whole:
        with whole[PAGE:] as part, part.cast('d') as view:
            view[:] = memoryview(floats(length))
            return sum_times(count, view)


# Rows: what processes change in turn.

def fetch_add(count, _):
    value = context.Value('Q', 0)
    start = clock()
    for _ in range(count):
        with value.get_lock():
            value.value += 1
    elapsed = clock() - start
    check(value.value == count, 'the value is %d' % value.value)
    return elapsed / count


def fetch_add_contended(count, _):
    value = context.Value('Q', 0)

    def work(count):
        for _ in range(count):
            with value.get_lock():
                value.value += 1

    elapsed = both(count, work)
    check(value.value == 2 * count, 'the value is %d' % value.value)
    return elapsed


def is_taken(semaphore):
    """Take SEMAPHORE if it is free.  Return whether it was not."""
    return not semaphore.acquire(False)


def mutex(count, lock):
    start = clock()
    for _ in range(count):
        lock.acquire()
        lock.release()
    elapsed = clock() - start
    check(not is_taken(lock), 'the lock is still held')
    return elapsed / count


def mutex_around(count, lock):
    start = clock()
    for _ in range(count):
        with lock:
            pass
    elapsed = clock() - start
    check(not is_taken(lock), 'the lock is still held')
    return elapsed / count


def mutex_contended(count, lock):
    with shared_words() as words:
        def work(count):
            for _ in range(count):
                lock.acquire()
                words[0] += 1
                lock.release()

        elapsed = both(count, work)
        check(words[0] == 2 * count, 'the counter is %d' % words[0])
    return elapsed


def post_and_wait(count, semaphore):
    start = clock()
    for _ in range(count):
        semaphore.release()
        semaphore.acquire()
    elapsed = clock() - start
    check(is_taken(semaphore), 'the value is not 0')
    return elapsed / count


def semaphore_contended(count, semaphore):
    def work(count):
        for _ in range(count):
            semaphore.acquire()
            semaphore.release()

    elapsed = both(count, work)
    semaphore.acquire()
    check(is_taken(semaphore), 'the value is not 1')
    return elapsed


# Rows: latency.

def ping_pong(count, placement):
    here, there = context.Pipe()

    def answer():
        for _ in range(WARMING_UP + count):
            there.send_bytes(there.recv_bytes())

    def trip():
        nonlocal got
        here.send_bytes(b'x')
        got += len(here.recv_bytes())

    got = 0
    with here, there, partner(answer, placement):
        times = rounds(count, trip)
    check(got == WARMING_UP + count, '%d bytes came back' % got)
    return times


def wake(count, semaphore):
    """Percentiles of the time from a post to the return of who sleeps."""
    ready, woken = semaphore(0), semaphore(0)
    total = WARMING_UP + count
    times = [0] * total

    def send():
        for _ in range(total):
            ready.acquire()
            time.sleep(0.0002)
            words[0] = clock()
            woken.release()

    with shared_words() as words, partner(send):
        for i in range(total):
            ready.release()
            woken.acquire()
            times[i] = clock() - words[0]
            words[0] = 0
    check(0 < min(times) and max(times) < 60 * 10**9, 'woken without a post')
    check(is_taken(ready) and is_taken(woken), 'posts are left')
    return percentiles(times[WARMING_UP:])


# Rows: messages.

def put_all(queue, size, count):
    message = b'x' * size
    for _ in range(count):
        queue.put(message)


def channel(count, size):
    queue = context.Queue()
    with partner(lambda: put_all(queue, size, count + 1)):
        queue.get()
        start = clock()
        for _ in range(count):
            message = queue.get()
        elapsed = clock() - start
    check(message == b'x' * size, 'the last message differs')
    check(queue.empty(), 'there are more messages')
    queue.close()
    return elapsed / count


def trip(count, size, placement):
    there, back = context.Queue(), context.Queue()
    message = b'x' * size

    def answer():
        for _ in range(WARMING_UP + count):
            back.put(there.get())

    def trip():
        nonlocal got
        there.put(message)
        got = back.get()

    got = None
    try:
        with partner(answer, placement):
            times = rounds(count, trip)
        check(got == message, 'another message came back')
        check(there.empty() and back.empty(), 'there are more messages')
    finally:
        there.close()
        there.join_thread()
    return times


# Rows: data.

DATA = {
    'data-small': [1, 'abc', 'foo', 2.5],
    'data-fixnums': list(range(1000)),
    'data-strings': {'key %d' % i: 'value %d' % i for i in range(100)},
    'data-doubles': [i / 3 for i in range(1000)],
    'data-bytes': bytes(range(256)) * 4096,
}


def data(datum):
    """Pickle DATUM, copy it into shared memory and out, and unpickle it."""
    def measure(count, _):
        with mapping(2 << 20) as memory:
            start = clock()
            for _ in range(count):
                pickled = pickle.dumps(datum)
                memory[:len(pickled)] = pickled
                got = pickle.loads(memory[:len(pickled)])
            elapsed = clock() - start
        check(got == datum, 'another datum came back')
        return elapsed / count
    return measure


def senders(count, number):
    queue = context.Queue()
    ready, go = context.Semaphore(0), context.Semaphore(0)

    def sender(share):
        def send():
            ready.release()
            go.acquire()
            put_all(queue, 64, share)
        return send

    # As many as are measured go before.
    shares = [(2 * count + i) // number for i in range(number)]
    size = 0
    with children([sender(share) for share in shares]):
        for _ in shares:
            ready.acquire()
        for _ in shares:
            go.release()
        for _ in range(count):
            queue.get()
        start = clock()
        for _ in range(count):
            size += len(queue.get())
        elapsed = clock() - start
    check(size == 64 * count, '%d bytes were received' % size)
    check(queue.empty(), 'there are more messages')
    queue.close()
    return elapsed / count


# Rows: faults.

def read_what_is_lost():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fd = nameless(PAGE)
    mapped = mmap.mmap(fd, PAGE)
    os.ftruncate(fd, 0)
    return mapped[0]


def fault_lost(_, __):
    child = context.Process(target=read_what_is_lost)
    child.start()
    child.join()
    return 'killed' if child.exitcode == -signal.SIGBUS else None


def fault_read_only(count, _):
    refused = 0
    with mapping(PAGE, access=mmap.ACCESS_READ) as memory:
        start = clock()
        for _ in range(count):
            try:
                memory[0] = 1
            except TypeError:
                refused += 1
        elapsed = clock() - start
        check(refused == count and memory[0] == 0, 'it was stored to')
    return elapsed / count


ROWS = {
    'map': map_object,
    'map-among': map_among,
    'copy': copy,
    'sum-mapped': sum_mapped,
    'sum-ordinary': sum_ordinary,
    'sum-view': sum_view,
    'fault-lost': fault_lost,
    'fault-read-only': fault_read_only,
    'life-cycle': life_cycle,
    'egg': egg,
    'create': create,
    'fetch-add': fetch_add,
    'fetch-add-contended': fetch_add_contended,
    'mutex': lambda count, _: mutex(count, context.Lock()),
    'mutex-around': lambda count, _: mutex_around(count, context.Lock()),
    'mutex-contended':
        lambda count, _: mutex_contended(count, context.Lock()),
    'semaphore': lambda count, _: post_and_wait(count, context.Semaphore(0)),
    'semaphore-contended':
        lambda count, _: semaphore_contended(count, context.Semaphore(1)),
    'ping-pong-across': lambda count, _: ping_pong(count, 'across'),
    'ping-pong-together': lambda count, _: ping_pong(count, 'together'),
    'wake-across': lambda count, _: wake(count, context.Semaphore),
    'channel': channel,
    'trip-across': lambda count, size: trip(count, size, 'across'),
    'trip-together': lambda count, size: trip(count, size, 'together'),
    'trip-anywhere': lambda count, size: trip(count, size, 'anywhere'),
    'trip-busy': lambda count, size: trip(count, size, 'anywhere'),
    'senders': senders,
    **{name: data(datum) for name, datum in DATA.items()},
}

def answer(row, count, argument):
    if row is None:
        return '-'
    try:
        result = row(count, argument)
    except Wrong as error:
        return 'wrong %s' % error
    except Exception as error:
        why = '%s: %s' % (type(error).__name__, error)
        return 'wrong ' + ' '.join(why.split())
    if result is None:
        return '-'
    if isinstance(result, str):
        return result
    if isinstance(result, list):
        return ' '.join('%.1f' % time for time in result)
    return '%.3f' % result


def main():
    # Also who is told to end removes what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGUSR1, child_failed)
    print('Python ' + platform.python_version(), flush=True)
    for line in sys.stdin:
        row, count, argument = line.split()
        print(answer(ROWS.get(row), int(count), int(argument)), flush=True)


if __name__ == '__main__':
    main()

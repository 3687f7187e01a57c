# SPDX-License-Identifier: BSD-3-Clause
"""gshm_module.py - check gshm.py, for python-module.scm.

Usage: gshm_module.py NAME WHOLE
NAME is that of an object that this program may create.  WHOLE is 1 if an object
is absent until it is published, else 0.  This prints "PASS: ",
"FAIL: " or "SKIP: " and a description for each check.
"""

import copy
import fcntl
import gc
import os
import pickle
import signal
import sys
import threading
import time
import traceback

import gshm

NAME = sys.argv[1]
IS_WHOLE = sys.argv[2] == "1"


def raises(expected, call, *arguments, **options):
    """Return the text of the exception EXPECTED, which CALL raises."""
    try:
        call(*arguments, **options)
    except expected as error:
        return str(error)
    raise AssertionError(f"{expected} was not raised")


def in_child(call):
    """Return how a child ends that calls CALL: its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            call()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def killed_in(call):
    """Call CALL in a child that is killed at its end."""

    def die():
        call()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == signal.SIGKILL


def memory(size=4096):
    return gshm.create(None, size)


def object_appears_whole():
    seen = []

    def initialize(new):
        if IS_WHOLE:
            raises(FileNotFoundError, gshm.attach, NAME)
        seen.append(new.size)
        new.memory[0] = 42

    created = gshm.create(NAME, 100, initialize=initialize)
    try:
        assert seen == [100]
        attached = gshm.attach(NAME)
        assert attached.memory[0] == 42
        assert attached.size == len(attached) == 100
        assert attached.memory.readonly
        created.memory[1] = 7
        assert attached.memory[1] == 7
        assert NAME in repr(created)
        assert NAME in raises(FileExistsError, gshm.create, NAME, 100)
        gshm.attach(NAME, writable=True).memory[2] = 8
        assert created.memory[2] == 8
    finally:
        gshm.unlink(NAME)
    assert NAME in raises(FileNotFoundError, gshm.unlink, NAME)


def initialize_fails():
    raises(
        ZeroDivisionError, gshm.create, NAME, 100, initialize=lambda o: 1 / 0
    )
    raises(FileNotFoundError, gshm.attach, NAME)


def wrong_names_and_sizes():
    for name in "x", "/", "/a/b", "":
        assert repr(name) in raises(ValueError, gshm.attach, name)
    raises(ValueError, gshm.attach, "/a\0b")
    raises(TypeError, gshm.attach, b"/a")
    raises(OSError, gshm.attach, "/" + 300 * "a")
    for size in 0, -1, 1 << 63, (1 << 64) + 4096:
        assert "size" in raises(ValueError, gshm.create, NAME, size)
    assert "size" in raises(TypeError, gshm.create, NAME, 1.5)
    raises(TypeError, gshm.create, NAME, 100, mode="0600")
    raises(OSError, gshm.create, NAME, 1 << 62)
    raises(ValueError, gshm.create, NAME, 100, mode=0o1777)
    raises(ValueError, gshm.map_descriptor, -1)
    assert "999" in raises(OSError, gshm.map_descriptor, 999)


def attach_waits():
    begin = time.monotonic()
    raises(FileNotFoundError, gshm.attach, NAME, timeout=0.15)
    assert time.monotonic() - begin >= 0.15
    thread = threading.Timer(0.01, gshm.create, (NAME, 10))
    thread.start()
    try:
        assert len(gshm.attach(NAME, timeout=60)) == 10
    finally:
        thread.join()
        gshm.unlink(NAME)


def descriptors_are_closed():
    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    memory().close()
    before = count()
    for _ in range(20):
        with gshm.create(NAME, 100) as created:
            raises(FileExistsError, gshm.create, NAME, 10)
            raises(gshm.FormatError, gshm.Channel.attach, NAME)
            fd = os.open("/dev/shm" + NAME, os.O_RDONLY)
            gshm.map_descriptor(fd)
            os.close(fd)
        gshm.unlink(NAME)
        raises(FileNotFoundError, gshm.attach, NAME)
        del created
    assert count() == before


def views_keep_the_memory():
    created = memory()
    mutex = gshm.Mutex.init(created, 64)
    view = created.memory[:8]
    created.close()
    with mutex:
        view[0] = 1
    assert view[0] == 1
    raises(ValueError, lambda: created.memory[0])


def mutex_locks():
    mutex = gshm.Mutex.init(memory(), 64)
    with mutex:
        assert "offset 64" in raises(OSError, mutex.acquire)
        child = in_child(lambda: os._exit(mutex.acquire(timeout=0.01)))
        assert os.waitstatus_to_exitcode(child) == 0
    assert "offset 64" in raises(RuntimeError, mutex.release)

    def released_within(ending):
        with mutex:
            mutex.release()
            ending()

    assert "offset 64" in raises(RuntimeError, released_within, int)
    raises(ZeroDivisionError, released_within, lambda: 1 / 0)
    raises(ValueError, mutex.acquire, timeout=-1)
    raises(ValueError, mutex.acquire, timeout=float("nan"))
    assert mutex.acquire(timeout=0)
    raises(ValueError, mutex.acquire, timeout=-1)
    mutex.release()


def mutex_of_dead_owner():
    shared = memory()
    gshm.Mutex.init(shared)
    plain = gshm.Mutex(shared)
    killed_in(plain.acquire)
    assert "died" in raises(gshm.OwnerDied, plain.acquire)
    # It is not locked, and still abandoned.
    raises(RuntimeError, plain.release)
    failing = gshm.Mutex(shared, repair=lambda: 1 / 0)
    raises(ZeroDivisionError, failing.acquire)
    repaired = []
    mutex = gshm.Mutex(shared, repair=lambda: repaired.append(1))
    with mutex:
        assert repaired == [1]
    with plain:
        pass


def wrong_places():
    shared = memory()
    assert "no mutex" in raises(
        gshm.FormatError, gshm.Mutex(shared, 8).acquire
    )
    assert "multiple of 8" in raises(ValueError, gshm.Mutex, shared, 4)
    assert "4096 bytes" in raises(ValueError, gshm.Mutex, shared, 4080)
    raises(ValueError, gshm.Mutex, shared, -8)
    assert "no channel" in raises(gshm.FormatError, gshm.Channel, shared)
    assert "1672" in raises(ValueError, gshm.Channel.init, shared, 0, 1671)
    raises(ValueError, gshm.Channel.create, NAME, 7)
    raises(FileNotFoundError, gshm.unlink, NAME)
    raises(ValueError, gshm.Broadcast.create, NAME, 1)
    raises(ValueError, gshm.Subscriber, NAME, "soon")
    gshm.create(NAME, 4096)
    try:
        assert "writable=True" in raises(
            ValueError, gshm.Mutex, gshm.attach(NAME)
        )
    finally:
        gshm.unlink(NAME)


def condition_variable():
    shared = memory()
    mutex = gshm.Mutex.init(shared, 0)
    condition = gshm.Condition.init(shared, 24)
    raises(RuntimeError, condition.wait, mutex)
    raises(TypeError, condition.wait, condition)
    with mutex:
        assert not condition.wait(mutex, timeout=0.01)
        assert not condition.wait_for(lambda: False, mutex, timeout=0.15)

    def change():
        with mutex:
            shared.memory[100] = 1
        condition.notify()

    thread = threading.Timer(0.15, change)
    thread.start()
    with mutex:
        assert condition.wait_for(lambda: shared.memory[100], mutex, 60)
    thread.join()
    condition.notify_all()


def semaphore():
    semaphore = gshm.Semaphore.init(memory(), 8, value=1)
    with semaphore:
        assert semaphore.value == 0
        assert not semaphore.acquire(timeout=0)
    assert semaphore.value == 1
    raises(ValueError, gshm.Semaphore.init, memory(), 0, value=-1)


def barrier():
    barrier = gshm.Barrier.init(memory(), 0, parties=2)
    assert not barrier.wait(timeout=0.01)
    thread = threading.Thread(target=barrier.wait)
    thread.start()
    assert barrier.wait(timeout=60)
    thread.join()
    raises(ValueError, gshm.Barrier.init, memory(), 0, parties=0)


def read_write_lock():
    lock = gshm.RWLock.init(memory())
    with lock.reading():
        raises(OSError, lock.acquire_write)
        child = in_child(lambda: os._exit(lock.acquire_write(timeout=0.01)))
        assert os.waitstatus_to_exitcode(child) == 0
    with lock.writing():
        pass
    killed_in(lock.acquire_write)
    raises(gshm.OwnerDied, lock.acquire_read)
    raises(gshm.OwnerDied, lock.acquire_write)


def what_is_refused():
    shared = memory()
    mutex = gshm.Mutex.init(shared)
    assert "attach" in raises(TypeError, copy.deepcopy, mutex)
    assert "attach" in raises(TypeError, copy.copy, shared)
    assert "attach" in raises(TypeError, pickle.dumps, mutex)
    raises(TypeError, gshm.Mutex, shared, 8.0)
    assert "gshm.Object" in raises(TypeError, gshm.Mutex, "/name")
    channel = gshm.Channel.create(None, 64)
    for length in -1, (1 << 64) + 8:
        raises(ValueError, channel.slot, length)
    raises(ValueError, gshm.Channel.create, None, (1 << 64) + 64)
    raises(ValueError, gshm.Broadcast.create, None, 1 << 62)
    assert mutex.acquire(timeout=float("inf"))
    raises(OSError, mutex.acquire, timeout=10**400)
    mutex.release()
    shared.close()
    assert "closed" in raises(ValueError, gshm.Mutex, shared)
    assert "mutex at offset 0" in repr(mutex)
    words = memory(8192).memory.cast("Q")
    assert gshm.Channel.init(words).send(bytes(8192 - 1664 - 8)) is None


def channel():
    with gshm.Channel.create(NAME, 1000) as channel:
        try:
            other = gshm.Channel.attach(NAME)
            other.send(b"abc")
            other.send(bytearray(b"def"))
            other.send(memoryview(b"xghix")[1:4])
            other.send(b"")
            assert [channel.receive() for _ in range(4)] == [
                b"abc",
                b"def",
                b"ghi",
                b"",
            ]
            raises(TimeoutError, channel.receive, timeout=0.01)
            assert "largest" in raises(OSError, channel.send, bytes(993))
            channel.send(bytes(992))
            raises(TimeoutError, channel.send, b"", timeout=0)
            channel.receive()
            raises(TypeError, channel.send, "text")
            channel.send(b"last")
        finally:
            gshm.unlink(NAME)
    assert channel.closed
    raises(gshm.Closed, channel.send, b"")
    assert list(channel) == [b"last"]
    raises(gshm.Closed, channel.receive)


def slots():
    channel = gshm.Channel.create(None, 1000)
    with channel.slot(3) as slot:
        slot[:] = b"abc"
        raises(OSError, channel.send, b"x")
    raises(ValueError, lambda: slot[0])
    with channel.message() as message:
        assert message == b"abc" and message.readonly
    raises(TimeoutError, channel.receive, timeout=0)

    def fail():
        with channel.slot(3):
            raise KeyError

    raises(KeyError, fail)
    raises(TimeoutError, channel.receive, timeout=0)
    channel.send(b"stays")

    def fail_to_read():
        with channel.message():
            raise KeyError

    raises(KeyError, fail_to_read)
    assert channel.receive(timeout=0) == b"stays"
    with channel.slot(0) as slot:
        assert len(slot) == 0
    assert channel.receive() == b""


def broadcast():
    broadcast = gshm.Broadcast.create(NAME, 20000)
    try:
        subscriber = gshm.Subscriber(NAME)
        assert subscriber.latest() is None
        broadcast.send(b"first")
        broadcast.send(10000 * b"x")
        raises(OSError, broadcast.send, 10001 * b"x")
        assert subscriber.receive() == b"first"
        assert subscriber.receive() == 10000 * b"x"
        raises(TimeoutError, subscriber.receive, timeout=0.01)
        for i in range(100):
            broadcast.send(1000 * bytes([i]))
        assert subscriber.latest() == 1000 * bytes([99])
        assert subscriber.missed == 0
        oldest = gshm.Subscriber(NAME, "oldest")
        assert gshm.Subscriber(NAME, "latest").receive()[0] == 99
        broadcast.close()
        raises(gshm.Closed, broadcast.send, b"")
        assert list(oldest)[-1][0] == 99
        reader = gshm.Subscriber(gshm.attach(NAME), "oldest")
        assert list(reader)[-1][0] == 99
    finally:
        gshm.unlink(NAME)


def control_c():
    """A signal ends a wait, and leaves nothing locked."""
    channel = gshm.Channel.create(None, 1000)
    mutex = gshm.Mutex.init(memory())
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        mutex.acquire()
        while os.getppid() == parent:
            time.sleep(0.01)
        os._exit(0)
    try:
        while mutex.acquire(timeout=0):
            mutex.release()
        for wait in channel.receive, mutex.acquire:
            timer = threading.Timer(
                0.02, os.kill, (os.getpid(), signal.SIGINT)
            )
            timer.start()
            raises(KeyboardInterrupt, wait)
            timer.join()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raises(gshm.OwnerDied, mutex.acquire)


def control_c_gives_back():
    """A signal that comes as a wait succeeds leaves nothing taken."""
    shared = memory()
    mutex = gshm.Mutex.init(shared)
    semaphore = gshm.Semaphore.init(shared, 32, value=0)
    broadcast = gshm.Broadcast.create(NAME, 1000)
    subscriber = gshm.Subscriber(NAME)
    gshm.unlink(NAME)
    channel = gshm.Channel.create(None, 1000)

    def interrupted(wait, let_succeed):
        def act():
            os.kill(os.getpid(), signal.SIGINT)
            let_succeed()

        timer = threading.Timer(0.02, act)
        timer.start()
        try:
            wait()
            # The handler is called when the signal has been sent.
            timer.join()
            raise AssertionError("not interrupted")
        except KeyboardInterrupt:
            timer.join()

    holding = threading.Event()
    let_go = threading.Event()

    def hold():
        with mutex:
            holding.set()
            let_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait()
    interrupted(mutex.acquire, lambda: (let_go.set(), holder.join()))
    assert mutex.acquire(timeout=60)
    mutex.release()
    interrupted(semaphore.acquire, semaphore.release)
    assert semaphore.value == 1
    interrupted(subscriber.receive, lambda: broadcast.send(b"kept"))
    assert subscriber.receive(timeout=0) == b"kept"
    interrupted(channel.receive, lambda: channel.send(b"kept"))
    assert channel.receive(timeout=0) == b"kept"


def sealed_objects():
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    # F_ADD_SEALS, F_SEAL_SHRINK
    fcntl.fcntl(fd, 1033, 2)
    mapped = gshm.map_descriptor(fd, writable=True)
    assert raises(OSError, os.ftruncate, fd, 0)
    mapped.memory[4095] = 1
    os.close(fd)
    assert mapped.memory[4095] == 1


def numpy_arrays():
    import numpy

    created = memory(800)
    array = numpy.frombuffer(created.memory, "f8")
    array[99] = 2.5
    created.close()
    gc.collect()
    assert array[99] == 2.5
    channel = gshm.Channel.create(None, 10000)
    with channel.slot(800) as slot:
        numpy.frombuffer(slot, "f8")[:] = array
    with channel.message() as message:
        assert numpy.array_equal(numpy.frombuffer(message, "f8"), array)
    channel.send(array)
    assert len(channel.receive()) == 800
    raises((BufferError, ValueError), channel.send, array[::2])


def data():
    import cbor2  # noqa: F401

    channel = gshm.Channel.create(None, 1000)
    value = {"a": [1, 2.5, None, True], "b": b"x"}
    channel.send_data(value)
    assert channel.receive_data() == value
    for garbage in b"", b"\x82\x01", b"\x01trailing":
        channel.send(garbage)
        assert "CBOR" in raises(gshm.FormatError, channel.receive_data)


def main():
    # A shell has background jobs ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    checks = [
        check
        for check in list(globals().values())
        if callable(check)
        and getattr(check, "__module__", None) == "__main__"
        and check not in (raises, in_child, killed_in, memory, main)
    ]
    for check in checks:
        what = check.__name__.replace("_", " ")
        try:
            check()
            print("PASS:", what, flush=True)
        except ImportError as error:
            print("SKIP:", what, error, flush=True)
        except BaseException:
            print("FAIL:", what, flush=True)
            traceback.print_exc()


main()

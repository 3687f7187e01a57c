# SPDX-License-Identifier: BSD-3-Clause
"""gshm - shared memory, locks, channels and broadcasts.

These are the ones of guile-shm: programs in Python, C and Guile share them.

    import gshm

    with gshm.Channel.create("/frames", 1 << 20) as channel:
        channel.send(b"hello", timeout=1)

    for message in gshm.Channel.attach("/frames", timeout=10):
        print(message)

Timeouts are in seconds; None, the default, waits for ever.  A wait ends at
Ctrl-C.

If another process truncates an object, an access past its end ends this
process with SIGBUS.  An object that is sealed with F_SEAL_SHRINK cannot be
truncated.

This module needs the library libgshm, of the Debian package libgshm0.
"""

import ctypes
import errno
import mmap
import os
import time
from contextlib import contextmanager
from ctypes import (
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Callable, Iterator, Optional, Union

__all__ = [
    "Barrier",
    "Broadcast",
    "Channel",
    "Closed",
    "Condition",
    "FormatError",
    "Mutex",
    "Object",
    "OwnerDied",
    "RWLock",
    "Semaphore",
    "Subscriber",
    "attach",
    "create",
    "map_descriptor",
    "unlink",
]


class OwnerDied(Exception):
    """The last owner of a lock died, and the data may be inconsistent."""


class Closed(Exception):
    """The channel or broadcast is closed."""


class FormatError(ValueError):
    """The memory does not contain what was expected there."""


# The library.


def _load() -> ctypes.CDLL:
    name = "libgshm.so.0"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(
            f"gshm needs the library {name}, of the Debian package libgshm0, "
            f"or of guile-shm where that was installed with make: {error}"
        ) from None


_library = _load()


class _Object(ctypes.Structure):
    _fields_ = [
        ("memory", c_void_p),
        ("size", c_size_t),
        ("fd", c_int),
        ("flags", c_int),
        ("name", c_char * 256),
    ]


class _Memory(ctypes.Structure):  # a channel, or a broadcast
    _fields_ = [("memory", c_void_p), ("length", c_size_t)]


class _Slot(ctypes.Structure):
    _fields_ = [
        ("bytes", c_void_p),
        ("length", c_size_t),
        ("private_words", c_uint64 * 40),
    ]


class _Subscriber(ctypes.Structure):
    _fields_ = [
        ("memory", c_void_p),
        ("length", c_size_t),
        ("private_words", c_uint64 * 5),
    ]


_mode_t = c_uint32

# What follows the structure among the arguments of each function; a wait has a
# timeout, in nanoseconds, as its last.
_prototypes = {
    "object_create": (POINTER(_Object), c_char_p, c_size_t, _mode_t),
    "object_publish": (POINTER(_Object),),
    "object_attach": (POINTER(_Object), c_char_p, c_int, c_int64),
    "object_map": (POINTER(_Object), c_int, c_int),
    "object_unlink": (c_char_p,),
    "mutex_init": (c_void_p,),
    "mutex_lock": (c_void_p, c_int64),
    "mutex_unlock": (c_void_p,),
    "mutex_abandon": (c_void_p,),
    "condition_variable_init": (c_void_p,),
    "condition_variable_wait": (c_void_p, c_void_p, c_int64),
    "condition_variable_signal": (c_void_p,),
    "condition_variable_broadcast": (c_void_p,),
    "semaphore_init": (c_void_p, c_uint32),
    "semaphore_post": (c_void_p,),
    "semaphore_wait": (c_void_p, c_int64),
    "semaphore_value": (c_void_p, POINTER(c_uint32)),
    "barrier_init": (c_void_p, c_uint32),
    "barrier_wait": (c_void_p, c_int64),
    "rwlock_init": (c_void_p,),
    "rwlock_read_lock": (c_void_p, c_int64),
    "rwlock_write_lock": (c_void_p, c_int64),
    "rwlock_unlock": (c_void_p,),
    "rwlock_abandon": (c_void_p,),
    "channel_init": (c_void_p, c_size_t),
    "channel_open": (POINTER(_Memory), c_void_p, c_size_t),
    "channel_send": (POINTER(_Memory), c_void_p, c_size_t, c_int64),
    "channel_close": (POINTER(_Memory),),
    "channel_is_closed": (POINTER(_Memory),),
    "channel_reserve": (POINTER(_Memory), POINTER(_Slot), c_size_t, c_int64),
    "channel_commit": (POINTER(_Slot), c_size_t),
    "channel_peek": (POINTER(_Memory), POINTER(_Slot), c_int64),
    "channel_release": (POINTER(_Slot),),
    "channel_cancel": (POINTER(_Slot),),
    "broadcast_init": (c_void_p, c_size_t, c_size_t),
    "broadcast_open": (POINTER(_Memory), c_void_p, c_size_t),
    "broadcast_send": (POINTER(_Memory), c_void_p, c_size_t, c_int64),
    "broadcast_close": (POINTER(_Memory),),
    "subscriber_open": (POINTER(_Subscriber), c_void_p, c_size_t, c_int, c_int),
    "subscriber_receive": (
        POINTER(_Subscriber),
        c_void_p,
        c_size_t,
        POINTER(c_size_t),
        c_int64,
    ),
    "subscriber_latest": (
        POINTER(_Subscriber),
        c_void_p,
        c_size_t,
        POINTER(c_size_t),
    ),
}


class _Functions:
    """The functions of the library, without their prefix."""

    def __init__(self) -> None:
        for name, arguments in _prototypes.items():
            function = getattr(_library, "gshm_" + name)
            function.argtypes = arguments
            function.restype = c_int
            setattr(self, name, function)
        self.object_close = _library.gshm_object_close
        self.object_close.argtypes = (POINTER(_Object),)
        self.object_close.restype = None
        self.broadcast_size = _library.gshm_broadcast_size
        self.broadcast_size.argtypes = (c_size_t,)
        self.broadcast_size.restype = c_size_t
        self.subscriber_missed = _library.gshm_subscriber_missed
        self.subscriber_missed.argtypes = (POINTER(_Subscriber),)
        self.subscriber_missed.restype = c_uint64


_gshm: Any = _Functions()

_CHANNEL_HEADER_SIZE = 1664
_TIMED_OUT = -errno.ETIMEDOUT


def _fail(result: int, what: str) -> None:
    """Raise the exception for RESULT, a negative errno, which is about WHAT."""
    if result == -errno.EINVAL:
        raise FormatError(f"there is no valid {what}")
    if result == -errno.EPIPE:
        raise Closed(f"the {what} is closed")
    if result == -errno.ETIMEDOUT:
        raise TimeoutError(errno.ETIMEDOUT, "Timeout expired", what)
    if result == -errno.EOWNERDEAD:
        raise OwnerDied(f"the last owner of the {what} died")
    hint = {
        -errno.EDEADLK: "this thread would wait for itself",
        -errno.EPERM: "this thread does not own it",
        -errno.EMSGSIZE: "the message is larger than the largest",
        -errno.EOVERFLOW: "its value is the largest possible",
    }.get(result)
    text = os.strerror(-result)
    raise OSError(-result, f"{text} ({hint})" if hint else text, what)


def _check(result: int, what: str) -> None:
    if result < 0:
        _fail(result, what)


# The library's waits do not end at a signal, whose handler Python calls
# afterwards.
_PIECE = 100_000_000


def _check_timeout(timeout: Optional[float]) -> None:
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout is negative or not a number: {timeout}")


def _wait(timeout: Optional[float], call: Any, *arguments: Any) -> int:
    """Call CALL with ARGUMENTS and a timeout until it has a result."""
    _check_timeout(timeout)
    if timeout is None:
        result = call(*arguments, _PIECE)
        while result == _TIMED_OUT:
            result = call(*arguments, _PIECE)
        return result
    if timeout == 0:
        return call(*arguments, 0)
    end = time.monotonic() + timeout
    left = timeout
    while True:
        result = call(*arguments, min(_PIECE, int(left * 1e9)))
        left = end - time.monotonic()
        if result != _TIMED_OUT or left <= 0:
            return result


# Objects.


class _PyBuffer(ctypes.Structure):
    _fields_ = [
        ("buf", c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, POINTER(_PyBuffer), c_int)
_get_buffer.restype = c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (POINTER(_PyBuffer),)
_release_buffer.restype = None


class _Pin:
    """The memory of a buffer, which stays in its place as long as this does."""

    def __init__(self, buffer: Any, is_written: bool) -> None:
        self._buffer = None
        view = _PyBuffer()
        # PyBUF_SIMPLE: its bytes, one after the other.  PyBUF_WRITABLE.
        _get_buffer(buffer, byref(view), 1 if is_written else 0)
        self._buffer = view
        self.address = view.buf or 0
        self.length = view.len
        self.is_writable = not view.readonly

    def __del__(self) -> None:
        if self._buffer is not None:
            _release_buffer(byref(self._buffer))


class Object:
    """A shared memory object, mapped.

    `memory` is a memoryview of all of it; numpy.frombuffer makes an array of
    that.  The object stays mapped as long as an array, a lock or a channel on
    it exists, also after `close`.
    """

    def __init__(self, mapping: mmap.mmap, name: Optional[str]) -> None:
        self._mapping = mapping
        self.name = name
        self.memory = memoryview(mapping)

    @property
    def size(self) -> int:
        """The size, in bytes."""
        return len(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __repr__(self) -> str:
        return f"<gshm.Object {self.name or 'anonymous'}>"

    def close(self) -> None:
        """Give the memory back, as soon as nothing else uses it."""
        try:
            self.memory.release()
            self._mapping.close()
        except BufferError:
            pass

    def __enter__(self) -> "Object":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _encoded(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"a name is a str: {name!r}")
    if "\0" in name:
        raise ValueError(f"a name has no NUL: {name!r}")
    return name.encode("utf-8", "surrogateescape")


def _check_object(result: int, name: Optional[str]) -> None:
    """Raise OSError for RESULT of a function for objects."""
    if result == -errno.EINVAL and name is not None:
        raise ValueError(
            f"a name is '/' and then one or more other characters, none of "
            f"them another '/': {name!r}"
        )
    if result < 0:
        raise OSError(-result, os.strerror(-result), name)


def _mapped(handle: _Object, name: Optional[str], is_writable: bool) -> Object:
    access = mmap.ACCESS_WRITE if is_writable else mmap.ACCESS_READ
    return Object(mmap.mmap(handle.fd, handle.size, access=access), name)


def create(
    name: Optional[str],
    size: int,
    mode: int = 0o600,
    initialize: Optional[Callable[[Object], Any]] = None,
) -> Object:
    """Create an object of SIZE bytes, all zero, and return it.

    It appears whole: before any process can attach to it, `initialize` is
    called with it.  If that raises an exception, there is no object.  With None
    as its name it is anonymous, for the children of this process.

    Raises FileExistsError if the name is taken.
    """
    handle = _Object()
    encoded = None if name is None else _encoded(name)
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"a size is an integer from 1 on: {size!r}")
    if not 0 <= mode <= 0o777:
        raise ValueError(f"mode is not from 0 to 0o777: {mode:#o}")
    _check_object(
        _gshm.object_create(byref(handle), encoded, size, mode), name
    )
    try:
        result = _mapped(handle, name, True)
        if initialize is not None:
            initialize(result)
        _check_object(_gshm.object_publish(byref(handle)), name)
    finally:
        _gshm.object_close(byref(handle))
    return result


def attach(name: str, writable: bool = False, timeout: float = 0) -> Object:
    """Return the object NAME, mapped for reading only unless WRITABLE.

    Waits up to TIMEOUT seconds until it exists.  Raises FileNotFoundError if it
    does not, TimeoutError if it has no size yet, and PermissionError.
    """
    handle = _Object()
    encoded = _encoded(name)
    result = _wait(
        timeout,
        lambda left: _absent_as_timeout(
            _gshm.object_attach(byref(handle), encoded, writable, left)
        ),
    )
    if result == _TIMED_OUT:
        # Which of the two it was.
        result = _gshm.object_attach(byref(handle), encoded, writable, 0)
    _check_object(result, name)
    try:
        return _mapped(handle, name, writable)
    finally:
        _gshm.object_close(byref(handle))


def _absent_as_timeout(result: int) -> int:
    return _TIMED_OUT if result == -errno.ENOENT else result


def map_descriptor(fd: int, writable: bool = False) -> Object:
    """Return the object behind the descriptor FD, which stays the caller's."""
    handle = _Object()
    result = _gshm.object_map(byref(handle), fd, writable)
    if result < 0:
        raise OSError(-result, os.strerror(-result), f"descriptor {fd}")
    try:
        return _mapped(handle, None, writable)
    finally:
        _gshm.object_close(byref(handle))


def unlink(name: str) -> None:
    """Remove the name NAME; those that have mapped the object keep it.

    Raises FileNotFoundError if there is none.
    """
    _check_object(_gshm.object_unlink(_encoded(name)), name)


# Locks.


class _Structure:
    """What is at an offset of an object."""

    _what = ""
    _size = 0
    _is_written = True

    def __init__(self, memory: Any, offset: int, length: int) -> None:
        buffer = memory._mapping if isinstance(memory, Object) else memory
        if self._is_written and isinstance(memory, Object):
            if memory.memory.readonly:
                raise ValueError(
                    f"a {self._what} needs an object that is attached with "
                    f"writable=True: {memory!r}"
                )
        pin = _Pin(buffer, self._is_written)
        if offset < 0 or length < 0 or offset + length > pin.length:
            raise ValueError(
                f"a {self._what} of {length} bytes at offset {offset} is not "
                f"in the {pin.length} bytes of {memory!r}"
            )
        if (pin.address + offset) % 8 != 0:
            raise ValueError(
                f"offset is not at a multiple of 8 bytes: {offset}"
            )
        self._pin = pin
        self._address = pin.address + offset
        self._name = f"{self._what} at offset {offset} of {memory!r}"

    def __repr__(self) -> str:
        return f"<gshm {self._name}>"

    def _check(self, result: int) -> None:
        if result < 0:
            _fail(result, self._name)


class _Lock(_Structure):
    """What is initialized once, and then used by many."""

    def __init__(self, memory: Any, offset: int = 0) -> None:
        super().__init__(memory, offset, self._size)

    def _try(self, timeout: Optional[float], call: Any, *others: Any) -> bool:
        """Return whether CALL succeeds before TIMEOUT."""
        result = _wait(timeout, call, self._address, *others)
        if result == _TIMED_OUT:
            return False
        self._check(result)
        return True


class _Owned(_Lock):
    """A lock with an owner, which may die."""

    def __init__(
        self,
        memory: Any,
        offset: int = 0,
        repair: Optional[Callable[[], Any]] = None,
    ) -> None:
        super().__init__(memory, offset)
        self._repair = repair

    def _acquire(
        self, timeout: Optional[float], lock: Any, abandon: Any
    ) -> bool:
        _check_timeout(timeout)
        try:
            result = _wait(timeout, lock, self._address)
        except BaseException:
            # Ctrl-C, at an instant when this thread may have the lock.
            abandon(self._address)
            raise
        if result == _TIMED_OUT:
            return False
        if result == -errno.EOWNERDEAD:
            self._recover(abandon)
        elif result < 0:
            _fail(result, self._name)
        return True

    def _recover(self, abandon: Any) -> None:
        """This thread has the lock of a dead owner."""
        try:
            if self._repair is None:
                raise OwnerDied(f"the last owner of the {self._name} died")
            self._repair()
        except BaseException:
            abandon(self._address)
            raise


class Mutex(_Owned):
    """A mutex that is robust: if its owner dies, the next one is told.

        mutex = gshm.Mutex(gshm.attach("/counts", writable=True), 64)
        with mutex:
            ...

    Then REPAIR, a procedure without arguments, is called with the mutex locked,
    to make the data consistent.  If it raises an exception, or if there is none,
    which raises OwnerDied, the mutex is unlocked again, and the next one to lock
    it is told in the same way.
    """

    _what = "mutex"
    _size = 24

    @classmethod
    def init(cls, memory: Any, offset: int = 0, **options: Any) -> "Mutex":
        """Initialize a mutex, once, before others use it, and return it."""
        mutex = cls(memory, offset, **options)
        mutex._check(_gshm.mutex_init(mutex._address))
        return mutex

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Lock it.  Return False if the timeout expires."""
        return self._acquire(timeout, _gshm.mutex_lock, _gshm.mutex_abandon)

    def release(self) -> None:
        """Unlock it; the data are consistent."""
        self._check(_gshm.mutex_unlock(self._address))

    def __enter__(self) -> "Mutex":
        self.acquire()
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


class Condition(_Lock):
    """A condition variable."""

    _what = "condition variable"
    _size = 16

    @classmethod
    def init(cls, memory: Any, offset: int = 0) -> "Condition":
        """Initialize a condition variable, once, and return it."""
        condition = cls(memory, offset)
        condition._check(_gshm.condition_variable_init(condition._address))
        return condition

    def wait(self, mutex: Mutex, timeout: Optional[float] = None) -> bool:
        """Unlock MUTEX, wait for a signal, and lock it again.

        Return False if the timeout expires.  Check your condition again: this
        also returns without a signal, after a tenth of a second; `wait_for`
        does that.  The mutex is locked again also if this raises an exception,
        except for OwnerDied.
        """
        _check_timeout(timeout)
        left = _PIECE if timeout is None else min(_PIECE, int(timeout * 1e9))
        result = _gshm.condition_variable_wait(
            self._address, mutex._address, left
        )
        if result == -errno.EOWNERDEAD:
            mutex._recover(_gshm.mutex_abandon)
        elif result == -errno.EPERM:
            _fail(result, mutex._name)
        elif result < 0 and result != _TIMED_OUT:
            _fail(result, self._name)
        # Not a second piece: a signal may have come between the two.
        return result != _TIMED_OUT or left == _PIECE

    def wait_for(
        self,
        predicate: Callable[[], Any],
        mutex: Mutex,
        timeout: Optional[float] = None,
    ) -> Any:
        """Wait until PREDICATE, called with MUTEX locked, returns a true value.

        Return that, or, if the timeout expires, the last one.
        """
        _check_timeout(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(mutex, left)
            result = predicate()
        return result

    def notify(self) -> None:
        """Wake one waiter."""
        self._check(_gshm.condition_variable_signal(self._address))

    def notify_all(self) -> None:
        """Wake all waiters."""
        self._check(_gshm.condition_variable_broadcast(self._address))


class Semaphore(_Lock):
    """A semaphore."""

    _what = "semaphore"
    _size = 16

    @classmethod
    def init(cls, memory: Any, offset: int = 0, value: int = 1) -> "Semaphore":
        """Initialize a semaphore with VALUE, once, and return it."""
        if not 0 <= value < 1 << 31:
            raise ValueError(f"value is not from 0 to 2147483647: {value}")
        semaphore = cls(memory, offset)
        semaphore._check(_gshm.semaphore_init(semaphore._address, value))
        return semaphore

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Wait until the value is not 0, and subtract 1.

        Return False if the timeout expires.
        """
        return self._try(timeout, _gshm.semaphore_wait)

    def release(self) -> None:
        """Add 1 to the value."""
        self._check(_gshm.semaphore_post(self._address))

    @property
    def value(self) -> int:
        """The value now."""
        value = c_uint32()
        self._check(_gshm.semaphore_value(self._address, byref(value)))
        return value.value

    def __enter__(self) -> "Semaphore":
        self.acquire()
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


class Barrier(_Lock):
    """A barrier."""

    _what = "barrier"
    _size = 32 + 8 * 256

    @classmethod
    def init(cls, memory: Any, offset: int = 0, parties: int = 2) -> "Barrier":
        """Initialize a barrier for PARTIES threads, once, and return it."""
        if not 1 <= parties <= 256:
            raise ValueError(f"parties is not from 1 to 256: {parties}")
        barrier = cls(memory, offset)
        barrier._check(_gshm.barrier_init(barrier._address, parties))
        return barrier

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until all parties wait; dead ones no longer count.

        Return False if the timeout expires.
        """
        return self._try(timeout, _gshm.barrier_wait)


class RWLock(_Owned):
    """A read-write lock.

        with lock.reading():
            ...
        with lock.writing():
            ...

    REPAIR is as for a mutex, for a writer that died.
    """

    _what = "read-write lock"
    _size = 24 + 8 * 128

    @classmethod
    def init(cls, memory: Any, offset: int = 0, **options: Any) -> "RWLock":
        """Initialize a read-write lock, once, and return it."""
        lock = cls(memory, offset, **options)
        lock._check(_gshm.rwlock_init(lock._address))
        return lock

    def acquire_read(self, timeout: Optional[float] = None) -> bool:
        """Lock it as a reader.  Return False if the timeout expires."""
        return self._acquire(
            timeout, _gshm.rwlock_read_lock, _gshm.rwlock_abandon
        )

    def acquire_write(self, timeout: Optional[float] = None) -> bool:
        """Lock it as the writer.  Return False if the timeout expires."""
        return self._acquire(
            timeout, _gshm.rwlock_write_lock, _gshm.rwlock_abandon
        )

    def release(self) -> None:
        """Unlock it; the data are consistent."""
        self._check(_gshm.rwlock_unlock(self._address))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Return a context in which it is locked as a reader."""
        self.acquire_read()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Return a context in which it is locked as the writer."""
        self.acquire_write()
        try:
            yield
        finally:
            self.release()


# Channels.

_Bytes = Union[bytes, bytearray, memoryview]


def _encode(data: Any) -> bytes:
    return _cbor().dumps(data)


def _decode(message: bytes) -> Any:
    return _cbor().loads(message)


def _cbor() -> Any:
    try:
        import cbor2
    except ImportError:
        raise ImportError(
            "data need the module cbor2, of the Debian package python3-cbor2"
        ) from None
    return cbor2


class _Messages(_Structure):
    """What has a structure for its memory, and a name if it has an object."""

    _open: Any = None

    def __init__(
        self, memory: Any, offset: int = 0, length: Optional[int] = None
    ) -> None:
        if length is None:
            length = max(0, len(memory) - offset)
        super().__init__(memory, offset, length)
        self._handle = _Memory()
        self._check(self._open(byref(self._handle), self._address, length))

    def __enter__(self) -> "_Messages":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def _send(self, call: Any, message: Any, timeout: Optional[float]) -> None:
        if type(message) is bytes:
            result = _wait(
                timeout, call, byref(self._handle), message, len(message)
            )
        else:
            pin = _Pin(message, False)
            result = _wait(
                timeout, call, byref(self._handle), pin.address, pin.length
            )
        if result < 0:
            _fail(result, self._name)


class Channel(_Messages):
    """A channel: a queue of messages, for any senders and receivers.

    Iterating over one receives its messages, until it is closed.  As a context
    it is closed at the end, for all.
    """

    _what = "channel"
    _open = staticmethod(_gshm.channel_open)

    @classmethod
    def create(
        cls, name: Optional[str], capacity: int, mode: int = 0o600
    ) -> "Channel":
        """Create an object with a channel of CAPACITY bytes, and return that.

        A message takes 8 bytes more than it has, and is padded to a multiple of
        8.  The object stays until its name is removed.
        """
        size = _CHANNEL_HEADER_SIZE + capacity

        def initialize(object: Object) -> None:
            pin = _Pin(object._mapping, True)
            if capacity < 8 or _gshm.channel_init(pin.address, size) < 0:
                raise ValueError(f"capacity is not from 8 on: {capacity}")

        return cls(create(name, size, mode, initialize))

    @classmethod
    def attach(cls, name: str, timeout: float = 0) -> "Channel":
        """Return the channel in the object NAME; wait until that exists."""
        return cls(attach(name, True, timeout))

    @classmethod
    def init(
        cls, memory: Any, offset: int = 0, length: Optional[int] = None
    ) -> "Channel":
        """Make LENGTH bytes at OFFSET a channel, once, and return it."""
        if length is None:
            length = max(0, len(memory) - offset)
        place = _Structure.__new__(cls)
        _Structure.__init__(place, memory, offset, length)
        if _gshm.channel_init(place._address, length) < 0:
            raise ValueError(
                f"a channel needs {_CHANNEL_HEADER_SIZE + 8} bytes at a "
                f"multiple of 8: {length} at {offset}"
            )
        return cls(memory, offset, length)

    def send(self, message: _Bytes, timeout: Optional[float] = None) -> None:
        """Send MESSAGE, bytes or another buffer; wait until there is space.

        Raises TimeoutError; Closed; and OSError with EMSGSIZE if the message is
        larger than the channel.
        """
        self._send(_gshm.channel_send, message, timeout)

    def receive(self, timeout: Optional[float] = None) -> bytes:
        """Wait for a message and return it.

        Raises TimeoutError, and Closed if the channel is closed and empty.
        """
        slot = self._peek(timeout)
        try:
            message = ctypes.string_at(slot.bytes, slot.length)
        except BaseException:
            _gshm.channel_cancel(byref(slot))
            raise
        self._check(_gshm.channel_release(byref(slot)))
        return message

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                message = self.receive()
            except Closed:
                return
            yield message

    def send_data(self, data: Any, timeout: Optional[float] = None) -> None:
        """Send DATA as CBOR.  This needs the module cbor2."""
        self.send(_encode(data), timeout)

    def receive_data(self, timeout: Optional[float] = None) -> Any:
        """Wait for a message and return the data that it has as CBOR."""
        return _decode(self.receive(timeout))

    def _peek(self, timeout: Optional[float]) -> _Slot:
        return self._fill(timeout, _gshm.channel_peek)

    def _fill(self, timeout: Optional[float], call: Any, *length: int) -> _Slot:
        slot = _Slot()
        try:
            result = _wait(
                timeout, call, byref(self._handle), byref(slot), *length
            )
        except BaseException:
            # Ctrl-C, at an instant when this thread may have the slot.
            _gshm.channel_cancel(byref(slot))
            raise
        if result < 0:
            _fail(result, self._name)
        return slot

    def _view(self, slot: _Slot) -> memoryview:
        """Return the bytes of SLOT, which keep the memory in its place."""
        array = (c_char * slot.length).from_address(slot.bytes)
        array._pin = self._pin
        return memoryview(array).cast("B")

    @contextmanager
    def slot(
        self, length: int, timeout: Optional[float] = None
    ) -> Iterator[memoryview]:
        """Return a context for writing a message of LENGTH bytes in place.

        Its value is a memoryview.  The message is sent at the end, or not if
        there is an exception.  Raises what `send` does.
        """
        slot = self._fill(timeout, _gshm.channel_reserve, length)
        view = self._view(slot)
        try:
            yield view
        except BaseException:
            _gshm.channel_cancel(byref(slot))
            raise
        finally:
            _release(view)
        self._check(_gshm.channel_commit(byref(slot), length))

    @contextmanager
    def message(self, timeout: Optional[float] = None) -> Iterator[memoryview]:
        """Return a context for reading the next message in place.

        Its value is a memoryview.  The message is received at the end; if there
        is an exception, it stays.  Raises what `receive` does.
        """
        slot = self._peek(timeout)
        view = self._view(slot).toreadonly()
        try:
            yield view
        except BaseException:
            _gshm.channel_cancel(byref(slot))
            raise
        finally:
            _release(view)
        self._check(_gshm.channel_release(byref(slot)))

    def close(self) -> None:
        """Close it, for all.  What was sent can still be received."""
        self._check(_gshm.channel_close(byref(self._handle)))

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        result = _gshm.channel_is_closed(byref(self._handle))
        self._check(result)
        return result == 1


def _release(view: memoryview) -> None:
    try:
        view.release()
    except BufferError:
        pass  # an array on it shows the memory until it is gone


# Broadcasts.


class Broadcast(_Messages):
    """A broadcast, for senders: every subscriber sees every message."""

    _what = "broadcast"
    _open = staticmethod(_gshm.broadcast_open)

    @classmethod
    def create(
        cls, name: Optional[str], capacity: int, mode: int = 0o600
    ) -> "Broadcast":
        """Create an object with a broadcast, and return that.

        The largest message has half of CAPACITY, in bytes.
        """
        size = _gshm.broadcast_size(max(0, capacity))
        if size == 0:
            raise ValueError(f"capacity is not from 2 on: {capacity}")

        def initialize(object: Object) -> None:
            pin = _Pin(object._mapping, True)
            _check(
                _gshm.broadcast_init(pin.address, size, capacity), "broadcast"
            )

        return cls(create(name, size, mode, initialize))

    @classmethod
    def attach(cls, name: str, timeout: float = 0) -> "Broadcast":
        """Return the broadcast in the object NAME; wait until that exists."""
        return cls(attach(name, True, timeout))

    def send(self, message: _Bytes, timeout: Optional[float] = None) -> None:
        """Send MESSAGE, bytes or another buffer, to all subscribers.

        The timeout is for other senders.  Raises TimeoutError; Closed; and
        OSError with EMSGSIZE if the message has more than half the capacity.
        """
        self._send(_gshm.broadcast_send, message, timeout)

    def send_data(self, data: Any, timeout: Optional[float] = None) -> None:
        """Send DATA as CBOR.  This needs the module cbor2."""
        self.send(_encode(data), timeout)

    def close(self) -> None:
        """Close it, for all.  What was sent can still be received."""
        self._check(_gshm.broadcast_close(byref(self._handle)))


class Subscriber(_Structure):
    """A subscriber of the broadcast NAME.

    It needs permission to read the object only.  FROM_ is "now", for the
    messages that are sent from now on, "latest", for the newest one first, or
    "oldest", for all that are still there.  It waits up to TIMEOUT until the
    object exists.  It belongs to one thread at a time.

    Iterating over one receives messages until the broadcast is closed.
    """

    _what = "broadcast"
    _is_written = False

    def __init__(
        self, name: Union[str, Object], from_: str = "now", timeout: float = 0
    ) -> None:
        if from_ not in ("now", "latest", "oldest"):
            raise ValueError(f"from_ is not now, latest or oldest: {from_!r}")
        if isinstance(name, Object):
            object = name
        else:
            try:
                object = attach(name, True, timeout)
            except PermissionError:
                object = attach(name, False, timeout)
        super().__init__(object, 0, len(object))
        self._handle = _Subscriber()
        self._check(
            _gshm.subscriber_open(
                byref(self._handle),
                self._address,
                len(object),
                not object.memory.readonly,
                ("now", "latest", "oldest").index(from_),
            )
        )
        self._buffer = ctypes.create_string_buffer(4096)

    def _receive(self, call: Callable[..., int]) -> bytes:
        """Return the message that CALL reads into a buffer."""
        length = c_size_t()
        while True:
            result = call(self._buffer, len(self._buffer), byref(length))
            if result != -errno.EMSGSIZE:
                self._check(result)
                return self._buffer.raw[: length.value]
            self._buffer = ctypes.create_string_buffer(2 * length.value)

    def receive(self, timeout: Optional[float] = None) -> bytes:
        """Wait for the next message and return it.

        Raises TimeoutError, and Closed if the broadcast is closed and there are
        no more messages.
        """

        def call(*arguments: Any) -> int:
            return _wait(
                timeout,
                _gshm.subscriber_receive,
                byref(self._handle),
                *arguments,
            )

        return self._receive(call)

    def latest(self) -> Optional[bytes]:
        """Return the newest message, or None if there is none.

        The next one is then the one after that.
        """

        def call(*arguments: Any) -> int:
            return _gshm.subscriber_latest(byref(self._handle), *arguments)

        try:
            return self._receive(call)
        except OSError as error:
            if error.errno == errno.ENOMSG:
                return None
            raise

    def receive_data(self, timeout: Optional[float] = None) -> Any:
        """Wait for the next message and return the data it has as CBOR."""
        return _decode(self.receive(timeout))

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                message = self.receive()
            except Closed:
                return
            yield message

    @property
    def missed(self) -> int:
        """How many messages were overwritten before this received them."""
        return _gshm.subscriber_missed(byref(self._handle))

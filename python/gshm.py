# SPDX-License-Identifier: BSD-3-Clause
"""gshm - shared memory, locks, channels and broadcasts.

Programs in Python, C and Guile share them.  One program:

    import gshm

    channel = gshm.Channel.create("/frames", 1 << 20)
    channel.send(b"hello", timeout=1)
    channel.close()

and another one:

    for message in gshm.Channel.attach("/frames", timeout=10):
        print(message)
    gshm.unlink("/frames")

Timeouts are in seconds; None waits for ever.  That is the default, except where
one attaches to an object: there it is 0.

Ctrl-C, or another signal whose handler raises an exception, ends a wait within
a tenth of a second.  The operation then has no effect, with one exception: a
message may have been sent.  If the exception comes at
the very end of the context of a slot or a message, no other thread sends to, or
receives from, the channel until this process ends.

If another process truncates an object, an access past its end ends this process
with SIGBUS; an object that is sealed with F_SEAL_SHRINK cannot be truncated.
The same happens if /dev/shm is full when a page is accessed for the first time;
`create` with reserve=True prevents that.

This module needs the library libgshm, of the Debian package libgshm0.
"""

import ctypes
import errno
import functools
import io
import mmap
import operator
import os
import sys
import time
from ctypes import (
    POINTER,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_uint,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Callable, Iterator, List, Optional, TypeVar, Union

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
    """There is no such lock, channel, broadcast or data at this place."""


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
        ("state", c_int),
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


# What follows the structure among the arguments of each function; a wait has a
# timeout, in nanoseconds, as its last.
_prototypes = {
    "object_create": (POINTER(_Object), c_char_p, c_size_t, c_uint),
    "object_publish": (POINTER(_Object),),
    "object_reserve": (POINTER(_Object),),
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

_hints = {
    -errno.EDEADLK: "this thread has it already, and would wait for itself",
    -errno.EMSGSIZE: "the message is larger than the largest that fits",
    -errno.EOVERFLOW: "its value is the largest possible",
}


def _fail(result: int, what: str) -> None:
    """Raise the exception for RESULT, a negative errno, which is about WHAT."""
    if result == -errno.EINVAL:
        raise FormatError(
            f"there is no {what}: it was not initialized, has another version, "
            f"or has another offset or length, as in a layout"
        )
    if result == -errno.EPIPE:
        raise Closed(f"the {what} is closed")
    if result == -errno.ETIMEDOUT:
        raise TimeoutError(errno.ETIMEDOUT, "Timeout expired", what)
    if result == -errno.EOWNERDEAD:
        raise OwnerDied(
            f"the last owner of the {what} died: give `repair`, a procedure "
            f"that makes the data consistent"
        )
    if result == -errno.EPERM:
        raise RuntimeError(f"this thread does not own the {what}")
    text = os.strerror(-result)
    if result in _hints:
        text = f"{text} ({_hints[result]})"
    raise OSError(-result, text, what)


def _check(result: int, what: str) -> None:
    if result < 0:
        _fail(result, what)


def _count(value: Any, what: str, least: int = 0) -> int:
    """Return VALUE, an integer that fits into a size_t."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} is not an integer: {value!r}") from None
    if number < least:
        raise ValueError(f"{what} is less than {least}: {value}")
    if number > sys.maxsize:
        raise ValueError(f"{what} is too large: {value}")
    return number


# Calls.
#
# Python runs the handler of a signal between two of its instructions, also
# right after the call of a function, so that the function's result is lost if
# the handler raises an exception.  What is taken would stay taken.  So the
# results of calls that take something are stored by one instruction:
#
#     results[:] = map(function, [argument])
#
# and the handler of the exception finds them there.

_Results = List[int]

# The library's waits do not end at a signal.
_PIECE = 0.1


def _seconds(timeout: Optional[float]) -> Optional[float]:
    """Return TIMEOUT, or None if it never expires."""
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout is negative or not a number: {timeout}")
    return None if timeout is None or timeout > 1e9 else timeout


def _nanoseconds(seconds: Optional[float]) -> int:
    """Return SECONDS, but at most those of a piece."""
    return int(1e9 * (_PIECE if seconds is None else min(_PIECE, seconds)))


def _wait(
    results: _Results, timeout: Optional[float], call: Any, *arguments: Any
) -> int:
    """Call CALL with ARGUMENTS and a timeout until it has a result."""
    left = timeout = _seconds(timeout)
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        every = [[argument] for argument in (*arguments, _nanoseconds(left))]
        results[:] = map(call, *every)
        if results[0] != _TIMED_OUT:
            return results[0]
        if end is not None:
            left = end - time.monotonic()
            if left <= 0 or timeout == 0:
                return _TIMED_OUT


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

    _buffer = None
    name = ""

    def __init__(self, buffer: Any, is_written: bool) -> None:
        view = _PyBuffer()
        try:
            # PyBUF_SIMPLE: its bytes, one after the other.  PyBUF_WRITABLE.
            _get_buffer(buffer, byref(view), 1 if is_written else 0)
        except TypeError:
            raise TypeError(
                f"bytes, a gshm.Object or another buffer is needed, not "
                f"{buffer!r:.100}"
            ) from None
        self._buffer = view
        self.address = view.buf or 0
        self.length = view.len

    def __del__(self) -> None:
        if self._buffer is not None:
            _release_buffer(byref(self._buffer))


class _Handle:
    """What cannot be copied: another process attaches to it by its name."""

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot be copied; attach to its object")

    def __copy__(self) -> Any:
        self.__reduce__()

    def __deepcopy__(self, memo: Any) -> Any:
        self.__reduce__()


class Object(_Handle):
    """A shared memory object, mapped.

    `memory` is a memoryview of all of it; numpy.frombuffer makes an array from
    that.  The object stays mapped as long as an array, a lock or a channel on
    it exists, also after `close`.
    """

    def __init__(self, mapping: mmap.mmap, name: Optional[str]) -> None:
        self._mapping: Optional[mmap.mmap] = mapping
        self._size = len(mapping)
        self.name = name
        self.memory = memoryview(mapping)

    @property
    def size(self) -> int:
        """The size, in bytes."""
        return self._size

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        closed = ", closed" if self._mapping is None else ""
        return f"<gshm.Object {self.name or 'without a name'}{closed}>"

    def close(self) -> None:
        """Unmap the memory, once no array, lock or channel uses it."""
        try:
            self.memory.release()
        except BufferError:
            self.memory = memoryview(b"")
        self._mapping = None

    def __enter__(self) -> "Object":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _encoded(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"a name is a str: {name!r}")
    if (
        len(name) < 2
        or name[0] != "/"
        or "/" in name[1:]
        or "\0" in name
        or name in ("/.", "/..")
    ):
        raise ValueError(
            f"a name is '/' and then one or more other characters, none of "
            f"them another '/': {name!r}"
        )
    return name.encode("utf-8", "surrogateescape")


def _check_object(result: int, what: Optional[str]) -> None:
    """Raise OSError for RESULT of a function for the object WHAT."""
    if result < 0:
        raise OSError(
            -result, os.strerror(-result), what or "object without a name"
        )


class _Opened:
    """An object of the library's, for a short time."""

    def __enter__(self) -> Any:
        self._object = _Object(fd=-1)
        self.handle = byref(self._object)
        return self

    def __exit__(self, *_: Any) -> None:
        _gshm.object_close(self.handle)

    def map(self, name: Optional[str], is_writable: bool) -> Object:
        access = mmap.ACCESS_WRITE if is_writable else mmap.ACCESS_READ
        try:
            mapping = mmap.mmap(
                self._object.fd, self._object.size, access=access
            )
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from None
        return Object(mapping, name)


def create(
    name: Optional[str],
    size: int,
    mode: int = 0o600,
    initialize: Optional[Callable[[Object], Any]] = None,
    reserve: bool = False,
) -> Object:
    """Create an object of SIZE bytes, all zero, and return it.

    Other processes see it only after `initialize`, called with it, has
    returned.  If that raises an exception, there is no object.  With
    None as its name it is anonymous, for the children of os.fork.  With
    RESERVE, all of its memory is allocated at once.

    Raises FileExistsError if the name is taken, and OSError with ENOSPC if
    there is too little memory to reserve.
    """
    encoded = None if name is None else _encoded(name)
    size = _count(size, "size", 1)
    mode = _count(mode, "mode")
    if mode > 0o777:
        raise ValueError(f"mode is larger than 0o777: {mode:#o}")
    with _Opened() as opened:
        _check_object(
            _gshm.object_create(opened.handle, encoded, size, mode), name
        )
        if reserve:
            _check_object(_gshm.object_reserve(opened.handle), name)
        result = opened.map(name, True)
        if initialize is not None:
            initialize(result)
        if name is not None:
            _check_object(_gshm.object_publish(opened.handle), name)
        return result


def attach(
    name: str, writable: bool = False, timeout: Optional[float] = 0
) -> Object:
    """Return the object NAME, mapped for reading only unless WRITABLE.

    Waits up to TIMEOUT seconds until it exists.  Raises FileNotFoundError if it
    does not exist by then, TimeoutError if it has no size yet, PermissionError
    if this user may not open it with that access, and OSError as the system
    does.
    """
    encoded = _encoded(name)
    writable = bool(writable)
    with _Opened() as opened:
        absent = -errno.ENOENT

        def call(left: int) -> int:
            nonlocal absent
            result = _gshm.object_attach(opened.handle, encoded, writable, left)
            if result not in (-errno.ENOENT, _TIMED_OUT):
                return result
            absent = result
            return _TIMED_OUT

        result = _wait([], timeout, call)
        if result == _TIMED_OUT and absent == _TIMED_OUT:
            raise TimeoutError(errno.ETIMEDOUT, "It has no size yet", name)
        _check_object(absent if result == _TIMED_OUT else result, name)
        return opened.map(name, writable)


def map_descriptor(fd: int, writable: bool = False) -> Object:
    """Return the object behind the descriptor FD, which stays the caller's."""
    fd = _count(fd, "descriptor")
    with _Opened() as opened:
        writable = bool(writable)
        _check_object(
            _gshm.object_map(opened.handle, min(fd, 0x7FFFFFFF), writable),
            f"descriptor {fd}",
        )
        return opened.map(None, writable)


def unlink(name: str) -> None:
    """Remove the name NAME; those that have mapped the object keep it.

    Raises FileNotFoundError if there is none.
    """
    _check_object(_gshm.object_unlink(_encoded(name)), name)


# Locks.


class _Structure(_Handle):
    """What is at an offset of an object."""

    _what = ""
    _size = 0
    _is_written = True

    def __init__(
        self, memory: Any, offset: int, length: Optional[int] = None
    ) -> None:
        offset = _count(offset, "offset")
        self._memory = memory
        self._offset = offset
        if isinstance(memory, Object):
            if memory._mapping is None:
                raise ValueError(f"{memory!r} is closed")
            if self._is_written and memory.memory.readonly:
                raise ValueError(
                    f"a {self._what} needs an object that is attached with "
                    f"writable=True: {memory!r}"
                )
            memory = memory._mapping
        pin = _Pin(memory, self._is_written)
        if length is None:
            length = max(0, pin.length - offset)
        length = _count(length, "length")
        if offset + length > pin.length:
            raise ValueError(
                f"{length} bytes do not fit into the {pin.length} bytes: "
                f"{self._name}"
            )
        if (pin.address + offset) % 8 != 0:
            raise ValueError(
                f"the address of a {self._what} is not a multiple of 8: offset "
                f"{offset}"
            )
        self._pin = pin
        self._address = pin.address + offset
        self._length = length
        pin.name = self._name

    @property
    def _name(self) -> str:
        place = (
            repr(self._memory)
            if isinstance(self._memory, Object)
            else f"a {type(self._memory).__name__}"
        )
        return f"{self._what} at offset {self._offset} of {place}"

    def __repr__(self) -> str:
        return f"<gshm {self._name}>"

    def _check(self, result: int) -> None:
        if result < 0:
            _fail(result, self._name)


# The end of a `with` block.  A method in Python would begin with an instant at
# which the handler of a signal may raise an exception, and the lock would stay
# locked.  So __exit__ is the library's function: it ignores the arguments after
# the first.


def _check_exit(result: int, _: Any, arguments: Any) -> None:
    pin, error = arguments[1], arguments[3]
    # A wait that failed may have left the lock unlocked.
    if result < 0 and error is None:
        _fail(result, pin.name)


def _exit_function(name: str) -> Any:
    kind = ctypes.CFUNCTYPE(c_int, c_void_p, *(4 * [ctypes.py_object]))
    function = kind((f"gshm_{name}", _library))
    function.errcheck = _check_exit
    return function


class _Context:
    """What a `with` block takes, by _call, and gives back, by _exit."""

    _call: Any = None

    def __enter__(self) -> Any:
        results: _Results = []
        try:
            self._attempt(results, None, self._call)
            return self
        except BaseException:
            self._undo(results)
            raise

    __exit__ = property(operator.attrgetter("_exit"))


def _exit_of(function: Any, lock: "_Structure") -> Any:
    # The pin keeps the memory in its place until then.
    return functools.partial(function, lock._address, lock._pin)


class _Lock(_Structure):
    """What is initialized once, and then used by many."""

    def __init__(self, memory: Any, offset: int = 0) -> None:
        super().__init__(memory, offset, self._size)

    def _attempt(
        self, results: _Results, timeout: Optional[float], call: Any
    ) -> bool:
        """Return whether CALL succeeds before TIMEOUT."""
        if _wait(results, timeout, call, self._address) == _TIMED_OUT:
            return False
        self._check(results[0])
        return True

    def _undo(self, results: _Results) -> None:
        """Give back what RESULTS of an attempt tell."""

    def _take(self, timeout: Optional[float], call: Any) -> bool:
        results: _Results = []
        try:
            return self._attempt(results, timeout, call)
        except BaseException:
            self._undo(results)
            raise


class _Owned(_Lock):
    """A lock with an owner, which may die."""

    _unlock: Any = None
    _abandon: Any = None

    def __init__(
        self,
        memory: Any,
        offset: int = 0,
        repair: Optional[Callable[[], Any]] = None,
    ) -> None:
        super().__init__(memory, offset)
        self._repair = repair

    def _attempt(
        self, results: _Results, timeout: Optional[float], call: Any
    ) -> bool:
        result = _wait(results, timeout, call, self._address)
        if result == -errno.EOWNERDEAD and self._repair is not None:
            self._repair()
            results[:] = [0]
        elif result == _TIMED_OUT:
            return False
        else:
            self._check(result)
        return True

    def _undo(self, results: _Results) -> None:
        if results == [0]:
            self._unlock(self._address)
        elif results == [-errno.EOWNERDEAD]:
            self._abandon(self._address)

    def release(self) -> None:
        """Unlock it; the data are consistent.

        Raises RuntimeError if this thread has not locked it.
        """
        self._check(self._unlock(self._address))


_mutex_exit = _exit_function("mutex_unlock")
_semaphore_exit = _exit_function("semaphore_post")
_rwlock_exit = _exit_function("rwlock_unlock")


class _Locked(_Context):
    """A context in which a read-write lock is locked."""

    def __init__(self, lock: "RWLock", call: Any) -> None:
        self._attempt = lock._attempt
        self._undo = lock._undo
        self._call = call
        self._exit = _exit_of(_rwlock_exit, lock)


class Mutex(_Owned, _Context):
    """A mutex that is robust: if its owner dies, the next one is told.

        mutex = gshm.Mutex(gshm.attach("/counts", writable=True), 64)
        with mutex:
            ...

    If the last owner died, REPAIR, a procedure without arguments, is called
    with the mutex locked, to make the data consistent.  Without one, OwnerDied
    is raised.  If REPAIR raises an exception, or if there is none, the mutex is
    unlocked, and the next thread that locks it calls its own.

    A `with` block that an exception ends unlocks the mutex as any other: the
    data count as consistent.
    """

    _what = "mutex"
    _size = 24
    _call = staticmethod(_gshm.mutex_lock)
    _unlock = staticmethod(_gshm.mutex_unlock)
    _abandon = staticmethod(_gshm.mutex_abandon)

    def __init__(
        self,
        memory: Any,
        offset: int = 0,
        repair: Optional[Callable[[], Any]] = None,
    ) -> None:
        super().__init__(memory, offset, repair)
        self._exit = _exit_of(_mutex_exit, self)

    @classmethod
    def init(cls, memory: Any, offset: int = 0, **options: Any) -> "Mutex":
        """Initialize a mutex, once, before others use it, and return it."""
        mutex = cls(memory, offset, **options)
        mutex._check(_gshm.mutex_init(mutex._address))
        return mutex

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Lock it.  Return False if the timeout expires.

        Raises OwnerDied; OSError with EDEADLK if this thread owns it.
        """
        return self._take(timeout, _gshm.mutex_lock)


class Condition(_Lock):
    """A condition variable at OFFSET of MEMORY, an object or a buffer."""

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

        Return False if the timeout expires.  It also returns True without a
        signal, after a tenth of a second.  So check your condition again, or
        use `wait_for`, which does.

        Raises RuntimeError if this thread does not own MUTEX, and OwnerDied as
        that does.  After OwnerDied and FormatError MUTEX is not locked; after
        another exception, as that of Ctrl-C, it is.
        """
        if not isinstance(mutex, Mutex):
            raise TypeError(f"not a gshm.Mutex: {mutex!r}")
        timeout = _seconds(timeout)
        is_whole = timeout is not None and timeout <= _PIECE
        results: _Results = []
        try:
            # Not a second piece: a signal may have come between the two.
            results[:] = map(
                _gshm.condition_variable_wait,
                [self._address],
                [mutex._address],
                [_nanoseconds(timeout)],
            )
            result = results[0]
            if result == -errno.EOWNERDEAD and mutex._repair is not None:
                mutex._repair()
                results[:] = []
            elif result == -errno.EPERM or result == -errno.EOWNERDEAD:
                _fail(result, mutex._name)
            elif result < 0 and result != _TIMED_OUT:
                _fail(result, f"{self._name}, or no valid {mutex._name}")
        except BaseException:
            if results == [0]:
                _gshm.condition_variable_signal(self._address)
            elif results == [-errno.EOWNERDEAD]:
                _gshm.mutex_abandon(mutex._address)
            raise
        return result != _TIMED_OUT or not is_whole

    def wait_for(
        self,
        predicate: Callable[[], Any],
        mutex: Mutex,
        timeout: Optional[float] = None,
    ) -> Any:
        """Wait until PREDICATE, called with MUTEX locked, returns a true value.

        Return that, or, if the timeout expires, the last one.
        """
        timeout = _seconds(timeout)
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


class Semaphore(_Lock, _Context):
    """A semaphore at OFFSET of MEMORY, an object or a buffer."""

    _what = "semaphore"
    _size = 16
    _call = staticmethod(_gshm.semaphore_wait)

    def __init__(self, memory: Any, offset: int = 0) -> None:
        super().__init__(memory, offset)
        self._exit = _exit_of(_semaphore_exit, self)

    @classmethod
    def init(cls, memory: Any, offset: int = 0, value: int = 1) -> "Semaphore":
        """Initialize a semaphore with VALUE, once, and return it."""
        value = _count(value, "value")
        if value > 0x7FFFFFFF:
            raise ValueError(f"value is larger than 2147483647: {value}")
        semaphore = cls(memory, offset)
        semaphore._check(_gshm.semaphore_init(semaphore._address, value))
        return semaphore

    def acquire(self, timeout: Optional[float] = None) -> bool:
        """Wait until the value is not 0, and subtract 1.

        Return False if the timeout expires.
        """
        return self._take(timeout, _gshm.semaphore_wait)

    def _undo(self, results: _Results) -> None:
        if results == [0]:
            _gshm.semaphore_post(self._address)

    def release(self) -> None:
        """Add 1 to the value.

        Raises OSError with EOVERFLOW if it is 2147483647.
        """
        self._check(_gshm.semaphore_post(self._address))

    @property
    def value(self) -> int:
        """The value now."""
        value = c_uint32()
        self._check(_gshm.semaphore_value(self._address, byref(value)))
        return value.value


class Barrier(_Lock):
    """A barrier at OFFSET of MEMORY, an object or a buffer."""

    _what = "barrier"
    _size = 32 + 8 * 256

    @classmethod
    def init(cls, memory: Any, offset: int = 0, parties: int = 2) -> "Barrier":
        """Initialize a barrier for PARTIES threads, 1 to 256, and return it."""
        parties = _count(parties, "parties", 1)
        if parties > 256:
            raise ValueError(f"parties is larger than 256: {parties}")
        barrier = cls(memory, offset)
        barrier._check(_gshm.barrier_init(barrier._address, parties))
        return barrier

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Wait until all parties wait.

        A thread that dies while it waits no longer counts.

        Return False if the timeout expires.
        """
        return self._take(timeout, _gshm.barrier_wait)


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
    _unlock = staticmethod(_gshm.rwlock_unlock)
    _abandon = staticmethod(_gshm.rwlock_abandon)

    @classmethod
    def init(cls, memory: Any, offset: int = 0, **options: Any) -> "RWLock":
        """Initialize a read-write lock, once, and return it."""
        lock = cls(memory, offset, **options)
        lock._check(_gshm.rwlock_init(lock._address))
        return lock

    def acquire_read(self, timeout: Optional[float] = None) -> bool:
        """Lock it as a reader.  Return False if the timeout expires.

        After a dead writer, this thread is the writer, until `release`.  Raises
        what the `acquire` of a mutex does.
        """
        return self._take(timeout, _gshm.rwlock_read_lock)

    def acquire_write(self, timeout: Optional[float] = None) -> bool:
        """Lock it as the writer.  Return False if the timeout expires."""
        return self._take(timeout, _gshm.rwlock_write_lock)

    def reading(self) -> _Locked:
        """Return a context in which it is locked as a reader."""
        return _Locked(self, _gshm.rwlock_read_lock)

    def writing(self) -> _Locked:
        """Return a context in which it is locked as the writer."""
        return _Locked(self, _gshm.rwlock_write_lock)


# Channels.

_Bytes = Any  # bytes, or another object with the buffer protocol


def _encode(data: Any) -> bytes:
    return _cbor().dumps(data)


def _decode(message: bytes) -> Any:
    cbor = _cbor()
    stream = io.BytesIO(message)
    try:
        data = cbor.load(stream)
    except (cbor.CBORDecodeError, EOFError) as error:
        raise FormatError(f"the message is not CBOR: {error}") from None
    if stream.read():
        raise FormatError("the message is not CBOR: there are more bytes")
    return data


def _cbor() -> Any:
    try:
        import cbor2
    except ImportError:
        raise ImportError(
            "data need the module cbor2, of the Debian package python3-cbor2"
        ) from None
    return cbor2


_M = TypeVar("_M", bound="_Messages")


class _Messages(_Structure):
    """What has a handle of the library's."""

    _open: Any = None

    def __init__(
        self, memory: Any, offset: int = 0, length: Optional[int] = None
    ) -> None:
        super().__init__(memory, offset, length)
        self._handle = _Memory()
        self._check(
            self._open(byref(self._handle), self._address, self._length)
        )

    def __enter__(self: _M) -> _M:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def _send(self, call: Any, message: Any, timeout: Optional[float]) -> None:
        handle = byref(self._handle)
        if type(message) is bytes:
            result = _wait([], timeout, call, handle, message, len(message))
        else:
            pin = _Pin(message, False)
            result = _wait([], timeout, call, handle, pin.address, pin.length)
        self._check(result)


def _bytes_at(address: int, length: int) -> bytes:
    return (c_char * length).from_address(address).raw if length else b""


class _SlotContext:
    """A context with a slot, whose value is a memoryview."""

    def __init__(
        self, channel: "Channel", length: Optional[int], timeout: Any
    ) -> None:
        _seconds(timeout)
        self._channel = channel
        self._length = length
        self._timeout = timeout
        self._slot = _Slot()

    def __enter__(self) -> memoryview:
        try:
            self._channel._fill(self._slot, self._length, self._timeout)
            array = (c_char * self._slot.length).from_address(self._slot.bytes)
            array._pin = self._channel._pin
            view = memoryview(array).cast("B")
            self._view = view if self._length is not None else view.toreadonly()
            return self._view
        except BaseException:
            _gshm.channel_cancel(byref(self._slot))
            raise

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        slot = byref(self._slot)
        try:
            if kind is None:
                self._channel._check(
                    _gshm.channel_release(slot)
                    if self._length is None
                    else _gshm.channel_commit(slot, self._length)
                )
        finally:
            # If that was done, there is no slot.
            _gshm.channel_cancel(slot)
            try:
                self._view.release()
            except BufferError:
                pass  # an array on it shows the memory until it is gone


class Channel(_Messages):
    """A channel: a queue of messages, for any senders and receivers.

    Iterating over one receives its messages, until it is closed.

    The end of a `with` block closes the channel, for all processes.  To stop
    using one, drop the reference.
    """

    _what = "channel"
    _open = staticmethod(_gshm.channel_open)

    @classmethod
    def create(
        cls, name: Optional[str], capacity: int, mode: int = 0o600
    ) -> "Channel":
        """Create an object with a channel of CAPACITY bytes, and return that.

        A message takes 8 bytes more than its length, rounded up to a multiple
        of 8.  The object stays until its name is removed.
        """
        size = _CHANNEL_HEADER_SIZE + _count(capacity, "capacity", 8)

        def initialize(object: Object) -> None:
            pin = _Pin(object._mapping, True)
            _check(_gshm.channel_init(pin.address, size), cls._what)

        return cls(create(name, size, mode, initialize))

    @classmethod
    def attach(cls, name: str, timeout: Optional[float] = 0) -> "Channel":
        """Return the channel in the object NAME; wait until that exists."""
        return cls(attach(name, True, timeout))

    @classmethod
    def init(
        cls, memory: Any, offset: int = 0, length: Optional[int] = None
    ) -> "Channel":
        """Make LENGTH bytes at OFFSET a channel, once, and return it."""
        place = _Structure.__new__(cls)
        _Structure.__init__(place, memory, offset, length)
        if place._length < _CHANNEL_HEADER_SIZE + 8:
            raise ValueError(
                f"a channel needs {_CHANNEL_HEADER_SIZE + 8} bytes or more: "
                f"{place._length} at offset {offset}"
            )
        place._check(_gshm.channel_init(place._address, place._length))
        return cls(memory, offset, length)

    def send(self, message: _Bytes, timeout: Optional[float] = None) -> None:
        """Send MESSAGE, bytes or another buffer; wait until there is space.

        Raises TimeoutError; Closed; OSError with EMSGSIZE if the message is
        larger than the channel, or with EDEADLK within a context of `slot`.
        """
        self._send(_gshm.channel_send, message, timeout)

    def receive(self, timeout: Optional[float] = None) -> bytes:
        """Wait for a message and return it.

        Raises TimeoutError; Closed if the channel is closed and empty; OSError
        with EDEADLK within a context of `message`.
        """
        slot = _Slot()
        results: _Results = []
        try:
            self._fill(slot, None, timeout)
            message = _bytes_at(slot.bytes, slot.length)
            results[:] = map(_gshm.channel_release, [byref(slot)])
        except BaseException:
            _gshm.channel_cancel(byref(slot))
            raise
        if results[0] < 0:
            _fail(results[0], self._name)
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

    def _fill(
        self, slot: _Slot, length: Optional[int], timeout: Optional[float]
    ) -> None:
        """Set SLOT to space for LENGTH bytes, or to the next message."""
        handle = byref(self._handle)
        if length is None:
            call, arguments = _gshm.channel_peek, (handle, byref(slot))
        else:
            call = _gshm.channel_reserve
            arguments = (handle, byref(slot), length)
        self._check(_wait([], timeout, call, *arguments))

    def slot(
        self, length: int, timeout: Optional[float] = None
    ) -> _SlotContext:
        """Return a context for writing a message of LENGTH bytes in place.

        Its value is a memoryview.  Do not use it after the block, nor a slice
        of it or an array on it.  The message is sent at the end, or not
        if there is an exception.  Raises what `send` does.
        """
        return _SlotContext(self, _count(length, "length"), timeout)

    def message(self, timeout: Optional[float] = None) -> _SlotContext:
        """Return a context for reading the next message in place.

        Its value is a memoryview.  Do not use it after the block.  The
        message is received at the end; if there is an exception, it stays.
        Raises what `receive` does.
        """
        return _SlotContext(self, None, timeout)

    def close(self) -> None:
        """Close it, for all.  What was sent can still be received."""
        self._check(_gshm.channel_close(byref(self._handle)))

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        result = _gshm.channel_is_closed(byref(self._handle))
        self._check(result)
        return result == 1


# Broadcasts.


class Broadcast(_Messages):
    """A broadcast, for senders: every subscriber sees every message.

    The end of a `with` block closes the broadcast, for all processes.
    """

    _what = "broadcast"
    _open = staticmethod(_gshm.broadcast_open)

    @classmethod
    def create(
        cls, name: Optional[str], capacity: int, mode: int = 0o600
    ) -> "Broadcast":
        """Create an object with a broadcast, and return that.

        The largest message has half of CAPACITY, in bytes.
        """
        capacity = _count(capacity, "capacity", 2)
        size = _gshm.broadcast_size(capacity)
        if size == 0:
            raise ValueError(f"capacity is too large: {capacity}")

        def initialize(object: Object) -> None:
            pin = _Pin(object._mapping, True)
            _check(
                _gshm.broadcast_init(pin.address, size, capacity), cls._what
            )

        return cls(create(name, size, mode, initialize))

    @classmethod
    def attach(cls, name: str, timeout: Optional[float] = 0) -> "Broadcast":
        """Return the broadcast in the object NAME; wait until that exists."""
        return cls(attach(name, True, timeout))

    def send(self, message: _Bytes, timeout: Optional[float] = None) -> None:
        """Send MESSAGE, bytes or another buffer, to all subscribers.

        It may wait for other senders, but not for subscribers.  Raises
        TimeoutError; Closed; and OSError with EMSGSIZE if the message has more
        than half the capacity.
        """
        self._send(_gshm.broadcast_send, message, timeout)

    def send_data(self, data: Any, timeout: Optional[float] = None) -> None:
        """Send DATA as CBOR.  This needs the module cbor2."""
        self.send(_encode(data), timeout)

    def close(self) -> None:
        """Close it, for all.  What was sent can still be received."""
        self._check(_gshm.broadcast_close(byref(self._handle)))


class Subscriber(_Structure):
    """A subscriber of the broadcast in SOURCE, an Object or the name of one.

    It needs only permission to read the object.  FROM_ is "now", for the
    messages that are sent from now on, "latest", for the newest one first, or
    "oldest", for all that are still there.  It waits up to TIMEOUT until the
    object exists.  It belongs to one thread at a time.

    Iterating over one receives messages until the broadcast is closed.
    """

    _what = "broadcast"
    _is_written = False
    _SMALL = 1 << 16

    def __init__(
        self,
        source: Union[str, Object],
        from_: str = "now",
        timeout: Optional[float] = 0,
    ) -> None:
        if from_ not in ("now", "latest", "oldest"):
            raise ValueError(f"from_ is not now, latest or oldest: {from_!r}")
        if not isinstance(source, Object):
            try:
                source = attach(source, True, timeout)
            except PermissionError:
                source = attach(source, False, timeout)
        super().__init__(source, 0)
        self._handle = _Subscriber()
        self._check(
            _gshm.subscriber_open(
                byref(self._handle),
                self._address,
                self._length,
                not source.memory.readonly,
                ("now", "latest", "oldest").index(from_),
            )
        )
        self._buffer = ctypes.create_string_buffer(self._SMALL)

    def _receive(self, call: Callable[..., int]) -> bytes:
        """Return the message that CALL reads into a buffer."""
        length = c_size_t()
        buffer = self._buffer
        before = _Subscriber.from_buffer_copy(self._handle)
        try:
            while True:
                result = call(buffer, len(buffer), byref(length))
                if result != -errno.EMSGSIZE:
                    self._check(result)
                    return memoryview(buffer)[: length.value].tobytes()
                buffer = ctypes.create_string_buffer(length.value)
        except BaseException:
            # It is received again.
            ctypes.memmove(
                byref(self._handle), byref(before), ctypes.sizeof(before)
            )
            raise

    def receive(self, timeout: Optional[float] = None) -> bytes:
        """Wait for the next message and return it.

        Raises TimeoutError, and Closed if the broadcast is closed and there are
        no more messages.
        """

        def call(*arguments: Any) -> int:
            return _wait(
                [],
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
        none = False

        def call(*arguments: Any) -> int:
            nonlocal none
            result = _gshm.subscriber_latest(byref(self._handle), *arguments)
            none = result == -errno.ENOMSG
            return 0 if none else result

        message = self._receive(call)
        return None if none else message

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

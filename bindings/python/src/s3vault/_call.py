"""One call into the library: its events, its error, and the memory that it borrows.

Why the callback is a generator: the library calls back at least every 200 ms, and that is when Python runs signal
handlers, on the first instruction of the callback, *before* a `try` in it could catch anything. ctypes discards what
a callback raises and returns 0, "continue". A generator that waits at a `yield` inside a `try` is resumed inside that
`try`. So the callback is `generator.send` itself, with the generator as its context.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_ssize_t,
    c_void_p,
    py_object,
    pythonapi,
    sizeof,
    string_at,
)
from dataclasses import dataclass
from types import GeneratorType, TracebackType
from typing import Any, Callable, Protocol, Union

from . import _abi
from ._abi import EventKind
from ._errors import S3VaultError
from ._ffi import lib
from ._tables import ErrorCode

_log = logging.getLogger("s3vault")

# The total of an event (UINT64_MAX) while it is unknown.
_UNKNOWN = 2**64 - 1


class Handle:
    """Owns a pointer from the library; the last reference frees it.

    It is created before the call that fills it, so that nothing can be raised between the two. A call in progress
    holds a reference, so an object that another thread closes is freed after the call.
    """

    __slots__ = ("_as_parameter_", "_free")

    def __init__(self, pointer_type: Any, free: Any) -> None:
        self._as_parameter_ = pointer_type()
        self._free = free

    @property
    def out(self) -> Any:
        """The place where a call writes the pointer."""
        return byref(self._as_parameter_)

    def __del__(self) -> None:
        self._free(self._as_parameter_)


@dataclass(frozen=True)
class Progress:
    """How far a call has come."""

    done: int
    """Bytes of the backup transferred; of a job, items so far."""
    total: int | None
    """Size of the backup in bytes, or None if it is not known yet."""
    parts: int
    """Parts transferred."""
    retries: int
    """Requests that were repeated."""


ProgressFunction = Callable[[Progress], object]

# Gives the vault new keys, or does nothing if there are none.
RenewFunction = Callable[[], None]

# Receives an item of a job, as JSON.
TextFunction = Callable[[str], object]


class Cancel:
    """Stops calls from another thread; they raise ``ErrorCode.CANCELLED``. Once triggered, it stays triggered."""

    def __init__(self) -> None:
        self._handle = Handle(_abi.Cancel, lib.s3v_cancel_free)
        self._handle._as_parameter_ = lib.s3v_cancel_new()

    def trigger(self) -> None:
        """Stops every call that was given this object, now and later."""
        lib.s3v_cancel_trigger(self._handle)


class _State:
    """What the callback shares with its call."""

    __slots__ = ("on_item", "progress", "raised", "renew")

    def __init__(
        self, progress: ProgressFunction | None, renew: RenewFunction | None, on_item: TextFunction | None
    ) -> None:
        self.progress, self.renew, self.on_item = progress, renew, on_item
        self.raised: BaseException | None = None


def _handle_event(state: _State, event: Any) -> None:
    if event.kind == EventKind.PROGRESS:
        if state.progress is not None:
            total = None if event.total == _UNKNOWN else event.total
            state.progress(Progress(event.done, total, event.parts, event.retries))
    elif event.kind == EventKind.ITEM:
        if state.on_item is not None:
            state.on_item(event.text.decode())
    elif event.kind == EventKind.CREDENTIALS:
        if state.renew is not None:
            state.renew()
    elif event.kind in (EventKind.LOG, EventKind.ORPHAN):
        _log.warning("%s", (event.text or b"").decode(errors="replace"))


def _answers(state: _State) -> Generator[int, Any, None]:
    """Receives events, and yields the callback's result: 0 to continue, 1 to stop."""
    try:
        while True:
            _handle_event(state, (yield 0).contents)
    except GeneratorExit:
        raise
    except BaseException as exception:
        state.raised = exception
    while True:
        yield 1


_ON_EVENT = _abi.EventFn(GeneratorType.send)


class Call:
    """The arguments and the result of one call: pass ``ctl`` and ``err``, then pass the result to :meth:`check`."""

    __slots__ = ("_cancel", "_error", "_state", "_structure", "ctl", "err")

    def __init__(
        self,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        renew: RenewFunction | None = None,
        on_item: TextFunction | None = None,
    ) -> None:
        self._state = _State(progress, renew, on_item)
        answers = _answers(self._state)
        next(answers)
        self._structure = _abi.Ctl(size=sizeof(_abi.Ctl), ctx=answers, on_event=_ON_EVENT)
        self._cancel = cancel
        if cancel is not None:
            self._structure.cancel = cancel._handle._as_parameter_
        self._error = Handle(_abi.Error, lib.s3v_error_free)
        self.ctl = byref(self._structure)
        self.err = self._error.out

    def check(self, result: int) -> int:
        """Returns the result, or raises what the callback raised, or the library's error."""
        raised, self._state.raised = self._state.raised, None
        if raised is not None:
            try:
                raise raised
            finally:
                # Its traceback has this variable: such a circle would keep all objects in it alive.
                del raised
        if result < 0:
            raise S3VaultError.from_library(result, self._error)
        return result


def take_bytes(handle: Handle) -> bytes:
    """Copies bytes of the library."""
    length = c_size_t()
    address = lib.s3v_bytes_data(handle, byref(length))
    return string_at(address, length.value) if length.value else b""


def new_bytes() -> Handle:
    """A handle for bytes of the library, still empty."""
    return Handle(_abi.Bytes, lib.s3v_bytes_free)


def to_text(value: bytes | None) -> str | None:
    """Decodes a text of the library."""
    return None if value is None else value.decode()


def from_text(value: str, what: str, code: ErrorCode = ErrorCode.INVALID_ARGUMENT) -> bytes:
    """Encodes a text for the library: UTF-8 without NUL, which would end it in C."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise S3VaultError(code, f"{what} {value!r} is not UTF-8: {error.reason}") from None
    if b"\0" in encoded:
        raise S3VaultError(code, f"{what} {value!r} contains a NUL character")
    return encoded


def from_name(value: str, what: str) -> bytes:
    """Encodes a container, a path, or a prefix."""
    return from_text(value, what, ErrorCode.INVALID_NAME)


FilePath = Union[str, "os.PathLike[str]"]


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


# An open file: its descriptor, or an object with a `fileno()`.
FileDescriptor = Union[int, _HasDescriptor]


def to_descriptor(file: FileDescriptor) -> int:
    """The descriptor of an open file."""
    return file if isinstance(file, int) else file.fileno()


def from_file(file: FilePath) -> bytes:
    """Encodes a file name in the bytes that the operating system uses."""
    encoded = os.fsencode(file)
    if b"\0" in encoded:
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"the file name {file!r} contains a NUL character")
    return encoded


class _PyBuffer(Structure):
    """`Py_buffer` (https://docs.python.org/3/c-api/buffer.html), the same since Python 3.3."""

    _fields_ = [
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_SIMPLE, _WRITABLE = 0, 1
_get_buffer = pythonapi.PyObject_GetBuffer
_get_buffer.argtypes, _get_buffer.restype = [py_object, POINTER(_PyBuffer), c_int], c_int
_release_buffer = pythonapi.PyBuffer_Release
_release_buffer.argtypes, _release_buffer.restype = [POINTER(_PyBuffer)], None


class Buffer:
    """The address and size of any bytes-like object, read-only or not, without a copy."""

    __slots__ = ("_view", "address", "size")

    def __init__(self, source: Any, *, writable: bool = False) -> None:
        self._view = _PyBuffer()
        _get_buffer(source, byref(self._view), _WRITABLE if writable else _SIMPLE)
        self.address: int | None = self._view.buf
        self.size: int = self._view.len

    def __enter__(self) -> Buffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _release_buffer(byref(self._view))

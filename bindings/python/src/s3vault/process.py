"""Limits that all transfers of this process share: memory, connections, bandwidth.

s3vault.process.set(memory=512 << 20, bandwidth_up=50_000_000)
print(s3vault.process.stats())
"""

from __future__ import annotations

from ctypes import byref, sizeof
from dataclasses import dataclass

from . import _abi
from ._call import Call, from_text
from ._config import OptionValue, option_text
from ._ffi import lib

__all__ = ["Stats", "set", "stats"]


@dataclass(frozen=True)
class Stats:
    """What the transfers of this process use."""

    transfers: int
    """Transfers in progress."""
    memory: int
    """Bytes of payload in memory."""
    memory_peak: int
    """The most that ``memory`` has been."""
    memory_limit: int
    """The setting ``memory``."""
    connections: int
    """Requests in progress."""
    connections_peak: int
    """The most that ``connections`` has been."""
    connections_limit: int
    """The setting ``connections``."""
    bytes_up: int
    """Bytes of payload sent, including repeated ones."""
    bytes_down: int
    """Bytes of payload received, including repeated ones."""


def set(**values: OptionValue) -> None:
    """Sets options of scope *process*: ``memory``, ``connections``, ``bandwidth_up``, ``bandwidth_down``. They take
    effect at once, also on transfers in progress."""
    for key, value in values.items():
        call = Call()
        call.check(lib.s3v_process_set(from_text(key, "a key"), option_text(key, value), call.err))


def stats() -> Stats:
    """Returns what the transfers of this process use."""
    call, found = Call(), _abi.Stats(size=sizeof(_abi.Stats))
    call.check(lib.s3v_process_stats(byref(found), call.err))
    names = [field[0] for field in _abi.Stats._fields_]
    return Stats(**{name: getattr(found, name) for name in names if name != "size"})

"""Files, pipes and standard streams, read and written without a buffer of Python's."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from .._errors import S3VaultError
from .._tables import ErrorCode

CHUNK = 1 << 20
# Names of standard output. What is written there belongs after what is there, and the report does not belong there.
_STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_SIGNALS_EVERY = 0.2


def check_input(file: str, of_folder: str = "Name a file.") -> None:
    """Refuses the name of a file that is not there, or of a folder, as misuse: the same command fails again.
    `of_folder` is the hint for a folder."""
    if file == "-":
        return
    try:
        mode = os.stat(file).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        refused = S3VaultError(ErrorCode.INVALID_ARGUMENT, f"cannot read {file}: {error.strerror}")
        refused.hint = "Check the name of the file; - is standard input."
        raise refused from None
    except OSError:
        # The one who opens it reports what is wrong with it.
        return
    if stat.S_ISDIR(mode):
        refused = S3VaultError(ErrorCode.INVALID_ARGUMENT, f"cannot read {file}: it is a folder")
        refused.hint = of_folder
        raise refused


def is_stream(file: str) -> bool:
    """Whether this is a pipe, a terminal or another device: read here, where Ctrl-C ends a wait for its writer. A file
    or a disk as standard input is not one, unless something of it was read already: the library reads those by
    position, and notices if a file changes meanwhile."""
    if file == "-":
        mode = os.fstat(0).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)) or os.lseek(0, 0, os.SEEK_CUR) != 0
    try:
        mode = os.stat(file).st_mode
    except OSError:
        # The library reports what is wrong with it.
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def is_standard_output(file: str) -> bool:
    """Whether this is standard output, by any of its names."""
    return file in _STANDARD_OUTPUT


def size_of(file: str) -> int:
    """Size of a file or a block device in bytes; ``-`` is standard input, whose position becomes 0."""
    with open(0 if file == "-" else file, "rb", buffering=0, closefd=file != "-") as source:
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        return size


# The standard streams that were closed when the command started.
_closed: set[int] = set()


def open_standard_streams() -> None:
    """Opens on /dev/null those of the standard streams that are closed, as cron and service managers may leave them.
    Otherwise a file of the library would get the number of one, and data and messages would go there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _standard(number: int, name: str) -> int:
    """A standard stream that data goes through."""
    if number in _closed:
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"standard {name} is closed: name a file, or open it")
    return number


@contextmanager
def reader(file: str) -> Iterator[IO[bytes]]:
    """Opens a file to read; ``-`` is standard input."""
    check_input(file)
    with open(_standard(0, "input") if file == "-" else file, "rb", buffering=0, closefd=file != "-") as source:
        yield source


@contextmanager
def writer(file: str) -> Iterator[IO[bytes]]:
    """Opens a file to write; ``-`` is standard output. Unbuffered, so that a failure at the end is raised here too."""
    with open(_standard(1, "output") if file == "-" else file, "wb", buffering=0, closefd=file != "-") as target:
        yield target


def read_text(file: str) -> str:
    """A whole file as text; bytes that are not UTF-8, and NUL, are replaced."""
    check_input(file)
    with open(_standard(0, "input") if file == "-" else file, "rb", closefd=file != "-") as source:
        return source.read().decode(errors="replace").replace("\0", "\ufffd")


def read_into(source: Any, buffer: memoryview) -> int:
    """Reads from a file or pipe; 0 at its end."""
    # A read that started just after a signal came would wait for the writer before the signal is handled.
    while not select.select([source], [], [], _SIGNALS_EVERY)[0]:
        pass
    return int(source.readinto(buffer))


def left_on_disk(target: IO[bytes]) -> int:
    """The number of bytes from the position to the end, if this is a block device; otherwise 0."""
    if not stat.S_ISBLK(os.fstat(target.fileno()).st_mode):
        return 0
    position = os.lseek(target.fileno(), 0, os.SEEK_CUR)
    end = os.lseek(target.fileno(), 0, os.SEEK_END)
    os.lseek(target.fileno(), position, os.SEEK_SET)
    return end - position


def write_all(target: Any, data: memoryview) -> None:
    """Writes all of the data."""
    while data:
        data = data[target.write(data) :]

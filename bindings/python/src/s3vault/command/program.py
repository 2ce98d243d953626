"""A program whose output is stored."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .._errors import S3VaultError
from .._tables import ErrorCode

# How long a program may take to end after it was told to, in seconds.
_GRACE = 10


@contextmanager
def output_of(program: list[str]) -> Iterator[IO[bytes]]:
    """Runs a program and hands over its standard output. If it fails, so does this: what it wrote is not a backup.

    If the caller fails, the program is told to end.
    """
    try:
        started = subprocess.Popen(program, stdout=subprocess.PIPE, bufsize=0)
    except OSError as error:
        refused = S3VaultError(ErrorCode.INVALID_ARGUMENT, f"cannot run {program[0]}: {error.strerror}")
        refused.hint = "Check the name of the program after --, and its permissions."
        raise refused from None
    with started as process:
        try:
            assert process.stdout is not None
            yield process.stdout
            process.stdout.close()
            code = process.wait()
        except BaseException:
            _end(process)
            raise
    if code != 0:
        how = f"was killed by {_signal(-code)}" if code < 0 else f"ended with exit code {code}"
        failed = S3VaultError(
            ErrorCode.SOURCE_CHANGED, f"{shlex.join(program)} {how}, so its output is not stored as a backup"
        )
        failed.hint = "Look at what the program printed, and run the same command again."
        raise failed


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program, whether or not it wants to."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()

"""The command `s3vault`: parses its arguments, runs one subcommand, and ends with an exit code.

Each subcommand is a module of `subcommands`: its arguments, what it does, and what it prints.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import Any, NoReturn

from .. import process
from .._errors import S3VaultError
from .._tables import ErrorCode
from .._vault import SHUTDOWN_MS, shutdown
from .files import open_standard_streams
from .output import BadVersions, KeyIsNeeded, KeyWaits, Output, Problems, Unreported
from .parser import parse

# Signals that end a call, so that an unfinished upload is suspended or aborted, and what is said then.
_ENDING = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal was closed",
    signal.SIGQUIT: "quit",
}
# How long the end of an upload may take before it is said what is waited for, in seconds.
_PATIENCE = 0.2


class Ended(KeyboardInterrupt):
    """One of these signals came."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = signal.Signals(number)


class _Warnings(logging.Handler):
    """Prints the warnings of the library."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.warning(record.getMessage())


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    open_standard_streams()
    args = parse(sys.argv[1:] if arguments is None else arguments)
    output = Output(json=args.json, verbose=args.verbose)
    logging.getLogger("s3vault").addHandler(_Warnings(output))
    try:
        for number in _ENDING:
            # nohup has SIGHUP ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end)
        code = _run(args, output)
        # Nothing is left to clean up, so a signal may end the process.
        for number in _ENDING:
            if signal.getsignal(number) is _end:
                signal.signal(number, signal.SIG_DFL)
        return code
    except Ended as ended:
        number = ended.number
    # Not while the exception is handled: its traceback keeps the objects alive that were in use.
    _finish(_ENDING[number], output)
    return 128 + number


def _run(args: Any, output: Output) -> int:
    """Runs the command, and says what failed. Returns its exit code."""
    try:
        args.run(args, output)
        sys.stdout.flush()
        return 0
    except S3VaultError as error:
        output.error(error)
        return error.exit_code
    except Unreported as unreported:
        _drop_stdout()
        output.error(unreported.error)
        return unreported.EXIT_CODE
    except (Problems, BadVersions, KeyWaits, KeyIsNeeded) as problems:
        output.problem(str(problems))
        return problems.EXIT_CODE
    except BrokenPipeError:
        # The reader of the pipe has ended (`| head`): end as a program that SIGPIPE killed.
        _drop_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _drop_stdout()
        failed = S3VaultError.from_os(error, str(error.filename or "standard input or output"))
        if failed.code == ErrorCode.DISK_FULL:
            failed.hint = (
                "Free some space where the output goes, or write it elsewhere, and run the same command again."
            )
        output.error(failed)
        return failed.exit_code


def _end(number: int, frame: Any) -> NoReturn:
    # From now on the command only cleans up: a second signal ends it at once, also in a call of the library.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is _end:
            signal.signal(ending, signal.SIG_DFL)
    raise Ended(number)


def _finish(what: str, output: Output) -> None:
    """Waits until the upload that was interrupted has ended in the background. What stays is a warning."""
    until = time.monotonic() + _PATIENCE
    while process.stats().transfers and time.monotonic() < until:
        time.sleep(0.01)
    if process.stats().transfers:
        what += (
            f"; waiting for the store to end the upload, at most {SHUTDOWN_MS // 1000} s. Ctrl-C ends this at once, "
        )
        what += "and then parts of it may stay in the store"
    output.notice(what)
    shutdown()


def _drop_stdout() -> None:
    """Discards what is still buffered and cannot be written; the interpreter would report it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

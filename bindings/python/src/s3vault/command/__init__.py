"""The command `s3vault`: parses its arguments, runs one subcommand, and ends with an exit code.

Each subcommand is a module of `subcommands`: its arguments, what it does, and what it prints.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any, NoReturn

from .._errors import S3VaultError
from .files import open_standard_streams
from .output import Output
from .parser import parse

# Signals that end a call as Ctrl-C does, so that an unfinished upload is suspended or aborted, and what is said then.
_ENDING = {signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal was closed", signal.SIGQUIT: "quit"}


class Terminated(KeyboardInterrupt):
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
                signal.signal(number, _terminate)
        args.run(args, output)
        sys.stdout.flush()
        return 0
    except S3VaultError as error:
        output.error(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader of the pipe has ended (`| head`): end as a program that SIGPIPE killed.
        _drop_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _drop_stdout()
        failed = S3VaultError.from_os(error, str(error.filename or "standard input or output"))
        output.error(failed)
        return failed.exit_code
    except Terminated as ended:
        output.notice(_ENDING[ended.number])
        return 128 + ended.number
    except KeyboardInterrupt:
        output.notice("interrupted")
        return 128 + signal.SIGINT


def _terminate(number: int, frame: Any) -> NoReturn:
    raise Terminated(number)


def _drop_stdout() -> None:
    """Discards what is still buffered and cannot be written; the interpreter would report it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""How the command prints: tables for people, or one JSON object per line for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Callable

from .._call import Progress, ProgressFunction
from .._errors import S3VaultError
from .._job import JobItem, JobReport
from .._tables import ErrorCode
from .._time import rfc3339
from .._version import VersionInfo

if TYPE_CHECKING:
    from .bar import Counter

_ERROR_FIELDS = (
    "name",
    "message",
    "hint",
    "http_status",
    "s3_code",
    "request_id",
    "operation",
    "bucket",
    "key",
)


def printable(text: str) -> str:
    """Text with its control characters escaped: names may contain any, and a terminal must not obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size_text(size: int) -> str:
    """A number of bytes for people: ``1.5 GiB``."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def version_fields(info: VersionInfo) -> dict[str, Any]:
    """A version as a JSON object."""
    fields: dict[str, Any] = {
        "vid": info.vid,
        "container": info.container,
        "path": info.path,
        "kind": info.kind,
        "parent": info.parent,
        "size": info.size,
        "initiated": rfc3339(info.initiated),
        "recorded": rfc3339(info.recorded),
    }
    if info.manifest_hash is not None:
        fields["manifest_hash"] = info.manifest_hash
        fields["signed_by"] = info.signed_by
        fields["labels"] = info.labels
    return fields


def version_text(info: VersionInfo) -> str:
    """A version in a sentence: ``web01/disk.img (full, 1.5 GiB)``."""
    return f"{printable(info.container)}/{printable(info.path)} ({info.kind}, {size_text(info.size)})"


def item_fields(item: JobItem) -> dict[str, Any]:
    """An item of a job as a JSON object."""
    return {**asdict(item), "recorded": None if item.recorded is None else rfc3339(item.recorded)}


def report_fields(report: JobReport) -> dict[str, Any]:
    """The report of a job as a JSON object: unlike the items before it, it has a field ``backups``."""
    return asdict(report)


class Problems(Exception):
    """A job met problems, which its report has printed."""

    EXIT_CODE = 4

    def __init__(self, report: JobReport) -> None:
        count = "1 problem" if report.problems == 1 else f"{report.problems} problems, the first of them"
        super().__init__(f"{count}: {report.problem_texts[0]}" if report.problem_texts else count)


class BadVersions(Exception):
    """A verification found versions that cannot be restored as they were stored, which its report has printed."""

    EXIT_CODE = 6


class KeyWaits(Exception):
    """A key is not retired yet: puts that are running may still need it."""

    EXIT_CODE = 9


class KeyIsNeeded(Exception):
    """A key is not retired: versions need it."""

    EXIT_CODE = 10


class Unreported(Exception):
    """The subcommand did its work, and could not print its report."""

    EXIT_CODE = 8

    def __init__(self, error: OSError, done: str, hint: str) -> None:
        super().__init__(done)
        reason = error.strerror or str(error)
        self.error = S3VaultError(
            ErrorCode.IO, f"{done}, but the report could not be written to standard output: {reason}"
        )
        self.error.hint = hint


class Output:
    """Prints results to standard output, and progress, notices and errors to standard error."""

    def __init__(self, *, json: bool, verbose: bool = False) -> None:
        self.json = json
        self._verbose = verbose
        self._counter: Counter | None = None
        self._warnings: set[str] = set()
        # Where a configuration file was looked for and not found.
        self.looked_for: tuple[str, ...] = ()
        # The configuration file that was read, so that errors can name it.
        self.configuration: str | None = None
        # Characters that the terminal's encoding lacks are escaped, not an error.
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def error(self, error: S3VaultError) -> None:
        """A failure: what happened, and what to do."""
        is_unset = error.code == ErrorCode.INVALID_OPTION and error.message.endswith("is not set")
        if self.looked_for and (is_unset or error.code == ErrorCode.CREDENTIALS):
            error.hint += f" No configuration file was found: looked for {' and '.join(self.looked_for)}."
        if self.json:
            fields = {name: getattr(error, name) for name in _ERROR_FIELDS}
            found = {name: value for name, value in {**fields, "config": self.configuration}.items() if value}
            print(json.dumps({"error": {"code": int(error.code), **found}}), file=sys.stderr)
        else:
            print(f"s3vault: {printable(error.message)}", file=sys.stderr)
            if error.hint:
                print(f"help: {printable(error.hint)}", file=sys.stderr)
            if self.configuration:
                print(f"config: {printable(self.configuration)}", file=sys.stderr)

    def warning(self, text: str) -> None:
        """Something that is probably a mistake, although the command continues. A repeated warning is printed once."""
        if text in self._warnings:
            return
        self._warnings.add(text)
        if self.json:
            print(json.dumps({"warning": text}), file=sys.stderr)
        else:
            print(f"s3vault: warning: {printable(text)}", file=sys.stderr)

    def problem(self, text: str) -> None:
        """Why the command ends with an exit code although it did its work."""
        if self.json:
            print(json.dumps({"problem": text}), file=sys.stderr)
        else:
            print(f"s3vault: {printable(text)}", file=sys.stderr)

    def notice(self, text: str) -> None:
        """Something that a person should know and a program does not need."""
        if not self.json:
            print(f"s3vault: {printable(text)}", file=sys.stderr)

    def verbose(self, text: str) -> None:
        """A notice that is printed with --verbose only."""
        if self._verbose:
            self.notice(text)

    @contextmanager
    def report(self, done: str, hint: str) -> Iterator[None]:
        """What is printed after the work is done: if that fails, the error says that it is `done`."""
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            raise Unreported(error, done, hint) from None

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[ProgressFunction | None]:
        """A progress bar, if standard error is a terminal. `total` is the size where the call does not know it."""
        if self.json or not sys.stderr.isatty():
            yield None
            return
        # Imported here, since most runs in a pipe never need it.
        from .bar import Bar

        with Bar(desc=title, total=total, leave=False, file=sys.stderr) as bar:

            def show(progress: Progress) -> None:
                bar.show(progress.done, progress.total if total is None else total)

            yield show

    @contextmanager
    def counting(self, title: str) -> Iterator[Callable[[], None]]:
        """Counts the items of a job in a line on standard error, if that is a terminal and nothing else is printed."""
        if self.json or not sys.stderr.isatty():
            yield lambda: None
            return
        from .bar import Counter

        with Counter(desc=title, leave=False, file=sys.stderr, unit=" versions") as counter:
            self._counter = counter

            def count() -> None:
                counter.update()

            try:
                yield count
            finally:
                self._counter = None

    def line(self, line: str) -> None:
        """A line of a job, past the counter."""
        if self._counter is not None:
            self._counter.clear()
        print(line, flush=True)

    def text(self, line: str) -> None:
        """A line, unchanged."""
        print(line, flush=True)

    def object(self, fields: dict[str, Any]) -> None:
        """A JSON object on a line of its own, at once: a program may read a long list as it comes."""
        print(json.dumps(fields), flush=True)

    def table(self, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        """Aligned columns under their heads."""
        table = [head, *rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(head))]
        for row in table:
            cells = (
                cell.rjust(width) if name == "SIZE" else cell.ljust(width)
                for name, cell, width in zip(head, row, widths)
            )
            print("  ".join(cells).rstrip())

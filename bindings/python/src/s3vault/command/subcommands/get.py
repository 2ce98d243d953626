"""`s3vault get`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..._errors import S3VaultError
from ..._tables import ErrorCode
from ..._time import rfc3339
from ..._version import Version, VersionInfo
from ..arguments import add_names, words
from ..configuration import load, open_with
from ..files import CHUNK, is_standard_output, left_on_disk, write_all, writer
from ..output import Output, printable, version_fields, version_text

SUMMARY = "restore a version into a file or to standard output"
EXAMPLES = """\
  s3vault get web01 disk.img restored.img
  s3vault get db01 shop.sql | psql shop
  s3vault get web01 disk.img restored.img --as-of 2026-11-24T13:30:00Z
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help="file to restore into, which appears when all of it is verified (default: -, standard output)",
    )
    parser.add_argument(
        "--verify",
        metavar=words("verify"),
        help="when bytes reach standard output. end (default): as they arrive, before the hash of their part is "
        "checked; only the last 64 KiB of each part wait for it. part: after the hash of their part is checked",
    )
    parser.add_argument("--holes", action="store_true", help="write a sparse file: leave holes where the data is zero")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--version",
        metavar="VID",
        help="restore the version with this id, or whose id starts like this (default: the newest)",
    )
    which.add_argument(
        "--as-of",
        metavar="TIME",
        help="restore the newest version recorded at or before TIME: RFC 3339 (2026-11-24T13:30:00Z), a date "
        "(2026-11-24: the end of that day in UTC), or Unix milliseconds",
    )
    which.add_argument(
        "--recorded",
        metavar="TIME",
        help="restore the version that was recorded at TIME, as a listing or another program noted it",
    )
    parser.add_argument(
        "--tolerance-ms",
        metavar="MS",
        help="how far the recorded time may be from TIME, if none is exactly that (default: 1000)",
    )
    parser.add_argument(
        "--pin",
        metavar="HASH",
        help="refuse any other manifest than the one with this hash, as put printed it",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Restores the version."""
    if is_standard_output(args.file):
        args.file = "-"
    if args.file == "-" and sys.stdout.isatty():
        raise S3VaultError(
            ErrorCode.INVALID_ARGUMENT, "standard output is a terminal: name a file, or redirect the output"
        )
    with open_with(load(args, output)) as vault:
        which = {"version": args.version, "as_of": args.as_of, "recorded": args.recorded}
        version = vault.find(args.container, args.path, **which, tolerance_ms=args.tolerance_ms, pin=args.pin)
        if version.info.kind == "incremental":
            _say_chain(version, output)
        is_piped = args.file == "-"
        # A stream does not say how much is to come.
        total = version.info.size if is_piped else None
        with output.progress("get", total) as progress, resume_notice(args.file, output):
            if is_piped:
                with writer("-") as target, version.open(verify=args.verify, progress=progress) as source:
                    _copy(source.raw, target)
                    if left := left_on_disk(target):
                        output.notice(
                            "standard output is a disk that is larger than the backup: "
                            f"its last {left} bytes were left as they were"
                        )
            else:
                version.restore(args.file, verify=args.verify, holes=args.holes or None, progress=progress)
    if args.file != "-":
        done = f"{args.container}/{args.path} is restored to {args.file}"
        with output.report(done, "Do not run the command again: the file is complete and verified."):
            _print(version.info, args.file, output)


def _say_chain(version: Version, output: Output) -> None:
    """Says what has to be restored before an incremental. It is restored even if its chain is not complete."""
    try:
        parents = [info.vid for info in version.chain() if info.vid != version.info.vid]
    except S3VaultError as error:
        output.notice(f"the chain of this incremental is not complete: {error.message}")
        return
    output.notice(f"restore before it, in this order ({len(parents)}): {', '.join(parents)}")


@contextmanager
def resume_notice(file: str, output: Output) -> Iterator[None]:
    """Says how to resume a restore that was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        if file == "-":
            output.notice(
                "standard output has only a part of the backup; run the same command again to restore all of it"
            )
        elif os.path.exists(file) and not os.path.isfile(file):
            # A disk or a pipe.
            output.notice(f"{file} has only a part of the backup; run the same command again to restore all of it")
        else:
            output.notice(f"{file} is not restored yet; run the same command again to resume after the parts that are")
        raise


def _print(info: VersionInfo, file: str, output: Output) -> None:
    if output.json:
        output.object({**version_fields(info), "file": file})
        return
    print(f"restored  {version_text(info)} to {printable(file)}")
    print(f"version   {info.vid}")
    print(f"recorded  {rfc3339(info.recorded)}")
    if info.signed_by is not None:
        print(f"signed by {info.signed_by}")


def _copy(source: Any, target: Any) -> None:
    buffer = memoryview(bytearray(CHUNK))
    while count := source.readinto(buffer):
        write_all(target, buffer[:count])

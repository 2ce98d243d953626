"""`s3vault put`."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..._abi import ErrorFlag
from ..._errors import S3VaultError
from ..._streams import Upload
from ..._tables import ErrorCode
from ..._time import rfc3339
from ..._version import VersionInfo
from ..arguments import add_names, words
from ..configuration import load, open_with
from ..files import CHUNK, check_input, is_stream, read_into, reader, size_of
from ..output import Output, version_fields, version_text
from ..program import output_of

SUMMARY = "store a file or a stream as a new version"
EXAMPLES = """\
  s3vault put web01 disk.img /var/lib/images/disk.img
  s3vault put db01 shop.sql --from-command -- pg_dump shop
  tar -c /etc | s3vault put web01 etc.tar
  s3vault put web01 disk.img disk.img --checkpoint disk.checkpoint
  s3vault put web01 disk.img delta.img --kind incremental --parent 7SZQ4M3T8X0V5R9K2N6B1D4F8G
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="file to store (default: -, standard input)"
    )
    parser.add_argument(
        "--from-command",
        action="store_true",
        help="store what a program writes to standard output, only if its exit code is 0; the program comes after --. "
        "From a pipe, what a program wrote before it failed is stored as if it were whole",
    )
    parser.add_argument("--size", metavar="BYTES", type=int, help="store nothing if the input has another size")
    parser.add_argument("--kind", metavar=words("kind"), help="kind of the backup (default: full)")
    parser.add_argument("--parent", metavar="VID", help="version that an incremental builds on")
    parser.add_argument(
        "--label",
        metavar="KEY=VALUE",
        action="append",
        help="label of the version; may be given several times. The label hold protects the version from prune",
    )
    parser.add_argument(
        "--source",
        metavar=words("source"),
        help="whether the source may change while it is stored (default: fixed: a file that changes is not stored). "
        "With live it is stored as it was read, and the manifest says so",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="record the progress in FILE, so that running the same command again resumes the upload after Ctrl-C, a "
        "crash or a failure; standard input must then supply the same bytes from the start. FILE is removed when the "
        "backup is stored",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Stores the file or the stream."""
    if args.from_command and (args.file != "-" or not args.program):
        raise S3VaultError(
            ErrorCode.INVALID_ARGUMENT,
            "--from-command is given with a program after -- and without FILE: --from-command -- pg_dump shop",
        )
    check_input(args.file, f"Pipe an archive of it: tar -c {shlex.quote(args.file)} | s3vault put CONTAINER PATH")
    config = load(args, output)
    options = {
        "kind": args.kind,
        "parent": args.parent,
        "checkpoint": args.checkpoint,
        "source": args.source,
        "labels": "\n".join(args.label) if args.label else None,
    }
    with open_with(config) as vault, resume_notice(args.checkpoint, output):
        if not config.get("keyring"):
            output.notice("no keyring is set, so the backup is stored unsigned; 's3vault keys new FILE' creates one")
        with output.progress("put") as progress:
            if args.program or is_stream(args.file):
                upload = vault.create(args.container, args.path, progress=progress, **options)
                with upload:
                    with output_of(args.program) if args.program else reader(args.file) as source:
                        skip(source, upload.offset, output)
                        _copy(source, upload)
                    _check_size(args.size, upload.offset)
                version = upload.commit()
            else:
                if args.size is not None:
                    _check_size(args.size, size_of(args.file))
                if args.file == "-":
                    version = vault.put_fd(args.container, args.path, 0, progress=progress, **options)
                else:
                    version = vault.put_file(args.container, args.path, args.file, progress=progress, **options)
    info = version.info
    done = f"{args.container}/{args.path} is stored as version {info.vid}"
    with output.report(done, "Do not run the command again: that would store another version."):
        _print(info, output)


def _print(info: VersionInfo, output: Output) -> None:
    if output.json:
        output.object(version_fields(info))
        return
    print(f"stored    {version_text(info)}")
    print(f"version   {info.vid}")
    print(f"recorded  {rfc3339(info.recorded)}")
    print(f"manifest  {info.manifest_hash}")
    print(f"signed by {info.signed_by or 'nobody'}")


@contextmanager
def resume_notice(checkpoint: str | None, output: Output) -> Iterator[None]:
    """Says how to resume, if the put ended early and its checkpoint allows it. An abandoned put cannot be resumed,
    and another source not with this checkpoint: the error says what to do."""
    try:
        yield
    except BaseException as error:
        is_final = isinstance(error, S3VaultError) and (
            ErrorFlag.MISUSE in error.flags or error.code in (ErrorCode.ABANDONED, ErrorCode.SOURCE_CHANGED)
        )
        if checkpoint is not None and not is_final and _has_records(checkpoint):
            state = "suspended" if isinstance(error, KeyboardInterrupt) else "not stored yet"
            output.notice(f"{state}; run the same command again to resume from the checkpoint {checkpoint}")
        raise


def _has_records(checkpoint: str) -> bool:
    """Whether something can be resumed: a file that could not even be locked is empty."""
    try:
        return os.path.getsize(checkpoint) > 0
    except OSError:
        return False


def _check_size(expected: int | None, size: int) -> None:
    if expected is not None and size != expected:
        raise S3VaultError(
            ErrorCode.SOURCE_CHANGED, f"the input has {size} bytes, but --size says {expected}: it is not stored"
        )


def skip(source: Any, offset: int, output: Output) -> None:
    """Reads past the bytes that are stored already: the input starts again, the upload resumes."""
    if not offset:
        return
    output.notice(f"resuming at byte {offset}; skipping that many bytes of the input, which are stored already")
    buffer, left = memoryview(bytearray(CHUNK)), offset
    while left:
        count = read_into(source, buffer[: min(left, CHUNK)])
        if not count:
            raise S3VaultError(
                ErrorCode.SOURCE_CHANGED,
                f"the input ended at byte {offset - left}, but {offset} bytes of it are stored already: "
                "this is not the same input",
            )
        left -= count


def _copy(source: Any, upload: Upload) -> None:
    """Copies in large writes, however little the pipe returns at a time."""
    buffer = memoryview(bytearray(CHUNK))
    filled = 0
    while True:
        count = read_into(source, buffer[filled:])
        filled += count
        if filled and (filled == CHUNK or not count):
            upload.write(buffer[:filled])
            filled = 0
        if not count:
            return

"""`s3vault ls`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from ..._errors import S3VaultError
from ..._tables import ErrorCode
from ..._time import rfc3339
from ..._version import VersionInfo
from ..arguments import add_as_of, add_label, named
from ..configuration import load, open_with
from ..output import Output, printable, size_text, version_fields

SUMMARY = "list the containers, or the paths of one container"
EXAMPLES = """\
  s3vault ls
  s3vault ls web01
  s3vault ls web01 etc/
  s3vault ls web01 --as-of 2026-11-24T13:30:00Z
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("container", metavar="CONTAINER", nargs="?", help="list the paths of this container")
    parser.add_argument("prefix", metavar="PREFIX", nargs="?", help="list only paths that start with PREFIX")
    add_as_of(parser, "show each path with its newest version")
    add_label(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Lists the containers or the paths."""
    with open_with(load(args, output)) as vault:
        if args.container is None:
            if args.as_of or args.label:
                raise S3VaultError(
                    ErrorCode.INVALID_ARGUMENT, "--as-of and --label choose among versions: name a container"
                )
            _print_containers(vault.containers(), vault.bucket, output)
            return
        what = f"container {args.container}"
        hint = "List the containers: s3vault ls"
        if args.prefix:
            what = f"path in {what} that starts with {args.prefix}"
            hint = f"List the paths of the container: s3vault ls {args.container}"
        if args.as_of:
            what = f"{what} as of {args.as_of}"
        if args.label:
            what = f"{what} with the label {args.label}"
        paths = vault.paths(args.container, args.prefix, as_of=args.as_of, label=args.label)
        _print_paths(named(paths, what, hint, vault), output)


def _print_containers(names: Iterable[str], bucket: str, output: Output) -> None:
    is_empty = True
    for name in names:
        is_empty = False
        if output.json:
            output.object({"container": name})
        else:
            print(printable(name))
    if is_empty:
        vault = f"the vault in bucket {bucket}" if bucket else "the vault"
        output.notice(f"{vault} has no backups yet; 's3vault put' stores the first")


def _print_paths(paths: Iterable[VersionInfo], output: Output) -> None:
    if output.json:
        for info in paths:
            output.object(version_fields(info))
    else:
        output.table(
            ("VERSION", "KIND", "SIZE", "RECORDED", "PATH"),
            ((v.vid, v.kind, size_text(v.size), rfc3339(v.recorded), printable(v.path)) for v in paths),
        )

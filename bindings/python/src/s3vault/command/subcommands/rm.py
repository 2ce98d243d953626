"""`s3vault rm`."""

from __future__ import annotations

import argparse
import shlex

from ..arguments import add_names
from ..configuration import load, open_with
from ..output import Output, printable, size_text, version_fields

SUMMARY = "delete a backup, which can be taken back, or one version of it"
EXAMPLES = """\
  s3vault rm web01 disk.img
  s3vault rm web01 disk.img --version 7SZQ4M3T8X0V5R9K2N6B1D4F8G
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)
    parser.add_argument(
        "--version",
        metavar="VID",
        help="delete only the version with this id, or whose id starts like this, for good. By default the backup is "
        "hidden with all its versions, which stay until the retention lets them go",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Deletes the backup or the version."""
    name = shlex.join([args.container, args.path])
    with open_with(load(args, output)) as vault:
        if args.version is None:
            info = vault.delete(args.container, args.path).info
            done = f"deleted {printable(name)}; its versions stay until the retention lets them go"
            hint = f"To take it back: s3vault undelete {printable(name)}"
        else:
            version = vault.find(args.container, args.path, version=args.version)
            version.delete()
            info = version.info
            done = f"deleted version {info.vid} of {printable(name)} ({info.kind}, {size_text(info.size)})"
            hint = "A prune or a sweep frees its space when half an hour has passed."
    with output.report(done, "Do not run it again: it is done."):
        if output.json:
            output.object({**version_fields(info), "deleted": "backup" if args.version is None else "version"})
        else:
            output.text(f"{done}\n{hint}")

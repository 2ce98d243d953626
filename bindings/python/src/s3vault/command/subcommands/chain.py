"""`s3vault chain`."""

from __future__ import annotations

import argparse

from ..._time import rfc3339
from ..arguments import add_as_of, add_names
from ..configuration import load, open_with
from ..output import Output, size_text, version_fields

SUMMARY = "list what has to be restored for a version, in order: the full backup, then its incrementals"
EXAMPLES = """\
  s3vault chain web01 disk.img
  s3vault chain web01 disk.img --version 7Y2D5N
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--version",
        metavar="VID",
        help="the version with this id, or whose id starts like this (default: the newest)",
    )
    add_as_of(which, "the newest version")


def run(args: argparse.Namespace, output: Output) -> None:
    """Lists the chain."""
    with open_with(load(args, output)) as vault:
        chain = list(vault.find(args.container, args.path, version=args.version, as_of=args.as_of).chain())
        if output.json:
            for info in chain:
                output.object(version_fields(info))
            return
        output.table(
            ("VERSION", "KIND", "SIZE", "RECORDED", "PARENT"),
            ((v.vid, v.kind, size_text(v.size), rfc3339(v.recorded), v.parent or "-") for v in chain),
        )
        total = size_text(sum(info.size for info in chain))
        print(f"total  {len(chain)} {'version' if len(chain) == 1 else 'versions'}, {total}")

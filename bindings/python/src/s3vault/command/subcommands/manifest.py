"""`s3vault manifest`."""

from __future__ import annotations

import argparse

from ..arguments import add_names
from ..configuration import load, open_with
from ..files import write_all, writer
from ..output import Output

SUMMARY = "write the signed manifest of a version, as it is stored"
EXAMPLES = """\
  s3vault manifest web01 disk.img disk.manifest
  s3vault manifest web01 disk.img | head -n 1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="file to write (default: -, standard output)"
    )
    parser.add_argument(
        "--version",
        metavar="VID",
        help="use the version with this id, or whose id starts like this (default: the newest)",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Writes the manifest."""
    with open_with(load(args, output)) as vault:
        manifest = vault.find(args.container, args.path, version=args.version).manifest()
    with writer(args.file) as target:
        write_all(target, memoryview(manifest))

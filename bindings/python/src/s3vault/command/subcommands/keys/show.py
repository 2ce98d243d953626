"""`s3vault keys show`."""

from __future__ import annotations

import argparse

from ...arguments import add_names
from ...configuration import load, open_with
from ...output import Output

SUMMARY = "reveal the data key of one version, for an emergency"
EXAMPLES = """\
  s3vault keys show web01 disk.img --version 7YBQADH
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)
    parser.add_argument(
        "--version",
        metavar="VID",
        required=True,
        help="the version with this id, or whose id starts like this",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Prints the key. Nothing else prints one."""
    with open_with(load(args, output)) as vault:
        version = vault.find(args.container, args.path, version=args.version)
        key = version.data_key().hex()
    if output.json:
        output.object({"vid": version.info.vid, "data_key": key})
    else:
        output.line(key)

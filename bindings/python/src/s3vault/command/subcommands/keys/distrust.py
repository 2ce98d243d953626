"""`s3vault keys distrust`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...output import Output
from .keyring import add_file, keyring_file

SUMMARY = "trust nothing any more that an earlier signing key has signed"
EXAMPLES = """\
  s3vault keys distrust vault.keys 0f1e2d3c4b5a6978

Versions that it has signed are not read any more then, and no job removes them: delete them first, or store them
again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)
    parser.add_argument("id", metavar="ID", help="id of the key, which 's3vault keys list' prints as earlier")


def run(args: argparse.Namespace, output: Output) -> None:
    """Drops the public key."""
    file = keyring_file(args, output, "s3vault keys distrust vault.keys ID")
    Keyring.open(file).distrust(args.id)
    with output.report(f"the key {args.id} is not trusted", f"List the keys with: s3vault keys list {file}"):
        if output.json:
            output.object({"keyring": file, "id": args.id, "trusted": False})
        else:
            output.text(f"the key {args.id} is not trusted any more")

"""`s3vault keys activate`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...output import Output
from .keyring import add_file, keyring_file

SUMMARY = "make a key-encryption key (KEK) current, once an escrow file has it"
EXAMPLES = """\
  s3vault keys activate vault.keys 0f1e2d3c4b5a6978
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)
    parser.add_argument("id", metavar="ID", help="id of the key, as 's3vault keys list' prints it")


def run(args: argparse.Namespace, output: Output) -> None:
    """Makes the KEK current."""
    file = keyring_file(args, output, "s3vault keys activate vault.keys ID")
    Keyring.open(file).activate(args.id)
    with output.report(f"the key {args.id} is current", f"List the keys with: s3vault keys list {file}"):
        if output.json:
            output.object({"keyring": file, "id": args.id, "current": True})
        else:
            output.text(f"the key {args.id} is current: it is for new backups")

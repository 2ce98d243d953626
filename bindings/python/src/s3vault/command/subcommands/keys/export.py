"""`s3vault keys export`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...output import Output
from .escrow import write_escrow
from .keyring import add_file, keyring_file
from .secrets import add_readers

SUMMARY = "write an escrow file: a copy of all keys, encrypted, which any age tool opens"
EXAMPLES = """\
  s3vault keys export vault.keys vault.escrow.age
  s3vault keys export vault.keys vault.escrow.age --recipient age1...
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)
    parser.add_argument("out", metavar="OUT", help="escrow file to create")
    add_readers(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Writes the escrow file."""
    file = keyring_file(args, output, "s3vault keys export vault.keys vault.escrow.age")
    keyring = Keyring.open(file)
    write_escrow(args, file, keyring, args.out, output)
    keks = [kek.id for kek in keyring.info.keks]
    with output.report(f"the escrow file {args.out} is written", f"List the keys with: s3vault keys list {file}"):
        if output.json:
            output.object({"keyring": file, "escrow": args.out, "signing": keyring.id, "keks": keks})
        else:
            output.text(f"wrote the escrow file {args.out} with all keys of {file}: keep it elsewhere")

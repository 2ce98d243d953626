"""`s3vault keys rotate`."""

from __future__ import annotations

import argparse

from ...._errors import S3VaultError
from ...._keyring import Keyring
from ...._tables import ErrorCode
from ...output import Output
from .escrow import write_escrow
from .keyring import add_file, keyring_file
from .secrets import add_readers

SUMMARY = "add a key-encryption key (KEK) to a keyring; with --out, escrow it and make it current"
EXAMPLES = """\
  s3vault keys rotate vault.keys --out vault-2027.escrow.age
  s3vault keys rotate vault.keys
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)
    parser.add_argument(
        "--out", metavar="OUT", help="escrow file to create; without it, the new key is not current yet"
    )
    add_readers(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Adds a KEK."""
    file = keyring_file(args, output, "s3vault keys rotate vault.keys")
    if args.out is None and (args.recipient or args.passphrase_file):
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, "--recipient and --passphrase-file are for --out OUT")
    keyring = Keyring.open(file)
    kek = keyring.add()
    if args.out is not None:
        try:
            write_escrow(args, file, keyring, args.out, output)
            keyring.activate(kek)
        except S3VaultError as error:
            error.hint += f" The key {kek} was added and is not current: escrow it with 's3vault keys export', then"
            error.hint += f" run: s3vault keys activate {file} {kek}"
            raise
    current = any(known.id == kek and known.current for known in keyring.info.keks)
    with output.report(f"the key {kek} is added to {file}", f"List the keys with: s3vault keys list {file}"):
        if output.json:
            output.object({"keyring": file, "id": kek, "current": current, "escrow": args.out})
            return
        output.text(f"added the key {kek} to {file}; it is {'current' if current else 'not current yet'}")
        if args.out is not None:
            output.text(f"wrote the escrow file {args.out}: keep it elsewhere")
        elif current:
            output.text(f"It is in this file only. Keep a copy: s3vault keys export {file} OUT")
        else:
            output.text(f"To make it current: s3vault keys export {file} OUT, then s3vault keys activate {file} {kek}")

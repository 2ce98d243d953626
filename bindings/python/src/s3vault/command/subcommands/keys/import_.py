"""`s3vault keys import`."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from ...._keyring import Keyring, KeyringImport
from ...output import Output, printable
from .keyring import add_file, keyring_file
from .secrets import add_passphrase_file, passphrase, read_file

SUMMARY = "restore a keyring from an escrow file, or add the keys that it lacks"
EXAMPLES = """\
  s3vault keys import vault.keys vault.escrow.age
  s3vault keys import vault.keys vault.escrow.age --identity identity.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)
    parser.add_argument(
        "escrow", metavar="ESCROW", help="escrow file, which 's3vault keys export' wrote; - is standard input"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--identity", metavar="FILE", help="file with the age identity of a recipient (AGE-SECRET-KEY-1...)"
    )
    add_passphrase_file(group)


def run(args: argparse.Namespace, output: Output) -> None:
    """Restores the keyring, or adds what is missing."""
    file = keyring_file(args, output, "s3vault keys import vault.keys vault.escrow.age")
    is_new = not os.path.lexists(file)
    keyring = None if is_new else Keyring.open(file)
    escrow = read_file(args.escrow)
    secret = read_file(args.identity) if args.identity else passphrase(args.passphrase_file, twice=False)
    if keyring is None:
        keyring = Keyring.restore(escrow, secret, file)
    found = keyring.import_(escrow, secret)
    added = tuple(kek.id for kek in keyring.info.keks) if is_new else found.added
    done = f"the keyring {file} is {'restored' if is_new else 'complete'}"
    with output.report(done, f"List its keys with: s3vault keys list {file}"):
        if output.json:
            output.object({"keyring": file, "restored": is_new, **asdict(found), "added": added})
        else:
            _print(file, keyring, found, added, output, is_new=is_new)


def _print(
    file: str, keyring: Keyring, found: KeyringImport, added: tuple[str, ...], output: Output, *, is_new: bool
) -> None:
    if is_new:
        output.text(f"restored {printable(file)}: the signing key {keyring.id}")
    for kek in added:
        output.text(f"added the key {kek}")
    for kek in found.left_out:
        output.text(f"left out the key {kek}, which was retired: nothing in the vault needs it")
    if not is_new and not added and not found.left_out:
        output.text(f"{printable(file)} has all keys of the escrow file")
    if found.vault_id:
        output.text(f"vault_id: {printable(found.vault_id)}")
    for key, value in found.settings.items():
        output.text(f"{key}: {printable(value)}")

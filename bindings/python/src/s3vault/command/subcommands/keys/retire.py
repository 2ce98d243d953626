"""`s3vault keys retire`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ...._job import Retirement
from ...._keyring import Keyring
from ...._time import rfc3339
from ...configuration import load, open_with
from ...output import KeyIsNeeded, KeyWaits, Output, printable
from .keyring import add_file, keyring_file

SUMMARY = "drop a key-encryption key (KEK) from a keyring, once nothing in the vault needs it"
EXAMPLES = """\
  s3vault keys rotate vault.keys --out vault-2027.escrow.age
  s3vault rotate
  s3vault keys retire vault.keys 0f1e2d3c4b5a6978

Run it twice: the first run says until when to wait, an hour on most stores, and until then it ends with exit code 9.
It ends with exit code 10 while versions need the key: 's3vault rotate' comes first.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)
    parser.add_argument("id", metavar="ID", help="id of the key, as 's3vault keys list' prints it")


def run(args: argparse.Namespace, output: Output) -> None:
    """Retires the KEK, or says why it stays."""
    file = keyring_file(args, output, "s3vault keys retire vault.keys ID")
    with open_with(load(args, output), Keyring.open(file)) as vault:
        found = vault.retire(args.id)
    with output.report(f"the state of the key {args.id} is '{found.state}'", "Run it again: it changes nothing twice."):
        if output.json:
            until = None if found.wait_until is None else rfc3339(found.wait_until)
            output.object({"keyring": file, **asdict(found), "wait_until": until})
        else:
            _print(file, found, output)
    if found.state == "needed":
        raise KeyIsNeeded(f"the key {found.kek} is not retired: versions need it")
    if found.state != "retired":
        raise KeyWaits(f"the key {found.kek} is not retired yet")


def _print(file: str, found: Retirement, output: Output) -> None:
    if found.state == "retired":
        output.text(f"the key {found.kek} is retired: nothing needs it, and {printable(file)} no longer has it")
        return
    for key in found.first:
        output.text(printable(key))
    if found.needed > len(found.first):
        output.text(f"and {found.needed - len(found.first)} more")
    if found.needed:
        count = "1 locator needs" if found.needed == 1 else f"{found.needed} locators need"
        output.text(f"{count} the key {found.kek}. Run this first: s3vault rotate")
    if found.wait_until is not None:
        until = rfc3339(found.wait_until)
        output.text(f"the key {found.kek} is closed: no put uses it any more. Run the same command again after {until}")

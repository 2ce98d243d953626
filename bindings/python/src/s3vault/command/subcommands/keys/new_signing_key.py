"""`s3vault keys new-signing-key`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...output import Output
from .keyring import add_file, keyring_file

SUMMARY = "make a new signing key; what the old one has signed is still trusted"
EXAMPLES = """\
  s3vault keys new-signing-key vault.keys
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Makes a new signing key."""
    file = keyring_file(args, output, "s3vault keys new-signing-key vault.keys")
    keyring = Keyring.open(file)
    earlier = keyring.id
    key = keyring.new_signing_key()
    with output.report(f"{key} signs new backups", f"List the keys with: s3vault keys list {file}"):
        if output.json:
            output.object({"keyring": file, "id": key, "public": keyring.public, "earlier": earlier})
            return
        output.text(f"{key} signs new backups; what {earlier} has signed is still trusted")
        output.text(f"It is in this file only. Keep a copy: s3vault keys export {file} OUT")
        output.text("Backups that were interrupted before do not resume: start them again, without their checkpoints.")
        output.text("Verifiers need its public key:")
        output.text(keyring.public)

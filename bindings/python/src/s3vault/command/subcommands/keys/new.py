"""`s3vault keys new`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...output import Output
from .keyring import add_file, keyring_file, print_public

SUMMARY = "create a keyring file with a new signing key and a key-encryption key (KEK), and print its public key"
EXAMPLES = """\
  s3vault keys new vault.keys
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Creates the keyring."""
    file = keyring_file(args, output, "s3vault keys new vault.keys")
    keyring = Keyring.create(file)
    with output.report(f"the keyring {file} is created", f"Print its public key with: s3vault keys public {file}"):
        print_public(file, keyring, output)

"""`s3vault keys new`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...output import Output
from .keyring import add_file, keyring_file, print_public

SUMMARY = "create a keyring file with a new signing key, and print its public key"
EXAMPLES = """\
  s3vault keys new vault.keys
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Creates the keyring."""
    file = keyring_file(args, output)
    print_public(file, Keyring.create(file), output)

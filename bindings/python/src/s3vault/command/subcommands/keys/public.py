"""`s3vault keys public`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...output import Output
from .keyring import add_file, keyring_file, print_public

SUMMARY = "print the public key of a keyring, which a verifier needs"
EXAMPLES = """\
  s3vault keys public vault.keys > vault.pub
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Prints the public key."""
    file = keyring_file(args, output, "s3vault keys public vault.keys")
    print_public(file, Keyring.open(file), output)

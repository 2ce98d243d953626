"""The keyring file that a subcommand of `keys` works on."""

from __future__ import annotations

import argparse

from ...._errors import S3VaultError
from ...._keyring import Keyring
from ...._tables import ErrorCode
from ...configuration import load, warn_of_environment
from ...output import Output


def add_file(parser: argparse.ArgumentParser) -> None:
    """FILE."""
    parser.add_argument("file", metavar="FILE", nargs="?", help="keyring file (default: the setting keyring)")


def keyring_file(args: argparse.Namespace, output: Output, example: str) -> str:
    """The file that the arguments name, or else the settings. `example` is a command that names one."""
    if args.file:
        warn_of_environment(output)
        return str(args.file)
    file = load(args, output).get("keyring")
    if not file:
        refused = S3VaultError(ErrorCode.KEYRING, "no keyring file is named, neither here nor by the setting keyring")
        refused.hint = f"Name the file: {example}"
        raise refused
    return str(file)


def print_public(file: str, keyring: Keyring, output: Output) -> None:
    """Prints the public key."""
    if output.json:
        output.object({"keyring": file, "id": keyring.id, "public": keyring.public})
    else:
        print(keyring.public)

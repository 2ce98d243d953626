"""Where passphrases and age identities come from: a terminal or a file, never the command line."""

from __future__ import annotations

import argparse
import getpass
import warnings

from ...._errors import S3VaultError
from ...._tables import ErrorCode
from ...files import reader


def add_readers(parser: argparse.ArgumentParser) -> None:
    """--recipient and --passphrase-file."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--recipient",
        metavar="AGE1...",
        action="append",
        help="age recipient who can open the escrow file; may be repeated (default: ask for a passphrase)",
    )
    add_passphrase_file(group)


def add_passphrase_file(parser: argparse._ActionsContainer) -> None:
    """--passphrase-file."""
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="file with the passphrase on its only line; - is standard input (default: ask on the terminal)",
    )


def read_file(file: str) -> bytes:
    """The whole of a file."""
    with reader(file) as source:
        return bytes(source.read())


def passphrase(file: str | None, *, twice: bool) -> bytes:
    """The passphrase in the file, or from the terminal, where a new one is asked for twice."""
    if file is not None:
        # An editor ends the line.
        return read_file(file).removesuffix(b"\n").removesuffix(b"\r")
    entered = _ask("Passphrase of the escrow file: ")
    if twice and _ask("The same passphrase again: ") != entered:
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, "the two passphrases are not the same")
    return entered.encode(errors="surrogateescape")


def _ask(prompt: str) -> str:
    with warnings.catch_warnings():
        # Without a terminal, getpass would read standard input, and show what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (getpass.GetPassWarning, EOFError):
            refused = S3VaultError(ErrorCode.INVALID_ARGUMENT, "there is no terminal to ask for the passphrase")
            refused.hint = "Name a file that has it: --passphrase-file FILE"
            raise refused from None

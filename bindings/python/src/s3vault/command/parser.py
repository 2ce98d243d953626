"""The command line, assembled from the subcommands."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, NoReturn, Protocol

from .._errors import S3VaultError
from .._ffi import library_version
from .._tables import ErrorCode
from .configuration import PLACES
from .output import Output
from .subcommands import SUBCOMMANDS

_ABOUT = """\
Stores backups in AWS S3 and S3-compatible stores, as versions that are signed and verified.

A backup is named by a CONTAINER (a machine, for example) and a PATH. Each put stores a new version of it.
"""

_SETTINGS = f"""\
Settings are read from a TOML file, the first of these:
{PLACES}
and from the environment, which wins: S3VAULT_ and the key in upper case. A minimal file:

  api_url = "https://s3.example.com"     # AWS: leave it out, and set region
  access_key = "..."
  secret_key = "..."
  bucket = "backups"                     # versioning must be enabled
  keyring = "vault.keys"                 # created by: s3vault keys new FILE

's3vault settings' lists all settings with their types and defaults. The names of files in a configuration file are
relative to the folder of that file.

Exit codes: 0 success, 1 other failure, 2 misuse, 3 not found, 4 refused by the store, 5 the store cannot be
reached, 6 damaged or tampered data, 7 outcome unknown, 8 done, but standard output could not be written (the backup
is stored: do not run the put again), 9 a key is not retired yet, 10 a key is not retired because versions need it;
128 and the number of the signal that ended it: 129 hung up, 130 interrupted, 131 quit, 143 terminated.
After 1, 4, 5, 7 or a signal, run a put with --checkpoint again to resume it.

Examples:
  s3vault keys new vault.keys
  s3vault put web01 disk.img disk.img
  s3vault versions web01 disk.img
  s3vault get web01 disk.img restored.img --as-of 2026-11-24T13:30:00Z
"""


class Subcommand(Protocol):
    """What a module of `subcommands` has. Its name is the word on the command line, which has `-` in place of `_`."""

    __name__: str
    SUMMARY: str
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the arguments."""

    def run(self, args: argparse.Namespace, output: Output) -> None:
        """Does the work and prints the result."""


class Group(Protocol):
    """A subcommand that has subcommands of its own, such as `keys`: a package with a module for each."""

    __name__: str
    SUMMARY: str
    EXAMPLES: str
    SUBCOMMANDS: tuple[Any, ...]


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from .. import __version__

        print(f"s3vault {__version__} (library: {library_version()})")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Accepts `--version VID FILE` as well as `FILE --version VID`; subparsers of argparse accept only the second."""

    _intermixed = True
    json = False

    def error(self, message: str) -> NoReturn:
        if not _Parser.json:
            super().error(message)
        Output(json=True).error(S3VaultError(ErrorCode.INVALID_ARGUMENT, f"{self.prog}: {message}"))
        self.exit(2)

    def add_subparsers(self, **options: Any) -> Any:
        # argparse refuses to intermix here; the parsers of the subcommands do it.
        self._intermixed = False
        return super().add_subparsers(**options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self._intermixed:
            return super().parse_known_args(args, namespace)
        self._intermixed = False
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = True


# Marks a word that came after --. No word of a command line has this character.
_MARK = "\0"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parses the command line. Words after ``--`` are never options; after ``--from-command`` they are a program."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options, words = arguments[:at], arguments[at + 1 :]
    program = words if "--from-command" in options else []
    # The parsers of the subcommands do not see where -- was.
    names = [] if program else [_MARK + word for word in words]
    _Parser.json = "--json" in options
    args = parser().parse_args([*options, *names])
    for name, value in list(vars(args).items()):
        if isinstance(value, str):
            setattr(args, name, value.removeprefix(_MARK))
    args.program = program
    return args


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="s3vault",
        description=_ABOUT,
        epilog=_SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common(top=True)],
        allow_abbrev=False,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the versions of the command and the library")
    _add_subcommands(top, SUBCOMMANDS)
    return top


def _add_subcommands(parent: argparse.ArgumentParser, modules: Iterable[Subcommand | Group]) -> None:
    added = parent.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for module in modules:
        made = added.add_parser(
            # A name that Python has already ends in an underscore.
            module.__name__.rpartition(".")[2].rstrip("_").replace("_", "-"),
            help=module.SUMMARY,
            description=f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.",
            epilog=f"Examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_common(top=False)],
            allow_abbrev=False,
        )
        if hasattr(module, "SUBCOMMANDS"):
            _add_subcommands(made, module.SUBCOMMANDS)
        else:
            module.add_arguments(made)
            made.set_defaults(run=module.run)


def _common(*, top: bool) -> _Parser:
    """Options that may come before or after the subcommand; only the first place sets the defaults."""
    common = _Parser(add_help=False)
    common.add_argument(
        "--config",
        metavar="FILE",
        default=None if top else argparse.SUPPRESS,
        help="read the settings from FILE (TOML)",
    )
    common.add_argument(
        "--json",
        action="store_true",
        default=False if top else argparse.SUPPRESS,
        help='print one JSON object per line, and errors as {"error": {...}} on standard error',
    )
    common.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=False if top else argparse.SUPPRESS,
        help="say which configuration file is read",
    )
    return common

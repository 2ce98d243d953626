"""The command's arguments and help texts."""

from __future__ import annotations

import argparse
from typing import Any

from . import _tables
from ._ffi import library_version

_ABOUT = """\
Stores backups in AWS S3 and S3-compatible stores, as versions that are signed and verified.

A backup is named by a CONTAINER (a machine, for example) and a PATH. Each put makes a new version of it.
"""

_SETTINGS = """\
Settings come from a TOML file (--config, else s3vault.toml in this folder) and from the environment
(S3VAULT_ and the key in upper case), which wins.  At the least:

  api_url = "https://s3.example.com"     # empty: AWS, by region
  access_key = "..."
  secret_key = "..."
  bucket = "backups"                     # with versioning enabled
  keyring = "vault.keys"                 # made by: s3vault keys new

Limits of one run: memory = 268435456, connections = 64, bandwidth_up = 0, bandwidth_down = 0 (bytes a second; 0: none).

Exit codes: 0 done, 2 misuse, 3 not found, 4 refused by the store, 5 the store cannot be reached,
6 damaged or tampered data, 7 outcome unknown, 130 interrupted, 1 anything else.
A put with --checkpoint that ended with 1, 4, 5, 7 or 130 goes on when it is run again.

Examples:
  s3vault keys new vault.keys
  s3vault put web01 disk.img disk.img
  s3vault versions web01 disk.img
  s3vault get web01 disk.img restored.img --as-of 2026-11-24T13:30:00Z
"""


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from . import __version__

        print(f"s3vault {__version__} (library: {library_version()})")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Takes `--version VID FILE` as well as `FILE --version VID`; argparse's own subparsers take the second only."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def _common(*, top: bool) -> _Parser:
    """Options that stand before or after the command's name; only the first place sets the defaults."""
    common = _Parser(add_help=False)
    common.add_argument(
        "--config",
        metavar="FILE",
        default=None if top else argparse.SUPPRESS,
        help="settings in TOML (default: s3vault.toml, if it is there)",
    )
    common.add_argument(
        "--json",
        action="store_true",
        default=False if top else argparse.SUPPRESS,
        help='one JSON object a line; errors as {"error": {...}} on standard error',
    )
    return common


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="s3vault",
        description=_ABOUT,
        epilog=_SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common(top=True)],
        allow_abbrev=False,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the versions of command and library")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    common = _common(top=False)

    def add(name: str, about: str, examples: str, **more: Any) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog="Examples:\n" + examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
            allow_abbrev=False,
            **more,
        )

    put = add(
        "put",
        "store a file or a stream as a new version",
        "  s3vault put web01 disk.img /var/lib/images/disk.img\n"
        "  pg_dump shop | s3vault put db01 shop.sql\n"
        "  s3vault put web01 disk.img disk.img --checkpoint disk.checkpoint\n"
        "  s3vault put web01 disk.img delta.img --kind incremental --parent 7SZQ4M3T8X0V5R9K2N6B1D4F8G\n",
    )
    _names(put)
    put.add_argument("file", metavar="FILE", nargs="?", default="-", help="what to store (default: -, standard input)")
    put.add_argument("--kind", metavar="|".join(_words("kind")), help="what the backup is (default: full)")
    put.add_argument("--parent", metavar="VID", help="version that an incremental builds on")
    put.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="remember in FILE how far it came; the same command again goes on from there, after Ctrl-C, a crash or "
        "elsewhere (standard input must begin anew with the same bytes). FILE is removed when all is stored",
    )

    get = add(
        "get",
        "restore a version: the newest, one by its id, or the newest as of a time",
        "  s3vault get web01 disk.img restored.img\n"
        "  s3vault get web01 disk.img restored.img --version 7SZQ4M3T8X0V5R9K2N6B1D4F8G\n"
        "  s3vault get db01 shop.sql --as-of 2026-11-24T13:30:00Z | psql shop\n",
    )
    _names(get)
    get.add_argument("file", metavar="FILE", nargs="?", default="-", help="where to (default: -, standard output)")
    get.add_argument(
        "--verify",
        metavar="|".join(_words("verify")),
        help="standard output gets bytes as they come, but for the last of each part (end, the default), or only bytes of "
        "parts whose hash is right (part)",
    )
    get.add_argument("--holes", action="store_true", help="keep holes in FILE where the data is zero")
    which = get.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="VID", help="this version")
    which.add_argument(
        "--as-of", metavar="TIME", help="newest version recorded at TIME or before (RFC 3339, or Unix milliseconds)"
    )

    _names(add("versions", "list the versions of a backup, newest first", "  s3vault versions web01 disk.img\n"))

    ls = add(
        "ls",
        "list the containers, or the paths of one",
        "  s3vault ls\n  s3vault ls web01\n  s3vault ls web01 etc/\n",
    )
    ls.add_argument("container", metavar="CONTAINER", nargs="?", help="list the paths of this one")
    ls.add_argument("prefix", metavar="PREFIX", nargs="?", help="only paths that begin with it")

    manifest = add(
        "manifest",
        "write the signed manifest of a version, as it is stored",
        "  s3vault manifest web01 disk.img disk.manifest\n  s3vault manifest web01 disk.img | head -n 1\n",
    )
    _names(manifest)
    manifest.add_argument("file", metavar="FILE", nargs="?", default="-", help="where to (default: -, standard output)")
    manifest.add_argument("--version", metavar="VID", help="of this version (default: the newest)")

    keys = add(
        "keys",
        "make a keyring, or show its public key",
        "  s3vault keys new vault.keys\n  s3vault keys public vault.keys > vault.pub\n",
    )
    keys.add_argument(
        "action", metavar="new|public", choices=("new", "public"), help="new: make it; public: what a verifier needs"
    )
    keys.add_argument("file", metavar="FILE", nargs="?", help="the keyring file (default: the setting keyring)")

    sign = add(
        "sign",
        "sign a request (AWS Signature Version 4) and print the headers to add",
        "  s3vault sign GET https://s3.example.com/backups/a.txt\n"
        "  s3vault sign PUT s3://backups/a.txt --payload a.txt -H 'content-type: text/plain' --curl | sh\n",
    )
    _request(sign)
    sign.add_argument(
        "--payload",
        metavar="FILE|-|HASH",
        help="the body: a file, -, its SHA-256 in hex, or a word (default: UNSIGNED-PAYLOAD)",
    )
    sign.add_argument("--curl", action="store_true", help="print a command line of curl that sends it")

    presign = add(
        "presign",
        "print a URL by which others may send one request, for a time",
        "  s3vault presign GET s3://backups/a.txt\n"
        "  s3vault presign PUT s3://backups/a.txt --expires 7d -H 'content-type: text/plain'\n",
    )
    _request(presign)
    presign.add_argument(
        "--expires", metavar="TIME", default="1h", help="how long: 90s, 15m, 1h, up to 7d (default: 1h)"
    )

    explain = add(
        "explain",
        "say why a store refused a signature: the first difference, and its likely cause",
        "  s3vault explain request.txt reply.xml\n"
        "  curl -v ... 2> request.txt > reply.xml; s3vault explain request.txt reply.xml\n",
    )
    explain.add_argument("request", metavar="REQUEST", help="file with the request as it was sent: first line, headers")
    explain.add_argument("reply", metavar="REPLY", nargs="?", help="file with the body of the store's answer")
    return top


def _request(command: argparse.ArgumentParser) -> None:
    command.add_argument("method", metavar="METHOD", help="GET, HEAD, PUT, POST or DELETE")
    command.add_argument("url", metavar="URL", help="as it is sent; or s3://BUCKET/KEY, where the settings say")
    command.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        dest="headers",
        action="append",
        default=[],
        help="a header that is sent and signed; may be given again",
    )


def _names(command: argparse.ArgumentParser) -> None:
    command.add_argument("container", metavar="CONTAINER", help="what is backed up, for example a machine's name")
    command.add_argument("path", metavar="PATH", help="name of the backup in the container")


def _words(key: str) -> tuple[str, ...]:
    return next(row.words for row in _tables.OPTIONS if row.key == key)

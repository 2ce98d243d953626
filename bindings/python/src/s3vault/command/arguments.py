"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .._errors import S3VaultError
from .._tables import OPTIONS, ErrorCode
from .._vault import Vault

T = TypeVar("T")


def add_names(parser: argparse.ArgumentParser) -> None:
    """CONTAINER and PATH."""
    parser.add_argument("container", metavar="CONTAINER", help="what is backed up, for example the name of a machine")
    parser.add_argument("path", metavar="PATH", help="name of the backup in the container")


def add_request(parser: argparse.ArgumentParser) -> None:
    """The request to sign: METHOD, URL and headers."""
    parser.add_argument("method", metavar="METHOD", help="GET, HEAD, PUT, POST or DELETE")
    parser.add_argument("url", metavar="URL", help="the URL to send it to, or s3://BUCKET/KEY for the configured store")
    parser.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        dest="headers",
        action="append",
        default=[],
        help="sign this header too, which must be sent with the request; may be repeated",
    )


def headers(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The headers of :func:`add_request` as pairs."""
    pairs = []
    for header in args.headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"-H {header!r} is not 'NAME: VALUE'")
        pairs.append((name, value.strip()))
    return pairs


def named(rows: Iterable[T], what: str, hint: str, vault: Vault) -> Iterator[T]:
    """The rows of a listing of what the user named: if there are none, it does not exist."""
    is_empty = True
    for row in rows:
        is_empty = False
        yield row
    if is_empty:
        missing = S3VaultError(ErrorCode.NOT_FOUND, f"there is no {what} in {place(vault)}")
        missing.hint = hint
        raise missing


def place(vault: Vault) -> str:
    """Where the vault is, for messages."""
    return f"bucket {vault.bucket}" if vault.bucket else "the vault"


def add_as_of(parser: argparse._ActionsContainer, what: str) -> None:
    """--as-of, which shows or restores `what` as of a time."""
    parser.add_argument(
        "--as-of",
        metavar="TIME",
        help=f"{what} recorded at or before TIME: RFC 3339 (2026-11-24T13:30:00Z), a date (2026-11-24: the end of that "
        "day in UTC), or Unix milliseconds",
    )


def add_label(parser: argparse.ArgumentParser) -> None:
    """--label."""
    parser.add_argument(
        "--label",
        metavar="NAME=VALUE",
        help="list only versions that were stored with this label; the manifest of each is read for that",
    )


def words(key: str) -> str:
    """The values of a setting, for a metavar: ``full|incremental``."""
    return "|".join(next(row.words for row in OPTIONS if row.key == key))

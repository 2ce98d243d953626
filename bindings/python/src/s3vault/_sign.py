"""Signatures for requests that another HTTP client sends, and why a store refused one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Union

from ._call import Call, from_text, new_bytes, take_bytes
from ._config import Config, OptionValue
from ._errors import S3VaultError
from ._ffi import lib
from ._tables import ErrorCode
from ._time import to_ms

Settings = Union[Config, Mapping[str, OptionValue]]
Headers = Union[Mapping[str, str], Iterable["tuple[str, str]"]]

_HOUR = timedelta(hours=1)


def _config(settings: Settings) -> Config:
    return settings if isinstance(settings, Config) else Config(settings)


def _lines(headers: Headers) -> bytes:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = []
    for name, value in pairs:
        line = f"{name}: {value}"
        if "\n" in line or "\r" in line:
            raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"header {name!r} contains a line break")
        lines.append(line)
    return from_text("\n".join(lines), "headers")


def _ms(now: datetime | None) -> int:
    """Milliseconds for the library; 0 means its own clock."""
    return 0 if now is None else to_ms(now, "now")


def sign(
    config: Settings,
    method: str,
    url: str,
    *,
    headers: Headers = (),
    payload_hash: str = "",
    now: datetime | None = None,
) -> dict[str, str]:
    """Signs a request, and returns the headers to add to it, ``authorization`` among them.

    ``url``: the URL of the request, or ``s3://bucket/key`` for the endpoint in ``config``.
    ``headers``: headers to sign too; send them unchanged.
    ``payload_hash``: SHA-256 of the body in hex, or a value of ``x-amz-content-sha256``. Without it the body is not
    signed (``UNSIGNED-PAYLOAD``).
    """
    call, out = Call(), new_bytes()
    call.check(
        lib.s3v_sign(
            _config(config)._handle,
            _ms(now),
            from_text(method, "the method"),
            from_text(url, "the URL"),
            _lines(headers),
            from_text(payload_hash, "the payload's hash"),
            out.out,
            call.err,
        )
    )
    lines = take_bytes(out).decode().splitlines()
    return dict((name, value) for name, _, value in (line.partition(": ") for line in lines))


def presign(
    config: Settings,
    method: str,
    url: str,
    *,
    expires: timedelta = _HOUR,
    headers: Headers = (),
    now: datetime | None = None,
) -> str:
    """Returns the URL with a signature in its query. Anyone who has it can send this one request until it expires.

    ``expires``: lifetime of the URL, from 1 second to 7 days.
    ``headers``: headers that must be sent with the request, unchanged. The other arguments are those of :func:`sign`.
    """
    seconds = expires // timedelta(seconds=1)
    if not 0 <= seconds < 2**32:
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"a presigned URL cannot be valid for {seconds} seconds")
    call, out = Call(), new_bytes()
    call.check(
        lib.s3v_presign(
            _config(config)._handle,
            _ms(now),
            from_text(method, "the method"),
            from_text(url, "the URL"),
            _lines(headers),
            seconds,
            out.out,
            call.err,
        )
    )
    return take_bytes(out).decode()


@dataclass(frozen=True)
class Difference:
    """The first difference between the request that was signed and the one that the store received."""

    part: str
    """Where it is: ``method``, ``path``, ``query``, ``header``, ``signed headers``, ``payload hash``, ``date``,
    ``scope``, ``canonical request's hash`` or ``access key``."""
    name: str
    """Name of the header or the query parameter; otherwise empty."""
    line: int
    """Line of the canonical request or of the string to sign, from 1; 0 if it is in neither."""
    column: int
    """Column of the first character that differs, from 1."""
    ours: str
    """The text that was signed; may be empty."""
    store: str
    """The text that the store has; may be empty."""


@dataclass(frozen=True)
class Explanation:
    """What was signed, what the store computed, and the likely cause. Secrets are shown as ``***``."""

    canonical_request: str
    string_to_sign: str
    store_code: str
    """S3's error code. This and the other fields of the store are empty if its reply does not have them."""
    store_message: str
    store_canonical_request: str
    store_string_to_sign: str
    difference: Difference | None
    """The first difference, or None if nothing differs or the reply does not say enough."""
    cause: str
    """The likely cause, and what to do about it."""
    notes: tuple[str, ...]
    """Other findings."""


def explain(request: str, reply: str = "") -> Explanation:
    """Explains why a store refused a signature.

    ``request``: the request that was sent, its first line and then one line per header (``curl -v`` prints them), or
    only the canonical request. ``reply``: the body of the store's reply.
    """
    found = json.loads(_explain(request, reply))
    store: dict[str, Any] = found["store"]
    difference = found["difference"]
    return Explanation(
        canonical_request=found["canonical_request"],
        string_to_sign=found["string_to_sign"],
        store_code=store["code"],
        store_message=store["message"],
        store_canonical_request=store["canonical_request"],
        store_string_to_sign=store["string_to_sign"],
        difference=None if difference is None else Difference(**difference),
        cause=found["cause"],
        notes=tuple(found["notes"]),
    )


def _explain(request: str, reply: str) -> str:
    call, out = Call(), new_bytes()
    call.check(lib.s3v_explain(from_text(request, "the request"), from_text(reply, "the reply"), out.out, call.err))
    return take_bytes(out).decode()

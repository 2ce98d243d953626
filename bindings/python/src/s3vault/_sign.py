"""Signatures for requests that another HTTP client sends, and what a refusal of one means."""

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
            raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"header {name!r} has a line end in it")
        lines.append(line)
    return from_text("\n".join(lines), "headers")


def _ms(now: datetime | None) -> int:
    """0 is the library's word for its own clock."""
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
    """The headers to add to a request, ``authorization`` among them.

    ``url`` is as it is sent, or ``s3://bucket/key`` for the endpoint of the config. ``headers`` are signed, and sent as
    they are. ``payload_hash`` is the body's SHA-256 in hex, or a word of ``x-amz-content-sha256``; without one the body
    is not signed (``UNSIGNED-PAYLOAD``).
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
    """The URL with a signature in its query: whoever has it may send this one request, for 1 second to 7 days.

    ``headers`` must be sent with it as they are given here. The other arguments are those of :func:`sign`.
    """
    seconds = expires // timedelta(seconds=1)
    if not 0 <= seconds < 2**32:
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"a presigned URL cannot be good for {seconds} seconds")
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
    """The first difference between what was signed and what the store saw."""

    part: str
    """``method``, ``path``, ``query``, ``header``, ``signed headers``, ``payload hash``, ``date``, ``scope``,
    ``canonical request's hash`` or ``access key``."""
    name: str
    """Of the header or the parameter; else empty."""
    line: int
    """In the canonical request, or the string to sign; from 1, and 0 where it is in neither."""
    column: int
    """The first character that differs, from 1."""
    ours: str
    """As it was signed; empty where there is none."""
    store: str
    """As the store has it; empty where it has none."""


@dataclass(frozen=True)
class Explanation:
    """What a request was signed as, what the store says, and what that means. Secret values are ``***``."""

    canonical_request: str
    string_to_sign: str
    store_code: str
    """S3's code; this and what follows are empty where the store does not say."""
    store_message: str
    store_canonical_request: str
    store_string_to_sign: str
    difference: Difference | None
    """None where nothing differs, or the store does not say enough."""
    cause: str
    """The likely cause, and what helps."""
    notes: tuple[str, ...]
    """What else is odd."""


def explain(request: str, reply: str = "") -> Explanation:
    """Why a store refused a signature.

    ``request``: as it was sent, its first line and then a line for each header (``curl -v`` shows them); or the
    canonical request alone. ``reply``: the body of the store's answer.
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

"""Verifies a signed manifest without a store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ._call import Buffer, Call, from_text, new_bytes, take_bytes
from ._ffi import lib
from ._time import from_ms
from ._version import VersionInfo

# Kinds as the manifest names them, and as the API does.
_KINDS = {"full": "full", "inc": "incremental", "del": "deleted"}


@dataclass(frozen=True)
class Verdict:
    """The result of :func:`verify_manifest`."""

    verdict: str
    """``good``: signed by one of the keys. ``unsigned``: valid, but not signed. ``bad``: do not trust it."""
    reason: str
    """Why the verdict is ``bad``; otherwise empty."""
    key_id: str | None
    """Id of the key that signed it."""
    info: VersionInfo | None
    """The version it describes, or None if it cannot be read. Trust it only if the verdict is ``good``."""
    parts: int
    """Number of parts of the data."""


def verify_manifest(manifest: Any, public_keys: str) -> Verdict:
    """Verifies the signature of a manifest: a bytes-like object, as :meth:`Version.manifest` returns it.

    ``public_keys``: the trusted keys, one line each, as :attr:`Keyring.public` returns them.
    """
    call, out = Call(), new_bytes()
    with Buffer(manifest) as source:
        keys = from_text(public_keys, "public keys")
        call.check(lib.s3v_manifest_verify(source.address, source.size, keys, out.out, call.err))
    found: dict[str, Any] = json.loads(take_bytes(out))
    return Verdict(
        verdict=found["verdict"],
        reason=found.get("reason") or "",
        key_id=found.get("key_id") or None,
        info=_info(found) if found.get("vid") else None,
        parts=found.get("parts") or 0,
    )


def _info(found: dict[str, Any]) -> VersionInfo:
    return VersionInfo(
        container=found["container"],
        path=found["path"],
        vid=found["vid"],
        kind=_KINDS[found["kind"]],
        parent=found.get("parent") or None,
        size=found["size"],
        initiated=from_ms(found["initiated"]),
        recorded=from_ms(found["recorded"]),
        manifest_hash=found["hash"],
        signed_by=found.get("key_id") or None,
        labels=found.get("labels") or {},
    )

"""The verdict on a signed manifest, without a store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ._call import Buffer, Call, from_text, new_bytes, take_bytes
from ._ffi import lib
from ._time import from_ms
from ._version import VersionInfo

# The manifest's words for the kinds, and everybody's.
_KINDS = {"full": "full", "inc": "incremental", "del": "deleted"}


@dataclass(frozen=True)
class Verdict:
    """``good``: signed by one of the keys. ``unsigned``: whole, and by nobody. ``bad``: do not trust it."""

    verdict: str
    reason: str
    """Why, in words."""
    key_id: str | None
    """Who signed it."""
    info: VersionInfo | None
    """What it says of itself; None where it cannot be read. Believe it only where the verdict is ``good``."""
    parts: int
    """How many parts the data has."""


def verify_manifest(manifest: Any, public_keys: str) -> Verdict:
    """Checks the signature of a manifest (bytes-like, as :meth:`Version.manifest` returns it).

    ``public_keys``: lines as :attr:`Keyring.public` gives them.
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
    )

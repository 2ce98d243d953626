"""What a verification reports: of one version, and of many."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Callable


@dataclass(frozen=True)
class BadPart:
    """The first part of a version that is not what was stored."""

    part: int
    """Its number, from 1."""
    extent: int
    """The number of its extent, from 1."""
    key: str
    """The key of the extent when it was written."""
    start: int
    """Its offset in the extent, in stored bytes."""
    offset: int
    """Its offset in the backup, in bytes."""
    length: int
    """Its length in bytes."""


@dataclass(frozen=True)
class VersionReport:
    """What is known of a version after all of it was read."""

    verdict: str
    """``good``: all of it is what was stored. ``damaged``: bytes differ. ``missing``: an object is gone or was
    replaced. ``untrusted``: no trusted key signed its manifest or its locator. ``unverifiable``: it is there, and
    nothing tells whether it is what was stored."""
    container: str
    path: str
    vid: str
    bytes: int
    """Bytes that were read and are right."""
    parts: int
    """Parts that were read and are right."""
    first_bad_part: BadPart | None
    reason: str
    """Why the verdict is not ``good``."""

    @property
    def is_bad(self) -> bool:
        """Whether the version cannot be restored as it was stored."""
        return self.verdict in ("damaged", "missing", "untrusted")

    @classmethod
    def from_json(cls, text: str) -> VersionReport:
        """Reads a report of the library."""
        return cls._of(json.loads(text))

    @classmethod
    def _of(cls, found: dict[str, Any]) -> VersionReport:
        bad = found["first_bad_part"]
        part = None if bad is None else BadPart(**{field.name: bad[field.name] for field in fields(BadPart)})
        values = {field.name: found[field.name] for field in fields(cls)}
        return cls(**{**values, "first_bad_part": part})


@dataclass(frozen=True)
class VerifyReport:
    """What :meth:`Vault.verify` found."""

    versions: int
    """Number of versions that were looked at."""
    hidden: int
    """Number of those that are not listed, but needed by one that is: they are hidden, or gone."""
    chosen: int
    """Number of versions that the sample has."""
    resumed: int
    """Number of those that an earlier run had verified."""
    sample: int
    sample_seed: int
    good: int
    damaged: int
    missing: int
    untrusted: int
    unverifiable: int
    bytes: int
    """Bytes that were read and are right."""
    not_good: tuple[VersionReport, ...]
    """The first hundred versions that are not good."""

    @property
    def bad(self) -> int:
        """Number of versions that cannot be restored as they were stored."""
        return self.damaged + self.missing + self.untrusted

    @classmethod
    def from_json(cls, text: str) -> VerifyReport:
        """Reads a report of the library."""
        found: dict[str, Any] = json.loads(text)
        found["not_good"] = tuple(VersionReport._of(one) for one in found["not_good"])
        return cls(**{field.name: found[field.name] for field in fields(cls)})


VersionFunction = Callable[[VersionReport], object]

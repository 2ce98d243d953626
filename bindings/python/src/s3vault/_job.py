"""What the jobs of a vault report: prune, sweep, rotate, rekey, retire and adopt."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Callable

from ._time import parse_rfc3339

# Kinds as items name them, and as the API does.
_KINDS = {"full": "full", "inc": "incremental", "del": "deleted"}


@dataclass(frozen=True)
class JobItem:
    """What a job does with one version."""

    action: str
    """``keep``: it stays. ``delete``: it was hidden; a later job frees it. ``free``: its data was removed.
    ``suspect``: a put that was abandoned was marked; a later job removes what it left. ``wait``: it is too early, or
    something else goes first. ``refused``: the store refused to delete it, because of a lock or a missing permission; a
    later job tries again. ``problem``: something is wrong with it, and nothing was changed. ``adopt``: an object of
    another program was made a version. ``abort``: an upload that the version does not need was aborted, and the version
    stays. ``rotate``: its data key was wrapped with the current key-encryption key. ``rekey``: its data was copied
    under a new data key. ``leave``: it stays under its data key, since only a new backup can have another one. A newer
    library may have others."""
    dry_run: bool
    """Whether it only says what would be done."""
    container: str
    path: str
    vid: str | None
    """The version's id; None if the whole backup is meant."""
    kind: str | None
    """``full``, ``incremental`` or ``deleted``; None if it is not known."""
    recorded: datetime | None
    """The time by which ``as_of`` finds the version; None if it is not known."""
    size: int
    """Its size in bytes; for what was freed, the bytes that it took in the store."""
    reason: str
    """Why."""
    text: str
    """All of it in a sentence."""

    @classmethod
    def from_json(cls, line: str) -> JobItem:
        """Reads an item of the library."""
        found: dict[str, Any] = json.loads(line)
        recorded = found.get("recorded")
        return cls(
            action=found["action"],
            dry_run=found["dry_run"],
            container=found["container"],
            path=found["path"],
            vid=found.get("vid") or None,
            kind=_KINDS.get(found.get("kind") or ""),
            recorded=None if recorded is None else parse_rfc3339(recorded),
            size=found["bytes"],
            reason=found["reason"],
            text=found["text"],
        )


@dataclass(frozen=True)
class JobReport:
    """What a job did altogether; in a dry run, what it would do."""

    dry_run: bool
    """Whether it was a dry run."""
    backups: int
    """Number of backups that were looked at."""
    versions: int
    """Number of versions that were looked at."""
    kept: int
    """Number of versions that stay."""
    deleted: int
    """Number of versions that were hidden."""
    deleted_bytes: int
    """Size of the versions that were hidden, in bytes."""
    freed: int
    """Number of versions whose data was removed."""
    freed_bytes: int
    """Bytes in the store that were freed."""
    suspected: int
    """Number of abandoned puts that were marked."""
    waiting: int
    """Number of versions that wait for a later run."""
    adopted: int
    """Number of objects of other programs that were made versions."""
    aborted: int
    """Number of uploads that were aborted although their version stays."""
    rotated: int
    """Number of versions whose data key was wrapped with the current key-encryption key."""
    rekeyed: int
    """Number of versions whose data was copied under a new data key."""
    rekeyed_bytes: int
    """Bytes of these versions in the store."""
    left: int
    """Number of versions that a re-keying leaves under their data keys: only new backups can have others."""
    problems: int
    """Number of problems."""
    problem_texts: tuple[str, ...]
    """What the first hundred problems are."""

    @classmethod
    def from_json(cls, text: bytes) -> JobReport:
        """Reads a report of the library."""
        found: dict[str, Any] = json.loads(text)
        found["problem_texts"] = tuple(found["problem_texts"])
        return cls(**{field.name: found[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Retirement:
    """Where the retirement of a key-encryption key (KEK) is."""

    kek: str
    """The KEK's id."""
    state: str
    """``waiting``: puts that are running may still need it; retire it again at ``wait_until``. ``needed``: versions
    need it; rotate first. ``retired``: nothing needs it, and the keyring no longer has it."""
    wait_until: datetime | None
    """Until when to wait, by the store's clock; None if no bucket has to be waited for."""
    needed: int
    """Number of locators that need it."""
    first: tuple[str, ...]
    """Keys of the first ten of them."""

    @classmethod
    def from_json(cls, text: bytes) -> Retirement:
        """Reads a report of the library."""
        found: dict[str, Any] = json.loads(text)
        until = found["wait_until"]
        return cls(
            kek=found["kek"],
            state=found["state"],
            wait_until=None if until is None else parse_rfc3339(until),
            needed=found["needed"],
            first=tuple(found["first"]),
        )


ItemFunction = Callable[[JobItem], object]

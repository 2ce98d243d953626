"""Buckets of tests: that of the environment's vault, and a new one for a test, with the command as a program on it."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from boto3_client import client
from callers import command


@dataclass
class Said:
    """What the command printed, and how it ended."""

    code: int
    out: list[str]
    error: list[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of its JSON."""
        return [json.loads(line) for line in self.out]


def bucket_of(container: str) -> str:
    """The bucket in which the environment's vault has this container, whose name is of a-z, 0-9 and '-'."""
    if os.environ.get("S3VAULT_MODE") != "bucket-per-vm":
        return os.environ["S3VAULT_BUCKET"]
    names = [str(bucket["Name"]) for bucket in client().list_buckets()["Buckets"]]
    (name,) = (name for name in names if name.startswith(f"{os.environ['S3VAULT_BUCKET_PREFIX']}{container}-"))
    return name


@dataclass
class Bucket:
    """A new bucket with versioning, or with object lock."""

    locked: bool = False
    name: str = field(default_factory=lambda: f"b-{uuid.uuid4().hex[:16]}")

    def __post_init__(self) -> None:
        self.s3 = client()
        self.s3.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=self.locked)
        if not self.locked:
            self.set_versioning("Enabled")

    def set_versioning(self, status: str) -> None:
        self.s3.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})

    def set_default_retention(self, days: int) -> None:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": days}}
        self.s3.put_object_lock_configuration(
            Bucket=self.name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )

    def _all(self, what: str, prefix: str) -> Iterator[dict[str, Any]]:
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=prefix):
            yield from page.get(what, [])

    def versions(self, prefix: str = "") -> list[dict[str, Any]]:
        return list(self._all("Versions", prefix))

    def delete_markers(self, prefix: str = "") -> list[dict[str, Any]]:
        return list(self._all("DeleteMarkers", prefix))

    def of_the_version(self, vid: str) -> list[dict[str, Any]]:
        """The objects of a version of a backup: data, locator and entry, and its marker."""
        return [one for one in self.versions() if f"/{vid}." in one["Key"] or self._is_data(one, vid)]

    def _is_data(self, one: dict[str, Any], vid: str) -> bool:
        if one["Key"].startswith("_s3vault/"):
            return False
        head = self.s3.head_object(Bucket=self.name, Key=one["Key"], VersionId=one["VersionId"])
        return bool(head["Metadata"].get("s3vault-vid") == vid)

    def run(self, *arguments: str, code: int = 0, data: bytes = b"", **settings: str) -> Said:
        """Runs the command in this bucket; it must end with this code."""
        named = {f"S3VAULT_{name.upper()}": value for name, value in settings.items()}
        done = command().run(
            *arguments, env={**os.environ, "S3VAULT_BUCKET": self.name, **named}, input=data, capture_output=True, timeout=300
        )
        said = Said(done.returncode, done.stdout.decode().splitlines(), done.stderr.decode().splitlines())
        assert said.code == code, (arguments, said)
        return said

    def put(self, path: str, data: bytes, *options: str, **settings: Any) -> str:
        """Stores a version of `vm`; returns its id."""
        return str(self.run("--json", "put", "vm", path, "-", *options, data=data, **settings).rows[0]["vid"])

    def get(self, path: str, *options: str, **settings: str) -> bytes:
        """Restores a version of `vm`."""
        done = command().run(
            "get", "vm", path, "-", *options, env={**os.environ, "S3VAULT_BUCKET": self.name}, stdout=subprocess.PIPE, check=True
        )
        return bytes(done.stdout)

    def visible(self, path: str) -> list[str]:
        """The ids of the versions that are listed, the newest first."""
        return [row["vid"] for row in self.run("--json", "versions", "vm", path).rows]

"""A reader of 60 lines that knows docs/format.md and boto3 restores backups of every mode, and everything that a vault writes
is as docs/format.schema.json says: so the page suffices to write another reader.
"""

import io
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import s3vault
from boto3_client import client

ROOT = Path(__file__).resolve().parents[2]
READER = ROOT / "tests" / "reader" / "read_backups.py"
sys.path.insert(0, str(READER.parent))
read_backups: Any = __import__("read_backups")

SCHEMA = json.loads((ROOT / "docs" / "format.schema.json").read_text())
NATIVE = {"single-bucket": True, "single-bucket-no-versioning": False, "per-vm": True, "per-vm-emulated": False}
PATH = "disks/größe 1.img"
HASHED = "/".join(["segment"] * 80)
FULL, CHANGES, LARGE = b"a full backup" * 1000, b"what changed", bytes(range(256)) * (20 << 12)


@dataclass
class Backups:
    """A vault of one mode, and what was stored in it."""

    vault: s3vault.Vault
    bucket: str
    public_key: str
    versions: dict[str, s3vault.Version]

    def reader(self, public_key: str | None = None) -> Any:
        return read_backups.Reader(client(), self.bucket, public_key or self.public_key)

    def restored(self, version: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        self.reader().restore(version, file)
        return file.getvalue()


def put(vault: s3vault.Vault, path: str, data: bytes, **options: Any) -> s3vault.Version:
    with vault.create("vm", path, **options) as upload:
        upload.write(data)
    assert upload.version is not None
    return upload.version


@pytest.fixture(scope="module", params=NATIVE)
def backups(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backups]:
    s3, mode, prefix = client(), request.param, f"r{uuid.uuid4().hex[:8]}-"
    bucket = read_backups.bucket_of(prefix, "vm") if mode.startswith("per-vm") else f"{prefix}all"
    s3.create_bucket(Bucket=bucket)
    if NATIVE[mode]:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    changes = {
        "single-bucket": {"bucket": bucket},
        "single-bucket-no-versioning": {"bucket": bucket, "mode": mode},
        "per-vm": {"bucket": "", "mode": "bucket-per-vm", "bucket_prefix": prefix},
        "per-vm-emulated": {
            "bucket": "", "mode": "bucket-per-vm", "bucket_prefix": prefix, "per_vm_versioning": "emulated"
        },
    }[mode]  # fmt: skip
    keyring = s3vault.Keyring.create(tmp_path_factory.mktemp("keys") / "vault.keys")
    config = s3vault.Config().env()
    for key, value in changes.items():
        config.set(key, value)
    with s3vault.open(config, keyring=keyring) as vault:
        versions = {"full": put(vault, PATH, FULL)}
        full = versions["full"].info.vid
        versions["inc"] = put(vault, PATH, CHANGES, kind="incremental", parent=full)
        versions["second"] = put(vault, PATH, CHANGES * 2, kind="incremental", parent=versions["inc"].info.vid)
        versions["large"] = put(vault, HASHED, LARGE)
        versions["gone"] = put(vault, "gone", b"gone")
        vault.delete("vm", "gone")
        versions["kept"] = put(vault, "versions", b"kept")
        put(vault, "versions", b"deleted").delete()
        s3.put_object(Bucket=bucket, Key="vm/foreign", Body=b"written by another program")
        assert vault.adopt(container="vm").adopted == 1
        s3.put_object(Bucket=bucket, Key="vm/hashed", Body=b"and read")
        assert vault.adopt(container="vm", hash=True).adopted == 2
        s3.put_object(Bucket=bucket, Key="vm/unread", Body=b"not read")
        assert vault.adopt(container="vm").adopted == 1
        yield Backups(vault, bucket, keyring.public, versions)


def test_it_restores_the_latest_and_as_of_a_time(backups: Backups) -> None:
    reader, newest = backups.reader(), backups.versions["second"].info
    assert [found["vid"] for found in reader.versions("vm", PATH)] == [v.vid for v in backups.vault.versions("vm", PATH)]
    assert reader.find("vm", PATH)["vid"] == newest.vid
    at = int(backups.versions["inc"].info.recorded.timestamp() * 1000 + 0.5)
    found = reader.find("vm", PATH, as_of=at)
    assert (found["vid"], backups.restored(found)) == (backups.versions["inc"].info.vid, CHANGES)
    assert reader.find("vm", PATH, as_of=0) is None
    found = reader.find("vm", HASHED)
    assert len(found["extents"][0]["parts"]) > 1 and backups.restored(found) == LARGE


def test_it_restores_a_chain(backups: Backups) -> None:
    reader, found, chain = backups.reader(), backups.reader().find("vm", PATH), []
    while True:
        chain.append(backups.restored(found))
        if found["kind"] == "full":
            break
        found = reader.find("vm", PATH, vid=found["parent"])
    assert chain == [CHANGES * 2, CHANGES, FULL]


def test_what_was_deleted_is_gone_and_can_be_found_as_of_before(backups: Backups) -> None:
    reader, gone = backups.reader(), backups.versions["gone"].info
    assert reader.find("vm", "gone") is None
    assert backups.restored(reader.find("vm", "gone", vid=gone.vid)) == b"gone"
    found = reader.find("vm", "versions")
    assert (found["vid"], backups.restored(found)) == (backups.versions["kept"].info.vid, b"kept")


def test_it_restores_what_was_adopted_and_notices_another_object(backups: Backups) -> None:
    reader = backups.reader()
    for path, data, has_hashes in (("hashed", b"and read", True), ("unread", b"not read", False)):
        found = reader.find("vm", path)
        assert (backups.restored(found), bool(found["extents"][0]["parts"])) == (data, has_hashes)
    unread = reader.find("vm", "unread")
    if "version_id" not in unread["extents"][0]:
        client().put_object(Bucket=backups.bucket, Key="vm/unread", Body=b"replaced")
        with pytest.raises(ValueError, match="was replaced"):
            backups.restored(unread)


def test_it_trusts_nobody_but_the_key(backups: Backups, tmp_path: Path) -> None:
    s3, found = client(), backups.reader().find("vm", PATH)
    folder = found["key"][: found["key"].rindex("/") + 1]
    forged = [f"{folder}{found['vid']}.-d", f"{folder}00000000000000000000000000.{found['recorded']}.del.0.-"]
    for key in forged:
        s3.put_object(Bucket=backups.bucket, Key=key, Body=b"{}\n")
    assert backups.reader().find("vm", PATH) == found
    for key in forged:
        for version in s3.list_object_versions(Bucket=backups.bucket, Prefix=key).get("Versions", []):
            s3.delete_object(Bucket=backups.bucket, Key=key, VersionId=version["VersionId"])
    other = s3vault.Keyring.create(tmp_path / "other.keys").public
    assert backups.reader(other).versions("vm", PATH) == []


def test_everything_that_a_vault_writes_is_as_the_schema_says(backups: Backups) -> None:
    s3, validator = client(), jsonschema.Draft202012Validator(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    kinds = set()
    for key in backups.reader().list("_s3vault/"):
        line = s3.get_object(Bucket=backups.bucket, Key=key)["Body"].read().split(b"\n")[0]
        found = json.loads(line)
        errors = [f"{key}: {error.message}" for error in validator.iter_errors(found)]
        assert not errors, errors
        kinds.add((key.split("/")[2] if found.get("key") else "vault.json", found.get("kind") or found.get("marker")))
        if "adopted" in found:
            kinds.add(("adopted", bool(found.get("extents", [{}])[0].get("parts"))))
        # What lacks any field that it must have is not valid, nor is what says something else of it.
        for field in ("format", "key", "vid", "extents", "data", "marker"):
            if field in found:
                assert not validator.is_valid({name: found[name] for name in found if name != field}), (key, field)
        assert not validator.is_valid({**found, "format": 2})
    expected = {("vault.json", None), ("loc", None), ("cat", "deleted"), ("adopted", True), ("adopted", False)}
    assert kinds >= expected | {("cat", kind) for kind in ("full", "inc", "del")}, kinds


def test_it_is_a_program_of_60_lines(backups: Backups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = READER.read_text()
    assert len(text.splitlines()) <= 60 and not re.search(r"import s3vault|from s3vault", text)
    assert all(len(line) <= 120 for line in text.splitlines())
    s3 = client()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.meta.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3._request_signer._credentials.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3._request_signer._credentials.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    if isinstance(s3._endpoint.http_session._verify, str):
        monkeypatch.setenv("AWS_CA_BUNDLE", s3._endpoint.http_session._verify)
    file = tmp_path / "restored"
    command = [sys.executable, str(READER), backups.bucket, "vm", HASHED, str(file), backups.public_key]
    subprocess.run(command, check=True)
    assert file.read_bytes() == LARGE

"""`s3vault verify` and `s3vault adopt` as programs, and the same calls in Python: what they print, and how they end."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3vault
from boto3_client import client


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "vault.keys"
    s3vault.Keyring.create(file)
    return file


@pytest.fixture
def vault(keyring: Path) -> Iterator[s3vault.Vault]:
    with s3vault.open(s3vault.Config().env(), keyring=keyring) as opened:
        yield opened


@pytest.fixture
def container() -> str:
    return f"v-{uuid.uuid4().hex[:12]}"


def put(vault: s3vault.Vault, container: str, path: str) -> dict[str, Any]:
    """Stores a version, and returns its manifest."""
    with vault.create(container, path) as upload:
        upload.write(b"a backup")
    assert upload.version is not None
    manifest: dict[str, Any] = json.loads(upload.version.manifest().split(b"\n")[0])
    return manifest


def run(keyring: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "s3vault", *arguments],
        env={**os.environ, "S3VAULT_KEYRING": str(keyring)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_bad_versions_are_told_apart_and_end_the_command_with_6(
    vault: s3vault.Vault, keyring: Path, container: str, tmp_path: Path
) -> None:
    s3, bucket = client(), vault.bucket
    good, missing, untrusted = (put(vault, container, path) for path in ("good", "missing", "untrusted"))
    extent = missing["extents"][0]
    s3.delete_object(Bucket=bucket, Key=extent["key"], VersionId=extent["version_id"])
    s3.put_object(Bucket=bucket, Key=untrusted["key"], Body=b"{}\n")
    seen: list[s3vault.VersionReport] = []
    report = vault.verify(on_version=seen.append, container=container)
    assert (report.versions, report.good, report.missing, report.untrusted, report.bad) == (3, 1, 1, 1, 2)
    assert [(one.path, one.verdict) for one in seen] == [(path, path) for path in ("good", "missing", "untrusted")]
    first = seen[1].first_bad_part
    assert first is not None and (first.part, first.key, first.length) == (1, extent["key"], 8)
    found = run(keyring, "verify", container, "--json")
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert (found.returncode, [line.get("verdict") for line in lines]) == (6, ["good", "missing", "untrusted", None])
    assert lines[-1]["missing"] == 1 and lines[1]["first_bad_part"]["part"] == 1
    assert json.loads(found.stderr.splitlines()[-1]) == {"problem": "2 versions are bad"}
    text = run(keyring, "verify", container, "--state", str(tmp_path / "state"))
    assert text.returncode == 6 and "1 of 3 versions are good (8 B read); 1 missing; 1 untrusted" in text.stdout
    assert f"missing: {container}/missing" in text.stdout
    for arguments, code in (
        ([container, "good"], 0),
        ([container, "good", "--version", good["vid"].lower()[:20]], 0),
        ([container, "missing", "--version", missing["vid"]], 6),
        ([container, "--version", good["vid"]], 2),
        ([container, "--sample", "0"], 2),
    ):
        ended = run(keyring, "verify", *arguments)
        assert ended.returncode == code, (arguments, ended)
    assert vault.find(container, "good").verify().verdict == "good"


# A segment of a path has at most 200 bytes. Every store can store this one.
REFUSED = "a" * 201


def test_what_another_program_wrote_is_adopted(
    vault: s3vault.Vault, keyring: Path, container: str, tmp_path: Path
) -> None:
    s3, bucket = client(), vault.bucket
    s3.put_object(Bucket=bucket, Key=f"{container}/disk", Body=b"first")
    s3.put_object(Bucket=bucket, Key=f"{container}/disk", Body=b"second")
    s3.put_object(Bucket=bucket, Key=f"{container}/{REFUSED}", Body=b"a name that is refused")
    dry = run(keyring, "adopt", container, "--dry-run")
    assert dry.returncode == 4 and dry.stdout.count("would adopt") == 3, dry
    assert not list(vault.versions(container, "disk"))
    adopted = run(keyring, "adopt", container)
    assert adopted.returncode == 4 and "adopted 2 versions" in adopted.stdout, adopted
    assert f"{REFUSED} is not adopted" in adopted.stderr, adopted
    s3.delete_object(
        Bucket=bucket, Key=f"{container}/{REFUSED}",
        VersionId=s3.list_object_versions(Bucket=bucket, Prefix=f"{container}/{REFUSED}")["Versions"][0]["VersionId"],
    )  # fmt: skip
    again = run(keyring, "adopt", container)
    assert again.returncode == 0 and again.stdout == "nothing to adopt; 2 stay\n", again
    versions = list(vault.versions(container, "disk"))
    assert [version.size for version in versions] == [6, 5]
    for version, data in zip(versions, (b"second", b"first"), strict=True):
        file = tmp_path / version.vid
        vault.find(container, "disk", version=version.vid).restore(file)
        assert file.read_bytes() == data
    hashed = vault.adopt(container=container, hash=True)
    assert (hashed.adopted, hashed.kept, hashed.problems) == (2, 0, 0)
    assert vault.verify(container=container).good == 2

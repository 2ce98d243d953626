"""docs/recovery-without-s3vault.md, word for word: an escrow file, age, Python with two packages, and no s3vault."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from callers import ROOT
from test_disaster import FENCE, NAME, machine

PAGE = ROOT / "docs/recovery-without-s3vault.md"
# The embedded store has no SSE-C.
ENCRYPTIONS = ["none", "envelope", "sse-c"] if os.environ["S3VAULT_TEST_STORE"] == "minio" else ["none", "envelope"]


def blocks() -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = FENCE.findall(PAGE.read_text())
    assert [mark for _, mark, _ in found] == ["install", "recover", "restore.py", "store", "recover"]
    return found


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_a_backup_is_restored_without_s3vault(encryption: str, tmp_path: Path) -> None:
    old, new = machine(tmp_path / "old"), machine(tmp_path / "new")
    bucket = f"without-{encryption}-{os.getpid()}"
    unversioned = ["unversioned"] if os.environ.get("S3VAULT_MODE") == "single-bucket-no-versioning" else []
    subprocess.run([sys.executable, str(ROOT / "scripts/stores/bucket.py"), bucket, *unversioned], check=True)
    settings = {"S3VAULT_BUCKET": bucket, "S3VAULT_ENCRYPTION": encryption, "S3VAULT_KEYRING": "vault.keys"}
    old.environment.update(settings)
    data = {"full": os.urandom(20_000_001), "incremental": os.urandom(1 << 20)}
    for name, content in data.items():
        (old.folder / name).write_bytes(content)
    vid = f"{sys.executable} -c 'import json; print(json.loads(input())[\"vid\"])'"
    said = old.run(
        f"""
        s3vault keys new vault.keys
        s3vault keys export vault.keys vault.escrow.age
        s3vault put {NAME[0]} {NAME[1]} full
        parent=$(s3vault --json versions {NAME[0]} {NAME[1]} | {vid})
        s3vault keys rotate vault.keys --out newer.escrow.age
        s3vault put {NAME[0]} {NAME[1]} incremental --kind incremental --parent "$parent"
        s3vault put {NAME[0]} deleted incremental
        s3vault rm {NAME[0]} deleted
        echo "parent: $parent"
        """
    )
    parent = re.search(r"^parent: (\w+)", said, re.MULTILINE)
    assert parent
    # Versions under both keys are there: only the newer escrow opens all.
    (new.folder / "vault.escrow.age").write_bytes((old.folder / "newer.escrow.age").read_bytes())
    programs = new.home.parent / "bin"
    (programs / "s3vault").unlink()
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python3").chmod(0o755)
    new.environment.update({
        "AWS_ENDPOINT_URL": os.environ["S3VAULT_API_URL"],
        "AWS_REGION": os.environ.get("S3VAULT_REGION", "us-east-1"),
        "AWS_ACCESS_KEY_ID": os.environ["S3VAULT_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": os.environ["S3VAULT_SECRET_KEY"],
        "bucket": bucket,
    })
    if ca := os.environ.get("S3VAULT_CA_FILE"):
        new.environment["AWS_CA_BUNDLE"] = ca
    said = ""
    for language, mark, text in blocks():
        if language == "python":
            (new.folder / mark).write_text(text)
        elif mark == "recover":
            said += new.run(text)
    assert (new.folder / "restored.img").read_bytes() == data["incremental"]
    assert f"needs {parent[1]}" in said and f"{len(data['full'])} bytes" in said and "ignored" not in said
    new.run(f"python3 restore.py keys.json $bucket {NAME[0]} {NAME[1]} full {parent[1]}")
    assert (new.folder / "full").read_bytes() == data["full"]
    with pytest.raises(AssertionError, match="there is no such version"):
        new.run(f"python3 restore.py keys.json $bucket {NAME[0]} deleted gone")
    if encryption != "none":
        (new.folder / "keys.json").write_text('{"keyring": {}, "verify_keys": []}')
        with pytest.raises(AssertionError, match="no key of this escrow file opens"):
            new.run(f"python3 restore.py keys.json $bucket {NAME[0]} {NAME[1]} none")

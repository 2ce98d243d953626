"""Backups that are encrypted before they are stored (encryption = envelope): the command puts and gets them, no plaintext is on
the store, and a program of 50 lines that knows docs/format.md and Python's `cryptography` opens them.
"""

import base64
import fcntl
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import s3vault
from boto3_client import client
from buckets import bucket_of

ROOT = Path(__file__).resolve().parents[2]
DECRYPTOR = ROOT / "tests" / "reader" / "decrypt_backup.py"
sys.path.insert(0, str(DECRYPTOR.parent))
decrypt_backup: Any = __import__("decrypt_backup")
MIB = 1 << 20
# Found in each of its blocks of 8 KiB.
WORDS = b"this is the plaintext of a backup"


def with_kek(file: Path) -> Path:
    """A new keyring file that has a key-encryption key."""
    s3vault.Keyring.create(file)
    keyring = json.loads(file.read_text())
    if not keyring.get("keks"):
        key = os.urandom(32)
        name = hashlib.sha256(b"s3vault/1 kek\0" + key).hexdigest()[:16]
        kek = {"id": name, "key": base64.b64encode(key).decode(), "created": 1764000000000, "escrowed": False}
        file.write_text(json.dumps({**keyring, "keks": [kek], "current": name}) + "\n")
    return file


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_kek(tmp_path_factory.mktemp("keys") / "vault.keys")


@pytest.fixture(scope="module")
def vault(keyring: Path) -> Iterator[s3vault.Vault]:
    config = s3vault.Config().env().set("encryption", "envelope")
    with s3vault.open(config, keyring=s3vault.Keyring.open(keyring)) as opened:
        yield opened


def source(length: int) -> bytes:
    block = WORDS + os.urandom(8192 - len(WORDS))
    return (block * (length // len(block) + 1))[:length]


def command(keyring: Path, *arguments: str) -> None:
    environment = {**os.environ, "S3VAULT_KEYRING": str(keyring), "S3VAULT_ENCRYPTION": "envelope"}
    done = subprocess.run(
        [sys.executable, "-m", "s3vault", *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr


def decrypted(keyring: Path, container: str, path: str) -> bytes:
    reader = decrypt_backup.Reader(client(), bucket_of(container))
    file = io.BytesIO()
    decrypt_backup.restore(reader, json.loads(keyring.read_text()), reader.find(container, path), file)
    return file.getvalue()


@pytest.mark.parametrize("length", [0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB, 8 * MIB + 1, 30 * MIB])
def test_the_command_stores_what_the_decryptor_opens(keyring: Path, tmp_path: Path, length: int) -> None:
    data, file, restored = source(length), tmp_path / "source", tmp_path / "restored"
    file.write_bytes(data)
    path = f"disk{length}"
    command(keyring, "put", "vm", path, str(file))
    assert decrypted(keyring, "vm", path) == data
    command(keyring, "get", "vm", path, str(restored))
    assert restored.read_bytes() == data


def test_a_stream_of_unknown_length_is_opened_by_the_decryptor(keyring: Path, vault: s3vault.Vault) -> None:
    data = source(21 * MIB + 7)
    with vault.create("vm", "stream") as upload:
        for start in range(0, len(data), 777_777):
            upload.write(data[start : start + 777_777])
    assert decrypted(keyring, "vm", "stream") == data
    assert vault.find("vm", "stream").open(verify="part").read() == data


def test_no_plaintext_is_on_the_store(vault: s3vault.Vault) -> None:
    with vault.create("vm", "secret") as upload:
        upload.write(source(9 * MIB))
    s3, bucket, seen = client(), bucket_of("vm"), 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            assert WORDS not in body, item["Key"]
            seen += len(body)
    assert seen > 9 * MIB


def test_locators_and_manifests_are_as_the_schema_says(vault: s3vault.Vault) -> None:
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "format.schema.json").read_text()))
    with vault.create("vm", "described") as upload:
        upload.write(source(9 * MIB))
    reader = decrypt_backup.Reader(client(), bucket_of("vm"))
    manifest = reader.find("vm", "described")
    (locator,) = map(reader.signed, reader.list(f"_s3vault/1/loc/vm/described/{manifest['vid']}."))
    assert (manifest["encryption"], manifest["wrapped"]) == ("envelope", locator["wrapped"])
    for found in (manifest, locator):
        validator.validate(found)
        others: list[dict[str, Any]] = [{"encryption": "none"}, {"encryption": "sse-c"}, {"wrapped": {}}]
        for other in others:
            is_right = found is locator and other == {"encryption": "sse-c"}
            assert validator.is_valid({**found, **other}) == is_right, other
        assert not validator.is_valid({name: found[name] for name in found if name != "wrapped"})


def test_backups_from_before_stay_readable_and_new_ones_follow_the_setting(keyring: Path, vault: s3vault.Vault) -> None:
    plain, data = s3vault.Config().env(), [source(2 * MIB), source(3 * MIB)]
    with s3vault.open(plain, keyring=s3vault.Keyring.open(keyring)) as before:
        with before.create("vm", "mixed") as upload:
            upload.write(data[0])
        with vault.create("vm", "mixed") as upload:
            upload.write(data[1])
        for opened in (before, vault):
            versions = list(opened.versions("vm", "mixed"))
            found = [opened.find("vm", "mixed", version=version.vid).open().read() for version in versions]
            assert found == [data[1], data[0]]


def hook(name: str, body: dict[str, Any] | None = None) -> Any:
    """Asks or tells the embedded store something that is not S3."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{os.environ['S3VAULT_API_URL']}/_embedded/{name}", data)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def age_markers() -> None:
    """Makes the markers of closed keys so old that every put from before them has ended."""
    hook("age", {"bucket": bucket_of("vm"), "part": ".closed", "seconds": 7200})


def retire(keyring: Path, kek: str) -> int:
    return subprocess.run(retiring(keyring, kek), capture_output=True, check=False).returncode


def retiring(keyring: Path, kek: str) -> list[str]:
    return [sys.executable, "-m", "s3vault", "keys", "retire", str(keyring), kek]


@pytest.mark.skipif(os.environ.get("S3VAULT_TEST_STORE") != "embedded", reason="only it makes a marker older")
def test_a_key_is_retired_also_if_the_command_is_killed_before_it_writes_the_keyring(tmp_path: Path) -> None:
    keyring, file, data = with_kek(tmp_path / "vault.keys"), tmp_path / "source", source(3 * MIB)
    file.write_bytes(data)
    command(keyring, "put", "retiring", "disk", str(file))
    (old,) = (kek.id for kek in s3vault.Keyring.open(keyring).info.keks)
    (tmp_path / "passphrase").write_text("correct horse")
    escrow = ["--out", str(tmp_path / "escrow.age"), "--passphrase-file", str(tmp_path / "passphrase")]
    command(keyring, "keys", "rotate", str(keyring), *escrow)
    assert retire(keyring, old) == 9
    age_markers()
    assert retire(keyring, old) == 10
    command(keyring, "rotate", "retiring")
    before, lists = keyring.read_bytes(), hook("stats")["requests"]["ListObjectsV2"]
    with keyring.open("rb") as locked:
        # It looks for the marker and for locators, and then waits for the lock.
        fcntl.flock(locked, fcntl.LOCK_EX)
        with subprocess.Popen(retiring(keyring, old)) as running:
            while hook("stats")["requests"]["ListObjectsV2"] < lists + 2:
                assert running.poll() is None
            time.sleep(0.3)
            assert running.poll() is None, "it waits"
            running.kill()
    assert keyring.read_bytes() == before
    assert retire(keyring, old) == 0
    info = s3vault.Keyring.open(keyring).info
    assert info.retired == (old,) and old not in [kek.id for kek in info.keks]
    assert decrypted(keyring, "retiring", "disk") == data
    command(keyring, "get", "retiring", "disk", str(tmp_path / "restored"))
    assert (tmp_path / "restored").read_bytes() == data


def test_it_is_a_program_of_50_lines() -> None:
    text = DECRYPTOR.read_text()
    assert len(text.splitlines()) <= 50 and not re.search(r"import s3vault|from s3vault", text)
    assert all(len(line) <= 120 for line in text.splitlines())

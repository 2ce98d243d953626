"""Versions that the store encrypts (SSE-C) are re-keyed: the command is killed three times on the way, every version can be
read at every moment, and in the end the store shows each only to its new data key. Memory does not grow with the data.

Where the store does not copy such data (Ceph), it passes through this machine. The last test does the same on every store,
which it calls Ceph.

    scripts/with-store.sh minio -- build/venv/bin/python -m pytest tests/system/test_rekey.py --mib 20480
    scripts/with-store.sh ceph -- build/venv/bin/python -m pytest tests/system/test_rekey.py --mib 384
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
import s3vault
from boto3_client import client, keys
from botocore.exceptions import ClientError

KILLS = 3
OF_EACH = 4
# Size of a version, in MiB: more than one part of a stream.
VERSION = 24
# Most memory of the command, in MiB: it holds slices that it verifies, and 32 MiB of pieces that pass through it.
MEMORY = 256
SAMPLE = 3
# What the command needs for this store.
THROUGH = ["--through-client"] if os.environ.get("S3VAULT_TEST_STORE") == "ceph" else []


class Vault:
    """A bucket of its own with versions that the store encrypts, four of each backup."""

    def __init__(self, folder: Path, versions: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.bucket, self.keyring = f"rekey-{uuid.uuid4().hex[:12]}", folder / "vault.keys"
        s3 = client()
        s3.create_bucket(Bucket=self.bucket)
        s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        # Without an escrow, each put would warn.
        s3vault.Keyring.create(self.keyring).export(passphrase="correct horse")
        self.block = self.random.randbytes(1 << 20)
        self.stored: list[tuple[str, str, str]] = []
        with self.open() as vault:
            vault.init()
            for number in range(versions):
                name = ("vm", f"disks/disk-{number // OF_EACH}.img")
                with vault.create(*name) as upload:
                    for part in range(VERSION):
                        upload.write(self.piece(number, part))
                assert upload.version is not None
                self.stored.append((*name, upload.version.info.vid))

    def piece(self, number: int, part: int) -> bytes:
        return number.to_bytes(4, "big") + part.to_bytes(4, "big") + self.block[8:]

    def data(self, number: int) -> bytes:
        return b"".join(self.piece(number, part) for part in range(VERSION))

    def open(self, **settings: str) -> s3vault.Vault:
        config = s3vault.Config().env().set("bucket", self.bucket).set("encryption", "sse-c")
        for key, value in settings.items():
            config.set(key, value)
        return s3vault.open(config, keyring=self.keyring)

    def new_key(self) -> None:
        """Makes another KEK current."""
        keyring = s3vault.Keyring.open(self.keyring)
        kek = keyring.add()
        keyring.export(passphrase="correct horse")
        keyring.activate(kek)

    def check(self, numbers: list[int]) -> None:
        """Restores these versions."""
        with self.open() as vault:
            for number in numbers:
                container, path, vid = self.stored[number]
                with vault.find(container, path, version=vid).open() as download:
                    assert download.read() == self.data(number)

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        settings = {"S3VAULT_BUCKET": self.bucket, "S3VAULT_KEYRING": str(self.keyring)}
        line = [sys.executable, "-m", "s3vault", "--json", *arguments]
        return subprocess.Popen(line, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True)

    def key_of(self, number: int) -> bytes:
        """The data key that the command shows for a version."""
        container, path, vid = self.stored[number]
        running = self.command("keys", "show", container, path, "--version", vid)
        shown, _ = running.communicate()
        assert running.returncode == 0, shown
        return bytes.fromhex(json.loads(shown)["data_key"])

    def copies(self, number: int) -> list[str]:
        _, path, vid = self.stored[number]
        found = client().list_objects_v2(Bucket=self.bucket, Prefix=f"vm/{path}@{vid}.r")
        return [one["Key"] for one in found.get("Contents", [])]

    def locators(self) -> int:
        """Number of locators that a re-keying has written."""
        return sum(".065536." in key for key in keys(self.bucket, "_s3vault/1/loc/"))

    def rekey_killed(self, after: int) -> None:
        """Runs the command, and kills it once this many versions have another locator, or it has copied some data."""
        running = self.command("rekey", "--grace", "30m", *THROUGH)
        while running.poll() is None and self.locators() < after:
            pass
        running.kill()
        assert running.stdout is not None
        running.stdout.close()
        assert running.wait() == -9, "it was killed on the way"


def read(vault: Vault, key: str, data_key: bytes) -> bytes:
    reply = client().get_object(
        Bucket=vault.bucket, Key=key, SSECustomerAlgorithm="AES256", SSECustomerKey=data_key
    )
    return bytes(reply["Body"].read())


@pytest.fixture(scope="module")
def versions(pytestconfig: pytest.Config) -> int:
    mib = pytestconfig.getoption("mib") or 1_024
    found: int = mib // VERSION // OF_EACH * OF_EACH
    if found < 4 * OF_EACH:
        raise pytest.UsageError(f"--mib is at least {4 * OF_EACH * VERSION}")
    return found


def test_a_rekeying_that_is_killed_continues_and_every_version_can_be_read(
    tmp_path: Path, versions: int, seed: int, record_property, counts
) -> None:
    vault = Vault(tmp_path, versions, seed)
    old_key = vault.key_of(0)
    vault.new_key()
    for kill in range(KILLS):
        vault.rekey_killed(1 + kill * versions // (KILLS + 1))
        vault.check(vault.random.sample(range(versions), SAMPLE))
    written = vault.locators()
    assert 0 < written < versions, "it was killed on the way"
    running = vault.command("rekey", "--grace", "30m", *THROUGH)
    peak = 0
    watched = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not watched.wait(0.05):
            status = Path(f"/proc/{running.pid}/status")
            found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
            peak = max(peak, int(found[1]) // 1024) if found else peak

    thread = threading.Thread(target=watch)
    thread.start()
    output, _ = running.communicate()
    watched.set()
    thread.join()
    assert running.returncode == 0, output
    report = json.loads(output.splitlines()[-1])
    assert report["rekeyed"] == versions - written and not report["problems"], report
    assert vault.locators() == versions
    vault.check(list(range(versions)))
    copies = [vault.copies(number) for number in range(versions)]
    assert all(len(found) == 1 for found in copies), "no version was copied to two keys"
    new_key = vault.key_of(0)
    assert new_key != old_key and read(vault, copies[0][0], new_key) == vault.data(0)
    with pytest.raises(ClientError):
        read(vault, copies[0][0], old_key)
    again = vault.command("rekey", "--grace", "30m", *THROUGH)
    output, _ = again.communicate()
    report = json.loads(output.splitlines()[-1])
    assert (again.returncode, report["rekeyed"], report["waiting"]) == (0, 0, versions), "nothing is left to do yet"
    assert 0 < peak <= MEMORY
    size = versions * VERSION
    record_property("measured", f"{versions} versions of {size:,} MiB, killed {KILLS} times; {peak} MiB of memory")
    counts["MiB re-keyed"] += size


def test_data_that_the_store_does_not_copy_passes_through_this_machine_if_the_caller_agrees(
    tmp_path: Path, seed: int, record_property, counts
) -> None:
    vault = Vault(tmp_path, OF_EACH, seed)
    old_key, size = vault.key_of(0), VERSION << 20
    vault.new_key()
    items: list[s3vault.JobItem] = []
    with vault.open(provider="ceph") as opened:
        report = opened.rekey(on_item=items.append)
        assert (report.rekeyed, report.problems, vault.locators()) == (0, OF_EACH, 0)
        assert all(f"its {size} bytes pass through" in item.reason for item in items), items
        assert all("through_client" in item.reason for item in items), items
        before = s3vault.process.stats()
        report = opened.rekey(through_client=True)
        after = s3vault.process.stats()
    assert (report.rekeyed, report.rekeyed_bytes, report.problems) == (OF_EACH, OF_EACH * size, 0), report
    # Each byte is read, sent, and read back.
    sent, received = after.bytes_up - before.bytes_up, after.bytes_down - before.bytes_down
    assert sent >= OF_EACH * size
    assert received >= 2 * OF_EACH * size
    vault.check(list(range(OF_EACH)))
    new_key, (copy,) = vault.key_of(0), vault.copies(0)
    assert new_key != old_key
    assert read(vault, copy, new_key) == vault.data(0)
    with pytest.raises(ClientError):
        read(vault, copy, old_key)
    record_property("measured", f"{OF_EACH} versions of {VERSION} MiB passed through this machine")
    counts["MiB re-keyed"] += OF_EACH * VERSION

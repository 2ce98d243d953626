"""Many versions are rotated to another key-encryption key: the command is killed three times on the way, every version can be
read at every moment, and in the end none has a locator under the old key. Memory does not grow with the vault.

    scripts/with-store.sh minio -- build/venv/bin/python -m pytest tests/system/test_rotation.py --versions 10000
"""

import json
import os
import random
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import s3vault
from boto3_client import client, keys

OF_EACH = 10
KILLS = 3
# Fewest versions that are rotated with kills: a rotation of fewer could end before it is killed.
KILLED = 1_000
# In MiB, from a tenth of the versions to all of them. What was verified is remembered, up to 10,000 keys.
GROWTH = 12
SAMPLE = 16
# The command, which prints the most memory that it had, in KiB, when it ends.
MEASURED = """
import atexit, json, pathlib, re, runpy

def print_peak():
    status = pathlib.Path("/proc/self/status").read_text()
    print(json.dumps({"peak": int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])}))

atexit.register(print_peak)
runpy.run_module("s3vault", run_name="__main__", alter_sys=True)
"""


class Vault:
    """A bucket of its own with encrypted versions, ten of each backup."""

    def __init__(self, folder: Path, versions: int, seed: int) -> None:
        self.versions, self.random = versions, random.Random(seed)
        self.bucket, self.keyring = f"rotation-{uuid.uuid4().hex[:12]}", folder / f"{versions}.keys"
        s3 = client()
        s3.create_bucket(Bucket=self.bucket)
        if os.environ.get("S3VAULT_MODE", "single-bucket") == "single-bucket":
            s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        # Without an escrow, each put would warn.
        s3vault.Keyring.create(self.keyring).export(passphrase="correct horse")
        with self.open() as vault, ThreadPoolExecutor(8) as pool:
            vault.init()
            backups = versions // OF_EACH
            self.stored = [pair for _ in range(OF_EACH) for pair in pool.map(lambda b: self.put(vault, b), range(backups))]

    def open(self) -> s3vault.Vault:
        config = s3vault.Config().env().set("bucket", self.bucket).set("encryption", "envelope")
        return s3vault.open(config, keyring=self.keyring)

    def put(self, vault: s3vault.Vault, backup: int) -> tuple[tuple[str, str, str], bytes]:
        data = os.urandom(64)
        name = (f"vm-{backup // 10:03}", f"disks/disk-{backup % 10}.img")
        with vault.create(*name) as upload:
            upload.write(data)
        assert upload.version is not None
        return (*name, upload.version.info.vid), data

    def new_key(self) -> str:
        """Makes another KEK current, and returns its id."""
        keyring = s3vault.Keyring.open(self.keyring)
        kek = keyring.add()
        keyring.export(passphrase="correct horse")
        keyring.activate(kek)
        return kek

    def check_sample(self) -> None:
        """Restores a sample of the versions."""
        with self.open() as vault:
            for (container, path, vid), data in self.random.sample(self.stored, SAMPLE):
                with vault.find(container, path, version=vid).open() as download:
                    assert download.read() == data

    def locators(self) -> list[str]:
        return keys(self.bucket, "_s3vault/1/loc/")

    def rotate(self, kill_after: int | None = None) -> tuple[int, int]:
        """Runs the command, and kills it after this many versions. Returns how many it said that it rotated, and the most
        memory that it had, in KiB, or 0 if it was killed."""
        settings = {"S3VAULT_BUCKET": self.bucket, "S3VAULT_KEYRING": str(self.keyring)}
        arguments = [sys.executable, "-c", MEASURED, "--json", "rotate"]
        running = subprocess.Popen(arguments, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        rotated = peak = 0
        for line in running.stdout:
            said = json.loads(line)
            peak = said.get("peak", peak)
            rotated += said.get("action") == "rotate"
            if rotated == kill_after:
                running.kill()
                break
        running.stdout.close()
        assert running.wait() == (0 if kill_after is None else -9)
        return rotated, peak


@pytest.fixture(scope="module")
def versions(pytestconfig: pytest.Config) -> int:
    found = pytestconfig.getoption("versions") or 1_000
    if found % (10 * OF_EACH) or found < 10 * OF_EACH:
        raise pytest.UsageError("--versions is a multiple of 100")
    return found


def test_a_rotation_that_is_killed_goes_on_and_every_version_can_be_read(
    tmp_path: Path, versions: int, seed: int, record_property, counts
) -> None:
    versions = max(versions, KILLED)
    vault = Vault(tmp_path, versions, seed)
    kek = vault.new_key()
    step = versions // (KILLS + 1)
    for _ in range(KILLS):
        vault.rotate(kill_after=step)
        vault.check_sample()
        left = vault.locators()
        assert len({key.rsplit("/", 1)[1][:26] for key in left}) == versions, "each version has a locator"
        assert any(kek in key for key in left) and any(kek not in key for key in left), "it was killed on the way"
    rotated, _ = vault.rotate()
    assert 0 < rotated <= versions - KILLS * step
    left = vault.locators()
    assert len(left) == versions and all(kek in key for key in left)
    vault.check_sample()
    assert vault.rotate()[0] == 0, "nothing is left to do"
    record_property("measured", f"{versions:,} versions, killed {KILLS} times; the last run rotated {rotated:,}")
    counts["versions rotated"] += versions


def test_memory_does_not_grow_with_the_vault(tmp_path: Path, versions: int, seed: int, record_property) -> None:
    peaks = []
    for number in (versions // 10, versions):
        vault = Vault(tmp_path, number, seed)
        vault.new_key()
        rotated, peak = vault.rotate()
        assert rotated == number
        peaks.append(peak / 1024)
    record_property("measured", f"{peaks[0]:.0f} MiB with {versions // 10:,} versions, {peaks[1]:.0f} with {versions:,}")
    assert peaks[0] > 0 and peaks[1] - peaks[0] <= GROWTH

"""docs/disaster-recovery.md, word for word: a bucket, an escrow file and its passphrase, on a new machine."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import s3vault
from callers import ROOT

PASSPHRASE = "correct horse battery staple"
NAME = ("vm01__1f2e3d4c", "disks/sda.img")
FENCE = re.compile(r"^```(\w+) +(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MINUTES = 3


class Machine(NamedTuple):
    """A home and a folder, and the command."""

    home: Path
    folder: Path
    environment: dict[str, str]

    def run(self, script: str) -> str:
        """Runs a script on a terminal, where the passphrase is typed as often as it is asked for."""
        child, terminal = pty.fork()
        if child == 0:
            try:
                os.chdir(self.folder)
                os.execvpe("bash", ["bash", "-euo", "pipefail", "-c", script], self.environment)
            finally:
                os._exit(127)
        shown, asked, end = b"", 0, time.monotonic() + 60 * MINUTES
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 0.2)[0]:
                if re.search(rb"[Pp]assphrase[^\n]*: ?[^\n]*$", shown[asked:]):
                    asked = len(shown)
                    os.write(terminal, PASSPHRASE.encode() + b"\n")
                continue
            try:
                read = os.read(terminal, 4096)
            except OSError:
                break
            if not read:
                break
            shown += read
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = shown.decode(errors="replace")
        assert code == 0, f"{script}\n{said}"
        return said


def machine(folder: Path) -> Machine:
    home, work, programs = folder / "home", folder / "work", folder / "bin"
    for made in (home, work, programs):
        made.mkdir(parents=True)
    (programs / "s3vault").write_text(f'#!/bin/sh\nexec {sys.executable} -m s3vault "$@"\n')
    (programs / "s3vault").chmod(0o755)
    # The environment names the store, and wins over the configuration file.
    inherited = {key: value for key, value in os.environ.items() if key != "S3VAULT_KEYRING"}
    environment = {**inherited, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    return Machine(home, work, environment)


# The embedded store has no SSE-C.
@pytest.mark.parametrize("encryption", ["envelope", "sse-c"] if os.environ["S3VAULT_TEST_STORE"] == "minio" else ["envelope"])
def test_every_backup_is_restored_by_the_page(encryption: str, tmp_path: Path) -> None:
    old = machine(tmp_path / "old")
    plain = {} if os.environ["S3VAULT_API_URL"].startswith("https:") else {"S3VAULT_ALLOW_PLAIN_SSE_C": "true"}
    bucket = f"disaster-{encryption}-{os.getpid()}"
    unversioned = ["unversioned"] if os.environ.get("S3VAULT_MODE") == "single-bucket-no-versioning" else []
    subprocess.run([sys.executable, str(ROOT / "scripts/stores/bucket.py"), bucket, *unversioned], check=True)
    old.environment.update({"S3VAULT_BUCKET": bucket, **(plain if encryption == "sse-c" else {})})
    storing = {**old.environment, "S3VAULT_ENCRYPTION": encryption, "S3VAULT_KEYRING": "vault.keys"}
    data = {name: os.urandom(size) for name, size in [("full", 20 << 20), ("incremental", 1 << 20)]}
    for name, content in data.items():
        (old.folder / name).write_bytes(content)
    Machine(old.home, old.folder, storing).run(
        f"""
        s3vault keys new vault.keys
        s3vault keys export vault.keys vault.escrow.age
        s3vault put {NAME[0]} {NAME[1]} full
        parent=$(s3vault --json versions {NAME[0]} {NAME[1]} | {sys.executable} -c 'import json; print(json.loads(input())["vid"])')
        s3vault put {NAME[0]} {NAME[1]} incremental --kind incremental --parent "$parent"
        """
    )
    new = machine(tmp_path / "new")
    new.environment.update({"S3VAULT_BUCKET": bucket, **(plain if encryption == "sse-c" else {})})
    (new.folder / "vault.escrow.age").write_bytes((old.folder / "vault.escrow.age").read_bytes())
    said = ""
    for language, mark, text in FENCE.findall((ROOT / "docs/disaster-recovery.md").read_text()):
        if mark.startswith("~/"):
            file = new.home / mark[2:]
            assert language == "toml" and file.parent.exists()
            file.write_text(text)
        else:
            assert (language, mark) == ("sh", "recover")
            said += new.run(text)
    assert (new.folder / "restored.img").read_bytes() == data["incremental"]
    assert f"bucket: {bucket}" in said and "2 of 2 versions are good" in said
    assert "wrapped the data keys of 2 versions with the current key" in said
    # The key of the machine that is gone is needed by nothing.
    escrow = (new.folder / "vault-2.escrow.age").read_bytes()
    keyring = s3vault.Keyring.restore(escrow, PASSPHRASE.encode())
    assert len(keyring.info.keks) == 2
    before = s3vault.Keyring.open(old.folder / "vault.keys").info
    assert keyring.info.earlier == (before.public,) and keyring.public in said.replace("\r\n", "\n")
    old_key = before.keks[0].id
    named = subprocess.run(
        [sys.executable, "-c", LOCATORS, bucket], env=os.environ, capture_output=True, text=True, check=True
    ).stdout
    assert named.strip() and old_key not in named
    # What the new machine stores is told apart from what the old one still does, and both are read until the old is distrusted.
    for host, settings in ((new, {}), (old, {"S3VAULT_KEYRING": "vault.keys"})):
        (host.folder / "later").write_bytes(b"later")
        Machine(host.home, host.folder, {**host.environment, **settings}).run(f"s3vault put {NAME[0]} later later")
    signed = set(re.findall("signed by ([0-9a-f]{16})", new.run(SIGNED)))
    assert signed == {before.id, keyring.id}
    assert "4 of 4 versions are good" in new.run("s3vault verify")
    new.run(f"s3vault keys distrust ~/.config/s3vault/vault.keys {before.id}")
    assert "1 of 4 versions are good" in new.run("s3vault verify || true")


SIGNED = f"""
for vid in $(s3vault --json versions {NAME[0]} later | {sys.executable} -c '
import json, sys
for line in sys.stdin: print(json.loads(line)["vid"])'); do
    s3vault get {NAME[0]} later x --version $vid
done
"""


LOCATORS = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests/system")!r})
sys.path.insert(0, {str(ROOT / "scripts/stores")!r})
import boto3_client
pages = boto3_client.client().get_paginator("list_objects_v2").paginate(Bucket=sys.argv[1], Prefix="_s3vault/1/loc/")
for page in pages:
    for found in page.get("Contents", []):
        print(found["Key"])
"""

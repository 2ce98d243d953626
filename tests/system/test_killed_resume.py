"""A put with a checkpoint that is killed resumes.

The puts go through a proxy that counts. Each round stores a file and a stream, each by the command or by the C example. SIGKILL
comes one to four times, at a random byte of what is sent or soon after the start, and a new process resumes each time. Then the
test restores the backup and compares it; `versions` shows one version; the checkpoint is gone; and no unfinished upload with a
part is left. What was sent twice is within the window at each kill: for each connection that was open then, the part in
progress, and the part before it, whose answer had arrived but whose record was not yet on the disk.

An unfinished upload without a part is counted: its process was killed before it learned the upload's id, and nobody can tell by
its key whose it is, so it stays until sweep removes it.
"""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from boto3_client import client
from callers import Caller, c_example, command
from data import MIB, sha256
from tcp_proxy import Proxy

CONTAINER, BUCKET = "resumed", os.environ.get("S3VAULT_BUCKET")
PART = 8 * MIB
# Most parts of a file that are in progress at once.
WINDOW = 32
# TLS, headers and the small requests between the parts.
OVERHEAD = 1.02


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("kind", ("file", "stream"))
    metafunc.parametrize("number", range(metafunc.config.getoption("rounds") or 5))


@pytest.fixture(scope="module")
def mib(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption("mib") or 256


@pytest.fixture(scope="module", autouse=True)
def some_put_was_killed(counts) -> Iterator[None]:
    yield
    assert counts["kills"], "no put was killed: this run shows nothing"


def unfinished_uploads(path: str) -> list[int]:
    """Returns how many parts each unfinished upload of the backup has in the store."""
    store, counts = client(), []
    for upload in store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        if f"{CONTAINER}/{path}" in upload["Key"]:
            try:
                parts = store.list_parts(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
                counts.append(len(parts.get("Parts", [])))
            except store.exceptions.NoSuchUpload:
                pass  # MinIO lists an upload for a moment after it was completed.
    return counts


def remove(path: str) -> None:
    """Removes everything that the store has of the backup: 200 backups of 2 GiB would fill a disk."""
    store = client()
    for page in store.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        objects = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        named = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in objects if f"{CONTAINER}/{path}" in o["Key"]]
        if named:
            store.delete_objects(Bucket=BUCKET, Delete={"Objects": named})


class Put:
    """One backup: the runs that are killed, and the run that is not."""

    def __init__(self, caller: Caller, path: str, source: Path, stream: bool, checkpoint: Path, proxy: Proxy) -> None:
        self.caller, self.path, self.source, self.stream = caller, path, source, stream
        self.checkpoint, self.proxy = checkpoint, proxy
        self.sent = self.allowed = self.kills = 0

    def start(self) -> tuple[subprocess.Popen, subprocess.Popen | None]:
        """Starts the put, and for a stream the process that writes it."""
        # The stream starts from its first byte each time; the caller skips what is stored.
        writer = subprocess.Popen(["cat", str(self.source)], stdout=subprocess.PIPE) if self.stream else None
        process = self.caller.start(
            "put", CONTAINER, self.path, "-" if self.stream else str(self.source), "--checkpoint", str(self.checkpoint),
            stdin=writer.stdout if writer else subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        if writer and writer.stdout:
            writer.stdout.close()
        return process, writer

    def run(self, kill_after_bytes: float | None = None, kill_after_seconds: float | None = None) -> bool:
        """Returns whether the put ended before it was killed."""
        self.proxy.reset()
        process, writer = self.start()
        started = time.monotonic()
        try:
            while process.poll() is None:
                if kill_after_bytes is not None and self.proxy.counts.up >= kill_after_bytes:
                    break
                if kill_after_seconds is not None and time.monotonic() - started >= kill_after_seconds:
                    break
                time.sleep(0.001)
            open_at_kill = len(self.proxy.counts.open)
            killed = process.poll() is None
            process.kill()
            _, stderr = process.communicate()
        finally:
            process.kill()
            if writer:
                writer.kill()
                writer.wait()
        while self.proxy.counts.open:
            time.sleep(0.001)  # until the proxy has counted all of it
        self.sent += self.proxy.counts.up
        if killed:
            self.kills += 1
            self.allowed += min(2 * open_at_kill, WINDOW) * PART
            return False
        assert process.returncode == 0, stderr.decode(errors="replace").strip()
        return True


def test_a_killed_put_resumes(kind: str, number: int, source, proxied, mib: int, seed: int, folder: Path, counts,
                              record_property) -> None:
    (file, digest), (proxy, address), size = source, proxied, mib * MIB
    # A seed of its own for each put: a single put can be repeated.
    dice = random.Random(f"{seed}/{number}/{kind}")
    caller = dice.choice((c_example(), command())).with_store_at(address)
    put = Put(caller, f"{kind}-{number}", file, kind == "stream", folder / f"{kind}-{number}.checkpoint", proxy)
    done = False
    for _ in range(dice.randint(1, 4)):
        if dice.random() < 0.2:
            done = put.run(kill_after_seconds=dice.uniform(0, 0.5))
        else:
            done = put.run(kill_after_bytes=dice.uniform(0, size / 2))
        if done:
            break
    done or put.run()

    restored = folder / "restored"
    caller.run("get", CONTAINER, put.path, str(restored), stdout=subprocess.DEVNULL, check=True)
    assert sha256(restored) == digest
    restored.unlink()
    listed = command().run("--json", "versions", CONTAINER, put.path, stdout=subprocess.PIPE, check=True).stdout
    assert [json.loads(line)["size"] for line in listed.splitlines()] == [size]
    left = unfinished_uploads(put.path)
    assert not any(left), "unfinished uploads, by the number of their parts"
    assert not put.checkpoint.exists()
    sent_twice = put.sent - size
    assert sent_twice <= put.allowed + (OVERHEAD - 1) * put.sent + MIB
    remove(put.path)

    counts["kills"] += put.kills
    counts["MiB sent twice"] += sent_twice / MIB
    counts["uploads without a part left to sweep"] += len(left)
    record_property("measured", f"by {caller.name}: {put.kills} kills, {sent_twice / MIB:.1f} MiB sent twice, "
                                f"{put.allowed // MIB} MiB in the window")

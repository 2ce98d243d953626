#!/usr/bin/env python3
"""scripts/killed_resume.py [--rounds N] [--mib N] [--seed N]: a put with a checkpoint that is killed goes on.

On the store that the environment (S3VAULT_*) names, through a proxy that counts. Each round stores a file and a stream,
each by the command or by C's example; SIGKILL comes one to four times, at random bytes of what is sent or soon after the
start, and a new process goes on each time. Then the backup is restored and compared; `versions` shows one version; the
checkpoint is gone; and what was sent twice is within the window at each kill: for each connection that was open then the part
under way, and the one that was answered before it and whose record was not on the disk. No unfinished upload with a part is
left. One without any is counted: its process was killed before it heard the upload's id, and nobody can tell by its key whose
it is, so it waits for sweep.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from callers import BUILD, Caller, c_example, command, use_new_keyring
from store import client
from tcp_proxy import Proxy, to_store

CONTAINER, BUCKET = "resumed", os.environ["S3VAULT_BUCKET"]
MIB = 1 << 20
PART = 8 * MIB
# Parts of a file that are under way at most.
WINDOW = 32
# TLS, headers and the small requests beside the parts.
OVERHEAD = 1.02


def make_file(file: Path, mib: int, seed: int) -> str:
    """Random bytes; returns their SHA-256."""
    digest, source = hashlib.sha256(), random.Random(seed)
    with file.open("wb") as target:
        for _ in range(mib):
            block = source.randbytes(MIB)
            digest.update(block)
            target.write(block)
    return digest.hexdigest()


def sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def uploads(path: str) -> list[int]:
    """How many parts each unfinished upload of the backup has in the store."""
    store, counts = client(), []
    for upload in store.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        if f"{CONTAINER}/{path}" in upload["Key"]:
            try:
                parts = store.list_parts(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
                counts.append(len(parts.get("Parts", [])))
            except store.exceptions.NoSuchUpload:
                pass  # MinIO lists an upload for a moment after it was completed.
    return counts


def drop(path: str) -> None:
    """Removes all that the store has of the backup: 200 of 2 GiB would fill a disk."""
    store = client()
    for page in store.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        objects = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        named = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in objects if f"{CONTAINER}/{path}" in o["Key"]]
        if named:
            store.delete_objects(Bucket=BUCKET, Delete={"Objects": named})


class Put:
    """One backup: the runs of it that are killed, and the one that is not."""

    def __init__(self, caller: Caller, path: str, source: Path, stream: bool, checkpoint: Path, proxy: Proxy) -> None:
        self.caller, self.path, self.source, self.stream = caller, path, source, stream
        self.checkpoint, self.proxy = checkpoint, proxy
        self.sent = self.allowed = self.kills = self.empty = 0

    def start(self) -> subprocess.Popen:
        # A stream begins anew each time; the caller passes over what is stored.
        stdin = subprocess.Popen(["cat", str(self.source)], stdout=subprocess.PIPE) if self.stream else None
        process = self.caller.start(
            "put", CONTAINER, self.path, "-" if self.stream else str(self.source), "--checkpoint", str(self.checkpoint),
            stdin=stdin.stdout if stdin else subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        if stdin:
            stdin.stdout.close()
            process.feeder = stdin
        return process

    def run(self, kill_after_bytes: float | None = None, kill_after_seconds: float | None = None) -> bool:
        """Whether it came to its end; else it was killed."""
        self.proxy.reset()
        process = self.start()
        began = time.monotonic()
        try:
            while process.poll() is None:
                if kill_after_bytes is not None and self.proxy.counts.up >= kill_after_bytes:
                    break
                if kill_after_seconds is not None and time.monotonic() - began >= kill_after_seconds:
                    break
                time.sleep(0.001)
            open_then = len(self.proxy.counts.open)
            killed = process.poll() is None
            process.kill()
            _, said = process.communicate()
        finally:
            process.kill()
            if self.stream:
                process.feeder.kill()
                process.feeder.wait()
        while self.proxy.counts.open:
            time.sleep(0.001)  # until the proxy has counted all of it
        self.sent += self.proxy.counts.up
        if killed:
            self.kills += 1
            self.allowed += min(2 * open_then, WINDOW) * PART
            return False
        if process.returncode != 0:
            raise RuntimeError(f"exit code {process.returncode}: {said.decode(errors='replace').strip()}")
        return True


def check(put: Put, size: int, wanted: str, restored: Path) -> None:
    put.caller.run("get", CONTAINER, put.path, str(restored), stdout=subprocess.DEVNULL, check=True)
    if sha256(restored) != wanted:
        raise RuntimeError("the restored bytes are others")
    restored.unlink()
    rows = command().run("--json", "versions", CONTAINER, put.path, stdout=subprocess.PIPE, check=True).stdout
    if len(rows.splitlines()) != 1 or json.loads(rows)["size"] != size:
        raise RuntimeError(f"`versions` shows {rows.decode()}")
    left = uploads(put.path)
    if any(left):
        raise RuntimeError(f"the store holds unfinished uploads, with so many parts: {left}")
    put.empty = len(left)
    if put.checkpoint.exists():
        raise RuntimeError("the checkpoint is still there")
    twice = put.sent - size
    if twice > put.allowed + (OVERHEAD - 1) * put.sent + MIB:
        raise RuntimeError(f"{twice >> 20} MiB were sent twice, {put.allowed >> 20} MiB were in the window at the kills")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=20, help="files, and as many streams")
    arguments.add_argument("--mib", type=int, default=256, help="size of each")
    arguments.add_argument("--seed", type=int, default=11)
    args = arguments.parse_args()
    # The puts alone go through it, and are counted.
    proxy, through = to_store()
    size, passed, failed, kills, twice, empty = args.mib * MIB, 0, 0, 0, 0, 0
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="resumed.") as folder_name:
        folder = Path(folder_name)
        use_new_keyring(folder)
        source = folder / "source"
        wanted = make_file(source, args.mib, args.seed)
        for number in range(args.rounds):
            for stream in (False, True):
                dice = random.Random(f"{args.seed}/{number}/{stream}")
                caller = dice.choice((c_example(), command())).on(through)
                name = f"{'stream' if stream else 'file'}-{number}"
                put = Put(caller, name, source, stream, folder / f"{name}.checkpoint", proxy)
                try:
                    done = False
                    for _ in range(dice.randint(1, 4)):
                        if dice.random() < 0.2:
                            done = put.run(kill_after_seconds=dice.uniform(0, 0.5))
                        else:
                            done = put.run(kill_after_bytes=dice.uniform(0, size / 2))
                        if done:
                            break
                    done or put.run()
                    check(put, size, wanted, folder / "restored")
                    drop(put.path)
                    passed += 1
                    kills += put.kills
                    twice += put.sent - size
                    empty += put.empty
                    print(f"{name} by {caller.name}: {put.kills} kills, {(put.sent - size) / MIB:.1f} MiB sent twice, "
                          f"{put.allowed // MIB} MiB in the window at them: ok", flush=True)
                except (RuntimeError, subprocess.CalledProcessError) as error:
                    failed += 1
                    print(f"{name} by {caller.name} (seed {args.seed}): {error}", flush=True)
    print(f"killed-resume: {passed} passed, {failed} failed; {kills} kills, {twice / MIB:.0f} MiB sent twice, "
          f"{empty} uploads without a part left to sweep")
    sys.exit(1 if failed or not kills else 0)


if __name__ == "__main__":
    main()

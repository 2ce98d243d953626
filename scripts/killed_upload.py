#!/usr/bin/env python3
"""scripts/killed_upload.py [--rounds N]: an upload that is killed leaves nothing that `versions` or `ls` shows.

The store is the one that the environment (S3VAULT_*) names. The kill comes when the store itself (asked by boto3)
holds parts of the upload; in later rounds some seconds of parts later. Afterwards the same name is stored whole.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from callers import BUILD, Caller, all_callers, command, use_new_keyring
from store import client

CONTAINER, BUCKET = "killed", os.environ["S3VAULT_BUCKET"]
BLOCK = b"\xa5\x5a" * (1 << 19)
# A stream's first parts have 8 MiB; some more than are awaited, since parts wait in the window too.
PART_MIB, SPARE_MIB = 8, 96


def feed(process: subprocess.Popen, mib: int) -> None:
    """Writes that much, and leaves the pipe open: the upload cannot end by itself."""
    try:
        for _ in range(mib):
            process.stdin.write(BLOCK)
    except OSError:
        pass  # it was killed


def parts_in_store(key: str) -> int:
    """How many parts of unfinished uploads of this key the store holds."""
    s3 = client()
    uploads = s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads", [])
    return sum(len(s3.list_parts(Bucket=BUCKET, Key=key, UploadId=u["UploadId"]).get("Parts", [])) for u in uploads)


def kill_upload(caller: Caller, path: str, after_parts: int) -> int:
    """Starts a put of an endless stream, and kills it when the store holds that many parts; returns how many it held."""
    process = caller.start("put", CONTAINER, path, "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0)
    feeder = threading.Thread(target=feed, args=(process, after_parts * PART_MIB + SPARE_MIB))
    feeder.start()
    deadline = time.monotonic() + 60
    try:
        while (parts := parts_in_store(f"{CONTAINER}/{path}")) < after_parts:
            if process.poll() is not None:
                raise RuntimeError(f"{caller.name} ended by itself with code {process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{caller.name}: the store held {parts} parts after 60 s, {after_parts} were awaited")
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        feeder.join()
        process.stdin.close()
    return parts


def listed(*arguments: str) -> list[dict]:
    """The rows that the command lists; none where it says that nothing was found (exit code 3)."""
    done = command().run("--json", *arguments, stdout=subprocess.PIPE)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"s3vault {' '.join(arguments)}: exit code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(caller: Caller, round_number: int) -> None:
    path = f"{caller.name}/{round_number}.img"
    parts = kill_upload(caller, path, after_parts=1 + round_number)
    if rows := listed("versions", CONTAINER, path):
        raise RuntimeError(f"`versions` shows the killed upload: {rows}")
    if rows := [row for row in listed("ls", CONTAINER) if row.get("path") == path]:
        raise RuntimeError(f"`ls` shows the killed upload: {rows}")
    if caller.run("get", CONTAINER, path, "-", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        raise RuntimeError("`get` restored a killed upload")
    caller.run("put", CONTAINER, path, "-", input=b"whole", stdout=subprocess.DEVNULL, check=True)
    if len(rows := listed("versions", CONTAINER, path)) != 1:
        raise RuntimeError(f"after a whole put, `versions` shows not one version but {rows}")
    if not [row for row in listed("ls", CONTAINER) if row.get("path") == path]:
        raise RuntimeError("after a whole put, `ls` does not show it")
    print(f"{caller.name}: killed with {parts} parts in the store: ok", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=1, help="kills per caller")
    rounds = arguments.parse_args().rounds
    passed = failed = 0
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="killed.") as folder:
        use_new_keyring(Path(folder))
        for caller, number in itertools.product(all_callers(), range(rounds)):
            try:
                check(caller, number)
                passed += 1
            except (RuntimeError, subprocess.CalledProcessError) as error:
                failed += 1
                print(f"{caller.name}: {error}", flush=True)
    print(f"killed-upload: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""scripts/cross_callers.py [--mib N]: each caller stores a file of its own; every caller restores every one.

The store is the one that the environment (S3VAULT_*) names. Half of the files go in by name and half through a pipe,
whose length nobody knows; half come out into a file and half through a pipe. boto3 reads each by its plain key.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from callers import BUILD, Caller, all_callers, use_new_keyring
from store import client

CONTAINER = "cross vm"
CHUNK = 16 << 20


def make_file(path: Path, seed: int, size: int) -> str:
    """Writes pseudo-random bytes, without holes and not compressible; returns their SHA-256."""
    source, digest = random.Random(seed), hashlib.sha256()
    with path.open("wb") as out:
        while size > 0:
            block = source.randbytes(min(size, CHUNK))
            digest.update(block)
            out.write(block)
            size -= len(block)
    return digest.hexdigest()


def digest_of(stream) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def put(caller: Caller, name: str, file: Path, by_pipe: bool) -> None:
    if not by_pipe:
        caller.run("put", CONTAINER, name, str(file), stdout=subprocess.DEVNULL, check=True)
        return
    with subprocess.Popen(["cat", str(file)], stdout=subprocess.PIPE) as cat:
        caller.run("put", CONTAINER, name, "-", stdin=cat.stdout, stdout=subprocess.DEVNULL, check=True)


def get(caller: Caller, name: str, folder: Path, by_pipe: bool) -> str:
    """Restores the newest version; returns its SHA-256."""
    if by_pipe:
        with caller.start("get", CONTAINER, name, "-", stdout=subprocess.PIPE) as process:
            digest = digest_of(process.stdout)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        return digest
    target = folder / "restored"
    caller.run("get", CONTAINER, name, str(target), stdout=subprocess.DEVNULL, check=True)
    with target.open("rb") as restored:
        digest = digest_of(restored)
    target.unlink()
    return digest


def read_plain(name: str) -> str:
    """What a client that knows nothing of s3vault finds under `container/path`."""
    reply = client().get_object(Bucket=os.environ["S3VAULT_BUCKET"], Key=f"{CONTAINER}/{name}")
    return digest_of(reply["Body"])


class Checks:
    """Counts, and says what each one did and how long it took."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def run(self, what: str, action, expected=None) -> bool:
        started = time.monotonic()
        try:
            result = action()
            problem = None if result == expected else f"SHA-256 {result}, stored was {expected}"
        except (OSError, subprocess.CalledProcessError) as error:
            problem = str(error)
        seconds = time.monotonic() - started
        print(f"{what:<44}{seconds:7.1f} s  {problem or 'ok'}", flush=True)
        self.passed += problem is None
        self.failed += problem is not None
        return problem is None


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--mib", type=int, default=1024, help="size of each file")
    size = arguments.parse_args().mib << 20
    checks, callers = Checks(), all_callers()
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="cross.") as folder:
        use_new_keyring(Path(folder))
        for i, writer in enumerate(callers):
            name, by_pipe = f"stored by/{writer.name}.img", i % 2 == 0
            file = Path(folder) / "source"
            expected = make_file(file, seed=i, size=size)
            way = "a pipe" if by_pipe else "a file"
            if not checks.run(f"{writer.name} stores {size >> 20} MiB from {way}", lambda: put(writer, name, file, by_pipe)):
                continue
            file.unlink()
            for j, reader in enumerate(callers):
                to_pipe = (i + j) % 2 == 1
                way = "a pipe" if to_pipe else "a file"
                checks.run(f"  {reader.name} restores it into {way}", lambda: get(reader, name, Path(folder), to_pipe), expected)
            checks.run("  boto3 reads it by its plain key", lambda: read_plain(name), expected)
    print(f"cross-callers: {checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()

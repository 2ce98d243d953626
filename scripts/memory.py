#!/usr/bin/env python3
"""scripts/memory.py [--mib N] [--delay MS]: how much memory transfers take at their peak, on the store of the environment
(S3VAULT_*).

Through C (`bindings/c/tests/memory.c`), against the limits: 24 MiB for a file and its restore at any number of connections; part size x
window + 16 MiB for a stream, that is 8 x 8 MiB + 16 MiB; 1,000 transfers at once within one budget of 256 MiB of payload.
Java and Python are reported, over what they take with no transfer.

With a delay before each answer, which the embedded store alone can be told, more parts are in flight. Then one file and one stream
are measured, at 64 connections.
"""

import argparse
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from callers import BUILD, ROOT, Caller, java_example, python_api, use_new_keyring

MEMORY = ROOT / "bindings/c/build/memory"
MIB = 1 << 20
FILE_LIMIT, STREAM_LIMIT, BUDGET = 24, 8 * 8 + 16, 256 * MIB


def through_c(*arguments: str, **environment: str) -> dict:
    done = subprocess.run([str(MEMORY), *arguments], stdout=subprocess.PIPE, check=True,
                          env={**os.environ, **environment})
    return json.loads(done.stdout)


def peak_of(caller: Caller, *arguments: str) -> float:
    """MiB that the program held at its peak: what /proc said last, since it is asked until the end."""
    process = caller.start(*arguments, stdout=subprocess.DEVNULL)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        peak = max(peak, int(line.split()[1]))
            except OSError:
                return
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    watcher.join()
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{caller.name} ended with {process.returncode}")
    return peak / 1024


def order_delay(ms: int) -> None:
    """Tells the embedded store to wait before each answer."""
    fault = json.dumps({"operation": "*", "delay_ms": ms, "times": 1_000_000}).encode()
    url, ca = os.environ["S3VAULT_API_URL"] + "/_embedded/fault", os.environ.get("S3VAULT_CA_FILE")
    trusted = ssl.create_default_context(cafile=ca) if ca else None
    urllib.request.urlopen(urllib.request.Request(url, fault, method="POST"), context=trusted).close()


def forget(file: Path) -> None:
    """Has the system forget what it holds of a file in memory."""
    with file.open("rb") as source:
        os.fsync(source.fileno())
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def report(caller: Caller, file: Path, restored: Path) -> None:
    """What a file and its restore take through another caller, over what it takes with no transfer."""
    empty = peak_of(caller, "versions", "memory", "nothing")
    for what, action, path in (("file", "put", file), ("restore", "get", restored)):
        mib = peak_of(caller, action, "memory", caller.name, str(path))
        print(f"     {caller.name}, {what} of {file.stat().st_size >> 20} MiB: {mib:.1f} MiB, {mib - empty:.1f} over none",
              flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--mib", type=int, default=512, help="size of the file and the stream")
    arguments.add_argument("--delay", type=int, default=0, help="before each answer, in milliseconds")
    args = arguments.parse_args()
    failed = 0
    if args.delay:
        order_delay(args.delay)

    def judge(what: str, mib: float, most: float) -> None:
        nonlocal failed
        failed += mib > most
        print(f"{'ok  ' if mib <= most else 'FAIL'} {what}: {mib:.1f} MiB at the peak, {most:.0f} allowed", flush=True)

    with tempfile.TemporaryDirectory(dir=BUILD, prefix="memory.") as folder_name:
        folder = Path(folder_name)
        use_new_keyring(folder)
        file, small = folder / "source", folder / "small"
        block = os.urandom(MIB)
        with file.open("wb") as target:
            for _ in range(args.mib):
                target.write(block)
        small.write_bytes(block * 3)
        print(f"     C, a vault and no transfer: {through_c('empty')['peak_kib'] / 1024:.1f} MiB", flush=True)
        for connections in ("64",) if args.delay else ("1", "8", "64"):
            found = through_c("file", str(file), S3VAULT_CONNECTIONS=connections)
            judge(f"C, file of {args.mib} MiB, {connections} connections", found["peak_kib"] / 1024, FILE_LIMIT)
            if args.delay:
                forget(file)
                found = through_c("file", str(file), S3VAULT_CONNECTIONS=connections)
                judge("C, the same, from the disk", found["peak_kib"] / 1024, FILE_LIMIT)
            found = through_c("restore", str(file), S3VAULT_CONNECTIONS=connections)
            judge(f"C, restore of it, {connections} connections", found["peak_kib"] / 1024, FILE_LIMIT)
        judge(f"C, stream of {args.mib} MiB", through_c("stream", str(args.mib))["peak_kib"] / 1024, STREAM_LIMIT)
        # What one leaves behind must not add to the next.
        judge("C, the same into a pipe, four times", through_c("pipe", "4")["peak_kib"] / 1024, STREAM_LIMIT)
        if not args.delay:
            found = through_c("many", "1000", str(small), S3VAULT_MEMORY=str(BUDGET))
            judge("C, 1000 transfers at once, payload", found["memory_peak"] / MIB, BUDGET / MIB)
            print(f"     C, 1000 transfers at once: {found['peak_kib'] / 1024:.1f} MiB of the process, with 1000 threads, "
                  f"{found['connections_peak']} connections at the most", flush=True)
            for caller in (java_example(), python_api()):
                report(caller, file, folder / "restored")
    print(f"memory: {failed} limits broken")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

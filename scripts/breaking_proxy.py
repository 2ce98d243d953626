#!/usr/bin/env python3
"""scripts/breaking_proxy.py [--transfers N] [--mib N] [--shares 0,5,10,20]: transfers over a line that breaks.

On the store that the environment (S3VAULT_*) names, behind a proxy that breaks that many of a hundred connections at a
random byte. For each share, one process stores all backups at once, half of them streams and half files, and restores
all of them at once. Every one must come back byte for byte. It prints the throughput of each share
beside the others.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from callers import BUILD, use_new_keyring
from tcp_proxy import to_store

MIB = 1 << 20
CHUNK = MIB


def client(transfers: int, mib: int, folder: Path) -> dict:
    """What the process does that all transfers run in."""
    import s3vault

    source = folder / "source"
    wanted = sha256(source)
    failures = []
    with s3vault.open(s3vault.Config().env()) as vault:

        def put(number: int) -> None:
            if number % 2:
                vault.put_file("broken", f"{os.getpid()}/{number}", source)
                return
            with vault.create("broken", f"{os.getpid()}/{number}") as upload, source.open("rb") as data:
                while block := data.read(CHUNK):
                    upload.write(block)

        def get(number: int) -> None:
            version = vault.find("broken", f"{os.getpid()}/{number}")
            digest = hashlib.sha256()
            if number % 2:
                file = folder / f"restored-{number}"
                version.restore(file)
                found = sha256(file)
                file.unlink()
            else:
                with version.open() as data:
                    while block := data.read(CHUNK):
                        digest.update(block)
                found = digest.hexdigest()
            if found != wanted:
                raise RuntimeError("the restored bytes are others")

        def all_at_once(what) -> float:
            began = time.monotonic()
            with ThreadPoolExecutor(transfers) as pool:
                for number, future in enumerate([pool.submit(what, n) for n in range(transfers)]):
                    if error := future.exception():
                        failures.append(f"{what.__name__} {number}: {error}")
            return transfers * mib / (time.monotonic() - began)

        up = all_at_once(put)
        down = all_at_once(get) if not failures else 0
    return {"up": up, "down": down, "failures": failures}


def sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--transfers", type=int, default=64)
    arguments.add_argument("--mib", type=int, default=24, help="size of each")
    arguments.add_argument("--shares", default="0,5,10,20", help="connections that break, of a hundred")
    arguments.add_argument("--seed", type=int, default=11)
    arguments.add_argument("--client", type=Path, help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.client:
        print(json.dumps(client(args.transfers, args.mib, args.client)))
        return
    proxy, through = to_store(seed=args.seed)
    passed = failed = 0
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="broken.") as folder_name:
        folder = Path(folder_name)
        use_new_keyring(folder)
        (folder / "source").write_bytes(random.Random(args.seed).randbytes(args.mib * MIB))
        again = [sys.executable, __file__, "--transfers", str(args.transfers), "--mib", str(args.mib)]
        for share in map(int, args.shares.split(",")):
            proxy.reset()
            proxy.share = share / 100
            done = subprocess.run([*again, "--client", str(folder)], stdout=subprocess.PIPE, check=True,
                                  env={**os.environ, "S3VAULT_API_URL": through})
            found = json.loads(done.stdout)
            print(f"{share:3} % broken: {found['up']:6.0f} MiB/s up, {found['down']:6.0f} MiB/s down; "
                  f"{proxy.counts.broken} of {proxy.counts.connections} connections broke", flush=True)
            for failure in found["failures"]:
                print(f"  {failure}", flush=True)
            if share and not proxy.counts.broken:
                found["failures"].append("nothing broke")
                print("  no connection was broken: this run shows nothing", flush=True)
            failed += len(found["failures"])
            passed += 0 if found["failures"] else args.transfers
    print(f"broken-line: {passed} transfers ended right, {failed} failures")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

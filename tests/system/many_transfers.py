"""many_transfers.py TRANSFERS FILE: stores FILE this many times at once, then restores all of them at once.

Half of the transfers use streams, half use files. Prints one line of JSON: MiB per second up and down, and the failures.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import s3vault
from data import MIB, sha256, sha256_of_stream

CONTAINER = "broken"


def main(transfers: int, source: Path) -> dict:
    digest, mib = sha256(source), source.stat().st_size / MIB
    failures = []
    with s3vault.open(s3vault.Config().env()) as vault:

        def put(number: int) -> None:
            path = f"{os.getpid()}/{number}"
            if number % 2:
                vault.put_file(CONTAINER, path, source)
                return
            with vault.create(CONTAINER, path) as upload, source.open("rb") as data:
                while block := data.read(MIB):
                    upload.write(block)

        def get(number: int) -> None:
            version = vault.find(CONTAINER, f"{os.getpid()}/{number}")
            if number % 2:
                file = source.with_name(f"restored-{number}")
                version.restore(file)
                restored = sha256(file)
                file.unlink()
            else:
                with version.open() as data:
                    restored = sha256_of_stream(data)
            if restored != digest:
                raise RuntimeError("the restored bytes differ")

        def all_at_once(action) -> float:
            started = time.monotonic()
            with ThreadPoolExecutor(transfers) as pool:
                for number, future in enumerate([pool.submit(action, n) for n in range(transfers)]):
                    if error := future.exception():
                        failures.append(f"{action.__name__} {number}: {error}")
            return transfers * mib / (time.monotonic() - started)

        up = all_at_once(put)
        down = all_at_once(get) if not failures else 0
    return {"up": up, "down": down, "failures": failures}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]))))

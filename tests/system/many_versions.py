"""many_versions.py fill VERSIONS BACKUPS | list | dry-run KEPT | prune KEPT | sweep | verify: one step with a vault of many
versions, whose store is the embedded one.

    fill     stores VERSIONS versions of BACKUPS backups, one of each every day up to yesterday. Each backup has also a put
             that was started on the first day and abandoned.
    list     lists all versions
    dry-run  says what prune would do
    prune    hides all but the KEPT newest versions of each backup
    sweep    marks abandoned puts, and frees what was marked before
    verify   verifies SAMPLE percent of the versions

Prints one line of JSON. The memory is what the process takes beyond what it has with an open vault, at its peak; the requests
are those that the store counted after the vault was opened.
"""

import hashlib
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import s3vault

SAMPLE = 5
DAY_S = 24 * 3600


def hook(name: str, body: dict[str, Any] | None = None) -> Any:
    """Asks or tells the embedded store something that is not S3."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{os.environ['S3VAULT_API_URL']}/_embedded/{name}", data)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def requests() -> Counter[str]:
    """The requests that the store has answered, by operation."""
    return Counter(hook("stats")["requests"])


def memory_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def fill(vault: s3vault.Vault, versions: int, backups: int) -> dict[str, Any]:
    days = versions // backups

    def name(backup: int) -> tuple[str, str]:
        return f"vm-{backup // 10:03}", f"disks/disk-{backup % 10}.img"

    def abandon(backup: int) -> None:
        vault.create(*name(backup)).abort()

    def put(backup: int) -> None:
        with vault.create(*name(backup)) as upload:
            upload.write(b"a backup")

    vault.init()
    with ThreadPoolExecutor(16) as pool:
        for day in range(days):
            # A put takes its times from the store's clock.
            hook("clock", {"offset_seconds": -DAY_S * (days - day)})
            if day == 0:
                list(pool.map(abandon, range(backups)))
            list(pool.map(put, range(backups)))
    hook("clock", {"offset_seconds": 0})
    return {"versions": days * backups}


def list_all(vault: s3vault.Vault) -> dict[str, Any]:
    return {"versions": sum(1 for _ in vault.versions())}


class Items:
    """What a job says of each version: how often each action, and a digest of all of it in order."""

    def __init__(self) -> None:
        self.actions: Counter[str] = Counter()
        self.digest = hashlib.sha256()

    def add(self, item: s3vault.JobItem) -> None:
        self.actions[item.action] += 1
        self.digest.update(f"{item.action} {item.container} {item.path} {item.vid} {item.reason}\n".encode())


def job(run: Callable[..., s3vault.JobReport], **options: Any) -> dict[str, Any]:
    items = Items()
    report = run(on_item=items.add, **options)
    return {"report": asdict(report), "actions": items.actions, "digest": items.digest.hexdigest()}


def verify(vault: s3vault.Vault) -> dict[str, Any]:
    # Always the same sample of the same versions.
    return {"report": asdict(vault.verify(sample=SAMPLE, sample_seed="1"))}


def step(vault: s3vault.Vault, action: str, *numbers: str) -> dict[str, Any]:
    match action:
        case "fill":
            return fill(vault, *map(int, numbers))
        case "list":
            return list_all(vault)
        case "dry-run":
            return job(vault.prune, retention_full_versions=int(numbers[0]), dry_run=True)
        case "prune":
            return job(vault.prune, retention_full_versions=int(numbers[0]))
        case "sweep":
            return job(vault.sweep)
        case "verify":
            return verify(vault)
    sys.exit(__doc__)


def main(action: str, *numbers: str) -> None:
    with s3vault.open(s3vault.Config().env()) as vault:
        before = requests()
        # The peak is counted from here (proc(5): clear_refs).
        Path("/proc/self/clear_refs").write_text("5")
        started, idle_kib = time.monotonic(), memory_kib("VmRSS")
        result = step(vault, action, *numbers)
        result["seconds"] = time.monotonic() - started
        result["peak_kib"] = memory_kib("VmHWM") - idle_kib
        result["requests"] = requests() - before
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""scripts/refusals.py: what no shared case can bring about, the same from every caller: a certificate that nobody here
trusts, and a disk that is full in the middle of a restore.

The store is the one that the environment (S3VAULT_*) names; it must speak TLS with an authority of its own. That the
code is the right one is told by its hint, which every caller prints and no other code has.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from callers import BUILD, Caller, all_callers, use_new_keyring

CERTIFICATE, DISK_FULL = "Set ca_file to the authority", "Free some space, or restore to another disk"


def expect(caller: Caller, what: str, hint: str, done: subprocess.CompletedProcess) -> bool:
    right = done.returncode not in (0, None) and hint in done.stderr
    print(f"{caller.name}: {what}: {'ok' if right else f'code {done.returncode}: {done.stderr}'}", flush=True)
    return right


def untrusted(caller: Caller) -> bool:
    strangers = {key: value for key, value in os.environ.items() if key != "S3VAULT_CA_FILE"}
    done = caller.run("versions", "refusals", "p", env=strangers, capture_output=True, text=True)
    return expect(caller, "untrusted certificate", CERTIFICATE, done)


def full_disk(caller: Caller, folder: Path) -> bool:
    """On a disk of 4 MiB that is mounted for this process alone."""
    script = 'mount -t tmpfs -o size=4m tmpfs "$0" && "$@" "$0/restored"; code=$?; ls -A "$0"; exit $code'
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    get = [*caller.argv, "get", "refusals", "p"]
    done = subprocess.run([*namespace, "sh", "-c", script, str(folder), *get], capture_output=True, text=True, check=False)
    if done.stdout.strip():
        print(f"{caller.name}: full disk: left behind or said: {done.stdout}", flush=True)
        return False
    return expect(caller, "full disk", DISK_FULL, done)


def main() -> None:
    outcomes = []
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="refusals.") as name:
        folder = Path(name)
        use_new_keyring(folder)
        (folder / "data").write_bytes(os.urandom(20 << 20))
        callers = all_callers()
        callers[0].run("put", "refusals", "p", str(folder / "data"), stdout=subprocess.DEVNULL, check=True)
        disk = folder / "disk"
        disk.mkdir()
        for caller in callers:
            outcomes += [untrusted(caller), full_disk(caller, disk)]
    print(f"refusals: {sum(outcomes)} passed, {len(outcomes) - sum(outcomes)} failed")
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()

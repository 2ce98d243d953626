#!/usr/bin/env python3
"""scripts/cut_complete.py [--rounds N] [--mib N] [--seed N]: the connections break in the midst of Complete.

On the store that the environment (S3VAULT_*) names, through a proxy that aborts all connections once, soon after the checkpoint
has said that Complete follows. A store may stop there, and never complete the upload (MinIO does). Each round stores a file and
a stream with a checkpoint. Such a put of a file begins anew, and ends well; that of a stream says that its upload was given up,
and the same command once more ends well. So it does where the outcome is not known. Each backup is restored and compared,
`versions` shows one version, and the checkpoint is gone.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from callers import BUILD, Caller, command, use_new_keyring
from killed_resume import CONTAINER, MIB, drop, make_file, sha256
from tcp_proxy import Proxy, to_store


def cut_once(proxy: Proxy, checkpoint: Path, seconds: float, ended: threading.Event) -> None:
    """Breaks all connections so long after the checkpoint has said that Complete follows."""
    while not (checkpoint.exists() and b'"record":"complete"' in checkpoint.read_bytes()):
        if ended.wait(0.0005):
            return
    time.sleep(seconds)
    proxy.abort_all()


def put(caller: Caller, path: str, source: Path, stream: bool, checkpoint: Path) -> subprocess.CompletedProcess:
    argv = ("--json", "put", CONTAINER, path, "-" if stream else str(source), "--checkpoint", str(checkpoint))
    with source.open("rb") if stream else open(os.devnull, "rb") as stdin:
        return caller.run(*argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=50, help="files, and as many streams")
    arguments.add_argument("--mib", type=int, default=64, help="size of each")
    arguments.add_argument("--seed", type=int, default=1)
    args = arguments.parse_args()
    proxy, through = to_store()
    caller, dice = command().on(through), random.Random(args.seed)
    passed = failed = cut = anew = given_up = unknown = 0
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="cut.") as folder_name:
        folder = Path(folder_name)
        use_new_keyring(folder)
        source, checkpoint, restored = folder / "source", folder / "checkpoint", folder / "restored"
        wanted = make_file(source, args.mib, args.seed)
        for number in range(args.rounds):
            for stream in (False, True):
                path = f"{'stream' if stream else 'file'}-{number}"
                proxy.reset()
                ended = threading.Event()
                cutter = threading.Thread(target=cut_once, args=(proxy, checkpoint, dice.uniform(0, 0.02), ended))
                cutter.start()
                done = put(caller, path, source, stream, checkpoint)
                ended.set()
                cutter.join()
                cut += proxy.counts.broken > 0
                anew += done.returncode == 0 and proxy.counts.up > 1.5 * args.mib * MIB
                is_given_up, is_unknown = "S3V_E_GIVEN_UP" in done.stderr, "S3V_E_OUTCOME_UNKNOWN" in done.stderr
                if is_unknown or is_given_up and stream:
                    given_up, unknown = given_up + is_given_up, unknown + is_unknown
                    done = put(caller, path, source, stream, checkpoint)
                why = done.stderr.strip() if done.returncode else ""
                if not why:
                    caller.run("get", CONTAINER, path, str(restored), stdout=subprocess.DEVNULL, check=True)
                    rows = caller.run("--json", "versions", CONTAINER, path, stdout=subprocess.PIPE, text=True, check=True).stdout
                    if sha256(restored) != wanted:
                        why = "the restored bytes are others"
                    elif len(rows.splitlines()) != 1:
                        why = f"`versions` shows {rows}"
                    elif checkpoint.exists():
                        why = "the checkpoint is still there"
                    restored.unlink()
                checkpoint.unlink(missing_ok=True)
                drop(path)
                passed, failed = passed + (not why), failed + bool(why)
                if why:
                    print(f"{path} (seed {args.seed}): {why}", flush=True)
    print(f"cut-complete: {passed} passed, {failed} failed; {cut} cut off: {anew} files begun anew, "
          f"{given_up} streams given up and run again, {unknown} unknown and run again")
    sys.exit(1 if failed or not cut else 0)


if __name__ == "__main__":
    main()

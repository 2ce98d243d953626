"""The connections break while CompleteMultipartUpload is in progress.

A proxy aborts all connections once, soon after the checkpoint records that Complete follows. A store may stop there, and never
complete the upload (MinIO does). Each round stores a file and a stream with a checkpoint. The put of a file restarts by itself
and succeeds. The put of a stream reports that its upload is abandoned, and succeeds when the same command runs again; so does
any put that reports an unknown outcome. Then the test restores each backup and compares it; `versions` shows one version, and
the checkpoint is gone.
"""

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import Caller, command
from data import MIB, sha256
from tcp_proxy import Proxy
from test_killed_resume import CONTAINER, remove


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("kind", ("file", "stream"))
    metafunc.parametrize("number", range(metafunc.config.getoption("rounds") or 50))


@pytest.fixture(scope="module")
def mib(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption("mib") or 64


@pytest.fixture(scope="module", autouse=True)
def some_complete_was_cut(counts) -> Iterator[None]:
    yield
    assert counts["cut off"], "no connection broke: this run shows nothing"


def cut_once(proxy: Proxy, checkpoint: Path, seconds: float, ended: threading.Event) -> None:
    """Breaks all connections this many seconds after the checkpoint records that Complete follows."""
    while not (checkpoint.exists() and b'"record":"complete"' in checkpoint.read_bytes()):
        if ended.wait(0.0005):
            return
    time.sleep(seconds)
    proxy.abort_all()


def put(caller: Caller, path: str, source: Path, kind: str, checkpoint: Path) -> subprocess.CompletedProcess:
    argv = ("--json", "put", CONTAINER, path, "-" if kind == "stream" else str(source), "--checkpoint", str(checkpoint))
    with source.open("rb") if kind == "stream" else open(os.devnull, "rb") as stdin:
        return caller.run(*argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_put_survives_a_broken_complete(kind: str, number: int, source, proxied, mib: int, seed: int, folder: Path,
                                          counts) -> None:
    (file, digest), (proxy, address) = source, proxied
    caller, path = command().with_store_at(address), f"{kind}-{number}"
    checkpoint, restored = folder / f"{path}.checkpoint", folder / "restored"
    proxy.reset()
    ended = threading.Event()
    seconds = random.Random(f"{seed}/{number}/{kind}").uniform(0, 0.02)
    cutter = threading.Thread(target=cut_once, args=(proxy, checkpoint, seconds, ended))
    cutter.start()
    done = put(caller, path, file, kind, checkpoint)
    ended.set()
    cutter.join()
    counts["cut off"] += proxy.counts.broken > 0
    counts["files restarted"] += done.returncode == 0 and proxy.counts.up > 1.5 * mib * MIB
    abandoned = kind == "stream" and "S3V_E_ABANDONED" in done.stderr
    unknown = "S3V_E_OUTCOME_UNKNOWN" in done.stderr
    counts["streams abandoned and stored again"] += abandoned
    counts["puts with unknown outcome stored again"] += unknown
    if abandoned or unknown:
        done = put(caller, path, file, kind, checkpoint)
    assert done.returncode == 0, done.stderr

    caller.run("get", CONTAINER, path, str(restored), stdout=subprocess.DEVNULL, check=True)
    assert sha256(restored) == digest
    restored.unlink()
    listed = caller.run("--json", "versions", CONTAINER, path, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1
    assert not checkpoint.exists()
    remove(path)

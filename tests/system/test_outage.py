"""A store that is away in the middle of a transfer, as one that restarts: connections are refused for some seconds.

The transfer waits for it, says so, and comes back byte for byte; with a short `retry_time` it fails, and says what it tried.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest
from callers import command
from data import MIB, make_file
from tcp_proxy import Proxy, to_store

SIZE, AWAY = 48, 8


@pytest.fixture(scope="module")
def source(folder: Path, seed: int) -> Path:
    make_file(folder / "source", SIZE, seed)
    return folder / "source"


@pytest.fixture
def proxied(seed: int) -> tuple[Proxy, str]:
    return to_store(seed=seed)


def interrupted(proxy: Proxy, address: str, moved, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the command at 8 MiB a second, and takes the store away once a third of the bytes has moved."""
    slow = {f"S3VAULT_BANDWIDTH_{way}": str(8 * MIB) for way in ("UP", "DOWN")}
    environment = {**os.environ, **slow, "S3VAULT_API_URL": address, **settings}
    proxy.reset()
    process = subprocess.Popen([*command().argv, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    while moved(proxy) < SIZE * MIB // 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    proxy.stop()
    time.sleep(AWAY)
    proxy.listen()
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_a_transfer_waits_for_a_store_that_is_away(source: Path, folder: Path, proxied) -> None:
    proxy, address = proxied
    for arguments, moved in (
        (["put", "outage", "disk", str(source)], lambda proxy: proxy.counts.up),
        (["get", "outage", "disk", str(folder / "restored")], lambda proxy: proxy.counts.down),
    ):
        done = interrupted(proxy, address, moved, *arguments, S3VAULT_RETRY_TIME="60")
        assert done.returncode == 0, done.stderr
        assert "the store has been away for" in done.stderr, done.stderr
        assert "the store answers again" in done.stderr, done.stderr
    assert (folder / "restored").read_bytes() == source.read_bytes()


def test_a_short_retry_time_ends_it(source: Path, proxied) -> None:
    proxy, address = proxied
    done = interrupted(proxy, address, lambda proxy: proxy.counts.up, "put", "outage", "short", str(source), S3VAULT_RETRY_TIME="1")
    assert done.returncode == 5, done.stderr
    assert "tried" in done.stderr, done.stderr

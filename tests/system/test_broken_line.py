"""Many transfers of one process, through a proxy that breaks a share of the connections at a random byte.

Every backup comes back byte for byte.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data import make_file
from tcp_proxy import Proxy, to_store


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    shares = metafunc.config.getoption("shares").split(",")
    metafunc.parametrize("percent", [pytest.param(int(share), id=f"{share} percent") for share in shares])


@pytest.fixture(scope="module")
def source(folder: Path, pytestconfig: pytest.Config, seed: int) -> Path:
    make_file(folder / "source", pytestconfig.getoption("mib") or 10, seed)
    return folder / "source"


@pytest.fixture(scope="module")
def proxied(seed: int) -> tuple[Proxy, str]:
    return to_store(seed=seed)


def test_all_transfers_end_right(percent: int, source: Path, proxied, pytestconfig: pytest.Config, counts, record_property) -> None:
    (proxy, address), transfers = proxied, pytestconfig.getoption("transfers")
    proxy.reset()
    proxy.share = percent / 100
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("many_transfers.py")), str(transfers), str(source)],
                          stdout=subprocess.PIPE, check=True, env={**os.environ, "S3VAULT_API_URL": address})
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert percent == 0 or proxy.counts.broken, "no connection broke: this run shows nothing"
    counts["transfers"] += transfers
    record_property("measured", f"{found['up']:.0f} MiB/s up, {found['down']:.0f} MiB/s down; "
                                f"{proxy.counts.broken} of {proxy.counts.connections} connections broke")

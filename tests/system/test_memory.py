"""Peak memory of transfers.

Through C (`bindings/c/tests/memory.c`), against limits: 26 MiB for a file and its restore with any number of connections;
part size x window + 16 MiB for a stream, that is 8 x 8 MiB + 16 MiB; 1,000 transfers at once within one budget of 256 MiB of
payload. In Java and Python a file and its restore have the same limit, for what they take beyond a process that only lists.

The limits are those of the library as it is shipped, which `make deep` measures (slice memory: --library). The library that
the tests build is optimized less, and more of its code is in memory: UNOPTIMIZED.

With a --delay before each answer, which only the embedded store has, more parts are in flight; 64 connections are enough then.
"""

import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from callers import ROOT, Caller, java_example, python_api, watch_peak
from data import MIB, make_file

MEMORY = ROOT / "bindings/c/build/memory"
FILE_LIMIT, STREAM_LIMIT, BUDGET = 26, 8 * 8 + 16, 256
UNOPTIMIZED = 6


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "connections" in metafunc.fixturenames:
        metafunc.parametrize("connections", ("64",) if metafunc.config.getoption("delay") else ("1", "8", "64"))


@pytest.fixture(scope="module")
def mib(pytestconfig: pytest.Config) -> int:
    return pytestconfig.getoption("mib") or 512


@pytest.fixture(scope="module")
def source(folder: Path, mib: int, seed: int) -> Path:
    make_file(folder / "source", mib, seed)
    return folder / "source"


@pytest.fixture(scope="module", autouse=True)
def delay(pytestconfig: pytest.Config) -> int:
    """Tells the embedded store to wait before each answer."""
    ms = pytestconfig.getoption("delay")
    if ms:
        fault = json.dumps({"operation": "*", "delay_ms": ms, "times": 1_000_000}).encode()
        url, ca = os.environ["S3VAULT_API_URL"] + "/_embedded/fault", os.environ.get("S3VAULT_CA_FILE")
        trusted = ssl.create_default_context(cafile=ca) if ca else None
        urllib.request.urlopen(urllib.request.Request(url, fault, method="POST"), context=trusted).close()
    return ms


@pytest.fixture(scope="module")
def in_c(pytestconfig: pytest.Config, folder: Path) -> Callable[..., dict]:
    """Runs the program in C, with the library that the option names."""
    library = pytestconfig.getoption("library")
    found = {}
    if library:
        (folder / "libs3vault.so.0").symlink_to(library.resolve(strict=True))
        found["LD_LIBRARY_PATH"] = str(folder)

    def run(*arguments: str, **environment: str) -> dict:
        done = subprocess.run(
            [str(MEMORY), *arguments], stdout=subprocess.PIPE, check=True, env={**os.environ, **found, **environment}
        )
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def allowed(pytestconfig: pytest.Config) -> Callable[[int], int]:
    """Returns the limit, in MiB, of the library that is measured."""
    more = 0 if pytestconfig.getoption("library") else UNOPTIMIZED
    return lambda limit: limit + more


@pytest.fixture
def check_peak(allowed: Callable[[int], int], record_property) -> Callable[[int, int], None]:
    def check(kib: int, limit: int) -> None:
        assert 0 < kib / 1024 <= allowed(limit)
        record_property("measured", f"{kib / 1024:.1f} MiB at the peak, {allowed(limit)} allowed")

    return check


def drop_from_page_cache(file: Path) -> None:
    with file.open("rb") as source:
        os.fsync(source.fileno())
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_of(caller: Caller, *arguments: str) -> float:
    """Returns the peak memory of the program in MiB."""
    process = caller.start(*arguments, stdout=subprocess.DEVNULL)
    peak = watch_peak(process)()
    what = f"{caller.name}: {arguments[0]}"
    assert process.returncode == 0, f"{what} failed with code {process.returncode}: nothing was measured"
    assert peak > 0, f"{what} ended before its memory was read"
    return peak


def test_a_file_in_c(connections: str, source: Path, in_c, check_peak) -> None:
    check_peak(in_c("file", str(source), S3VAULT_CONNECTIONS=connections)["peak_kib"], FILE_LIMIT)


def test_a_file_that_is_not_in_the_page_cache_in_c(source: Path, in_c, check_peak) -> None:
    drop_from_page_cache(source)
    check_peak(in_c("file", str(source), S3VAULT_CONNECTIONS="64")["peak_kib"], FILE_LIMIT)


def test_a_restore_in_c(connections: str, source: Path, in_c, check_peak) -> None:
    in_c("file", str(source))
    check_peak(in_c("restore", str(source), S3VAULT_CONNECTIONS=connections)["peak_kib"], FILE_LIMIT)


# The pipe reads the backup of the stream, four times in one process: memory that one transfer leaves must not add up.
def test_a_stream_and_its_pipes_in_c(mib: int, in_c, allowed, record_property) -> None:
    limit = allowed(STREAM_LIMIT)
    stream = in_c("stream", str(mib))["peak_kib"]
    assert 0 < stream / 1024 <= limit
    pipe = in_c("pipe", "4")["peak_kib"]
    assert 0 < pipe / 1024 <= limit
    record_property("measured", f"{stream / 1024:.1f} MiB for the stream, {pipe / 1024:.1f} for the pipes, {limit} allowed")


def test_1000_transfers_at_once_in_c(folder: Path, seed: int, in_c, record_property) -> None:
    small = folder / "small"
    make_file(small, 3, seed)
    found = in_c("many", "1000", str(small), S3VAULT_MEMORY=str(BUDGET * MIB))
    assert 0 < found["memory_peak"] <= BUDGET * MIB
    record_property("measured", f"{found['memory_peak'] / MIB:.1f} MiB of payload, {BUDGET} allowed; the process has "
                                f"{found['peak_kib'] / 1024:.1f} MiB, 1000 threads and {found['connections_peak']} connections")


@pytest.mark.parametrize("caller", [pytest.param(caller, id=caller.name) for caller in (java_example(), python_api())])
def test_other_callers(caller: Caller, source: Path, mib: int, folder: Path, record_property) -> None:
    idle = peak_of(caller, "versions", "memory", "nothing")
    put = peak_of(caller, "put", "memory", caller.name, str(source))
    get = peak_of(caller, "get", "memory", caller.name, str(folder / "restored"))
    assert (folder / "restored").stat().st_size == mib * MIB
    (folder / "restored").unlink()
    assert put - idle <= FILE_LIMIT
    assert get - idle <= FILE_LIMIT
    record_property("measured", f"a file of {mib} MiB takes {put:.1f} MiB ({put - idle:.1f} more than none, {FILE_LIMIT} allowed), "
                                f"its restore {get:.1f} ({get - idle:.1f})")

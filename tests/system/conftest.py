"""Tests of the built callers as processes, on the store that the environment (S3VAULT_*) names.

    scripts/with-store.sh minio -- build/venv/bin/python -m pytest tests/system/test_killed_upload.py --rounds 12

Each module has its own defaults for the options, which suit `make test`; `make deep` passes larger ones. The line of a test
says what the test measured (`record_property("measured", ...)`), and the last lines say what each module counted.
"""

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import BUILD, command
from clocked_store import ClockedStore
from data import make_file
from tcp_proxy import Proxy, to_store

# A shell without job control ignores SIGINT in background jobs, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

COUNTS = pytest.StashKey[dict[str, Counter]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("s3vault")
    group.addoption("--rounds", type=int, help="how often each test runs")
    group.addoption("--mib", type=int, help="size of each backup")
    group.addoption("--seed", type=int, default=11, help="seed of data and of random moments")
    group.addoption("--transfers", type=int, default=64, help="transfers at once (broken line)")
    group.addoption("--shares", default="0,10", help="percentages of connections that break (broken line)")
    group.addoption("--delay", type=int, default=0, help="milliseconds before each answer of the embedded store (memory)")
    group.addoption("--library", type=Path, help="the library to measure, instead of the one that the tests build (memory)")
    group.addoption("--versions", type=int, help="versions of one key (odd buckets), or in the large vault (many versions)")
    group.addoption("--backups", type=int, default=200, help="backups that these are versions of (many versions)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = {}


def pytest_sessionstart() -> None:
    if "S3VAULT_API_URL" not in os.environ:
        raise pytest.UsageError("S3VAULT_API_URL is not set: run these tests with scripts/with-store.sh STORE -- ...")


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    # A module that cannot be collected has a report of another kind.
    measured = dict(getattr(report, "user_properties", ())).get("measured")
    if report.when == "call" and report.passed and measured:
        return "passed", ".", f"PASSED {measured}"
    return None


def module_of(nodeid: str) -> str:
    return Path(nodeid.split("::")[0]).stem.removeprefix("test_").replace("_", "-")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes: dict[str, Counter] = {}
    for outcome, category in (("passed", "passed"), ("failed", "failed"), ("failed", "error")):
        for report in terminalreporter.stats.get(category, []):
            outcomes.setdefault(module_of(report.nodeid), Counter())[outcome] += 1
    for module, of_module in outcomes.items():
        line = f"{module}: {of_module['passed']} passed, {of_module['failed']} failed"
        counts = ", ".join(f"{number:.0f} {what}" for what, number in config.stash[COUNTS].get(module, Counter()).items())
        terminalreporter.write_line(f"{line}; {counts}" if counts else line)


@pytest.fixture(scope="module")
def counts(request: pytest.FixtureRequest) -> Counter:
    """What the module counts, by the words that follow the number in its last line."""
    return request.config.stash[COUNTS].setdefault(module_of(request.node.nodeid), Counter())


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("seed")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for large files: /tmp may be small."""
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="system.") as name:
        yield Path(name)


@pytest.fixture(scope="session", autouse=True)
def keyring(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Makes a signing key, and names its file in the environment of all callers."""
    file = tmp_path_factory.mktemp("keys") / "keyring"
    command().run("keys", "new", str(file), capture_output=True, check=True)
    os.environ["S3VAULT_KEYRING"] = str(file)


@pytest.fixture(scope="module")
def source(folder: Path, mib: int, seed: int) -> tuple[Path, str]:
    """A file of `mib` MiB, and its SHA-256."""
    return folder / "source", make_file(folder / "source", mib, seed)


@pytest.fixture(scope="module")
def proxied() -> tuple[Proxy, str]:
    """A proxy to the store, and its address."""
    return to_store()


@pytest.fixture(scope="module")
def store() -> Iterator[ClockedStore]:
    """The store with a clock that the test sets."""
    clocked = ClockedStore()
    yield clocked
    clocked.close()

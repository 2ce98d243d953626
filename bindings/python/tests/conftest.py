"""Fixtures: the vault in the store that the environment names, and a container for each test."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import s3vault

# A shell without job control ignores SIGINT in background jobs, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Only the tests with the marker `without_store` run without a store."""
    if session.config.option.markexpr != "without_store" and not os.environ.get("S3VAULT_API_URL"):
        raise pytest.UsageError(
            "S3VAULT_API_URL is not set: these tests need a store; "
            "scripts/with-store.sh embedded -- python -m pytest bindings/python/tests starts one"
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints one line for each skipped case."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        terminalreporter.write_line(f"skip {report.nodeid.split('[')[-1].rstrip(']')}: {reason}")


@pytest.fixture(scope="session")
def keyring_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a fresh signing key."""
    file = tmp_path_factory.mktemp("keys") / "vault.keys"
    s3vault.Keyring.create(file)
    return file


@pytest.fixture(scope="session")
def vault(keyring_file: Path) -> Iterator[s3vault.Vault]:
    """The vault in the store's bucket."""
    with s3vault.open(s3vault.Config().env(), keyring=keyring_file) as opened:
        yield opened


@pytest.fixture
def container() -> str:
    """A container that no other test uses."""
    return f"py-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def silent_store() -> Iterator[str]:
    """URL of a server that accepts connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_port() -> Iterator[str]:
    """URL of a port where nothing listens. It is bound, so that no other process can listen there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"

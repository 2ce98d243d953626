"""Errors that no shared case can cause: a certificate that is not trusted, and a disk that is full in the middle of a restore.

The store must use TLS with a certificate of its own CA. Each caller prints the hint of an error; no two errors have the same
hint, so the hint shows that the code is right.
"""

import os
import subprocess
from pathlib import Path

import pytest
import s3vault
from callers import Caller, all_callers, command

HINTS = {error.name: error.hint for error in s3vault.ERRORS}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "caller" in metafunc.fixturenames:
        metafunc.parametrize("caller", [pytest.param(caller, id=caller.name) for caller in all_callers()])


@pytest.fixture(scope="module", autouse=True)
def stored(folder: Path) -> None:
    (folder / "data").write_bytes(os.urandom(20 << 20))
    command().run("put", "refusals", "p", str(folder / "data"), capture_output=True, check=True)


def check(done: subprocess.CompletedProcess, error: str) -> None:
    assert done.returncode != 0
    assert HINTS[error].rstrip(".") in done.stderr
    assert list(HINTS.values()).count(HINTS[error]) == 1


def test_a_certificate_that_is_not_trusted(caller: Caller) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "S3VAULT_CA_FILE"}
    done = caller.run("versions", "refusals", "p", env=environment, capture_output=True, text=True)
    check(done, "S3V_E_CERTIFICATE")


def test_a_full_disk(caller: Caller, tmp_path: Path) -> None:
    """The disk has 4 MiB, and is mounted only for the caller."""
    script = 'mount -t tmpfs -o size=4m tmpfs "$0" && "$@" "$0/restored"; code=$?; ls -A "$0"; exit $code'
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    get = [*caller.argv, "get", "refusals", "p"]
    done = subprocess.run([*namespace, "sh", "-c", script, str(tmp_path), *get], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "", "a failed restore leaves no file"
    check(done, "S3V_E_DISK_FULL")

"""Each caller stores a file; every caller restores all of them.

Half of the files are stored by name and half through a pipe, whose length nobody knows; half are restored into a file and half
into a pipe. boto3 reads each by its plain key.
"""

import os
import subprocess
from pathlib import Path

import pytest
from boto3_client import client
from callers import Caller, all_callers
from data import make_file, sha256, sha256_of_stream

CONTAINER = "cross vm"
CALLERS = all_callers()
NUMBERS = [pytest.param(number, id=caller.name) for number, caller in enumerate(CALLERS)]


@pytest.fixture(scope="module", params=NUMBERS)
def stored(request: pytest.FixtureRequest, folder: Path, pytestconfig: pytest.Config) -> tuple[int, str, str]:
    """The number of the caller that stored a file, the path of the backup, and its SHA-256."""
    number = request.param
    writer, file = CALLERS[number], folder / "source"
    path = f"stored by/{writer.name}.img"
    digest = make_file(file, pytestconfig.getoption("mib") or 256, seed=number)
    if number % 2 == 0:
        with subprocess.Popen(["cat", str(file)], stdout=subprocess.PIPE) as cat:
            writer.run("put", CONTAINER, path, "-", stdin=cat.stdout, stdout=subprocess.DEVNULL, check=True)
    else:
        writer.run("put", CONTAINER, path, str(file), stdout=subprocess.DEVNULL, check=True)
    file.unlink()
    return number, path, digest


def restore_through_a_pipe(reader: Caller, path: str) -> str:
    with reader.start("get", CONTAINER, path, "-", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        digest = sha256_of_stream(process.stdout)
    assert process.returncode == 0
    return digest


def restore_into_a_file(reader: Caller, path: str, target: Path) -> str:
    reader.run("get", CONTAINER, path, str(target), stdout=subprocess.DEVNULL, check=True)
    digest = sha256(target)
    target.unlink()
    return digest


@pytest.mark.parametrize("reader", NUMBERS)
def test_every_caller_restores_it(stored: tuple[int, str, str], reader: int, folder: Path) -> None:
    writer, path, digest = stored
    if (writer + reader) % 2 == 1:
        assert restore_through_a_pipe(CALLERS[reader], path) == digest
    else:
        assert restore_into_a_file(CALLERS[reader], path, folder / "restored") == digest


def test_boto3_reads_it_by_its_plain_key(stored: tuple[int, str, str]) -> None:
    _, path, digest = stored
    reply = client().get_object(Bucket=os.environ["S3VAULT_BUCKET"], Key=f"{CONTAINER}/{path}")
    assert sha256_of_stream(reply["Body"]) == digest

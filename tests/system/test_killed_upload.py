"""An upload that is killed leaves nothing that `versions` or `ls` shows.

The kill comes when the store itself (asked with boto3) holds parts of the upload; each round waits for one part more. Afterwards
a whole upload under the same name succeeds.
"""

import json
import os
import subprocess
import threading
import time

import pytest
from boto3_client import client
from callers import Caller, all_callers, command

CONTAINER, BUCKET = "killed", os.environ.get("S3VAULT_BUCKET")
BLOCK = b"\xa5\x5a" * (1 << 19)
# The first parts of a stream have 8 MiB. The spare covers the parts that wait in the window.
PART_MIB, SPARE_MIB = 8, 96


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("round_number", range(metafunc.config.getoption("rounds") or 1))
    metafunc.parametrize("caller", [pytest.param(caller, id=caller.name) for caller in all_callers()])


def feed(process: subprocess.Popen, mib: int) -> None:
    """Writes this many MiB and leaves the pipe open, so that the upload cannot end."""
    assert process.stdin is not None
    try:
        for _ in range(mib):
            process.stdin.write(BLOCK)
    except OSError:
        pass  # The process was killed.


def parts_in_store(key: str) -> int:
    """Returns how many parts of unfinished uploads of this key the store holds."""
    s3 = client()
    uploads = s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads", [])
    return sum(len(s3.list_parts(Bucket=BUCKET, Key=key, UploadId=u["UploadId"]).get("Parts", [])) for u in uploads)


def kill_upload(caller: Caller, path: str, after_parts: int) -> int:
    """Starts to store an endless stream, and kills the caller when the store holds that many parts; returns how many it held."""
    process = caller.start("put", CONTAINER, path, "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0)
    feeder = threading.Thread(target=feed, args=(process, after_parts * PART_MIB + SPARE_MIB))
    feeder.start()
    deadline = time.monotonic() + 60
    try:
        while (parts := parts_in_store(f"{CONTAINER}/{path}")) < after_parts:
            assert process.poll() is None, f"the caller exited with code {process.returncode}"
            assert time.monotonic() < deadline, f"the store holds {parts} parts after 60 s"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        feeder.join()
        if process.stdin is not None:
            process.stdin.close()
    return parts


def listed(*arguments: str) -> list[dict]:
    """Returns what the command lists; nothing if it reports that nothing was found (exit code 3)."""
    done = command().run("--json", *arguments, stdout=subprocess.PIPE)
    assert done.returncode in (0, 3)
    return [json.loads(line) for line in done.stdout.splitlines()]


def listed_paths() -> list[str]:
    return [entry["path"] for entry in listed("ls", CONTAINER)]


def test_a_killed_upload_leaves_no_version(caller: Caller, round_number: int, record_property) -> None:
    path = f"{caller.name}/{round_number}.img"
    parts = kill_upload(caller, path, after_parts=1 + round_number)
    assert listed("versions", CONTAINER, path) == []
    assert path not in listed_paths()
    assert caller.run("get", CONTAINER, path, "-", capture_output=True).returncode != 0
    caller.run("put", CONTAINER, path, "-", input=b"whole", stdout=subprocess.DEVNULL, check=True)
    assert len(listed("versions", CONTAINER, path)) == 1
    assert path in listed_paths()
    record_property("measured", f"killed with {parts} parts in the store")

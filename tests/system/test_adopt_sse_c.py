"""Data that boto3 stored under keys of SSE-C of its own, several versions of one key under different keys: with a file of
these keys it is adopted, and is then a backup as any other."""

import base64
import json
import os
import signal
import subprocess
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
import s3vault
from boto3_client import client
from callers import Caller, command
from data import MIB

BUCKET = os.environ.get("S3VAULT_BUCKET", "")
IS_NATIVE = os.environ.get("S3VAULT_MODE", "single-bucket") == "single-bucket"
HANGS = 120


class Stored(NamedTuple):
    """An object that boto3 has stored."""

    path: str
    version_id: str | None
    sse_c_key: bytes
    data: bytes


@pytest.fixture
def container() -> str:
    return f"old-{uuid.uuid4().hex[:10]}"


def store(container: str, path: str, size: int) -> Stored:
    """Stores an object under a new key."""
    key, data = os.urandom(32), os.urandom(size)
    customer = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
    reply = client().put_object(Bucket=BUCKET, Key=f"{container}/{path}", Body=data, **customer)
    return Stored(path, reply.get("VersionId"), key, data)


def key_file(file: Path, container: str, objects: list[Stored]) -> Path:
    """Writes the keys into a file that nobody else can read."""
    file.touch(mode=0o600)
    lines = []
    for one in objects:
        line = {"key": f"{container}/{one.path}", "sse_c_key": base64.b64encode(one.sse_c_key).decode()}
        lines.append(line | ({"version_id": one.version_id} if one.version_id else {}))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def run(*args: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    caller = Caller("command", ("env", *(f"{key}={value}" for key, value in environment.items()), *command().argv))
    done = caller.run(*args, capture_output=True, text=True, timeout=HANGS)
    assert not check or done.returncode == 0, f"{args} ended with {done.returncode}: {done.stderr}"
    return done


def versions(container: str) -> list[dict]:
    """All versions of the container's backups."""
    with s3vault.open(s3vault.Config().env()) as vault:
        rows = vault.versions(container=container)
        return [{"path": row.path, "vid": row.vid} for row in rows]


def is_shown(text: str, objects: list[Stored]) -> bool:
    """Whether a key is in the text, in one of the forms that it has anywhere."""
    return any(
        form in text
        for one in objects
        for form in (base64.b64encode(one.sse_c_key).decode()[:20], one.sse_c_key.hex()[:20])
    )


def check_restored(container: str, objects: list[Stored], tmp_path: Path) -> None:
    """Each object is a version, whose data key is the one that boto3 has used."""
    left = {(one.path, one.data): one for one in objects}
    for row in versions(container):
        target = tmp_path / row["vid"]
        run("get", container, row["path"], str(target), "--version", row["vid"])
        one = left.pop((row["path"], target.read_bytes()))
        shown = run("keys", "show", container, row["path"], "--version", row["vid"]).stdout
        assert base64.b64encode(one.sse_c_key).decode() in shown or one.sse_c_key.hex() in shown
    assert not left


@pytest.mark.parametrize("hash", (False, True), ids=("listed", "hashed"))
def test_versions_under_keys_of_their_own_are_adopted_and_are_backups_as_any_other(
    hash: bool, container: str, tmp_path: Path
) -> None:
    objects = [store(container, "disk.img", size) for size in (5000, 0, 20 * MIB)][0 if IS_NATIVE else 2 :]
    objects.append(store(container, "a b/ü", 100))
    keys = key_file(tmp_path / "keys", container, objects)
    options = ["--keys", str(keys), *(["--hash"] if hash else [])]
    done = run("adopt", container, *options)
    assert f"adopted {len(objects)} versions" in done.stdout + done.stderr
    assert not is_shown(done.stdout + done.stderr, objects)
    again = run("adopt", container, *options)
    assert "adopted" not in again.stdout.replace("nothing to adopt", "")
    check_restored(container, objects, tmp_path)
    report = json.loads(run("--json", "verify", container).stdout.splitlines()[-1])
    assert report["good" if hash else "unverifiable"] == len(objects), report
    # It is rotated and deleted, and only that object is gone.
    run("rotate", container)
    for row in [row for row in versions(container) if row["path"] == "a b/ü"]:
        run("rm", container, row["path"], "--version", row["vid"])
    check_restored(container, objects[:-1], tmp_path)


def test_wrong_and_missing_keys_are_named_and_nothing_of_these_objects_changes(container: str, tmp_path: Path) -> None:
    right, wrong, missing = (store(container, path, 100) for path in ("right", "wrong", "missing"))
    given = [right, wrong._replace(sse_c_key=os.urandom(32))]
    keys = key_file(tmp_path / "keys", container, given)
    for adopted in (1, 0):
        with s3vault.open(s3vault.Config().env(), keyring=os.environ["S3VAULT_KEYRING"]) as vault:
            report = vault.adopt(container=container, adopt_keys=str(keys))
        assert (report.adopted, report.problems) == (adopted, 2), report
        texts = "\n".join(report.problem_texts)
        assert "wrong" in texts and "is not the one that it is encrypted with" in texts
        assert "missing" in texts and "the key file has none for it" in texts
        assert not is_shown(texts, [*given, wrong, missing])
    check_restored(container, [right], tmp_path)
    keys.unlink()
    run("adopt", container, "--keys", str(key_file(keys, container, [wrong, missing])))
    check_restored(container, [right, wrong, missing], tmp_path)


def test_a_key_file_that_others_can_read_and_a_bad_line_are_refused(container: str, tmp_path: Path) -> None:
    one = store(container, "disk.img", 100)
    keys = key_file(tmp_path / "keys", container, [one])
    keys.chmod(0o644)
    done = run("adopt", container, "--keys", str(keys), check=False)
    assert done.returncode == 2 and "chmod 600" in done.stderr, done.stderr
    keys.chmod(0o600)
    keys.write_text(keys.read_text() + f"disk.img {base64.b64encode(one.sse_c_key).decode()}\n")
    done = run("adopt", container, "--keys", str(keys), check=False)
    assert done.returncode == 2 and "line 2" in done.stderr and not is_shown(done.stderr, [one]), done.stderr
    assert not versions(container)


def test_an_adoption_that_was_killed_continues(container: str, tmp_path: Path) -> None:
    objects = [store(container, f"{number:02}", MIB) for number in range(24)]
    keys = key_file(tmp_path / "keys", container, objects)
    args = ("--json", "adopt", container, "--hash", "--keys", str(keys))
    slow = Caller("command", ("env", f"S3VAULT_BANDWIDTH_DOWN={4 * MIB}", *command().argv))
    for _ in range(2):
        with slow.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            said = json.loads(killed.stdout.readline())
            killed.send_signal(signal.SIGKILL)
        assert said["action"] == "adopt", said
    assert 2 <= len(versions(container)) < len(objects)
    report = json.loads(run(*args).stdout.splitlines()[-1])
    assert 0 < report["adopted"] < len(objects) and report["problems"] == 0, report
    check_restored(container, objects, tmp_path)
    assert json.loads(run("--json", "verify", container).stdout.splitlines()[-1])["good"] == len(objects)

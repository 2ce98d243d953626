"""Backups that the store encrypts with keys of its own (SSE-S3, SSE-KMS), by the command.

On a store with a key management service (MinIO, whose one key is called `s3vault-test`) all that a vault writes is encrypted
as the setting says, which boto3 sees. A store that ignores the setting (versitygw), or does not have the key, gets no backup.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from boto3_client import client, keys
from callers import command
from data import make_file, sha256

BUCKET, STORE = os.environ.get("S3VAULT_BUCKET", ""), os.environ.get("S3VAULT_TEST_STORE", "")
KEY = "s3vault-test"
KINDS = {
    "sse-s3": ({"S3VAULT_ENCRYPTION": "sse-s3"}, "AES256"),
    "sse-kms": ({"S3VAULT_ENCRYPTION": "sse-kms", "S3VAULT_SSE_KMS_KEY": KEY}, "aws:kms"),
    "sse-kms-default": ({"S3VAULT_ENCRYPTION": "sse-kms"}, "aws:kms"),
}

encrypts = pytest.mark.skipif(STORE == "versitygw", reason="versitygw does not encrypt")


def run(*args: str, settings: dict[str, str], check: bool = True, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, **settings}
    done = command().run(*args, capture_output=True, text=True, env=environment, timeout=120, **options)
    if check and done.returncode:
        pytest.fail(f"{args} ended with {done.returncode}: {done.stderr}")
    return done


DATA, ENTRIES, LOCATORS = "{}/", "_s3vault/1/cat/{}/", "_s3vault/1/loc/{}/"


def objects(container: str, *prefixes: str) -> list[dict]:
    """The headers of each object of the container with one of these prefixes."""
    found = (key for prefix in prefixes for key in keys(BUCKET, prefix.format(container)))
    return [client().head_object(Bucket=BUCKET, Key=key) for key in found]


def check_restored(container: str, path: str, source: Path, folder: Path) -> None:
    restored = folder / "restored"
    run("get", container, path, str(restored), settings={})
    assert sha256(restored) == sha256(source)
    restored.unlink()


@pytest.fixture(scope="module")
def files(folder: Path, seed: int) -> dict[str, Path]:
    """A small file, and one of three parts."""
    make_file(folder / "large", 20, seed)
    (folder / "small").write_bytes((folder / "large").read_bytes()[:5000])
    return {name: folder / name for name in ("small", "large")}


@encrypts
@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_encrypted_as_set_and_restored_without_the_setting(
    kind: str, files: dict[str, Path], tmp_path: Path
) -> None:
    settings, algorithm = KINDS[kind]
    for path, file in files.items():
        run("put", kind, path, str(file), settings=settings)
        with file.open("rb") as source:
            run("put", kind, f"{path}-stream", "-", settings=settings, stdin=source)
    found = objects(kind, DATA, ENTRIES, LOCATORS)
    # Three of each of the four backups.
    assert len(found) == 12
    for headers in found:
        assert headers["ServerSideEncryption"] == algorithm
        assert headers.get("SSEKMSKeyId", "").endswith(KEY if algorithm == "aws:kms" else "")
    for path, file in files.items():
        check_restored(kind, path, file, tmp_path)
        check_restored(kind, f"{path}-stream", file, tmp_path)
    report = json.loads(run("--json", "verify", kind, settings={}).stdout.splitlines()[-1])
    assert (report["good"], report["not_good"]) == (4, []), report


@encrypts
def test_the_kind_of_encryption_may_change(files: dict[str, Path], tmp_path: Path) -> None:
    kinds = [{"S3VAULT_ENCRYPTION": "none"}, KINDS["sse-s3"][0], {"S3VAULT_ENCRYPTION": "sse-c"}, KINDS["sse-kms"][0]]
    vids = [
        json.loads(run("--json", "put", "mixed", "p", str(files["small"]), settings=settings).stdout)["vid"]
        for settings in kinds
    ]
    for vid in vids:
        run("get", "mixed", "p", str(tmp_path / vid), "--version", vid, settings={})
        assert sha256(tmp_path / vid) == sha256(files["small"])


@encrypts
def test_a_key_that_the_store_does_not_have_is_an_error_and_nothing_is_stored(files: dict[str, Path]) -> None:
    settings = {**KINDS["sse-kms"][0], "S3VAULT_SSE_KMS_KEY": "no-such-key"}
    for path, file in files.items():
        done = run("put", "unknown-key", path, str(file), settings=settings, check=False)
        # Not 3: nothing that is asked for is missing.
        assert done.returncode == 4 and "Check sse_kms_key" in done.stderr, done.stderr
    assert objects("unknown-key", DATA, ENTRIES, LOCATORS) == []


def test_a_kms_key_without_sse_kms_is_refused(files: dict[str, Path]) -> None:
    settings = {**KINDS["sse-s3"][0], "S3VAULT_SSE_KMS_KEY": KEY}
    done = run("put", "refused", "p", str(files["small"]), settings=settings, check=False)
    assert done.returncode == 2 and "sse_kms_key" in done.stderr, done.stderr


@pytest.mark.skipif(STORE != "versitygw", reason="this store encrypts")
@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_ignores_the_setting_gets_no_backup(kind: str, files: dict[str, Path]) -> None:
    done = run("put", kind, "p", str(files["small"]), settings=KINDS[kind][0], check=False)
    assert done.returncode != 0 and "does not confirm the requested encryption" in done.stderr, done.stderr
    assert objects(kind, DATA, ENTRIES) == []

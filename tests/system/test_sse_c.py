"""Backups that the store encrypts with the vault's keys (SSE-C), by the command.

On a store with SSE-C, what is stored is restored; boto3 reads the data with the key that this file unwraps by itself, and is
refused without it. On a store that ignores the keys (versitygw) nothing is stored.
"""

import base64
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from boto3_client import client, keys
from botocore.exceptions import ClientError
from callers import Caller, command
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from data import MIB, make_file, sha256

CONTAINER, BUCKET = "encrypted", os.environ.get("S3VAULT_BUCKET", "")
STORE = os.environ.get("S3VAULT_TEST_STORE", "")
HAS_TLS = os.environ.get("S3VAULT_API_URL", "").startswith("https://")
# A call that has not ended after so many seconds hangs.
HANGS = 120

if os.environ.get("S3VAULT_MODE") == "bucket-per-vm":
    pytest.skip("these tests look into one bucket", allow_module_level=True)

keeps_keys = pytest.mark.skipif(STORE == "versitygw", reason="versitygw ignores the keys of SSE-C")


@pytest.fixture(scope="module")
def sse_c() -> Caller:
    """The command, whose backups are encrypted by the store."""
    settings = ["S3VAULT_ENCRYPTION=sse-c"]
    if not HAS_TLS:
        settings.append("S3VAULT_ALLOW_PLAIN_SSE_C=true")
    return Caller("command", ("env", *settings, *command().argv))


@pytest.fixture(scope="module")
def files(folder: Path, seed: int) -> dict[str, Path]:
    """A small file, and one of three parts."""
    make_file(folder / "large", 20, seed)
    (folder / "small").write_bytes((folder / "large").read_bytes()[:5000])
    return {name: folder / name for name in ("small", "large")}


def run(caller: Caller, *args: str, check: bool = True, **options) -> subprocess.CompletedProcess:
    done = caller.run(*args, capture_output=True, text=True, timeout=HANGS, **options)
    if check and done.returncode:
        pytest.fail(f"{args} ended with {done.returncode}: {done.stderr}")
    return done


def put(caller: Caller, path: str, file: Path, *options: str, stream: bool = False) -> str:
    """Stores a backup, and returns its version id."""
    with file.open("rb") as source:
        run(caller, "put", CONTAINER, path, "-" if stream else str(file), *options, stdin=source)
    return signed(f"_s3vault/1/cat/{CONTAINER}/{path}/")["vid"]


def keys_with(prefix: str) -> list[str]:
    return keys(BUCKET, prefix)


def signed(prefix: str) -> dict:
    """The JSON of the first signed object with this prefix."""
    object = client().get_object(Bucket=BUCKET, Key=keys_with(prefix)[0])
    return json.loads(object["Body"].read().split(b"\n")[0])


def data_key(locator: dict) -> bytes:
    """Unwraps the data key of a locator with the keyring's file, as docs/format.md says."""
    keyring = json.loads(Path(os.environ["S3VAULT_KEYRING"]).read_text())
    [kek] = [base64.b64decode(kek["key"]) for kek in keyring["keks"] if kek["id"] == locator["wrapped"]["kek"]]
    names = ("vault", "container", "path", "vid")
    fields = [*(locator[name] for name in names), locator["wrapped"]["kek"], locator["encryption"]]
    associated = b"".join(len(field.encode()).to_bytes(4, "big") + field.encode() for field in fields)
    wrapped = base64.b64decode(locator["wrapped"]["key"])
    return AESGCM(kek).decrypt(wrapped[:12], wrapped[12:], associated)


def read(key: str, **options) -> bytes:
    return client().get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def customer(key: bytes) -> dict:
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


def probes() -> list[str]:
    return keys_with("_s3vault/1/probe/")


@keeps_keys
@pytest.mark.parametrize("stream", (False, True), ids=("file", "stream"))
@pytest.mark.parametrize("size", ("small", "large"))
def test_a_backup_is_stored_under_its_key_and_restored(size: str, stream: bool, sse_c: Caller, files, tmp_path: Path) -> None:
    path = f"{size}-{stream}"
    vid = put(sse_c, path, files[size], stream=stream)
    target = tmp_path / "restored"
    run(sse_c, "get", CONTAINER, path, str(target))
    assert sha256(target) == sha256(files[size])
    locator = signed(f"_s3vault/1/loc/{CONTAINER}/{path}/{vid}.")
    data, key = locator["data"]["first"], data_key(locator)
    for refused in ({}, customer(bytes(32))):
        with pytest.raises(ClientError) as e:
            read(data, **refused)
        assert e.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)
    assert read(data, **customer(key)) == files[size].read_bytes()
    run(sse_c, "verify", CONTAINER, path)
    assert probes() == []


@keeps_keys
def test_a_put_that_was_killed_resumes(sse_c: Caller, files, folder: Path, seed: int, tmp_path: Path) -> None:
    source, checkpoint = folder / "slow", folder / "checkpoint"
    make_file(source, 64, seed)
    args = ("put", CONTAINER, "killed", str(source), "--checkpoint", str(checkpoint))
    slow = Caller(sse_c.name, ("env", f"S3VAULT_BANDWIDTH_UP={24 * MIB}", *sse_c.argv))
    process = slow.start(*args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # Until some parts are stored.
    until = time.monotonic() + HANGS
    while not checkpoint.exists() or checkpoint.read_bytes().count(b"\n") < 4:
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    run(sse_c, *args)
    target = tmp_path / "restored"
    run(sse_c, "get", CONTAINER, "killed", str(target))
    assert sha256(target) == sha256(source) and not checkpoint.exists()
    locator = signed(f"_s3vault/1/loc/{CONTAINER}/killed/")
    assert read(locator["data"]["first"], **customer(data_key(locator))) == source.read_bytes()


@keeps_keys
def test_another_keyring_reads_nothing(sse_c: Caller, files, tmp_path: Path) -> None:
    put(sse_c, "foreign", files["small"])
    other = tmp_path / "other"
    run(command(), "keys", "new", str(other))
    public = run(command(), "keys", "public", os.environ["S3VAULT_KEYRING"]).stdout.strip()
    env = {**os.environ, "S3VAULT_KEYRING": str(other), "S3VAULT_VERIFY_KEYS": public}
    done = run(sse_c, "get", CONTAINER, "foreign", str(tmp_path / "restored"), check=False, env=env)
    assert done.returncode == 4 and "which the keyring does not have" in done.stderr, done.stderr
    assert not (tmp_path / "restored").exists()


@keeps_keys
def test_an_object_under_another_key_is_a_wrong_key(sse_c: Caller, files, tmp_path: Path) -> None:
    vid = put(sse_c, "replaced", files["small"])
    locator = signed(f"_s3vault/1/loc/{CONTAINER}/replaced/{vid}.")
    store, data = client(), locator["data"]["first"]
    if os.environ.get("S3VAULT_MODE") != "single-bucket-no-versioning":
        pytest.skip("versions of an object are not replaced")
    for key in ({}, customer(bytes(32))):
        store.put_object(Bucket=BUCKET, Key=data, Body=files["small"].read_bytes(), **key)
        done = run(sse_c, "get", CONTAINER, "replaced", str(tmp_path / "restored"), check=False)
        assert done.returncode == 4 and "SSE-C" in done.stderr, done.stderr
        assert not (tmp_path / "restored").exists()


@pytest.mark.skipif(HAS_TLS, reason="the store has TLS")
def test_no_key_is_sent_without_tls(files) -> None:
    caller = Caller("command", ("env", "S3VAULT_ENCRYPTION=sse-c", *command().argv))
    done = run(caller, "put", CONTAINER, "plain", str(files["small"]), check=False)
    assert done.returncode == 2 and "starts with http://" in done.stderr and "allow_plain_sse_c" in done.stderr, done.stderr
    assert keys_with(f"_s3vault/1/loc/{CONTAINER}/plain/") == []


@pytest.mark.skipif(HAS_TLS, reason="the store has TLS")
def test_keys_that_are_sent_without_tls_are_warned_of(sse_c: Caller, files) -> None:
    done = run(sse_c, "put", CONTAINER, "warned", str(files["small"]))
    assert done.stderr.count("allow_plain_sse_c = true") == 1, done.stderr


@pytest.mark.skipif(STORE != "versitygw", reason="only versitygw ignores the keys of SSE-C")
def test_a_store_that_ignores_the_keys_gets_no_backup(sse_c: Caller, files) -> None:
    done = run(sse_c, "put", CONTAINER, "clear", str(files["small"]), check=False)
    assert done.returncode == 2 and "keeps the data in the clear" in done.stderr, done.stderr
    assert "encryption = envelope" in done.stderr
    assert keys_with(f"_s3vault/1/loc/{CONTAINER}/") == keys_with(f"{CONTAINER}/") == probes() == []

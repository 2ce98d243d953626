"""Secrets that stay in a process after it has freed everything: its whole memory is searched for them.

The programs read their settings and keys from files, so that no caller's own string holds a secret, and they clear their own
copy of a passphrase. Java's runtime keeps what a program reads from files: what is in a passphrase's file is not promised
there. While a vault is open, its secrets are in memory, but not in what a core dump would have of it.
"""

import base64
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import s3vault
from boto3_client import client
from buckets import bucket_of
from callers import ROOT, java_example
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

sys.path.insert(0, str(ROOT / "tests/reader"))
decrypt_backup: Any = __import__("decrypt_backup")
# bindings/c/tests/secrets.c in Python.
PYTHON = """
import contextlib, gc, os, sys
import s3vault

def opened(keys, passphrase):
    if passphrase == "-":
        return s3vault.Keyring.open(keys)
    secret = bytearray(os.path.getsize(passphrase))
    with open(passphrase, "rb", buffering=0) as file:
        file.readinto(secret)
    with open(keys, "rb") as file:
        keyring = s3vault.Keyring.restore(file.read(), secret)
    secret[:] = bytes(len(secret))
    return keyring

def work(config, keys, passphrase, how, path):
    with contextlib.ExitStack() as stack:
        try:
            vault = stack.enter_context(s3vault.open(s3vault.Config().load(config), keyring=opened(keys, passphrase)))
            if how == "write":
                with vault.create("secrets", path) as upload:
                    upload.write(b"data")
            with vault.find("secrets", path).open() as source:
                source.read()
            print("ok", flush=True)
        except s3vault.S3VaultError as error:
            print(error, flush=True)
        sys.stdin.readline()

work(*sys.argv[1:])
gc.collect()
print("freed", flush=True)
sys.stdin.readline()
"""
JAVA = ["java", "-cp", f"{java_example().argv[2]}:{ROOT}/bindings/java/target/test-classes", "io.s3vault.Secrets"]
CALLERS = {"C": [str(ROOT / "bindings/c/build/secrets")], "Python": [sys.executable, "-c", PYTHON], "Java": JAVA}
STORE = os.environ["S3VAULT_TEST_STORE"]
# The embedded store has no SSE-C.
ENCRYPTIONS = ["none", "envelope"] if STORE == "embedded" else ["none", "envelope", "sse-c"]


def mappings(pid: int) -> Iterator[tuple[int, int, set[str]]]:
    """The mappings of a process that can be read: start, end, and flags (VmFlags of proc_pid_smaps(5))."""
    range_of = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) (.)", line):
            start, end = (int(text, 16) for text in match.groups()[:2])
            is_data = match[3] == "r" and not line.endswith(("[vvar]", "[vvar_vclock]", "[vsyscall]"))
            range_of = (start, end) if is_data else None
        elif line.startswith("VmFlags:") and range_of:
            yield *range_of, set(line.split()[1:])


def found(pid: int, needles: dict[str, bytes]) -> tuple[dict[str, int], dict[str, int]]:
    """How often each needle is in the memory of a process, and in what of it a core dump has."""
    counts, dumped = dict.fromkeys(needles, 0), dict.fromkeys(needles, 0)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, flags in mappings(pid):
            memory.seek(start)
            try:
                piece = memory.read(end - start)
            except OSError:
                continue
            for name, needle in needles.items():
                count = piece.count(needle)
                counts[name] += count
                dumped[name] += 0 if "dd" in flags else count
    return counts, dumped


class Search(NamedTuple):
    """What a program printed, and how often each needle was in its memory, and in what a core dump would have had."""

    said: str
    open: dict[str, int]
    dumped: dict[str, int]
    freed: dict[str, int]


class Run(NamedTuple):
    """What a program is to do (bindings/c/tests/secrets.c)."""

    argv: list[str]
    folder: Path
    keyring: Path
    how: str = "write"
    path: str = "disk"
    passphrase: str = "-"

    def search(self, settings: dict[str, str], needles: Callable[[], dict[str, bytes]]) -> Search:
        """Searches the program's memory while its vault is open, and after it has freed everything. The needles are known
        when it has printed how it ended."""
        config = self.folder / "config.toml"
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        config.chmod(0o600)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("S3VAULT_")}
        command = [*self.argv, str(config), str(self.keyring), self.passphrase, self.how, self.path]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdin and process.stdout
            said = process.stdout.readline().strip()
            searched = {**needles(), "own": str(config).encode()}
            while_open, dumped = found(process.pid, searched)
            # What is not the library's is in a dump: the search works.
            assert dumped.pop("own") > 0
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "freed\n", said
            freed, _ = found(process.pid, searched)
            # What is still in use would be found: the search works.
            assert freed.pop("own") > 0
            process.stdin.close()
            assert process.wait() == 0
        return Search(said, while_open, dumped, freed)


@pytest.fixture(params=list(CALLERS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return Run(CALLERS[request.param], tmp_path, Path(os.environ["S3VAULT_KEYRING"]))


@pytest.fixture
def settings() -> dict[str, str]:
    names = ("api_url", "bucket", "region", "access_key", "secret_key", "ca_file")
    found = {name: os.environ.get(f"S3VAULT_{name.upper()}", "") for name in names}
    return {name: value for name, value in found.items() if value}


def forms(name: str, key: bytes) -> dict[str, bytes]:
    """A key as bytes, in base64, in hexadecimal."""
    return {name: key, f"{name} in base64": base64.b64encode(key), f"{name} in hex": key.hex().encode()}


def of_keyring(keyring: Path) -> dict[str, bytes]:
    """The secrets of a keyring file."""
    stored = json.loads(keyring.read_text())
    needles = forms("seed", base64.b64decode(stored["signing"]["seed"]))
    for number, kek in enumerate(stored["keks"]):
        needles |= forms(f"KEK {number}", base64.b64decode(kek["key"]))
    return needles


def of_version(keyring: Path, path: str) -> dict[str, bytes]:
    """The secrets of a version that is encrypted, by docs/format.md."""
    reader = decrypt_backup.Reader(client(), bucket_of("secrets"))
    manifest = reader.find("secrets", path)
    (locator,) = map(reader.signed, reader.list(f"_s3vault/1/loc/secrets/{path}/{manifest['vid']}."))
    key = decrypt_backup.data_key(json.loads(keyring.read_text()), locator)
    needles = forms("data key", key)
    for salt in manifest["extents"][0].get("salts", []):
        needles |= forms("segment key", HKDF(SHA256(), 32, bytes.fromhex(salt), b"s3vault/1 segment").derive(key))
    return needles


def store(settings: dict[str, str], keyring: Path, path: str) -> None:
    """Stores a backup from this process."""
    opened = s3vault.open(s3vault.Config(settings), keyring=s3vault.Keyring.open(keyring))
    with opened as vault, vault.create("secrets", path) as upload:
        upload.write(b"data")


def remove_data(path: str) -> None:
    """Removes all versions of the data of a backup, not its entry and its locator."""
    s3, bucket = client(), bucket_of("secrets")
    removed = 0
    for one in s3.list_object_versions(Bucket=bucket, Prefix=f"secrets/{path}").get("Versions", []):
        s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
        removed += 1
    assert removed > 0


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_keys_and_session_token_are_wiped(encryption: str, run: Run, settings: dict[str, str]) -> None:
    token = secrets.token_urlsafe(60)
    # MinIO refuses a token that it did not issue.
    session = {"session_token": token} if STORE == "embedded" else {}

    def needles() -> dict[str, bytes]:
        known = {"session token": token.encode(), "secret key": settings["secret_key"].encode(), **of_keyring(run.keyring)}
        return known if encryption == "none" else {**known, **of_version(run.keyring, run.path)}

    result = run.search({**settings, **session, "encryption": encryption}, needles)
    assert result.said == "ok"
    assert result.open["seed"] > 0 and result.open["KEK 0"] > 0
    assert result.dumped == dict.fromkeys(result.dumped, 0)
    assert result.freed == dict.fromkeys(result.freed, 0)


@pytest.mark.parametrize("encryption", ENCRYPTIONS[1:])
def test_keys_of_a_read_that_failed_are_wiped(encryption: str, run: Run, settings: dict[str, str]) -> None:
    settings["encryption"] = encryption
    store(settings, run.keyring, "gone")
    needles = {**of_keyring(run.keyring), **of_version(run.keyring, "gone")}
    remove_data("gone")
    result = run._replace(how="read", path="gone").search(settings, lambda: needles)
    assert "404" in result.said and "secrets/gone" in result.said, result.said
    assert result.open["seed"] > 0 and result.open["KEK 0"] > 0
    assert result.dumped == dict.fromkeys(result.dumped, 0)
    assert result.freed == dict.fromkeys(result.freed, 0)


@pytest.mark.parametrize("given", ["right", "wrong"])
def test_the_passphrase_and_the_keys_of_an_escrow_are_wiped(given: str, run: Run, settings: dict[str, str]) -> None:
    right, wrong = secrets.token_urlsafe(30), secrets.token_urlsafe(30)
    escrow, file = run.folder / "escrow.age", run.folder / "passphrase"
    s3vault.Keyring.open(run.keyring).export(passphrase=right, file=escrow)
    file.write_text(right if given == "right" else wrong)

    def needles() -> dict[str, bytes]:
        passphrase = {} if run.argv == CALLERS["Java"] else {"passphrase": file.read_bytes()}
        known = {**passphrase, **of_keyring(run.keyring)}
        return {**known, **of_version(run.keyring, run.path)} if given == "right" else known

    restoring = run._replace(keyring=escrow, passphrase=str(file))
    result = restoring.search({**settings, "encryption": "envelope"}, needles)
    assert result.said == "ok" if given == "right" else "the passphrase is wrong" in result.said, result.said
    assert (result.open["KEK 0"] > 0) == (given == "right")
    assert result.dumped == dict.fromkeys(result.dumped, 0)
    assert result.freed == dict.fromkeys(result.freed, 0)


def test_a_proxys_password_is_wiped(run: Run, settings: dict[str, str]) -> None:
    password = secrets.token_urlsafe(30)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    proxy = f"http://backup:{password}@127.0.0.1:{port}"
    basic = base64.b64encode(f"backup:{password}".encode())
    needles = {"password": password.encode(), "header": basic, **of_keyring(run.keyring)}
    result = run.search({**settings, "proxy": proxy}, lambda: needles)
    assert "proxy" in result.said and password not in result.said
    assert result.freed == dict.fromkeys(needles, 0)

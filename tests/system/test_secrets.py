"""Secrets that stay in a process after it has freed everything: its whole memory is searched for them.

The programs read their settings from a file, so that no caller's own string holds a secret.
"""

import base64
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from callers import ROOT

PYTHON = """
import gc, sys
import s3vault

def work(config, keyring):
    with s3vault.open(s3vault.Config().load(config), keyring=s3vault.Keyring.open(keyring)) as vault:
        with vault.create("secrets", "disk") as upload:
            upload.write(b"data")
        with upload.version.open() as source:
            source.read()

try:
    work(*sys.argv[1:])
    print("ok", flush=True)
except s3vault.S3VaultError as error:
    print(error, flush=True)
gc.collect()
print("freed", flush=True)
sys.stdin.read()
"""
CALLERS = {"C": [str(ROOT / "bindings/c/build/secrets")], "Python": [sys.executable, "-c", PYTHON]}


@pytest.fixture(params=list(CALLERS))
def caller(request: pytest.FixtureRequest) -> list[str]:
    return CALLERS[request.param]


def found(pid: int, needles: dict[str, bytes]) -> dict[str, int]:
    """How often each needle is in the memory of a process."""
    counts = dict.fromkeys(needles, 0)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if not match or line.endswith(("[vvar]", "[vvar_vclock]", "[vsyscall]")):
                continue
            start, end = (int(text, 16) for text in match.groups())
            memory.seek(start)
            try:
                piece = memory.read(end - start)
            except OSError:
                continue
            for name, needle in needles.items():
                counts[name] += piece.count(needle)
    return counts


def search(argv: list[str], settings: dict[str, str], keyring: Path, needles: dict[str, bytes], folder: Path) -> tuple[str, dict]:
    """Runs a program until it has freed everything. Returns what it printed first, and what is in its memory then."""
    config = folder / "config.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    config.chmod(0o600)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("S3VAULT_")}
    command, pipe = [*argv, str(config), str(keyring)], subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        said = process.stdout.readline().strip()
        assert process.stdout.readline() == "freed\n", said
        counts = found(process.pid, needles)
        # A secret that is still in use would be found: the search works.
        assert found(process.pid, {"own": str(config).encode()})["own"] > 0
        process.stdin.close()
        assert process.wait() == 0
    return said, counts


@pytest.fixture
def settings() -> dict[str, str]:
    names = ("api_url", "bucket", "region", "access_key", "secret_key", "ca_file")
    found = {name: os.environ.get(f"S3VAULT_{name.upper()}", "") for name in names}
    return {name: value for name, value in found.items() if value}


def seed_of(keyring: Path) -> dict[str, bytes]:
    seed = json.loads(keyring.read_text())["signing"]["seed"]
    return {"seed": base64.b64decode(seed), "seed in base64": seed.encode()}


def test_keys_and_session_token_are_wiped(
    caller: list[str], settings: dict[str, str], tmp_path: Path
) -> None:
    keyring = Path(os.environ["S3VAULT_KEYRING"])
    token = secrets.token_urlsafe(60)
    needles = {"session token": token.encode(), "secret key": settings["secret_key"].encode(), **seed_of(keyring)}
    said, counts = search(caller, {**settings, "session_token": token}, keyring, needles, tmp_path)
    assert said == "ok"
    assert counts == dict.fromkeys(needles, 0)


def test_a_proxys_password_is_wiped(
    caller: list[str], settings: dict[str, str], tmp_path: Path
) -> None:
    keyring = Path(os.environ["S3VAULT_KEYRING"])
    password = secrets.token_urlsafe(30)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    proxy = f"http://backup:{password}@127.0.0.1:{port}"
    basic = base64.b64encode(f"backup:{password}".encode())
    needles = {"password": password.encode(), "header": basic}
    said, counts = search(caller, {**settings, "proxy": proxy}, keyring, needles, tmp_path)
    assert "proxy" in said and password not in said
    assert counts == dict.fromkeys(needles, 0)

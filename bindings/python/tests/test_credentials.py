"""credentials = chain: the command finds its keys where the tools of AWS do."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ACCESS, SECRET = os.environ.get("S3VAULT_ACCESS_KEY", ""), os.environ.get("S3VAULT_SECRET_KEY", "")


class Chain:
    """Runs `s3vault ls` with credentials = chain, in its own home folder, and with the given AWS variables only."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        for name in ("S3VAULT_ACCESS_KEY", "S3VAULT_SECRET_KEY", "S3VAULT_SESSION_TOKEN"):
            self.environment.pop(name, None)
        self.environment |= {"HOME": str(home), "S3VAULT_CREDENTIALS": "chain", "AWS_EC2_METADATA_DISABLED": "true"}
        (home / ".aws").mkdir()

    def ls(self, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "s3vault", "ls"],
            env={**self.environment, **environment},
            cwd=self.home,
            capture_output=True,
            text=True,
        )
        assert SECRET not in done.stdout + done.stderr
        return done


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_the_environment(chain: Chain) -> None:
    done = chain.ls(AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET)
    assert done.returncode == 0, done.stderr
    wrong = chain.ls(AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY="wrong")
    assert wrong.returncode == 4, wrong.stderr


def test_a_profile(chain: Chain) -> None:
    file = chain.home / ".aws/credentials"
    file.write_text(f"[backup]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    for profile in ({"S3VAULT_PROFILE": "backup"}, {"AWS_PROFILE": "backup"}):
        done = chain.ls(**profile)
        assert done.returncode == 0, done.stderr


def test_a_process(chain: Chain) -> None:
    document = json.dumps({"Version": 1, "AccessKeyId": ACCESS, "SecretAccessKey": SECRET})
    (chain.home / "keys.json").write_text(document)
    (chain.home / ".aws/config").write_text("[default]\ncredential_process = cat keys.json\n")
    done = chain.ls()
    assert done.returncode == 0, done.stderr


@pytest.fixture
def agent() -> Iterator[str]:
    """URL of the credentials agent of a container."""
    document = {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "Token": "", "Expiration": "2099-01-01T00:00:00Z"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(document).encode()
            self.send_response(200 if self.headers.get("Authorization") == "a token" else 403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/keys"
        server.shutdown()


def test_a_container(chain: Chain, agent: str) -> None:
    variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a token"}
    done = chain.ls(**variables)
    assert done.returncode == 0, done.stderr
    refused = chain.ls(**{**variables, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "another"})
    assert refused.returncode == 2, refused.stderr
    assert "the token was refused" in refused.stderr


def test_no_keys_and_contradictory_settings(chain: Chain) -> None:
    done = chain.ls()
    assert done.returncode == 2, done.stderr
    for place in ("AWS_ACCESS_KEY_ID", ".aws/credentials", ".aws/config", "AWS_EC2_METADATA_DISABLED"):
        assert place in done.stderr
    both = chain.ls(S3VAULT_ACCESS_KEY=ACCESS)
    assert both.returncode == 2, both.stderr
    assert "access_key is set" in both.stderr

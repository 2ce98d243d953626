"""Runs the examples of every README and document, as they are, against the store of the tests.

A block whose fence is marked `run` (```` ```sh run ````, ```` ```python run ````) is run; one that names a file after
its language (```` ```toml ~/.config/s3vault/config.toml ````) is written to it. The blocks of a document run in order,
in one folder that has a `disk.img` to back up. The environment names the store, and wins over the configuration file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[3]
FENCE = re.compile(r"^```(\w+) +(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNERS = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}


class Block(NamedTuple):
    """A marked block of a document."""

    language: str
    mark: str
    text: str


def blocks(document: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall((ROOT / document).read_text())]


def documents() -> list[str]:
    """Those with at least one block to run."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [
        document
        for document in listed.stdout.splitlines()
        if any(block.mark == "run" and block.language in RUNNERS for block in blocks(document))
    ]


@pytest.mark.parametrize("document", documents())
def test_the_examples_run(document: str, tmp_path: Path) -> None:
    home, folder, programs = tmp_path / "home", tmp_path / "folder", tmp_path / "bin"
    for made in (home, folder, programs):
        made.mkdir()
    (programs / "s3vault").write_text(f'#!/bin/sh\nexec {sys.executable} -m s3vault "$@"\n')
    (programs / "s3vault").chmod(0o755)
    (folder / "disk.img").write_bytes(os.urandom(10 << 20))
    environment = {**os.environ, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    for block in blocks(document):
        if block.mark.startswith("~/"):
            file = home / block.mark[2:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.language in RUNNERS:
            done = subprocess.run(
                [*RUNNERS[block.language], block.text],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    assert (folder / "restored.img").read_bytes() == (folder / "disk.img").read_bytes()


def test_the_retention_of_the_readme_frees_the_bytes_that_it_says(tmp_path: Path) -> None:
    """Runs the line of the crontab with the configuration of the README, on two nights."""
    by_mark = {block.mark: block.text for block in blocks("README.md")}
    bucket = f"retention-{os.getpid()}"
    # A bucket of its own, since a prune is for all containers.
    subprocess.run([sys.executable, str(ROOT / "scripts/stores/bucket.py"), bucket], check=True)
    (tmp_path / "s3vault").write_text(f'#!/bin/sh\nexec {sys.executable} -m s3vault "$@"\n')
    (tmp_path / "s3vault").chmod(0o755)
    folder = tmp_path / ".config" / "s3vault"
    folder.mkdir(parents=True)
    # The environment names the store, and wins over the configuration file.
    (folder / "config.toml").write_text(by_mark["~/.config/s3vault/config.toml"])
    (folder / "config.toml").chmod(0o600)
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment["S3VAULT_BUCKET"] = bucket

    def run(command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        return done.stdout

    def sums(output: str) -> str:
        lines = [line for line in output.splitlines() if not line.startswith(("delete ", "free "))]
        return "".join(f"{line}\n" for line in lines)

    (tmp_path / "disk.img").write_bytes(os.urandom(10 << 20))
    run("s3vault keys new .config/s3vault/vault.keys")
    for _ in range(9):
        run("s3vault put vm01__1f2e3d4c disks/sda.img disk.img")
    nightly = by_mark["daily"].split(maxsplit=5)[5]
    assert sums(run(nightly)) == by_mark["first-night"]
    if os.environ.get("S3VAULT_TEST_STORE") == "embedded":
        body = json.dumps({"bucket": bucket, "part": ".-d", "seconds": 86_400}).encode()
        url = os.environ["S3VAULT_API_URL"] + "/_embedded/age"
        urllib.request.urlopen(urllib.request.Request(url, body, method="POST")).close()
        assert sums(run(nightly)) == by_mark["second-night"]


def test_the_readme_of_the_package_and_the_main_one_have_examples() -> None:
    assert {"README.md", "bindings/python/README.md"} <= set(documents())

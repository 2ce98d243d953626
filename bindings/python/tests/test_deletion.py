"""Deletions and jobs, through the API and the command: what is hidden, what is freed, what is said of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import s3vault
from s3vault import ErrorCode, JobItem, S3VaultError, Vault
from s3vault.command.jobs import refusals, summary

EMBEDDED = os.environ.get("S3VAULT_TEST_STORE", "embedded") == "embedded"
needs_embedded = pytest.mark.skipif(not EMBEDDED, reason="only the embedded store can make a marker older")


def age_markers() -> None:
    """Makes each marker old enough, so that what it hides may be freed."""
    for part in (".-d", ".-s"):
        body = json.dumps({"bucket": os.environ["S3VAULT_BUCKET"], "part": part, "seconds": 3600}).encode()
        url = os.environ["S3VAULT_API_URL"] + "/_embedded/age"
        with urllib.request.urlopen(urllib.request.Request(url, body, method="POST")) as reply:
            assert reply.status == 200


def put(vault: Vault, container: str, path: str, *texts: str) -> list[str]:
    """Stores versions; returns their ids, the newest first."""
    vids: list[str] = []
    for text in texts:
        with vault.create(container, path) as upload:
            upload.write(text.encode())
        vids.insert(0, upload.commit().info.vid)
    return vids


def refused(action: Any) -> S3VaultError:
    with pytest.raises(S3VaultError) as caught:
        action()
    return caught.value


def test_a_deleted_backup_is_gone_until_it_is_taken_back(vault: Vault, container: str) -> None:
    (vid,) = put(vault, container, "disk", "x")
    deleted = vault.delete(container, "disk").info
    assert (deleted.kind, deleted.path) == ("deleted", "disk")
    assert refused(lambda: vault.find(container, "disk")).code == ErrorCode.NOT_FOUND
    assert refused(lambda: vault.delete(container, "disk")).code == ErrorCode.NOT_FOUND
    assert vault.undelete(container, "disk").info.vid == vid
    assert vault.find(container, "disk").info.vid == vid


def test_a_version_that_an_incremental_needs_is_not_deleted(vault: Vault, container: str) -> None:
    (full,) = put(vault, container, "disk", "full")
    with vault.create(container, "disk", kind="incremental", parent=full) as upload:
        upload.write(b"more")
    needed = refused(vault.find(container, "disk", version=full).delete)
    assert needed.code == ErrorCode.HAS_DEPENDENTS
    assert upload.commit().info.vid in needed.message
    vault.find(container, "disk").delete()
    assert [v.vid for v in vault.versions(container, "disk")] == [full]


def test_a_prune_does_what_its_dry_run_said(vault: Vault, container: str) -> None:
    vids = put(vault, container, "disk", "1", "22", "333")
    would: list[JobItem] = []
    dry = vault.prune(container=container, retention_full_versions=1, dry_run=True, on_item=would.append)
    assert [v.vid for v in vault.versions(container, "disk")] == vids
    did: list[JobItem] = []
    report = vault.prune(container=container, retention_full_versions=1, on_item=did.append)
    assert [(i.action, i.vid, i.kind, i.size) for i in did] == [
        ("keep", vids[0], "full", 3),
        ("delete", vids[1], "full", 2),
        ("delete", vids[2], "full", 1),
    ]
    assert [(i.action, i.vid, i.reason) for i in did] == [(i.action, i.vid, i.reason) for i in would]
    assert all(i.dry_run for i in would)
    assert not any(i.dry_run for i in did)
    assert did[0].recorded == vault.find(container, "disk").info.recorded
    assert (report.versions, report.kept, report.deleted, report.deleted_bytes, report.problems) == (3, 1, 2, 3, 0)
    assert (dry.dry_run, dry.deleted) == (True, 2)
    assert vault.sweep(container=container, grace=timedelta(hours=36)).waiting == 2


@needs_embedded
def test_a_sweep_frees_what_was_deleted_half_an_hour_ago(vault: Vault, container: str) -> None:
    put(vault, container, "disk", "1", "22", "333")
    vault.prune(container=container, retention_full_versions=1)
    age_markers()
    items: list[JobItem] = []
    report = vault.sweep(container=container, on_item=items.append)
    assert (report.freed, report.freed_bytes, report.problems) == (2, 3, 0)
    assert [item.action for item in items] == ["free", "free"]
    assert vault.sweep(container=container).versions == 1


def test_what_the_callback_raises_stops_the_job(vault: Vault, container: str) -> None:
    put(vault, container, "disk", "1", "2")

    def stop(item: JobItem) -> None:
        raise LookupError(item.path)

    with pytest.raises(LookupError, match="disk"):
        vault.prune(container=container, retention_full_versions=1, on_item=stop)


def test_the_options_of_jobs_are_checked(vault: Vault, container: str) -> None:
    assert refused(vault.prune).code == ErrorCode.INVALID_OPTION
    for grace in ("7", "1m", timedelta(minutes=29)):
        assert refused(lambda grace=grace: vault.sweep(grace=grace)).code == ErrorCode.INVALID_OPTION


def test_a_vault_is_made_once(vault: Vault) -> None:
    vault.init()
    assert vault.init() is False


class Command:
    """Runs the command, with the store's settings and a keyring in the environment."""

    def __init__(self, folder: Path, keyring: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "S3VAULT_KEYRING": str(keyring), "HOME": str(folder)}

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "s3vault", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, **settings},
            check=False,
        )

    def lines(self, *arguments: str, **settings: str) -> list[str]:
        done = self.run(*arguments, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


@pytest.fixture
def command(tmp_path: Path, keyring_file: Path) -> Command:
    return Command(tmp_path, keyring_file)


def test_rm_says_how_to_take_it_back(command: Command, vault: Vault, container: str) -> None:
    (vid,) = put(vault, container, "my disk", "x")
    assert command.lines("rm", container, "my disk") == [
        f"deleted {container} 'my disk'; its versions stay until the retention lets them go",
        f"To take it back: s3vault undelete {container} 'my disk'",
    ]
    again = command.run("rm", container, "my disk")
    assert again.returncode == 3
    assert "already deleted" in again.stderr
    assert command.lines("undelete", container, "my disk") == [
        f"the newest version of {container}/my disk (full, 1 B) is {vid} again"
    ]
    (row,) = command.lines("--json", "rm", container, "my disk")
    assert json.loads(row)["kind"] == "deleted"


def test_rm_of_a_version(command: Command, vault: Vault, container: str) -> None:
    new, old = put(vault, container, "disk", "1", "2")
    assert command.lines("rm", container, "disk", "--version", old)[0] == (
        f"deleted version {old} of {container} disk (full, 1 B)"
    )
    assert [v.vid for v in vault.versions(container, "disk")] == [new]
    assert command.run("rm", container, "disk", "--version", old).returncode == 3


def test_prune_prints_what_changes_and_a_dry_run_also_what_stays(
    command: Command, vault: Vault, container: str
) -> None:
    new, old = put(vault, container, "disk", "1", "2")
    dry = command.lines("prune", container, "--keep-fulls", "1", "--dry-run")
    assert [line.split(" (")[0] for line in dry] == [
        f"keep {container} disk {new}",
        f"would delete {container} disk {old}",
        "would delete 1 version",
    ]
    assert dry[2] == "would delete 1 version (1 B); 1 stays"
    did = command.lines("prune", container, S3VAULT_RETENTION_FULL_VERSIONS="1")
    assert did[0] == dry[1].removeprefix("would ")
    assert did[1:] == ["deleted 1 version (1 B); 1 stays"]
    lines = command.lines("--json", "prune", container, "--keep-fulls", "1")
    items = [json.loads(line) for line in lines]
    assert [item.get("action") for item in items] == ["keep", "wait", None]
    assert (items[-1]["waiting"], items[-1]["backups"]) == (1, 1)
    misuse = command.run("prune", container)
    assert misuse.returncode == 2
    assert "retention_full_versions" in misuse.stderr


@needs_embedded
def test_a_problem_is_said_in_a_line_and_ends_with_exit_code_4(command: Command, vault: Vault, container: str) -> None:
    (new, old) = put(vault, container, "disk", "1", "2")
    vault.find(container, "disk", version=old).delete()
    age_markers()
    fault = {"operation": "DeleteObjects", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}
    url = os.environ["S3VAULT_API_URL"] + "/_embedded/fault"
    try:
        for operation in ("DeleteObjects", "DeleteObject"):
            body = json.dumps({**fault, "operation": operation}).encode()
            urllib.request.urlopen(urllib.request.Request(url, body, method="POST")).close()
        done = command.run("sweep", container)
    finally:
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith("s3vault: 1 problem: ")
    assert container in line
    assert [v.vid for v in vault.versions(container, "disk")] == [new]
    assert "freed 1 version (1 B)" in command.lines("sweep", container)[-1]


def test_ctrl_c_ends_a_job_that_can_be_run_again(command: Command, vault: Vault, container: str) -> None:
    for n in range(20):
        put(vault, container, f"disk-{n:02}", "1", "2")
    started = subprocess.Popen(
        [sys.executable, "-m", "s3vault", "prune", container, "--keep-fulls", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=command.environment,
        text=True,
    )
    assert started.stdout is not None
    started.stdout.readline()
    started.send_signal(signal.SIGINT)
    started.communicate()
    # It may have been done, and at its end, before the signal came.
    assert started.returncode in (130, 0, -signal.SIGINT)
    command.lines("prune", container, "--keep-fulls", "1")
    assert all(len(list(vault.versions(container, f"disk-{n:02}"))) == 1 for n in range(20))


def test_init_says_what_it_made(command: Command) -> None:
    command.lines("init")
    (line,) = command.lines("init")
    assert line.endswith("is there already (mode single-bucket)")
    (row,) = command.lines("--json", "init")
    assert json.loads(row)["made"] is False


@pytest.mark.without_store
def test_what_the_store_refused_is_said_once() -> None:
    why = "the store did not delete vm/disk: AccessDenied: it is locked"
    items = [
        JobItem("refused", False, "vm", "disk", vid, "full", None, 0, why, f"refused vm disk {vid}: {why}")
        for vid in ("7B", "7C", "7D")
    ]
    assert refusals(items) == f"the store refused to free 3 versions, such as vm disk 7B: {why}"


@pytest.mark.without_store
def test_the_summary_names_what_happened_only() -> None:
    report = s3vault.JobReport(
        dry_run=False,
        backups=1,
        versions=9,
        kept=1,
        deleted=2,
        deleted_bytes=3 << 30,
        freed=1,
        freed_bytes=5,
        suspected=1,
        waiting=3,
        adopted=0,
        aborted=2,
        rotated=4,
        rekeyed=5,
        rekeyed_bytes=2 << 20,
        left=2,
        problems=0,
        problem_texts=(),
    )
    said = (
        "deleted 2 versions (3.0 GiB); freed 1 version (5 B); marked 1 abandoned put; aborted 2 uploads; "
        "wrapped the data keys of 4 versions with the current key; copied 5 versions (2.0 MiB) under new data keys; "
        "1 stays; 2 stay under their data keys: only a new backup has a new one; 3 wait for a later run"
    )
    assert summary(report) == said

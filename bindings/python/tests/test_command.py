"""The command from end to end, as a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from stalling_store import UPLOAD_ID, StallingStore, stalling_store
from stream import stream

import s3vault
import s3vault_command
from s3vault import ErrorCode, S3VaultError
from s3vault.command import configuration, subcommands
from s3vault.command.files import left_on_disk, write_all
from s3vault.command.output import Output
from s3vault.command.subcommands import get, ls
from s3vault.command.subcommands.put import resume_notice, skip

MIB = 1 << 20
LARGE = stream(20 * MIB + 17, 2)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
EXIT = {row.name: row.exit for row in s3vault.ERRORS}


class Command:
    """Runs the command in a folder of its own, with the store's settings and a keyring in the environment."""

    def __init__(self, folder: Path, keyring: Path) -> None:
        self.folder = folder
        # Not the configuration file of the user who runs the tests.
        self.environment = {**os.environ, "S3VAULT_KEYRING": str(keyring), "HOME": str(folder)}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "s3vault", *arguments]

    def start(self, *arguments: str, **popen: Any) -> subprocess.Popen[bytes]:
        environment = {**self.environment, **popen.pop("settings", {})}
        return subprocess.Popen(self.argv(*arguments), cwd=self.folder, env=environment, **popen)

    def run(
        self, *arguments: str, data: bytes = b"", settings: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        options.setdefault("stdout", subprocess.PIPE)
        environment = {**self.environment, **(settings or {})}
        return subprocess.run(
            self.argv(*arguments),
            input=data,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=environment,
            check=False,
            **options,
        )

    def ok(self, *arguments: str, **options: Any) -> bytes:
        done = self.run(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, b"")
        assert isinstance(done.stdout, bytes)
        return done.stdout

    def gets(self, *arguments: str, needs: list[str]) -> bytes:
        """Restores an incremental, which says on standard error what has to be restored before it."""
        done = self.run("get", *arguments)
        assert done.returncode == 0
        assert f"in this order ({len(needs)}): {', '.join(needs)}" in done.stderr.decode()
        return bytes(done.stdout)

    def rows(self, *arguments: str, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ok("--json", *arguments, **options).splitlines()]

    def row(self, *arguments: str, **options: Any) -> dict[str, Any]:
        (row,) = self.rows(*arguments, **options)
        return row

    def fails(self, name: str, *arguments: str, **options: Any) -> dict[str, Any]:
        """Fails in both forms, text and JSON; returns the JSON."""
        shown = self.run(*arguments, **options)
        done = self.run("--json", *arguments, **options)
        assert shown.returncode == done.returncode == EXIT[name], done.stderr
        error: dict[str, Any] = json.loads(done.stderr)["error"]
        assert error["name"] == name
        lines = shown.stderr.decode().splitlines()
        assert lines[0].startswith("s3vault: ")
        assert lines[1].startswith("help: ")
        assert lines[2:] == ([f"config: {error['config']}"] if "config" in error else [])
        return error


@pytest.fixture
def command(tmp_path: Path, keyring_file: Path) -> Command:
    return Command(tmp_path, keyring_file)


# Storing and restoring


def test_a_file_is_stored_and_restored(command: Command, container: str, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(LARGE)
    stored = command.row("put", container, "disk.img", "disk.img")
    assert set(stored) == {
        "vid", "container", "path", "kind", "parent", "size", "initiated", "recorded", "manifest_hash", "signed_by",
        "labels"
    }  # fmt: skip
    assert (stored["container"], stored["path"], stored["kind"]) == (container, "disk.img", "full")
    assert (stored["parent"], stored["size"]) == (None, len(LARGE))
    assert RFC3339.fullmatch(stored["initiated"])
    assert RFC3339.fullmatch(stored["recorded"])
    restored = command.row("get", container, "disk.img", "restored.img")
    assert restored == {**stored, "file": "restored.img"}
    assert (tmp_path / "restored.img").read_bytes() == LARGE


def test_a_pipe_is_stored_and_restored(command: Command, container: str) -> None:
    shown = command.ok("put", container, "a pipe", data=LARGE).decode()
    vid = command.row("versions", container, "a pipe")["vid"]
    assert re.search(rf"^version +{vid}$", shown, re.MULTILINE)
    assert re.search(r"^manifest +[0-9a-f]{64}$", shown, re.MULTILINE)
    assert command.ok("get", container, "a pipe") == LARGE
    assert command.ok("get", container, "a pipe", "-", "--version", vid) == LARGE


def test_a_named_pipe_is_read_and_written(command: Command, container: str, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(LARGE)
    os.mkfifo(tmp_path / "in")
    os.mkfifo(tmp_path / "out")
    # The other ends are processes too: they are terminated if the command never opens its end, so nothing hangs.
    with subprocess.Popen("exec cat disk.img > in", shell=True, cwd=tmp_path) as writer:
        try:
            assert command.row("put", container, "p", "in")["size"] == len(LARGE)
        finally:
            writer.terminate()
    with subprocess.Popen("exec cat out > copy.img", shell=True, cwd=tmp_path) as reader:
        try:
            assert command.row("get", container, "p", "out")["file"] == "out"
            reader.wait(60)
        finally:
            reader.terminate()
    assert (tmp_path / "copy.img").read_bytes() == LARGE
    assert (tmp_path / "out").is_fifo()


def test_older_versions_are_found_by_id_and_by_time(command: Command, container: str) -> None:
    first = command.row("put", container, "p", data=b"first")
    # Recorded times are whole milliseconds.
    time.sleep(0.01)
    second = command.row("put", container, "p", "-", "--kind", "incremental", "--parent", first["vid"], data=b"2")
    assert (second["kind"], second["parent"]) == ("incremental", first["vid"])
    assert [row["vid"] for row in command.rows("versions", container, "p")] == [second["vid"], first["vid"]]
    assert command.gets(container, "p", needs=[first["vid"]]) == b"2"
    assert command.ok("get", container, "p", "--version", first["vid"]) == b"first"
    for arguments in (["-", "--version", first["vid"]], ["--version", first["vid"], "-"]):
        assert command.ok("get", container, "p", *arguments) == b"first"
    for recorded in (first["recorded"], [first["recorded"], "--tolerance-ms", "0"]):
        exact = [recorded] if isinstance(recorded, str) else recorded
        assert command.ok("get", container, "p", "--recorded", *exact) == b"first"
    missed = command.fails("S3V_E_NOT_FOUND", "get", container, "p", "--recorded", "2001-01-01")
    assert (first["vid"] in missed["message"], first["vid"] in missed["hint"]) == (True, True)
    # In lower case, and as much of the id as distinguishes it.
    unique = next(first["vid"][:n] for n in range(1, 27) if first["vid"][:n] != second["vid"][:n])
    for start in (first["vid"].lower(), unique.lower()):
        assert command.ok("get", container, "p", "--version", start) == b"first"
        command.ok("manifest", container, "p", "p.manifest", "--version", start)
    ambiguous = command.fails("S3V_E_AMBIGUOUS", "get", container, "p", "--version", "7")
    assert (first["vid"] in ambiguous["message"], "more characters" in ambiguous["hint"]) == (True, True)
    lower = ["--kind", "incremental", "--parent", second["vid"].lower()]
    third = command.row("put", container, "p", "-", *lower, data=b"3")
    assert third["parent"] == second["vid"]
    assert command.ok("get", container, "p", "--as-of", first["recorded"]) == b"first"
    assert command.gets(container, "p", "--as-of", second["recorded"], needs=[first["vid"]]) == b"2"
    # A date is the end of that day, in UTC.
    needs = [first["vid"], second["vid"]]
    assert command.gets(container, "p", "--as-of", third["recorded"][:10], needs=needs) == b"3"
    command.fails("S3V_E_NOT_FOUND", "get", container, "p", "--as-of", "2020-02-29")
    assert "2026-11-24" in command.fails("S3V_E_INVALID_OPTION", "get", container, "p", "--as-of", "29.2.2020")["hint"]


def chain_of_three(command: Command, container: str, path: str) -> list[dict[str, Any]]:
    """A full backup and two incrementals."""
    stored: list[dict[str, Any]] = []
    for data in (b"full", b"first", b"second"):
        parent = ["-", "--kind", "incremental", "--parent", stored[-1]["vid"]] if stored else []
        stored.append(command.row("put", container, path, *parent, data=data))
    return stored


def test_a_chain_lists_what_to_restore_in_order(command: Command, container: str) -> None:
    stored = chain_of_three(command, container, "p")
    command.row("put", container, "p", data=b"another full")
    newest = stored[2]["vid"]
    assert command.rows("chain", container, "p", "--version", newest) == stored
    assert command.rows("chain", container, "p", "--version", stored[0]["vid"]) == stored[:1]
    lines = command.ok("chain", container, "p", "--version", newest).decode().splitlines()
    assert [line.split()[0] for line in lines] == ["VERSION", *(row["vid"] for row in stored), "total"]
    assert lines[-1] == "total  3 versions, 15 B"


def test_a_container_is_restored_as_it_was(command: Command, container: str, tmp_path: Path) -> None:
    command.row("put", container, "etc/hosts", data=b"old")
    before = command.row("put", container, "disk", data=b"disk")
    time.sleep(0.01)
    command.row("put", container, "etc/hosts", data=b"new")
    later = command.row("put", container, "var/log/later", data=b"later")
    names = [row["path"] for row in command.rows("ls", container, "--as-of", before["recorded"])]
    assert names == ["disk", "etc/hosts"]
    restored = command.rows("restore", container, "then", "--as-of", before["recorded"])
    assert [row["file"] for row in restored] == ["then/disk", "then/etc/hosts"]
    assert [(tmp_path / row["file"]).read_bytes() for row in restored] == [b"disk", b"old"]
    lines = command.ok("restore", container, "now").decode().splitlines()
    assert lines[-1] == "total     3 files, 12 B"
    files = {
        str(file.relative_to(tmp_path)): file.read_bytes() for file in (tmp_path / "now").rglob("*") if file.is_file()
    }
    assert files == {"now/disk": b"disk", "now/etc/hosts": b"new", "now/var/log/later": b"later"}
    # Again, over what is there.
    assert len(command.rows("restore", container, "now", "--as-of", later["recorded"])) == 3
    command.fails("S3V_E_NOT_FOUND", "restore", container, "never", "--as-of", "2020-02-29")
    assert not (tmp_path / "never").exists()


def test_an_incremental_is_restored_with_its_chain(command: Command, container: str, tmp_path: Path) -> None:
    stored = chain_of_three(command, container, "sda/p")
    files = [row["file"] for row in command.rows("restore", container, "all")]
    assert files == [f"all/sda/p@{row['vid']}" for row in stored]
    assert [(tmp_path / file).read_bytes() for file in files] == [b"full", b"first", b"second"]


def test_a_restore_never_leaves_its_folder(command: Command, container: str, tmp_path: Path) -> None:
    command.row("put", container, "etc/deep/hosts", data=b"x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "etc").symlink_to(tmp_path / "outside")
    error = command.fails("S3V_E_IO", "restore", container, "folder")
    assert "is a link" in error["message"]
    assert list((tmp_path / "outside").iterdir()) == []
    (tmp_path / "other" / "etc" / "deep").mkdir(parents=True)
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "other" / "etc" / "deep" / "hosts").symlink_to(tmp_path / "victim")
    command.fails("S3V_E_IO", "restore", container, "other")
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_file_and_a_folder_of_one_name_are_named(command: Command, container: str) -> None:
    command.row("put", container, "a", data=b"x")
    command.row("put", container, "a/b", data=b"x")
    error = command.fails("S3V_E_IO", "restore", container, "folder")
    assert "a/b" in error["message"]
    assert "s3vault get" in error["hint"]


def test_uploads_in_progress_are_listed(command: Command, container: str) -> None:
    if os.environ["S3VAULT_TEST_STORE"] == "minio":
        pytest.skip("MinIO lists uploads of a whole key only")
    with command.start("put", container, "p", stdin=subprocess.PIPE) as put:
        assert put.stdin is not None
        try:
            put.stdin.write(LARGE)
            put.stdin.flush()
            end = time.monotonic() + 30
            found: list[dict[str, Any]] = []
            while not found and time.monotonic() < end:
                found = [row for row in command.rows("uploads") if row["container"] == container]
        finally:
            put.kill()
    assert [(row["path"], row["vid"]) for row in found] == [("p", None)]
    assert RFC3339.fullmatch(found[0]["initiated"])
    assert found[0]["upload_id"] in command.ok("uploads").decode()


def test_get_accepts_only_the_pinned_manifest(command: Command, container: str) -> None:
    first = command.row("put", container, "p", data=b"first")
    assert command.ok("get", container, "p", "--pin", first["manifest_hash"]) == b"first"
    command.row("put", container, "p", data=b"second")
    command.fails("S3V_E_PIN_MISMATCH", "get", container, "p", "--pin", first["manifest_hash"])


def test_labels_and_times_choose_among_versions(command: Command, container: str) -> None:
    command.row("put", container, "p", data=b"x")
    command.fails("S3V_E_NOT_FOUND", "versions", container, "p", "--label", "job=night")
    command.fails("S3V_E_NOT_FOUND", "ls", container, "--label", "job=night")
    assert "NAME=VALUE" in command.fails("S3V_E_INVALID_OPTION", "ls", container, "--label", "night")["message"]
    assert "name a container" in command.fails("S3V_E_INVALID_ARGUMENT", "ls", "--as-of", "2026-11-24")["message"]


def test_tables_are_aligned(command: Command, container: str) -> None:
    first = command.row("put", container, "etc/hosts", data=b"x" * 2000)
    command.row("put", container, "etc/a\x1b[31m\nb", data=b"x")
    lines = command.ok("versions", container, "etc/hosts").decode().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"VERSION +KIND +SIZE +RECORDED +PARENT", lines[0])
    assert re.fullmatch(rf"{first['vid']}  full  2\.0 KiB  {first['recorded']}  -", lines[1])
    lines = command.ok("ls", container).decode().splitlines()
    assert len({line.index("  full  ") for line in lines[1:]}) == 1
    # Control characters in a name do not reach the terminal.
    assert [line.split("  ")[-1] for line in lines] == ["PATH", r"etc/a\x1b[31m\nb", "etc/hosts"]
    assert container in command.ok("ls").decode().splitlines()


def test_lists_as_json(command: Command, container: str) -> None:
    stored = [command.row("put", container, path, data=b"x") for path in ("etc/a", "etc/b", "var/ü")]
    for row in stored:
        del row["manifest_hash"], row["signed_by"], row["labels"]
    assert command.rows("ls", container) == stored
    assert command.rows("ls", container, "etc/") == stored[:2]
    assert {"container": container} in command.rows("ls")


def test_what_the_user_named_and_is_not_there_is_an_error_and_an_empty_vault_is_not(
    command: Command, container: str, tmp_path: Path
) -> None:
    command.row("put", container, "etc/a", data=b"x")
    bucket = os.environ["S3VAULT_BUCKET"]
    for arguments, what, hint in (
        (["ls", "no-such"], "container no-such", "s3vault ls"),
        (["versions", "no-such", "p"], "backup no-such p", "s3vault ls no-such"),
        (["versions", container, "p"], f"backup {container} p", f"s3vault ls {container}"),
        (["ls", container, "var/"], f"path in container {container} that starts with var/", f"s3vault ls {container}"),
    ):
        error = command.fails("S3V_E_NOT_FOUND", *arguments)
        assert error["message"] == f"there is no {what} in bucket {bucket}"
        assert error["hint"].endswith(f": {hint}")
    # As get says it.
    assert command.fails("S3V_E_NOT_FOUND", "get", container, "p")["message"].startswith(
        f"there is no backup {container} p in bucket {bucket}"
    )


def test_an_empty_vault_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for json_too in (False, True):
        ls._print_containers(iter(()), "backups", Output(json=json_too))
        shown = capsys.readouterr()
        said = "s3vault: the vault in bucket backups has no backups yet; 's3vault put' stores the first\n"
        assert (shown.out, shown.err) == ("", "" if json_too else said)


def test_a_manifest_verifies_with_the_public_key(command: Command, container: str, tmp_path: Path) -> None:
    first = command.row("put", container, "p", data=b"first")
    command.ok("put", container, "p", data=b"second")
    public = command.ok("keys", "public").decode()
    newest = s3vault.verify_manifest(command.ok("manifest", container, "p"), public)
    assert (newest.verdict, newest.info and newest.info.size) == ("good", 6)
    command.ok("manifest", container, "p", "p.manifest", "--version", first["vid"])
    verdict = s3vault.verify_manifest((tmp_path / "p.manifest").read_bytes(), public)
    assert (verdict.verdict, verdict.info and verdict.info.manifest_hash) == ("good", first["manifest_hash"])


# Keys and settings


def test_keys(command: Command, tmp_path: Path) -> None:
    public = command.ok("keys", "new", "my.keys").decode()
    assert re.fullmatch(r"ed25519 [0-9a-f]{16} \S{44}\n", public)
    assert (tmp_path / "my.keys").stat().st_mode & 0o777 == 0o600
    assert command.ok("keys", "public", "my.keys").decode() == public
    as_json = command.row("keys", "public", "my.keys")
    assert as_json == {"keyring": "my.keys", "id": public.split()[1], "public": public.strip()}
    command.fails("S3V_E_KEYRING", "keys", "new", "my.keys")
    assert command.ok("keys", "public", "my.keys").decode() == public
    command.fails("S3V_E_KEYRING", "keys", "public", "missing.keys")
    for name in ("new", "public"):
        unnamed = command.fails("S3V_E_KEYRING", "keys", name, settings={"S3VAULT_KEYRING": ""})
        assert unnamed["hint"] == f"Name the file: s3vault keys {name} vault.keys"


def test_settings_come_from_the_file_and_the_environment_wins(
    command: Command, container: str, tmp_path: Path, closed_port: str
) -> None:
    stored = command.row("put", container, "p", data=b"x")
    settings = {
        key.lower().removeprefix("s3vault_"): command.environment.pop(key)
        for key in list(command.environment)
        if key.startswith("S3VAULT_") and key != "S3VAULT_LIBRARY"
    }
    known = {row.key: row.kind for row in s3vault.OPTIONS}
    lines = [
        f"{key} = {value if known[key] in ('bool', 'number') else json.dumps(value)}\n"
        for key, value in settings.items()
        if key in known
    ]
    (tmp_path / "other.toml").write_text("".join(lines))
    (tmp_path / "other.toml").chmod(0o644)
    done = command.run("--config", "other.toml", "versions", container, "p")
    assert (done.returncode, done.stderr.count(b"warning")) == (0, 1)
    assert b"other.toml holds secret_key, and every user of this machine can read it: run chmod 600" in done.stderr
    (tmp_path / "other.toml").chmod(0o600)
    assert command.row("--config", "other.toml", "versions", container, "p")["vid"] == stored["vid"]
    assert command.row("versions", container, "p", "--config", "other.toml")["vid"] == stored["vid"]
    by_variable = {"S3VAULT_CONFIG": "other.toml"}
    assert command.row("versions", container, "p", settings=by_variable)["vid"] == stored["vid"]
    error = command.fails(
        "S3V_E_CONNECT",
        "--config", "other.toml", "versions", container, "p",
        settings={"S3VAULT_API_URL": closed_port},
    )  # fmt: skip
    assert error["config"] == "other.toml"
    of_the_user = tmp_path / ".config/s3vault/config.toml"
    of_the_user.parent.mkdir(parents=True)
    (tmp_path / "other.toml").rename(of_the_user)
    assert command.row("versions", container, "p")["vid"] == stored["vid"]
    said = command.run("-v", "versions", container, "p").stderr.decode()
    assert said == f"s3vault: the settings are those of {of_the_user} and of the environment\n"
    of_the_user.write_text("bukket = 'x'\n")
    assert "bucket" in command.fails("S3V_E_UNKNOWN_OPTION", "ls")["hint"]
    of_the_user.write_text("bucket = \n")
    command.fails("S3V_E_CONFIG", "ls")
    command.fails("S3V_E_CONFIG", "--config", "missing.toml", "ls")


def test_the_working_folder_holds_no_configuration(command: Command, tmp_path: Path) -> None:
    for name in ("s3vault.toml", "config.toml"):
        (tmp_path / name).write_text("not a configuration file")
    command.ok("ls")
    for home in ("", "relative"):
        (tmp_path / home / ".config/s3vault").mkdir(parents=True)
        (tmp_path / home / ".config/s3vault/config.toml").write_text("not a configuration file")
        # Without a home, '~' must not become a name in the working folder.
        command.ok("ls", settings={"HOME": home})


def test_the_first_configuration_file_that_exists_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3VAULT_CONFIG", raising=False)
    users, machines = tmp_path / "user.toml", tmp_path / "machine.toml"
    monkeypatch.setattr(configuration, "_DEFAULT_FILES", (str(users), str(machines)))
    assert configuration.find_file(None) is None
    machines.touch()
    assert configuration.find_file(None) == str(machines)
    users.touch()
    assert configuration.find_file(None) == str(users)
    monkeypatch.setenv("S3VAULT_CONFIG", "from-variable.toml")
    assert configuration.find_file(None) == "from-variable.toml"
    assert configuration.find_file("from-argument.toml") == "from-argument.toml"


def test_files_in_a_configuration_file_are_relative_to_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    public = command.ok("keys", "new", "etc/vault.keys")
    (tmp_path / "etc/s3vault.toml").write_text("keyring = 'vault.keys'\n")
    del command.environment["S3VAULT_KEYRING"]
    assert command.ok("keys", "public", "--config", "etc/s3vault.toml") == public


def test_an_unknown_variable_is_a_warning_that_names_the_nearest(command: Command) -> None:
    done = command.run("ls", settings={"S3VAULT_BUKCET": "x"})
    assert done.returncode == 0
    assert done.stderr.decode() == (
        "s3vault: warning: the environment variable S3VAULT_BUKCET is not a setting and is ignored; "
        "did you mean S3VAULT_BUCKET?\n"
    )
    assert (
        "S3VAULT_BUCKET" in json.loads(command.run("--json", "ls", settings={"S3VAULT_BUKCET": "x"}).stderr)["warning"]
    )


def test_an_unknown_variable_is_a_warning_without_a_vault_too(command: Command) -> None:
    command.ok("keys", "new", "other.keys")
    for arguments in (
        ["settings", "bucket"],
        ["keys", "public", "other.keys"],
        ["keys", "public"],
        ["sign", "GET", "s3://backups/k"],
        ["presign", "GET", "s3://backups/k"],
    ):
        done = command.run(*arguments, settings={"S3VAULT_BUKCET": "x"})
        assert done.returncode == 0
        assert done.stderr.decode().count("S3VAULT_BUKCET is not a setting") == 1, arguments
    done = command.run("settings", "bucket", settings={"S3VAULT_PATH_STYLE": "perhaps"})
    assert (done.returncode, b"S3VAULT_PATH_STYLE" in done.stderr) == (0, True)


def test_settings_lists_every_setting(command: Command) -> None:
    rows = command.rows("settings")
    assert rows == [{**row._asdict(), "words": list(row.words), "calls": list(row.calls)} for row in s3vault.OPTIONS]
    shown = command.ok("settings").decode()
    for row in s3vault.OPTIONS:
        assert re.search(rf"^{row.key}\b.*; {row.scope}\)$", shown, re.MULTILINE), row.key
    one = command.ok("settings", "connect_timeout_ms").decode().splitlines()
    assert one[0] == "connect_timeout_ms = 10000  (number from 1 to 600000; vault)"
    assert "connection" in one[1]
    assert command.row("settings", "kind")["words"] == ["full", "incremental"]
    assert "'bucket'" in command.fails("S3V_E_UNKNOWN_OPTION", "settings", "bukket")["hint"]


def test_storing_without_a_keyring_prints_a_notice(command: Command, container: str) -> None:
    done = command.run("put", container, "p", data=b"x", settings={"S3VAULT_KEYRING": ""})
    assert done.returncode == 0
    assert b"unsigned" in done.stderr
    assert "signed by nobody" in done.stdout.decode().splitlines()
    assert done.stdout.count(b"\n") == 5


def test_what_is_not_verified_is_said_on_each_run(command: Command, container: str, tmp_path: Path) -> None:
    without = {"S3VAULT_KEYRING": ""}
    stored = command.row("put", container, "p", data=b"x")
    public = command.ok("keys", "public").decode()
    assert stored["signed_by"] == public.split()[1]
    signed = f"signed by {stored['signed_by']}"
    assert signed in command.ok("put", container, "q", data=b"x").decode().splitlines()
    for known in ({}, {**without, "S3VAULT_VERIFY_KEYS": public}):
        assert signed in command.ok("get", container, "p", "p", settings=known).decode().splitlines()
        assert command.row("get", container, "p", "p", settings=known)["signed_by"] == stored["signed_by"]

    # Neither a signature that was removed nor the one that is there is verified, so both are said to be unverified.
    for _ in range(2):
        for what, arguments in (("p", ["get"]), ("-", ["get"]), ("-", ["manifest"])):
            shown = command.run(*arguments, container, "p", what, settings=without)
            assert shown.returncode == 0
            assert shown.stderr.startswith(b"s3vault: warning: not verified: the vault knows no public key")
            assert b"signed by" not in shown.stdout
            as_json = command.run("--json", *arguments, container, "p", what, settings=without)
            assert json.loads(as_json.stderr)["warning"].startswith("not verified")
    row = json.loads(command.run("--json", "get", container, "p", "p", settings=without).stdout)
    assert row["signed_by"] is None
    required = {**without, "S3VAULT_TRUST": "required"}
    assert "trust" in command.fails("S3V_E_INVALID_OPTION", "get", container, "p", "p", settings=required)["message"]


# Signing

KEYS = {
    "S3VAULT_ACCESS_KEY": "AKIAIOSFODNN7EXAMPLE",
    "S3VAULT_SECRET_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "S3VAULT_API_URL": "http://127.0.0.1:9000",
}


def test_sign_prints_the_headers_to_add(command: Command, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"Welcome to Amazon S3.")
    digest = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    header = ("-H", "x-amz-meta-a: 1")
    shown = command.ok("sign", "put", "http://h/k", *header, "--payload", "body", settings=KEYS).decode()
    assert re.match(f"x-amz-content-sha256: {digest}\nx-amz-date: [0-9TZ]+\nauthorization: AWS4-HMAC-SHA256 ", shown)
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a," in shown
    for payload in (digest, "-"):
        arguments = ("sign", "PUT", "s3://bkt/a b", "--payload", payload)
        row = command.row(*arguments, data=b"Welcome to Amazon S3.", settings=KEYS)
        assert (row["method"], row["url"]) == ("PUT", "http://127.0.0.1:9000/bkt/a%20b")
        assert row["headers"]["x-amz-content-sha256"] == digest
    assert b"UNSIGNED-PAYLOAD" in command.ok("sign", "GET", "http://h/k", settings=KEYS)


def test_sign_prints_a_curl_command_that_works(command: Command, container: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"data")
    url = f"s3://{os.environ['S3VAULT_BUCKET']}/{container} [1]/x+y"

    def curl(*arguments: str) -> bytes:
        line = command.ok("sign", *arguments, "--curl").decode()
        ca = os.environ.get("S3VAULT_CA_FILE")
        secure = f"--cacert {ca} " if ca else ""
        line = line.replace("curl ", f"curl -sS --fail {secure}", 1)
        return subprocess.run(line, shell=True, cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout

    curl("PUT", url, "--payload", "body", "-H", "x-amz-meta-a: it's")
    assert curl("GET", url) == b"data"
    assert b"x-amz-meta-a: it's" in curl("HEAD", url).lower()
    curl("DELETE", url)
    command.fails("S3V_E_INVALID_ARGUMENT", "sign", "PUT", url, "--payload", "-", "--curl")


def test_presign_prints_a_url(command: Command) -> None:
    shown = command.ok("presign", "GET", "s3://bkt/k", settings=KEYS).decode()
    assert shown.startswith("http://127.0.0.1:9000/bkt/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert "&X-Amz-Expires=3600&" in shown
    for text, seconds in (("90", 90), ("90s", 90), ("15m", 900), ("7d", 604_800)):
        row = command.row("presign", "PUT", "http://h/k", "--expires", text, "-H", "a:1", settings=KEYS)
        assert row["expires_s"] == seconds
        assert f"&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=a%3Bhost&" in row["url"]
    for text in ("8d", "0", "soon", "-1s"):
        command.fails("S3V_E_INVALID_ARGUMENT", "presign", "GET", "http://h/k", f"--expires={text}", settings=KEYS)
    command.fails("S3V_E_INVALID_ARGUMENT", "presign", "GET", "http://h/k", "-H", "no colon", settings=KEYS)


def test_explain_marks_the_first_difference(command: Command, tmp_path: Path) -> None:
    added = command.ok("sign", "GET", "http://h:9000/k", settings=KEYS).decode()
    (tmp_path / "request").write_text(f"GET /k HTTP/1.1\nHost: h:9000\n{added}")
    canonical = command.row("explain", "request")["canonical_request"].replace("h:9000", "h:8000")
    reply = f"<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>{canonical}</CanonicalRequest></Error>"
    (tmp_path / "reply").write_text(reply)
    shown = command.ok("explain", "request", "reply").decode()
    assert shown.startswith("cause  Host was changed on the way")
    lines = shown.splitlines()
    at = lines.index("first difference: header host, line 4 of the canonical request")
    assert lines[at + 1 : at + 4] == ["  signed  host:h:9000", "  store   host:h:8000", " " * 17 + "^"]
    assert [line for line in lines if line.startswith(">")] == ["> host:h:9000", "> host:h:8000"]
    assert command.ok("explain", "request", "-", data=reply.encode()).decode() == shown
    assert command.row("explain", "request", "reply")["difference"]["name"] == "host"
    command.fails("S3V_E_INVALID_ARGUMENT", "explain", "-", "-")
    command.fails("S3V_E_INVALID_ARGUMENT", "explain", "reply")
    assert "cannot read missing" in command.fails("S3V_E_INVALID_ARGUMENT", "explain", "missing")["message"]


# Failures


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("S3V_E_SIGNATURE_REFUSED", {"S3VAULT_SECRET_KEY": "wrong"}),
        ("S3V_E_UNKNOWN_ACCESS_KEY", {"S3VAULT_ACCESS_KEY": "nobody"}),
        ("S3V_E_NO_SUCH_BUCKET", {"S3VAULT_BUCKET": "there-is-no-such-bucket"}),
        ("S3V_E_INVALID_OPTION", {"S3VAULT_PATH_STYLE": "yes"}),
        ("S3V_E_INVALID_OPTION", {"S3VAULT_BUCKET": ""}),
        ("S3V_E_KEYRING", {"S3VAULT_KEYRING": "missing.keys"}),
    ],
)
def test_refused_settings(command: Command, name: str, settings: dict[str, str]) -> None:
    for arguments in (["ls"], ["put", "c", "p"], ["get", "c", "p"]):
        command.fails(name, *arguments, settings=settings)


def test_an_option_that_is_not_set_says_where_it_was_looked_for(command: Command, tmp_path: Path) -> None:
    unset = {"S3VAULT_BUCKET": ""}
    hint = command.fails("S3V_E_INVALID_OPTION", "ls", settings=unset)["hint"]
    assert hint == (
        "Set bucket, or the environment variable S3VAULT_BUCKET. No configuration file was found: looked for "
        "~/.config/s3vault/config.toml and /etc/s3vault/config.toml."
    )
    (tmp_path / "some.toml").touch()
    error = command.fails("S3V_E_INVALID_OPTION", "--config", "some.toml", "ls", settings=unset)
    assert (error["hint"], error["config"]) == (hint.partition(" No ")[0], "some.toml")


def test_a_closed_port(command: Command, closed_port: str) -> None:
    error = command.fails("S3V_E_CONNECT", "ls", settings={"S3VAULT_API_URL": closed_port})
    assert closed_port.rpartition(":")[2] in error["message"]


def test_missing_backups_and_versions(command: Command, container: str) -> None:
    stored = command.row("put", container, "p", data=b"x")
    command.fails("S3V_E_NOT_FOUND", "get", container, "missing")
    command.fails("S3V_E_NOT_FOUND", "manifest", container, "missing")
    absent = "0" * 26
    command.fails("S3V_E_NOT_FOUND", "get", container, "p", "--version", absent)
    command.fails("S3V_E_NOT_FOUND", "get", container, "p", "--as-of", "2020-01-01T00:00:00Z")
    assert command.ok("get", container, "p", "--version", stored["vid"]) == b"x"


@pytest.mark.parametrize(
    "names", [("a/b", "p"), ("", "p"), ("_s3vault", "p"), ("c", "a/../b"), ("c", ""), ("\udcff", "p")]
)
def test_refused_names(command: Command, names: tuple[str, str]) -> None:
    command.fails("S3V_E_INVALID_NAME", "put", *names, data=b"x")


def test_another_keyring_trusts_nothing(command: Command, container: str) -> None:
    command.ok("put", container, "p", data=b"x")
    command.ok("keys", "new", "other.keys")
    command.fails("S3V_E_UNTRUSTED", "get", container, "p", settings={"S3VAULT_KEYRING": "other.keys"})


def test_files_that_cannot_be_read_or_written(command: Command, container: str, tmp_path: Path) -> None:
    command.ok("put", container, "p", data=b"x")
    for arguments in (["put", container, "p"], ["sign", "PUT", "s3://b/k", "--payload"], ["explain"]):
        missing = command.fails("S3V_E_INVALID_ARGUMENT", *arguments, "missing")
        assert missing["message"] == "cannot read missing: No such file or directory"
        folder = command.fails("S3V_E_INVALID_ARGUMENT", *arguments, str(tmp_path))
        assert folder["message"] == f"cannot read {tmp_path}: it is a folder"
    command.fails("S3V_E_IO", "get", container, "p", "no-folder/file")
    command.fails("S3V_E_IO", "get", container, "p", str(tmp_path))
    command.fails("S3V_E_IO", "manifest", container, "p", "no-folder/file")


def test_a_full_device(command: Command, container: str) -> None:
    command.ok("put", container, "p", data=LARGE)
    with open("/dev/full", "wb") as full:
        command.fails("S3V_E_DISK_FULL", "get", container, "p", stdout=full)
        command.fails("S3V_E_DISK_FULL", "manifest", container, "p", stdout=full)
        assert "output goes" in command.fails("S3V_E_DISK_FULL", "ls", stdout=full)["hint"]
    command.fails("S3V_E_DISK_FULL", "get", container, "p", "/dev/full")


def test_what_was_done_is_said_if_its_report_cannot_be_written(
    command: Command, container: str, tmp_path: Path
) -> None:
    def unreported(*arguments: str, **options: Any) -> tuple[str, str]:
        read, write = os.pipe()
        os.close(read)
        for target in ("/dev/full", write):
            # In text and as JSON, for a full disk and for a reader that is gone.
            with open(target, "wb") as stdout:
                done = command.run(*arguments, stdout=stdout, **options)
            assert done.returncode == 8, done.stderr
        error = json.loads(done.stderr)["error"]
        return error["message"], error["hint"]

    (tmp_path / "disk.img").write_bytes(b"x")
    message, hint = unreported("--json", "put", container, "p", "disk.img")
    newest = command.rows("versions", container, "p")[0]["vid"]
    assert message.startswith(f"{container}/p is stored as version {newest}, but the report could not be written")
    assert hint.startswith("Do not run the command again")
    with open("/dev/full", "wb") as full:
        shown = command.run("put", container, "p", "disk.img", stdout=full)
    assert shown.returncode == 8
    assert shown.stderr.decode().splitlines()[0].startswith(f"s3vault: {container}/p is stored as version ")
    assert shown.stderr.decode().splitlines()[1] == f"help: {hint}"
    assert len(command.rows("versions", container, "p")) == 3
    message, hint = unreported("--json", "get", container, "p", "restored.img")
    assert message.startswith(f"{container}/p is restored to restored.img, but")
    assert (tmp_path / "restored.img").read_bytes() == b"x"
    with open("/dev/full", "wb") as full:
        created = command.run("keys", "new", "my.keys", stdout=full)
    assert created.returncode == 8
    assert b"s3vault keys public my.keys" in created.stderr
    command.ok("keys", "public", "my.keys")


def test_a_full_disk_leaves_no_file(command: Command, container: str, tmp_path: Path) -> None:
    command.ok("put", container, "p", data=LARGE)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=4m tmpfs disk && "$@"; code=$?; ls -A disk; exit $code'
    # A mount namespace of its own, which ends with the process.
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    done = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", *command.argv("--json", "get", container, "p", "disk/restored")],
        cwd=tmp_path,
        env=command.environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == EXIT["S3V_E_DISK_FULL"], done.stderr
    assert json.loads(done.stderr)["error"]["name"] == "S3V_E_DISK_FULL"
    assert done.stdout == b""


# Interrupts


def start_upload(command: Command, container: str, *options: str, **popen: Any) -> subprocess.Popen[bytes]:
    """A put in the middle of a stream: parts are in flight, and its end has not been written."""
    arguments = ["put", container, "p", *options]
    process = command.start(*arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, **popen)
    assert process.stdin is not None
    process.stdin.write(LARGE)
    process.stdin.flush()
    return process


def end(process: subprocess.Popen[bytes]) -> bytes:
    """What it printed on standard error."""
    assert process.stdin is not None
    assert process.stderr is not None
    printed = process.stderr.read()
    process.wait()
    process.stdin.close()
    process.stderr.close()
    return printed


def check_ending(printed: bytes, says: bytes) -> None:
    """One line; of a store that is slow to remove the upload it also says that this is waited for."""
    waits = rb"(; waiting for the store to end the upload, at most 10 s\. [^\n]*)?\n"
    assert re.fullmatch(re.escape(says) + waits if says else b"", printed), printed


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGINT, 130, b"s3vault: interrupted"),
        (signal.SIGTERM, 143, b"s3vault: terminated"),
        (signal.SIGHUP, 129, b"s3vault: the terminal was closed"),
        (signal.SIGQUIT, 131, b"s3vault: quit"),
        (signal.SIGKILL, -signal.SIGKILL, b""),
    ],
)
def test_a_killed_upload_leaves_nothing(
    command: Command, container: str, number: signal.Signals, code: int, says: bytes
) -> None:
    # It may be ignored where the tests run, as under nohup.
    handled = None if number == signal.SIGKILL else lambda: signal.signal(number, signal.SIG_DFL)
    process = start_upload(command, container, preexec_fn=handled)
    process.send_signal(number)
    check_ending(end(process), says)
    assert process.returncode == code
    command.fails("S3V_E_NOT_FOUND", "versions", container, "p")
    command.fails("S3V_E_NOT_FOUND", "ls", container)
    assert {"container": container} not in command.rows("ls")
    command.fails("S3V_E_NOT_FOUND", "get", container, "p")
    command.ok("put", container, "p", data=b"whole")
    assert command.ok("get", container, "p") == b"whole"


def test_a_put_that_ignores_the_end_of_its_terminal_is_completed(command: Command, container: str) -> None:
    """As under nohup."""
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = start_upload(command, container, preexec_fn=ignore, stdout=subprocess.DEVNULL)
    process.send_signal(signal.SIGHUP)
    assert process.stdin is not None
    process.stdin.write(b"the end")
    process.stdin.close()
    assert end(process) == b""
    assert process.returncode == 0
    assert command.ok("get", container, "p") == LARGE + b"the end"


def test_what_a_program_wrote_is_stored_only_if_it_succeeds(command: Command, container: str) -> None:
    put = ["put", container, "p", "--from-command", "--"]
    program = "import sys; sys.stdout.buffer.write(bytes(20_000_000)); sys.exit(int(sys.argv[1]))"
    whole = command.row(*put, sys.executable, "-c", program, "0")
    assert whole["size"] == 20_000_000
    failed = command.fails("S3V_E_SOURCE_CHANGED", *put, sys.executable, "-c", program, "3")
    assert failed["message"].endswith("ended with exit code 3, so its output is not stored as a backup")
    killed = command.fails("S3V_E_SOURCE_CHANGED", *put, "sh", "-c", "echo half; kill -9 $$")
    assert "was killed by SIGKILL" in killed["message"]
    missing = command.fails("S3V_E_INVALID_ARGUMENT", *put, "no-such-program", "--json")
    assert missing["message"] == "cannot run no-such-program: No such file or directory"
    command.fails("S3V_E_INVALID_ARGUMENT", "put", container, "p", "--from-command")
    command.fails("S3V_E_INVALID_ARGUMENT", "put", container, "p", "disk.img", "--from-command", "--", "true")
    assert [row["vid"] for row in command.rows("versions", container, "p")] == [whole["vid"]]


def test_a_put_that_is_ended_ends_its_program(command: Command, container: str, tmp_path: Path) -> None:
    program = "echo $$ > pid; trap 'echo told > told; exit 0' TERM; while true; do sleep 0.1; done"
    put = ["put", container, "p", "--from-command", "--", "sh", "-c", program]
    process = command.start(*put, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    check_ending(end(process), b"s3vault: terminated")
    assert (tmp_path / "told").exists()
    command.fails("S3V_E_NOT_FOUND", "versions", container, "p")


def test_a_live_source_is_named_in_the_manifest(command: Command, container: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"live")
    for source, named in (("fixed", None), ("live", "live")):
        command.row("put", container, "p", str(file), "--source", source)
        manifest = command.ok("manifest", container, "p").splitlines()[0]
        assert json.loads(manifest).get("source") == named


def test_a_file_as_standard_input_is_read_by_position_unless_something_of_it_was_read(
    command: Command, container: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    for position, stored in ((0, LARGE), (5, LARGE[5:])):
        with open(tmp_path / "file", "rb", buffering=0) as file:
            file.seek(position)
            process = command.start("put", container, "p", "--size", str(len(stored)), stdin=file)
            assert process.wait() == 0
            # A stream has been read to its end.
            assert file.tell() == (0 if position == 0 else len(LARGE))
        assert command.ok("get", container, "p") == stored


@pytest.mark.parametrize("source", ["fixed", "live"])
def test_a_file_as_standard_input_that_grows_is_stored_only_if_it_is_live(
    command: Command, container: str, tmp_path: Path, source: str
) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    with open(tmp_path / "file", "rb", buffering=0) as file, open(tmp_path / "file", "ab", buffering=0) as growing:
        # Slow enough to grow while it is read.
        limit = {"S3VAULT_BANDWIDTH_UP": str(8 * MIB)}
        with command.start(
            "put", container, "p", "--source", source, stdin=file, settings=limit, stderr=subprocess.PIPE
        ) as process:
            while process.poll() is None:
                growing.write(b"x")
                time.sleep(0.01)
            assert process.stderr is not None
            printed = process.stderr.read()
    if source == "fixed":
        assert process.returncode == EXIT["S3V_E_SOURCE_CHANGED"]
        assert b"changed while it was being stored" in printed
        command.fails("S3V_E_NOT_FOUND", "versions", container, "p")
    else:
        assert process.returncode == 0, printed
        assert command.ok("get", container, "p").startswith(LARGE)


def test_an_input_of_another_size_is_not_stored(command: Command, container: str, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"12345")
    for file, data in (("disk.img", b""), ("-", b"12345")):
        assert command.row("put", container, file, file, "--size", "5", data=data)["size"] == 5
        for size in ("4", "6"):
            refused = command.fails("S3V_E_SOURCE_CHANGED", "put", container, file, file, "--size", size, data=data)
            assert f"5 bytes, but --size says {size}" in refused["message"]
        assert len(command.rows("versions", container, file)) == 1
    put = ["put", container, "p", "--size", "5", "--from-command", "--", "echo"]
    assert command.row(*put, "1234")["size"] == 5
    command.fails("S3V_E_SOURCE_CHANGED", *put, "12345")


def test_standard_streams_that_are_closed(command: Command, container: str, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(LARGE)

    def run(*arguments: str, closed: str) -> int:
        shell = f'exec "$0" "$@" {closed}'
        done = subprocess.run(
            ["sh", "-c", shell, *command.argv(*arguments)], cwd=tmp_path, env=command.environment, check=False
        )
        return done.returncode

    for closed in ("2>&-", ">&-", "<&-", "<&- >&- 2>&-"):
        assert run("put", container, "p", "disk.img", closed=closed) == 0
        assert run("get", container, "p", "restored.img", closed=closed) == 0
        assert (tmp_path / "restored.img").read_bytes() == LARGE
        (tmp_path / "restored.img").unlink()
    assert len(command.rows("versions", container, "p")) == 4
    # Nothing is stored from, or restored to, what is not there.
    assert run("put", container, "p", closed="<&-") == 2
    assert run("get", container, "p", closed=">&-") == 2
    assert len(command.rows("versions", container, "p")) == 4


def test_standard_output_has_several_names(command: Command, container: str, tmp_path: Path) -> None:
    command.ok("put", container, "p", data=LARGE)
    for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        assert command.ok("get", container, "p", name) == LARGE
        assert command.ok("--json", "get", container, "p", name) == LARGE
        # Redirected with >>, it continues the file.
        (tmp_path / "log").write_bytes(b"before ")
        with (tmp_path / "log").open("ab") as log:
            assert command.run("get", container, "p", name, stdout=log).returncode == 0
        assert (tmp_path / "log").read_bytes() == b"before " + LARGE


def test_words_after_two_dashes_are_names(command: Command, container: str, tmp_path: Path) -> None:
    (tmp_path / "-disk").write_bytes(b"x")
    row = command.row("put", "--", f"-{container}", "--disk", "-disk")
    assert (row["container"], row["path"]) == (f"-{container}", "--disk")
    assert command.ok("get", "--version", row["vid"], "--", f"-{container}", "--disk") == b"x"


def test_misuse_is_json_too(command: Command) -> None:
    done = command.run("--json", "put", "c")
    error = json.loads(done.stderr)["error"]
    assert (done.returncode, error["name"]) == (2, "S3V_E_INVALID_ARGUMENT")
    assert "PATH" in error["message"]


def test_ctrl_c_suspends_a_put_that_has_a_checkpoint(command: Command, container: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    process = start_upload(command, container, "--checkpoint", str(checkpoint))
    process.send_signal(signal.SIGINT)
    printed = end(process).decode()
    assert printed.startswith("s3vault: suspended; run the same command again to resume")
    assert str(checkpoint) in printed
    check_ending(printed.splitlines(keepends=True)[-1].encode(), b"s3vault: interrupted")
    assert process.returncode == 130
    command.fails("S3V_E_NOT_FOUND", "versions", container, "p")
    command.row("put", container, "p", "--checkpoint", str(checkpoint), data=LARGE)
    assert not checkpoint.exists()
    assert command.ok("get", container, "p", "--verify", "part") == LARGE


@pytest.mark.parametrize(
    ("code", "can_resume"),
    [
        (ErrorCode.CONNECTION_LOST, True),
        (ErrorCode.OUTCOME_UNKNOWN, True),
        (ErrorCode.ABANDONED, False),
        (ErrorCode.SOURCE_CHANGED, False),
    ],
)
def test_a_put_that_ended_early_says_whether_it_can_be_resumed(
    code: ErrorCode, can_resume: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    for records in (b"records", b"", None):
        checkpoint.unlink(missing_ok=True)
        if records is not None:
            checkpoint.write_bytes(records)
        with pytest.raises(S3VaultError), resume_notice(str(checkpoint), Output(json=False)):
            raise S3VaultError(code, "the store failed")
        is_said = "the same command again to resume" in capsys.readouterr().err
        assert is_said is (can_resume and records == b"records")


def test_what_is_left_of_a_disk_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").write_bytes(b"x" * 100)
    with open(tmp_path / "disk", "r+b", buffering=0) as disk:
        disk.write(b"y" * 60)
        assert left_on_disk(disk) == 0
        # Only root has real ones.
        monkeypatch.setattr(stat, "S_ISBLK", stat.S_ISREG)
        assert left_on_disk(disk) == 40
        assert disk.tell() == 60


def test_all_bytes_are_written_to_a_target_that_takes_a_few_at_a_time() -> None:
    class Narrow:
        taken = b""

        def write(self, data: memoryview) -> int:
            self.taken += bytes(data[:3])
            return min(3, len(data))

    target = Narrow()
    write_all(target, memoryview(b"all of the bytes"))
    assert target.taken == b"all of the bytes"


def test_an_input_shorter_than_what_is_stored_is_refused() -> None:
    output = Output(json=True)
    with tempfile.TemporaryFile() as source, pytest.raises(S3VaultError, match="at byte 5, but 9 bytes") as caught:
        source.write(b"short")
        source.seek(0)
        skip(source, 9, output)
    assert caught.value.code == ErrorCode.SOURCE_CHANGED


def test_process_limits_are_read_from_the_settings(command: Command, container: str) -> None:
    settings = {"S3VAULT_MEMORY": "67108864", "S3VAULT_BANDWIDTH_UP": "0", "S3VAULT_CONNECTIONS": "3"}
    command.ok("put", container, "p", data=b"small", settings=settings)
    command.ok("put", container, "p", data=b"small", settings={"S3VAULT_MEMORY": "64M", "S3VAULT_BANDWIDTH_UP": "1GiB"})
    refused = command.fails("S3V_E_INVALID_OPTION", "put", container, "p", settings={"S3VAULT_MEMORY": "64MB"})
    assert refused["hint"] == "Set memory to a number of bytes, such as 67108864 or 64M, from 32M to 1024T."
    command.fails("S3V_E_INVALID_OPTION", "put", container, "p", settings={"S3VAULT_CONNECTIONS": "0"})


def test_ctrl_c_while_the_store_is_silent(command: Command, silent_store: str) -> None:
    settings = {"S3VAULT_API_URL": silent_store, "S3VAULT_IDLE_TIMEOUT_MS": "3600000"}
    process = command.start("ls", stdin=subprocess.PIPE, stderr=subprocess.PIPE, settings=settings)
    # Long enough to be in the call; the result is the same if it is not.
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert end(process) == b"s3vault: interrupted\n"
    assert process.returncode == 130


def catch_ctrl_c() -> None:
    """In a new process: Ctrl-C may be ignored where the tests run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_while_the_command_is_imported(tmp_path: Path) -> None:
    # As if it came while the package is searched: the first thing that the entry imports.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 's3vault':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    entry = "import s3vault_command, sys; sys.exit(s3vault_command.main())"
    places = [str(tmp_path), str(Path(s3vault_command.__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run([sys.executable, "-c", entry, "ls"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"s3vault: interrupted\n")


def test_ctrl_c_at_the_end_is_no_failure_of_the_command(tmp_path: Path) -> None:
    def ends(entry: str, *arguments: str) -> tuple[int, bytes]:
        imports = (
            "import os, signal, sys, s3vault.command, s3vault_command\nfrom s3vault.command.output import Output\n"
        )
        environment = {**os.environ, "S3VAULT_CONFIG": str(tmp_path / "missing")}
        done = subprocess.run(
            [sys.executable, "-c", imports + entry, *arguments],
            env=environment,
            capture_output=True,
            check=False,
            preexec_fn=catch_ctrl_c,
        )
        return done.returncode, done.stderr

    # When all is done, it ends the process as it does where no program catches it.
    after = "code = s3vault.command.main(); os.kill(os.getpid(), signal.SIGINT); sys.exit(code)"
    assert ends(after, "settings") == (-signal.SIGINT, b"")
    # While it is said what failed.
    amid = "Output.error = lambda self, error: signal.raise_signal(signal.SIGINT); sys.exit(s3vault_command.main())"
    assert ends(amid, "ls") == (130, b"s3vault: interrupted\n")


def put_to(
    store: StallingStore, command: Command, container: str, *, streams: bool, is_full: bool = False
) -> subprocess.Popen[bytes]:
    """A put that has sent a part, to which the store does not answer. `is_full`: its pipe takes no more bytes."""
    settings = {"S3VAULT_API_URL": store.url, "S3VAULT_IDLE_TIMEOUT_MS": "3600000", "S3VAULT_BUCKET": "backups"}
    if is_full:
        settings["S3VAULT_MEMORY"] = "32M"
    if streams:
        process = start_upload(command, container, settings=settings, preexec_fn=catch_ctrl_c)
    else:
        (command.folder / "disk.img").write_bytes(LARGE)
        process = command.start(
            "put", container, "p", "disk.img",
            settings=settings, stdin=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=catch_ctrl_c,
        )  # fmt: skip
    assert store.stalled.wait(60)
    if is_full:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        accepted = time.monotonic()
        while time.monotonic() < accepted + 1:
            with contextlib.suppress(BlockingIOError):
                os.write(process.stdin.fileno(), LARGE[:4096])
                accepted = time.monotonic()
    return process


@pytest.mark.parametrize(("streams", "is_full"), [(True, False), (True, True), (False, False)])
def test_ctrl_c_says_which_parts_stay_in_the_store_and_why(
    command: Command, container: str, streams: bool, is_full: bool
) -> None:
    with stalling_store(refuses=True) as store:
        process = put_to(store, command, container, streams=streams, is_full=is_full)
        process.send_signal(signal.SIGINT)
        printed = end(process).decode()
    assert process.returncode == 130
    assert len(store.aborts) == 1
    check_ending(printed.splitlines(keepends=True)[0].encode(), b"s3vault: interrupted")
    assert f"upload {UPLOAD_ID} of s3://backups/{container}/p stays on the store, and its parts take space" in printed
    assert "Grant the access key the permission s3:AbortMultipartUpload on arn:aws:s3:::backups/*." in printed


@pytest.mark.parametrize("streams", [True, False])
def test_ctrl_c_says_what_it_waits_for_and_a_second_one_ends_at_once(
    command: Command, container: str, streams: bool
) -> None:
    with stalling_store() as store:
        process = put_to(store, command, container, streams=streams)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        said = process.stderr.readline().decode()
        assert said.startswith("s3vault: interrupted; waiting for the store to end the upload, at most 10 s. Ctrl-C")
        # The store has not answered, and does not.
        process.send_signal(signal.SIGINT)
        assert end(process) == b""
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_that_comes_too_late_says_which_version_is_stored(command: Command, container: str) -> None:
    with stalling_store(completes=True) as store:
        process = put_to(store, command, container, streams=False)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        said = process.stderr.readline()
        store.released.set()
        printed = end(process).decode()
    assert process.returncode == 130
    check_ending(said, b"s3vault: interrupted")
    assert f"{container}/p was complete before the put could be stopped, and is stored as version 7" in printed
    assert "Do not store it again." in printed


def test_ctrl_c_says_how_to_resume_a_restore() -> None:
    output = Output(json=False)
    for file, said in (
        ("restored.img", "restored.img is not restored yet; run the same command again to resume"),
        ("-", "standard output has only a part of the backup; run the same command again to restore all"),
        ("/dev/null", "/dev/null has only a part of the backup; run the same command again to restore all"),
    ):
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown), pytest.raises(KeyboardInterrupt), get.resume_notice(file, output):
            raise KeyboardInterrupt
        assert said in shown.getvalue()


def test_a_reader_that_closes_the_pipe(command: Command, container: str) -> None:
    command.ok("put", container, "p", data=LARGE)
    for arguments in (["get", container, "p"], ["manifest", container, "p"], ["versions", container, "p"], ["ls"]):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as closed:
            done = command.run(*arguments, stdout=closed)
        assert (done.returncode, done.stderr) == (141, b""), arguments


# Help and terminals


def on_terminal(command: Command, *arguments: str) -> str:
    """What a terminal shows of standard error."""
    master, terminal = pty.openpty()
    rows_and_columns = struct.pack("HHHH", 24, 100, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, rows_and_columns)
    # Slow enough for the bar to move before it disappears, however fast the machine is.
    slow = {"S3VAULT_BANDWIDTH_UP": "200M", "S3VAULT_BANDWIDTH_DOWN": "200M"}
    streams = {"stdout": subprocess.DEVNULL, "stderr": terminal, "stdin": subprocess.DEVNULL}
    with command.start(*arguments, settings=slow, **streams) as process:
        os.close(terminal)
        seen = b""
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    seen += os.read(master, 65_536)
                except OSError:  # EIO: the other side is closed
                    break
    os.close(master)
    assert process.returncode == 0
    return seen.decode()


def test_a_terminal_shows_progress(command: Command, container: str, tmp_path: Path) -> None:
    with (tmp_path / "disk.img").open("wb") as sparse:
        sparse.truncate(400 * MIB)
    for arguments in (
        ["put", container, "p", "disk.img"],
        ["get", container, "p", "restored.img"],
        ["get", container, "p"],
    ):
        shown = on_terminal(command, *arguments)
        # The size is known for a pipe too, and all figures have the same units.
        assert re.search(rf"{arguments[0]}: +\d+%\|.*iB of 400\.0 MiB \[\d\d:\d\d<.*\]", shown), shown
        assert re.search(r", [0-9.]+ [KMG]iB/s\]", shown), shown
    assert on_terminal(command, "--json", "get", container, "p", "restored.img") == ""
    assert (tmp_path / "restored.img").stat().st_size == 400 * MIB


def test_bytes_of_an_earlier_run_do_not_count_in_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Output(json=False).progress("put") as progress:
        assert progress is not None
        for done in (1 << 40, (1 << 40) + 1024):
            progress(s3vault.Progress(done, 2 << 40, 1, 0))
            time.sleep(0.11)
    shown = terminal.getvalue()
    assert "50%" in shown
    assert "1.0 TiB of 2.0 TiB" in shown
    # A TiB in so short a time would be TiB/s.
    rates = re.findall(r"([A-Za-z?]+)/s\]", shown)
    assert set(rates) <= {"?", "B", "KiB"}, shown


def test_data_is_not_written_to_a_terminal(command: Command, container: str) -> None:
    command.ok("put", container, "p", data=b"x")
    _, terminal = pty.openpty()
    command.fails("S3V_E_INVALID_ARGUMENT", "get", container, "p", stdout=terminal)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "put",
        "get",
        "versions",
        "ls",
        "manifest",
        "keys",
        "keys new",
        "keys public",
        "keys list",
        "rekey",
        "keys rotate",
        "keys export",
        "keys activate",
        "keys import",
        "keys new-signing-key",
        "keys distrust",
        "settings",
        "sign",
        "presign",
        "explain",
    ],
)
def test_help_has_examples(command: Command, name: str) -> None:
    shown = command.ok(*name.split(), "--help").decode()
    assert f"usage: s3vault {name}".strip() in shown
    assert re.search(rf"^Examples:\n  .*s3vault {name}", shown, re.MULTILINE)


def test_every_subcommand_is_listed() -> None:
    folder = Path(subcommands.__file__).parent
    modules = {file.stem for file in folder.iterdir() if not file.name.startswith("_")}
    assert modules == {module.__name__.rpartition(".")[2] for module in subcommands.SUBCOMMANDS}


def test_version(command: Command) -> None:
    shown = command.ok("--version").decode()
    assert shown == f"s3vault {s3vault.__version__} (library: {s3vault.library_version()})\n"


@pytest.mark.parametrize("arguments", [[], ["sing"], ["put", "only-container"], ["keys", "old"], ["ls", "--jso"]])
def test_misuse(command: Command, arguments: list[str]) -> None:
    done = command.run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: s3vault")

"""Runs the cases of `tests/cases`, as every caller does: through the API, and some through the command too."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from stream import stream

import s3vault

CASES = Path(os.environ.get("S3VAULT_CASES") or Path(__file__).resolve().parents[3] / "tests" / "cases")
ENCRYPTION = os.environ.get("S3VAULT_ENCRYPTION")
MIB = 1 << 20
# Who can open the escrow files of the cases.
RECIPIENT = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef"
EXIT_CODES = {row.name: row.exit for row in s3vault.ERRORS}
HINTED = {row.name for row in s3vault.ERRORS if row.hint}

Case = dict[str, Any]
Step = dict[str, Any]
Options = dict[str, Any]


def load() -> list[Case]:
    files = sorted(CASES.glob("*.json"))
    return [case for file in files for case in json.loads(file.read_text())["cases"]]


def by_name(cases: list[Case]) -> list[Any]:
    """The cases as parameters. This caller has none of the features that a case may need."""

    def marks(case: Case) -> list[Any]:
        if "needs" in case:
            return [pytest.mark.skip(reason=f"needs {case['needs']}")]
        if case.get("encryption", ENCRYPTION) != ENCRYPTION:
            return [pytest.mark.skip(reason=f"S3VAULT_ENCRYPTION is not {case['encryption']}")]
        return []

    return [pytest.param(case, id=case["name"], marks=marks(case)) for case in cases]


CASES_LOADED = load()
WITH_STORE = [case for case in CASES_LOADED if "steps" in case]
OFFLINE = [case for case in CASES_LOADED if "verify" in case]


def data_of(spec: dict[str, Any]) -> bytes:
    if "text" in spec:
        return str(spec["text"]).encode()
    return stream(spec["size"], spec["seed"])


def rotate_keyring(keyring: s3vault.Keyring) -> s3vault.Keyring:
    """Makes another key-encryption key current."""
    kek = keyring.add()
    keyring.export(recipients=[RECIPIENT])
    keyring.activate(kek)
    return keyring


def numbers_of(report: s3vault.JobReport) -> dict[str, int]:
    return {name: value for name, value in dataclasses.asdict(report).items() if isinstance(value, int)}


# The numbers of a report that count items.
ITEMS = ("kept", "deleted", "freed", "suspected", "waiting", "rotated", "rekeyed", "left")
# Options of prune by other names on the command line.
JOB_FLAGS = {
    "retention_full_versions": "keep_fulls",
    "retention_full_days": "keep_full_days",
    "retention_inc_versions": "keep_incs",
    "retention_inc_days": "keep_inc_days",
}


class Failed(Exception):
    """A failure of the command."""

    def __init__(self, name: str, message: str, hint: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.message, self.hint = name, message, hint


class Api:
    """Runs the steps with the Python API."""

    def __init__(self, keyring: s3vault.Keyring, folder: Path) -> None:
        self.own, self.folder = keyring, folder
        self.made: s3vault.Keyring | None = None
        self.vault = s3vault.open(s3vault.Config().env(), keyring=keyring)

    def reopen(self, settings: Options, keyring: str) -> None:
        config = s3vault.Config().env()
        for key, value in settings.items():
            config.set(key, value)
        if keyring == "new":
            self.made = s3vault.Keyring.create()
        if keyring == "rotated":
            assert self.made is not None, "the case has no keyring of its own"
            rotate_keyring(self.made)
        ring = {"own": self.own, "new": self.made, "rotated": self.made, "none": None}[keyring]
        self.vault.close()
        self.vault = s3vault.open(config, keyring=ring)

    def put(self, step: Step, data: bytes, options: Options) -> s3vault.VersionInfo:
        names = step["container"], step["path"]
        if step.get("from") in ("file", "fd"):
            file = self.folder / "source"
            file.write_bytes(data)
            if step["from"] == "file":
                return self.vault.put_file(*names, file, **options).info
            with file.open("rb") as source:
                return self.vault.put_fd(*names, source, **options).info
        upload = self.vault.create(*names, **options)
        with upload:
            write_from_offset(upload, step, data, len(data))
        return upload.commit().info

    def suspend(self, step: Step, data: bytes, options: Options) -> None:
        cancel = s3vault.Cancel()
        upload = self.vault.create(step["container"], step["path"], cancel=cancel, **options)
        write_from_offset(upload, step, data, step["after"])
        if step.get("cancel"):
            cancel.trigger()
            with pytest.raises(s3vault.S3VaultError) as caught:
                upload.write(data[:1])
            assert caught.value.code == s3vault.ErrorCode.CANCELLED
        upload.suspend()
        assert upload.closed

    def abandon(self, step: Step, data: bytes, options: Options) -> None:
        upload = self.vault.create(step["container"], step["path"], **options)
        write_all(upload, data, step.get("chunk", MIB))
        upload.close()
        assert upload.version is None

    def get(self, step: Step, options: Options) -> bytes:
        version = self.vault.find(step["container"], step["path"], **options)
        reading, to = step.get("reading", {}), step.get("to")
        file = self.folder / "restored"
        if to == "file":
            version.restore(file, **reading)
            return file.read_bytes()
        if to == "fd":
            with file.open("w+b") as target:
                version.restore_fd(target, **reading)
                return target.read()
        with version.open(**reading) as source:
            return read_backwards(source.raw, version.info.size) if to == "pread" else source.read()

    def rm(self, container: str, path: str) -> s3vault.VersionInfo:
        return self.vault.delete(container, path).info

    def undelete(self, container: str, path: str) -> str:
        return self.vault.undelete(container, path).info.vid

    def delete(self, container: str, path: str, vid: str) -> None:
        self.vault.find(container, path, version=vid).delete()

    def job(self, name: str, container: str, options: Options) -> tuple[list[str], dict[str, int]]:
        items: list[str] = []
        run = getattr(self.vault, name)
        report = run(container=container, on_item=lambda i: items.append(f"{i.action} {i.vid}"), **options)
        return items, numbers_of(report)

    def versions(self, container: str, path: str, options: Options) -> list[str]:
        return [row.vid for row in self.vault.versions(container, path, **options)]

    def paths(self, container: str, prefix: str | None, options: Options) -> list[str]:
        return [row.path for row in self.vault.paths(container, prefix, **options)]

    def chain(self, container: str, path: str, options: Options) -> list[str]:
        return [row.vid for row in self.vault.find(container, path, **options).chain()]

    def containers(self) -> list[str]:
        return list(self.vault.containers())


class Command:
    """The steps, each by a run of the command."""

    def __init__(self, keyring_file: Path, folder: Path) -> None:
        self.folder, self.own = folder, keyring_file
        self.environment = {**os.environ, "S3VAULT_KEYRING": str(keyring_file)}

    def reopen(self, settings: Options, keyring: str) -> None:
        made = self.folder / "made.keys"
        if keyring == "new":
            s3vault.Keyring.create(made)
        if keyring == "rotated":
            rotate_keyring(s3vault.Keyring.open(made))
        file = {"own": str(self.own), "new": str(made), "rotated": str(made), "none": ""}[keyring]
        changes = {f"S3VAULT_{key.upper()}": value for key, value in settings.items()}
        self.environment = {**os.environ, **changes, "S3VAULT_KEYRING": file}

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "s3vault", "--json", *arguments],
            input=data,
            capture_output=True,
            env=self.environment,
            cwd=self.folder,
            check=False,
        )
        if done.returncode != 0:
            error = json.loads(done.stderr)["error"]
            assert done.returncode == EXIT_CODES[error["name"]]
            raise Failed(error["name"], error["message"], error.get("hint", ""))
        return done.stdout

    def put(self, step: Step, data: bytes, options: Options) -> s3vault.VersionInfo:
        arguments = [step["container"], step["path"], *as_flags(options)]
        if step.get("from") == "file":
            file = self.folder / "source"
            file.write_bytes(data)
            arguments.append(str(file))
            data = b""
        row = json.loads(self.run("put", *arguments, data=data))
        for time in ("initiated", "recorded"):
            row[time] = datetime.fromisoformat(row[time].replace("Z", "+00:00"))
        return s3vault.VersionInfo(**row)

    def get(self, step: Step, options: Options) -> bytes:
        arguments = [step["container"], step["path"], *as_flags({**options, **step.get("reading", {})})]
        if step.get("to") != "file":
            return self.run("get", *arguments)
        file = self.folder / "restored"
        self.run("get", *arguments, str(file))
        return file.read_bytes()

    def rm(self, container: str, path: str) -> s3vault.VersionInfo:
        row = json.loads(self.run("rm", container, path))
        assert row.pop("deleted") == "backup"
        return s3vault.VersionInfo(**row)

    def undelete(self, container: str, path: str) -> str:
        return str(json.loads(self.run("undelete", container, path))["vid"])

    def delete(self, container: str, path: str, vid: str) -> None:
        self.run("rm", container, path, "--version", vid)

    def job(self, name: str, container: str, options: Options) -> tuple[list[str], dict[str, int]]:
        flags = {JOB_FLAGS.get(key, key): value for key, value in options.items()}
        path = [flags.pop("path")] if "path" in flags else []
        lines = self.run(name, container, *path, *as_flags(flags)).splitlines()
        *items, report = [json.loads(line) for line in lines]
        return [f"{item['action']} {item['vid']}" for item in items], report

    def versions(self, container: str, path: str, options: Options) -> list[str]:
        return self.listed("vid", "versions", container, path, options)

    def paths(self, container: str, prefix: str | None, options: Options) -> list[str]:
        return self.listed("path", "ls", container, *([] if prefix is None else [prefix]), options)

    def chain(self, container: str, path: str, options: Options) -> list[str]:
        return self.listed("vid", "chain", container, path, options)

    def listed(self, field: str, *words: Any) -> list[str]:
        *arguments, options = words
        lines = self.run(*arguments, *as_flags(options)).splitlines()
        return [json.loads(line)[field] for line in lines]

    def containers(self) -> list[str]:
        return [json.loads(line)["container"] for line in self.run("ls").splitlines()]


def as_flags(options: Options) -> list[str]:
    flags = {"--" + key.replace("_", "-"): value for key, value in options.items()}
    return [part for flag, value in flags.items() for part in ([flag] if value == "true" else [flag, value])]


def write_all(upload: s3vault.Upload, data: bytes, chunk: int) -> None:
    view = memoryview(data)
    for start in range(0, len(data), chunk):
        upload.write(view[start : start + chunk])


def write_from_offset(upload: s3vault.Upload, step: Step, data: bytes, end: int) -> None:
    """Writes up to byte ``end`` from the offset of the upload, which must be within ``resumes_at``."""
    start = upload.offset
    if "resumes_at" in step:
        least, most = step["resumes_at"]
        assert least <= start <= most
        assert start % (8 * MIB) == 0
    write_all(upload, data[start:end], step.get("chunk", MIB))
    assert upload.offset == end


def read_backwards(source: Any, size: int) -> bytes:
    """Reads by position, the last piece first. A read across the end returns what is left."""
    piece, data = 5_000_000, bytearray(size)
    assert source.pread(10, size) == b""
    for start in reversed(range(0, size, piece)):
        found = source.pread(piece, start)
        assert len(found) == min(piece, size - start)
        data[start : start + len(found)] = found
    return bytes(data)


class Runner:
    """Runs the steps of one case in order, and remembers the versions that they saved."""

    def __init__(self, caller: Any) -> None:
        self.caller = caller
        self.folder: Path = caller.folder
        self.saved: dict[str, s3vault.VersionInfo] = {}

    def run(self, case: Case) -> None:
        for number, step in enumerate(case["steps"], 1):
            with note(f"step {number}: {json.dumps(step)}"):
                if "error" in step:
                    expect_error(step["error"], lambda step=step: self.step(step))
                else:
                    self.step(step)

    def step(self, step: Step) -> None:
        getattr(self, f"do_{step['do']}")(step)

    def options(self, step: Step) -> Options:
        options = {key: self.resolve(value) for key, value in step.get("options", {}).items()}
        return {**options, "checkpoint": str(self.checkpoint(step))} if "checkpoint" in step else options

    def checkpoint(self, step: Step) -> Path:
        return self.folder / f"{step['checkpoint']}.checkpoint"

    def resolve(self, value: str) -> str:
        if not value.startswith("$"):
            return value
        name, _, field = value[1:].partition(".")
        stored = self.saved[name]
        if field == "hash":
            assert stored.manifest_hash is not None
            return stored.manifest_hash
        assert not field, f"{value}: only .hash is known"
        return stored.vid

    def do_put(self, step: Step) -> None:
        data = data_of(step["data"])
        row = self.caller.put(step, data, self.options(step))
        assert (row.container, row.path, row.size) == (step["container"], step["path"], len(data))
        assert len(row.vid) == 26
        if "save" in step:
            self.saved[step["save"]] = row

        if "checkpoint" in step:
            assert not self.checkpoint(step).exists()

    def do_suspend(self, step: Step) -> None:
        self.caller.suspend(step, data_of(step["data"]), self.options(step))
        assert self.checkpoint(step).exists()

    def do_abandon(self, step: Step) -> None:
        self.caller.abandon(step, data_of(step["data"]), self.options(step))

    def do_get(self, step: Step) -> None:
        found = self.caller.get(step, self.options(step))
        expected = data_of(step["data"])
        assert len(found) == len(expected)
        # Not `assert found == expected`: pytest would compare megabytes for its report.
        if found != expected:
            pytest.fail(f"byte {first_difference(found, expected)} differs")

    def do_rm(self, step: Step) -> None:
        row = self.caller.rm(step["container"], step["path"])
        assert (row.kind, row.path) == ("deleted", step["path"])
        self.saved[step.get("save", "")] = row

    def do_undelete(self, step: Step) -> None:
        vid = self.caller.undelete(step["container"], step["path"])
        assert vid == self.resolve(step["expect"])

    def do_delete(self, step: Step) -> None:
        self.caller.delete(step["container"], step["path"], self.resolve(step["version"]))

    def do_prune(self, step: Step) -> None:
        self._job("prune", step)

    def do_sweep(self, step: Step) -> None:
        self._job("sweep", step)

    def do_rotate(self, step: Step) -> None:
        self._job("rotate", step)

    def do_rekey(self, step: Step) -> None:
        self._job("rekey", step)

    def _job(self, name: str, step: Step) -> None:
        items, report = self.caller.job(name, step.get("container", ""), self.options(step))
        words = [item.split(" ") for item in step["expect"]]
        assert items == [f"{action} {self.resolve(vid)}" for action, vid in words]
        assert report["problems"] == 0
        assert sum(report[name] for name in ITEMS) == len(items)
        expected = step.get("report", {})
        assert {name: report[name] for name in expected} == expected

    def do_versions(self, step: Step) -> None:
        expected = [self.resolve(name) for name in step["expect"]]
        assert self.caller.versions(step["container"], step["path"], self.options(step)) == expected

    def do_paths(self, step: Step) -> None:
        assert self.caller.paths(step["container"], step.get("prefix"), self.options(step)) == step["expect"]

    def do_chain(self, step: Step) -> None:
        expected = [self.resolve(name) for name in step["expect"]]
        assert self.caller.chain(step["container"], step["path"], self.options(step)) == expected

    def do_containers(self, step: Step) -> None:
        found = self.caller.containers()
        assert set(step["includes"]) <= set(found)
        assert not set(step.get("excludes", [])) & set(found)

    def do_vault(self, step: Step) -> None:
        self.caller.reopen(step.get("settings", {}), step.get("keyring", "own"))


@contextlib.contextmanager
def note(text: str) -> Iterator[None]:
    """Prints which step failed."""
    try:
        yield
    except Exception:
        print(text)
        raise


def expect_error(name: str, action: Any) -> None:
    with pytest.raises((s3vault.S3VaultError, Failed)) as caught:
        action()
    error: Any = caught.value
    assert error.name == name, str(error)
    assert error.message
    assert error.hint or name not in HINTED


def first_difference(a: bytes, b: bytes) -> int:
    return next(n for n, (x, y) in enumerate(zip(a, b)) if x != y)


def for_command(case: Case) -> bool:
    """Whether the case uses files, and only steps and options that the command has."""
    steps = case["steps"]
    known: dict[str, set[str]] = {"put": {"kind", "parent"}, "get": {"version", "as_of"}}
    ways = {None, "stream", "file"}
    known |= {"versions": {"label"}, "paths": {"as_of", "label"}, "chain": {"version", "as_of"}, "containers": set()}
    known |= {name: set() for name in ("rm", "undelete", "delete")}
    known |= {"prune": {*JOB_FLAGS, "dry_run", "grace"}, "sweep": {"dry_run", "grace"}}
    known |= {"vault": set(), "rotate": {"dry_run"}, "rekey": {"path", "version", "dry_run", "through_client"}}
    has_file = any("file" in (step.get("from"), step.get("to")) for step in steps)
    return has_file and all(
        step["do"] in known
        and set(step.get("options", {})) <= known[step["do"]]
        and {step.get("from"), step.get("to")} <= ways
        for step in steps
    )


def renamed(case: Case) -> Case:
    """The same case in other containers: its run with the API left versions in the bucket."""

    def name(container: str) -> str:
        return f"{container} by command"

    def step_renamed(step: Step) -> Step:
        if step.get("error") == "S3V_E_INVALID_NAME" or "container" not in step:
            return {**step, **{key: [name(c) for c in step[key]] for key in ("includes", "excludes") if key in step}}
        return {**step, "container": name(step["container"])}

    return {**case, "steps": [step_renamed(step) for step in case["steps"]]}


@pytest.mark.parametrize("case", by_name(WITH_STORE))
def test_case(case: Case, keyring_file: Path, tmp_path: Path) -> None:
    Runner(Api(s3vault.Keyring.open(keyring_file), tmp_path)).run(case)


@pytest.mark.parametrize("case", by_name([renamed(case) for case in WITH_STORE if for_command(case)]))
def test_case_by_command(case: Case, keyring_file: Path, tmp_path: Path) -> None:
    Runner(Command(keyring_file, tmp_path)).run(case)


@pytest.mark.parametrize("case", by_name(OFFLINE))
def test_offline_case(case: Case) -> None:
    verify = case["verify"]
    found = s3vault.verify_manifest(verify["object"].encode(), verify["public_keys"])
    assert found.verdict == verify["expect"]["verdict"], found.reason

"""The API: lifetimes, buffers, exceptions, errors."""

from __future__ import annotations

import array
import dataclasses
import gc
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from stalling_store import UPLOAD_ID, stalling_store
from stream import stream

import s3vault
from s3vault import ErrorCode, S3VaultError, _abi, _ffi

MIB = 1 << 20
# Larger than a part, so that an upload can end in the middle.
LARGE = stream(20 * MIB, 1)
# Takes so long that progress is reported in the middle.
HUGE = 400 * MIB


def vids(vault: s3vault.Vault, container: str, path: str) -> list[str]:
    return [row.vid for row in vault.versions(container, path)]


def raised(code: ErrorCode) -> pytest.RaisesExc[S3VaultError]:
    return pytest.RaisesExc(S3VaultError, check=lambda error: error.code == code)


# Lifetimes


def test_reads_in_order_are_one_verified_stream(
    vault: s3vault.Vault, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read by position is not verified with ``verify="end"``."""
    with vault.create(container, "p") as f:
        f.write(LARGE)
    assert f.version is not None

    def refuse(*arguments: Any) -> int:
        raise AssertionError("a read in order became one by position")

    monkeypatch.setattr(s3vault.Download, "pread_into", refuse)
    with f.version.open() as source:
        assert b"".join(iter(lambda: source.read(1 << 20), b"")) == LARGE


def test_a_clean_exit_commits(vault: s3vault.Vault, container: str) -> None:
    before = datetime.now(timezone.utc) - timedelta(minutes=1)
    with vault.create(container, "a/b c/ü") as f:
        assert f.write(b"hello ") == 6
        assert f.write(b"world") == 5
        assert f.tell() == 11
        assert f.version is None
    assert f.closed
    assert f.version is not None
    info = f.version.info
    assert (info.container, info.path, info.kind, info.parent, info.size) == (container, "a/b c/ü", "full", None, 11)
    assert re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", info.vid)
    assert re.fullmatch("[0-9a-f]{64}", info.manifest_hash or "")
    assert before < info.initiated <= before + timedelta(hours=1)
    assert info.recorded.tzinfo is timezone.utc
    found = vault.find(container, "a/b c/ü", pin=info.manifest_hash)
    assert found.info == info
    with found.open() as source:
        assert source.read() == b"hello world"
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.size = 12


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["one PUT", "parts"])
def test_an_exception_stores_nothing(vault: s3vault.Vault, container: str, data: bytes) -> None:
    error = RuntimeError("the source broke")
    with pytest.raises(RuntimeError) as caught, vault.create(container, "p") as f:
        f.write(data)
        raise error
    assert caught.value is error
    assert f.version is None
    assert f.closed
    assert vids(vault, container, "p") == []


def test_a_bare_close_stores_nothing(vault: s3vault.Vault, container: str) -> None:
    f = vault.create(container, "p")
    f.write(LARGE)
    f.close()
    f.close()
    assert vids(vault, container, "p") == []
    with pytest.raises(ValueError, match="closed"):
        f.write(b"more")
    with pytest.raises(ValueError, match="closed"):
        f.commit()
    with raised(ErrorCode.WRONG_STATE), vault.create(container, "p") as f:
        f.write(b"x")
        f.close()
    assert f.version is None
    assert vids(vault, container, "p") == []


def test_a_collected_upload_stores_nothing_and_warns(vault: s3vault.Vault, container: str) -> None:
    f = vault.create(container, "p")
    f.write(b"x")
    with pytest.warns(ResourceWarning, match="nothing was stored"):
        del f
        gc.collect()
    assert vids(vault, container, "p") == []


def test_commit_twice_returns_the_same_version(vault: s3vault.Vault, container: str) -> None:
    with vault.create(container, "p") as f:
        f.write(b"x")
        version = f.commit()
        assert f.commit() is version
    assert f.version is version
    assert vids(vault, container, "p") == [version.info.vid]


def test_an_upload_is_a_writable_file(vault: s3vault.Vault, container: str) -> None:
    with vault.create(container, "p") as f:
        assert f.writable()
        assert not f.readable()
        text = io.TextIOWrapper(io.BufferedWriter(f), encoding="utf-8")
        print("line", file=text)
        text.flush()
        # Otherwise its collection would close the upload before the commit.
        text.detach().detach()
    assert vault.find(container, "p").open().read() == b"line\n"


def test_children_outlive_their_vault(keyring_file: Path, container: str, tmp_path: Path) -> None:
    vault = s3vault.open(s3vault.Config().env(), keyring=keyring_file)
    with vault.create(container, "p") as f:
        vault.close()
        f.write(b"x")
    version = f.version
    assert version is not None
    with pytest.raises(ValueError, match="closed"):
        vault.find(container, "p")
    source = version.open()
    del version, f, vault
    gc.collect()
    assert source.read() == b"x"


def test_threads_share_a_vault_and_a_version(vault: s3vault.Vault, container: str) -> None:
    def store(number: int) -> str:
        with vault.create(container, f"p{number}") as f:
            f.write(stream(MIB, number))
        assert f.version is not None
        return f.version.info.vid

    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(store, range(4)))
        assert [row.vid for row in vault.paths(container)] == stored
        shared = vault.find(container, "p3")
        for data in pool.map(lambda _: shared.open().read(), range(4)):
            assert data == stream(MIB, 3)


# Finding and listing


def test_versions_by_id_and_by_time(vault: s3vault.Vault, container: str) -> None:
    stored = []
    for number in range(3):
        with vault.create(container, "p") as f:
            f.write(b"%d" % number)
        assert f.version is not None
        stored.append(f.version.info)
    newest_first = [
        dataclasses.replace(info, manifest_hash=None, signed_by=None, labels=None) for info in reversed(stored)
    ]
    assert list(vault.versions(container, "p")) == newest_first
    assert vault.find(container, "p").info.vid == stored[2].vid
    assert vault.find(container, "p", version=stored[0].vid).open().read() == b"0"
    middle = stored[1].recorded
    expected = [info for info in stored if info.recorded <= middle][-1]
    zone = timezone(timedelta(hours=5, minutes=30))
    for as_of in (middle, middle.astimezone(zone), middle.isoformat()):
        assert vault.find(container, "p", as_of=as_of).info.vid == expected.vid
    with raised(ErrorCode.NOT_FOUND):
        vault.find(container, "p", as_of=stored[0].recorded - timedelta(milliseconds=1))
    with pytest.raises(ValueError, match="time zone"):
        vault.find(container, "p", as_of=datetime(2026, 1, 1))
    with raised(ErrorCode.PIN_MISMATCH):
        vault.find(container, "p", version=stored[0].vid, pin=stored[1].manifest_hash)


def test_an_incremental_names_its_parent(vault: s3vault.Vault, container: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"full")
    full = vault.put_file(container, "p", source)
    source.write_bytes(b"delta")
    delta = vault.put_file(container, "p", source, kind="incremental", parent=full.info.vid)
    assert (delta.info.kind, delta.info.parent) == ("incremental", full.info.vid)
    with raised(ErrorCode.BAD_PARENT):
        vault.create(container, "other", kind="incremental", parent=full.info.vid)


def test_paths_and_containers(vault: s3vault.Vault, container: str) -> None:
    for path in ("etc/b", "etc/a", "var/c"):
        with vault.create(container, path) as f:
            f.write(path.encode())
    assert [row.path for row in vault.paths(container)] == ["etc/a", "etc/b", "var/c"]
    rows = list(vault.paths(container, "etc/"))
    assert [(row.container, row.path, row.size) for row in rows] == [(container, "etc/a", 5), (container, "etc/b", 5)]
    assert container in list(vault.containers())
    ended = vault.paths(container)
    assert len(list(ended)) == 3
    assert next(ended, None) is None


# Buffers


@pytest.mark.parametrize(
    "data",
    [b"12345678", bytearray(b"12345678"), memoryview(b"12345678"), memoryview(bytearray(b"12345678")),
     memoryview(b"0123456789")[1:9], array.array("I", [0x34333231, 0x38373635]), b""],
    ids=["bytes", "bytearray", "read-only view", "view", "part of a view", "array", "empty"],
)  # fmt: skip
def test_writes_any_bytes(vault: s3vault.Vault, container: str, data: bytes) -> None:
    with vault.create(container, "p") as f:
        assert f.write(data) == memoryview(data).nbytes
    expected = memoryview(data).tobytes()
    assert expected in (b"12345678", b"")
    assert vault.find(container, "p").open().read() == expected


def test_refuses_objects_that_are_not_contiguous_bytes(vault: s3vault.Vault, container: str) -> None:
    with vault.create(container, "p") as f:
        with pytest.raises(TypeError):
            f.write("text")
        with pytest.raises(BufferError):
            f.write(memoryview(b"123456")[::2])
        f.write(b"x")
    source = vault.find(container, "p").open()
    raw: Any = source.raw
    for target, error in ((b"12", BufferError), (memoryview(bytearray(4))[::2], BufferError), ("text", TypeError)):
        with pytest.raises(error):
            raw.readinto(target)
    assert raw.read(5) == b"x"


def test_reads_into_the_callers_memory(vault: s3vault.Vault, container: str) -> None:
    with vault.create(container, "p") as f:
        f.write(LARGE)
    with vault.find(container, "p").open() as source:
        raw: Any = source.raw
        target = bytearray(len(LARGE) + 100)
        filled = 0
        while count := raw.readinto(memoryview(target)[filled:]):
            filled += count
        assert filled == len(LARGE)
        assert target == LARGE + bytes(100)
        assert raw.readinto(bytearray(0)) == 0
    with vault.find(container, "p").open() as source:
        assert source.read(10) == LARGE[:10]
        assert source.readinto(memoryview(target)[:MIB]) == MIB
        assert target[:MIB] == LARGE[10 : 10 + MIB]
    assert source.raw.closed
    with pytest.raises(ValueError, match="closed"):
        source.raw.read()


# Exceptions and interrupts


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_exception_of_a_progress_function_is_raised(
    vault: s3vault.Vault, container: str, tmp_path: Path, error: BaseException
) -> None:
    source = tmp_path / "source"
    with source.open("wb") as sparse:
        sparse.truncate(HUGE)

    def progress(_: s3vault.Progress) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        vault.put_file(container, "file", source, progress=progress)
    assert caught.value is error
    with pytest.raises(type(error)) as caught, vault.create(container, "stream", progress=progress) as f:
        for _ in range(HUGE // len(LARGE)):
            f.write(LARGE)
    assert caught.value is error
    assert list(vault.paths(container)) == []
    vault.put_file(container, "file", source)
    target = tmp_path / "target"
    with pytest.raises(type(error)) as caught:
        vault.find(container, "file").restore(target, progress=progress)
    assert caught.value is error
    # The exception may come with the last event, when all is restored. An incomplete file never appears under the name;
    # the draft is what the next restore resumes.
    left = {p.name: p.stat().st_size for p in tmp_path.iterdir() if not p.name.endswith(".restoring")}
    assert left in ({"source": HUGE}, {"source": HUGE, "target": HUGE})


def test_progress_counts_to_the_end(vault: s3vault.Vault, container: str, tmp_path: Path) -> None:
    source, seen = tmp_path / "source", list[s3vault.Progress]()
    source.write_bytes(LARGE)
    version = vault.put_file(container, "p", source, progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (len(LARGE), len(LARGE))
    assert all(a.done <= b.done for a, b in zip(seen, seen[1:]))
    seen.clear()
    version.restore(tmp_path / "target", progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (len(LARGE), len(LARGE))
    seen.clear()
    with vault.create(container, "q", progress=seen.append) as f:
        f.write(LARGE)
        # The size of a stream is not known before its end.
        assert {p.total for p in seen} <= {None}
    assert seen[-1].done == len(LARGE)


def test_cancel_from_another_thread(silent_store: str) -> None:
    cancel = s3vault.Cancel()
    config = s3vault.Config().env().set("api_url", silent_store).set("idle_timeout_ms", 3_600_000)
    timer = threading.Timer(0.3, cancel.trigger)
    timer.start()
    with raised(ErrorCode.CANCELLED) as caught:
        s3vault.open(config, cancel=cancel)
    timer.join()
    assert caught.value.flags == s3vault.ErrorFlag.LOCAL


def test_ctrl_c_ends_a_call_that_waits_for_the_store(silent_store: str) -> None:
    program = """
        import os, signal, threading, s3vault
        config = s3vault.Config().env().set("api_url", os.environ["SILENT"]).set("idle_timeout_ms", 3_600_000)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            s3vault.open(config)
        except KeyboardInterrupt:
            print("interrupted")
    """
    # The call itself would take an hour; the test waits for two minutes.
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "SILENT": silent_store},
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"interrupted\n", b"")


def test_an_upload_that_is_interrupted_in_a_write_is_aborted_before_the_process_ends() -> None:
    program = """
        import os, s3vault
        config = s3vault.Config().env().set("api_url", os.environ["STALLING"]).set("bucket", "backups")
        config.set("idle_timeout_ms", 3_600_000)
        s3vault.process.set(memory="32M")

        def interrupt(progress):
            if progress.done > 0:
                raise KeyboardInterrupt

        with s3vault.open(config).create("c", "p", progress=interrupt) as upload:
            while True:
                upload.write(bytes(1 << 20))
    """
    with stalling_store(refuses=True) as store:
        # The interpreter keeps the exception to its end, and with it the variables of all functions in its traceback.
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env={**os.environ, "STALLING": store.url},
            capture_output=True,
            timeout=120,
            check=False,
        )
    assert b"KeyboardInterrupt" in done.stderr
    assert len(store.aborts) == 1, done.stderr
    assert f"upload {UPLOAD_ID} of s3://backups/c/p stays on the store".encode() in done.stderr


def test_a_signal_handler_that_returns_does_not_stop_the_call(vault: s3vault.Vault, container: str) -> None:
    ran = list[int]()
    before = signal.signal(signal.SIGUSR1, lambda number, _: ran.append(number))
    try:
        with vault.create(container, "p", progress=lambda _: os.kill(os.getpid(), signal.SIGUSR1)) as f:
            f.write(LARGE)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ran
    assert vault.find(container, "p").info.size == len(LARGE)


# Errors


def test_an_error_has_the_reply_of_the_store_and_a_hint(vault: s3vault.Vault) -> None:
    config = s3vault.Config().env().set("secret_key", "wrong")
    with raised(ErrorCode.SIGNATURE_REFUSED) as caught:
        s3vault.open(config)
    error = caught.value
    assert error.name == "S3V_E_SIGNATURE_REFUSED"
    assert (error.http_status, error.s3_code) == (403, "SignatureDoesNotMatch")
    assert error.operation
    assert error.bucket == os.environ["S3VAULT_BUCKET"]
    assert s3vault.ErrorFlag.REMOTE in error.flags
    assert "secret_key" in error.hint
    assert str(error) == f"{error.message} ({error.hint})"
    assert error.exit_code == 4
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error)


def test_each_code_has_the_flag_of_its_family() -> None:
    flags = {row.family: S3VaultError(ErrorCode(row.code), "x").flags for row in s3vault.ERRORS}
    assert flags == {family: s3vault.ErrorFlag[family.upper()] for family in ("misuse", "remote", "transport", "local")}


def test_an_unknown_option_names_the_nearest(vault: s3vault.Vault, container: str) -> None:
    with raised(ErrorCode.UNKNOWN_OPTION) as caught:
        s3vault.Config({"acces_key": "x"})
    assert "access_key" in caught.value.hint
    with raised(ErrorCode.UNKNOWN_OPTION) as caught:
        vault.create(container, "p", kid="full")  # type: ignore[call-arg]
    assert "'kind'" in caught.value.hint
    with raised(ErrorCode.INVALID_OPTION):
        vault.create(container, "p", kind="half")
    with raised(ErrorCode.INVALID_OPTION):
        vault.create(container, "p", version="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "..", "a" * 201], ids=ascii)
def test_refused_names(vault: s3vault.Vault, container: str, name: str) -> None:
    with raised(ErrorCode.INVALID_NAME):
        vault.create(name, "p")
    with raised(ErrorCode.INVALID_NAME):
        vault.create(container, name)


def test_names_must_be_strings(vault: s3vault.Vault) -> None:
    with pytest.raises(TypeError, match="the container must be a str, not bytes"):
        vault.create(b"c", "p")  # type: ignore[arg-type]
    with raised(ErrorCode.INVALID_ARGUMENT):
        vault.put_file("c", "p", "a\0b")


def test_settings_are_printed_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "s3vault.toml"
    file.write_text('bucket = "from-file"\nsecret_key = "hush"\npath_style = false\n')
    config = s3vault.Config().load(file).set("region", "eu-central-1")
    assert (config.get("bucket"), config.get("region"), config.get("path_style")) == (
        "from-file",
        "eu-central-1",
        "false",
    )
    assert config.get("secret_key") == "***"
    assert "hush" not in repr(config)
    assert "from-file" in repr(config)
    assert config.env().get("bucket") == os.environ["S3VAULT_BUCKET"]
    file.write_text('buckett = "x"\n')
    with raised(ErrorCode.UNKNOWN_OPTION):
        s3vault.Config().load(file)
    with raised(ErrorCode.CONFIG):
        s3vault.Config().load(tmp_path / "missing.toml")


def test_the_repr_of_a_vault_names_the_store_and_no_secret(vault: s3vault.Vault, keyring_file: Path) -> None:
    settings = s3vault.Config().env()
    where = f"api_url={settings.get('api_url')!r}, bucket={settings.get('bucket')!r}"
    with s3vault.open(settings, keyring=keyring_file) as opened:
        assert repr(opened) == f"Vault({where})"
        assert os.environ["S3VAULT_SECRET_KEY"] not in repr(opened)
    assert repr(opened) == f"Vault({where}, closed)"


def test_public_names_are_those_that_users_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import s3vault; s3vault.Config({'bukket': 'x'})"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].startswith("s3vault.S3VaultError: ")
    for name in s3vault.__all__:
        public = getattr(s3vault, name)
        if isinstance(public, type):
            assert f"{public.__module__}.{public.__qualname__}" == f"s3vault.{name}"
            assert pickle.loads(pickle.dumps(public)) is public


# Keys and manifests


def test_a_keyring_file_opens_again(tmp_path: Path) -> None:
    file = tmp_path / "vault.keys"
    made = s3vault.Keyring.create(file)
    assert re.fullmatch("ed25519 [0-9a-f]{16} [A-Za-z0-9+/]{43}=", made.public)
    assert made.public.split()[1] == made.id
    assert file.stat().st_mode & 0o777 == 0o600
    for source in (file, str(file), file.read_bytes(), bytearray(file.read_bytes())):
        assert s3vault.Keyring.open(source).public == made.public
    content = file.read_bytes()
    with raised(ErrorCode.KEYRING):
        s3vault.Keyring.create(file)
    assert file.read_bytes() == content
    with raised(ErrorCode.KEYRING):
        s3vault.Keyring.open(tmp_path / "missing.keys")
    with raised(ErrorCode.KEYRING):
        s3vault.Keyring.open(b"not a keyring")
    assert s3vault.Keyring.create().public != s3vault.Keyring.create().public


def test_the_verdict_on_a_manifest(vault: s3vault.Vault, keyring_file: Path, container: str) -> None:
    with vault.create(container, "p") as f:
        f.write(b"signed")
    assert f.version is not None
    manifest, public = f.version.manifest(), s3vault.Keyring.open(keyring_file).public
    good = s3vault.verify_manifest(manifest, public)
    assert (good.verdict, good.info, good.key_id) == ("good", f.version.info, public.split()[1])
    assert good.parts == 1
    assert s3vault.verify_manifest(bytearray(manifest), public) == good
    other = s3vault.verify_manifest(manifest, s3vault.Keyring.create().public)
    assert other.verdict == "bad"
    assert other.reason
    assert s3vault.verify_manifest(manifest.replace(b'"full"', b'"Full"'), public).verdict == "bad"
    assert s3vault.verify_manifest(b"no manifest", public).verdict == "bad"


def test_a_vault_without_a_keyring_stores_unsigned(keyring_file: Path, vault: s3vault.Vault, container: str) -> None:
    with s3vault.open(s3vault.Config().env()) as unsigned, unsigned.create(container, "p") as f:
        f.write(b"x")
    assert f.version is not None
    public = s3vault.Keyring.open(keyring_file).public
    assert s3vault.verify_manifest(f.version.manifest(), public).verdict == "unsigned"
    assert f.version.info.signed_by is None
    with raised(ErrorCode.UNTRUSTED):
        vault.find(container, "p").open().read()


def test_the_setting_keyring_is_opened(keyring_file: Path, container: str) -> None:
    config = s3vault.Config().env().set("keyring", str(keyring_file))
    with s3vault.open(config) as vault, vault.create(container, "p") as f:
        f.write(b"x")
    assert f.version is not None
    public = s3vault.Keyring.open(keyring_file).public
    verdict = s3vault.verify_manifest(f.version.manifest(), public)
    assert (verdict.verdict, verdict.key_id) == ("good", public.split()[1])
    assert f.version.info.signed_by == verdict.key_id
    assert verdict.info is not None
    assert verdict.info.signed_by == verdict.key_id


# What was seen


def remove_newest(container: str, vid: str) -> None:
    """What somebody who may delete objects, and has no key, can do: the catalogue's entry of a version is gone."""
    bucket = boto3.resource(
        "s3",
        endpoint_url=os.environ["S3VAULT_API_URL"],
        aws_access_key_id=os.environ["S3VAULT_ACCESS_KEY"],
        aws_secret_access_key=os.environ["S3VAULT_SECRET_KEY"],
        region_name="us-east-1",
        verify=os.environ.get("S3VAULT_CA_FILE"),
    ).Bucket(os.environ["S3VAULT_BUCKET"])
    bucket.object_versions.filter(Prefix=f"_s3vault/1/cat/{container}/p/{vid}").delete()


def test_a_store_that_shows_an_older_version_as_the_newest_is_found_out(
    keyring_file: Path, container: str, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    config = s3vault.Config().env().set("seen", str(seen))
    with s3vault.open(config, keyring=keyring_file) as vault:
        with vault.create(container, "p") as f:
            f.write(b"first")
        with vault.create(container, "p") as g:
            g.write(b"second")
        assert f.version is not None
        assert g.version is not None
        first, second = f.version.info.vid, g.version.info.vid
        assert vault.find(container, "p").info.vid == second
    assert seen.stat().st_mode & 0o777 == 0o600
    remove_newest(container, second)
    with s3vault.open(config, keyring=keyring_file) as vault:
        with pytest.raises(S3VaultError) as caught:
            vault.find(container, "p")
        assert caught.value.code == ErrorCode.ROLLED_BACK
        assert first in caught.value.message
        assert second in caught.value.message
        assert str(seen) in caught.value.hint
        # What was asked for by name or by time is not the newest.
        assert vault.find(container, "p", version=first).info.vid == first
        assert vault.find(container, "p", as_of="2999-01-01").info.vid == first
    # Without the note nobody knows.
    with s3vault.open(s3vault.Config().env(), keyring=keyring_file) as vault:
        assert vault.find(container, "p").info.vid == first
        remove_newest(container, first)
    with s3vault.open(config, keyring=keyring_file) as vault:
        with pytest.raises(S3VaultError) as caught:
            vault.find(container, "p")
        assert caught.value.code == ErrorCode.NOT_FOUND
        assert f"this machine has seen is {second}" in caught.value.message


def test_a_backup_of_another_machine_is_noted_when_it_is_found(
    vault: s3vault.Vault, keyring_file: Path, container: str, tmp_path: Path
) -> None:
    config = s3vault.Config().env().set("seen", str(tmp_path / "seen"))
    vids = []
    with s3vault.open(config, keyring=keyring_file) as reader:
        for data in (b"1", b"2", b"3"):
            with vault.create(container, "p") as f:
                f.write(data)
            assert f.version is not None
            vids.append(f.version.info.vid)
            assert reader.find(container, "p").info.vid == vids[-1]
        notes = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
        assert [note["vid"] for note in notes] == vids


# Library and tables


def test_the_tables_equal_those_of_the_library() -> None:
    options = json.loads(_ffi.lib.s3v_settings_json())
    rows = [{**row._asdict(), "words": list(row.words), "calls": list(row.calls)} for row in s3vault.OPTIONS]
    assert rows == options
    assert {row.code for row in s3vault.ERRORS} == set(ErrorCode)


def test_an_option_of_another_call_is_refused_and_the_error_names_its_call(vault: s3vault.Vault) -> None:
    with pytest.raises(S3VaultError) as caught:
        vault.find("c", "p", holes=True)  # type: ignore[call-arg]
    assert caught.value.code == ErrorCode.INVALID_OPTION
    assert caught.value.message == "option holes is for restore, not for find"


def test_every_function_of_the_header_is_in_the_table() -> None:
    header = (Path(__file__).resolve().parents[3] / "include" / "s3vault.h").read_text()
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    assert set(re.findall(r"\b(s3v_\w+)\s*\(", code)) == set(_abi.FUNCTIONS)


def test_pointers_of_different_kinds_do_not_mix(vault: s3vault.Vault) -> None:
    with pytest.raises(Exception, match="argument 1"):
        _ffi.lib.s3v_version_info(vault._handle)


@pytest.mark.parametrize(
    ("library", "says"), [("/dev/null", "cannot load the library"), ("libc.so.6", "s3v_abi_version")]
)
def test_a_wrong_library_is_named(library: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import s3vault"],
        env={**os.environ, "S3VAULT_LIBRARY": library},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert says in done.stderr
    assert library in done.stderr

"""Keys are added by many processes, escrowed, and restored; an age tool opens what was exported, and the other way."""

from __future__ import annotations

import base64
import functools
import gc
import hashlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import s3vault
from s3vault import ErrorCode, Keyring, S3VaultError, _keyring

PASSPHRASE = "correct horse battery staple"
# age, or a program with the same command line.
AGE = os.environ.get("S3VAULT_TEST_AGE", "age")


def current(keyring: Keyring) -> str:
    (kek,) = (kek.id for kek in keyring.info.keks if kek.current)
    return kek


def on_terminal(argv: list[str], answers: list[str], **options: Any) -> tuple[int, str]:
    """Runs a program on a terminal of its own, and types an answer at each prompt. Returns its exit code and output."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.chdir(options.get("cwd", "."))
            os.execvpe(argv[0], argv, {**os.environ, **options.get("env", {})})
        finally:
            os._exit(127)
    shown, end, pending = b"", time.monotonic() + 60, list(answers)
    asked = 0
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            # A program that waits after a prompt is asking.
            if pending and re.search(rb"[Pp]assphrase[^\n]*: ?[^\n]*$", shown[asked:]):
                asked = len(shown)
                os.write(terminal, pending.pop(0).encode() + b"\n")
            continue
        try:
            read = os.read(terminal, 4096)
        except OSError:
            break
        if not read:
            break
        shown += read
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode(errors="replace")


class Command:
    """The command, without settings of its user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("S3VAULT_")}
        for name in ("S3VAULT_LIBRARY",):
            if name in os.environ:
                kept[name] = os.environ[name]
        self.environment = {**kept, "HOME": str(folder)}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "s3vault", *arguments]

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env={**self.environment, **settings},
            check=False,
            start_new_session=True,
        )

    def rows(self, *arguments: str, **settings: str) -> list[dict[str, Any]]:
        done = self.run("--json", *arguments, **settings)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def error(self, *arguments: str) -> dict[str, Any]:
        done = self.run("--json", *arguments)
        assert done.returncode != 0
        error: dict[str, Any] = json.loads(done.stderr)["error"]
        return error


@pytest.fixture
def command(tmp_path: Path) -> Command:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    return Command(tmp_path)


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, str]:
    """A file of age-keygen, and its recipient."""
    file = tmp_path / "identity.txt"
    subprocess.run([f"{AGE}-keygen", "-o", str(file)], check=True, capture_output=True)
    return file, subprocess.check_output([f"{AGE}-keygen", "-y", str(file)], text=True).strip()


def test_a_key_of_an_hsm_wraps_the_keys_of_backups(container: str) -> None:
    hsm, kek = AESGCM(os.urandom(32)), hashlib.sha256(b"pkcs11:object=backups").hexdigest()[:16]
    threads: set[int] = set()
    lost = threading.Event()

    def wrap(data_key: bytes, associated: bytes) -> bytes:
        threads.add(threading.get_ident())
        if lost.is_set():
            raise OSError("the token was removed")
        nonce = os.urandom(12)
        return nonce + hsm.encrypt(nonce, data_key, associated)

    def unwrap(wrapped: bytes, associated: bytes) -> bytes:
        return hsm.decrypt(wrapped[:12], wrapped[12:], associated)

    held = len(_keyring._held)
    keyring = Keyring.create().custom(kek, wrap, unwrap)
    assert [(known.id, known.external) for known in keyring.info.keks if known.current] == [(kek, True)]
    config = s3vault.Config({"encryption": "envelope"}).env()
    with s3vault.open(config, keyring=keyring) as vault:
        with vault.create(container, "disk") as upload:
            upload.write(b"bytes")
        with vault.find(container, "disk").open() as restored:
            assert restored.read() == b"bytes"
        assert threads
        assert threading.get_ident() not in threads
        lost.set()
        with pytest.raises(S3VaultError, match="the token was removed") as refused:
            vault.create(container, "disk")
        assert refused.value.code == ErrorCode.EXTERNAL_KEY
        assert kek in refused.value.message
    with pytest.raises(S3VaultError) as refused:
        keyring.custom(kek, wrap, unwrap)
    assert refused.value.code == ErrorCode.INVALID_ARGUMENT
    del keyring, vault, upload, restored, refused
    gc.collect()
    assert len(_keyring._held) == held


def test_a_new_signing_key_leaves_older_backups_trusted_until_the_old_one_is_distrusted(
    container: str, tmp_path: Path
) -> None:
    config = s3vault.Config({"encryption": "envelope"}).env()
    keyring = Keyring.create(tmp_path / "vault.keys")
    stolen = Keyring.open(keyring.to_bytes())

    def put(keyring: Keyring, path: str) -> str | None:
        with s3vault.open(config, keyring=keyring) as vault:
            with vault.create(container, path) as upload:
                upload.write(path.encode())
            return upload.commit().info.signed_by

    def get(path: str) -> bytes:
        with (
            s3vault.open(config, keyring=tmp_path / "vault.keys") as vault,
            vault.find(container, path).open() as restored,
        ):
            return restored.read()

    old = keyring.id
    assert put(keyring, "before") == old
    new = keyring.new_signing_key()
    assert Keyring.open(tmp_path / "vault.keys").info == keyring.info
    assert (keyring.id, [public.split()[1] for public in keyring.info.earlier]) == (new, [old])
    # A program that has opened the file before still changes it.
    assert put(keyring, "after") == new
    assert put(stolen, "stolen") == old
    for path in ("before", "after", "stolen"):
        assert get(path) == path.encode()
    # An escrow file has both, and trusts both.
    escrow = keyring.export(passphrase=PASSPHRASE)
    restored = Keyring.restore(escrow, PASSPHRASE)
    assert restored.info == keyring.info
    assert restored.import_(escrow, PASSPHRASE).verify_keys == (keyring.public, *keyring.info.earlier)
    # A copy from before the new signing key still brings its other keys, and no signing key.
    assert keyring.import_(stolen.export(passphrase=PASSPHRASE), PASSPHRASE).added == ()
    assert keyring.id == new
    with pytest.raises(S3VaultError) as refused:
        keyring.distrust(new)
    assert refused.value.code == ErrorCode.KEYRING
    keyring.distrust(old)
    assert keyring.info.earlier == ()
    assert get("after") == b"after"
    for path in ("before", "stolen"):
        with pytest.raises(S3VaultError) as refused:
            get(path)
        assert refused.value.code == ErrorCode.UNTRUSTED


def test_a_put_does_not_resume_under_a_new_signing_key(container: str, tmp_path: Path) -> None:
    keyring, checkpoint = Keyring.create(tmp_path / "vault.keys"), tmp_path / "checkpoint"
    with s3vault.open(s3vault.Config().env(), keyring=keyring) as vault:
        vault.create(container, "p", checkpoint=checkpoint).suspend()
    saved = checkpoint.read_bytes()
    keyring.new_signing_key()
    with s3vault.open(s3vault.Config().env(), keyring=keyring) as vault:
        with pytest.raises(S3VaultError) as refused:
            vault.create(container, "p", checkpoint=checkpoint)
        assert refused.value.code == ErrorCode.BAD_CHECKPOINT
        assert "another signing key" in str(refused.value)
        assert "remove the checkpoint" in (refused.value.hint or "")
        assert checkpoint.read_bytes() == saved
        checkpoint.unlink()
        with vault.create(container, "p", checkpoint=checkpoint) as upload:
            upload.write(b"from the start")
        assert upload.commit().info.signed_by == keyring.id


def test_who_wraps_data_keys_with_a_key_that_was_never_exported_is_warned(
    container: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keyring = Keyring.create(tmp_path / "vault.keys")
    foreign = tmp_path / "foreign.keys"
    foreign.write_text(json.dumps({"key": f"{container}/none", "sse_c_key": base64.b64encode(bytes(32)).decode()}))
    foreign.chmod(0o600)

    def warned(act: Callable[..., Any], **given: Any) -> bool:
        caplog.clear()
        act(**given)
        return f"{current(keyring)} was never exported" in caplog.text

    def put(vault: s3vault.Vault) -> None:
        with vault.create(container, "p") as upload:
            upload.write(b"p")

    for escrowed in (False, True):
        with (
            s3vault.open(s3vault.Config({"encryption": "envelope"}).env(), keyring=keyring) as vault,
            s3vault.open(s3vault.Config({"encryption": "none"}).env(), keyring=keyring) as plain,
        ):
            assert warned(put, vault=vault) != escrowed
            assert not warned(put, vault=plain)
            # These wrap whatever new backups are stored with.
            adopt = functools.partial(plain.adopt, adopt_keys=str(foreign))
            for job in (plain.rotate, plain.rekey, adopt):
                assert warned(job, container=container) != escrowed
                assert not warned(job, container=container, dry_run=True)
            assert not warned(plain.adopt, container=container)
        keyring.export(passphrase=PASSPHRASE)


def test_the_command_makes_a_new_signing_key_and_distrusts_the_old_one(command: Command) -> None:
    (made,) = command.rows("keys", "new", "vault.keys")
    (new,) = command.rows("keys", "new-signing-key", "vault.keys")
    assert (new["earlier"], new["id"] == made["id"]) == (made["id"], False)
    signing, earlier, _ = command.rows("keys", "list", "vault.keys")
    assert (signing["id"], earlier["type"], earlier["id"]) == (new["id"], "earlier", made["id"])
    assert f"{made['id']}  earlier" in command.run("keys", "list", "vault.keys").stdout
    assert command.error("keys", "distrust", "vault.keys", new["id"])["name"] == "S3V_E_KEYRING"
    command.rows("keys", "distrust", "vault.keys", made["id"])
    assert [row["type"] for row in command.rows("keys", "list", "vault.keys")] == ["signing", "kek"]
    assert made["id"] not in (command.folder / "vault.keys").read_text()


def test_a_later_key_becomes_current_after_its_export(tmp_path: Path) -> None:
    keyring = Keyring.create(tmp_path / "vault.keys")
    first, second = current(keyring), keyring.add()
    with pytest.raises(S3VaultError) as refused:
        keyring.activate(second)
    assert refused.value.code == ErrorCode.KEYRING
    assert current(keyring) == first
    written = keyring.export(passphrase=PASSPHRASE, file=tmp_path / "escrow.age")
    assert (tmp_path / "escrow.age").read_bytes() == written
    assert (tmp_path / "escrow.age").stat().st_mode & 0o777 == 0o600
    keyring.activate(second)
    again = Keyring.open(tmp_path / "vault.keys")
    assert again.info == keyring.info
    assert [(kek.escrowed, kek.current) for kek in again.info.keks] == [(True, False), (True, True)]
    assert Keyring.open(keyring.to_bytes()).info == keyring.info


def test_an_export_is_for_a_passphrase_or_for_recipients() -> None:
    keyring = Keyring.create()
    for both in ({}, {"passphrase": "x", "recipients": ["age1x"]}):
        with pytest.raises(S3VaultError) as refused:
            keyring.export(**both)  # type: ignore[arg-type]
        assert refused.value.code == ErrorCode.INVALID_ARGUMENT
    assert not keyring.info.keks[0].escrowed


def test_age_opens_an_escrow_file_for_a_recipient(tmp_path: Path, identity: tuple[Path, str]) -> None:
    keyring = Keyring.create()
    added = keyring.add()
    config = s3vault.Config({"bucket": "backups", "secret_key": "hidden-secret", "region": "eu-west-1"})
    keyring.export(recipients=[identity[1]], config=config, file=tmp_path / "escrow.age")
    opened = subprocess.check_output([AGE, "-d", "-i", str(identity[0]), str(tmp_path / "escrow.age")])
    escrow = json.loads(opened)
    assert (escrow["format"], escrow["escrow"]) == (1, "s3vault")
    assert escrow["settings"] == {"bucket": "backups", "region": "eu-west-1"}
    assert b"hidden-secret" not in opened
    assert escrow["verify_keys"] == [keyring.public]
    assert re.fullmatch("[0-9a-f]{32}", escrow["vault_id"])
    # What is inside is a keyring file, in which the newest key is current.
    keyring.activate(added)
    (tmp_path / "by-hand.keys").touch(0o600)
    (tmp_path / "by-hand.keys").write_text(json.dumps(escrow["keyring"]))
    assert Keyring.open(tmp_path / "by-hand.keys").info == keyring.info


def test_age_opens_an_escrow_file_with_its_passphrase(tmp_path: Path) -> None:
    keyring = Keyring.create()
    keyring.export(passphrase=PASSPHRASE, file=tmp_path / "escrow.age")
    age = [AGE, "-d", "-o", "escrow.json", "escrow.age"]
    status, shown = on_terminal(age, [PASSPHRASE], cwd=tmp_path)
    assert status == 0, shown
    assert json.loads((tmp_path / "escrow.json").read_bytes())["keyring"]["signing"]["id"] == keyring.id


@pytest.mark.parametrize("armor", [[], ["-a"]])
def test_what_age_encrypted_is_restored(tmp_path: Path, identity: tuple[Path, str], armor: list[str]) -> None:
    keyring = Keyring.create()
    keyring.export(recipients=[identity[1]], file=tmp_path / "escrow.age")
    opened = subprocess.check_output([AGE, "-d", "-i", str(identity[0]), str(tmp_path / "escrow.age")])
    again = subprocess.run([AGE, *armor, "-r", identity[1]], input=opened, capture_output=True, check=True).stdout
    restored = Keyring.restore(again, identity[0].read_bytes(), tmp_path / "restored.keys")
    assert restored.info == keyring.info
    (tmp_path / "escrow.json").write_bytes(opened)
    age = [AGE, *armor, "-p", "-o", "by-passphrase.age", "escrow.json"]
    status, shown = on_terminal(age, [PASSPHRASE, PASSPHRASE], cwd=tmp_path)
    assert status == 0, shown
    assert Keyring.restore((tmp_path / "by-passphrase.age").read_bytes(), PASSPHRASE).info == keyring.info


def test_a_refusal_shows_no_secret(identity: tuple[Path, str]) -> None:
    keyring = Keyring.create()
    escrow = keyring.export(recipients=[identity[1]])
    secret = identity[0].read_text().splitlines()[-1]
    for attempt in (
        lambda: keyring.export(recipients=[secret]),
        lambda: Keyring.create().import_(escrow, secret),
        lambda: Keyring.restore(keyring.export(passphrase=PASSPHRASE), "wrong " + PASSPHRASE),
    ):
        with pytest.raises(S3VaultError) as refused:
            attempt()
        shown = f"{refused.value!r} {refused.value} {refused.value.hint}"
        assert secret not in shown
        assert PASSPHRASE not in shown
    seed = json.loads(keyring.to_bytes())["signing"]["seed"]
    assert seed not in f"{keyring!r} {keyring.info!r}"


def test_processes_that_add_keys_at_once_lose_none(command: Command) -> None:
    command.rows("keys", "new", "vault.keys")
    started = [
        subprocess.Popen(
            command.argv("--json", "keys", "rotate", "vault.keys"),
            stdout=subprocess.PIPE,
            cwd=command.folder,
            env=command.environment,
        )
        for _ in range(8)
    ]
    added = [json.loads(process.communicate()[0])["id"] for process in started]
    first, *later = Keyring.open(command.folder / "vault.keys").info.keks
    assert first.current
    assert sorted(kek.id for kek in later) == sorted(added)


def test_keys_are_rotated_and_restored_by_the_command(command: Command, identity: tuple[Path, str]) -> None:
    command.rows("keys", "new", "vault.keys")
    (added,) = command.rows("keys", "rotate", "vault.keys")
    assert not added["current"]
    refused = command.error("keys", "activate", "vault.keys", added["id"])
    assert refused["name"] == "S3V_E_KEYRING"
    assert "keys export" in refused["hint"]
    command.rows("keys", "export", "vault.keys", "escrow.age", "--passphrase-file", "passphrase")
    command.rows("keys", "activate", "vault.keys", added["id"])
    settings = {"S3VAULT_BUCKET": "backups", "S3VAULT_SECRET_KEY": "hidden"}
    (rotated,) = command.rows(
        "keys", "rotate", "vault.keys", "--out", "next.age", "--recipient", identity[1], **settings
    )
    assert rotated["current"]
    signing, *keks = command.rows("keys", "list", "vault.keys")
    assert [kek["current"] for kek in keks] == [False, False, True]
    assert [kek["id"] for kek in keks][1:] == [added["id"], rotated["id"]]
    assert all(kek["escrowed"] for kek in keks)
    assert "yes" in command.run("keys", "list", "vault.keys").stdout

    (restored,) = command.rows("keys", "import", "new.keys", "next.age", "--identity", str(identity[0]))
    assert restored["restored"]
    assert restored["settings"] == {"bucket": "backups"}
    assert command.rows("keys", "list", "new.keys") == [signing, *keks]
    assert (command.folder / "new.keys").read_bytes() == (command.folder / "vault.keys").read_bytes()
    (older,) = command.rows("keys", "import", "old.keys", "escrow.age", "--passphrase-file", "passphrase")
    assert len(older["added"]) == 2
    (merged,) = command.rows("keys", "import", "old.keys", "next.age", "--identity", str(identity[0]))
    assert (merged["restored"], merged["added"]) == (False, [rotated["id"]])
    command.rows("keys", "new", "other.keys")
    refused = command.error("keys", "import", "other.keys", "next.age", "--identity", str(identity[0]))
    assert "another keyring" in refused["message"]


def test_a_passphrase_is_asked_for_twice_on_the_terminal_only(command: Command) -> None:
    command.rows("keys", "new", "vault.keys")
    assert "--passphrase-file" in command.error("keys", "export", "vault.keys", "escrow.age")["hint"]
    options: dict[str, Any] = {"cwd": command.folder, "env": command.environment}
    export = command.argv("keys", "export", "vault.keys", "escrow.age")
    status, shown = on_terminal(export, [PASSPHRASE, "another"], **options)
    assert status != 0
    assert "not the same" in shown
    assert not (command.folder / "escrow.age").exists()
    status, shown = on_terminal(export, [PASSPHRASE, PASSPHRASE], **options)
    assert status == 0, shown
    assert PASSPHRASE not in shown
    escrow = (command.folder / "escrow.age").read_bytes()
    assert Keyring.restore(escrow, PASSPHRASE).info == Keyring.open(command.folder / "vault.keys").info

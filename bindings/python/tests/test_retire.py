"""Retiring a key-encryption key, through the API and the command: what it waits for, and what needs the key."""

from __future__ import annotations

import json
import os
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from test_deletion import Command, needs_embedded, refused

import s3vault
from s3vault import ErrorCode, Keyring, Vault

ENVELOPE = {"S3VAULT_ENCRYPTION": "envelope"}


def age_markers() -> None:
    """Makes the markers of closed keys so old that every put from before them has ended."""
    body = json.dumps({"bucket": os.environ["S3VAULT_BUCKET"], "part": ".closed", "seconds": 7200}).encode()
    url = os.environ["S3VAULT_API_URL"] + "/_embedded/age"
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST")) as reply:
        assert reply.status == 200


def open_vault(keyring: Keyring) -> Vault:
    return s3vault.open(s3vault.Config().env().set("encryption", "envelope"), keyring=keyring)


def rotated_keyring(file: Path, container: str) -> tuple[Keyring, str, str]:
    """A keyring whose first key wraps that of a backup and whose second is current, and the ids of both."""
    keyring = Keyring.create(file)
    (old,) = (kek.id for kek in keyring.info.keks)
    with open_vault(keyring) as vault, vault.create(container, "disk") as upload:
        upload.write(b"stored under the old key")
    new = keyring.add()
    keyring.export(passphrase="correct horse", file=file.with_suffix(".age"))
    keyring.activate(new)
    return keyring, old, new


@needs_embedded
def test_a_key_is_retired_once_nothing_needs_it(tmp_path: Path, container: str) -> None:
    file = tmp_path / "vault.keys"
    keyring, old, new = rotated_keyring(file, container)
    with open_vault(keyring) as vault:
        assert "is current" in refused(lambda: vault.retire(new)).message
        unknown = refused(lambda: vault.retire("0123456789abcdef"))
        assert unknown.code == ErrorCode.KEYRING
        assert old in unknown.hint
        waiting = vault.retire(old)
        assert (waiting.kek, waiting.state, waiting.needed, waiting.first) == (old, "waiting", 0, ())
        assert waiting.wait_until is not None
        assert waiting.wait_until > datetime.now(timezone.utc)
        age_markers()
        needed = vault.retire(old)
        assert (needed.state, needed.needed, needed.wait_until) == ("needed", 1, None)
        assert needed.first[0].startswith(f"_s3vault/1/loc/{container}/disk/")
        assert not keyring.info.retired
        assert vault.rotate(container=container).rotated == 1
        assert vault.retire(old).state == "retired"
        assert keyring.info.retired == (old,)
        assert [kek.id for kek in keyring.info.keks] == [new]
        assert vault.retire(old).state == "retired"
    assert Keyring.open(file).info == keyring.info
    with open_vault(Keyring.open(file)) as after:
        assert after.find(container, "disk").open().read() == b"stored under the old key"
    found = keyring.import_(file.with_suffix(".age").read_bytes(), "correct horse")
    assert (found.added, found.left_out) == ((), (old,))


@needs_embedded
def test_a_keyring_in_memory_gives_its_content_without_the_retired_key(tmp_path: Path, container: str) -> None:
    on_disk, old, _ = rotated_keyring(tmp_path / "vault.keys", container)
    keyring = Keyring.open(on_disk.to_bytes())
    with open_vault(keyring) as vault:
        vault.rotate(container=container)
        vault.retire(old)
        age_markers()
        assert vault.retire(old).state == "retired"
    assert Keyring.open(keyring.to_bytes()).info.retired == (old,)
    assert Keyring.open(tmp_path / "vault.keys").info.retired == ()


def test_a_vault_without_a_keyring_retires_nothing() -> None:
    with s3vault.open(s3vault.Config().env()) as vault:
        assert "without a keyring" in refused(lambda: vault.retire("0123456789abcdef")).message


@needs_embedded
def test_the_command_says_what_to_wait_for_and_what_needs_the_key(tmp_path: Path, container: str) -> None:
    file = tmp_path / "vault.keys"
    keyring, old, new = rotated_keyring(file, container)
    command = Command(tmp_path, file)
    waiting = command.run("keys", "retire", old, **ENVELOPE)
    assert waiting.returncode == 9
    assert "Run the same command again after 20" in waiting.stdout
    assert waiting.stderr == f"s3vault: the key {old} is not retired yet\n"
    age_markers()
    needed = command.run("keys", "retire", str(file), old, **ENVELOPE)
    assert needed.returncode == 10
    key, line = needed.stdout.splitlines()
    assert key.startswith(f"_s3vault/1/loc/{container}/disk/")
    assert line == f"1 locator needs the key {old}. Run this first: s3vault rotate"
    assert "versions need it" in needed.stderr
    with_json = command.run("--json", "keys", "retire", old, **ENVELOPE)
    assert (with_json.returncode, json.loads(with_json.stdout)["state"]) == (10, "needed")
    command.lines("rotate", container, **ENVELOPE)
    # The keyring that is named takes the place of that of the settings.
    (row,) = command.lines("--json", "keys", "retire", str(file), old, S3VAULT_KEYRING=str(tmp_path / "absent"))
    assert json.loads(row) == {
        "keyring": str(file),
        "kek": old,
        "state": "retired",
        "wait_until": None,
        "needed": 0,
        "first": [],
    }
    assert command.lines("keys", "retire", old)[0].startswith(f"the key {old} is retired: nothing needs it")
    assert json.loads(command.lines("--json", "keys", "list")[-1]) == {"type": "retired", "id": old}
    assert command.lines("keys", "list")[-1].split() == [old, "retired", "-", "-", "-"]
    for kek in (new, "0123456789abcdef"):
        assert command.run("keys", "retire", kek).returncode == 2
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    escrow = str(file.with_suffix(".age"))
    imported = command.lines("keys", "import", escrow, "--passphrase-file", str(passphrase))
    assert imported[0] == f"left out the key {old}, which was retired: nothing in the vault needs it"
    assert keyring.info.id == Keyring.open(file).info.id


@needs_embedded
def test_a_rekeying_leaves_what_was_encrypted_here(tmp_path: Path, container: str) -> None:
    file = tmp_path / "vault.keys"
    keyring, _, _ = rotated_keyring(file, container)
    items: list[s3vault.JobItem] = []
    with open_vault(keyring) as vault:
        vid = vault.find(container, "disk").info.vid
        report = vault.rekey(container=container, path="disk", version=vid, through_client=True, on_item=items.append)
        assert (report.rekeyed, report.left, report.problems) == (0, 1, 0)
        assert [(item.action, item.vid) for item in items] == [("leave", vid)]
        without = refused(lambda: vault.rekey(path="disk"))
        assert without.code == ErrorCode.INVALID_OPTION
        assert "path is set without container" in without.message
    line = ("rekey", container, "disk", "--version", vid, "--through-client")
    (shown,) = Command(tmp_path, file).lines(*line, **ENVELOPE)
    assert shown == "no data is under an older key; 1 stays under its data key: only a new backup has a new one"

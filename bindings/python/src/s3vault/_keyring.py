"""The keyring: the key that signs what a vault writes, and the keys that wrap those of encrypted backups."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ctypes import c_void_p, memmove, string_at
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Callable, Union

from . import _abi
from ._call import Buffer, Call, FilePath, Handle, from_file, from_text, new_bytes, take_bytes
from ._config import Config
from ._errors import S3VaultError
from ._ffi import lib
from ._tables import ErrorCode
from ._time import from_ms

Secret = Union[str, bytes, bytearray, memoryview]


@dataclass(frozen=True)
class Kek:
    """A key-encryption key (KEK): it wraps the keys of encrypted backups."""

    id: str
    """16 hex digits."""
    created: datetime
    """When it was made."""
    escrowed: bool
    """Whether an export has it, or it needs none."""
    current: bool
    """Whether it is for new backups."""
    external: bool = False
    """Whether it is in a KMS or an HSM: see :meth:`Keyring.custom`."""


@dataclass(frozen=True)
class KeyringInfo:
    """What a keyring has, without its secrets."""

    id: str
    """The signing key's id: 16 hex digits."""
    public: str
    """The public key: one line ``ed25519 <id> <base64>``."""
    earlier: tuple[str, ...]
    """Public keys of the signing keys before, oldest first: what they have signed is still trusted."""
    keks: tuple[Kek, ...]
    """The key-encryption keys, in the order in which they were added."""
    retired: tuple[str, ...]
    """Ids of the KEKs that were retired: the keyring does not accept them again."""


@dataclass(frozen=True)
class KeyringImport:
    """What an import found in an escrow file."""

    added: tuple[str, ...]
    """Ids of the KEKs that were missing and are there now."""
    left_out: tuple[str, ...]
    """Ids of the KEKs that were retired before, and were left out."""
    vault_id: str | None
    """The vault's id, if the export knew it."""
    verify_keys: tuple[str, ...]
    """The public keys that the exporter trusted."""
    settings: dict[str, str]
    """The vault's settings without secrets, if the export knew them."""
    external: tuple[str, ...] = ()
    """Ids of the KEKs that are in a KMS or an HSM: backups whose keys they wrap need them, too."""


KeyFunction = Callable[[bytes, bytes], bytes]


class _KeyFunctions:
    """The functions of a custom keyring, which the library holds as their context."""

    def __init__(self, wrap: KeyFunction, unwrap: KeyFunction) -> None:
        self.wrap, self.unwrap = wrap, unwrap


# What the library holds: it is freed by `_free`.
_held: dict[int, _KeyFunctions] = {}


def _run(function: KeyFunction, call: Any) -> int:
    # If a signal handler raises before the `try`, ctypes returns 0: the library refuses the empty result.
    try:
        data, associated = string_at(call.data, call.data_len), string_at(call.associated, call.associated_len)
        result = bytes(function(data, associated))
        if len(result) > call.out_capacity:
            raise ValueError(f"the function returned {len(result)} bytes; at most {call.out_capacity} are accepted")
        memmove(call.out, result, len(result))
        call.out_len = len(result)
    except BaseException as error:
        text = str(error) or type(error).__name__
        message = text.encode(errors="replace").replace(b"\0", b" ")[: call.message_capacity - 1] + b"\0"
        memmove(c_void_p.from_buffer(call, _abi.KeyCall.message.offset), message, len(message))
        return 1
    return 0


def _free(functions: _KeyFunctions) -> None:
    _held.pop(id(functions), None)


_WRAP = _abi.KeyFn(lambda functions, call: _run(functions.wrap, call.contents))
_UNWRAP = _abi.KeyFn(lambda functions, call: _run(functions.unwrap, call.contents))
_FREE = _abi.FreeFn(_free)


def _secret(value: Secret) -> Any:
    return value.encode() if isinstance(value, str) else value


class Keyring:
    """The keys of a vault, in a file of the caller. Call :meth:`create` once, and :meth:`export` a copy of it.

    A vault keeps the keys that the keyring had when the vault was opened.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @classmethod
    def create(cls, file: FilePath | None = None) -> Keyring:
        """Creates new keys and their file, which must not exist yet. Without a file, they are in memory only."""
        return cls._open(None if file is None else from_file(file), None, 0, create=True)

    @classmethod
    def open(cls, source: FilePath | bytes | bytearray | memoryview) -> Keyring:
        """Opens a keyring file by its name, or from its content as bytes."""
        if not isinstance(source, (bytes, bytearray, memoryview)):
            return cls._open(from_file(source), None, 0, create=False)
        with Buffer(source) as content:
            return cls._open(None, content.address, content.size, create=False)

    @classmethod
    def _open(cls, file: bytes | None, address: int | None, size: int, *, create: bool) -> Keyring:
        call, handle = Call(), Handle(_abi.Keyring, lib.s3v_keyring_free)
        call.check(lib.s3v_keyring_open(file, address, size, int(create), handle.out, call.err))
        return cls(handle)

    @classmethod
    def restore(cls, escrow: Any, secret: Secret, file: FilePath | None = None) -> Keyring:
        """Creates a keyring from an escrow file, with all of its keys: in the new file ``file``, or in memory.

        ``escrow`` is the content of the escrow file, ``secret`` its passphrase or the content of an age identity file.
        """
        call, handle = Call(), Handle(_abi.Keyring, lib.s3v_keyring_free)
        name = None if file is None else from_file(file)
        with Buffer(escrow) as content, Buffer(_secret(secret)) as key:
            call.check(
                lib.s3v_keyring_restore(
                    name, content.address, content.size, key.address, key.size, handle.out, call.err
                )
            )
        return cls(handle)

    def custom(self, kek_id: str, wrap: KeyFunction, unwrap: KeyFunction) -> Keyring:
        """A keyring whose current KEK is in a KMS or an HSM, behind two functions; it is in memory only.

        It has the keys of this keyring as they are now: the signing key, and the KEKs of older backups.

        ``kek_id`` names the key, always the same: 16 lower-case hex digits, such as the first 16 of
        ``hashlib.sha256(name_of_the_key).hexdigest()``. ``wrap(data_key, associated)`` returns up to 4096 bytes, from
        which ``unwrap(wrapped, associated)`` returns the 32 bytes of the data key. ``associated`` says which version
        the key belongs to, and must be needed to unwrap it: pass it as the associated data of AES-GCM, or its SHA-256
        in the encryption context of a KMS.

        Both are called in threads of the library, several at the same time, and block what needs them. An exception
        becomes the text of the error (``ErrorCode.EXTERNAL_KEY``). They must not use this package.
        """
        call, handle = Call(), Handle(_abi.Keyring, lib.s3v_keyring_free)
        name = from_text(kek_id, "the id of the KEK")
        functions = _KeyFunctions(wrap, unwrap)
        _held[id(functions)] = functions
        try:
            call.check(
                lib.s3v_keyring_custom(self._handle, name, _WRAP, _UNWRAP, functions, _FREE, handle.out, call.err)
            )
        except BaseException:
            # Without a keyring, nothing frees them.
            if not handle._as_parameter_:
                _free(functions)
            raise
        return Keyring(handle)

    def add(self) -> str:
        """Adds a new KEK and returns its id. It becomes current by :meth:`activate`, or at once if it is the first."""
        call, out = Call(), new_bytes()
        call.check(lib.s3v_keyring_add(self._handle, out.out, call.err))
        return take_bytes(out).decode()

    def activate(self, kek: str) -> None:
        """Makes a KEK current, for the backups of vaults that are opened from now on. It must be escrowed."""
        call = Call()
        call.check(lib.s3v_keyring_activate(self._handle, from_text(kek, "the id of the KEK"), call.err))

    def new_signing_key(self) -> str:
        """Replaces the signing key by a new one, and returns its id: it signs the backups of vaults that are opened
        from now on. The public key of the old one stays, and verifies what it has signed, until :meth:`distrust`.
        Export the keyring before the next backup: an escrow file from before does not have the new key. A put that was
        suspended or interrupted does not resume under the new key: let it end before, or remove its checkpoint."""
        call, out = Call(), new_bytes()
        call.check(lib.s3v_keyring_new_signing_key(self._handle, out.out, call.err))
        return take_bytes(out).decode()

    def distrust(self, key: str) -> None:
        """Drops the public key of an earlier signing key. Vaults that are opened from now on trust nothing that it has
        signed: such a version is not read any more, and no job removes it."""
        call = Call()
        call.check(lib.s3v_keyring_distrust(self._handle, from_text(key, "the id of the key"), call.err))

    def export(
        self,
        *,
        passphrase: Secret | None = None,
        recipients: Iterable[str] | None = None,
        config: Config | None = None,
        file: FilePath | None = None,
    ) -> bytes:
        """Exports all keys as an age file, and notes that all KEKs are escrowed.

        Any age tool opens it, with the passphrase or with the identity of a recipient (``age1...``); give one of the
        two. With ``config``, it also has the vault's id, the keys that the vault trusts, and its settings without
        secrets. With ``file``, which must not exist yet, it is also written there before anything is noted.
        """
        if (passphrase is None) == (recipients is None):
            raise S3VaultError(ErrorCode.INVALID_ARGUMENT, "give either a passphrase or recipients")
        how, secret = (b"recipients", "\n".join(recipients)) if recipients is not None else (b"passphrase", passphrase)
        call, out = Call(), new_bytes()
        name = None if file is None else from_file(file)
        settings = None if config is None else config._handle
        with Buffer(_secret(secret or b"")) as key:
            call.check(
                lib.s3v_keyring_export(self._handle, settings, how, key.address, key.size, name, out.out, call.err)
            )
        return take_bytes(out)

    def import_(self, escrow: Any, secret: Secret) -> KeyringImport:
        """Adds the KEKs of an escrow file that are missing here, except those that were retired. The escrow file of
        another keyring is refused.

        ``escrow`` is the content of the escrow file, ``secret`` its passphrase or the content of an age identity file.
        """
        call, out = Call(), new_bytes()
        with Buffer(escrow) as content, Buffer(_secret(secret)) as key:
            call.check(
                lib.s3v_keyring_import(
                    self._handle, content.address, content.size, key.address, key.size, out.out, call.err
                )
            )
        found: dict[str, Any] = json.loads(take_bytes(out))
        return KeyringImport(
            added=tuple(found["added"]),
            left_out=tuple(found["left_out"]),
            vault_id=found["vault_id"],
            verify_keys=tuple(found["verify_keys"]),
            settings=dict(found["settings"]),
            external=tuple(found["external"]),
        )

    def to_bytes(self) -> bytes:
        """The content of the keyring file, which is secret: to keep a keyring that is in memory only."""
        call, out = Call(), new_bytes()
        call.check(lib.s3v_keyring_bytes(self._handle, out.out, call.err))
        return take_bytes(out)

    @property
    def info(self) -> KeyringInfo:
        """What the keyring has, without its secrets."""
        call, out = Call(), new_bytes()
        call.check(lib.s3v_keyring_info(self._handle, out.out, call.err))
        found: dict[str, Any] = json.loads(take_bytes(out))
        keks = tuple(
            Kek(kek["id"], from_ms(kek["created"]), kek["escrowed"], kek["current"], kek["external"])
            for kek in found["keks"]
        )
        signing = found["signing"]
        return KeyringInfo(signing["id"], signing["public"], tuple(found["earlier"]), keks, tuple(found["retired"]))

    @property
    def id(self) -> str:
        """The signing key's id: 16 hex digits."""
        return self.info.id

    @property
    def public(self) -> str:
        """The public key, which a verifier needs: one line ``ed25519 <id> <base64>``."""
        return self.info.public

    def __repr__(self) -> str:
        return f"Keyring({self.id})"

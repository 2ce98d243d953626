"""The keyring: the key that signs what a vault writes."""

from __future__ import annotations

import json
from typing import Any

from . import _abi
from ._call import Buffer, Call, FilePath, Handle, from_file, new_bytes, take_bytes
from ._ffi import lib


class Keyring:
    """The signing key of a vault, in a file of the caller. Call :meth:`create` once, and keep a copy of the file."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @classmethod
    def create(cls, file: FilePath | None = None) -> Keyring:
        """Creates a new key and its file, which must not exist yet. Without a file, the key is in memory only."""
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

    def _signing(self) -> dict[str, Any]:
        call, out = Call(), new_bytes()
        call.check(lib.s3v_keyring_info(self._handle, out.out, call.err))
        signing: dict[str, Any] = json.loads(take_bytes(out))["signing"]
        return signing

    @property
    def id(self) -> str:
        """The signing key's id: 16 hex digits."""
        return str(self._signing()["id"])

    @property
    def public(self) -> str:
        """The public key, which a verifier needs: one line ``ed25519 <id> <base64>``."""
        return str(self._signing()["public"])

    def __repr__(self) -> str:
        return f"Keyring({self.id})"

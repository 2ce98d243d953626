"""A vault: opening one, storing into it, finding and listing what it holds."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping
from ctypes import POINTER, byref
from datetime import datetime
from types import TracebackType
from typing import Any, Callable, Generic, Optional, TypeVar, Union

from . import _ffi
from ._call import (
    Call,
    Cancel,
    FileDescriptor,
    FilePath,
    Handle,
    ProgressFunction,
    RenewFunction,
    from_file,
    from_name,
    to_descriptor,
)
from ._config import Config, OptionValue, call_options, handle_of
from ._ffi import lib
from ._keyring import Keyring
from ._streams import Upload
from ._version import Version, VersionInfo

T = TypeVar("T")

# How long the interpreter's end waits for uploads that are being given up in the background.
_SHUTDOWN_MS = 10_000


# New keys: access key, secret key, and the session token of temporary ones.
Keys = Union["tuple[str, str]", "tuple[str, str, str | None]"]
CredentialsFunction = Callable[[], Optional[Keys]]


def _update(handle: Handle, access_key: str, secret_key: str, session_token: str | None = None) -> None:
    keys = {"access_key": access_key, "secret_key": secret_key, "session_token": session_token or ""}
    call = Call()
    call.check(lib.s3v_vault_update(handle, Config(keys)._handle, call.ctl, call.err))


def _checkpoint(file: FilePath | None) -> str | None:
    """As an option's text: options are UTF-8, and so the file's name must be."""
    return None if file is None else os.fsdecode(file)


def _renewal(handle: Handle, credentials: CredentialsFunction) -> RenewFunction:
    def renew() -> None:
        keys = credentials()
        if keys is not None:
            _update(handle, *keys)

    return renew


class Rows(Iterator[T], Generic[T]):
    """Rows of a list, fetched as they are asked for."""

    def __init__(self, handle: Handle, make: Callable[[Any], T], renew: RenewFunction | None) -> None:
        self._handle: Handle | None = handle
        self._make, self._renew = make, renew

    def __next__(self) -> T:
        handle = self._handle
        if handle is None:
            raise StopIteration
        call, row = Call(None, None, self._renew), POINTER(_ffi.Row)()
        if call.check(lib.s3v_list_next(handle, call.ctl, byref(row), call.err)) == 0:
            self._handle = None
            raise StopIteration
        return self._make(row.contents)


class Vault:
    """An open vault; threads may share it. Use it as a context manager, or call :meth:`close`."""

    def __init__(self, handle: Handle, credentials: CredentialsFunction | None = None) -> None:
        self._open_handle: Handle | None = handle
        self._renew = None if credentials is None else _renewal(handle, credentials)

    @property
    def _handle(self) -> Handle:
        handle = self._open_handle
        if handle is None:
            raise ValueError("the vault is closed")
        return handle

    def create(
        self,
        container: str,
        path: str,
        *,
        kind: str | None = None,
        parent: str | None = None,
        checkpoint: FilePath | None = None,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: OptionValue,
    ) -> Upload:
        """Begins to store a backup of any length, or goes on with one; write to it as to a file. See :class:`Upload`.

        ``kind``: ``full`` (default) or ``incremental``, which needs ``parent``, the vid that it builds on.
        ``checkpoint``: a file that remembers how far the backup came. Where it is there, this goes on: write the stream
        from :attr:`Upload.offset` on.
        """
        names = from_name(container, "the container"), from_name(path, "the path")
        config = call_options(kind=kind, parent=parent, checkpoint=_checkpoint(checkpoint), **options)
        call, out = Call(progress, cancel, self._renew), Handle(_ffi.Put, lib.s3v_put_free)
        call.check(lib.s3v_put_open(self._handle, *names, handle_of(config), call.ctl, out.out, call.err))
        return Upload(out, progress, cancel, self._renew, resumable=checkpoint is not None)

    def put_file(
        self,
        container: str,
        path: str,
        file: FilePath,
        *,
        kind: str | None = None,
        parent: str | None = None,
        checkpoint: FilePath | None = None,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: OptionValue,
    ) -> Version:
        """Stores a file. Options as for :meth:`create`; with a ``checkpoint``, the same call goes on after whatever
        ended the last one, and sends only what is missing."""
        config = call_options(kind=kind, parent=parent, checkpoint=_checkpoint(checkpoint), **options)
        return self._store(lib.s3v_put_file, container, path, from_file(file), config, progress, cancel)

    def put_fd(
        self,
        container: str,
        path: str,
        file: FileDescriptor,
        *,
        kind: str | None = None,
        parent: str | None = None,
        checkpoint: FilePath | None = None,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: OptionValue,
    ) -> Version:
        """Stores what an open file descriptor, or an object with ``fileno()``, gives: a regular file whole, by position;
        a pipe or a socket to its end. It stays open. Options as for :meth:`put_file`."""
        config = call_options(kind=kind, parent=parent, checkpoint=_checkpoint(checkpoint), **options)
        return self._store(lib.s3v_put_fd, container, path, to_descriptor(file), config, progress, cancel)

    def _store(
        self,
        function: Any,
        container: str,
        path: str,
        source: bytes | int,
        config: Config | None,
        progress: ProgressFunction | None,
        cancel: Cancel | None,
    ) -> Version:
        names = from_name(container, "the container"), from_name(path, "the path")
        call, out = Call(progress, cancel, self._renew), Version.new_handle()
        call.check(function(self._handle, *names, source, handle_of(config), call.ctl, out.out, call.err))
        return Version(out, self._renew)

    def find(
        self,
        container: str,
        path: str,
        *,
        version: str | None = None,
        as_of: datetime | str | None = None,
        pin: str | None = None,
        cancel: Cancel | None = None,
        **options: OptionValue,
    ) -> Version:
        """The newest version; or the one with this vid, or the newest that was recorded at ``as_of`` or before.

        ``pin``: the manifest's hash, as storing returned it; another manifest is refused.
        """
        names = from_name(container, "the container"), from_name(path, "the path")
        config = call_options(version=version, as_of=as_of, pin=pin, **options)
        call, out = Call(None, cancel, self._renew), Version.new_handle()
        call.check(lib.s3v_version_find(self._handle, *names, handle_of(config), call.ctl, out.out, call.err))
        return Version(out, self._renew)

    def versions(self, container: str, path: str) -> Rows[VersionInfo]:
        """The versions of a backup, newest first."""
        names = from_name(container, "the container"), from_name(path, "the path")
        return self._list(lib.s3v_list_versions, *names, make=VersionInfo.from_row)

    def paths(self, container: str, prefix: str | None = None) -> Rows[VersionInfo]:
        """The paths of a container, by name, each with its newest version."""
        begin = None if prefix is None else from_name(prefix, "the prefix")
        name = from_name(container, "the container")
        return self._list(lib.s3v_list_paths, name, begin, make=VersionInfo.from_row)

    def containers(self) -> Rows[str]:
        """The containers, by name."""
        return self._list(lib.s3v_list_containers, make=lambda row: str(row.container.decode()))

    def _list(self, function: Any, *arguments: bytes | None, make: Callable[[Any], T]) -> Rows[T]:
        call, out = Call(), Handle(_ffi.List, lib.s3v_list_free)
        call.check(function(self._handle, *arguments, None, call.ctl, out.out, call.err))
        return Rows(out, make, self._renew)

    def update(self, access_key: str, secret_key: str, session_token: str | None = None) -> None:
        """Gives the vault new keys. They are tried with one request; where the store refuses them, the old ones stay.
        Transfers that are under way go on with the new ones."""
        _update(self._handle, access_key, secret_key, session_token)

    def close(self) -> None:
        """Closes the vault. What was opened from it stays good."""
        self._open_handle = None

    def __enter__(self) -> Vault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open(
    config: Config | Mapping[str, OptionValue] | None = None,
    *,
    keyring: Keyring | str | os.PathLike[str] | None = None,
    credentials: CredentialsFunction | None = None,
    cancel: Cancel | None = None,
) -> Vault:
    """Opens a vault, and looks whether the store lets it in.

    ``config``: a :class:`Config` or a mapping; nothing is read from files or the environment unless it says so.
    ``keyring``: a :class:`Keyring` or its file; without one, the setting ``keyring``; without that, nothing that is
    written is signed.
    ``credentials``: called in the thread of a call whose keys the store refuses, or whose keys have expired. It gives
    the new ones, as (access key, secret key) or with a session token as the third, or None where there are none; then
    the call goes on, or fails.
    """
    if not isinstance(config, Config):
        config = Config(config)
    if keyring is None:
        keyring = config.get("keyring") or None
    if keyring is not None and not isinstance(keyring, Keyring):
        keyring = Keyring.open(keyring)
    ring = None if keyring is None else keyring._handle
    call, out = Call(None, cancel), Handle(_ffi.Vault, lib.s3v_vault_free)
    _at_exit()
    call.check(lib.s3v_vault_open(config._handle, ring, call.ctl, out.out, call.err))
    return Vault(out, credentials)


def _at_exit() -> None:
    """Lets the library finish at the interpreter's end; registered once, and by users of a vault only."""
    atexit.unregister(_shutdown)
    atexit.register(_shutdown)


def _shutdown() -> None:
    lib.s3v_shutdown(_SHUTDOWN_MS, None)

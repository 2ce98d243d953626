"""A version of a backup: its description, and how to restore it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from ctypes import POINTER, byref
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from . import _abi
from ._abi import RowKind
from ._call import (
    Call,
    Cancel,
    FileDescriptor,
    FilePath,
    Handle,
    ProgressFunction,
    RenewFunction,
    from_file,
    new_bytes,
    take_bytes,
    to_descriptor,
    to_text,
)
from ._config import call_options, handle_of
from ._ffi import lib
from ._streams import Download
from ._time import from_ms
from ._verification import VersionReport

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import GetOptions, RestoreOptions

T = TypeVar("T")

# Large enough for few calls, small enough to stay in the processor's cache.
BUFFER_SIZE = 256 << 10


def _labels(text: str | None) -> dict[str, str] | None:
    """The labels of a row, one ``KEY=VALUE`` per line."""
    if text is None:
        return None
    pairs = (line.partition("=") for line in text.split("\n") if line)
    return {key: value for key, _, value in pairs}


@dataclass(frozen=True)
class VersionInfo:
    """A version, as the catalogue describes it."""

    container: str
    path: str
    vid: str
    """The version's id: 26 characters."""
    kind: str
    """``full``, ``incremental`` or ``deleted``."""
    parent: str | None
    """The vid that an incremental builds on."""
    size: int
    """Size of the backup in bytes."""
    initiated: datetime
    """When the put started, by the store's clock."""
    recorded: datetime
    """The time by which ``as_of`` finds the version."""
    manifest_hash: str | None
    """BLAKE3 of the signed manifest, in hex: the ``pin`` of :meth:`Vault.find`. None in lists that read no manifests:
    :meth:`Version.chain` does, and a search for a ``label``."""
    signed_by: str | None
    """Id of the trusted key that signed the manifest. None where ``manifest_hash`` is, and where no signature was
    checked, since the vault has neither a keyring nor ``verify_keys``."""
    labels: dict[str, str] | None = field(default=None, hash=False)
    """The labels of the version. None in lists."""

    @classmethod
    def from_row(cls, row: Any) -> VersionInfo:
        """Copies a row of the library."""
        return cls(
            container=to_text(row.container) or "",
            path=to_text(row.path) or "",
            vid=to_text(row.vid) or "",
            kind=RowKind(row.kind).name.lower(),
            parent=to_text(row.parent) or None,
            size=row.bytes,
            initiated=from_ms(row.initiated_ms),
            recorded=from_ms(row.recorded_ms),
            manifest_hash=to_text(row.manifest_hash) or None,
            signed_by=to_text(row.signed_by) or None,
            labels=_labels(to_text(row.labels)),
        )


@dataclass(frozen=True)
class UploadInfo:
    """A multipart upload that is in progress: of a put that is running, or that was killed."""

    container: str
    path: str
    vid: str | None
    """The version that it is for. None where the key does not tell it."""
    upload_id: str
    initiated: datetime
    """When it started, by the store's clock."""

    @classmethod
    def from_row(cls, row: Any) -> UploadInfo:
        """Copies a row of the library."""
        return cls(
            container=to_text(row.container) or "",
            path=to_text(row.path) or "",
            vid=to_text(row.vid) or None,
            upload_id=to_text(row.upload_id) or "",
            initiated=from_ms(row.initiated_ms),
        )


class Rows(Iterator[T], Generic[T]):
    """An iterator over the rows of a list, which are fetched as needed."""

    def __init__(self, handle: Handle, make: Callable[[Any], T], renew: RenewFunction | None) -> None:
        self._handle: Handle | None = handle
        self._make, self._renew = make, renew

    def __next__(self) -> T:
        handle = self._handle
        if handle is None:
            raise StopIteration
        call, row = Call(None, None, self._renew), POINTER(_abi.Row)()
        if call.check(lib.s3v_list_next(handle, call.ctl, byref(row), call.err)) == 0:
            self._handle = None
            raise StopIteration
        return self._make(row.contents)


class Version:
    """A version that was found or stored. Threads may share it."""

    info: VersionInfo

    def __init__(self, handle: Handle, renew: RenewFunction | None) -> None:
        self._handle, self._renew = handle, renew
        self.info = VersionInfo.from_row(lib.s3v_version_info(handle).contents)

    @staticmethod
    def new_handle() -> Handle:
        """A handle for a version of the library, still empty."""
        return Handle(_abi.Version, lib.s3v_version_free)

    def chain(self, *, cancel: Cancel | None = None) -> Rows[VersionInfo]:
        """Lists what has to be restored for this version, in order: the full backup first, then each incremental up to
        this one. Each manifest is verified. A version that is missing is an error that names it."""
        call, out = Call(None, cancel, self._renew), Handle(_abi.List, lib.s3v_list_free)
        call.check(lib.s3v_list_chain(self._handle, call.ctl, out.out, call.err))
        return Rows(out, VersionInfo.from_row, self._renew)

    def open(
        self,
        *,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[GetOptions],
    ) -> io.BufferedReader[Download]:
        """Opens the data for reading, from start to end or from any position by ``seek``. Options: :class:`GetOptions`.

        ``verify="end"`` (default) returns bytes as they arrive, before the hash of their part is checked; only the last
        64 KiB of each part wait for it. So the data is verified only once ``read`` has returned ``b""``, and what is
        read after a ``seek`` is not verified. ``verify="part"`` returns only bytes of parts whose hash has been
        checked, also after a ``seek``.
        """
        config = call_options(**options)
        call, handle = Call(progress, cancel, self._renew), Handle(_abi.Get, lib.s3v_get_free)
        call.check(lib.s3v_get_open(self._handle, handle_of(config), call.ctl, handle.out, call.err))
        return io.BufferedReader(Download(handle, progress, cancel, self._renew, self.info.size), BUFFER_SIZE)

    def restore(
        self,
        file: FilePath,
        *,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[RestoreOptions],
    ) -> None:
        """Restores into a file, which appears under its name only when all of it is verified. If the process is killed,
        the same call resumes the restore. Options: :class:`RestoreOptions`. ``holes``: whether to write a sparse file,
        with holes where the data is zero."""
        config = call_options(**options)
        call = Call(progress, cancel, self._renew)
        call.check(lib.s3v_get_file(self._handle, from_file(file), handle_of(config), call.ctl, call.err))

    def restore_fd(
        self,
        file: FileDescriptor,
        *,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[RestoreOptions],
    ) -> None:
        """Restores into an open file descriptor, or an object with ``fileno()``: a regular file by position, a pipe in
        order. It stays open. The data is verified only once this returns. Options: :class:`RestoreOptions`."""
        config = call_options(**options)
        call = Call(progress, cancel, self._renew)
        call.check(lib.s3v_get_fd(self._handle, to_descriptor(file), handle_of(config), call.ctl, call.err))

    def verify(self, *, progress: ProgressFunction | None = None, cancel: Cancel | None = None) -> VersionReport:
        """Reads all data of the version and compares it with the signed manifest, as a restore does, and keeps none of
        it. A version that is bad raises nothing: look at :attr:`VersionReport.verdict`."""
        call, out = Call(progress, cancel, self._renew), new_bytes()
        call.check(lib.s3v_get_verify(self._handle, None, call.ctl, out.out, call.err))
        return VersionReport.from_json(take_bytes(out).decode())

    def delete(self, *, cancel: Cancel | None = None) -> None:
        """Deletes this version, for good: it is no longer listed. Its space is freed by a :meth:`Vault.prune` or
        :meth:`Vault.sweep` that runs at least half an hour later. A version that an incremental needs is refused
        (``HAS_DEPENDENTS``), as is one that is held or locked (``HELD``)."""
        call = Call(None, cancel, self._renew)
        call.check(lib.s3v_version_delete(self._handle, None, call.ctl, call.err))

    def data_key(self, *, cancel: Cancel | None = None) -> bytes:
        """The data key of a version that is stored with encryption sse-c or envelope. It is secret: it decrypts the
        backup. With sse-c it is the key of the SSE-C headers."""
        call, out = Call(None, cancel, self._renew), new_bytes()
        call.check(lib.s3v_version_key(self._handle, call.ctl, out.out, call.err))
        return take_bytes(out)

    def manifest(self) -> bytes:
        """The signed manifest, as it is stored. A verifier needs it, the data and the public key."""
        call, out = Call(), new_bytes()
        call.check(lib.s3v_version_manifest(self._handle, call.ctl, out.out, call.err))
        return take_bytes(out)

    def __repr__(self) -> str:
        return f"Version({self.info!r})"

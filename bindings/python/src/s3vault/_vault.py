"""A vault: opens it, stores backups, finds and lists their versions."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union
from urllib.parse import urlsplit, urlunsplit

from . import _abi
from ._call import (
    Call,
    Cancel,
    FileDescriptor,
    FilePath,
    Handle,
    ProgressFunction,
    RenewFunction,
    _log,
    from_file,
    from_name,
    from_text,
    new_bytes,
    take_bytes,
    to_descriptor,
)
from ._config import Config, OptionValue, call_options, handle_of
from ._errors import S3VaultError
from ._ffi import lib
from ._job import ItemFunction, JobItem, JobReport, Retirement
from ._keyring import Keyring
from ._streams import Upload
from ._verification import VerifyReport, VersionFunction, VersionReport
from ._version import Rows, UploadInfo, Version, VersionInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import (
        AdoptOptions,
        FindOptions,
        ListOptions,
        PruneOptions,
        PutOptions,
        RekeyOptions,
        RotateOptions,
        SweepOptions,
        VerifyOptions,
    )

T = TypeVar("T")

# How long the interpreter waits at its end for uploads that are being aborted in the background.
SHUTDOWN_MS = 10_000


# New keys: access key, secret key, and the session token of temporary ones.
Keys = Union["tuple[str, str]", "tuple[str, str, str | None]"]
CredentialsFunction = Callable[[], Optional[Keys]]


def _update(handle: Handle, access_key: str, secret_key: str, session_token: str | None = None) -> None:
    keys = {"access_key": access_key, "secret_key": secret_key, "session_token": session_token or ""}
    call = Call()
    call.check(lib.s3v_vault_update(handle, Config(keys)._handle, call.ctl, call.err))


def _renewal(handle: Handle, credentials: CredentialsFunction) -> RenewFunction:
    def renew() -> None:
        keys = credentials()
        if keys is not None:
            _update(handle, *keys)

    return renew


class Vault:
    """An open vault, made by :func:`open`. Threads may share it. Use it as a context manager, or call :meth:`close`."""

    def __init__(
        self, handle: Handle, credentials: CredentialsFunction | None = None, *, api_url: str = "", bucket: str = ""
    ) -> None:
        self._open_handle: Handle | None = handle
        self._api_url, self._bucket = api_url, bucket
        self._renew = None if credentials is None else _renewal(handle, credentials)

    @property
    def bucket(self) -> str:
        """The bucket that the vault is in; empty if each container has a bucket of its own."""
        return self._bucket

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
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[PutOptions],
    ) -> Upload:
        """Starts to store a backup of any length, and returns a file to write it to. See :class:`Upload`.

        Options: :class:`PutOptions`. ``kind``: ``full`` (default) or ``incremental``, which needs ``parent``, the vid
        that it builds on.
        ``checkpoint``: a file that records the progress. If it exists, this resumes the upload: write the stream from
        byte :attr:`Upload.offset` on.
        ``source``: ``fixed`` (default) or ``live``: the manifest says that the source may have changed meanwhile.
        """
        names = from_name(container, "the container"), from_name(path, "the path")
        config = call_options(**options)
        call, out = Call(progress, cancel, self._renew), Handle(_abi.Put, lib.s3v_put_free)
        call.check(lib.s3v_put_open(self._handle, *names, handle_of(config), call.ctl, out.out, call.err))
        return Upload(out, progress, cancel, self._renew, resumable=bool(options.get("checkpoint")))

    def put_file(
        self,
        container: str,
        path: str,
        file: FilePath,
        *,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[PutOptions],
    ) -> Version:
        """Stores a file. The options are those of :meth:`create`. With a ``checkpoint``, the same call resumes the
        upload after an interruption, a crash or a failure, and sends only what is missing. A file that changes while it
        is read is an error, unless ``source`` is ``live``."""
        config = call_options(**options)
        return self._store(lib.s3v_put_file, container, path, from_file(file), config, progress, cancel)

    def put_fd(
        self,
        container: str,
        path: str,
        file: FileDescriptor,
        *,
        progress: ProgressFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[PutOptions],
    ) -> Version:
        """Stores the content of an open file descriptor, or of an object with ``fileno()``: all of a regular file, by
        position, or a pipe or a socket to its end. It stays open. The options are those of :meth:`put_file`."""
        config = call_options(**options)
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
        cancel: Cancel | None = None,
        **options: Unpack[FindOptions],
    ) -> Version:
        """Finds a version: the newest, or with ``version`` the one with this vid, or with ``as_of`` the newest one
        recorded at or before that time, or with ``recorded`` the one recorded then (within ``tolerance_ms``).

        Options: :class:`FindOptions`. ``pin``: hash of the manifest, from when the version was stored; any other
        manifest is an error.
        """
        names = from_name(container, "the container"), from_name(path, "the path")
        config = call_options(**options)
        call, out = Call(None, cancel, self._renew), Version.new_handle()
        call.check(lib.s3v_version_find(self._handle, *names, handle_of(config), call.ctl, out.out, call.err))
        return Version(out, self._renew)

    def versions(
        self, container: str | None = None, path: str | None = None, **options: Unpack[ListOptions]
    ) -> Rows[VersionInfo]:
        """Lists the versions of a backup, newest first; without ``path`` those of all paths of the container, and
        without ``container`` all of the vault.

        Options: :class:`ListOptions`. ``as_of``: one row for each path, the newest version recorded at or before that
        time; a path that was deleted then has none. ``label``: only versions with this label (``NAME=VALUE``); the
        manifest of each is read for that.
        """
        names = (
            None if container is None else from_name(container, "the container"),
            None if path is None else from_name(path, "the path"),
        )
        return self._list(lib.s3v_list_versions, *names, make=VersionInfo.from_row, options=call_options(**options))

    def paths(self, container: str, prefix: str | None = None, **options: Unpack[ListOptions]) -> Rows[VersionInfo]:
        """Lists the paths of a container in the order of their names, each with its newest version. The options are
        those of :meth:`versions`."""
        start = None if prefix is None else from_name(prefix, "the prefix")
        name = from_name(container, "the container")
        return self._list(lib.s3v_list_paths, name, start, make=VersionInfo.from_row, options=call_options(**options))

    def containers(self) -> Rows[str]:
        """Lists the containers in the order of their names; if each has a bucket of its own, in the order of these."""
        return self._list(lib.s3v_list_containers, make=lambda row: str(row.container.decode()))

    def uploads(self) -> Rows[UploadInfo]:
        """Lists the multipart uploads in progress at keys of the vault's data: those of puts that are running, and what
        puts that were killed left. Some stores (MinIO) list uploads only of a whole key, so that this finds none."""
        return self._list(lib.s3v_list_uploads, make=UploadInfo.from_row)

    def _list(
        self, function: Any, *names: bytes | None, make: Callable[[Any], T], options: Config | None = None
    ) -> Rows[T]:
        call, out = Call(), Handle(_abi.List, lib.s3v_list_free)
        call.check(function(self._handle, *names, handle_of(options), call.ctl, out.out, call.err))
        return Rows(out, make, self._renew)

    def init(self, *, cancel: Cancel | None = None) -> bool:
        """Makes the vault before its first put, which does the same: checks that the bucket's versioning fits, and
        writes the vault's description. Returns whether it was written; False if it was there, or if each container has
        a bucket of its own."""
        call = Call(None, cancel, self._renew)
        return call.check(lib.s3v_vault_init(self._handle, call.ctl, call.err)) == 1

    def delete(self, container: str, path: str, *, cancel: Cancel | None = None) -> Version:
        """Deletes a backup: :meth:`find` no longer finds it. Its versions stay and nothing is freed; :meth:`undelete`
        takes it back. Returns the version of kind ``deleted`` that records the deletion."""
        return self._of_backup(lib.s3v_delete, container, path, cancel)

    def undelete(self, container: str, path: str, *, cancel: Cancel | None = None) -> Version:
        """Takes the newest deletion of a backup back. Returns the version that is the newest now."""
        return self._of_backup(lib.s3v_undelete, container, path, cancel)

    def _of_backup(self, function: Any, container: str, path: str, cancel: Cancel | None) -> Version:
        names = from_name(container, "the container"), from_name(path, "the path")
        call, out = Call(None, cancel, self._renew), Version.new_handle()
        call.check(function(self._handle, *names, call.ctl, out.out, call.err))
        return Version(out, self._renew)

    def prune(
        self,
        *,
        on_item: ItemFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[PruneOptions],
    ) -> JobReport:
        """Hides the versions that the retention lets go, and frees the space of what was hidden more than half an hour
        ago. The retention is that of the configuration, except for what ``options`` say: :class:`PruneOptions`.

        ``on_item`` is called with each version that the job looks at, backup by backup in the order of the catalogue.
        With ``dry_run`` nothing is changed. A job that was stopped continues when it is run again.
        """
        return self._job(lib.s3v_prune, call_options(**options), on_item, cancel)

    def sweep(
        self,
        *,
        on_item: ItemFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[SweepOptions],
    ) -> JobReport:
        """Marks what puts left that crashed and were not resumed within ``grace``, and frees the space of what was
        marked or hidden more than half an hour ago. Options: :class:`SweepOptions`. See :meth:`prune`."""
        return self._job(lib.s3v_sweep, call_options(**options), on_item, cancel)

    def rotate(
        self,
        *,
        on_item: ItemFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[RotateOptions],
    ) -> JobReport:
        """Wraps the data keys of the stored versions with the keyring's current key-encryption key. Their data stays as
        it is, and each version can be read at every moment by those who have both keys. Options:
        :class:`RotateOptions`. See :meth:`prune`."""
        return self._job(lib.s3v_rotate, call_options(**options), on_item, cancel)

    def rekey(
        self,
        *,
        on_item: ItemFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[RekeyOptions],
    ) -> JobReport:
        """Copies the data of stored versions that the store encrypts (``encryption = sse-c``) under new data
        keys, so that keys that leaked do not open it: make a new key-encryption key current first. Each copy is
        verified before it counts, and each version can be read at every moment by those who have both keys.
        What the old keys open is removed by a later run, after ``grace``. Where the store cannot copy such data (Ceph),
        each version is a problem that says how many bytes it has; with ``through_client=True`` they pass through this
        machine. Options: :class:`RekeyOptions`. See :meth:`prune`."""
        return self._job(lib.s3v_rekey, call_options(**options), on_item, cancel)

    def retire(self, kek: str, *, cancel: Cancel | None = None) -> Retirement:
        """Retires a key-encryption key (KEK) of the keyring with which the vault was opened, after :meth:`rotate`.

        The first call closes the KEK: no put uses it any more. Call it again at :attr:`Retirement.wait_until`: if
        nothing in the vault needs the KEK then, it is dropped from the keyring and its file. The current KEK is
        refused. Retiring a KEK again changes nothing. If each container has a bucket of its own, end the programs that
        opened the keyring while the KEK was current before the first call.
        """
        call, out = Call(None, cancel, self._renew), new_bytes()
        name = from_text(kek, "the id of the KEK")
        call.check(lib.s3v_retire(self._handle, name, call.ctl, out.out, call.err))
        return Retirement.from_json(take_bytes(out))

    def adopt(
        self,
        *,
        on_item: ItemFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[AdoptOptions],
    ) -> JobReport:
        """Makes versions of what other programs wrote into a bucket of the vault as ``container/path``, without moving
        it. What is adopted already is left as it is. Options: :class:`AdoptOptions`. ``hash``: whether to read all of
        it, so that it is verified as any other version. ``adopt_keys``: a file with the keys of objects that are
        encrypted with SSE-C, one JSON object per line. See :meth:`prune`."""
        return self._job(lib.s3v_adopt, call_options(**options), on_item, cancel)

    def verify(
        self,
        *,
        on_version: VersionFunction | None = None,
        cancel: Cancel | None = None,
        **options: Unpack[VerifyOptions],
    ) -> VerifyReport:
        """Reads all data of all versions, or of a sample of them, and compares it with their signed manifests. Options:
        :class:`VerifyOptions`. ``sample``: how many percent of the versions; by default every day other ones.
        ``state``: a file with which a run that was stopped continues.

        ``on_version`` is called with each version once it was read. A version that is bad raises nothing: look at
        :attr:`VerifyReport.bad`.
        """
        told = None if on_version is None else lambda line: on_version(VersionReport.from_json(line))
        config = call_options(**options)
        call, out = Call(None, cancel, self._renew, told), new_bytes()
        call.check(lib.s3v_verify(self._handle, handle_of(config), call.ctl, out.out, call.err))
        return VerifyReport.from_json(take_bytes(out).decode())

    def _job(
        self, function: Any, config: Config | None, on_item: ItemFunction | None, cancel: Cancel | None
    ) -> JobReport:
        told = None if on_item is None else lambda line: on_item(JobItem.from_json(line))
        call, out = Call(None, cancel, self._renew, told), new_bytes()
        call.check(function(self._handle, handle_of(config), call.ctl, out.out, call.err))
        return JobReport.from_json(take_bytes(out))

    def update(self, access_key: str, secret_key: str, session_token: str | None = None) -> None:
        """Gives the vault new keys. They are tried with one request; if the store refuses them, the old ones stay.
        Transfers in progress continue with the new ones."""
        _update(self._handle, access_key, secret_key, session_token)

    def close(self) -> None:
        """Closes the vault. Versions and streams that were opened from it stay usable."""
        self._open_handle = None

    def __repr__(self) -> str:
        closed = ", closed" if self._open_handle is None else ""
        return f"Vault(api_url={self._api_url!r}, bucket={self._bucket!r}{closed})"

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
    """Opens a vault, and checks that the store accepts its credentials.

    ``config``: a :class:`Config` or a mapping. No file and no environment variable is read unless the Config loads it.
    ``keyring``: a :class:`Keyring` or its file; the default is the setting ``keyring``. Without one, what is written is
    not signed.
    ``credentials``: a function that returns new keys, as (access key, secret key) or (access key, secret key, session
    token), or None if there are none. It is called in the thread of a call whose keys have expired or are refused by
    the store; then the call continues with the new keys, or fails.
    """
    if not isinstance(config, Config):
        config = Config(config)
    if keyring is None:
        keyring = config.get("keyring") or None
    if keyring is not None and not isinstance(keyring, Keyring):
        keyring = Keyring.open(keyring)
    ring = None if keyring is None else keyring._handle
    call, out = Call(None, cancel), Handle(_abi.Vault, lib.s3v_vault_free)
    _at_exit()
    call.check(lib.s3v_vault_open(config._handle, ring, call.ctl, out.out, call.err))
    # A configuration may name a bucket for another mode.
    bucket = "" if config.get("mode") == "bucket-per-vm" else config.get("bucket")
    return Vault(out, credentials, api_url=_without_secrets(config.get("api_url")), bucket=bucket)


def _without_secrets(url: str) -> str:
    """The URL without a user, a password and a query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _at_exit() -> None:
    """Lets the library finish at the end of the interpreter. Registered once, and only if a vault is opened."""
    atexit.unregister(shutdown)
    atexit.register(shutdown)


def shutdown() -> None:
    """Waits for uploads that end in the background, at most `SHUTDOWN_MS`, and logs what they left in the store."""
    call = Call()
    try:
        call.check(lib.s3v_shutdown(SHUTDOWN_MS, call.err))
    except S3VaultError as error:
        _log.warning("%s", error)

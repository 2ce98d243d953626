"""The two streams of a backup, to store it and to restore it. Only one thread at a time may use a stream."""

from __future__ import annotations

import io
import warnings
from ctypes import byref, c_size_t
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._call import Buffer, Call, Cancel, Handle, ProgressFunction, RenewFunction, _log
from ._errors import S3VaultError
from ._ffi import lib
from ._tables import ErrorCode

if TYPE_CHECKING:
    from ._version import Version


class _Stream(io.RawIOBase):
    """A raw stream that owns a handle."""

    def __init__(
        self,
        handle: Handle,
        progress: ProgressFunction | None,
        cancel: Cancel | None,
        renew: RenewFunction | None,
    ) -> None:
        super().__init__()
        self._handle: Handle | None = handle
        self._progress, self._cancel, self._renew = progress, cancel, renew

    def _open_handle(self) -> Handle:
        """To be passed to the call directly. A variable would be in the traceback of an exception, and keep the upload
        open as long as the exception is handled: after Ctrl-C it would not end in the background."""
        if self._handle is None:
            raise ValueError("I/O operation on closed file")
        return self._handle

    def _call(self) -> Call:
        return Call(self._progress, self._cancel, self._renew)

    def close(self) -> None:
        """Closes the stream."""
        self._handle = None
        super().close()


class Download(_Stream):
    """The data of a version. :meth:`Version.open` returns it with a buffer around it.

    Reads in order are one stream, and its end is reported only after all of the data is verified. After a
    :meth:`seek` elsewhere, each read is a request of its own, by position; after a :meth:`seek` back to where the
    stream was, reads continue the stream.
    """

    def __init__(
        self,
        handle: Handle,
        progress: ProgressFunction | None,
        cancel: Cancel | None,
        renew: RenewFunction | None,
        size: int,
    ) -> None:
        super().__init__(handle, progress, cancel, renew)
        self._size = size
        self._position = self._streamed = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Position of the next read."""
        self._open_handle()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position of the next read, as for any file."""
        self._open_handle()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"whence must be 0, 1 or 2, not {whence}")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to byte {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Reads into any writable buffer, without a copy; returns 0 at the end."""
        if self._position != self._streamed:
            given = self.pread_into(buffer, self._position)
        else:
            self._open_handle()
            call, count = self._call(), c_size_t()
            with Buffer(buffer, writable=True) as into:
                if into.size == 0:
                    return 0
                arguments = into.address, into.size, call.ctl, byref(count), call.err
                call.check(lib.s3v_get_read(self._open_handle(), *arguments))
            given = count.value
            self._streamed += given
        self._position += given
        return given

    def pread_into(self, buffer: Any, offset: int) -> int:
        """Reads from byte ``offset`` into any writable buffer, and leaves the position unchanged; several threads may
        do so at once. Returns fewer bytes than the buffer holds only at the end."""
        self._open_handle()
        if offset < 0:
            raise ValueError(f"cannot read at byte {offset}, before the start")
        call, count = self._call(), c_size_t()
        with Buffer(buffer, writable=True) as into:
            arguments = offset, into.address, into.size, call.ctl, byref(count), call.err
            call.check(lib.s3v_get_pread(self._open_handle(), *arguments))
        return count.value

    def pread(self, size: int, offset: int) -> bytes:
        """Reads ``size`` bytes from byte ``offset``, fewer at the end. See :meth:`pread_into`."""
        buffer = bytearray(max(0, min(size, self._size - offset)))
        return bytes(memoryview(buffer)[: self.pread_into(buffer, offset)])


class Upload(_Stream):
    """A backup that is being stored. A clean exit of ``with`` commits it. After an exception, or :meth:`close` without
    :meth:`commit`, no version exists.

    With a checkpoint, that suspends the upload: :meth:`Vault.create` with the same checkpoint, also in another
    process, resumes it at :attr:`offset`. Without one, that aborts the upload. After Ctrl-C (KeyboardInterrupt) it
    happens in the background: the interpreter waits for it at its end, for 10 seconds at most, and logs what stays.
    """

    version: Version | None = None
    """The stored version, after the commit."""

    def __init__(
        self,
        handle: Handle,
        progress: ProgressFunction | None,
        cancel: Cancel | None,
        renew: RenewFunction | None,
        *,
        resumable: bool,
    ) -> None:
        super().__init__(handle, progress, cancel, renew)
        self._resumable = resumable

    def writable(self) -> bool:
        """Returns True."""
        return True

    def write(self, data: Any) -> int:
        """Writes all of any bytes-like object."""
        call = self._call()
        with Buffer(data) as source:
            call.check(lib.s3v_put_write(self._open_handle(), source.address, source.size, call.ctl, call.err))
            return source.size

    @property
    def offset(self) -> int:
        """The byte of the stream to continue at: after :meth:`Vault.create` with a checkpoint, or a failed write."""
        return int(lib.s3v_put_offset(self._open_handle()))

    def tell(self) -> int:
        """The same as :attr:`offset`."""
        return self.offset

    def commit(self) -> Version:
        """Makes the version visible, and returns it. After ``ErrorCode.OUTCOME_UNKNOWN``, call it again."""
        from ._version import Version

        if self.version is None:
            call, out = self._call(), Version.new_handle()
            result = lib.s3v_put_commit(self._open_handle(), call.ctl, out.out, call.err)
            if result == 0:
                # Before an exception of a progress function is raised: the version is stored all the same.
                self.version = Version(out, self._renew)
            call.check(result)
            self.close()
            assert self.version is not None
        return self.version

    def suspend(self) -> None:
        """Closes the upload, so that :meth:`Vault.create` with the same checkpoint can resume it. It is an error
        without a checkpoint."""
        self._open_handle()
        if not self._resumable:
            raise S3VaultError(
                ErrorCode.WRONG_STATE, "the upload has no checkpoint, so it cannot be resumed; close() aborts it"
            )
        self._end(lib.s3v_put_suspend)

    def abort(self) -> None:
        """Aborts the upload, waits until the store has removed it, and removes the checkpoint."""
        self._end(lib.s3v_put_abort)

    def close(self) -> None:
        """Closes the upload. If it is not committed, this suspends it if there is a checkpoint; otherwise it aborts it,
        and waits until the store has removed it."""
        self._end(lib.s3v_put_suspend if self._resumable else lib.s3v_put_abort)

    def _end(self, function: Any) -> None:
        try:
            if self._handle is not None and self.version is None:
                call = Call()
                call.check(function(self._handle, call.ctl, call.err))
        finally:
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon(value)
        elif self.version is None:
            if self.closed:
                # Most likely a wrapper closed it. Without an error the caller would think that it is stored.
                message = "the upload was closed before its 'with' block ended, so nothing was stored"
                raise S3VaultError(ErrorCode.WRONG_STATE, message)
            try:
                self.commit()
            except S3VaultError as error:
                # The handle can commit() again.
                if error.code != ErrorCode.OUTCOME_UNKNOWN:
                    self._abandon(error)
                raise
            except BaseException as error:
                self._abandon(error)
                raise

    def _abandon(self, raised: BaseException | None) -> None:
        """Closes while another exception is being raised, which must not be hidden."""
        if isinstance(raised, KeyboardInterrupt):
            # A person waits: the library ends the upload in the background.
            _Stream.close(self)
            return
        try:
            self.close()
        except S3VaultError as error:
            what = "the upload was not suspended cleanly" if self._resumable else "an unfinished upload may be left"
            _log.warning("%s: %s", what, error)

    def __del__(self) -> None:
        # Not IOBase's, which closes and waits: the library suspends or aborts in the background.
        if self._handle is not None:
            self._handle = None
            warnings.warn(f"unclosed {type(self).__name__} was collected; nothing was stored", ResourceWarning, 2)

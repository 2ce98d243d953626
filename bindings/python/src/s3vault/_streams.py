"""The streams of a backup: one that stores, one that restores. One thread at a time on each."""

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
    """A raw stream over a handle that goes with it."""

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
        handle = self._handle
        if handle is None:
            raise ValueError("I/O operation on closed file")
        return handle

    def _call(self) -> Call:
        return Call(self._progress, self._cancel, self._renew)

    def close(self) -> None:
        """Closes the stream."""
        self._handle = None
        super().close()


class Download(_Stream):
    """The data of a version. :meth:`Version.open` gives it with a buffer around it.

    What is read in order is one stream, which ends after all was verified. After a :meth:`seek` away from it, bytes are
    read by position, each time; a :meth:`seek` back to where the stream stands goes on with it.
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
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        self._open_handle()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Where the next read begins, as of any file."""
        self._open_handle()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"whence is {whence}, and 0, 1 or 2 is wanted")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"a seek to byte {base + offset}, before the begin")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Reads into any writable buffer, without a copy; 0 is the end."""
        if self._position != self._streamed:
            given = self.pread_into(buffer, self._position)
        else:
            handle, call, count = self._open_handle(), self._call(), c_size_t()
            with Buffer(buffer, writable=True) as into:
                if into.size == 0:
                    return 0
                call.check(lib.s3v_get_read(handle, into.address, into.size, call.ctl, byref(count), call.err))
            given = count.value
            self._streamed += given
        self._position += given
        return given

    def pread_into(self, buffer: Any, offset: int) -> int:
        """Reads by position into any writable buffer, and moves nothing; threads may share it. Fewer bytes than there
        is room for are the end."""
        handle, call, count = self._open_handle(), self._call(), c_size_t()
        if offset < 0:
            raise ValueError(f"a read at byte {offset}, before the begin")
        with Buffer(buffer, writable=True) as into:
            call.check(lib.s3v_get_pread(handle, offset, into.address, into.size, call.ctl, byref(count), call.err))
        return count.value

    def pread(self, size: int, offset: int) -> bytes:
        """``size`` bytes from byte ``offset`` on, fewer at the end. See :meth:`pread_into`."""
        buffer = bytearray(max(0, min(size, self._size - offset)))
        return bytes(memoryview(buffer)[: self.pread_into(buffer, offset)])


class Upload(_Stream):
    """A backup that is being stored. A clean exit of ``with`` commits; an exception, or :meth:`close` without
    :meth:`commit`, leaves no version behind.

    With a checkpoint, they suspend it: ``create`` with the same checkpoint goes on, in another process too, at
    :attr:`offset`. Without one they give it up.
    """

    version: Version | None = None
    """What was stored, after the commit."""

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
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Takes all of any bytes-like object, without a copy of its own."""
        handle, call = self._open_handle(), self._call()
        with Buffer(data) as source:
            call.check(lib.s3v_put_write(handle, source.address, source.size, call.ctl, call.err))
            return source.size

    @property
    def offset(self) -> int:
        """Where in the stream to go on: after ``create`` with a checkpoint, and after a write that failed."""
        return int(lib.s3v_put_offset(self._open_handle()))

    def tell(self) -> int:
        """The same as :attr:`offset`."""
        return self.offset

    def commit(self) -> Version:
        """Makes the version visible. After ``ErrorCode.OUTCOME_UNKNOWN``, call it again."""
        from ._version import Version

        if self.version is None:
            handle, call, out = self._open_handle(), self._call(), Version.new_handle()
            result = lib.s3v_put_commit(handle, call.ctl, out.out, call.err)
            if result == 0:
                # Before anything that a progress function raised at the very end: it is stored all the same.
                self.version = Version(out, self._renew)
            call.check(result)
            self.close()
            assert self.version is not None
        return self.version

    def suspend(self) -> None:
        """Closes, so that ``create`` with the same checkpoint goes on. Refused where there is no checkpoint."""
        self._open_handle()
        if not self._resumable:
            raise S3VaultError(
                ErrorCode.WRONG_STATE, "the upload has no checkpoint, so nothing could go on with it: close() gives it up"
            )
        self._end(lib.s3v_put_suspend)

    def abort(self) -> None:
        """Gives the upload up, and waits until the store has dropped it; a checkpoint is removed."""
        self._end(lib.s3v_put_abort)

    def close(self) -> None:
        """Without a commit: suspends where there is a checkpoint; else gives the upload up, and waits until the store
        has dropped it."""
        self._end(lib.s3v_put_suspend if self._resumable else lib.s3v_put_abort)

    def _end(self, function: Any) -> None:
        handle, self._handle = self._handle, None
        try:
            if handle is not None and self.version is None:
                call = Call()
                call.check(function(handle, call.ctl, call.err))
        finally:
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
        elif self.version is None:
            if self.closed:
                # By the end of a wrapper, most likely: an exit without an error would pass for "stored".
                message = "the upload was closed before its 'with' block ended, so nothing was stored"
                raise S3VaultError(ErrorCode.WRONG_STATE, message)
            try:
                self.commit()
            except S3VaultError as error:
                # The handle is good for another commit().
                if error.code != ErrorCode.OUTCOME_UNKNOWN:
                    self._abandon()
                raise
            except BaseException:
                self._abandon()
                raise

    def _abandon(self) -> None:
        """Closes where another exception is on its way and must not be hidden."""
        try:
            self.close()
        except S3VaultError as error:
            what = "the upload was not suspended in order" if self._resumable else "an unfinished upload may be left"
            _log.warning("%s: %s", what, error)

    def __del__(self) -> None:
        # Not IOBase's, which closes: the library suspends or aborts in the background, without a wait here.
        if self._handle is not None:
            self._handle = None
            warnings.warn(f"unfinished {type(self).__name__} was dropped; nothing was stored", ResourceWarning, 2)

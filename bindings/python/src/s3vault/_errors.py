"""The one exception of this package, and how it is made from the library's error."""

from __future__ import annotations

import enum
import errno
from typing import Any

from . import _ffi
from ._tables import ERRORS, ErrorCode, ErrorInfo

_INFO: dict[int, ErrorInfo] = {row.code: row for row in ERRORS}


class ErrorFlag(enum.IntFlag):
    """Who is at fault, and what may be done about it."""

    MISUSE = 1
    REMOTE = 2
    TRANSPORT = 4
    RETRYABLE = 8
    MAYBE_SENT = 16


_FAMILY_FLAGS = {
    "misuse": ErrorFlag.MISUSE,
    "remote": ErrorFlag.REMOTE,
    "transport": ErrorFlag.TRANSPORT,
    "local": ErrorFlag(0),
}


class S3VaultError(Exception):
    """What went wrong (``message``) and what helps (``hint``).

    ``http_status`` is 0, and the texts are empty, where no store's answer was involved.
    """

    code: ErrorCode
    """Number of the error; comparable with the constants of :class:`ErrorCode`."""
    name: str
    """The code's constant in C, for example ``S3V_E_NOT_FOUND``."""
    message: str
    hint: str
    flags: ErrorFlag
    http_status: int
    s3_code: str
    """S3's own error code, for example ``NoSuchKey``."""
    request_id: str
    operation: str
    """The S3 operation, for example ``PutObject``."""
    bucket: str
    key: str

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        info = _INFO[code]
        self.code, self.name, self.message, self.hint = code, info.name, message, info.hint
        self.flags = _FAMILY_FLAGS[info.family]
        self.http_status = 0
        self.s3_code = self.request_id = self.operation = self.bucket = self.key = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __repr__(self) -> str:
        return f"S3VaultError({self.name}: {self.message!r})"

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        return _INFO[self.code].exit

    @classmethod
    def from_library(cls, code: int, error: Any) -> S3VaultError:
        """The library's error as an exception; the library's stays the caller's to free."""

        def text(field: int) -> str:
            value: bytes | None = _ffi.lib.s3v_error_get(error, field)
            return (value or b"").decode(errors="replace")

        # A newer library may know more codes: then the name says what the number here cannot.
        made = cls(ErrorCode(code) if code in _INFO else ErrorCode.INTERNAL, text(_ffi.FIELD_MESSAGE))
        made.name = text(_ffi.FIELD_NAME)
        made.hint = text(_ffi.FIELD_HINT)
        made.flags = ErrorFlag(_ffi.lib.s3v_error_flags(error))
        made.http_status = _ffi.lib.s3v_error_http_status(error)
        made.s3_code = text(_ffi.FIELD_S3_CODE)
        made.request_id = text(_ffi.FIELD_REQUEST_ID)
        made.operation = text(_ffi.FIELD_OPERATION)
        made.bucket = text(_ffi.FIELD_BUCKET)
        made.key = text(_ffi.FIELD_KEY)
        return made

    @classmethod
    def from_os(cls, error: OSError, doing: str) -> S3VaultError:
        """A file's error with the code that the library gives to the same one."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = ErrorCode.DISK_FULL if full else ErrorCode.IO
        return cls(code, f"{doing}: {error.strerror or error}")

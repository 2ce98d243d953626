"""The exception of this package, and how it is made from an error of the library."""

from __future__ import annotations

import errno
from typing import Any

from ._abi import ErrorField, ErrorFlag
from ._ffi import lib
from ._tables import ERRORS, ErrorCode, ErrorInfo

_INFO: dict[int, ErrorInfo] = {row.code: row for row in ERRORS}


class S3VaultError(Exception):
    """What failed and why (``message``), and what to do about it (``hint``)."""

    code: ErrorCode
    """Code of the error, a member of :class:`ErrorCode`."""
    name: str
    """Name of the code in the C interface, for example ``S3V_E_NOT_FOUND``."""
    message: str
    """What failed and why."""
    hint: str
    """What to do about it; may be empty."""
    flags: ErrorFlag
    """Whose fault it is, and whether a retry may help."""
    http_status: int
    """HTTP status of the store's reply; 0 if there was no reply."""
    s3_code: str
    """S3's error code in the reply, for example ``NoSuchKey``; empty if there was none."""
    request_id: str
    """The store's id of the request; empty if there was none."""
    operation: str
    """S3 operation that failed, for example ``PutObject``; empty if it was not an operation."""
    bucket: str
    """Bucket of the operation; may be empty."""
    key: str
    """Object key of the operation; may be empty."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        info = _INFO[code]
        self.code, self.name, self.message, self.hint = code, info.name, message, info.hint
        self.flags = ErrorFlag[info.family.upper()]
        self.http_status = 0
        self.s3_code = self.request_id = self.operation = self.bucket = self.key = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __repr__(self) -> str:
        return f"S3VaultError({self.name}: {self.message!r})"

    @property
    def exit_code(self) -> int:
        """Exit code of the command for this error."""
        return _INFO[self.code].exit

    @classmethod
    def from_library(cls, code: int, error: Any) -> S3VaultError:
        """Makes an exception of an error of the library, which the caller still has to free."""

        def text(field: int) -> str:
            value: bytes | None = lib.s3v_error_get(error, field)
            return (value or b"").decode(errors="replace")

        # A newer library may have codes that are not in the table here: the name still says which one it is.
        made = cls(ErrorCode(code) if code in _INFO else ErrorCode.INTERNAL, text(ErrorField.MESSAGE))
        made.name = text(ErrorField.NAME)
        made.hint = text(ErrorField.HINT)
        made.flags = ErrorFlag(lib.s3v_error_flags(error))
        made.http_status = lib.s3v_error_http_status(error)
        made.s3_code = text(ErrorField.S3_CODE)
        made.request_id = text(ErrorField.REQUEST_ID)
        made.operation = text(ErrorField.OPERATION)
        made.bucket = text(ErrorField.BUCKET)
        made.key = text(ErrorField.KEY)
        return made

    @classmethod
    def from_os(cls, error: OSError, doing: str) -> S3VaultError:
        """Makes an exception of an error of the operating system, with the code that the library has for it."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = ErrorCode.DISK_FULL if full else ErrorCode.IO
        return cls(code, f"{doing}: {error.strerror or error}")

"""Backups in S3 and S3-compatible stores.

    import s3vault

    keyring = s3vault.Keyring.open("vault.keys")
    with s3vault.open({"api_url": "https://s3.example.com", "bucket": "backups", ...}, keyring=keyring) as vault:
        with vault.create("web01", "disk.img") as f:      # a clean exit commits
            f.write(data)
        version = vault.find("web01", "disk.img")
        version.restore("disk.img")

Every failure raises :class:`S3VaultError`. Progress functions run on the calling thread; an exception in one, or
Ctrl-C, stops the call and is raised from it.
"""

from . import process
from ._abi import ErrorFlag
from ._call import Cancel, Progress
from ._config import Config, OptionValue
from ._errors import S3VaultError
from ._ffi import library_version
from ._keyring import Keyring
from ._manifest import Verdict, verify_manifest
from ._options import FindOptions, GetOptions, PutOptions, RestoreOptions
from ._sign import Difference, Explanation, explain, presign, sign
from ._streams import Download, Upload
from ._tables import ERRORS, OPTIONS, ErrorCode, ErrorInfo, OptionInfo
from ._vault import CredentialsFunction, Rows, Vault, open
from ._version import Version, VersionInfo

__version__ = "0.1.0"

# Tracebacks, `repr` and `help` name the public classes and functions as users import them.
for _public in (
    Cancel,
    Config,
    Difference,
    Download,
    ErrorCode,
    ErrorFlag,
    ErrorInfo,
    Explanation,
    FindOptions,
    GetOptions,
    Keyring,
    OptionInfo,
    Progress,
    PutOptions,
    RestoreOptions,
    Rows,
    S3VaultError,
    Upload,
    Vault,
    Verdict,
    Version,
    VersionInfo,
    explain,
    library_version,
    open,
    presign,
    sign,
    verify_manifest,
):
    _public.__module__ = __name__
del _public

__all__ = [
    "ERRORS",
    "OPTIONS",
    "Cancel",
    "Config",
    "CredentialsFunction",
    "Difference",
    "Download",
    "ErrorCode",
    "ErrorFlag",
    "ErrorInfo",
    "Explanation",
    "FindOptions",
    "GetOptions",
    "Keyring",
    "OptionInfo",
    "OptionValue",
    "Progress",
    "PutOptions",
    "RestoreOptions",
    "Rows",
    "S3VaultError",
    "Upload",
    "Vault",
    "Verdict",
    "Version",
    "VersionInfo",
    "explain",
    "library_version",
    "open",
    "presign",
    "process",
    "sign",
    "verify_manifest",
]

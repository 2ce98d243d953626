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
from ._job import ItemFunction, JobItem, JobReport, Retirement
from ._keyring import Kek, Keyring, KeyringImport, KeyringInfo
from ._manifest import Verdict, verify_manifest
from ._options import (
    AdoptOptions,
    FindOptions,
    GetOptions,
    ListOptions,
    PruneOptions,
    PutOptions,
    RekeyOptions,
    RestoreOptions,
    RotateOptions,
    SweepOptions,
    VerifyOptions,
)
from ._sign import Difference, Explanation, explain, presign, sign
from ._streams import Download, Upload
from ._tables import ERRORS, OPTIONS, ErrorCode, ErrorInfo, OptionInfo
from ._vault import CredentialsFunction, Vault, open
from ._verification import BadPart, VerifyReport, VersionFunction, VersionReport
from ._version import Rows, UploadInfo, Version, VersionInfo

__version__ = "0.1.0"

# Tracebacks, `repr` and `help` name the public classes and functions as users import them.
for _public in (
    AdoptOptions,
    BadPart,
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
    JobItem,
    JobReport,
    Kek,
    Keyring,
    KeyringImport,
    KeyringInfo,
    ListOptions,
    OptionInfo,
    Progress,
    PruneOptions,
    PutOptions,
    RestoreOptions,
    Retirement,
    Rows,
    S3VaultError,
    RekeyOptions,
    RotateOptions,
    SweepOptions,
    Upload,
    UploadInfo,
    Vault,
    Verdict,
    VerifyOptions,
    VerifyReport,
    Version,
    VersionInfo,
    VersionReport,
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
    "AdoptOptions",
    "BadPart",
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
    "ItemFunction",
    "JobItem",
    "JobReport",
    "Kek",
    "Keyring",
    "KeyringImport",
    "KeyringInfo",
    "ListOptions",
    "OptionInfo",
    "OptionValue",
    "Progress",
    "PruneOptions",
    "PutOptions",
    "RekeyOptions",
    "RestoreOptions",
    "Retirement",
    "RotateOptions",
    "Rows",
    "S3VaultError",
    "SweepOptions",
    "Upload",
    "UploadInfo",
    "Vault",
    "Verdict",
    "VerifyOptions",
    "VerifyReport",
    "Version",
    "VersionFunction",
    "VersionInfo",
    "VersionReport",
    "explain",
    "library_version",
    "open",
    "presign",
    "process",
    "sign",
    "verify_manifest",
]

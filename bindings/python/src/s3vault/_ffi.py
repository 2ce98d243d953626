"""Loads the library and declares its functions, which :mod:`s3vault._abi` lists. Nothing else loads it."""

from __future__ import annotations

import os
from ctypes import CDLL, c_uint32
from pathlib import Path

from ._abi import ABI_VERSION, FUNCTIONS

SONAME = "libs3vault.so.0"


def _find() -> CDLL:
    """The library that S3VAULT_LIBRARY names, else the one in the package, else the system's."""
    named = os.environ.get("S3VAULT_LIBRARY")
    packaged = Path(__file__).with_name("_native") / "libs3vault.so"
    if named:
        path, hint = named, "the file in S3VAULT_LIBRARY"
    elif packaged.exists():
        path, hint = str(packaged), "the file in the package"
    else:
        path, hint = SONAME, "the package contains no library: install it with pip, or set S3VAULT_LIBRARY"
    try:
        return CDLL(path)
    except OSError as error:
        raise ImportError(f"cannot load the library of s3vault: {error} ({hint})") from error


def _load() -> CDLL:
    library = _find()
    try:
        library.s3v_abi_version.restype = c_uint32
        found = library.s3v_abi_version()
        if found != ABI_VERSION:
            raise ImportError(
                f"the library {library._name} has ABI version {found}, this package needs {ABI_VERSION}: "
                "install the package and the library of the same release"
            )
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise ImportError(f"{library._name} is not a library of s3vault: {error}") from error
    return library


lib = _load()


def library_version() -> str:
    """Name and version of the library that was loaded, for example ``s3vault 0.1.0``."""
    return str(lib.s3v_version_text().decode())

"""The C interface as ctypes sees it: structures, the table of functions, and the library itself.

One concept for each pointer: every handle has a class of its own, so that ctypes refuses a vault where a version
is wanted. `include/s3vault.h` is the manual of these functions.
"""

from __future__ import annotations

import os
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)
from pathlib import Path
from typing import Any

# The ABI that the table below describes (S3V_ABI_VERSION).
ABI_VERSION = 0
SONAME = "libs3vault.so.0"

EVENT_PROGRESS, EVENT_LOG, EVENT_CREDENTIALS, EVENT_ORPHAN, EVENT_HEARTBEAT = range(1, 6)
UNKNOWN = 2**64 - 1

FIELD_NAME, FIELD_MESSAGE, FIELD_HINT, FIELD_S3_CODE, FIELD_REQUEST_ID = range(5)
FIELD_OPERATION, FIELD_BUCKET, FIELD_KEY, FIELD_JSON = range(5, 9)


def _opaque(name: str) -> Any:
    """A pointer to a structure that only the library knows."""
    return POINTER(type(name, (Structure,), {}))


Error = _opaque("s3v_error")
Bytes = _opaque("s3v_bytes")
Config = _opaque("s3v_config")
Cancel = _opaque("s3v_cancel")
Keyring = _opaque("s3v_keyring")
Vault = _opaque("s3v_vault")
Put = _opaque("s3v_put")
Version = _opaque("s3v_version")
Get = _opaque("s3v_get")
List = _opaque("s3v_list")


class Event(Structure):
    """`s3v_event`: valid during the callback only."""

    _fields_ = [
        ("size", c_uint32),
        ("kind", c_int32),
        ("done", c_uint64),
        ("total", c_uint64),
        ("parts", c_uint64),
        ("retries", c_uint64),
        ("text", c_char_p),
    ]


# The context is declared as a Python object: `_call` says why.
EventFunction = CFUNCTYPE(c_int32, py_object, POINTER(Event))


class Ctl(Structure):
    """`s3v_ctl`: what one call may report and be stopped by."""

    _fields_ = [
        ("size", c_uint32),
        ("ctx", py_object),
        ("on_event", EventFunction),
        ("cancel", Cancel),
        ("timeout_ms", c_uint64),
    ]


class Row(Structure):
    """`s3v_row`: a version, or only a name."""

    _fields_ = [
        ("size", c_uint32),
        ("kind", c_int32),
        ("container", c_char_p),
        ("path", c_char_p),
        ("vid", c_char_p),
        ("parent", c_char_p),
        ("initiated_ms", c_int64),
        ("recorded_ms", c_int64),
        ("bytes", c_uint64),
        ("manifest_hash", c_char_p),
    ]


class Stats(Structure):
    """`s3v_stats`: what the transfers of this process use."""

    _fields_ = [
        ("size", c_uint32),
        ("transfers", c_uint32),
        ("memory", c_uint64),
        ("memory_peak", c_uint64),
        ("memory_limit", c_uint64),
        ("connections", c_uint64),
        ("connections_peak", c_uint64),
        ("connections_limit", c_uint64),
        ("bytes_up", c_uint64),
        ("bytes_down", c_uint64),
    ]


_out = POINTER
_CTL = POINTER(Ctl)
_ERR = POINTER(Error)

# name: (result, arguments), in the order of the header.
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "s3v_abi_version": (c_uint32, []),
    "s3v_version_text": (c_char_p, []),
    "s3v_settings_json": (c_char_p, []),
    "s3v_process_set": (c_int32, [c_char_p, c_char_p, _ERR]),
    "s3v_process_stats": (c_int32, [POINTER(Stats), _ERR]),
    "s3v_shutdown": (c_int32, [c_uint64, _ERR]),
    "s3v_error_code": (c_int32, [Error]),
    "s3v_error_http_status": (c_int32, [Error]),
    "s3v_error_flags": (c_uint32, [Error]),
    "s3v_error_get": (c_char_p, [Error, c_int32]),
    "s3v_error_free": (None, [Error]),
    "s3v_bytes_data": (c_void_p, [Bytes, POINTER(c_size_t)]),
    "s3v_bytes_free": (None, [Bytes]),
    "s3v_config_new": (Config, []),
    "s3v_config_set": (c_int32, [Config, c_char_p, c_char_p, _ERR]),
    "s3v_config_get": (c_int32, [Config, c_char_p, _out(Bytes), _ERR]),
    "s3v_config_load": (c_int32, [Config, c_char_p, _ERR]),
    "s3v_config_env": (c_int32, [Config, _ERR]),
    "s3v_config_free": (None, [Config]),
    "s3v_cancel_new": (Cancel, []),
    "s3v_cancel_trigger": (None, [Cancel]),
    "s3v_cancel_free": (None, [Cancel]),
    "s3v_keyring_open": (c_int32, [c_char_p, c_void_p, c_size_t, c_int32, _out(Keyring), _ERR]),
    "s3v_keyring_info": (c_int32, [Keyring, _out(Bytes), _ERR]),
    "s3v_keyring_free": (None, [Keyring]),
    "s3v_vault_update": (c_int32, [Vault, Config, _CTL, _ERR]),
    "s3v_vault_open": (c_int32, [Config, Keyring, _CTL, _out(Vault), _ERR]),
    "s3v_vault_free": (None, [Vault]),
    "s3v_put_open": (c_int32, [Vault, c_char_p, c_char_p, Config, _CTL, _out(Put), _ERR]),
    "s3v_put_offset": (c_uint64, [Put]),
    "s3v_put_write": (c_int32, [Put, c_void_p, c_size_t, _CTL, _ERR]),
    "s3v_put_commit": (c_int32, [Put, _CTL, _out(Version), _ERR]),
    "s3v_put_suspend": (c_int32, [Put, _CTL, _ERR]),
    "s3v_put_abort": (c_int32, [Put, _CTL, _ERR]),
    "s3v_put_free": (None, [Put]),
    "s3v_put_file": (
        c_int32,
        [Vault, c_char_p, c_char_p, c_char_p, Config, _CTL, _out(Version), _ERR],
    ),
    "s3v_put_fd": (
        c_int32,
        [Vault, c_char_p, c_char_p, c_int32, Config, _CTL, _out(Version), _ERR],
    ),
    "s3v_version_find": (c_int32, [Vault, c_char_p, c_char_p, Config, _CTL, _out(Version), _ERR]),
    "s3v_version_info": (POINTER(Row), [Version]),
    "s3v_version_manifest": (c_int32, [Version, _CTL, _out(Bytes), _ERR]),
    "s3v_version_free": (None, [Version]),
    "s3v_get_open": (c_int32, [Version, Config, _CTL, _out(Get), _ERR]),
    "s3v_get_read": (c_int32, [Get, c_void_p, c_size_t, _CTL, POINTER(c_size_t), _ERR]),
    "s3v_get_pread": (c_int32, [Get, c_uint64, c_void_p, c_size_t, _CTL, POINTER(c_size_t), _ERR]),
    "s3v_get_free": (None, [Get]),
    "s3v_get_file": (c_int32, [Version, c_char_p, Config, _CTL, _ERR]),
    "s3v_get_fd": (c_int32, [Version, c_int32, Config, _CTL, _ERR]),
    "s3v_list_versions": (c_int32, [Vault, c_char_p, c_char_p, Config, _CTL, _out(List), _ERR]),
    "s3v_list_containers": (c_int32, [Vault, Config, _CTL, _out(List), _ERR]),
    "s3v_list_paths": (c_int32, [Vault, c_char_p, c_char_p, Config, _CTL, _out(List), _ERR]),
    "s3v_list_next": (c_int32, [List, _CTL, _out(POINTER(Row)), _ERR]),
    "s3v_list_free": (None, [List]),
    "s3v_manifest_verify": (c_int32, [c_void_p, c_size_t, c_char_p, _out(Bytes), _ERR]),
    "s3v_sign": (c_int32, [Config, c_int64, c_char_p, c_char_p, c_char_p, c_char_p, _out(Bytes), _ERR]),
    "s3v_presign": (c_int32, [Config, c_int64, c_char_p, c_char_p, c_char_p, c_uint32, _out(Bytes), _ERR]),
    "s3v_explain": (c_int32, [c_char_p, c_char_p, _out(Bytes), _ERR]),
}


def _find() -> CDLL:
    """S3VAULT_LIBRARY, the packaged file, the soname; the first that is there is the one that is meant."""
    named = os.environ.get("S3VAULT_LIBRARY")
    packaged = Path(__file__).with_name("_native") / "libs3vault.so"
    if named:
        path, hint = named, "S3VAULT_LIBRARY names this file"
    elif packaged.exists():
        path, hint = str(packaged), "the package carries this file"
    else:
        path, hint = SONAME, "the package carries no library: install it by pip, or set S3VAULT_LIBRARY"
    try:
        return CDLL(path)
    except OSError as error:
        raise ImportError(f"s3vault's library cannot be loaded: {error} ({hint})") from error


def _load() -> CDLL:
    library = _find()
    try:
        library.s3v_abi_version.restype = c_uint32
        found = library.s3v_abi_version()
        if found != ABI_VERSION:
            raise ImportError(
                f"the library {library._name} has ABI version {found}, this package needs {ABI_VERSION}: "
                "install package and library of one release"
            )
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise ImportError(f"{library._name} is not the library that this package needs: {error}") from error
    return library


lib = _load()


def library_version() -> str:
    """Name and version of the library that was loaded, for example ``s3vault 0.1.0``."""
    return str(lib.s3v_version_text().decode())

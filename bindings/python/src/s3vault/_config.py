"""Settings. They come from where the caller says, and from nowhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Union

from . import _abi
from ._call import Call, FilePath, Handle, from_file, from_text, new_bytes, take_bytes
from ._errors import S3VaultError
from ._ffi import lib
from ._tables import ErrorCode
from ._time import to_ms

OptionValue = Union[str, bool, int, datetime, timedelta, "os.PathLike[str]", Mapping[str, str]]


def option_text(key: str, value: OptionValue) -> bytes:
    """Encodes a value for the library."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, datetime):
        return str(to_ms(value, key)).encode()
    if isinstance(value, timedelta):
        return f"{int(value.total_seconds())}s".encode()
    if isinstance(value, os.PathLike):
        # Options are UTF-8, so the name of a file must be too.
        return from_text(os.fspath(value), key)
    if isinstance(value, Mapping):
        return from_text("\n".join(_label(key, name, text) for name, text in value.items()), key)
    return from_text(str(value) if isinstance(value, int) else value, key)


def _label(option: str, name: str, text: str) -> str:
    """``NAME=TEXT``. A separator in it would make it several labels."""
    if any(separator in name + text for separator in ",\n") or "=" in name:
        raise S3VaultError(
            ErrorCode.INVALID_OPTION,
            f"{option}: {name!r}: {text!r} is not a label: a key or a value has no commas and line ends, a key no '='",
        )
    return f"{name}={text}"


class Config:
    """Settings of a vault. The value that is set last wins, so load files before the environment::

        config = Config().load("s3vault.toml").env()

    ``OPTIONS`` lists all keys. An unknown key is an error that names the nearest one.
    """

    def __init__(self, values: Mapping[str, OptionValue] | None = None) -> None:
        self._handle = Handle(_abi.Config, lib.s3v_config_free)
        self._handle._as_parameter_ = lib.s3v_config_new()
        for key, value in (values or {}).items():
            self.set(key, value)

    def set(self, key: str, value: OptionValue) -> Config:
        """Sets a value; an empty string unsets it."""
        call = Call()
        call.check(lib.s3v_config_set(self._handle, from_text(key, "a key"), option_text(key, value), call.err))
        return self

    def load(self, file: FilePath) -> Config:
        """Loads a TOML file: one flat table of settings."""
        call = Call()
        call.check(lib.s3v_config_load(self._handle, from_file(file), call.err))
        return self

    def env(self) -> Config:
        """Loads the environment: ``S3VAULT_`` and the key in upper case."""
        call = Call()
        call.check(lib.s3v_config_env(self._handle, call.err))
        return self

    def get(self, key: str) -> str:
        """The value of a key, or its default. Secrets are shown as ``***``."""
        return self._get(from_text(key, "a key"))

    def warnings(self) -> list[str]:
        """The warnings of the values that were loaded, such as a misspelled environment variable."""
        call, out = Call(), new_bytes()
        call.check(lib.s3v_config_warnings(self._handle, out.out, call.err))
        return list(json.loads(take_bytes(out)))

    def _get(self, key: bytes | None) -> str:
        call, out = Call(), new_bytes()
        call.check(lib.s3v_config_get(self._handle, key, out.out, call.err))
        return take_bytes(out).decode()

    def __repr__(self) -> str:
        return f"Config({json.loads(self._get(None))!r})"


def call_options(**values: OptionValue | None) -> Config | None:
    """The options of one call; an option that is None is left out."""
    given = {key: value for key, value in values.items() if value is not None}
    return Config(given) if given else None


def handle_of(config: Config | None) -> Handle | None:
    """The handle to pass; NULL if there are no options."""
    return None if config is None else config._handle

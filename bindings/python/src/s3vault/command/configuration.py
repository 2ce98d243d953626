"""Where the settings of the command come from."""

from __future__ import annotations

import argparse
import os

from .. import process
from .._config import Config
from .._errors import S3VaultError
from .._keyring import Keyring
from .._tables import OPTIONS
from .._vault import Vault
from .._vault import open as open_vault
from .output import Output

_VARIABLE = "S3VAULT_CONFIG"
_DEFAULT_FILES = ("~/.config/s3vault/config.toml", "/etc/s3vault/config.toml")

# For `--help`.
PLACES = "\n".join(f"  {place}" for place in ("--config FILE", f"the file named by {_VARIABLE}", *_DEFAULT_FILES))


def find_file(named: str | None) -> str | None:
    """The configuration file: the one that is named, or the first default file that exists.

    The working folder is not one of the places: it may belong to somebody else.
    """
    named = named or os.environ.get(_VARIABLE)
    if named:
        return named
    files = (os.path.expanduser(file) for file in _DEFAULT_FILES)
    # Without a home folder, the name stays relative.
    return next((file for file in files if os.path.isabs(file) and os.path.exists(file)), None)


def load(args: argparse.Namespace, output: Output) -> Config:
    """The settings of the configuration file, and over them those of the environment."""
    config = Config()
    output.configuration = find_file(args.config)
    if output.configuration is None:
        output.looked_for = _DEFAULT_FILES
        output.verbose("no configuration file was found; the settings are those of the environment")
    else:
        output.verbose(f"the settings are those of {output.configuration} and of the environment")
        config.load(output.configuration)
    config.env()
    _print_warnings(config, output)
    return config


def warn_of_environment(output: Output) -> None:
    """Prints the warnings about the environment, for a subcommand that needs no settings."""
    config = Config()
    try:
        config.env()
    except S3VaultError as error:
        output.warning(error.message)
    _print_warnings(config, output)


def _print_warnings(config: Config, output: Output) -> None:
    for warning in config.warnings():
        output.warning(warning)


def open_with(config: Config, keyring: Keyring | None = None) -> Vault:
    """Opens the vault, and sets the limits of this process, which are among the same settings. ``keyring`` takes the
    place of the one of the settings."""
    process.set(**{row.key: config.get(row.key) for row in OPTIONS if row.scope == "process"})
    return open_vault(config, keyring=keyring)

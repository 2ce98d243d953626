"""Where the command's settings come from."""

from __future__ import annotations

import argparse
import os

from .. import process
from .._config import Config
from .._tables import OPTIONS
from .._vault import Vault
from .._vault import open as open_vault
from .output import Output

DEFAULT_FILE = "s3vault.toml"
PLACES = """\
  --config FILE
  s3vault.toml in this folder"""


def load(args: argparse.Namespace, output: Output) -> Config:
    """The settings of the configuration file, and over them those of the environment."""
    config = Config()
    file = args.config
    if file is None and os.path.exists(DEFAULT_FILE):
        file = DEFAULT_FILE
    if file is not None:
        output.verbose(f"the settings are read from {file}")
        config.load(file)
    return config.env()


def open_with(config: Config) -> Vault:
    """Opens the vault, and sets the limits of this process, which are among the same settings."""
    process.set(**{row.key: config.get(row.key) for row in OPTIONS if row.scope == "process"})
    return open_vault(config)

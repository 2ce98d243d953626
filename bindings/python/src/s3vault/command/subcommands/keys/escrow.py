"""What `keys export` and `keys rotate --out` share: an escrow file that is written."""

from __future__ import annotations

import argparse
import os

from ...._config import Config
from ...._keyring import Keyring
from ...configuration import load
from ...output import Output
from .secrets import passphrase


def write_escrow(args: argparse.Namespace, file: str, keyring: Keyring, out: str, output: Output) -> None:
    """Exports the keyring in `file` to the new file `out`."""
    config = _config_of(args, file, output)
    if args.recipient:
        keyring.export(recipients=args.recipient, config=config, file=out)
    else:
        secret = passphrase(args.passphrase_file, twice=True)
        keyring.export(passphrase=secret, config=config, file=out)


def _config_of(args: argparse.Namespace, file: str, output: Output) -> Config | None:
    """The settings of the vault that the keyring belongs to, if they are known."""
    config = load(args, output)
    configured = config.get("keyring")
    if configured and not (os.path.exists(configured) and os.path.samefile(configured, file)):
        output.notice(f"the settings name another keyring ({configured}), so the escrow file has keys only")
        return None
    if not (config.get("bucket_prefix") if config.get("mode") == "bucket-per-vm" else config.get("bucket")):
        output.notice("the settings name no bucket, so the escrow file has keys only")
        return None
    return config

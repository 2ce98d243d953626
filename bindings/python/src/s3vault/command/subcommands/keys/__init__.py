"""`s3vault keys`: its subcommands, one module each."""

from . import activate, distrust, export, import_, list_, new, new_signing_key, public, retire, rotate, show

SUMMARY = "create a keyring, change its keys, and keep a copy of them for an emergency"
EXAMPLES = """\
  s3vault keys new vault.keys
  s3vault keys export vault.keys vault.escrow.age
  s3vault keys public vault.keys > vault.pub
"""
SUBCOMMANDS = (new, public, list_, rotate, export, activate, retire, import_, new_signing_key, distrust, show)

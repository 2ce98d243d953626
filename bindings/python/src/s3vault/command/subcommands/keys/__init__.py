"""`s3vault keys`: its subcommands, one module each."""

from . import new, public

SUMMARY = "create a keyring, or show its public key"
EXAMPLES = """\
  s3vault keys new vault.keys
  s3vault keys public vault.keys > vault.pub
"""
SUBCOMMANDS = (new, public)

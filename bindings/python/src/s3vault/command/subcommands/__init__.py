"""The subcommands, one module each, in the order in which `--help` lists them.

A new one is a module here (see `Subcommand` and `Group` in `parser.py`) and its name in `SUBCOMMANDS`.
"""

from . import explain, get, keys, ls, manifest, presign, put, settings, sign, versions

SUBCOMMANDS = (put, get, versions, ls, manifest, keys, settings, sign, presign, explain)

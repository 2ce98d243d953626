"""The subcommands, one module each, in the order in which `--help` lists them.

A new one is a module here (see `Subcommand` and `Group` in `parser.py`) and its name in `SUBCOMMANDS`.
"""

from . import (
    adopt,
    chain,
    explain,
    get,
    init,
    keys,
    ls,
    manifest,
    presign,
    prune,
    put,
    rekey,
    restore,
    rm,
    rotate,
    settings,
    sign,
    sweep,
    undelete,
    uploads,
    verify,
    versions,
)

SUBCOMMANDS = (
    init,
    put,
    get,
    restore,
    versions,
    chain,
    ls,
    uploads,
    manifest,
    verify,
    rm,
    undelete,
    prune,
    sweep,
    rekey,
    rotate,
    adopt,
    keys,
    settings,
    sign,
    presign,
    explain,
)

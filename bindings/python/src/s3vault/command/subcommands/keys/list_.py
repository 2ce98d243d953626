"""`s3vault keys list`."""

from __future__ import annotations

import argparse

from ...._keyring import Keyring
from ...._time import rfc3339
from ...output import Output
from .keyring import add_file, keyring_file

SUMMARY = "list the keys of a keyring, and which of them an escrow file has"
EXAMPLES = """\
  s3vault keys list vault.keys
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_file(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Lists the keys."""
    file = keyring_file(args, output, "s3vault keys list vault.keys")
    info = Keyring.open(file).info
    if output.json:
        output.object({"type": "signing", "id": info.id, "public": info.public})
        for public in info.earlier:
            output.object({"type": "earlier", "id": public.split()[1], "public": public})
        for kek in info.keks:
            output.object(
                {
                    "type": "kek",
                    "id": kek.id,
                    "created": rfc3339(kek.created),
                    "escrowed": kek.escrowed,
                    "current": kek.current,
                }
            )
        for retired in info.retired:
            output.object({"type": "retired", "id": retired})
        return
    rows = [(info.id, "signing", "-", "-", "-")]
    rows += [(public.split()[1], "earlier", "-", "-", "-") for public in info.earlier]
    for kek in info.keks:
        escrowed, current = ("yes" if flag else "no" for flag in (kek.escrowed, kek.current))
        rows.append((kek.id, "kek", rfc3339(kek.created), escrowed, current))
    rows += [(retired, "retired", "-", "-", "-") for retired in info.retired]
    output.table(("ID", "TYPE", "CREATED", "ESCROWED", "CURRENT"), rows)
    if not all(kek.escrowed for kek in info.keks):
        output.notice(f"some keys are in this file only; keep a copy: s3vault keys export {file} OUT")

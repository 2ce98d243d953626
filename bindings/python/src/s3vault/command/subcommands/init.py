"""`s3vault init`."""

from __future__ import annotations

import argparse

from ..configuration import load, open_with
from ..output import Output

SUMMARY = "check the bucket and make the vault in it, as the first put does"
EXAMPLES = """\
  s3vault init
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares no arguments."""


def run(args: argparse.Namespace, output: Output) -> None:
    """Makes the vault."""
    config = load(args, output)
    mode = config.get("mode")
    with open_with(config) as vault:
        made = vault.init()
    if output.json:
        output.object({"made": made, "mode": mode, "bucket": vault.bucket or None})
    elif mode == "bucket-per-vm":
        output.text("nothing to make: the first put of a container makes its bucket")
    elif made:
        output.text(f"made the vault in bucket {vault.bucket} (mode {mode})")
    else:
        output.text(f"the vault in bucket {vault.bucket} is there already (mode {mode})")

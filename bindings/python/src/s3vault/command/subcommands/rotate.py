"""`s3vault rotate`."""

from __future__ import annotations

import argparse

from ..configuration import load, open_with
from ..jobs import add_job_arguments, run_job
from ..output import Output

SUMMARY = "wrap the keys of stored versions with the keyring's current key"
EXAMPLES = """\
  s3vault keys rotate vault.keys --out escrow.age
  s3vault rotate --dry-run
  s3vault rotate
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_job_arguments(parser, grace=False)


def run(args: argparse.Namespace, output: Output) -> None:
    """Runs the job."""
    config = load(args, output)
    given = {"container": args.container, "dry_run": args.dry_run or None}
    with open_with(config) as vault:
        run_job(
            output,
            "rotating",
            lambda show: vault.rotate(on_item=show, **given),
            "no data key is wrapped with an older key",
        )

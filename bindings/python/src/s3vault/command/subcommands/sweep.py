"""`s3vault sweep`."""

from __future__ import annotations

import argparse

from ..configuration import load, open_with
from ..jobs import add_job_arguments, run_job
from ..output import Output

SUMMARY = "free what was deleted before, and what crashed puts left"
EXAMPLES = """\
  s3vault sweep --dry-run
  s3vault sweep
  s3vault sweep web01 --grace 36h
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_job_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Runs the job."""
    config = load(args, output)
    given = {"container": args.container, "dry_run": args.dry_run or None, "grace": args.grace}
    with open_with(config) as vault:
        run_job(output, "sweeping", lambda show: vault.sweep(on_item=show, **given))

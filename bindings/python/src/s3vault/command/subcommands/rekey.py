"""`s3vault rekey`."""

from __future__ import annotations

import argparse

from ..configuration import load, open_with
from ..jobs import add_job_arguments, run_job
from ..output import Output

SUMMARY = "copy stored versions under new data keys, after a key leaked (sse-c)"
EXAMPLES = """\
  s3vault rekey --dry-run
  s3vault rekey
  s3vault rekey vm01__1f2e3d4c disks/sda.img
  s3vault rekey --through-client
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_job_arguments(parser, grace=False)
    parser.add_argument("path", metavar="PATH", nargs="?", help="only the backup with this path in CONTAINER")
    parser.add_argument("--version", metavar="ID", help="only this version of the backup")
    parser.add_argument(
        "--grace",
        metavar="TIME",
        help="leave the data from before alone for this long, for example 36h: a later run removes it (default: 7d)",
    )
    parser.add_argument(
        "--through-client",
        action="store_true",
        help="where the store cannot copy such data (Ceph), read it and send it again: it passes through this machine",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Runs the job."""
    config = load(args, output)
    given = {
        "container": args.container,
        "path": args.path,
        "version": args.version,
        "dry_run": args.dry_run or None,
        "grace": args.grace,
        "through_client": args.through_client or None,
    }
    with open_with(config) as vault:
        run_job(
            output,
            "re-keying",
            lambda show: vault.rekey(on_item=show, **given),
            "no data is under an older key",
        )

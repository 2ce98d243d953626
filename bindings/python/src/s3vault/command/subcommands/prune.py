"""`s3vault prune`."""

from __future__ import annotations

import argparse

from ..arguments import words
from ..configuration import load, open_with
from ..jobs import add_job_arguments, run_job
from ..output import Output

SUMMARY = "delete the versions that the retention lets go, and free what was deleted before"
EXAMPLES = """\
  s3vault prune --dry-run
  s3vault prune
  s3vault prune web01 --keep-fulls 7 --keep-inc-days 14
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_job_arguments(parser)
    for flag, metavar, what in (
        ("--keep-fulls", "N", "keep the N newest full backups of each backup (retention_full_versions)"),
        ("--keep-full-days", "DAYS", "keep full backups for DAYS days (retention_full_days)"),
        ("--keep-incs", "N", "keep the N newest incremental backups of each backup (retention_inc_versions)"),
        ("--keep-inc-days", "DAYS", "keep incremental backups for DAYS days (retention_inc_days)"),
    ):
        parser.add_argument(flag, metavar=metavar, help=f"{what}; default: as configured, 0: no limit")
    parser.add_argument(
        "--keep-last",
        metavar="true|false",
        help="keep the newest version of each backup, however old it is (default: as configured)",
    )
    parser.add_argument(
        "--scope",
        metavar=words("retention_scope"),
        help="apply the retention to each backup, or to all paths of a container together (retention_scope)",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Runs the job."""
    config = load(args, output)
    given = {
        "container": args.container,
        "dry_run": args.dry_run or None,
        "grace": args.grace,
        "retention_full_versions": args.keep_fulls,
        "retention_full_days": args.keep_full_days,
        "retention_inc_versions": args.keep_incs,
        "retention_inc_days": args.keep_inc_days,
        "keep_last": args.keep_last,
        "retention_scope": args.scope,
    }
    with open_with(config) as vault:
        run_job(output, "pruning", lambda show: vault.prune(on_item=show, **given))

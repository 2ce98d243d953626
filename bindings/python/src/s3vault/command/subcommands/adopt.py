"""`s3vault adopt`."""

from __future__ import annotations

import argparse

from ..configuration import load, open_with
from ..jobs import run_job
from ..output import Output

SUMMARY = "make versions of what other programs wrote into the bucket as CONTAINER/PATH"
EXAMPLES = """\
  s3vault adopt --dry-run
  s3vault adopt web01
  s3vault adopt --hash
  s3vault adopt --keys old-keys.jsonl     data that the store encrypts with these keys (SSE-C)

The file of --keys has one JSON object per line:
  {"key": "web01/disk.img", "version_id": "3HL4kqtJ", "sse_c_key": "32 bytes in base64"}
Without version_id, the key is for all versions that no other line names.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("container", metavar="CONTAINER", nargs="?", help="only this container (default: all)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say for each object what would be done and why, and change nothing"
    )
    parser.add_argument(
        "--hash",
        action="store_true",
        help="read all of it, so that it is verified as any other version; also what was adopted without that",
    )
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="the keys of objects that are encrypted with SSE-C (adopt_keys; mode 0600): see below",
    )
    parser.add_argument(
        "--buckets",
        metavar="BUCKET=CONTAINER,...",
        help="in mode bucket-per-vm: the containers' buckets to adopt (adopt_buckets; default: those of the vault)",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Runs the job."""
    given = {
        "container": args.container,
        "dry_run": args.dry_run or None,
        "hash": args.hash or None,
        "adopt_buckets": args.buckets,
        "adopt_keys": args.keys,
    }
    with open_with(load(args, output)) as vault:
        run_job(output, "adopting", lambda show: vault.adopt(on_item=show, **given), "nothing to adopt")

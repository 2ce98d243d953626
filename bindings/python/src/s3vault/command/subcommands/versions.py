"""`s3vault versions`."""

from __future__ import annotations

import argparse

from ..._time import rfc3339
from ..arguments import add_label, add_names, named
from ..configuration import load, open_with
from ..output import Output, size_text, version_fields

SUMMARY = "list the versions of a backup, newest first"
EXAMPLES = """\
  s3vault versions web01 disk.img
  s3vault versions web01 disk.img --label job=nightly
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)
    add_label(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Lists the versions."""
    with open_with(load(args, output)) as vault:
        what = f"backup {args.container} {args.path}"
        if args.label:
            what = f"version of {what} with the label {args.label}"
        hint = f"List the paths of the container: s3vault ls {args.container}"
        versions = named(vault.versions(args.container, args.path, label=args.label), what, hint, vault)
        if output.json:
            for info in versions:
                output.object(version_fields(info))
        else:
            output.table(
                ("VERSION", "KIND", "SIZE", "RECORDED", "PARENT"),
                ((v.vid, v.kind, size_text(v.size), rfc3339(v.recorded), v.parent or "-") for v in versions),
            )

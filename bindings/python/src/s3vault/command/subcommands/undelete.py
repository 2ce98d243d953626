"""`s3vault undelete`."""

from __future__ import annotations

import argparse

from ..arguments import add_names
from ..configuration import load, open_with
from ..output import Output, version_fields, version_text

SUMMARY = "take the deletion of a backup back"
EXAMPLES = """\
  s3vault undelete web01 disk.img
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_names(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Takes the deletion back."""
    with open_with(load(args, output)) as vault:
        info = vault.undelete(args.container, args.path).info
    done = f"the newest version of {version_text(info)} is {info.vid} again"
    with output.report(done, "Do not run it again: it is done."):
        if output.json:
            output.object(version_fields(info))
        else:
            output.text(done)

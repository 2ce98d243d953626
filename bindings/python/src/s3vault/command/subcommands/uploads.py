"""`s3vault uploads`."""

from __future__ import annotations

import argparse

from ..._time import rfc3339
from ..configuration import load, open_with
from ..output import Output, printable

SUMMARY = "list multipart uploads that are in progress, or were left by a put that was killed"
EXAMPLES = """\
  s3vault uploads
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments: there are none."""


def run(args: argparse.Namespace, output: Output) -> None:
    """Lists the uploads."""
    with open_with(load(args, output)) as vault:
        if output.json:
            for upload in vault.uploads():
                output.object(
                    {
                        "container": upload.container,
                        "path": upload.path,
                        "vid": upload.vid,
                        "upload_id": upload.upload_id,
                        "initiated": rfc3339(upload.initiated),
                    }
                )
            return
        output.table(
            ("INITIATED", "VERSION", "CONTAINER", "PATH", "UPLOAD"),
            (
                (rfc3339(u.initiated), u.vid or "-", printable(u.container), printable(u.path), printable(u.upload_id))
                for u in vault.uploads()
            ),
        )

"""`s3vault presign`."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

from ..._errors import S3VaultError
from ..._sign import presign
from ..._tables import ErrorCode
from ..arguments import add_request, headers
from ..configuration import load
from ..output import Output

SUMMARY = "print a URL with which others can send one request, for a limited time"
EXAMPLES = """\
  s3vault presign GET s3://backups/a.txt
  s3vault presign PUT s3://backups/a.txt --expires 7d -H 'content-type: text/plain'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_request(parser)
    parser.add_argument(
        "--expires", metavar="TIME", default="1h", help="lifetime of the URL: 90s, 15m, 1h, at most 7d (default: 1h)"
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Prints the URL."""
    expires = _duration(args.expires)
    url = presign(load(args, output), args.method, args.url, expires=expires, headers=headers(args))
    if output.json:
        output.object({"method": args.method.upper(), "url": url, "expires_s": expires // timedelta(seconds=1)})
    else:
        print(url)


def _duration(text: str) -> timedelta:
    found = re.fullmatch("([0-9]{1,9})([smhd]?)", text)
    if found is None:
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"--expires {text!r} is not a time such as 90s, 15m, 1h or 7d")
    return int(found[1]) * timedelta(seconds={"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]])

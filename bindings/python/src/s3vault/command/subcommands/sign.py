"""`s3vault sign`."""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex

from ..._errors import S3VaultError
from ..._sign import presign, sign
from ..._tables import ErrorCode
from ..arguments import add_request, headers
from ..configuration import load
from ..files import CHUNK, reader
from ..output import Output

SUMMARY = "sign a request (AWS Signature Version 4) and print the headers to add"
EXAMPLES = """\
  s3vault sign GET https://s3.example.com/backups/a.txt
  s3vault sign PUT s3://backups/a.txt --payload a.txt -H 'content-type: text/plain' --curl | sh
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_request(parser)
    parser.add_argument(
        "--payload",
        metavar="FILE|-|HASH",
        help="body of the request: a file, - for standard input, its SHA-256 in hex, or a value of "
        "x-amz-content-sha256 (default: UNSIGNED-PAYLOAD)",
    )
    parser.add_argument("--curl", action="store_true", help="print a curl command line that sends the request")


def run(args: argparse.Namespace, output: Output) -> None:
    """Prints the headers, or the command line."""
    config = load(args, output)
    if args.curl and args.payload == "-":
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, "curl cannot read standard input again: name a file")
    given = headers(args)
    payload_hash = _payload_hash(args.payload)
    added = sign(config, args.method, args.url, headers=given, payload_hash=payload_hash)
    url = args.url
    if url.lower().startswith("s3://"):
        # The library knows where that is: in the URL that it presigns.
        url = presign(config, args.method, url).partition("?")[0]
    method = args.method.upper()
    if args.curl:
        body = args.payload if args.payload is not None and payload_hash != args.payload else None
        output.text(_curl(method, url, [*given, *added.items()], body))
    elif output.json:
        output.object({"method": method, "url": url, "headers": added})
    else:
        for name, value in added.items():
            print(f"{name}: {value}")


def _curl(method: str, url: str, headers: list[tuple[str, str]], file: str | None) -> str:
    # Without these, curl changes the URL that was signed (dots in the path, brackets).
    words = ["curl", "--path-as-is", "--globoff", *(["--head"] if method == "HEAD" else ["-X", method])]
    for name, value in headers:
        # A semicolon tells curl to send a header without a value.
        words += ["-H", f"{name}: {value.strip()}" if value.strip() else f"{name};"]
    if file is not None:
        words += ["-T", file]
    return shlex.join([*words, url])


def _payload_hash(payload: str | None) -> str:
    """The SHA-256 of the named file; a hash, or a value of x-amz-content-sha256, is returned unchanged."""
    if payload is None:
        return ""
    if re.fullmatch("[0-9a-fA-F]{64}|UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+", payload):
        return payload
    digest = hashlib.sha256()
    with reader(payload) as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

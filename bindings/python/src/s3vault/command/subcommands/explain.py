"""`s3vault explain`."""

from __future__ import annotations

import argparse

from ..._errors import S3VaultError
from ..._sign import Difference, Explanation, _explain, explain
from ..._tables import ErrorCode
from ..files import read_text
from ..output import Output, printable

SUMMARY = "say why a store refused a signature: the first difference, and its likely cause"
EXAMPLES = """\
  s3vault explain request.txt reply.xml
  curl -v ... 2> request.txt > reply.xml; s3vault explain request.txt reply.xml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "request", metavar="REQUEST", help="file with the request that was sent: its first line and its headers"
    )
    parser.add_argument("reply", metavar="REPLY", nargs="?", help="file with the body of the store's reply")


def run(args: argparse.Namespace, output: Output) -> None:
    """Explains the refusal."""
    if args.request == "-" and args.reply == "-":
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, "standard input cannot be both the request and the reply")
    request = read_text(args.request)
    reply = read_text(args.reply) if args.reply is not None else ""
    if output.json:
        output.text(_explain(request, reply))
    else:
        _print(explain(request, reply))


def _print(found: Explanation) -> None:
    """The cause first, then the evidence for it."""
    print(f"cause  {printable(found.cause)}")
    for note in found.notes:
        print(f"note   {printable(note)}")
    if found.store_code:
        print(f"store  {printable(found.store_code)}: {printable(found.store_message)}")
    d = found.difference
    in_request = d is not None and d.part not in ("date", "scope", "canonical request's hash")
    if d is not None:
        text = "canonical request" if in_request else "string to sign"
        where = f", line {d.line} of the {text}" if d.line else ""
        print(f"\nfirst difference: {printable(' '.join(filter(None, (d.part, d.name))))}{where}")
        print(f"  signed  {printable(d.ours) or '(missing)'}")
        print(f"  store   {printable(d.store) or '(missing)'}")
        longer = d.ours if len(d.ours) >= d.column else d.store
        print(" " * (10 + len(printable(longer[: d.column - 1]))) + "^")
    for title, text, is_request in (
        ("canonical request, as signed", found.canonical_request, True),
        ("canonical request, as the store computed it", found.store_canonical_request, True),
        ("string to sign, as signed", found.string_to_sign, False),
        ("string to sign, as the store computed it", found.store_string_to_sign, False),
    ):
        if text:
            _print_marked(title, text, d if is_request == in_request else None)


def _print_marked(title: str, text: str, difference: Difference | None) -> None:
    print(f"\n{title}:")
    for number, line in enumerate(text.split("\n"), 1):
        mark = ">" if difference is not None and number == difference.line else " "
        print(f"{mark} {printable(line)}".rstrip())

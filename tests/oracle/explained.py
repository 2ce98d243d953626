#!/usr/bin/env python3
"""What a proxy does to a request on its way, seen through `explain`, against the store that the environment names.

The store must say what it saw (StringToSign, CanonicalRequest): AWS does, and so does versitygw. Each request is signed
by the library, one thing in it is changed as a proxy would change it, and the store's own refusal must lead back to it.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta, timezone

import s3vault
from raw import URL as STORE
from raw import send

URL = os.environ["S3VAULT_API_URL"]
PATH = f"/{os.environ['S3VAULT_BUCKET']}/vm/disk%20a"
KEYS = {
    "access_key": os.environ["S3VAULT_ACCESS_KEY"],
    "secret_key": os.environ["S3VAULT_SECRET_KEY"],
    "region": os.environ.get("S3VAULT_REGION", "us-east-1"),
}
HEADERS = {"x-amz-meta-a": "one", "x-amz-meta-b": "two words"}


def signed(keys: dict[str, str], target: str, now: datetime | None = None) -> dict[str, str]:
    """The headers of a GET."""
    return {"host": STORE.netloc, **HEADERS, **s3vault.sign(keys, "GET", URL + target, headers=HEADERS, now=now)}


def main() -> int:
    good = signed(KEYS, PATH + "?versionId=null&x-id=GetObject")
    target = PATH + "?versionId=null&x-id=GetObject"
    old = datetime.now(timezone.utc) - timedelta(hours=1)
    # What was signed, what is sent in its place, the part that explain must name, and a word of its cause.
    changes = [
        ("nothing but the secret", signed({**KEYS, "secret_key": "wrong"}, target), "GET", target, None, "secret_key"),
        ("a header's value", good, "GET", target, ("header", "x-amz-meta-a", {"x-amz-meta-a": "other"}), "x-amz-meta-a"),
        ("the host", good, "GET", target, ("header", "host", {"host": "proxy.internal"}), "Host"),
        ("the query", good, "GET", target + "&added=1", ("query", "added", {}), "added"),
        ("the path", good, "GET", PATH.replace("%20", "%2520") + "?versionId=null&x-id=GetObject", ("path", "", {}), "path"),
        ("the method", good, "DELETE", target, ("method", "", {}), "method"),
        ("the region", signed({**KEYS, "region": "eu-north-9"}, target), "GET", target, ("scope", "", {}), "region"),
        ("the clock", signed(KEYS, target, now=old), "GET", target, ("date", "", {}), "clock"),
    ]
    failed = 0
    for what, headers, method, sent, expected, word in changes:
        part, name, rewritten = expected or (None, "", {})
        status, body = send(method, sent, {**headers, **rewritten}.items())
        reply = body.decode()
        request = "\n".join([f"GET {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items()), "", ""])
        told = s3vault.explain(request, reply)
        found = told.difference
        right = (
            status >= 400
            and (found is None if part is None else found is not None and (found.part, found.name) == (part, name))
            and word.lower() in told.cause.lower()
        )
        failed += not right
        print(f"{what}: {'ok' if right else 'WRONG'}", flush=True)
        if not right:
            print(f"  status {status}, {found}\n  {told.cause}\n  {reply[:600]}")
    print(f"explained: {len(changes) - failed} of {len(changes)} refusals led back to what was changed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

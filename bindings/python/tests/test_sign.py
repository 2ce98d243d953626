"""Signatures: equal to those of botocore, accepted by the store, and explained if they are refused."""

from __future__ import annotations

import hashlib
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

import s3vault
from s3vault import ErrorCode, S3VaultError

MAY_24 = datetime(2013, 5, 24, tzinfo=timezone.utc)
KEYS: dict[str, str] = {
    "access_key": "AKIAIOSFODNN7EXAMPLE",
    "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}
EVERY_BYTE = quote(bytes(range(1, 256)), safe="/~")
# The presigner of botocore decodes the query to text.
EVERY_CHARACTER = quote("".join(map(chr, range(1, 0x180))), safe="~")
REQUESTS = [
    ("GET", "https://examplebucket.s3.amazonaws.com/", {}, b""),
    ("GET", "http://127.0.0.1:9000/b/k?versionId=3&uploads&b=2&a=1&b=1&empty=", {"Range": "bytes=0-9"}, b""),
    ("PUT", f"http://h/{EVERY_BYTE}?prefix={EVERY_CHARACTER}", {"X-Amz-Meta-A": "  a   b "}, b"body"),
    ("POST", "http://h//a//./b/../c?delete", {"content-MD5": "x==", "x-amz-meta-z": '"q  q"'}, b"<Delete/>"),
    ("HEAD", "http://h/k", {"x-amz-meta-" + c: c for c in "zyxcba"}, b""),
    ("DELETE", "http://[::1]:9000/k?versionId=null", {}, b""),
]
TOKENS = pytest.mark.parametrize("token", [None, "to/ken+="], ids=["static", "temporary"])
EACH_REQUEST = pytest.mark.parametrize(("method", "url", "headers", "body"), REQUESTS, ids=[r[0] for r in REQUESTS])


def raised(code: ErrorCode) -> pytest.RaisesExc[S3VaultError]:
    return pytest.RaisesExc(S3VaultError, check=lambda error: error.code == code)


def settings(token: str | None) -> dict[str, str]:
    return {**KEYS, "region": "eu-central-1", **({"session_token": token} if token else {})}


def amz_date(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


@pytest.mark.without_store
@EACH_REQUEST
@TOKENS
def test_headers_equal_botocores(
    method: str, url: str, headers: dict[str, str], body: bytes, token: str | None
) -> None:
    theirs = AWSRequest(method, url, headers=dict(headers), data=body)
    S3SigV4Auth(Credentials(KEYS["access_key"], KEYS["secret_key"], token), "s3", "eu-central-1").add_auth(theirs)
    ours = s3vault.sign(
        settings(token),
        method,
        url,
        headers=headers,
        payload_hash=hashlib.sha256(body).hexdigest(),
        now=amz_date(theirs.headers["X-Amz-Date"]),
    )
    assert ours == {name: theirs.headers[name] for name in ours}
    assert ("x-amz-security-token" in ours) == (token is not None)


@pytest.mark.without_store
@EACH_REQUEST
@TOKENS
def test_urls_equal_botocores(method: str, url: str, headers: dict[str, str], body: bytes, token: str | None) -> None:
    # The presigner of botocore drops repeated parameters.
    url = url.replace("&b=1", "")
    theirs = AWSRequest(method, url, headers=dict(headers))
    keys = Credentials(KEYS["access_key"], KEYS["secret_key"], token)
    S3SigV4QueryAuth(keys, "s3", "eu-central-1", expires=86_400).add_auth(theirs)
    query = parse_qs(urlsplit(theirs.url).query, keep_blank_values=True)
    ours = s3vault.presign(
        settings(token),
        method,
        url,
        headers=headers,
        expires=timedelta(days=1),
        now=amz_date(query["X-Amz-Date"][0]),
    )
    assert parse_qs(urlsplit(ours).query, keep_blank_values=True) == query


@pytest.mark.without_store
def test_other_services_use_the_general_rule() -> None:
    url = "https://sts.eu-central-1.amazonaws.com//a/./b%20c/?Action=GetCallerIdentity&Version=2011-06-15"
    theirs = AWSRequest("GET", url, headers={})
    keys = Credentials(KEYS["access_key"], KEYS["secret_key"])
    SigV4Auth(keys, "sts", "eu-central-1").add_auth(theirs)
    ours = s3vault.sign({**settings(None), "service": "sts"}, "GET", url, now=amz_date(theirs.headers["X-Amz-Date"]))
    assert ours == {"x-amz-date": theirs.headers["X-Amz-Date"], "authorization": theirs.headers["Authorization"]}


@pytest.mark.without_store
def test_the_documented_example() -> None:
    url = "https://examplebucket.s3.amazonaws.com/test.txt"
    presigned = s3vault.presign(KEYS, "GET", url, expires=timedelta(days=1), now=MAY_24)
    assert presigned.startswith(url + "?")
    assert presigned.endswith("=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


@pytest.mark.without_store
def test_requests_that_cannot_be_signed() -> None:
    url = "http://h/k"
    with raised(ErrorCode.INVALID_ARGUMENT):
        s3vault.sign(KEYS, "PATCH", url)
    with raised(ErrorCode.INVALID_ARGUMENT):
        s3vault.sign(KEYS, "GET", url, headers={"a": "b\nc: d"})
    with raised(ErrorCode.INVALID_ARGUMENT):
        s3vault.sign(KEYS, "GET", url, payload_hash="00")
    with raised(ErrorCode.INVALID_OPTION):
        s3vault.sign({}, "GET", url)
    with raised(ErrorCode.UNSUPPORTED) as caught:
        s3vault.sign(KEYS, "GET", "s3://arn:aws:s3::123456789012:accesspoint/x.mrap/key")
    assert "SigV4a" in caught.value.message
    for expires in (timedelta(0), timedelta(days=7, seconds=1), timedelta(days=-1), timedelta(days=100_000)):
        with raised(ErrorCode.INVALID_ARGUMENT):
            s3vault.presign(KEYS, "GET", url, expires=expires)
    with pytest.raises(ValueError, match="time zone"):
        s3vault.sign(KEYS, "GET", url, now=datetime(2013, 5, 24))


# Against the store


def send(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
    context = None
    if url.startswith("https:"):
        context = ssl.create_default_context(cafile=os.environ.get("S3VAULT_CA_FILE"))
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, context=context) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


@pytest.fixture
def key(container: str) -> Iterator[str]:
    """A key in the bucket of the store; its object is deleted afterwards."""
    name = f"{os.environ['S3VAULT_BUCKET']}/{container}"
    yield name
    send("DELETE", s3vault.presign(s3vault.Config().env(), "DELETE", f"s3://{name}"), {})


def test_the_store_accepts_signed_requests_and_refuses_changed_ones(key: str) -> None:
    config = s3vault.Config().env()
    url = s3vault.presign(config, "PUT", f"s3://{key}", headers={"x-amz-meta-a": "a  b"})
    assert send("PUT", url, {"x-amz-meta-a": "a  b"}, b"data")[0] == 200
    assert send("PUT", url, {"x-amz-meta-a": "other"}, b"data")[0] == 403
    assert send("GET", s3vault.presign(config, "GET", f"s3://{key}"), {}) == (200, b"data")

    plain = url.partition("?")[0]
    digest = hashlib.sha256(b"more").hexdigest()
    headers = s3vault.sign(config, "PUT", plain, payload_hash=digest)
    assert send("PUT", plain, headers, b"more")[0] == 200
    assert send("GET", plain, s3vault.sign(config, "GET", plain)) == (200, b"more")
    status, reply = send("GET", plain + "?partNumber=1", s3vault.sign(config, "GET", plain))
    assert status == 403
    path = urlsplit(plain).path
    lines = "\n".join(f"{name}: {value}" for name, value in s3vault.sign(config, "GET", plain).items())
    found = s3vault.explain(f"GET {path} HTTP/1.1\nhost: {urlsplit(plain).netloc}\n{lines}", reply.decode())
    assert found.store_code == "SignatureDoesNotMatch"
    assert "proxy" in found.cause or found.difference is not None


# Explaining


@pytest.mark.without_store
def test_the_first_difference_is_explained() -> None:
    added = s3vault.sign(KEYS, "GET", "http://h:9000/k", headers={"x-amz-meta-a": "1"}, now=MAY_24)
    lines = "\n".join(f"{name}: {value}" for name, value in added.items())
    request = f"GET /k HTTP/1.1\nHost: h:9000\nX-Amz-Meta-A: 1\n{lines}\n"
    alone = s3vault.explain(request)
    assert alone.difference is None
    assert alone.canonical_request.startswith("GET\n/k\n\nhost:h:9000\n")
    seen = alone.canonical_request.replace("h:9000", "h")
    reply = f"<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>{seen}</CanonicalRequest></Error>"
    found = s3vault.explain(request, reply)
    assert found.difference == s3vault.Difference("header", "host", 4, 7, "host:h:9000", "host:h")
    assert "preserve" in found.cause
    assert found.store_canonical_request == seen
    assert found.notes == ()
    with raised(ErrorCode.INVALID_ARGUMENT):
        s3vault.explain("GET / HTTP/1.1")

"""The two judges: botocore and awscrt, called so that they sign the very same request.

Where they differ from each other or from AWS's text, and what is compared then:

- Path. Both sign the path as it is sent. AWS's rule ("Create a signed AWS API request") starts from the key: each byte
  encoded once, slashes kept. Stores verify so, for they see the decoded key. Where a path is sent in another spelling
  (`%2f`, `%41`, a bare `+`), s3vault gets that spelling, and both peers the canonical one. The same holds for queries.
- A path of another service that ends in `/.` or `/..`. RFC 3986 §5.2.4, which AWS's text names, leaves the slash, and so
  does AWS's signer in Rust (aws-sigv4); botocore and awscrt both drop it. They get the path with the slash.
- A query without a name (`=v`), with an empty parameter (`&&`) or a bare `=` in a value. botocore takes them as they are,
  awscrt drops or encodes them. None of them means anything to S3: the requests here have none.
- Repeated query parameters in a presigned URL. botocore parses the query into a dictionary and keeps the first of each
  name (`{k: v[0] ...}` in SigV4QueryAuth): it signs, and sends, another request. awscrt alone is compared then.
- Bytes in a query that are no UTF-8, in a presigned URL. botocore's parse_qs turns them into U+FFFD: again awscrt alone.
"""

import pickle
import re
import subprocess
import sys
from datetime import timezone
from unittest import mock
from urllib.parse import parse_qsl, unquote_to_bytes

import awscrt.auth
import awscrt.http
import awscrt.io
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def _aws_request(request):
    url = f"https://{request.host}{request.canonical_path}"
    if request.canonical_query:
        url += "?" + request.canonical_query
    aws = AWSRequest(method=request.method, url=url)
    for name, value in request.headers:
        aws.headers.add_header(name, value)
    return aws


def _credentials(request):
    return Credentials(request.access_key, request.secret_key, request.session_token)


def _header_auth(request):
    kind = botocore.auth.S3SigV4Auth if request.service == "s3" else botocore.auth.SigV4Auth
    auth = kind(_credentials(request), request.service, request.region)
    # botocore knows not all the words for a payload: it is given the one that is meant.
    auth.payload = lambda _: request.content_sha256
    return auth


def _at(request):
    return mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: request.date)


def botocore_sign(request):
    """The signature, and the canonical request."""
    aws, auth = _aws_request(request), _header_auth(request)
    with _at(request):
        auth.add_auth(aws)
    signature = aws.headers["Authorization"].rsplit("Signature=", 1)[1]
    del aws.headers["Authorization"]
    return signature, auth.canonical_request(aws)


def botocore_presign(request):
    """The query as (name, value) pairs, and the canonical request; None where botocore cannot."""
    names = [part.split("=")[0] for part in request.canonical_query.split("&")]
    try:
        unquote_to_bytes(request.canonical_query).decode()
    except UnicodeDecodeError:
        return None
    if len(set(names)) < len(names):
        return None
    aws = _aws_request(request)
    auth = botocore.auth.S3SigV4QueryAuth(_credentials(request), "s3", request.region, expires=request.expires_s)
    with _at(request):
        auth.add_auth(aws)
    signed = aws.url
    aws.url = signed.rsplit("&X-Amz-Signature=", 1)[0]
    return pairs(signed.split("?", 1)[1]), auth.canonical_request(aws)


def pairs(query):
    """The parameters of a query, sorted, as bytes."""
    return sorted(parse_qsl(query, keep_blank_values=True, encoding="latin-1"))


def awscrt_sign(request, presign=False):
    headers = awscrt.http.HttpHeaders([("host", request.host), *request.headers])
    target = request.canonical_path + ("?" + request.canonical_query if request.canonical_query else "")
    message = awscrt.http.HttpRequest(request.method, target, headers)
    s3 = request.service == "s3"
    kinds, bodies = awscrt.auth.AwsSignatureType, awscrt.auth.AwsSignedBodyHeaderType
    config = awscrt.auth.AwsSigningConfig(
        signature_type=kinds.HTTP_REQUEST_QUERY_PARAMS if presign else kinds.HTTP_REQUEST_HEADERS,
        credentials_provider=awscrt.auth.AwsCredentialsProvider.new_static(
            request.access_key, request.secret_key, request.session_token),
        region=request.region,
        service=request.service,
        date=request.date.replace(tzinfo=timezone.utc),
        use_double_uri_encode=not s3,
        should_normalize_uri_path=not s3,
        signed_body_value=request.content_sha256,
        signed_body_header_type=bodies.X_AMZ_CONTENT_SHA_256 if s3 and not presign else bodies.NONE,
        expiration_in_seconds=request.expires_s or None,
    )
    signed = awscrt.auth.aws_sign_request(message, config).result(60)
    if presign:
        return pairs(signed.path.split("?", 1)[1])
    return signed.headers.get("authorization").rsplit("Signature=", 1)[1]


def awscrt_canonical(request, presign=False):
    """The canonical request that awscrt makes. It tells it to its log only, and writes that at its end: another process."""
    run = subprocess.run([sys.executable, __file__], input=pickle.dumps((request, presign)), capture_output=True, check=True)
    log = run.stderr.decode(errors="replace")
    found = re.findall(r"built canonical request[^\n]*\n(.*?)(?=\n\[[A-Z]+\] \[)", log, re.S)
    return found[-1] if found else f"(not in its log: {log})"


if __name__ == "__main__":
    awscrt.io.init_logging(awscrt.io.LogLevel.Info, "stderr")
    awscrt_sign(*pickle.load(sys.stdin.buffer))

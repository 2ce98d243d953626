#!/usr/bin/env python3
"""Nanoseconds per signature: s3vault beside other signers and the bare hashes, all in turns, in one table.

    bench_sign.py PROGRAM      (PROGRAM: target/release/bench-sign; `make bench-sign` does it all)

Each round every signer signs a turn; the table shows the median of the rounds. A signature counts only where it was the
same as s3vault's. Python's two are called the way the SDK calls them, their requests prepared outside the clock.
"""

import json
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from unittest import mock

import awscrt.auth
import awscrt.http
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

ROUNDS = 401
TURN = 10
BARE = "bare SHA-256 + HMAC"
FULL = ("aws-sigv4", "reqsign", "botocore", "awscrt")  # rusty-s3 presigns only
ORDER = (BARE, "s3vault", "aws-sigv4", "reqsign", "rusty-s3", "awscrt", "botocore")


class Botocore:
    name = "botocore"

    def __init__(self, case, kind):
        self.url = f"https://{case['host']}{case['path']}?{case[kind]['query']}"
        self.request = AWSRequest(method=case[kind]["method"], url=self.url)
        for name, value in case[kind].get("headers", []):
            self.request.headers[name] = value
        credentials = Credentials(case["access_key"], case["secret_key"])
        if kind == "header":
            # What Config(s3={"payload_signing_enabled": False}) of a client puts there.
            self.request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
            self.auth = botocore.auth.S3SigV4Auth(credentials, "s3", case["region"])
        else:
            expires = case[kind]["expires_s"]
            self.auth = botocore.auth.S3SigV4QueryAuth(credentials, "s3", case["region"], expires=expires)

    def signature(self):
        self.turn(1)
        return (self.request.headers.get("authorization") or self.request.url).rsplit("=", 1)[1]

    def prepare(self, turn):
        return turn

    def turn(self, turn):
        for _ in range(turn):
            # What it adds to headers it replaces by itself.
            self.request.url = self.url
            self.auth.add_auth(self.request)


class AwsCrt:
    name = "awscrt"

    def __init__(self, case, kind):
        self.case, self.kind = case, kind
        auth, header = awscrt.auth, kind == "header"
        types, bodies = auth.AwsSignatureType, auth.AwsSignedBodyHeaderType
        self.config = auth.AwsSigningConfig(
            signature_type=types.HTTP_REQUEST_HEADERS if header else types.HTTP_REQUEST_QUERY_PARAMS,
            credentials_provider=auth.AwsCredentialsProvider.new_static(case["access_key"], case["secret_key"]),
            region=case["region"],
            service="s3",
            date=datetime.fromtimestamp(case["unix_s"], timezone.utc),
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=auth.AwsSignedBodyValue.UNSIGNED_PAYLOAD,
            signed_body_header_type=bodies.X_AMZ_CONTENT_SHA_256 if header else bodies.NONE,
            expiration_in_seconds=case[kind].get("expires_s"),
        )

    def _request(self):
        case = self.case[self.kind]
        headers = awscrt.http.HttpHeaders([("host", self.case["host"]), *map(tuple, case.get("headers", []))])
        return awscrt.http.HttpRequest(case["method"], f"{self.case['path']}?{case['query']}", headers)

    def signature(self):
        signed = awscrt.auth.aws_sign_request(self._request(), self.config).result(10)
        return (signed.headers.get("authorization") or signed.path).rsplit("=", 1)[1]

    def prepare(self, turn):
        return [self._request() for _ in range(turn)]

    def turn(self, prepared):
        for request in prepared:
            awscrt.auth.aws_sign_request(request, self.config).result(10)


def clock(signer):
    prepared = signer.prepare(TURN)
    signer.turn(signer.prepare(1))
    start = time.perf_counter_ns()
    signer.turn(prepared)
    return (time.perf_counter_ns() - start) / TURN


def main():
    program = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first = program.stdout.readline()
    if not first:
        raise SystemExit("bench-sign: the program found a signature that differs")
    case = json.loads(first)
    at = datetime.fromtimestamp(case["unix_s"], timezone.utc)
    signers = {kind: [Botocore(case, kind), AwsCrt(case, kind)] for kind in ("header", "presigned")}
    times = {"header": {}, "presigned": {}}
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: at):
        for kind, those in signers.items():
            for signer in those:
                if signer.signature() != case[kind]["signature"]:
                    raise SystemExit(f"bench-sign: {signer.name}, {kind}: another signature than s3vault's")
        for n in range(ROUNDS + 1):
            program.stdin.write("round\n")
            program.stdin.flush()
            found = json.loads(program.stdout.readline())
            for kind, those in signers.items():
                found[kind] |= {signer.name: clock(signer) for signer in those}
                if n:  # the first warms up
                    for name, ns in found[kind].items():
                        times[kind].setdefault(name, []).append(ns)
    program.stdin.close()

    lengths = dict(zip(times, case["canonical"]))
    medians = {kind: {name: statistics.median(each) for name, each in found.items()} for kind, found in times.items()}
    for kind, title in (("header", "PUT of a part, signed in its headers"), ("presigned", "GET of a version, presigned")):
        found, (canonical, to_sign) = medians[kind], lengths[kind]
        print(f"\n{title} (canonical request {canonical} bytes, string to sign {to_sign})")
        print(f"{'':22}{'ns':>9}{'of bare':>10}{'of s3vault':>12}")
        for name in (name for name in ORDER if name in found):
            ns = found[name]
            print(f"{name:22}{ns:9,.0f}{ns / found[BARE]:10.2f}{ns / found['s3vault']:12.2f}")
    found = medians["header"]
    fastest = min(FULL, key=found.get)
    print(f"\nheader: s3vault takes {found['s3vault'] / found[BARE]:.2f} of the bare hashes (aim: at most 1.30) and "
          f"{found['s3vault'] / found[fastest]:.2f} of the fastest other signer, {fastest} (aim: at most 0.25)")
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())

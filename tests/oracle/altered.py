#!/usr/bin/env python3
"""A real server judges core's signatures: what core signed is accepted, and refused when one thing is altered.

    scripts/with-store.sh KIND -- altered.py [PROGRAM]

PROGRAM is a build of the package beside; without it the release build is taken (target/release/oracle). Requests of all
payload modes and presigned URLs go as they are to the store that the environment (S3VAULT_*) names; then each again for
every alteration. What a store is known to do in another way (no trailers, any region) is asked of core's provider
profiles. A surprise is printed, and ends with code 1.
"""

import dataclasses
import os
import re
import sys
import time
import urllib.parse
import zlib

from generate import STREAMED, b64
from oracle import PROGRAM, Core
from raw import URL, send

ENV = os.environ
# The smallest that a chunk before the last may be.
CHUNK = 8192
CHUNKS = [b"a" * CHUNK, b"b" * CHUNK, b"the end", b""]
BODY = b"".join(CHUNKS)
CHECKSUM = "x-amz-checksum-crc32"


@dataclasses.dataclass(frozen=True)
class Wire:
    """A request as it is sent. `body` is a list of pieces, so that one of them can be altered."""

    method: str
    path: str
    query: str
    headers: tuple
    body: tuple = ()

    def with_header(self, name, value):
        """Another value, or none with `None`."""
        headers = ((n, value if n == name else v) for n, v in self.headers)
        return dataclasses.replace(self, headers=tuple((n, v) for n, v in headers if v is not None))

    def with_piece(self, n, piece):
        return dataclasses.replace(self, body=self.body[:n] + (piece,) + self.body[n + 1:])

    def send(self):
        """Status and body."""
        body = b"".join(self.body)
        length = [("content-length", str(len(body)))] if self.method == "PUT" else []
        target = self.path + ("?" + self.query if self.query else "")
        return send(self.method, target, [*self.headers, *length], body)


def other(text):
    """The same text except for its last character, which is replaced by one of its kind."""
    last = text[-1]
    return text[:-1] + {"0": "1", "Z": "Y", "z": "y", "9": "8", "f": "e"}.get(last, chr(ord(last) + 1))


class Signer:
    """Signs by core."""

    def __init__(self, core):
        self._core = core

    def job(self, op, method, key, headers, payload, query="x-id=altered", ago_s=0, region=None, **more):
        return {
            "op": op, "access_key": ENV["S3VAULT_ACCESS_KEY"], "secret_key": ENV["S3VAULT_SECRET_KEY"],
            "session_token": None, "region": region or ENV["S3VAULT_REGION"], "service": "s3",
            "unix_ms": int((time.time() - ago_s) * 1000), "method": method, "host": URL.netloc,
            "path": "/" + ENV["S3VAULT_BUCKET"] + "/" + urllib.parse.quote(key, safe="-_.~/"), "query": query,
            "headers": headers, "payload": payload, "body": "",
        } | more

    def ask(self, job):
        answer = self._core.ask(job)
        if "error" in answer:
            raise SystemExit(f"altered: core refuses {job}: {answer['error']}")
        return answer

    def header(self, method, key, payload, body=b"", **more):
        """A request with its signature in the header."""
        headers = [("content-type", "text/plain"), ("x-amz-meta-of", "altered")] if method == "PUT" else []
        mode = next((mode for mode, word in STREAMED.items() if word == payload), None)
        if mode:
            headers += [("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", str(len(BODY)))]
            trailers = [] if mode == "chunks" else [(CHECKSUM, b64(zlib.crc32(BODY).to_bytes(4, "big")))]
            headers += [("x-amz-trailer", CHECKSUM)] if trailers else []
            more |= {"chunks": [b64(chunk) for chunk in CHUNKS], "hashed": False, "trailers": trailers}
        else:
            more["body"] = b64(body)
        job = self.job("chunks" if mode else "sign", method, key, headers, payload, **more)
        answer = self.ask(job)
        pieces = [body]
        if mode:
            pieces = []
            for line, chunk in zip(answer["lines"], CHUNKS):
                pieces += [line.encode(), chunk, b"\r\n" if chunk else b""]
            # Without trailers the last chunk ends with an empty line of its own.
            pieces.append(answer.get("trailer", "\r\n").encode())
        sent = (("host", URL.netloc), *map(tuple, headers), *map(tuple, answer["headers"]))
        return Wire(method, job["path"], job["query"], sent, tuple(pieces))

    def presigned(self, method, key, body=b"", expires_s=600, **more):
        headers = [("content-type", "text/plain")] if method == "PUT" else []
        job = self.job("presign", method, key, headers, "UNSIGNED-PAYLOAD", expires_s=expires_s, **more)
        sent = (("host", URL.netloc), *map(tuple, headers))
        return Wire(method, job["path"], self.ask(job)["query"], sent, (body,))


METHODS = {"PUT": "DELETE", "GET": "HEAD", "HEAD": "GET"}


def alterations(wire):
    """What every signed request must not survive, as (what, request)."""
    replace = lambda **change: dataclasses.replace(wire, **change)
    yield "the method", replace(method=METHODS[wire.method])
    yield "a byte of the path", replace(path=other(wire.path))
    yield "a query value", replace(query=wire.query.replace("x-id=altered", "x-id=altereD"))
    yield "a parameter added", replace(query=wire.query + "&y-id=1")
    for name, value in wire.headers:
        if name == "authorization":
            continue
        altered = f"localhost:{URL.port}" if name == "host" else other(value)
        if name == "x-amz-date":
            altered = other(value[:-1]) + "Z"
        yield f"the value of {name}", wire.with_header(name, altered)
        if name != "host":
            yield f"{name} removed", wire.with_header(name, None)


def header_alterations(wire):
    yield from alterations(wire)
    authorization = dict(wire.headers)["authorization"]
    region = ENV["S3VAULT_REGION"]
    for what, text in [
        ("the region in the scope", authorization.replace(f"/{region}/", f"/{other(region)}/")),
        ("the service in the scope", authorization.replace("/s3/", "/s4/")),
        ("the signature", other(authorization)),
        ("a name in SignedHeaders", authorization.replace(";x-amz-date", "")),
    ]:
        yield what, wire.with_header("authorization", text)


def chunk_alterations(wire, signed, trailer):
    """Of a body in chunks: pieces are line, bytes, line end for each chunk, and what follows the last one."""
    first, data, _, second = wire.body[:4]
    length, _, rest = first.partition(b";" if signed else b"\r\n")
    yield "a chunk's length", wire.with_piece(0, b"%x" % (int(length, 16) - 1) + first[len(length):])
    yield "a byte of a chunk", wire.with_piece(1, b"A" + data[1:])
    yield "chunks swapped", dataclasses.replace(wire, body=wire.body[3:6] + wire.body[0:3] + wire.body[6:])
    if signed:
        yield "a chunk's signature", wire.with_piece(0, other(first.decode().rstrip()).encode() + b"\r\n")
    if trailer:
        last = len(wire.body) - 1
        wrong = b64(zlib.crc32(b"other").to_bytes(4, "big"))
        lines = wire.body[last].decode().split("\r\n")
        yield "the trailer's checksum", wire.with_piece(last, "\r\n".join([f"{CHECKSUM}:{wrong}", *lines[1:]]).encode())
        if signed:
            text = "\r\n".join([lines[0], other(lines[1]), *lines[2:]])
            yield "the trailer's signature", wire.with_piece(last, text.encode())


def last_chunk_altered(wire):
    """Another signature of the last chunk, whose line stands before its bytes, its end and what follows."""
    line = len(wire.body) - 4
    return wire.with_piece(line, other(wire.body[line].decode().rstrip()).encode() + b"\r\n")


def presigned_alterations(wire):
    yield from alterations(wire)
    region = ENV["S3VAULT_REGION"]
    for what, text in [
        ("the expiry", wire.query.replace("X-Amz-Expires=600", "X-Amz-Expires=601")),
        ("the date", re.sub(r"(X-Amz-Date=\w+)Z", lambda date: other(date[1]) + "Z", wire.query)),
        ("the signature", other(wire.query)),
        ("the region in the scope", wire.query.replace(f"%2F{region}%2F", f"%2F{other(region)}%2F")),
    ]:
        yield what, dataclasses.replace(wire, query=text)


class Judge:
    def __init__(self, kind):
        self.kind, self.accepted, self.refused, self.surprises = kind, 0, 0, 0

    def expect(self, what, wire, accepted, refusals=(400, 403)):
        status, body = wire.send()
        if accepted and 200 <= status < 300:
            self.accepted += 1
        elif not accepted and status in refusals:
            self.refused += 1
        else:
            self.surprises += 1
            wanted = "accepted" if accepted else "refused"
            print(f"altered: {what}: {wanted} was expected, and {status} came: {body[:300]!r}\n"
                  f"  {wire.method} {wire.path} {wire.query} {wire.headers}")
        return body

    def altered(self, what, wire, changes):
        """The request is accepted, and with each of these changes refused."""
        self.expect(what, wire, True)
        for change, altered in changes:
            # A change that changes nothing would be accepted, for a wrong reason.
            assert altered != wire, (what, change)
            self.expect(f"{what}, {change} altered", altered, False)


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    core = Core(sys.argv[1] if len(sys.argv) == 2 else PROGRAM)
    signer, judge = Signer(core), Judge(ENV["S3VAULT_TEST_STORE"])
    profile = signer.ask({"op": "profile", "name": judge.kind})

    payloads = {
        "hash in the header": ("bytes", True, header_alterations),
        "unsigned payload": ("UNSIGNED-PAYLOAD", True, header_alterations),
        "signed chunks": (STREAMED["chunks"], True, header_alterations),
        "signed chunks with trailer": (STREAMED["chunks-trailer"], profile["signed_trailers"], header_alterations),
        "unsigned trailer": (STREAMED["unsigned-trailer"], profile["trailers"], header_alterations),
    }
    key = ""
    for what, (payload, known, changes) in payloads.items():
        key = f"altered/{what} é+%/key"
        wire = signer.header("PUT", key, payload, BODY)
        if not known:
            judge.expect(f"{what}, which this store has not", wire, False)
            continue
        judge.altered(f"PUT, {what}", wire, changes(wire))
        if payload == "bytes":
            judge.expect(f"PUT, {what}, a byte altered", wire.with_piece(0, b"A" + BODY[1:]), False)
        elif payload != "UNSIGNED-PAYLOAD":
            signed, trailer = payload != STREAMED["unsigned-trailer"], payload != STREAMED["chunks"]
            for change, altered in chunk_alterations(wire, signed, trailer):
                judge.expect(f"PUT, {what}, {change} altered", altered, False)
            if signed:
                ignored = not profile["checks_last_chunk"]
                judge.expect(f"PUT, {what}, the last chunk's signature altered", last_chunk_altered(wire), ignored)
        found = judge.expect(f"GET of {what}", signer.header("GET", key, "bytes"), True)
        if found != BODY:
            judge.surprises += 1
            print(f"altered: {what}: {len(found)} other bytes are stored")
        judge.expect(f"GET beside {what}", signer.header("GET", other(key), "bytes"), False, (404,))
    unsigned = signer.header("PUT", key, "UNSIGNED-PAYLOAD", BODY)
    judge.expect("PUT, unsigned payload, other bytes", unsigned.with_piece(0, b"A" + BODY[1:]), True)
    late_s = profile["max_request_age_ms"] // 1000
    for what, ago_s, accepted in [("nearly too old", late_s - 60, True), ("too old", late_s + 60, False)]:
        judge.expect(f"GET, {what}", signer.header("GET", key, "bytes", ago_s=ago_s), accepted)
    elsewhere = signer.header("GET", key, "bytes", region=other(ENV["S3VAULT_REGION"]))
    judge.expect("GET, signed for another region", elsewhere, not profile["checks_region"])

    for method, body in [("PUT", BODY), ("GET", b""), ("HEAD", b"")]:
        wire = signer.presigned(method, key, body)
        judge.altered(f"presigned {method}", wire, presigned_alterations(wire))
        expired = signer.presigned(method, key, body, expires_s=60, ago_s=90)
        judge.expect(f"presigned {method}, expired", expired, False)

    core.close()
    if judge.surprises:
        print(f"altered: {judge.surprises} surprises on {judge.kind}")
        return 1
    print(f"altered: {judge.accepted} accepted, {judge.refused} refused on {judge.kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

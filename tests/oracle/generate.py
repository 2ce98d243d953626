"""Random requests, such as a client of S3 could send: every byte in keys and query values, and what HTTP allows."""

import base64
import hashlib
import random
import string
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone

UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
STREAMED = {
    "chunks": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "chunks-trailer": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "unsigned-trailer": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}
# Of RFC 9110's tokens. Upper case is put in by `odd_case`.
TOKEN = string.ascii_lowercase + string.digits + "!#$%&'*+-.^_`|~"
REGIONS = ["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1", "garage", "default", "r"]


def encode(data, keep=b""):
    """UriEncode() of AWS's "Create a signed AWS API request"."""
    return "".join(chr(b) if b in UNRESERVED or b in keep else f"%{b:02X}" for b in data)


@dataclass
class Request:
    access_key: str
    secret_key: str
    session_token: str | None
    region: str
    service: str
    unix_ms: int
    method: str
    host: str
    # As it is sent, and its canonical form by AWS's rule for S3: each byte of the key encoded once, but slashes.
    path: str
    canonical_path: str
    # As it is sent: in any order; a parameter without value with or without `=`.
    query: str
    # The same parameters in the same order, canonically encoded.
    canonical_query: str
    headers: list
    payload: str
    body: bytes = field(default=b"", repr=False)
    chunks: list = field(default_factory=list, repr=False)
    trailers: list = field(default_factory=list)
    hashed: bool = False
    expires_s: int = 0

    @property
    def date(self):
        return datetime(1970, 1, 1) + timedelta(milliseconds=self.unix_ms)

    @property
    def content_sha256(self):
        if self.payload in ("bytes", "hash"):
            return hashlib.sha256(self.body).hexdigest()
        return self.payload

    def job(self, op):
        """The line for core."""
        job = asdict(self) | {"op": op, "body": b64(self.body), "chunks": [b64(chunk) for chunk in self.chunks]}
        if self.payload == "hash":
            job["body"] = b64(hashlib.sha256(self.body).digest())
        del job["canonical_path"], job["canonical_query"]
        return job


def b64(data):
    return base64.b64encode(data).decode()


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def maybe(self, percent):
        return self.random.random() * 100 < percent

    def data(self, longest):
        """Bytes of any value; often few and often text."""
        length = self.random.choice([0, 1, 3, self.random.randrange(longest + 1)])
        kind = self.random.randrange(3)
        if kind == 0:
            return self.random.randbytes(length)
        if kind == 1:
            return bytes(self.random.choice(b"/.%+ &=?#;:@,~*()'!\"\\<>{}|^`[]\x00\x7f\xff-_aZ09") for _ in range(length))
        return "".join(self.random.choice("abcXYZ019-_.~/ üß日本😀\u0301") for _ in range(length)).encode()

    def payload_bytes(self, longest):
        bound = self.random.choice([0, 1, 64, 1000, 4096, longest])
        return self.random.randbytes(self.random.randrange(min(bound, longest) + 1))

    def loose(self, data, keep, raw):
        """Encoded in another way that decodes to the same: lower-case hex, needless escapes, and `raw` as it is."""
        out = ""
        for b in data:
            escape = self.random.choice([f"%{b:02X}", f"%{b:02x}"])
            if b in UNRESERVED or b in keep:
                out += escape if self.maybe(20) else chr(b)
            else:
                out += chr(b) if b in raw and self.maybe(50) else escape
        return out

    def path(self):
        key = self.data(60)
        if self.maybe(50):
            key = b"backups/" + key
        canonical = "/" + encode(key, keep=b"/")
        sent = "/" + self.loose(key, b"/", b"!$&'()*+,;=:@") if self.maybe(20) else canonical
        return sent, canonical

    def query(self, plain=False):
        """The parameters as (sent, canonical); `plain`: UTF-8, none twice.

        A name is never empty: no S3 parameter is, and awscrt drops it.
        """
        pairs = []
        for _ in range(self.random.choice([0, 1, 2, 3, 8])):
            known = self.random.choice(["partNumber", "uploadId", "versionId", "prefix", "delimiter", "max-keys", "acl",
                                        "versions", "response-content-disposition", "X-Id", "x-id", "a", "a-b", "A"])
            name = known.encode() if self.maybe(80) else self.data(12) or b"_"
            if pairs and self.maybe(15):
                name = self.random.choice(pairs)[2]
            value = self.data(30)
            if plain:
                name, value = (data.decode(errors="ignore").encode() for data in (name, value))
                if not name or name in (pair[2] for pair in pairs):
                    continue
            canonical = encode(name) + "=" + encode(value)
            sent = canonical
            if self.maybe(10):
                sent = self.loose(name, b"", b"!$'()*,;:@/?") + "=" + self.loose(value, b"", b"!$'()*,;:@/?")
            if not value and self.maybe(50):
                sent = sent.removesuffix("=")
            pairs.append((sent, canonical, name))
        return "&".join(p[0] for p in pairs), "&".join(p[1] for p in pairs)

    def value(self):
        """A header's value. Its white space is odd in all ways that HTTP allows."""
        words = []
        for _ in range(self.random.choice([0, 1, 1, 2, 4])):
            words.append("".join(self.random.choice(string.ascii_letters + string.digits + "\"=;,/:%&+'~üé日")
                                 for _ in range(self.random.randrange(1, 12))))
        space = lambda: self.random.choice([" ", " ", "  ", "   ", "\t", " \t "])
        text = words[0] if words else ""
        for word in words[1:]:
            text += space() + word
        return (space() if self.maybe(15) else "") + text + (space() if self.maybe(15) else "")

    def odd_case(self, name):
        return "".join(c.upper() if self.maybe(50) else c for c in name) if self.maybe(30) else name

    def headers(self):
        headers = []
        if self.maybe(40):
            key = self.random.randbytes(32)
            sse = "x-amz-server-side-encryption-customer-"
            headers += [(sse + "algorithm", "AES256"), (sse + "key", b64(key)),
                        (sse + "key-MD5", b64(hashlib.md5(key).digest()))]
        for _ in range(self.random.choice([0, 1, 2, 5])):
            name = self.random.choice(["content-type", "content-md5", "cache-control", "range", "if-match", "content-length",
                                       "content-disposition", "x-amz-acl", "x-amz-tagging", "x-amz-meta-a", "x-amz-meta-b",
                                       "x-amz-checksum-crc64nvme", "x-amz-meta-" + "".join(self.random.choices(TOKEN, k=4))])
            headers.append((name, self.value()))
        if headers and self.maybe(20):
            headers += [(self.random.choice(headers)[0], self.value()) for _ in range(self.random.randrange(1, 4))]
        self.random.shuffle(headers)
        return [(self.odd_case(name), value) for name, value in headers]

    def request(self):
        text = string.ascii_letters + string.digits
        path, canonical_path = self.path()
        query, canonical_query = self.query()
        # From 2001 to 2099; half of them not on a whole second.
        second = self.random.randrange(978_307_200, 4_070_908_800)
        return Request(
            access_key="".join(self.random.choices(text, k=self.random.choice([3, 20, 128]))),
            secret_key="".join(self.random.choices(text + "/+=!é ", k=self.random.choice([1, 40, 64, 200]))),
            session_token="".join(self.random.choices(text + "/+=", k=self.random.choice([1, 64, 800])))
            if self.maybe(40) else None,
            region=self.random.choice(REGIONS),
            service="s3",
            unix_ms=second * 1000 + (self.random.randrange(1000) if self.maybe(50) else 0),
            method=self.random.choice(["GET", "HEAD", "PUT", "POST", "DELETE"]),
            host=self.random.choice(["bucket.s3.amazonaws.com", "s3.eu-central-1.amazonaws.com", "127.0.0.1:9000",
                                     "[::1]:9000", "[2001:db8::1]", "minio.example:8443", "localhost"]),
            path=path, canonical_path=canonical_path, query=query, canonical_query=canonical_query,
            headers=self.headers(), payload="UNSIGNED-PAYLOAD",
        )

    def header_request(self):
        request = self.request()
        request.payload = self.random.choice(["bytes", "hash", "UNSIGNED-PAYLOAD"])
        if request.payload != "UNSIGNED-PAYLOAD":
            request.body = self.payload_bytes(20_000)
        return request

    def general_request(self):
        """One for another service: its path is normalised, and what was sent is encoded once more."""
        request = self.header_request()
        request.service = self.random.choice(["execute-api", "iam", "sts"])
        segments = [encode(self.data(8)) if self.maybe(60) else self.random.choice(["", ".", "..", "a", "b.", "..c"])
                    for _ in range(self.random.randrange(6))]
        request.path = "/" + "/".join(segments)
        # See peers.py: RFC 3986 leaves a slash where these were.
        request.canonical_path = request.path + ("/" if request.path.endswith(("/.", "/..")) else "")
        return request

    def chunked_request(self):
        request = self.request()
        mode = self.random.choice(list(STREAMED))
        request.payload = STREAMED[mode]
        request.hashed = self.maybe(30)
        size = self.random.choice([1, 100, 8 * 1024, 64 * 1024])
        body = self.random.randbytes(self.random.randrange(min(4 * size, 150_000)))
        request.chunks = [body[at:at + size] for at in range(0, len(body), size)] + [b""]
        request.headers.append(("x-amz-decoded-content-length", str(len(body))))
        request.headers.append(("content-encoding", "aws-chunked"))
        if mode != "chunks":
            for _ in range(self.random.choice([1, 1, 1, 3])):
                name = self.random.choice(["x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme", "x-amz-checksum-sha256",
                                           "x-amz-meta-t" + str(self.random.randrange(9))])
                if name not in dict(request.trailers):
                    request.trailers.append((name, b64(self.random.randbytes(8))))
            request.headers.append(("x-amz-trailer", ",".join(name for name, _ in request.trailers)))
        return request

    def presigned_request(self):
        request = self.request()
        request.method = self.random.choice(["GET", "PUT", "HEAD", "DELETE"])
        if self.maybe(70):  # of these botocore is a judge too: see peers.py
            request.query, request.canonical_query = self.query(plain=True)
        request.expires_s = self.random.choice([1, 60, 3600, 604_800, self.random.randrange(1, 604_801)])
        return request

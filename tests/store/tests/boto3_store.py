"""boto3 against the embedded store: what a client that others wrote makes of it.

Needs boto3, awscrt and pytest, and the program's path in EMBEDDED_STORE:

    EMBEDDED_STORE=target/debug/embedded-store pytest tests/store/tests/boto3_store.py
"""

import base64
import contextlib
import datetime
import hashlib
import io
import json
import os
import struct
import subprocess
import time
import urllib.error
import urllib.request
import zlib

import boto3
import botocore.handlers
import pytest
from awscrt import checksums
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError

ACCESS = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PART = 5 << 20

ODD_KEYS = [
    "/lead",
    "//",
    "a//b",
    "a/../b",
    "a/./b/",
    "a=2F~ü",
    "%2F",
    "100%25 + sure",
    "with space",
    " both ends ",
    "+",
    "a+b",
    "q?a=b&c#d",
    "'\"<&>;:@$,!*()[]{}|\\^`",
    "\u65e5\u672c\u8a9e/\U0001f600",
    "e\u0301 and \u00e9",
    "\uff5e",
    "tab\tand\nline",
    "x" * 1024,
]


@contextlib.contextmanager
def store(*arguments):
    """A store as a process of its own; it ends with its standard input."""
    keys = ["--access-key", ACCESS, "--secret-key", SECRET]
    process = subprocess.Popen(
        [os.environ["EMBEDDED_STORE"], "--port", "0", "--exit-with-stdin", *keys, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline().strip()
        assert line.startswith("listening on "), line
        yield line.removeprefix("listening on ")
    finally:
        process.stdin.close()
        code = process.wait(30)
        process.stdout.close()
        assert code == 0


@pytest.fixture(scope="session")
def url():
    with store("--bucket", "versioned", "--bucket", "plain:unversioned") as url:
        assert url.startswith("http://127.0.0.1:")
        yield url


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """A client of another store, over TLS."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*make, "-keyout", key, "-out", certificate, *subject], check=True, capture_output=True)
    with store("--bucket", "tls", "--tls-cert", certificate, "--tls-key", key) as url:
        assert url.startswith("https://127.0.0.1:")
        yield client(url, verify=certificate)


def client(url, secret=SECRET, access=ACCESS, verify=None, **config):
    settings = Config(
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        signature_version="s3v4",
        **config,
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=settings,
        verify=verify and str(verify),
    )


@pytest.fixture(scope="session")
def s3(url):
    return client(url)


@pytest.fixture
def bucket(s3, request):
    """A new bucket with versioning."""
    name = "t-" + hashlib.sha1(request.node.name.encode()).hexdigest()[:20]
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def refused(code, status, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response = error.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    return response


def crc(data):
    """CRC64NVME as S3 writes it, computed by the AWS library."""
    return base64.b64encode(struct.pack(">Q", checksums.crc64nvme(data))).decode()


def sums(data):
    """Every checksum that S3 knows, by the names of boto3's arguments."""
    text = lambda raw: base64.b64encode(raw).decode()
    return {
        "ChecksumCRC32": text(struct.pack(">I", zlib.crc32(data))),
        "ChecksumCRC32C": text(struct.pack(">I", checksums.crc32c(data))),
        "ChecksumCRC64NVME": crc(data),
        "ChecksumSHA1": text(hashlib.sha1(data).digest()),
        "ChecksumSHA256": text(hashlib.sha256(data).digest()),
    }


def data(length, seed=1):
    block = hashlib.shake_128(bytes([seed])).digest(65537)
    return (block * (length // len(block) + 1))[:length]


def read(reply):
    return reply["Body"].read()


def call_hook(url, path, body=None):
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_embedded/{path}", content)) as reply:
        return json.load(reply)


# --- put, get, head, delete


@pytest.mark.parametrize("key", ODD_KEYS)
@pytest.mark.parametrize("where", ["versioned", "plain"])
def test_every_key_comes_back(s3, where, key):
    body = key.encode() + b" body"
    put = s3.put_object(Bucket=where, Key=key, Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert read(s3.get_object(Bucket=where, Key=key)) == body
    assert s3.head_object(Bucket=where, Key=key)["ContentLength"] == len(body)
    listed = s3.list_objects_v2(Bucket=where, Prefix=key)
    assert key in [entry["Key"] for entry in listed["Contents"]]
    copied = s3.copy_object(Bucket=where, Key="copy/" + key[:1000], CopySource={"Bucket": where, "Key": key})
    assert copied["CopyObjectResult"]["ETag"] == put["ETag"]
    assert read(s3.get_object(Bucket=where, Key="copy/" + key[:1000])) == body
    s3.delete_objects(Bucket=where, Delete={"Objects": [{"Key": key}, {"Key": "copy/" + key[:1000]}]})
    refused("NoSuchKey", 404, s3.get_object, Bucket=where, Key=key)


def test_metadata_and_attributes_come_back(s3, bucket):
    attributes = {
        "CacheControl": "no-cache",
        "ContentDisposition": "attachment",
        "ContentEncoding": "zstd",
        "ContentLanguage": "de",
        "ContentType": "application/x-raw-disk",
        "Metadata": {"vid": "0123", "long-name": "with = and ;"},
        "StorageClass": "STANDARD_IA",
        "Expires": datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    }
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **attributes)
    for reply in (s3.get_object(Bucket=bucket, Key="k"), s3.head_object(Bucket=bucket, Key="k")):
        for name in attributes.keys() - {"Expires"}:
            assert reply[name] == attributes[name], name
        assert reply["ExpiresString"] == "Wed, 02 Jan 2030 03:04:05 GMT"
        assert reply["AcceptRanges"] == "bytes"
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["StorageClass"] == "STANDARD_IA"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    plain = s3.head_object(Bucket=bucket, Key="k")
    assert plain["ContentType"] == "binary/octet-stream"
    assert "StorageClass" not in plain and plain["Metadata"] == {}
    refused("MetadataTooLarge", 400, s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={"a": "b" * 2048})


def test_missing_things_are_told_apart(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused("NoSuchBucket", 404, s3.get_object, Bucket="nothing-here", Key="k")
    refused("NoSuchBucket", 404, s3.put_object, Bucket="nothing-here", Key="k", Body=b"x")
    refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket="nothing-here")
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="other")
    refused("NoSuchVersion", 404, s3.get_object, Bucket=bucket, Key="k", VersionId="0" * 32)
    refused("404", 404, s3.head_object, Bucket=bucket, Key="other")
    refused("404", 404, s3.head_bucket, Bucket="nothing-here")
    s3.delete_object(Bucket=bucket, Key="never-there", VersionId="0" * 32)


def test_dates(s3, bucket):
    before = int(time.time())
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    date = put["ResponseMetadata"]["HTTPHeaders"]["date"]
    date = datetime.datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=datetime.timezone.utc)
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"].timestamp()
    assert before <= modified <= date.timestamp() <= time.time()


@pytest.mark.parametrize("length", [0, 1, 100, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_333_333])
def test_ranges(s3, bucket, length):
    body = data(length)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    get = lambda wanted: s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    for first, last in [(0, 0), (0, length - 1), (length // 2, length + 99), (length - 1, length - 1)]:
        if not 0 <= first <= last or first >= length:
            continue
        reply = get(f"bytes={first}-{last}")
        assert read(reply) == body[first : last + 1]
        assert reply["ContentRange"] == f"bytes {first}-{min(last, length - 1)}/{length}"
        assert reply["ResponseMetadata"]["HTTPStatusCode"] == 206
    if length:
        assert read(get("bytes=0-")) == body
        assert read(get("bytes=-7")) == body[-7:]
        assert s3.head_object(Bucket=bucket, Key="k", Range="bytes=0-0")["ContentLength"] == 1
    response = refused("InvalidRange", 416, get, wanted=f"bytes={length}-")
    assert response["ResponseMetadata"]["HTTPHeaders"]["content-range"] == f"bytes */{length}"


def test_conditional_reads(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    get = lambda **conditions: s3.get_object(Bucket=bucket, Key="k", **conditions)
    early, late = (datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc) for year in (2001, 2101))
    assert read(get(IfMatch=etag)) == b"x"
    assert read(get(IfNoneMatch='"other"')) == b"x"
    assert read(get(IfModifiedSince=early)) == b"x"
    assert read(get(IfUnmodifiedSince=late)) == b"x"
    assert read(get(IfMatch=etag, IfUnmodifiedSince=early)) == b"x"
    refused("PreconditionFailed", 412, get, IfMatch='"other"')
    refused("PreconditionFailed", 412, get, IfUnmodifiedSince=early)
    refused("304", 304, get, IfNoneMatch=etag)
    refused("304", 304, get, IfModifiedSince=late)
    refused("412", 412, s3.head_object, Bucket=bucket, Key="k", IfMatch='"other"')


def test_conditional_writes(s3, bucket):
    put = lambda body, **condition: s3.put_object(Bucket=bucket, Key="k", Body=body, **condition)["ETag"]
    refused("NoSuchKey", 404, put, body=b"1", IfMatch='"other"')
    one = put(b"1", IfNoneMatch="*")
    refused("PreconditionFailed", 412, put, body=b"2", IfNoneMatch="*")
    refused("PreconditionFailed", 412, put, body=b"2", IfMatch='"other"')
    put(b"2", IfMatch=one)
    assert read(s3.get_object(Bucket=bucket, Key="k")) == b"2"
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 2
    refused("NotImplemented", 501, put, body=b"3", IfNoneMatch='"other"')


# --- versions


def test_versions_and_delete_markers(s3, bucket):
    ids = [s3.put_object(Bucket=bucket, Key="k", Body=str(n))["VersionId"] for n in range(3)]
    assert len(set(ids)) == 3
    for n, version in enumerate(ids):
        reply = s3.get_object(Bucket=bucket, Key="k", VersionId=version)
        assert (read(reply), reply["VersionId"]) == (str(n).encode(), version)
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    response = refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="k")
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amz-delete-marker"] == "true" and headers["x-amz-version-id"] == marker["VersionId"]
    refused("MethodNotAllowed", 405, s3.get_object, Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    refused("405", 405, s3.head_object, Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)

    listed = s3.list_object_versions(Bucket=bucket)
    assert [(v["VersionId"], v["IsLatest"]) for v in listed["Versions"]] == [(v, False) for v in reversed(ids)]
    assert [(m["VersionId"], m["IsLatest"]) for m in listed["DeleteMarkers"]] == [(marker["VersionId"], True)]
    undone = s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert undone["DeleteMarker"] is True and undone["VersionId"] == marker["VersionId"]
    assert read(s3.get_object(Bucket=bucket, Key="k")) == b"2"
    removed = s3.delete_object(Bucket=bucket, Key="k", VersionId=ids[2])
    assert removed["VersionId"] == ids[2] and "DeleteMarker" not in removed
    assert read(s3.get_object(Bucket=bucket, Key="k")) == b"1"


def test_version_pages(s3, bucket):
    expected = []
    for key in ["a", "a/b", "a/c", "b"]:
        ids = [s3.put_object(Bucket=bucket, Key=key, Body=b"x")["VersionId"] for _ in range(3)]
        expected += [(key, version) for version in reversed(ids)]
    pages = s3.get_paginator("list_object_versions")
    for size in (1, 2, 5, 12, 1000):
        found = []
        for page in pages.paginate(Bucket=bucket, PaginationConfig={"PageSize": size}):
            found += [(v["Key"], v["VersionId"]) for v in page.get("Versions", [])]
        assert found == expected, size
        names = []
        for page in pages.paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}):
            names += [v["Key"] for v in page.get("Versions", [])]
            names += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert sorted(names) == ["a"] * 3 + ["a/"] + ["b"] * 3, size
    refused("InvalidArgument", 400, s3.list_object_versions, Bucket=bucket, VersionIdMarker=expected[0][1])


def test_an_unversioned_bucket_keeps_one(s3):
    s3.create_bucket(Bucket="unversioned")
    assert "Status" not in s3.get_bucket_versioning(Bucket="unversioned")
    for body in (b"1", b"2"):
        assert "VersionId" not in s3.put_object(Bucket="unversioned", Key="k", Body=body)
    assert [v["VersionId"] for v in s3.list_object_versions(Bucket="unversioned")["Versions"]] == ["null"]
    s3.put_bucket_versioning(Bucket="unversioned", VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket="unversioned")["Status"] == "Enabled"
    kept = s3.put_object(Bucket="unversioned", Key="k", Body=b"3")["VersionId"]
    s3.put_bucket_versioning(Bucket="unversioned", VersioningConfiguration={"Status": "Suspended"})
    assert s3.put_object(Bucket="unversioned", Key="k", Body=b"4")["VersionId"] == "null"
    versions = s3.list_object_versions(Bucket="unversioned")["Versions"]
    assert [v["VersionId"] for v in versions] == ["null", kept]


def test_delete_objects(s3, bucket):
    one = s3.put_object(Bucket=bucket, Key="one", Body=b"x")["VersionId"]
    s3.put_object(Bucket=bucket, Key="two", Body=b"x")
    objects = [{"Key": "one", "VersionId": one}, {"Key": "two"}, {"Key": "none"}]
    deleted = {entry["Key"]: entry for entry in s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})["Deleted"]}
    assert deleted["one"] == {"Key": "one", "VersionId": one}
    assert deleted["two"]["DeleteMarker"] is True and deleted["none"]["DeleteMarkerVersionId"]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "two"}], "Quiet": True})
    assert "Deleted" not in quiet


# --- checksums


@pytest.mark.parametrize("name", list(sums(b"")))
@pytest.mark.parametrize("where", ["put", "part"])
def test_a_given_checksum_is_compared(s3, bucket, name, where):
    body = data(70_000)
    if where == "put":
        send = lambda value: s3.put_object(Bucket=bucket, Key="k", Body=body, **{name: value})
    else:
        algorithm = name.removeprefix("Checksum")
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm)["UploadId"]
        send = lambda value: s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=body, **{name: value}
        )
    refused("BadDigest", 400, send, value=sums(body + b"!")[name])
    if where == "put":
        refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="k")
    else:
        assert s3.list_parts(Bucket=bucket, Key="k", UploadId=upload).get("Parts", []) == []
    assert send(sums(body)[name])[name] == sums(body)[name]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_trailing_checksums_over_tls(tls, algorithm):
    """Over TLS boto3 sends the payload unsigned, in chunks, with the checksum in the trailer."""
    body = data(200_000)
    seen = []
    tls.meta.events.register("before-send.s3.PutObject", lambda request, **_: seen.append(request.headers))
    put = tls.put_object(Bucket="tls", Key="k", Body=io.BytesIO(body), ChecksumAlgorithm=algorithm)
    assert seen[-1]["X-Amz-Trailer"].decode() == f"x-amz-checksum-{algorithm.lower()}"
    assert seen[-1]["X-Amz-Content-SHA256"] == b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    assert put["Checksum" + algorithm] == sums(body)["Checksum" + algorithm]
    got = tls.get_object(Bucket="tls", Key="k")
    assert read(got) == body and "ContentEncoding" not in got


def test_content_md5_is_compared(s3, bucket):
    body = b"body"
    good = base64.b64encode(hashlib.md5(body).digest()).decode()
    put = lambda md5: s3.put_object(Bucket=bucket, Key="k", Body=body, ContentMD5=md5)
    refused("BadDigest", 400, put, md5=base64.b64encode(bytes(16)).decode())
    refused("InvalidDigest", 400, put, md5="short")
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="k")
    put(good)


def test_reads_show_the_checksum_of_the_whole(s3, url, bucket):
    body = data(100_000)
    s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumSHA256=sums(body)["ChecksumSHA256"])
    for reply in (
        s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED"),
        s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED"),
    ):
        assert reply["ChecksumCRC64NVME"] == crc(body)
        assert reply["ChecksumSHA256"] == sums(body)["ChecksumSHA256"]
        assert reply["ChecksumType"] == "FULL_OBJECT"
    part = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", Range="bytes=0-9")
    assert "ChecksumCRC64NVME" not in part
    silent = client(url, response_checksum_validation="when_required")
    assert "ChecksumCRC64NVME" not in silent.head_object(Bucket=bucket, Key="k")


# --- multipart


class Upload:
    def __init__(self, s3, bucket, key="k", **arguments):
        self.s3, self.where = s3, {"Bucket": bucket, "Key": key}
        arguments = {"ChecksumAlgorithm": "CRC64NVME", **arguments}
        self.where["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key=key, **arguments)["UploadId"]

    def part(self, number, body):
        reply = self.s3.upload_part(**self.where, PartNumber=number, Body=body, ChecksumCRC64NVME=crc(body))
        return {"PartNumber": number, "ETag": reply["ETag"], "ChecksumCRC64NVME": reply["ChecksumCRC64NVME"]}

    def complete(self, parts, **arguments):
        return self.s3.complete_multipart_upload(**self.where, MultipartUpload={"Parts": parts}, **arguments)


def test_multipart(s3, bucket):
    before = int(time.time())
    upload = Upload(s3, bucket, Metadata={"a": "b"}, StorageClass="STANDARD_IA", ContentType="x/y")
    initiated = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]
    assert before <= initiated.timestamp() <= time.time()
    bodies = {1: data(PART, 1), 3: data(PART + 1, 2), 10000: data(17, 3)}
    parts = [upload.part(number, bodies[number]) for number in (10000, 1, 3)]
    parts.sort(key=lambda part: part["PartNumber"])
    whole = b"".join(bodies.values())
    while time.time() < initiated.timestamp() + 1:
        time.sleep(0.05)
    done = upload.complete(
        parts, ChecksumCRC64NVME=crc(whole), ChecksumType="FULL_OBJECT", MpuObjectSize=len(whole), IfNoneMatch="*"
    )
    digests = b"".join(hashlib.md5(body).digest() for body in bodies.values())
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    assert done["ChecksumCRC64NVME"] == crc(whole) and done["ChecksumType"] == "FULL_OBJECT"
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == crc(whole) and head["ChecksumType"] == "FULL_OBJECT"
    assert (head["Metadata"], head["StorageClass"], head["ContentType"]) == ({"a": "b"}, "STANDARD_IA", "x/y")
    assert head["LastModified"] == initiated.replace(microsecond=0)
    assert head["VersionId"] == done["VersionId"]
    assert read(s3.get_object(Bucket=bucket, Key="k")) == whole
    at = PART - 5
    assert read(s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={at}-{at + 9}")) == whole[at : at + 10]
    refused("NoSuchUpload", 404, upload.complete, parts=parts)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    copy = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert copy["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(whole).hexdigest()}"'


def test_what_complete_refuses(s3, bucket):
    upload = Upload(s3, bucket)
    big, small, last = (upload.part(n, data(length, n)) for n, length in ((1, PART), (2, 9), (3, 9)))
    whole = data(PART, 1) + data(9, 2)
    refused("InvalidPartOrder", 400, upload.complete, parts=[small, big])
    refused("InvalidPart", 400, upload.complete, parts=[big, {**small, "PartNumber": 4}])
    refused("InvalidPart", 400, upload.complete, parts=[big, {**small, "ETag": big["ETag"]}])
    refused("InvalidPart", 400, upload.complete, parts=[big, {**small, "ChecksumCRC64NVME": crc(b"")}])
    refused("EntityTooSmall", 400, upload.complete, parts=[big, small, last])
    refused("MalformedXML", 400, upload.complete, parts=[])
    refused("BadDigest", 400, upload.complete, parts=[big, small], ChecksumCRC64NVME=crc(b""))
    refused("InvalidRequest", 400, upload.complete, parts=[big, small], MpuObjectSize=1)
    refused("NoSuchKey", 404, upload.complete, parts=[big, small], IfMatch='"x"')
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused("PreconditionFailed", 412, upload.complete, parts=[big, small], IfNoneMatch="*")
    assert read(s3.get_object(Bucket=bucket, Key="k")) == b"x"
    upload.complete([big, small], ChecksumCRC64NVME=crc(whole))
    assert read(s3.get_object(Bucket=bucket, Key="k")) == whole


def test_what_upload_part_refuses(s3, url, bucket):
    bare = client(url, request_checksum_calculation="when_required")
    upload = bare.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = lambda number=1, **checksum: bare.upload_part(
        Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=b"x", **checksum
    )
    response = refused("InvalidRequest", 400, part, ChecksumCRC64NVME=crc(b"x"))
    assert "expected checksum Type: null" in response["Error"]["Message"]
    refused("InvalidArgument", 400, part, number=0)
    refused("InvalidArgument", 400, part, number=10001)
    refused("NoSuchUpload", 404, bare.upload_part, Bucket=bucket, Key="other", UploadId=upload, PartNumber=1, Body=b"")
    assert part()["ChecksumCRC64NVME"] == crc(b"x")


def test_abort_and_the_lists_of_parts_and_uploads(s3, bucket):
    uploads = [Upload(s3, bucket, key) for key in ("a", "a", "b/c", "b/d")]
    parts = [uploads[0].part(number, data(number)) for number in (1, 2, 5, 7)]
    found = []
    for page in s3.get_paginator("list_parts").paginate(**uploads[0].where, PaginationConfig={"PageSize": 3}):
        found += page["Parts"]
    assert [(p["PartNumber"], p["Size"], p["ETag"]) for p in found] == [
        (p["PartNumber"], p["PartNumber"], p["ETag"]) for p in parts
    ]
    assert [p["ChecksumCRC64NVME"] for p in found] == [p["ChecksumCRC64NVME"] for p in parts]
    for size in (1, 3, 1000):
        ids = []
        pages = s3.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=bucket, PaginationConfig={"PageSize": size}):
            ids += [(u["Key"], u["UploadId"]) for u in page["Uploads"]]
        assert ids == [(u.where["Key"], u.where["UploadId"]) for u in uploads]
    folded = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/", Prefix="b")
    assert [p["Prefix"] for p in folded["CommonPrefixes"]] == ["b/"] and "Uploads" not in folded
    for upload in uploads:
        s3.abort_multipart_upload(**upload.where)
        refused("NoSuchUpload", 404, s3.abort_multipart_upload, **upload.where)
        refused("NoSuchUpload", 404, s3.list_parts, **upload.where)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("over", ["plain", "tls"])
def test_boto3s_own_transfers(s3, tls, over):
    s3, bucket = (s3, "versioned") if over == "plain" else (tls, "tls")
    body = data(3 * (8 << 20) + 12345)
    config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(body), bucket, "k", Config=config)
    target = io.BytesIO()
    s3.download_fileobj(bucket, "k", target, Config=config)
    assert target.getvalue() == body


# --- copy


def test_copy(s3, bucket):
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old", Metadata={"a": "1"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    source = {"Bucket": bucket, "Key": "k", "VersionId": old["VersionId"]}
    copied = s3.copy_object(Bucket="plain", Key="copied", CopySource=source, StorageClass="STANDARD_IA")
    assert copied["CopySourceVersionId"] == old["VersionId"] and "VersionId" not in copied
    reply = s3.get_object(Bucket="plain", Key="copied")
    assert (read(reply), reply["Metadata"], reply["StorageClass"]) == (b"old", {"a": "1"}, "STANDARD_IA")
    s3.copy_object(
        Bucket="plain", Key="copied", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"}
    )
    assert s3.head_object(Bucket="plain", Key="copied")["Metadata"] == {"b": "2"}
    itself = {"Bucket": "plain", "Key": "copied"}
    refused("InvalidRequest", 400, s3.copy_object, **itself, CopySource=itself)
    refused("PreconditionFailed", 412, s3.copy_object, **itself, CopySource=source, CopySourceIfMatch='"x"')
    refused("NoSuchKey", 404, s3.copy_object, **itself, CopySource={"Bucket": bucket, "Key": "none"})
    refused("NoSuchVersion", 404, s3.copy_object, **itself, CopySource={**source, "VersionId": "0" * 32})


# --- lists


def test_list_objects(s3, url, bucket):
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    expected = sorted(ODD_KEYS, key=str.encode)
    pages = s3.get_paginator("list_objects_v2")
    for size in (1, 4, len(expected), 1000):
        found = []
        for page in pages.paginate(Bucket=bucket, PaginationConfig={"PageSize": size}):
            found += [entry["Key"] for entry in page["Contents"]]
            assert page["KeyCount"] == len(page["Contents"])
        assert found == expected, size
    for prefix in ("a", "a/", "/", "%", "+", "\u65e5", "nothing"):
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
        assert [e["Key"] for e in listed.get("Contents", [])] == [k for k in expected if k.startswith(prefix)]
        assert listed["Prefix"] == prefix
    for size in (1, 2, 1000):
        names = []
        for page in pages.paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}):
            names += [entry["Key"] for entry in page.get("Contents", [])]
            names += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        folded = {key[: key.index("/") + 1] if "/" in key else key for key in expected}
        assert sorted(names) == sorted(folded), size
    for key in expected[:-1]:
        after = s3.list_objects_v2(Bucket=bucket, StartAfter=key, MaxKeys=1)
        assert [e["Key"] for e in after["Contents"]] == [expected[expected.index(key) + 1]]
        assert after["StartAfter"] == key
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=bucket, ContinuationToken="nonsense")
    owned = s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]
    assert owned["Owner"]["ID"] and owned["ETag"] and owned["Size"] == 1 and owned["StorageClass"] == "STANDARD"


def test_buckets(s3):
    s3.create_bucket(Bucket="made-here")
    refused("BucketAlreadyOwnedByYou", 409, s3.create_bucket, Bucket="made-here")
    refused("InvalidBucketName", 400, client_without_checks(s3).create_bucket, Bucket="Made_Here")
    assert {"made-here", "plain", "versioned"} <= {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    head = s3.head_bucket(Bucket="made-here")
    assert head["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="made-here")["LocationConstraint"] is None
    s3.put_object(Bucket="made-here", Key="k", Body=b"x")
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket="made-here")
    s3.delete_object(Bucket="made-here", Key="k")
    s3.delete_bucket(Bucket="made-here")
    refused("NoSuchBucket", 404, s3.delete_bucket, Bucket="made-here")


def client_without_checks(s3):
    s3 = client(s3.meta.endpoint_url)
    s3.meta.events.unregister("before-parameter-build.s3", botocore.handlers.validate_bucket_name)
    return s3


# --- who may ask, and how


def test_keys(url):
    refused("SignatureDoesNotMatch", 403, client(url, secret="wrong").list_buckets)
    refused("InvalidAccessKeyId", 403, client(url, access="UNKNOWN").list_buckets)


def test_presigned_urls(s3, url, bucket):
    s3.put_object(Bucket=bucket, Key="a=2F~ü/+ %2F", Body=b"body")
    where = {"Bucket": bucket, "Key": "a=2F~ü/+ %2F"}
    signed = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    with urllib.request.urlopen(signed) as reply:
        assert reply.read() == b"body"
    for spoilt in (signed[:-1] + ("0" if signed[-1] != "0" else "1"), signed.replace("Expires=60", "Expires=61")):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(spoilt)
        with error.value as reply:
            assert reply.code == 403 and b"SignatureDoesNotMatch" in reply.read()


def test_the_hooks_are_seen_by_boto3(s3, url, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    call_hook(url, "fault", {"operation": "GetObject", "answer": {"status": 503, "code": "SlowDown"}})
    refused("SlowDown", 503, s3.get_object, Bucket=bucket, Key="k")
    call_hook(url, "damage", {"bucket": bucket, "key": "k", "offset": 0})
    plain = client(url, response_checksum_validation="when_required")
    assert read(plain.get_object(Bucket=bucket, Key="k")) == b"bontent"
    with pytest.raises(FlexibleChecksumError):
        read(s3.get_object(Bucket=bucket, Key="k"))
    stats = call_hook(url, "stats")
    assert stats["requests"]["GetObject"] >= 3 and stats["stored_bytes"] >= 7

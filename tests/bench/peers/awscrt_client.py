"""awscrt (aws-c-s3) as the bench runs it; the command line is that of every client (clients/src/lib.rs).

Parts of 8 MiB and 8 connections, as the others have. A pipe gets its bytes from the body's callback.
"""

import os
import sys
import threading
from urllib.parse import quote, urlparse

from awscrt.auth import AwsCredentialsProvider
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.io import ClientTlsContext, TlsContextOptions
from awscrt.s3 import S3Client, S3RequestTlsMode, S3RequestType, create_default_s3_signing_config

PART = 8 << 20
PARALLEL = 8
PARALLEL_SMALL = 32

operation, url, ca, path, key = sys.argv[1:]
address = urlparse(url)
secure = address.scheme == "https"
tls = None
if secure:
    options = TlsContextOptions()
    options.override_default_trust_store_from_path(None, ca)
    tls = ClientTlsContext(options).new_connection_options()
signing = create_default_s3_signing_config(
    region="us-east-1", credential_provider=AwsCredentialsProvider.new_static("bench", "bench-secret")
)
client = S3Client(
    region="us-east-1",
    tls_mode=S3RequestTlsMode.ENABLED if secure else S3RequestTlsMode.DISABLED,
    tls_connection_options=tls,
    signing_config=signing,
    part_size=PART,
    multipart_upload_threshold=PART,
    max_active_connections_override=PARALLEL_SMALL if operation == "small" else PARALLEL,
)


def request(method, key, length=None, body=None):
    headers = HttpHeaders([("Host", address.netloc)])
    if length is not None:
        headers.add("Content-Length", str(length))
    return HttpRequest(method, "/bench/" + quote(key), headers, body)


def up(key, path):
    kind = S3RequestType.PUT_OBJECT
    return client.make_request(type=kind, request=request("PUT", key, os.path.getsize(path)), send_filepath=path)


def write(chunk, **_):
    sys.stdout.buffer.write(chunk)


if operation == "up-file":
    up(key, path).finished_future.result()
elif operation == "up-stream":
    made = request("PUT", key, None, sys.stdin.buffer)
    client.make_request(type=S3RequestType.PUT_OBJECT, request=made).finished_future.result()
elif operation == "down-file":
    made = request("GET", key)
    client.make_request(type=S3RequestType.GET_OBJECT, request=made, recv_filepath=path).finished_future.result()
elif operation == "down-pipe":
    made = request("GET", key)
    client.make_request(type=S3RequestType.GET_OBJECT, request=made, on_body=write).finished_future.result()
    sys.stdout.buffer.flush()
elif operation == "small":
    room = threading.Semaphore(PARALLEL_SMALL)
    running = []
    for name in os.listdir(path):
        room.acquire()
        running.append(up(f"{key}/{name}", os.path.join(path, name)).finished_future)
        running[-1].add_done_callback(lambda _: room.release())
    for future in running:
        future.result()
else:
    sys.exit(f"'{operation}' is not known")

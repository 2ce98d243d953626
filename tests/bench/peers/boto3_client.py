"""boto3 (s3transfer) as the bench runs it; the command line is that of every client (clients/src/lib.rs).

Its own transfer manager, not the one that awscrt lends it, and no checksums: they are for stores that it cannot trust.
"""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

PART = 8 << 20
PARALLEL = 8
PARALLEL_SMALL = 32

operation, url, ca, path, key = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=url,
    region_name="us-east-1",
    aws_access_key_id="bench",
    aws_secret_access_key="bench-secret",
    verify=None if ca == "-" else ca,
    config=Config(
        signature_version="s3v4",
        s3={"addressing_style": "path", "payload_signing_enabled": False},
        max_pool_connections=PARALLEL_SMALL,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    ),
)
transfer = TransferConfig(
    multipart_threshold=PART,
    multipart_chunksize=PART,
    max_concurrency=PARALLEL,
    preferred_transfer_client="classic",
)


def put_small(name):
    with open(os.path.join(path, name), "rb") as file:
        s3.put_object(Bucket="bench", Key=f"{key}/{name}", Body=file)


if operation == "up-file":
    s3.upload_file(path, "bench", key, Config=transfer)
elif operation == "up-stream":
    s3.upload_fileobj(sys.stdin.buffer, "bench", key, Config=transfer)
elif operation == "down-file":
    s3.download_file("bench", key, path, Config=transfer)
elif operation == "down-pipe":
    # One stream: download_fileobj hangs when what it writes to cannot seek and the object has more than ten parts. Its
    # first part, when it has come, waits for room for the others, and keeps its own room meanwhile.
    shutil.copyfileobj(s3.get_object(Bucket="bench", Key=key)["Body"], sys.stdout.buffer, 1 << 20)
elif operation == "small":
    with ThreadPoolExecutor(PARALLEL_SMALL) as pool:
        list(pool.map(put_small, os.listdir(path)))
else:
    sys.exit(f"'{operation}' is not known")

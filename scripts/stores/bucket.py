#!/usr/bin/env python3
"""scripts/stores/bucket.py NAME [unversioned]: creates a bucket in the store that the environment (S3VAULT_*) names.

Versioning is enabled if the store has it, unless it is not wanted; stderr says whether it is.
"""

import sys
import time
from typing import Any

from boto3_client import client
from botocore.exceptions import ClientError


def create(s3: Any, name: str) -> None:
    """Creates the bucket. MinIO says that it is ready before it creates buckets, for a moment."""
    until = time.monotonic() + 60
    while True:
        try:
            s3.create_bucket(Bucket=name)
            return
        except ClientError as error:
            if error.response["Error"]["Code"] != "XMinioServerNotInitialized" or time.monotonic() > until:
                raise
        time.sleep(0.2)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["unversioned"]):
        sys.exit("usage: bucket.py NAME [unversioned]")
    name, is_versioned = sys.argv[1], len(sys.argv) == 2
    s3 = client()
    create(s3, name)
    if not is_versioned:
        print(f"created bucket {name}, without versioning", file=sys.stderr)
        return
    try:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        versioning = "with versioning"
    except ClientError as error:
        # Only a 501 means that the store has no versioning; any other error is a fault of the set-up.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 501:
            raise
        versioning = f"without versioning: the store has none (501 {error.response['Error']['Code']})"
    print(f"created bucket {name}, {versioning}", file=sys.stderr)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""scripts/bucket.py NAME: creates a bucket in the store that the environment (S3VAULT_*) names, with versioning where
the store has it, and says on stderr which it is."""

import sys

from botocore.exceptions import ClientError

from store import client


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: bucket.py NAME")
    name = sys.argv[1]
    s3 = client()
    s3.create_bucket(Bucket=name)
    try:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        versioning = "with versioning"
    except ClientError as refusal:
        # 501 alone says that a store has no versioning; any other refusal is a fault of the test's set-up.
        if refusal.response["ResponseMetadata"]["HTTPStatusCode"] != 501:
            raise
        versioning = f"without versioning: the store has none (501 {refusal.response['Error']['Code']})"
    print(f"bucket {name}, {versioning}", file=sys.stderr)


if __name__ == "__main__":
    main()

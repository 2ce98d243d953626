#!/usr/bin/env python3
"""scripts/bucket.py NAME: creates a bucket with versioning in the store that the environment (S3VAULT_*) names."""

import sys

from store import client


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: bucket.py NAME")
    name = sys.argv[1]
    s3 = client()
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


if __name__ == "__main__":
    main()

"""A boto3 client for the store that the environment (S3VAULT_*) names: the independent reader that tests compare with."""

import os

import boto3
from botocore.config import Config


def client():
    """Returns a client that signs with SigV4 and uses the addressing style of the environment."""
    env = os.environ
    return boto3.client(
        "s3",
        endpoint_url=env["S3VAULT_API_URL"],
        aws_access_key_id=env["S3VAULT_ACCESS_KEY"],
        aws_secret_access_key=env["S3VAULT_SECRET_KEY"],
        region_name=env.get("S3VAULT_REGION", "us-east-1"),
        verify=env.get("S3VAULT_CA_FILE"),
        config=Config(
            signature_version="s3v4",
            proxies={},
            s3={"addressing_style": "path" if env.get("S3VAULT_PATH_STYLE", "true") == "true" else "virtual"},
        ),
    )


def keys(bucket, prefix):
    """Returns the keys of the bucket's objects with this prefix, in order."""
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]

"""Writes backups with the library that is installed, and prints the bucket as JSON for `ffi/tests/written_before.rs`.

    scripts/with-store.sh embedded -- env S3VAULT_LIBRARY=... PYTHONPATH=... python tests/cases/written/write.py COMMIT

The files beside it were written by the commits that they are named by. They are never written again: what they hold
must stay readable.
"""

import base64
import json
import os
import sys
import tempfile

import boto3
from botocore.config import Config

import s3vault


def content(seed: int, size: int) -> bytes:
    """The bytes of a backup, so that the JSON need not hold them."""
    block = bytes((i * 31 + (i >> 8) * 7 + seed) & 255 for i in range(1 << 16))
    return (block * (size // len(block) + 1))[:size]


BACKUPS = [
    # container, path, seed, size, as a stream, index of the parent
    ("vm 1", "disks/größe.img", 1, 1000, False, None),
    ("vm 1", "disks/größe.img", 2, 2000, False, None),
    ("vm 1", "disks/größe.img", 3, 300, True, 1),
    ("web01", "/".join(["ä +%?#&=~@" * 9] * 2), 4, 17, False, None),
    ("web01", "stream", 5, (20 << 20) + 5, True, None),
    ("web01", "empty", 6, 0, True, None),
]


def main() -> None:
    settings = {
        key: os.environ[f"S3VAULT_{key.upper()}"] for key in ("api_url", "bucket", "access_key", "secret_key")
    }
    with tempfile.TemporaryDirectory() as folder:
        keyring = s3vault.Keyring.create(os.path.join(folder, "vault.keys"))
        public = keyring.public
        vids = []
        with s3vault.open(settings, keyring=keyring) as vault:
            for container, path, seed, size, is_stream, parent in BACKUPS:
                options = {} if parent is None else {"kind": "incremental", "parent": vids[parent]}
                if is_stream:
                    with vault.create(container, path, **options) as f:
                        f.write(content(seed, size))
                    version = f.version
                else:
                    file = os.path.join(folder, "source")
                    with open(file, "wb") as f:
                        f.write(content(seed, size))
                    version = vault.put_file(container, path, file, **options)
                vids.append(version.info.vid)
    s3 = boto3.client(
        "s3",
        endpoint_url=settings["api_url"],
        aws_access_key_id=settings["access_key"],
        aws_secret_access_key=settings["secret_key"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    known = {content(seed, size): [seed, size] for _, _, seed, size, _, _ in BACKUPS if size}
    objects = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=settings["bucket"]):
        for version in reversed(page["Versions"]):
            reply = s3.get_object(Bucket=settings["bucket"], Key=version["Key"], VersionId=version["VersionId"])
            body = reply["Body"].read()
            stored = {"content": known[body]} if body in known else {"base64": base64.b64encode(body).decode()}
            objects.append(
                {"key": version["Key"], "version_id": version["VersionId"], "metadata": reply["Metadata"], **stored}
            )
    backups = [
        {"container": c, "path": p, "vid": vid, "content": [seed, size], "parent": None if parent is None else vids[parent]}
        for (c, p, seed, size, _, parent), vid in zip(BACKUPS, vids)
    ]
    out = {"commit": sys.argv[1], "bucket": settings["bucket"], "public_key": public, "backups": backups, "objects": objects}
    json.dump(out, sys.stdout, indent=1, ensure_ascii=False)


main()

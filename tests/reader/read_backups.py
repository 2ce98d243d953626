"""Lists and restores backups of a vault, in any mode. It knows docs/format.md and boto3, and nothing of s3vault.

read_backups.py BUCKET CONTAINER PATH FILE ['ed25519 ID KEY']       (BUCKET* is the start of the buckets' names)"""
import base64, hashlib, json, sys
import boto3, blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

def segment(name):
    text = "".join(c if not c.isascii() or c.isalnum() or c in "._-" else f"={ord(c):02X}" for c in name)
    return text if len(text.encode()) <= 200 else "~" + hashlib.sha256(name.encode()).hexdigest()

def bucket_of(prefix, container):
    shown = "".join(c.lower() if c.isascii() and c.isalnum() else "-" for c in container)[: 52 - len(prefix)]
    return f"{prefix}{shown}-{base64.b32encode(hashlib.sha256(container.encode()).digest()).decode().lower()[:10]}"

class Reader:
    def __init__(self, s3, bucket, public_key=None):
        self.s3, self.bucket = s3, bucket
        self.key = public_key and Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.split()[2]))
    def list(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]
    def signed(self, key):  # the contents of an object; None if nobody who is trusted wrote it
        line, signature, *_ = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read().split(b"\n") + [b""]
        try:
            if self.key:
                self.key.verify(base64.b64decode(signature.split()[2]), b"s3vault/1\0" + line)
            found = json.loads(line)
            return found if (found["format"], found["key"], found.get("requires", [])) == (1, key, []) else None
        except Exception:
            return None
    def versions(self, container, path):  # the manifests of the visible versions, the newest first
        keys = self.list(f"_s3vault/1/cat/{segment(container)}/{segment(path)}/")
        gone = {key[:-3] for key in keys if key.endswith(".-d") and self.signed(key)}
        rows = (key for key in keys if not key.endswith((".-d", ".-s")) and key[: key.rindex("/") + 27] not in gone)
        return [found for found in map(self.signed, rows) if found]
    def find(self, container, path, as_of=2**63, vid=""):  # the newest version then; None if it was deleted then
        fits = (v for v in self.versions(container, path) if v["recorded"] <= as_of and v["vid"].startswith(vid))
        found = next(fits, {"kind": "del"})
        return None if found["kind"] == "del" else found
    def restore(self, found, file):
        name = f"{segment(found['container'])}/{segment(found['path'])}/{found['vid']}."
        locator = [where for where in map(self.signed, self.list(f"_s3vault/1/loc/{name}")) if where][-1]
        for number, extent in enumerate(found["extents"], 1):
            which = {"Key": locator["data"]["first"] if number == 1 else f"{locator['data']['next']}{number}"}
            if which["Key"] == extent["key"] and "version_id" in extent:
                which["VersionId"] = extent["version_id"]
            reply = self.s3.get_object(Bucket=self.bucket, **which)
            for part in extent["parts"] or [{"length": extent["size"]}]:
                data = reply["Body"].read(part["length"])
                if len(data) != part["length"] or part.get("blake3", "") not in ("", blake3.blake3(data).hexdigest()):
                    raise ValueError(f"{which['Key']} is damaged")
                file.write(data)
            if not extent["parts"] and reply["ETag"].strip('"') != found["adopted"]["etag"]:
                raise ValueError(f"{which['Key']} was replaced")

if __name__ == "__main__":
    bucket, container, path, name, *key = sys.argv[1:]
    reader = Reader(boto3.client("s3"), bucket_of(bucket[:-1], container) if bucket[-1] == "*" else bucket, *key)
    reader.restore(reader.find(container, path), open(name, "wb"))

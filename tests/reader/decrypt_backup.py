"""Restores a backup that was encrypted before it was stored (encryption = envelope), with its keyring file. It knows
docs/format.md, boto3 and Python's cryptography, and nothing of s3vault.

decrypt_backup.py KEYRING BUCKET CONTAINER PATH FILE                (BUCKET* is the start of the buckets' names)"""
import base64, io, json, sys
import boto3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from read_backups import Reader, bucket_of, segment

SEGMENT, TAG = 1 << 20, 16

def data_key(keyring, locator):
    wrapped, names = base64.b64decode(locator["wrapped"]["key"]), ("vault", "container", "path", "vid")
    kek = next(kek for kek in keyring["keks"] if kek["id"] == locator["wrapped"]["kek"])
    fields = [field.encode() for field in [*map(locator.get, names), kek["id"], locator["encryption"]]]
    associated = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return AESGCM(base64.b64decode(kek["key"])).decrypt(wrapped[:12], wrapped[12:], associated)

def decrypt(found, key, stored, file):  # `stored` has all extents, one after the other
    offset = 0
    parts = [pair for extent in found["extents"] for pair in zip(extent["parts"], extent["salts"], strict=True)]
    for part, salt in parts:
        aead, left = AESGCM(HKDF(SHA256(), 32, bytes.fromhex(salt), b"s3vault/1 segment").derive(key)), part["length"]
        while left:
            data = stored.read(min(left, SEGMENT + TAG))
            is_last = offset + len(data) - TAG == found["size"]
            plain = aead.decrypt(bytes(7) + (offset // SEGMENT).to_bytes(4, "big") + bytes([is_last]), data, None)
            file.write(plain)
            offset, left = offset + len(plain), left - len(data)
    if offset != found["size"]:
        raise ValueError("the backup is not complete")

def restore(reader, keyring, found, file):
    prefix = f"_s3vault/1/loc/{segment(found['container'])}/{segment(found['path'])}/{found['vid']}."
    locator = [where for where in map(reader.signed, reader.list(prefix)) if where][-1]
    stored = io.BytesIO()
    reader.restore(found, stored)  # verifies the hashes, which are those of what is stored
    stored.seek(0)
    decrypt(found, data_key(keyring, locator), stored, file)

if __name__ == "__main__":
    keys, bucket, container, path, name = sys.argv[1:]
    bucket = bucket_of(bucket[:-1], container) if bucket[-1] == "*" else bucket
    reader = Reader(boto3.client("s3"), bucket)
    restore(reader, json.load(open(keys)), reader.find(container, path), open(name, "wb"))

"""scripts/page_envelope.py DIR: stores an encrypted backup with the `s3vault` command in the store that the environment names, and
writes what the verification page needs to decrypt it into DIR: `manifest`, `public-key`, `data` (as it is stored), `plain`,
`escrow`, `escrow-of-other-vault`, and `passphrase`, which opens both. Then it rotates the keys: `locator` is the one that the
rotation wrote, and `escrow-rotated` has only the new key.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "stores"))
import boto3_client

CONTAINER, PATH = "encrypted vm", "disks/sda.img"
MIB = 1 << 20


def command(*arguments: str, **environment: str) -> str:
    words = [sys.executable, "-m", "s3vault", *arguments]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}).stdout


def main(folder: Path) -> None:
    folder.mkdir()
    keyring, rotated, other = (str(folder.parent / name) for name in ("envelope.keys", "rotated.keys", "other.keys"))
    passphrase, plain = str(folder / "passphrase"), str(folder / "plain")
    Path(passphrase).write_text("page: correct horse ¿battery?")
    Path(plain).write_bytes(os.urandom(20 * MIB + 12345))
    vault = {"S3VAULT_KEYRING": keyring, "S3VAULT_ENCRYPTION": "envelope"}

    def export(file: str, name: str, **environment: str) -> None:
        command("keys", "export", file, str(folder / name), "--passphrase-file", passphrase, **environment)

    command("keys", "new", keyring)
    export(keyring, "escrow", **vault)
    command("put", CONTAINER, PATH, plain, **vault)
    command("manifest", CONTAINER, PATH, str(folder / "manifest"), **vault)
    (folder / "public-key").write_text(command("keys", "public", **vault))
    client, bucket = boto3_client.client(), os.environ["S3VAULT_BUCKET"]
    client.download_file(bucket, f"{CONTAINER}/{PATH}", str(folder / "data"))

    command("keys", "new", other)
    export(other, "escrow-of-other-vault", S3VAULT_KEYRING=other, S3VAULT_BUCKET="another-bucket")

    command("keys", "rotate", keyring, "--out", str(folder.parent / "both"), "--passphrase-file", passphrase, **vault)
    command("rotate", **vault)
    locators = client.list_objects_v2(Bucket=bucket, Prefix="_s3vault/1/loc/encrypted=20vm/")["Contents"]
    client.download_file(bucket, locators[-1]["Key"], str(folder / "locator"))
    keys = json.loads(Path(keyring).read_text())
    keys["keks"] = [kek for kek in keys["keks"] if kek["id"] == keys["current"]]
    Path(rotated).touch(0o600)
    Path(rotated).write_text(json.dumps(keys) + "\n")
    export(rotated, "escrow-rotated", **{**vault, "S3VAULT_KEYRING": rotated})


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The clients of the bench, and how each is started.

All are told the same: parts of 8 MiB, eight in flight, 32 small objects in flight, an unsigned payload and no checksums of
their own. s3vault as it is has up to 32 parts of a file in flight where that brings more; "s3vault, 8 in flight" is held
to eight, as the peers are. s3vault and the bare lines hash (CRC64NVME and BLAKE3); the peers do not, where they can be told so. rclone
cannot: it takes the MD5 of each part, and over plain HTTP it signs the parts (its SDK leaves a payload unsigned over TLS
only). The table's last column says what each sent.
"""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
# rclone with the same parts, and without what a client may leave out.
RCLONE = {
    "RCLONE_CONFIG": "/dev/null",
    "RCLONE_S3_CHUNK_SIZE": "8Mi",
    "RCLONE_S3_UPLOAD_CUTOFF": "8Mi",
    "RCLONE_S3_UPLOAD_CONCURRENCY": "8",
    "RCLONE_S3_USE_UNSIGNED_PAYLOAD": "true",
    "RCLONE_S3_DISABLE_CHECKSUM": "true",
    "RCLONE_S3_NO_CHECK_BUCKET": "true",
    "RCLONE_S3_NO_HEAD": "true",
    "RCLONE_IGNORE_CHECKSUM": "true",
    "RCLONE_MULTI_THREAD_STREAMS": "8",
    "RCLONE_MULTI_THREAD_CHUNK_SIZE": "8Mi",
}
OPERATIONS = ("up-file", "up-stream", "down-file", "down-pipe", "small")


class Client:
    """A program with the bench's own command line."""

    def __init__(self, name, program, operations=None, environment=None):
        self.name, self.program, self.environment = name, program, environment or {}
        # The bench's operation, and what the program calls it.
        self.operations = operations or {operation: operation for operation in OPERATIONS}

    def command(self, operation, url, ca, path, key):
        return [*self.program, self.operations[operation], url, ca or "-", path, key], self.environment


class Rclone:
    name = "rclone"
    operations = OPERATIONS

    def __init__(self, program):
        self.program = program

    def command(self, operation, url, ca, path, key):
        remote = f":s3:bench/{key}"
        arguments = {
            "up-file": ["copyto", "--no-check-dest", path, remote],
            # It compares what the store has with what it sent; the sink keeps no times and no hashes.
            "up-stream": ["rcat", "--size-only", remote],
            "down-file": ["copyto", remote, path],
            "down-pipe": ["cat", remote],
            "small": ["copy", "--no-check-dest", "--transfers", "32", path, remote],
        }[operation]
        environment = {
            "RCLONE_S3_PROVIDER": "Other",
            "RCLONE_S3_ENDPOINT": url,
            "RCLONE_S3_REGION": "us-east-1",
            "RCLONE_S3_ACCESS_KEY_ID": "bench",
            "RCLONE_S3_SECRET_ACCESS_KEY": "bench-secret",
            **RCLONE,
        }
        if ca:
            environment["RCLONE_CA_CERT"] = str(ca)
        return [self.program, *arguments], environment


NAMES = (
    "bare sockets",
    "bare sockets, no hashes",
    "bare transport",
    "s3vault",
    "s3vault, 8 in flight",
    "s3vault, PutObject",
    "s3vault, reqwest",
    "awscrt",
    "boto3",
    "minio-go",
    "rclone",
    "object_store",
)


def all_of(programs, rclone, operation):
    """Those that know this operation, in the order of the table."""
    python = [sys.executable]
    clients = [
        Client("bare sockets", [programs / "bare-sockets"], {"up-file": "up-file", "down-file": "down-file"}),
        Client(
            "bare sockets, no hashes",
            [programs / "bare-sockets"],
            {"up-file": "up-file-unhashed", "down-file": "down-file-unhashed"},
        ),
        Client("bare transport", [programs / "bare-transport"], {"up-file": "up-file"}),
        Client("s3vault", [programs / "s3vault"]),
        # A stream and a pipe have eight anyway.
        Client(
            "s3vault, 8 in flight",
            [programs / "s3vault"],
            {"up-file": "up-file", "down-file": "down-file"},
            {"S3VAULT_CONNECTIONS": "8"},
        ),
        Client("s3vault, PutObject", [programs / "s3vault"], {"small": "small-put"}),
        Client("s3vault, reqwest", [programs / "s3vault"], environment={"S3VAULT_TRANSPORT": "reqwest"}),
        Client("awscrt", [*python, HERE / "peers/awscrt_client.py"]),
        Client("boto3", [*python, HERE / "peers/boto3_client.py"]),
        Client("minio-go", [programs / "minio-go"]),
        Rclone(rclone),
        Client("object_store", [programs / "bench-object-store"]),
    ]
    return [client for client in clients if operation in client.operations]


def versions(rclone):
    go = (HERE / "go/go.mod").read_text().split("minio-go/v7 ", 1)[1].split()[0]
    lock = (HERE / "Cargo.lock").read_text()
    said = subprocess.run([rclone, "version"], capture_output=True, text=True, check=True).stdout.split()
    return {
        "awscrt": version("awscrt"),
        "boto3": version("boto3"),
        "minio-go": go,
        "rclone": said[1],
        "object_store": lock.split('name = "object_store"\nversion = "', 1)[1].split('"', 1)[0],
    }

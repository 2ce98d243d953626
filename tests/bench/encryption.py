#!/usr/bin/env python3
"""What encryption costs: s3vault without, with SSE-C and with envelope, beside other programs, as whole processes, one after
the other on one store: MinIO over TLS.

    make bench-encryption [ARGS="--size 256M --rounds 1"]

    --size BYTES      of the file, which has random bytes (1G); K, M, G are powers of 1,024
    --rounds N        how often each client runs; the median counts (3)

Each client stores a file in a bucket of its own, and restores it with a cold cache into another file, which is compared. In
each round every client runs once, and each round begins with another. The figures are CPU seconds of the client alone; what
the store took for SSE-C is not in them. None compresses:

    s3vault           hashes what it stores twice (CRC64NVME, BLAKE3), and compares what it restores
    minio-go          parts of 8 MiB, eight in flight, no hashes of its own
    rclone            the same; with crypt, XSalsa20 and Poly1305 in blocks of 64 KiB
    restic            AES-256-CTR with Poly1305-AES, SHA-256 of each chunk
    kopia             AES-256-GCM, BLAKE2b of each chunk
"""

import argparse
import filecmp
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import clients
import machine
from measured import Failed, figures

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/stores"))
from boto3_client import client

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Client:
    """The base: a bucket, a folder, and what the program is told by its environment."""

    versioned = False

    def __init__(self, name, bench):
        self.name, self.bench = name, bench
        self.bucket = name.replace(", ", "-").replace(" ", "-").lower()
        self.environment = {}

    def prepare(self):
        """Before each storing, in an empty bucket and an empty folder."""

    def chill(self):
        """Before each restoring: no cache helps."""

    @property
    def folder(self):
        return self.bench.folder / self.bucket

    def quietly(self, *command):
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{self.name}: {done.stderr[-2000:]}")
        return done.stdout


class OwnLine(Client):
    """A program with the bench's own command line (clients/src/lib.rs)."""

    def __init__(self, name, bench, program, environment):
        super().__init__(name, bench)
        self.program, self.environment = program, {**environment, "S3VAULT_BUCKET": self.bucket}
        self.versioned = "S3VAULT_KEYRING" in environment

    def command(self, operation, path):
        return [self.program, operation, os.environ["S3VAULT_API_URL"], os.environ["S3VAULT_CA_FILE"], path, "vm/disk.img"]

    def up(self):
        return self.command("up-file", self.bench.file)

    def down(self):
        return self.command("down-file", self.bench.out)


class Rclone(Client):
    def __init__(self, name, bench, program, crypt=False):
        super().__init__(name, bench)
        self.program, self.remote = program, "secret:disk.img" if crypt else f"store:{self.bucket}/disk.img"
        self.environment = {
            **clients.RCLONE,
            "RCLONE_CA_CERT": os.environ["S3VAULT_CA_FILE"],
            "RCLONE_CONFIG_STORE_TYPE": "s3",
            "RCLONE_CONFIG_STORE_PROVIDER": "Other",
            "RCLONE_CONFIG_STORE_ENDPOINT": os.environ["S3VAULT_API_URL"],
            "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": os.environ["S3VAULT_ACCESS_KEY"],
            "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": os.environ["S3VAULT_SECRET_KEY"],
            "RCLONE_CONFIG_STORE_REGION": "us-east-1",
        }
        if crypt:
            obscured = subprocess.run([program, "obscure", "bench"], capture_output=True, text=True, check=True).stdout.strip()
            self.environment |= {
                "RCLONE_CONFIG_SECRET_TYPE": "crypt",
                "RCLONE_CONFIG_SECRET_REMOTE": f"store:{self.bucket}",
                "RCLONE_CONFIG_SECRET_PASSWORD": obscured,
            }

    def up(self):
        return [self.program, "copyto", "--no-check-dest", self.bench.file, self.remote]

    def down(self):
        return [self.program, "copyto", self.remote, self.bench.out]


class Restic(Client):
    def __init__(self, name, bench, program):
        super().__init__(name, bench)
        self.program = [program, "--cacert", os.environ["S3VAULT_CA_FILE"], "--compression", "off", "-q"]
        self.environment = {
            "RESTIC_PASSWORD": "bench",
            "RESTIC_REPOSITORY": f"s3:{os.environ['S3VAULT_API_URL']}/{self.bucket}",
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "AWS_ACCESS_KEY_ID": os.environ["S3VAULT_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": os.environ["S3VAULT_SECRET_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def prepare(self):
        self.quietly(*self.program, "init")

    def chill(self):
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def up(self):
        return [*self.program, "backup", self.bench.file]

    def down(self):
        return [*self.program, "restore", f"latest:{self.bench.file.parent}", "--target", self.bench.out.parent]


class Kopia(Client):
    def __init__(self, name, bench, program):
        super().__init__(name, bench)
        self.program = program
        self.environment = {
            "KOPIA_PASSWORD": "bench",
            "KOPIA_CONFIG_PATH": str(self.folder / "config"),
            "KOPIA_CACHE_DIRECTORY": str(self.folder / "cache"),
            "KOPIA_LOG_DIR": str(self.folder / "log"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }

    def prepare(self):
        keys = ["--access-key", os.environ["S3VAULT_ACCESS_KEY"], "--secret-access-key", os.environ["S3VAULT_SECRET_KEY"]]
        address = os.environ["S3VAULT_API_URL"].removeprefix("https://")
        store = ["--bucket", self.bucket, "--endpoint", address, "--region", "us-east-1"]
        trust = ["--root-ca-pem-path", os.environ["S3VAULT_CA_FILE"]]
        self.quietly(self.program, "repository", "create", "s3", *store, *trust, *keys)

    def chill(self):
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def up(self):
        return [self.program, "snapshot", "create", self.bench.file.parent]

    def down(self):
        snapshots = json.loads(self.quietly(self.program, "snapshot", "list", "--all", "--json"))
        return [self.program, "snapshot", "restore", snapshots[-1]["id"], self.bench.out.parent]


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        for name in ("source", "target"):
            (folder / name).mkdir()
        # The same name in both: restic and kopia restore a folder.
        self.file, self.out = folder / "source/disk.img", folder / "target/disk.img"
        with self.file.open("wb") as file:
            for _ in range(0, arguments.size, 1 << 20):
                file.write(os.urandom(min(1 << 20, arguments.size)))

    def clients(self):
        a = self.arguments
        keyring = str(self.folder / "keyring")
        for kind in ("none", "sse-c", "envelope"):
            environment = {"S3VAULT_KEYRING": keyring, "S3VAULT_ENCRYPTION": kind}
            yield OwnLine(f"s3vault, {kind}", self, a.programs / "s3vault", environment)
        yield OwnLine("minio-go", self, a.programs / "minio-go", {})
        yield OwnLine("minio-go, SSE-C", self, a.programs / "minio-go", {"MINIO_GO_SSE_C": secrets.token_hex(32)})
        yield Rclone("rclone", self, a.rclone)
        yield Rclone("rclone, crypt", self, a.rclone, crypt=True)
        yield Restic("restic", self, a.restic)
        yield Kopia("kopia", self, a.kopia)

    def measure(self, which, command):
        measured = subprocess.run(
            [self.arguments.measure, "--", *command],
            env={**os.environ, **which.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        took = figures(measured.stderr, which.name)
        return {"cpu": took["cpu"] / (self.arguments.size / (1 << 30)), "wall": took["wall"], "mib": took["peak_mib"]}

    def round(self, which):
        s3 = client()
        s3.create_bucket(Bucket=which.bucket)
        if which.versioned:
            s3.put_bucket_versioning(Bucket=which.bucket, VersioningConfiguration={"Status": "Enabled"})
        which.folder.mkdir()
        self.out.unlink(missing_ok=True)
        which.prepare()
        up = self.measure(which, which.up())
        which.chill()
        down = self.measure(which, which.down())
        if not filecmp.cmp(self.file, self.out, shallow=False):
            raise Failed(f"{which.name} restored other bytes")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=which.bucket):
            objects = [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in page.get("Versions", [])]
            s3.delete_objects(Bucket=which.bucket, Delete={"Objects": objects, "Quiet": True})
        s3.delete_bucket(Bucket=which.bucket)
        shutil.rmtree(which.folder)
        return up, down


def size(text):
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1] in UNITS else (text, 1)
    return int(number) * unit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, required=True, help="where the bench's own programs are")
    parser.add_argument("--measure", type=Path, required=True, help="the bench's program that measures others")
    parser.add_argument("--rclone", type=Path, required=True)
    parser.add_argument("--restic", type=Path, required=True)
    parser.add_argument("--kopia", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=ROOT / "build/bench")
    parser.add_argument("--size", type=size, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    described = machine.describe()
    print(f"{datetime.now(UTC).isoformat(timespec='seconds')}, {machine.text(described)}")
    # In memory, so that no disk is measured.
    folder = Path(tempfile.mkdtemp(prefix="s3vault-bench-", dir="/dev/shm"))
    try:
        bench = Bench(arguments, folder)
        chosen = list(bench.clients())
        runs = {which.name: [] for which in chosen}
        for number in range(arguments.rounds):
            first = number % len(chosen)
            for which in chosen[first:] + chosen[:first]:
                print(f"round {number + 1}: {which.name}", file=sys.stderr)
                runs[which.name].append(bench.round(which))
        results = {"machine": described, "size": arguments.size, "rounds": arguments.rounds, "clients": {}}
        print(f"a file of {arguments.size >> 20:,} MiB, median of {arguments.rounds}")
        print(f"  {'':<20}{'up: CPU s/GiB':>14}{'wall s':>8}{'MiB':>6}{'down: CPU s/GiB':>17}{'wall s':>8}{'MiB':>6}")
        for name, of in runs.items():
            up, down = ({key: statistics.median(run[way][key] for run in of) for key in of[0][way]} for way in (0, 1))
            results["clients"][name] = {"up": up, "down": down}
            print(
                f"  {name:<20}{up['cpu']:>14.2f}{up['wall']:>8.1f}{up['mib']:>6.0f}"
                f"{down['cpu']:>17.2f}{down['wall']:>8.1f}{down['mib']:>6.0f}"
            )
        arguments.results.mkdir(parents=True, exist_ok=True)
        (arguments.results / "encryption.json").write_text(json.dumps(results, indent=1))
    except Failed as failed:
        sys.exit(f"encryption.py: {failed}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

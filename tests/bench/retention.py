#!/usr/bin/env python3
"""What it costs to delete nine in ten backups: s3vault's prune and sweep beside restic, kopia and rclone, as whole processes, one
after the other on one store, the embedded one.

    make bench-retention [ARGS="--versions 2000 --backups 20"]

Each client has the same number of versions, with tiny payloads, in a bucket of its own, and keeps the same:

    s3vault           prune, and the sweep that frees the space half an hour later; in both modes
    restic            forget --keep-last --prune, with a warm cache, in a repository with a snapshot for each version
    kopia             snapshot expire --delete, in a repository with a snapshot for each version; then the maintenance that
                      frees the space, with --safety=none since kopia otherwise waits for a day
    rclone, versions  delete of as many objects as versions go
    rclone, objects   delete of as many objects as s3vault removes for them: data, locator, catalogue entry

The bucket of s3vault's native mode has versioning, the others have none. Filling is not measured. A run counts when the client
ended with 0 and what is left is what must be left. The table goes to standard output, retention.json to build/bench.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import machine
from measured import Failed, figures

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/stores"))
from boto3_client import client

MANY_VERSIONS = ROOT / "tests/system/many_versions.py"


@dataclass
class Row:
    """What a client took, summed over its programs."""

    name: str
    removed: int
    wall: float = 0
    cpu: float = 0
    peak_mib: float = 0
    requests: Counter = field(default_factory=Counter)


def hook(name, body=None):
    """Asks or tells the embedded store something that is not S3."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{os.environ['S3VAULT_API_URL']}/_embedded/{name}", data)) as reply:
        return json.load(reply)


def requests():
    return Counter(hook("stats")["requests"])


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.kept = arguments.versions // arguments.backups // 10
        self.gone = arguments.versions - self.kept * arguments.backups

    def measure(self, row, command, environment=None):
        """Runs the program, and adds what it took to the row. Returns its standard output."""
        before, out = requests(), self.folder / "out"
        with out.open("w") as stdout:
            done = subprocess.run(
                [self.arguments.measure, "--", *command],
                env={**os.environ, **(environment or {})},
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        measured = figures(done.stderr, row.name)
        row.wall += measured["wall"]
        row.cpu += measured["cpu"]
        row.peak_mib = max(row.peak_mib, measured["peak_mib"])
        row.requests += requests() - before
        return out.read_text()

    def bucket(self, name, versioned=False):
        s3 = client()
        s3.create_bucket(Bucket=name)
        if versioned:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def s3vault(self, name, mode):
        is_native = mode == "single-bucket"
        bucket = self.bucket(f"s3vault-{mode}", versioned=is_native)
        environment = {"S3VAULT_MODE": mode, "S3VAULT_BUCKET": bucket, "S3VAULT_KEYRING": str(self.folder / "keyring")}
        numbers = [str(self.arguments.versions), str(self.arguments.backups)]
        filled = {**os.environ, **environment}
        subprocess.run([sys.executable, MANY_VERSIONS, "fill", *numbers], env=filled, stdout=subprocess.DEVNULL, check=True)
        row = Row(name, self.gone)
        program = self.arguments.s3vault
        pruned = json.loads(self.measure(row, [program, "prune", str(self.kept)], environment))
        for marker in (".-d", ".-s"):
            hook("age", {"bucket": bucket, "part": marker, "seconds": 3600})
        # The filled vault has a put for each backup that was abandoned: the first sweep finds it.
        swept = json.loads(self.measure(row, [program, "sweep"], environment))
        if (pruned["deleted"], swept["freed"]) != (self.gone, self.gone):
            raise Failed(f"{name}: {pruned['deleted']} pruned and {swept['freed']} freed of {self.gone}")
        return row

    def restic(self):
        bucket, snapshots = self.bucket("restic"), self.arguments.versions
        local = {
            **os.environ,
            "RESTIC_PASSWORD": "bench",
            "RESTIC_REPOSITORY": str(self.folder / "repository"),
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
        }
        restic = self.arguments.restic
        subprocess.run([restic, "init", "-q"], env=local, check=True)
        first = datetime.now(UTC) - timedelta(days=snapshots // self.arguments.backups)

        # In a local repository, which is then copied: that is faster. Not several at once: they would wait for locks.
        for day, backup in itertools.product(range(snapshots // self.arguments.backups), range(self.arguments.backups)):
            time = (first + timedelta(days=day)).strftime("%Y-%m-%d %H:%M:%S")
            stored = ["backup", "-q", "--stdin", "--stdin-filename", f"disk-{backup}.img", "--host", "vm", "--time", time]
            subprocess.run([restic, *stored], env=local, input=f"backup {backup} {day}".encode(), check=True)
        self.rclone_copy(self.folder / "repository", bucket)
        environment = {
            **local,
            "RESTIC_REPOSITORY": f"s3:{os.environ['S3VAULT_API_URL']}/{bucket}",
            "AWS_ACCESS_KEY_ID": os.environ["S3VAULT_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": os.environ["S3VAULT_SECRET_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        subprocess.run([restic, "snapshots", "-q"], env=environment, stdout=subprocess.DEVNULL, check=True)
        row = Row("restic forget --prune", self.gone)
        self.measure(row, [restic, "forget", "-q", "--keep-last", str(self.kept), "--prune"], environment)
        left = subprocess.run([restic, "snapshots", "--json"], env=environment, stdout=subprocess.PIPE, check=True).stdout
        if len(json.loads(left)) != snapshots - self.gone:
            raise Failed(f"restic left {len(json.loads(left))} snapshots, not {snapshots - self.gone}")
        return row

    def kopia(self):
        bucket, days = self.bucket("kopia"), self.arguments.versions // self.arguments.backups
        environment = {
            **os.environ,
            "KOPIA_PASSWORD": "bench",
            "KOPIA_CONFIG_PATH": str(self.folder / "kopia.config"),
            "KOPIA_CACHE_DIRECTORY": str(self.folder / "kopia-cache"),
            "KOPIA_LOG_DIR": str(self.folder / "kopia-log"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }

        def kopia(*arguments):
            done = subprocess.run([self.arguments.kopia, *arguments], env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failed(f"kopia {arguments[0]} {arguments[1]}: {done.stderr[-2000:]}")
            return done.stdout

        def keep(latest):
            others = [f"--keep-{period}=0" for period in ("hourly", "daily", "weekly", "monthly", "annual")]
            kopia("policy", "set", "--global", f"--keep-latest={latest}", *others)

        keys = ["--access-key", os.environ["S3VAULT_ACCESS_KEY"], "--secret-access-key", os.environ["S3VAULT_SECRET_KEY"]]
        address = os.environ["S3VAULT_API_URL"].removeprefix("http://")
        store = ["--bucket", bucket, "--endpoint", address, "--region", "us-east-1", "--disable-tls"]
        kopia("repository", "create", "s3", *store, *keys)
        keep(self.arguments.versions)
        sources = [self.folder / f"kopia-source-{number}" for number in range(self.arguments.backups)]
        first = datetime.now(UTC) - timedelta(days=days)
        for day in range(days):
            for number, source in enumerate(sources):
                source.mkdir(exist_ok=True)
                (source / "disk.img").write_text(f"backup {number} {day}")
            time = (first + timedelta(days=day)).strftime("%Y-%m-%d %H:%M:%S UTC")
            kopia("snapshot", "create", "--start-time", time, "--end-time", time, *map(str, sources))
        keep(self.kept)
        expire, maintenance = Row("kopia snapshot expire", self.gone), Row("kopia maintenance", self.gone)
        self.measure(expire, [self.arguments.kopia, "snapshot", "expire", "--all", "--delete"], environment)
        self.measure(maintenance, [self.arguments.kopia, "maintenance", "run", "--full", "--safety=none"], environment)
        left = len(json.loads(kopia("snapshot", "list", "--all", "--json", "--max-results=100000")))
        if left != self.arguments.versions - self.gone:
            raise Failed(f"kopia left {left} snapshots, not {self.arguments.versions - self.gone}")
        yield expire
        yield maintenance

    def rclone_environment(self):
        return {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_STORE_TYPE": "s3",
            "RCLONE_CONFIG_STORE_PROVIDER": "Other",
            "RCLONE_CONFIG_STORE_ENDPOINT": os.environ["S3VAULT_API_URL"],
            "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": os.environ["S3VAULT_ACCESS_KEY"],
            "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": os.environ["S3VAULT_SECRET_KEY"],
            "RCLONE_CONFIG_STORE_REGION": "us-east-1",
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
            "RCLONE_S3_LIST_VERSION": "2",
        }

    def rclone_copy(self, folder, bucket):
        copy = [self.arguments.rclone, "copy", "--transfers", "16", folder, f"store:{bucket}"]
        subprocess.run(copy, env={**os.environ, **self.rclone_environment()}, check=True)

    def rclone(self, name, objects):
        bucket, folder = self.bucket(f"rclone-{objects}"), self.folder / f"objects-{objects}"
        folder.mkdir()
        for number in range(objects):
            (folder / f"object-{number:06}").write_text(f"backup {number}")
        self.rclone_copy(folder, bucket)
        row = Row(name, objects)
        self.measure(row, [self.arguments.rclone, "delete", f"store:{bucket}"], self.rclone_environment())
        if left := client().list_objects_v2(Bucket=bucket)["KeyCount"]:
            raise Failed(f"rclone left {left} objects")
        return row

    def rows(self):
        yield self.s3vault("s3vault, native", "single-bucket")
        yield self.s3vault("s3vault, emulated", "single-bucket-no-versioning")
        yield self.restic()
        yield from self.kopia()
        yield self.rclone("rclone, versions", self.gone)
        yield self.rclone("rclone, objects", 3 * self.gone)


def version(program):
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    return said.stdout.split("\n")[0] or "kopia " + os.path.basename(os.path.dirname(program)).removeprefix("kopia-")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", type=Path, required=True, help="the bench's program that measures others")
    parser.add_argument("--s3vault", type=Path, required=True, help="the bench's program that runs jobs")
    parser.add_argument("--rclone", type=Path, required=True)
    parser.add_argument("--restic", type=Path, required=True)
    parser.add_argument("--kopia", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=ROOT / "build/bench")
    parser.add_argument("--versions", type=int, default=2000)
    parser.add_argument("--backups", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.versions % (10 * arguments.backups):
        parser.error("of each backup there are 10, 20, 30, ... versions")
    described = machine.describe()
    print(f"{datetime.now(UTC).isoformat(timespec='seconds')}, {machine.text(described)}")
    print(f"{version(arguments.restic)}; {version(arguments.kopia)}; {version(arguments.rclone)}")
    # In memory, so that no disk is measured.
    folder = Path(tempfile.mkdtemp(prefix="s3vault-bench-", dir="/dev/shm"))
    results = {"machine": described, "versions": arguments.versions, "backups": arguments.backups, "rows": []}
    try:
        bench = Bench(arguments, folder)
        create = [sys.executable, "-m", "s3vault", "keys", "new", folder / "keyring"]
        subprocess.run(create, stdout=subprocess.DEVNULL, check=True)
        print(f"{arguments.versions:,} versions of {arguments.backups} backups, {bench.gone:,} go")
        print(f"  {'':<24}{'removed':>9}{'wall s':>9}{'CPU s':>8}{'MiB':>6}{'a second':>10}{'requests':>10}")
        for row in bench.rows():
            results["rows"].append(row.__dict__)
            rate, count = row.removed / row.wall, row.requests.total()
            print(f"  {row.name:<24}{row.removed:>9,}{row.wall:>9.2f}{row.cpu:>8.2f}{row.peak_mib:>6.0f}{rate:>10,.0f}{count:>10,}", flush=True)
            print("    " + ", ".join(f"{number:,} {name}" for name, number in row.requests.most_common()))
        arguments.results.mkdir(parents=True, exist_ok=True)
        (arguments.results / "retention.json").write_text(json.dumps(results, indent=1))
    except Failed as failed:
        sys.exit(f"retention.py: {failed}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

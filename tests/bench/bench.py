#!/usr/bin/env python3
"""s3vault beside other clients, side by side: what a transfer costs, as whole processes against a sink on loopback.

    make bench [ARGS="--size 64M --objects 100 --rounds 1 --only up-file --only plain"]

    --size BYTES      of the large object (1G); K, M, G are powers of 1,024
    --objects N       how many small ones, of 64 KiB each (2,000)
    --rounds N        how often each client runs; the median counts (3)
    --only WORD       scenarios whose name has this word; several: all of them. Names are: up-file plain 20ms
    --client NAME     this client; once for each (all)

In each round every client runs once, and each round begins with another. A run counts when the program ended with 0, the
sink has the objects with the lengths that they must have, and what was downloaded is what the sink sent: a file is
compared after each run; a pipe's bytes are counted in each run, and compared in one that is not measured, since
comparing would take time from the client. The table goes to standard output, results.json
and results.png to build/bench.
"""

import argparse
import filecmp
import itertools
import json
import os
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import chart
import clients
import machine
from measured import Failed, figures

SMALL = 64 << 10
# The longest run, s3vault's small objects at 100 ms, takes half a minute.
LIMIT_S = 300
SCENARIOS = [
    *itertools.product(("up-file", "up-stream", "down-file", "down-pipe", "small"), (False, True), (0,)),
    *itertools.product(("up-file", "small"), (False, True), (20, 100)),
]
TITLES = {
    "up-file": "a file up",
    "up-stream": "a stream of unknown length up",
    "down-file": "down to a file",
    "down-pipe": "down to a pipe",
    "small": "small objects up",
}
DOWN_KEY = "vm/disk.img"


class Sink:
    """The sink of one scenario: a process of its own."""

    def __init__(self, program, folder, tls, latency):
        self.ca = folder / "ca.pem" if tls else None
        command = [program, "--latency", str(latency)] + (["--tls", self.ca] if tls else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.context = ssl.create_default_context(cafile=self.ca) if tls else None

    def get(self, target):
        return urllib.request.urlopen(self.url + target, context=self.context)

    def stats(self):
        with self.get("/_sink/stats") as reply:
            return json.load(reply)

    def sizes(self, prefix):
        """Of the objects with this prefix, in bytes."""
        with self.get(f"/bench?list-type=2&prefix={quote(prefix)}") as reply:
            return [int(size.text) for size in ElementTree.parse(reply).iter("Size")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()


class Bench:
    def __init__(self, arguments, programs, folder):
        self.arguments, self.programs, self.folder = arguments, programs, folder
        self.file, self.small, self.out = folder / "disk.img", folder / "small", folder / "out.img"
        subprocess.run([programs / "sink", "--pattern", self.file, str(arguments.size)], check=True)
        self.small.mkdir()
        with open(self.file, "rb") as file:
            block = file.read(SMALL).ljust(SMALL, b"\0")
        for n in range(arguments.objects):
            (self.small / f"object-{n:05}").write_bytes(block)

    def scenario(self, operation, tls, latency):
        chosen = [c for c in clients.all_of(self.programs, self.arguments.rclone, operation) if c.name in self.arguments.clients]
        runs = {client.name: [] for client in chosen}
        failures = {}
        with Sink(self.programs / "sink", self.folder, tls, latency) as sink:
            if operation.startswith("down"):
                # Once: its manifest is what s3vault verifies by; the others get the same object.
                seed = [self.programs / "s3vault", "up-file", sink.url, sink.ca or "-", self.file, DOWN_KEY]
                subprocess.run(seed, check=True)
            if operation == "down-pipe":
                for client in chosen:
                    show(f"{name_of(operation, tls, latency)}, compared: {client.name}")
                    try:
                        self.compare_pipe(client, sink)
                    except Failed as failed:
                        failures[client.name] = str(failed)
            for number in range(self.arguments.rounds):
                first = number % max(len(chosen), 1)
                for client in chosen[first:] + chosen[:first]:
                    if client.name in failures:
                        continue
                    show(f"{name_of(operation, tls, latency)}, round {number + 1}: {client.name}")
                    try:
                        runs[client.name].append(self.run(client, operation, sink, number))
                    except Failed as failed:
                        failures[client.name] = str(failed)
        show("")
        for name, failed in failures.items():
            print(f"{name_of(operation, tls, latency)}: {name} failed: {failed}", file=sys.stderr)
        results = {name: median(of) for name, of in runs.items() if of and name not in failures}
        return {"operation": operation, "tls": tls, "latency_ms": latency, "clients": results, "failed": failures}

    def run(self, client, operation, sink, number):
        path = {"up-file": self.file, "down-file": self.out, "small": self.small}.get(operation, "-")
        # Of its own, so that no other run's objects are there.
        folder = f"run-{number}-{clients.NAMES.index(client.name)}"
        key = {"small": folder, "down-file": DOWN_KEY, "down-pipe": DOWN_KEY}.get(operation, f"{folder}/disk.img")
        self.out.unlink(missing_ok=True)
        command, environment = client.command(operation, sink.url, sink.ca, path, key)
        feed = ["--stdin", self.file] if operation == "up-stream" else []
        drain = ["--drain"] if operation == "down-pipe" else []
        before = sink.stats()
        measure = [self.programs / "measure", *feed, *drain, "--", *command]
        status, stderr = limited(measure, os.environ | environment)
        after = sink.stats()
        if status != 0:
            raise Failed(stderr.strip())
        measured = figures(stderr)
        run = {
            **{name: measured[name] for name in ("cpu", "user", "system", "wall", "peak_mib")},
            "sink_cpu": after["cpu"] - before["cpu"],
            # The question before the run is not counted by the sink.
            "requests": after["requests"] - before["requests"],
            "connections": after["connections"] - before["connections"] - 1,
            "operations": difference(before["operations"], after["operations"]),
            "payloads": difference(before["payloads"], after["payloads"]),
        }
        # The bare lines send parts, and complete no object.
        sizes = None if client.name.startswith("bare") else sink.sizes(f"{folder}/")
        self.check(operation, measured, after["bytes_in"] - before["bytes_in"], sizes)
        return run

    def check(self, operation, measured, arrived, sizes):
        size = self.arguments.size
        if operation == "down-pipe" and measured["drained"] != size:
            raise Failed(f"{measured['drained']} bytes came out of it, not {size}")
        if operation == "down-file":
            self.compare()
        if operation.startswith("down"):
            return
        wanted = [SMALL] * self.arguments.objects if operation == "small" else [size]
        if sizes not in (wanted, None):
            raise Failed(f"the sink has {len(sizes)} objects of {sum(sizes)} bytes, not {len(wanted)} of {sum(wanted)}")
        if arrived < sum(wanted):
            raise Failed(f"{arrived} bytes arrived at the sink, not {sum(wanted)}")

    def compare(self):
        if not self.out.exists() or not filecmp.cmp(self.file, self.out, shallow=False):
            raise Failed("the bytes are not the ones that were stored")

    def compare_pipe(self, client, sink):
        """Compares what a client writes to its pipe, in a run that is not measured."""
        command, environment = client.command("down-pipe", sink.url, sink.ca, "-", DOWN_KEY)
        with open(self.out, "wb") as out:
            piped = ["bash", "-o", "pipefail", "-c", '"$@" | cat', "bash", *command]
            status, stderr = limited(piped, os.environ | environment, out)
        if status != 0:
            raise Failed(stderr.strip()[-2000:])
        self.compare()


def limited(command, environment, stdout=subprocess.DEVNULL):
    """Runs it to its end, or ends it and what it started: a client that hangs is a client that failed."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, stderr = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Failed(f"it had not ended after {LIMIT_S} s") from None
    return process.returncode, stderr


def show(text):
    """What runs now, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def difference(before, after):
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}


def median(runs):
    result = {}
    for name, value in runs[-1].items():
        # Counts by name are the last run's: they do not vary.
        result[name] = value if isinstance(value, dict) else statistics.median(run[name] for run in runs)
    return result | {"runs": runs}


def name_of(operation, tls, latency):
    return f"{operation} {'tls' if tls else 'plain'} {latency}ms"


def signing(payloads):
    """How the payload was signed, where there was one; s3vault's small objects of the vault itself are signed."""
    return ", ".join(f"{name} x{count}" for name, count in sorted(payloads.items(), key=lambda item: -item[1]))


def table(scenario, arguments):
    operation, tls, latency = scenario["operation"], scenario["tls"], scenario["latency_ms"]
    small = operation == "small"
    amount = f"{arguments.objects} of 64 KiB" if small else f"{arguments.size / (1 << 20):g} MiB"
    latency = f", {latency} ms a request" if latency else ""
    print(f"\n{TITLES[operation]}, {amount}, {'TLS' if tls else 'plain'}{latency}   ({name_of(*key(scenario))})")
    unit = "/1,000" if small else "/GiB"
    print(f"  {'':<26}{'CPU s':>8}{unit:>8}{'wall s':>9}{'MiB':>8}{'requests':>10}   payload")
    units = arguments.objects / 1000 if small else arguments.size / (1 << 30)
    for name, row in scenario["clients"].items():
        print(
            f"  {name:<26}{row['cpu']:>8.2f}{row['cpu'] / units:>8.2f}{row['wall']:>9.2f}{row['peak_mib']:>8.0f}"
            f"{row['requests']:>10.0f}   {signing(row['payloads'])}"
        )
    for name in scenario["failed"]:
        print(f"  {name:<26}  failed")
    sys.stdout.flush()


def key(scenario):
    return scenario["operation"], scenario["tls"], scenario["latency_ms"]


def size(text):
    factors = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * factors[text[-1]] if text[-1] in factors else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, required=True, help="where the built clients are")
    parser.add_argument("--rclone", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=Path("build/bench"))
    parser.add_argument("--size", type=size, default=1 << 30)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[])
    # Once for each, since names have commas.
    parser.add_argument("--client", action="append", dest="clients", choices=clients.NAMES, metavar="NAME")
    arguments = parser.parse_args()
    arguments.clients = arguments.clients or clients.NAMES
    wanted = [s for s in SCENARIOS if all(word in name_of(*s).split() for word in arguments.only)]
    if not wanted:
        parser.error("no scenario has these words")
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": clients.versions(arguments.rclone),
        "size": arguments.size,
        "objects": arguments.objects,
        "rounds": arguments.rounds,
        "scenarios": [],
    }
    print(f"{results['date']}, {machine.text(results['machine'])}, medians of {arguments.rounds}")
    arguments.results.mkdir(parents=True, exist_ok=True)
    # In memory, so that no disk is measured.
    folder = Path(tempfile.mkdtemp(prefix="s3vault-bench-", dir="/dev/shm"))
    try:
        bench = Bench(arguments, arguments.programs, folder)
        for scenario in wanted:
            results["scenarios"].append(bench.scenario(*scenario))
            table(results["scenarios"][-1], arguments)
            # After each, so that a run that is stopped leaves what it has.
            (arguments.results / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    finally:
        shutil.rmtree(folder)
    chart.draw(results, arguments.results / "results.png")
    print(f"\n{arguments.results}/results.json, {arguments.results}/results.png")
    if any(scenario["failed"] for scenario in results["scenarios"]):
        sys.exit(1)


if __name__ == "__main__":
    main()

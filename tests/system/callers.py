"""The callers of s3vault as programs with the same command line: put, get, versions."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"


@dataclass(frozen=True)
class Caller:
    """A program with the commands `put CONTAINER PATH FILE|-`, `get CONTAINER PATH FILE|- [VID]`, `versions CONTAINER PATH`."""

    name: str
    argv: tuple[str, ...]

    def start(self, *args: str, **popen) -> subprocess.Popen:
        """Starts the program with these arguments; the environment names the store."""
        return subprocess.Popen([*self.argv, *args], **popen)

    def with_store_at(self, api_url: str) -> "Caller":
        """Returns the same caller with the store at this address."""
        return Caller(self.name, ("env", f"S3VAULT_API_URL={api_url}", *self.argv))

    def run(self, *args: str, check: bool = False, **options) -> subprocess.CompletedProcess:
        """Runs the program and waits for it."""
        return subprocess.run([*self.argv, *args], check=check, **options)


def c_example() -> Caller:
    return Caller("C", (str(ROOT / "bindings/c/build/backup"),))


def java_example() -> Caller:
    target = ROOT / "bindings/java/target"
    jars = [jar for jar in target.glob("s3vault-*.jar") if not jar.stem.endswith(("-sources", "-javadoc"))]
    classpath = os.pathsep.join(map(str, [*jars, target / "dependency/*"]))
    return Caller("Java", ("java", "-cp", classpath, "io.s3vault.examples.Backup"))


def python_api() -> Caller:
    return Caller("Python", (sys.executable, str(ROOT / "tests/system/python_caller.py")))


def command() -> Caller:
    return Caller("command", (str(Path(sys.executable).parent / "s3vault"),))


def all_callers() -> list[Caller]:
    return [c_example(), java_example(), python_api(), command()]


def watch_peak(process: subprocess.Popen) -> Callable[[], float]:
    """Watches the memory of a process. What it returns waits for the end of the process, and returns the peak in MiB: the last
    value in /proc, which is read until the process exits."""
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        peak = max(peak, int(line.split()[1]))
            except OSError:
                return
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()

    def end() -> float:
        process.wait()
        watcher.join()
        return peak / 1024

    return end

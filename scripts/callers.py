"""The callers of s3vault as programs with one command line: put, get, versions."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"


@dataclass(frozen=True)
class Caller:
    """A program that takes `put CONTAINER PATH FILE|-`, `get CONTAINER PATH FILE|- [VID]`, `versions CONTAINER PATH`."""

    name: str
    argv: tuple[str, ...]

    def start(self, *args: str, **popen) -> subprocess.Popen:
        """Starts it with these arguments; the environment names the store."""
        return subprocess.Popen([*self.argv, *args], **popen)

    def on(self, api_url: str) -> "Caller":
        """The same, with the store at this address."""
        return Caller(self.name, ("env", f"S3VAULT_API_URL={api_url}", *self.argv))

    def run(self, *args: str, **options) -> subprocess.CompletedProcess:
        """Runs it to its end, whatever that is."""
        return subprocess.run([*self.argv, *args], **options)


def c_example() -> Caller:
    return Caller("C", (str(ROOT / "bindings/c/build/backup"),))


def java_example() -> Caller:
    target = ROOT / "bindings/java/target"
    classpath = [*target.glob("s3vault-*.jar"), target / "dependency/*"]
    return Caller("Java", ("java", "-cp", os.pathsep.join(map(str, classpath)), "io.s3vault.examples.Backup"))


def python_api() -> Caller:
    return Caller("Python", (sys.executable, str(ROOT / "scripts/python_caller.py")))


def command() -> Caller:
    return Caller("command", (str(Path(sys.executable).parent / "s3vault"),))


def use_new_keyring(folder: Path) -> None:
    """Makes a signing key, and names it in the environment of all callers."""
    file = folder / "keyring"
    command().run("keys", "new", str(file), stdout=subprocess.DEVNULL, check=True)
    os.environ["S3VAULT_KEYRING"] = str(file)


def all_callers() -> list[Caller]:
    return [c_example(), java_example(), python_api(), command()]

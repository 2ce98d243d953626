"""Adds a build step to setuptools: cargo builds the library, and the wheel includes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
LIBRARY = "libs3vault.so"


def cargo_build() -> Path:
    """Builds the library, and returns its path as cargo reports it (CARGO_TARGET_DIR may move it)."""
    if not (REPOSITORY / "ffi" / "Cargo.toml").exists():
        raise SystemExit(
            f"{REPOSITORY} does not contain the source of the library: install from a clone of the repository, "
            "or name a built library in S3VAULT_BUILD_LIBRARY"
        )
    command = ["cargo", "build", "--release", "-p", "s3vault", "--message-format=json-render-diagnostics"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    except FileNotFoundError:
        raise SystemExit(
            "cargo is missing: install Rust (https://rustup.rs), or name a built library in S3VAULT_BUILD_LIBRARY"
        ) from None
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "s3vault":
            for name in message["filenames"]:
                if Path(name).name == LIBRARY:
                    return Path(name)
    raise SystemExit(f"'{' '.join(command)}' built no {LIBRARY}")


class BuildPy(build_py):
    """Puts the library into `s3vault/_native/`."""

    def _native(self) -> Path:
        root = HERE / "src" if self.editable_mode else Path(self.build_lib)
        return root / "s3vault" / "_native" / LIBRARY

    def run(self) -> None:
        if not self.editable_mode:
            # Files of an earlier build would go into the wheel, also modules that no longer exist.
            shutil.rmtree(Path(self.build_lib) / "s3vault", ignore_errors=True)
        super().run()
        given = os.environ.get("S3VAULT_BUILD_LIBRARY")
        native = self._native()
        native.parent.mkdir(parents=True, exist_ok=True)
        # A process may have mapped the old file: replace it, and never write into it.
        fresh = native.with_suffix(".new")
        shutil.copyfile(given if given else cargo_build(), fresh)
        fresh.replace(native)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), str(self._native())]


class BdistWheel(bdist_wheel):
    """One wheel for all versions of Python: the library is loaded by ctypes and is independent of the interpreter."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    """Makes setuptools treat the wheel as platform-specific."""

    def has_ext_modules(self) -> bool:
        return True


setup(distclass=BinaryDistribution, cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel})

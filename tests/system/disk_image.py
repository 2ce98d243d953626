"""A small ext4 image that changes from day to day, and what an incremental backup of it holds."""

import hashlib
import random
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from callers import ROOT
from data import MIB

BLOCK = 4096
# Where a changed block lies in the image.
POSITION = struct.Struct(">Q")


def blocks(image: bytes) -> list[bytes]:
    return [image[at : at + BLOCK] for at in range(0, len(image), BLOCK)]


def changes(before: bytes, after: bytes) -> bytes:
    """The blocks that differ, each after its position."""
    pairs = enumerate(zip(blocks(before), blocks(after), strict=True))
    return b"".join(POSITION.pack(number * BLOCK) + new for number, (old, new) in pairs if old != new)


def restored(full: bytes, incrementals: Iterable[bytes]) -> bytes:
    """The image after the changes of these incrementals, in order."""
    image = bytearray(full)
    for incremental in incrementals:
        for at in range(0, len(incremental), POSITION.size + BLOCK):
            (position,) = POSITION.unpack_from(incremental, at)
            image[position : position + BLOCK] = incremental[at + POSITION.size : at + POSITION.size + BLOCK]
    return bytes(image)


def sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


class DiskImage:
    """An ext4 file system in a file, without root and without a mount."""

    def __init__(self, file: Path, mib: int, seed: int) -> None:
        self.file, self.random = file, random.Random(seed)
        with file.open("wb") as target:
            target.truncate(mib * MIB)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-d", str(ROOT / "docs"), str(file)], check=True)

    def live_a_day(self, day: int) -> bytes:
        """Writes a file and removes an old one, as a running machine would. Returns the image."""
        new = self.file.with_suffix(".new")
        new.write_bytes(self.random.randbytes(self.random.randrange(BLOCK, 64 * BLOCK)))
        commands = [f"write {new} day-{day}", f"rm day-{day - 10}"] if day >= 10 else [f"write {new} day-{day}"]
        script = self.file.with_suffix(".commands")
        script.write_text("\n".join(commands) + "\n")
        done = subprocess.run(["debugfs", "-w", "-f", str(script), str(self.file)], capture_output=True, text=True, check=True)
        # debugfs exits with 0 even if a command failed.
        assert all(word not in done.stderr for word in ("rror", "not found", "No space")), done.stderr
        return self.file.read_bytes()

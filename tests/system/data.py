"""Files of random bytes, and their SHA-256."""

import hashlib
import random
from pathlib import Path
from typing import IO

MIB = 1 << 20


def make_file(file: Path, mib: int, seed: int) -> str:
    """Writes random bytes, without holes and not compressible; returns their SHA-256."""
    digest, source = hashlib.sha256(), random.Random(seed)
    with file.open("wb") as target:
        for _ in range(mib):
            block = source.randbytes(MIB)
            digest.update(block)
            target.write(block)
    return digest.hexdigest()


def sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def sha256_of_stream(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := stream.read(MIB):
        digest.update(block)
    return digest.hexdigest()

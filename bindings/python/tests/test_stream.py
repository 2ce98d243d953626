"""The streams equal those of the other callers."""

from __future__ import annotations

import pytest
from stream import stream


def plain(size: int, seed: int) -> bytes:
    """The definition, one word at a time."""
    x = (seed * 0x9E3779B97F4A7C15 + 1) % 2**64 or 1
    out = bytearray()
    while len(out) < size:
        x ^= x >> 12
        x ^= x << 25 & 2**64 - 1
        x ^= x >> 27
        out += (x * 0x2545F4914F6CDD1D % 2**64).to_bytes(8, "little")
    return bytes(out[:size])


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 513, 1024, 65_537, 300_001])
@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_lanes_equal_the_definition(size: int, seed: int) -> None:
    assert stream(size, seed) == plain(size, seed)

"""The byte streams of the shared cases: xorshift64*, with the seeds in `tests/cases`.

A step of the generator is linear over GF(2). So the stream is split into lanes, whose first states are computed with a
power of the matrix of the step, and one wide integer steps all lanes at once: plain Python, at some 100 MB/s.
"""

from __future__ import annotations

from array import array

_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15
_MULTIPLIER = 0x2545F4914F6CDD1D
_LANES = 4096

Matrix = list[int]


def _next(x: int) -> int:
    x ^= x >> 12
    x ^= x << 25 & _MASK
    return x ^ x >> 27


def _apply(matrix: Matrix, x: int) -> int:
    """The matrix (its columns, lowest bit first) times the vector."""
    result = 0
    for column in matrix:
        if x & 1:
            result ^= column
        x >>= 1
    return result


def _power(steps: int) -> Matrix:
    """The matrix of this many steps."""
    result: Matrix = [1 << bit for bit in range(64)]
    square: Matrix = [_next(1 << bit) for bit in range(64)]
    while steps:
        if steps & 1:
            result = [_apply(square, column) for column in result]
        square = [_apply(square, column) for column in square]
        steps >>= 1
    return result


def stream(size: int, seed: int) -> bytes:
    """The first `size` bytes of the stream of this seed."""
    words = -(-size // 8)
    lanes = max(1, min(_LANES, words // 64))
    steps = -(-words // lanes)
    state = (seed * _STEP + 1) & _MASK or 1
    jump, starts = _power(steps), []
    for _ in range(lanes):
        starts.append(state)
        state = _apply(jump, state)
    # A lane has 128 bits: 64 for the state, and 64 for the overflow of shifts and of the product.
    packed = int.from_bytes(b"".join(start.to_bytes(16, "little") for start in starts), "little")
    mask = int.from_bytes((b"\xff" * 8 + bytes(8)) * lanes, "little")
    result = array("Q", bytes(8 * lanes * steps))
    by_step = memoryview(result)
    for step in range(steps):
        packed ^= packed >> 12 & mask
        packed ^= packed << 25 & mask
        packed ^= packed >> 27 & mask
        products = (packed * _MULTIPLIER).to_bytes(16 * lanes, "little")
        by_step[step::steps] = memoryview(products).cast("Q")[::2]
    return by_step.cast("B")[:size].tobytes()

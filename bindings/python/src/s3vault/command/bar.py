"""The progress bar."""

from __future__ import annotations

import time
from typing import Any

from tqdm import tqdm

from .output import size_text

_WITH_TOTAL = "{desc}: {percentage:3.0f}%|{bar}| {done} of {size} [{elapsed}<{remaining}, {speed}]"
_WITHOUT_TOTAL = "{desc}: {done} [{elapsed}, {speed}]"


class Bar(tqdm):  # type: ignore[type-arg]
    """Bytes, in the units that the command prints elsewhere: powers of 1024, as KiB, MiB and so on."""

    _started = False

    def show(self, done: int, total: int | None) -> None:
        """Shows that `done` bytes of `total` are transferred, this time and in earlier runs."""
        self.total = total
        if not self._started:
            # What is there when the call starts was transferred by an earlier run: it does not count in the rate.
            self._started = True
            self.initial = self.n = self.last_print_n = done
            self.start_t = self.last_print_t = time.time()
        if not self.update(done - self.n):
            self.refresh()

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the bar shows."""
        fields = dict(super().format_dict)
        elapsed = fields["elapsed"]
        rate = fields["rate"] or ((self.n - self.initial) / elapsed if elapsed else 0)
        return {
            **fields,
            "bar_format": _WITH_TOTAL if self.total else _WITHOUT_TOTAL,
            "done": size_text(int(self.n)),
            "size": size_text(int(self.total or 0)),
            "speed": f"{size_text(round(rate))}/s" if rate else "?/s",
        }


class Counter(tqdm):  # type: ignore[type-arg]
    """How many versions a job has looked at."""

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the counter shows."""
        return {**super().format_dict, "bar_format": "{desc}: {n_fmt}{unit} [{elapsed}]"}

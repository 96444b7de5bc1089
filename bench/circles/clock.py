"""A clock that is moved: programs of Stallwart live through a year in minutes, and what they store says when.

    python -m bench.circles.clock CLOCK serve bundles/first ...

runs a command of Stallwart whose time is the machine's plus what the file CLOCK says, in nanoseconds; whoever
plays moves it on, never back. Only the time of day is moved: deadlines and latencies are the machine's.
"""

import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

_FILE = "CIRCLE_CLOCK"  # of the environment: also processes that a program starts live by it
_real = time.time_ns


class Clock:
    """The time of day that all programs of a run share.

    Args:
        path: the file; made where it is not there.
    """

    def __init__(self, path: Path):
        if not path.exists():
            path.write_bytes(struct.pack("<q", 0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def now_ns(self) -> int:
        return _real() + self._moved_by()

    def set(self, at_ms: int) -> None:
        """Move it on to a moment, the first time also back; where that is over already, it stays."""
        if at_ms > self.now_ms() or not self._moved_by():
            struct.pack_into("<q", self._shared, 0, at_ms * 1_000_000 - _real())

    def _moved_by(self) -> int:
        return int(struct.unpack_from("<q", self._shared)[0])


def _live_by(path: Path) -> None:
    now_ns: Callable[[], int] = Clock(path).now_ns
    time.time_ns = now_ns
    time.time = lambda: now_ns() / 1e9


if __name__ == "__main__":
    os.environ[_FILE], sys.argv = sys.argv[1], ["stallwart", *sys.argv[2:]]
    _live_by(Path(os.environ[_FILE]))
    from stallwart.cli.main import main

    main()
elif __name__ == "__mp_main__":  # a process that a program started
    _live_by(Path(os.environ[_FILE]))

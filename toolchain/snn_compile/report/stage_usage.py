"""What a stage of a compilation takes: seconds, processor seconds, and peak memory.

Linux keeps the largest resident set of a process and lets the process set it back. Stages may lie
within each other, and the kernel has one mark for all of them, so every stage that is open takes a
mark into account before it is set back. What the kernel says of the whole process afterwards
(``ru_maxrss``) is then that of its last stage, or little more: the largest peak of all stages is
that of the process. Elsewhere the peak of a stage is not known.
"""

from __future__ import annotations

import re
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_SET_BACK = "5"
"""What the kernel wants written to set the mark back."""
_lock = threading.Lock()


@dataclass(eq=False)
class StageUsage:
    """The use of resources since this object was made.

    Attributes:
        peak_kb: largest resident set in KiB; 0 before it is read.
    """

    peak_kb: int = 0
    _start: float = field(default_factory=lambda: time.perf_counter())
    _cpu_start: float = field(default_factory=lambda: time.process_time())

    def __post_init__(self) -> None:
        """Open the stage."""
        with _lock:
            _take_mark()
            _OPEN.add(self)

    def entry(self, stage: str, seconds: float | None = None) -> dict[str, Any]:
        """The entry of ``timing`` in ``report.json``; ``seconds`` if they are known better."""
        with _lock:
            known = _take_mark()
        passed = time.perf_counter() - self._start if seconds is None else seconds
        return {
            "stage": stage,
            "seconds": round(passed, 3),
            "cpu_seconds": round(time.process_time() - self._cpu_start, 3),
            "peak_mb": round(self.peak_kb / 1024, 1) if known else None,
        }


_OPEN: weakref.WeakSet[StageUsage] = weakref.WeakSet()


def _take_mark() -> bool:
    """Hold the kernel's mark against each open stage and set it back; whether that is allowed."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text("ascii"), re.MULTILINE)
        if found is None:
            return False
        _CLEAR.write_text(_SET_BACK, "ascii")
    except OSError:
        return False
    for stage in _OPEN:
        stage.peak_kb = max(stage.peak_kb, int(found[1]))
    return True

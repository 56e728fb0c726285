"""How many threads this process may use: the one number that engine and batches ask.

No result depends on it. Processes that share a machine are given a share each, since more threads
than processors only wait for each other.
"""

from __future__ import annotations

import os

VARIABLE = "SNN_COMPILE_THREADS"
BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What the common builds of BLAS read when they are loaded."""
_limit: int | None = None


def limit_to(n: int | None) -> None:
    """Set the number for this process; None: by the environment, or one per processor."""
    global _limit
    _limit = n


def allowed() -> int:
    """The number of threads that this process may use."""
    return _limit or from_environment() or os.cpu_count() or 1


def from_environment() -> int:
    """The number that the environment states; 0 if it states none."""
    said = os.environ.get(VARIABLE, "")
    return int(said) if said.isdecimal() else 0


def share(n_processes: int) -> dict[str, str]:
    """The environment in which each of some processes uses its share, unless it is set lower."""
    n = max(1, allowed() // n_processes)
    lower = {
        name: min(n, int(os.environ[name]))
        for name in BLAS
        if os.environ.get(name, "").isdecimal() and int(os.environ[name])
    }
    return {name: str(lower.get(name, n)) for name in (VARIABLE, *BLAS)}

"""Run a script with lava-nc 0.10.0 on Python 3.11 or 3.12: ``python compat.py SCRIPT [ARGUMENT ...]``.

Since 3.11 a dataclass refuses an unhashable default; one module of Lava has such defaults, instances of
dataclasses. Making dataclasses hashable while that one module is imported is all it takes; the
installed package is not touched.
"""

import dataclasses
import runpy
import sys

original = dataclasses.dataclass


def hashable(cls=None, /, **options):
    """``dataclass`` with ``unsafe_hash`` unless stated otherwise."""
    options.setdefault("unsafe_hash", True)
    if cls is None:
        return lambda decorated: original(decorated, **options)
    return original(cls, **options)


dataclasses.dataclass = hashable
try:
    import lava.magma.compiler.var_model  # noqa: F401
finally:
    dataclasses.dataclass = original

if __name__ == "__main__" and len(sys.argv) > 1:
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")

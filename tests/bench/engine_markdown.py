"""The tables of ``docs/explanation/engine.md`` from what ``engine.py --json FILE`` wrote.

python tests/bench/engine_markdown.py FILE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_timing import figure

BUILDS = ("avx512", "avx2", "baseline")
PEERS = ("reference", "torch", "spikingjelly", "snntorch", "lava")


def row(record: Mapping[str, Any]) -> list[str]:
    """Milliseconds of each build, then how many times longer each peer takes than the first one."""
    times = [record["cpu_ms"].get(f"engine {build}") for build in BUILDS]
    ratios = [record["cpu_ratios"].get(peer) for peer in PEERS]
    shares = [record["roofline"].get(build, {}).get("fraction") for build in BUILDS]
    return [
        f"{record['network']}, {record['activity']}",
        *(figure(t["median"]) if t else "" for t in times),
        *(_range(r) if r else "" for r in ratios),
        *(f"{share['median']:.0%}" if share else "" for share in shares),
    ]


def _range(entry: Mapping[str, float]) -> str:
    median, least, most = (
        f"{entry[key]:,.0f}" if entry["median"] >= 100 else f"{entry[key]:.3g}"
        for key in ("median", "least", "most")
    )
    return f"{median} ({least} to {most})"


def integer_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Milliseconds of each contestant, and how many times those of onnxruntime's int8 they are."""
    return [
        [name, figure(entry["median"]), _range(record["of_int8"][name])]
        for name, entry in record["cpu_ms"].items()
    ]


def main() -> None:
    """Print the table."""
    result = json.loads(Path(sys.argv[1]).read_text())
    for record in result.get("integer", []):
        print(f"| {record['network']} | CPU ms an image | times int8 |")
        print("|---|---:|---:|")
        for cells in integer_rows(record):
            print("|", " | ".join(cells), "|")
    if "workloads" not in result:
        return
    floors = [f"of the floor, {b}" for b in BUILDS]
    titles = ["", *(f"{b}, ms" for b in BUILDS), *(f"{p}, times" for p in PEERS), *floors]
    rows = [row(record) for record in result["workloads"]]
    kept = [
        i for i in range(len(titles)) if any(cells[i] for cells in rows)
    ]  # not who was left out
    print("|", " | ".join(titles[i] for i in kept), "|")
    print("|---|" + "---:|" * (len(kept) - 1))
    for cells in rows:
        print("|", " | ".join(cells[i] for i in kept), "|")


if __name__ == "__main__":
    main()

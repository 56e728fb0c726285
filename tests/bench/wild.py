"""Networks that people export: which are accepted, why others are not, and whether they are right.

    python tests/bench/wild.py --cache DIR [--exporters legacy,dynamo] [--names A,B] [--compile]
    python tests/bench/wild.py FOLDER ... [--compile] [--limit 120]

Without folders, the networks of `SNN_COMPILE_DATA`/wild (beside the clone by default) are exported
into the cache by the interpreter that `--python` names, which needs torch, torchvision, timm and
onnxscript; files that are there already are kept. With folders, all `NAME.EXPORTER.onnx` in them
are taken, small ones first. Each is checked in a process of its own
(`snn-compile check --target unlimited`) with a time limit in seconds; one-layer forms (`act_*`,
`layer_*`, `norm_*`, `f_*`) have totals of their own.

With `--compile`, each accepted one is compiled in graded coding for few random images, without what
calibration data can do about errors. Then the float network must answer as onnxruntime does, engine
and reference must be equal bit for bit, and each layer, given the same integers, must be within the
bound of its own numbers (`snn_compile.report.layer_bounds`); how much of its bound the worst layer
needs is printed. A network with operators left to the host is run with them: from the float
network's outputs they must give what onnxruntime gives for the whole file, and how far they are off
from the integers is printed. The exit code is 1 if any of it fails.

With `--markdown`, the tables are those of docs/reference/architectures.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("SNN_COMPILE_DATA") or Path(__file__).parents[3] / "shared")
FORMS = ("act_", "layer_", "norm_", "f_")
EXPORTERS = ("legacy", "dynamo")
N_CALIBRATE, N_STIMULI = 8, 2
DROPPED = {"softmax-dropped", "argmax-dropped"}
FLOAT_ERROR = 1e-3
"""Of the float network against onnxruntime, relative to the largest value."""


@dataclass(frozen=True)
class Row:
    """What became of one file."""

    name: str
    exporter: str
    outcome: str
    reason: str
    seconds: float
    megabytes: float
    compiled: str = ""

    @property
    def is_form(self) -> bool:
        return self.name.startswith(FORMS)

    def cells(self) -> list[str]:
        found = [self.name, self.exporter, self.outcome, f"{self.seconds:.1f}"]
        return [*found, f"{self.megabytes:.0f}", self.reason, self.compiled]


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int | None
    seconds: float
    """Of processor time: others may be at work beside it."""
    megabytes: float
    out: str
    err: str


def run(command: Sequence[object], limit: float) -> Ended:
    """A process of its own; a code of None says that it was over its time."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err)
        over = threading.Event()

        def end() -> None:
            over.set()
            child.kill()

        timer = threading.Timer(limit, end)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        code = None if over.is_set() else child.returncode
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
        return Ended(code, usage.ru_utime + usage.ru_stime, peak, out.read(), err.read())


def check(path: Path, limit: float) -> Row:
    """What ``snn-compile check`` says of a file."""
    name, _, exporter = path.stem.rpartition(".")
    start = "import sys; from snn_compile.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", start, "check", path, "--target", "unlimited", "--json"]
    ended = run(line, limit)
    outcome, reason = "refused", ""
    if ended.code is None:
        outcome = "over time"
    elif ended.code == 0:
        outcome = "accepted"
    elif ended.code == 4:
        groups = json.loads(ended.out)["unsupported"]
        reason = ", ".join(
            f"{group['op']}{' (' + group['part_of'] + ')' if group['part_of'] else ''}"
            f" x{group['count']}: {group['message']}"
            for group in groups
        )
    else:
        said = ended.err.strip().splitlines() or ["nothing said"]
        reason = f"exit code {ended.code}: {said[0].partition(': ')[2] or said[0]}"
    return Row(name or path.stem, exporter, outcome, reason, ended.seconds, ended.megabytes)


def export(cache: Path, exporters: Sequence[str], names: Sequence[str], python: str) -> list[Path]:
    """The folders of the exported networks, one for each exporter."""
    folders = [cache / kind for kind in exporters]
    for kind, folder in zip(exporters, folders, strict=True):
        subprocess.run([python, SHARED / "wild" / "export.py", kind, folder, *names], check=True)
    return folders


def judged(path: Path) -> dict[str, Any]:
    """Compile a file; what its integers are worth."""
    import numpy as np

    from snn_compile.codings import coding_of
    from snn_compile.convert.calibrate import calibrate
    from snn_compile.lowering import lower
    from snn_compile.options import CompileOptions
    from snn_compile.pipeline.folding import folding_of
    from snn_compile.report.layer_bounds import worst_errors
    from snn_compile.samples.arrays import Samples
    from snn_compile.sim import engine, reference
    from snn_compile.sim.ann import evaluate, evaluate_outputs
    from snn_frontends.onnx import OnnxFrontend

    options = CompileOptions().override(
        {"target": "unlimited", "rounding": "nearest", "bias_correction": False}
    )
    coding = coding_of(options, "graded")
    frontend = OnnxFrontend()
    imported = frontend.read(path)
    folded = folding_of(imported.ann, coding)(imported.ann).graph
    x = np.random.default_rng(0).random((N_CALIBRATE, *folded.inputs.shape), np.float32)
    statistics = calibrate(folded, x)
    lowered = lower(folded, statistics, Samples(x), options, coding)
    frames = lowered.encoding(x[:N_STIMULI])
    program = lowered.program
    expected = reference.run(program, frames, record=True)
    found = engine.run(program, frames, record=True)
    equal = all(
        np.array_equal(expected.messages[name], found.messages[name]) for name in expected.messages
    ) and all(
        np.array_equal(expected.outputs[name], found.outputs[name]) for name in expected.outputs
    )
    worst = dict(worst_errors(lowered, frames, expected))
    names = [node.id for node in folded.inputs] if len(folded.inputs) > 1 else []
    runtime = frontend.source_runtime_with(path, CompileOptions(), names)
    dropped = {finding.code for finding in imported.findings} & {
        "softmax-dropped",
        "argmax-dropped",
    }
    float_error = None
    cut = imported.tail is not None and imported.tail.cut
    if runtime is not None and not cut and "argmax-dropped" not in dropped:
        wanted = np.asarray(runtime(x[:N_STIMULI]))
        ours = evaluate(folded, x[:N_STIMULI]).reshape(wanted.shape)
        largest = max(float(np.abs(wanted).max()), 1e-6)
        float_error = float(np.abs(ours - wanted).max()) / largest
        if dropped:
            float_error = float((ours.argmax(axis=1) != wanted.argmax(axis=1)).any())
    host = None
    if imported.tail is not None:
        values = evaluate_outputs(folded, x[:N_STIMULI])
        on_floats = dict(zip((output.id for output in folded.outputs), values, strict=True))
        on_integers = {n: d(expected.outputs[n]) for n, d in lowered.decodings.items()}
        host = host_errors(path, imported.tail, (on_floats, on_integers), x[:N_STIMULI])
    return {
        "equal": bool(equal),
        "host": host,
        "simulator": engine.simulator(program),
        "float_error": float_error,
        "layers": len(program.populations),
        "over": {name: found.share for name, found in worst.items() if found.share > 1},
        "worst": max(found.share for found in worst.values()),
    }


def host_errors(path: Path, tail: Any, decoded: Sequence[Any], x: Any) -> list[float]:
    """How far the tail is off the whole file, from each of several values of the readouts.

    Of real-valued outputs of one size, relative to the largest value of each.
    """
    import numpy as np

    from snn_compile.options import CompileOptions
    from snn_compile.plugins.host import HostRunner, WholeRunner

    whole = WholeRunner.of(path, CompileOptions(), tail)
    if whole is None:
        raise RuntimeError("onnxruntime is not installed")
    wanted = list(whole(x))
    worst = []
    for values in decoded:
        errors = [0.0]
        for found, expected in zip(HostRunner.of(tail)(values, x), wanted, strict=True):
            for name, value in expected.items():
                if value.dtype.kind == "f" and value.shape == found[name].shape and value.size:
                    largest = max(float(np.abs(value).max()), 1e-6)
                    errors.append(float(np.abs(found[name] - value).max()) / largest)
        worst.append(max(errors))
    return worst


def compiled(row: Row, path: Path, limit: float) -> Row:
    """The row of an accepted file with what its integers are worth."""
    from dataclasses import replace

    ended = run([sys.executable, __file__, "--judge", path], limit)
    if ended.code is None:
        return replace(row, compiled="OVER TIME")
    if ended.code:
        said = ended.err.strip().splitlines() or [f"exit code {ended.code}"]
        return replace(row, compiled=f"FAILED: {said[-1]}")
    found = json.loads(ended.out)
    wrong = [] if found["equal"] else ["engine DIFFERS"]
    if found["float_error"] is not None and not found["float_error"] <= FLOAT_ERROR:
        wrong.append(f"float OFF by {found['float_error']:.2g}")
    wrong += [f"{name} OVER its bound: {by:.3g} times" for name, by in found["over"].items()]
    on_host = ""
    if found["host"] is not None:
        on_floats, on_integers = found["host"]
        if not on_floats <= FLOAT_ERROR:
            wrong.append(f"tail OFF by {on_floats:.2g}")
        on_host = f", tail within {on_integers:.2g}"
    right = f"{found['layers']} layers right, at most {found['worst']:.2f} of a bound{on_host}"
    return replace(row, compiled="; ".join(wrong) or right)


def show(rows: Sequence[Row]) -> None:
    """Print the tables, and the totals of each exporter."""
    print("| name | exporter | outcome | s | MB | reason | compiled |")
    print("|---|---|---|---:|---:|---|---|")
    for row in sorted(rows, key=lambda row: (row.is_form, row.name, row.exporter)):
        print(f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |")
    print()
    print("\n".join(totals(rows)))


def totals(rows: Sequence[Row]) -> list[str]:
    """How many of the networks and the one-layer forms became what, for each exporter."""
    found = []
    for what, of_forms in (("networks", False), ("one-layer forms", True)):
        for exporter in sorted({row.exporter for row in rows}):
            same = [r for r in rows if r.is_form == of_forms and r.exporter == exporter]
            counts = Counter(row.outcome for row in same)
            if same:
                said = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
                slowest = max(row.seconds for row in same)
                found.append(
                    f"{exporter}: of {len(same)} {what} {said}; the slowest took {slowest:.1f} s"
                )
    return found


def markdown(rows: Sequence[Row], exporters: Sequence[str]) -> str:
    """A table of networks and one of one-layer forms: accepted, or why not, by exporter."""
    parts = ["\n".join(f"* {line}." for line in totals(rows))]
    for title, of_forms in (("Networks", False), ("One-layer forms", True)):
        names = sorted({row.name for row in rows if row.is_form == of_forms})
        lines = [f"| | {' | '.join(exporters)} |", f"|---|{'---|' * len(exporters)}"]
        for name in names:
            by_exporter = {row.exporter: row for row in rows if row.name == name}
            cells = [
                _cell(by_exporter[kind]) if kind in by_exporter else "not exported"
                for kind in exporters
            ]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
        parts.append(f"## {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _cell(row: Row) -> str:
    said = row.reason or row.outcome
    wrong = "" if row.compiled == "" or " right" in row.compiled else f"; {row.compiled}"
    return (said + wrong).replace("|", "/")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--exporters", default=",".join(EXPORTERS))
    parser.add_argument("--names", default="")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.judge:
        print(json.dumps(judged(asked.judge)))
        return 0
    names = [name for name in asked.names.split(",") if name]
    folders = asked.folders
    if not folders:
        if asked.cache is None:
            parser.error("name folders of exported networks, or a --cache to export into")
        folders = export(asked.cache, asked.exporters.split(","), names, asked.python)
    rows = []
    paths = [path for folder in folders for path in folder.glob("*.onnx")]
    for path in sorted(paths, key=lambda path: (path.stat().st_size, path.name)):
        if names and path.stem.rpartition(".")[0] not in names:
            continue
        row = check(path, asked.limit)
        if asked.compile and row.outcome == "accepted":
            row = compiled(row, path, 5 * asked.limit)
        print(" · ".join(row.cells()), file=sys.stderr, flush=True)
        rows.append(row)
    if asked.markdown:
        print(markdown(rows, sorted({row.exporter for row in rows}, reverse=True)))
    else:
        show(rows)
    return 0 if all(row.compiled == "" or " right" in row.compiled for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

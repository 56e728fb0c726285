"""Running a sweep: points in order, their records, and when it ends."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from snn_compile import workers
from snn_compile.files.claims import exclusive_claim
from snn_compile.files.writing import replace_text
from snn_compile.options.declared import Option
from snn_compile.pipeline.inputs import files_of
from snn_compile.printable import printable_json
from snn_compile.report.schema import plain
from snn_compile.sealed.provenance import FILES
from snn_compile.sweep import halving, page
from snn_compile.sweep.compiled_point import COMPILE, unpack
from snn_compile.sweep.goal import Goal
from snn_compile.sweep.pareto import fronts
from snn_compile.sweep.plan import Plan
from snn_compile.sweep.points import Point
from snn_compile.sweep.prediction import in_order
from snn_compile.sweep.records import (
    COMPILED,
    Records,
    failure_of,
    key_of,
    machine_of,
    require_folder,
)
from snn_compile.sweep.schema import SCHEMA, SWEEP, SWEEP_PAGE, Screening, Sweep, SweepPoint
from snn_compile.targets import available
from snn_compile.version import __version__
from snn_compile.workers import Done, File, Job, Machine, Workers, differences

PREDICTION = (
    "from cheap to dear: by the messages that a neuron sends in an inference if all activations"
    " are equally likely, by weight bits, by the steps of a window"
)
LOST = ("worker-lost", "out-of-memory")
"""Codes of errors that say nothing about a point: it is compiled again when the sweep is."""

PASSING = ("file", "file-changed", "output-exists", "worker-disk", "damaged-copy")
"""Codes of failures of the surroundings, which say nothing about a point either."""


class SweepObserver(Protocol):
    """Follows a sweep."""

    def begin(self, total: int, kept: int) -> None:
        """Before the first point; ``kept`` of them have records already."""

    def started(self, name: str) -> None:
        """A point has been handed to a worker."""

    def screening(self, n_samples: int, n_points: int) -> None:
        """Points are about to be judged on few samples."""

    def finished(self, record: SweepPoint) -> None:
        """A point has ended."""


class SilentSweepObserver:
    """An observer without output, the default of the Python interface."""

    def begin(self, total: int, kept: int) -> None:
        """No output."""

    def started(self, name: str) -> None:
        """No output."""

    def screening(self, n_samples: int, n_points: int) -> None:
        """No output."""

    def finished(self, record: SweepPoint) -> None:
        """No output."""


def sweep_on(
    plan: Plan, folder: Path, n_workers: int, cluster: str, observer: SweepObserver
) -> Sweep:
    """Run a sweep on processes of this machine, or on a cluster.

    Args:
        plan: what is swept.
        folder: to write.
        n_workers: number of processes.
        cluster: address of a Dask scheduler in place of them; empty without one.
        observer: follows it.

    Raises:
        CompileError: the cluster cannot be used, or another sweep writes this folder.
    """
    require_folder(folder)
    with workers.dask(cluster) if cluster else workers.local(n_workers) as pool:
        return SweepRun(plan, folder, pool, observer, shares_files=not cluster).run()


@dataclass
class _Files:
    """Files of a sweep, each hashed once."""

    known: dict[Path, File] = field(default_factory=dict)

    def of(self, path: Path) -> File:
        if path not in self.known:
            self.known[path] = File.of(path)
        return self.known[path]

    def of_options(self, point: Point) -> dict[str, File]:
        """The files that a point's options name."""
        options = point.options
        paths = {name: getattr(options, name) for name in FILES}
        if options.target not in available():
            paths["target"] = Path(options.target)
        return {name: self.of(path) for name, path in paths.items() if path is not None}


class SweepRun:
    """A sweep in its folder.

    Args:
        plan: what is swept.
        folder: where everything is written.
        pool: workers that compile the points.
        observer: follows it.
        shares_files: whether they see ``folder``.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        pool: Workers,
        observer: SweepObserver,
        *,
        shares_files: bool = True,
    ) -> None:
        self.plan, self.folder, self.pool, self.observer = plan, folder, pool, observer
        self._shares_files = shares_files
        self._records = Records(folder)
        self._files = _Files()
        self._model = files_of(plan.model)
        self._order = in_order(list(plan.points), plan.cheapest_by)
        self._keys = {
            point.name: key_of(self._model, self._files.of_options(point), point.options)
            for point in plan.points
        }
        self._found: dict[str, SweepPoint] = {}
        self._machines: list[Machine] = []

    def run(self) -> Sweep:
        """Compile what has no record yet, and write the results.

        Raises:
            UsageError: another sweep runs in this folder.
            OSError: nothing can be written there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with exclusive_claim(self.folder / SWEEP):
            for point in self.plan.points:
                if record := self._usable(point):
                    self._found[point.name] = record
            self.observer.begin(len(self.plan.points), len(self._found))
            try:
                if self.plan.halving:
                    self._screen()
                self._compile()
            finally:
                result = self._written()
        return result

    def _screen(self) -> None:
        """Drop the points that others surpass on few samples."""
        left = [point for point in self._order if point.name not in self._found]
        sizes = halving.rounds(self.plan.n_samples)
        # All points count, also when some have records: the risk of a sweep that is resumed is the
        # same as of one that was not interrupted.
        risk = halving.risk_of_a_pair(len(self._order), len(sizes))
        for n in sizes:
            if len(left) < 2:
                return
            self.observer.screening(n, len(left))
            jobs = [self._job(point, n) for point in left]
            judged = {done.key: done for done in self.pool.run(jobs)}
            # What fails here is compiled later, and leaves its error then.
            known = [
                halving.Screened(
                    p.name, judged[p.name].value["right"], judged[p.name].value["costs"]
                )
                for p in left
                if judged[p.name].error is None
            ]
            for name, proof in halving.dropped(known, risk).items():
                point = next(one for one in left if one.name == name)
                record = self._begun(point, judged[name])
                record["state"], record["screening"] = "dropped", cast("Screening", proof)
                self._store(record)
            left = [point for point in left if point.name not in self._found]

    def _compile(self) -> None:
        """Compile points until all have a record, or the goal is met."""
        with ExitStack() as running:
            finished = self.pool.run(self._jobs())
            if isinstance(finished, Generator):
                running.callback(finished.close)  # ends what runs
            for done in finished:
                self._keep(done)
                if self._is_decided:
                    break

    def _usable(self, point: Point) -> SweepPoint | None:
        record = self._records.find(point.name, self._keys[point.name])
        if record is None or record["state"] == "lost":
            return None
        if record["state"] == "failed" and (
            self.plan.retry_failed or record["error"]["code"] in PASSING
        ):
            return None
        if record["state"] == "dropped":
            rival = record["screening"]["worse_than"]
            if not self.plan.halving or rival not in self._keys:
                return None
        return {**record, "values": _plain(point.values), "note": point.note}

    def _jobs(self) -> Iterator[Job]:
        """Points without a record, the cheapest first, until the goal is met."""
        for place, point in enumerate(self._order):
            if (first := self._first_good) is not None and first <= place:
                return
            if point.name not in self._found:
                self.observer.started(point.name)
                yield self._job(point)

    def _job(self, point: Point, n_samples: int = 0) -> Job:
        """Compiles a point, or judges it on few samples."""
        options, files = point.options, self._files.of_options(point)
        stated = {name: getattr(options, name) for name in options.origins}
        arguments: dict[str, Any] = {
            "model": self._model,
            "values": {**stated, **files},
            "origins": dict(options.origins),
        }
        if n_samples:
            return Job(point.name, halving.SCREEN, {**arguments, "n": n_samples})
        folder = str(self._records.place(point.name).resolve()) if self._shares_files else None
        arguments |= {
            "named": {"model": str(self.plan.model)}
            | {name: str(file.path) for name, file in files.items()},
            "folder": folder,
        }
        return Job(point.name, COMPILE, arguments)

    def _keep(self, done: Done) -> None:
        """Record what became of a point."""
        point = next(one for one in self.plan.points if one.name == done.key)
        record = self._begun(point, done)
        if done.error is not None:
            record["state"] = "lost" if done.error.code in LOST else "failed"
            record["error"] = failure_of(done.error)
        else:
            value = dict(done.value)
            if (archive := value.pop("archive")) is not None:
                unpack(archive, self._records.place(point.name))
            record = cast("SweepPoint", {**record, **value})
            record["folder"] = f"{self._records.folder.name}/{point.name}"
            limit = point.options.max_accuracy_drop
            if limit is not None and (record["drop"] is None or record["drop"] > limit):
                record["state"] = "over-limit"
        self._machines.append(done.worker)
        self._store(record)

    def _begun(self, point: Point, done: Done) -> SweepPoint:
        """What every record of a point has."""
        return {
            "name": point.name,
            "state": "done",
            "key": self._keys[point.name],
            "values": _plain(point.values),
            "note": point.note,
            "seconds": round(done.seconds, 2),
            "machine": machine_of(done.worker),
        }

    def _store(self, record: SweepPoint) -> None:
        self._records.keep(record)
        self._found[record["name"]] = record
        self.observer.finished(record)

    @property
    def _first_good(self) -> int | None:
        """The place in the order of the first compiled point that meets the goal."""
        goal = self.plan.goal
        found = ((k, self._found.get(point.name)) for k, point in enumerate(self._order))
        good = (k for k, record in found if goal and record and _meets(goal, record))
        return next(good, None)

    @property
    def _is_decided(self) -> bool:
        """Whether the goal is met, and no point that should be cheaper is still being compiled."""
        first = self._first_good
        return first is not None and all(p.name in self._found for p in self._order[:first])

    def _answer(self) -> str | None:
        """The cheapest compiled point that meets the goal."""
        goal, by = self.plan.goal, self.plan.cheapest_by
        if goal is None:
            return None
        good: list[Mapping[str, Any]] = [p for p in self._found.values() if _meets(goal, p)]
        known = [point for point in good if point.get(by) is not None]
        if not known:
            return None
        return str(min(known, key=lambda p: (p[by], -(p["accuracy"] or 0.0), p["name"]))["name"])

    def _written(self) -> Sweep:
        """The whole sweep as it is now, on the disk."""
        result = self._result()
        replace_text(self.folder / SWEEP, printable_json(plain(result)) + "\n")
        replace_text(self.folder / SWEEP_PAGE, page.render(result))
        return result

    def _result(self) -> Sweep:
        points: list[SweepPoint] = [
            self._found.get(point.name)
            or {
                "name": point.name,
                "state": "not-run",
                "values": _plain(point.values),
                "note": point.note,
            }
            for point in self.plan.points
        ]
        points += [
            {"name": s.name, "state": "skipped", "values": _plain(s.values), "note": s.reason}
            for s in self.plan.skipped
        ]
        on = fronts(point for point in points if point["state"] in COMPILED)
        for point in points:
            if point["state"] in COMPILED:
                point["front"] = [cost for cost, names in on.items() if point["name"] in names]
        goal = self.plan.goal
        shared = {"model": self._model}
        shared |= {n: f for n, f in self._files.of_options(self.plan.points[0]).items()}
        axes = {n: [Option.plain(v) for v in values] for n, values in self.plan.grid.axes.items()}
        promised = {"guarantee": halving.GUARANTEE} if self.plan.halving else {}
        return {
            "schema": SCHEMA,
            "tool": {"name": "snn-compile", "version": __version__},
            "files": {
                role: {"path": str(file.path), "sha256": file.sha256}
                for role, file in shared.items()
            },
            "axes": axes,
            "until": None if goal is None else str(goal),
            "cheapest_by": self.plan.cheapest_by,
            "prediction": PREDICTION,
            "answer": self._answer(),
            "machines": differences(self._machines),
            "points": points,
            **promised,  # type: ignore[typeddict-item]
        }


def _meets(goal: Goal, record: Mapping[str, Any]) -> bool:
    return record["state"] == "done" and goal.holds(record)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Option.plain(value) for name, value in values.items()}

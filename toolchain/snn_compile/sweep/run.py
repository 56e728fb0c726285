"""Running a sweep: points in order, their records, and when it ends."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol, cast

from snn_compile import workers
from snn_compile.errors import SURROUNDINGS, Origin, UsageError
from snn_compile.files.claims import exclusive_claim
from snn_compile.files.documents import describe_error
from snn_compile.files.writing import replace_text
from snn_compile.options import CompileOptions
from snn_compile.options.declared import Option
from snn_compile.pluralize import pluralize
from snn_compile.printable import printable_json
from snn_compile.report.schema import plain
from snn_compile.sweep import halving, page
from snn_compile.sweep.compiled_point import COMPILE, unpack
from snn_compile.sweep.inputs import Inputs
from snn_compile.sweep.ownership import require_own
from snn_compile.sweep.pareto import fronts
from snn_compile.sweep.plan import Plan
from snn_compile.sweep.points import Point
from snn_compile.sweep.prediction import in_order
from snn_compile.sweep.records import (
    COMPILED,
    Records,
    failure_of,
    machine_of,
)
from snn_compile.sweep.schema import SCHEMA, SWEEP, SWEEP_PAGE, Screening, Sweep, SweepPoint
from snn_compile.sweep.standing import Standing
from snn_compile.version import __version__
from snn_compile.workers import Done, Job, Machine, Workers, differences

PREDICTION = (
    "from cheap to dear: by the messages that a neuron sends in an inference if all activations"
    " are equally likely, by weight bits, by the steps of a window"
)
LOST = ("worker-lost", "out-of-memory")
"""Codes of errors that say nothing about a point: it is compiled again when the sweep is."""


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
    plan: Plan, folder: Path, n_workers: int, cluster: str | None, observer: SweepObserver
) -> Sweep:
    """Run a sweep on processes of this machine, or on a cluster.

    Args:
        plan: what is swept.
        folder: to write.
        n_workers: number of processes.
        cluster: address of a Dask scheduler in place of them; None without one.
        observer: follows it.

    Raises:
        CompileError: the cluster cannot be used, or another sweep writes this folder.
    """
    require_own(folder, [point.name for point in plan.points])
    with workers.dask(cluster) if cluster else workers.local(n_workers) as pool:
        return SweepRun(plan, folder, pool, observer, shares_files=not cluster).run()


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
        self._inputs = Inputs(plan.model)
        self._points = {point.name: point for point in plan.points}
        self._keys = {name: self._inputs.key(p.options) for name, p in self._points.items()}
        self._standing = Standing(in_order(list(plan.points), plan.cheapest_by), plan.goal)
        self._rounds = halving.rounds(plan.n_samples)
        # All points count, also when some have records: the risk of a sweep that is resumed is the
        # same as of one that was not interrupted, and a smaller one's is not that of a larger one.
        self._risk = halving.risk_of_a_pair(len(plan.points), len(self._rounds))
        self._machines: list[Machine] = []

    def run(self) -> Sweep:
        """Compile what has no record yet, and write the results.

        Raises:
            UsageError: another sweep runs in this folder, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with exclusive_claim(self.folder / SWEEP):
                return self._run()
        except OSError as error:
            n = len(self._standing.records)
            raise UsageError(
                f"the sweep cannot be written: {describe_error(error)}",
                code="file",
                origin=Origin(str(error.filename or self.folder)),
                hint="look at the space on the disk and at permissions; the same command goes on"
                f" from {pluralize(n, 'finished point')}",
            ) from error

    def _run(self) -> Sweep:
        for point in self.plan.points:
            if record := self._usable(point):
                self._standing.add(record)
        self.observer.begin(len(self.plan.points), len(self._standing.records))
        try:
            if self.plan.halving:
                self._screen()
            self._compile()
        except BaseException:
            with suppress(OSError):  # what ended the sweep is what counts
                self._written()
            raise
        return self._written()

    def _screen(self) -> None:
        """Drop the points that others surpass on few samples."""
        for n in self._rounds:
            left = self._standing.left()
            if len(left) < 2:
                return
            self.observer.screening(n, len(left))
            judged = {done.key: done for done in self.pool.run([self._job(p, n) for p in left])}
            # What fails here is compiled later, and leaves its error then.
            known = [
                halving.Screened(name, done.value["right"], done.value["costs"])
                for name, done in judged.items()
                if done.error is None
            ]
            for name, proof in halving.dropped(known, self._risk).items():
                record = self._begun(self._points[name], judged[name])
                proof["rival_key"] = self._keys[proof["worse_than"]]
                record["state"], record["screening"] = "dropped", cast("Screening", proof)
                self._store(record)

    def _compile(self) -> None:
        """Compile points until all have a record, or the goal is met."""
        with ExitStack() as running:
            finished = self.pool.run(self._jobs())
            if isinstance(finished, Generator):
                running.callback(finished.close)  # ends what runs
            for done in finished:
                self._keep(done)
                if self._standing.is_decided:
                    break

    def _usable(self, point: Point) -> SweepPoint | None:
        record = self._records.find(point.name, self._keys[point.name])
        if record is None or record["state"] == "lost":
            return None
        if record["state"] == "failed" and (
            self.plan.retry_failed or record["error"]["code"] in SURROUNDINGS
        ):
            return None
        if record["state"] == "dropped":
            if not (self.plan.halving and self._still_drops(record["screening"])):
                return None
        return {**record, "values": _plain(point.values), "note": point.note}

    def _still_drops(self, proof: Screening) -> bool:
        """Whether a proof is of points of this sweep, and good enough for as many as it has."""
        is_here = self._keys.get(proof["worse_than"]) == proof["rival_key"]
        bound = halving.probability(proof["wins"], proof["discordant"])
        return is_here and bound <= self._risk

    def _jobs(self) -> Iterator[Job]:
        for point in self._standing.needed():
            self.observer.started(point.name)
            yield self._job(point)

    def _job(self, point: Point, n_samples: int = 0) -> Job:
        """Compiles a point, or judges it on few samples."""
        options, files = point.options, self._inputs.files(point.options)
        stated = {name: getattr(options, name) for name in options.origins}
        arguments: dict[str, Any] = {
            "model": self._inputs.model,
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
        point = self._points[done.key]
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
            if _is_over_limit(point.options, record):
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
        self._standing.add(record)
        self.observer.finished(record)

    def _written(self) -> Sweep:
        """The whole sweep as it is now, on the disk."""
        result = self._result()
        replace_text(self.folder / SWEEP, printable_json(plain(result)) + "\n")
        replace_text(self.folder / SWEEP_PAGE, page.render(result))
        return result

    def _result(self) -> Sweep:
        points: list[SweepPoint] = [
            self._standing.records.get(point.name)
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
        compiled = [point for point in points if point["state"] in COMPILED]
        on = {cost: frozenset(names) for cost, names in fronts(compiled).items()}
        for point in compiled:
            point["front"] = [cost for cost, names in on.items() if point["name"] in names]
        goal = self.plan.goal
        shared = {"model": self._inputs.model, **self._inputs.files(self.plan.points[0].options)}
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
            "answer": self._standing.answer(self.plan.cheapest_by),
            "machines": differences(self._machines),
            "points": points,
            **promised,  # type: ignore[typeddict-item]
        }


def _is_over_limit(options: CompileOptions, record: SweepPoint) -> bool:
    """Whether a point breaks a limit; what is not known may be beyond it."""
    judged = (
        (options.max_accuracy_drop, record.get("drop")),
        (options.max_energy, record.get("energy")),
        (options.max_latency, record.get("latency")),
        (options.max_cores, record.get("cores")),
    )
    return any(limit is not None and (value is None or value > limit) for limit, value in judged)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Option.plain(value) for name, value in values.items()}

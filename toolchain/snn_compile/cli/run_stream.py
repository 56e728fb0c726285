"""``snn-compile run --stream``: one sample at a time, and how long each answer took."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from snn_compile.errors import UsageError
from snn_compile.files.presence import require_present

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.cli.run_pieces import Outcome, Sinks
    from snn_compile.report.observer import Observer
    from snn_compile.samples.arrays import Samples
    from snn_compile.samples.rows import Array
    from snn_compile.stream import Answer, Stream

PIPE = Path("-")
"""Standard input as data, standard output as file."""
AT_ONCE = 256
"""Answers that are written to a file together, and samples that are read from one."""


def stream(
    compiled: CompiledModel,
    data: Path,
    output: Path | None,
    labels: Path | None,
    top: int | None,
    *,
    keep_state: bool,
    as_json: bool,
    observer: Observer,
) -> None:
    """Answer samples one at a time, write the answers, and show the latency.

    Args:
        compiled: the network.
        data: a file of samples, or ``-``.
        output: where the answers go, if anywhere; ``-`` is standard output.
        labels: a file with the names of the classes.
        top: classes in a row.
        keep_state: whether neurons go on from sample to sample.
        as_json: whether figures are shown as JSON.
        observer: told how far it is.
    """
    import numpy as np

    from snn_compile.cli.run import load, outputs_of, refuse
    from snn_compile.cli.run_pieces import Outcome, Sinks, facts
    from snn_compile.cli.run_show import show
    from snn_compile.files.writing import require_file
    from snn_compile.predictions import tables
    from snn_compile.samples.arrays import Samples

    live = output == PIPE
    form = tables.JsonLines if live else None if output is None else tables.of_suffix(output)
    if output is not None and not live:
        require_file(output)
    refuse(output, form, top=top)
    if data == PIPE:
        samples, source = Samples(np.empty((0, *compiled.encoding.shape))), _piped(compiled)
    else:
        require_present({"--data": data})
        samples = load(compiled, data)
        source = _stored(samples, observer)
    outputs = outputs_of(compiled, samples, labels, top)
    outcome, sinks = Outcome.of(samples, outputs), Sinks(outputs)
    with ExitStack() as stack:
        if live:
            tables.check_rows(tables.JsonLines, outputs)
            sinks.rows = stack.enter_context(tables.JsonLines(sys.stdout.buffer))
        elif output is not None:
            sinks.open(form, output, stack)
        answering = stack.enter_context(compiled.stream(keep_state=keep_state))
        n = _answer_all(compiled, answering, source, outcome, sinks, live=live)
        latency = answering.latency
        if sinks.arrays is not None:
            sinks.arrays.save(outcome.arrays())
    known = facts(outcome, n, [node.id for node in compiled.program.inputs])
    del known["spikes_per_inference"]
    known["latency"] = {"unit": "ms", **asdict(latency)}
    show(known, None if live else output, as_json=as_json, aside=live)


def refuse(output: Path | None, *, as_json: bool, **others: bool) -> None:
    """Refuse options that have no meaning for a stream.

    Args:
        output: the file of answers, if any.
        as_json: whether figures are written to standard output as JSON.
        **others: options that only a run of all samples knows, and whether they were given.
    """
    given = [name.replace("_", "-") for name, is_given in others.items() if is_given]
    if given:
        raise UsageError(
            f"--{given[0]} is not for a stream, which keeps answers alone",
            code="bad-option",
            hint=f"leave out --stream, or --{given[0]}",
        )
    if as_json and output == PIPE:
        raise UsageError(
            "--json and -o - both write to standard output",
            code="bad-option",
            hint="name a file: -o OUT.jsonl",
        )


def require_stream(data: Path, output: Path | None, *, keep_state: bool) -> None:
    """Refuse what only a stream knows."""
    pipes = {"--data -": data == PIPE, "-o -": output == PIPE, "--keep-state": keep_state}
    given = [name for name, is_given in pipes.items() if is_given]
    if given:
        raise UsageError(f"{given[0]} is for a stream", code="bad-option", hint="add --stream")


def _piped(compiled: CompiledModel) -> Iterator[Array]:
    """Samples from standard input, as the network takes them.

    Raises:
        UsageError: the network has several inputs; or what arrives cannot be used.
    """
    from snn_compile.pipeline.compiled_data import samples_for
    from snn_compile.samples import pipe

    if len(compiled.program.inputs) > 1:
        raise UsageError(
            "a network with several inputs does not read a pipe: an array on it has no name",
            code="bad-option",
            hint="use CompiledModel.stream() in Python, or --data NPZ",
        )

    def check(arrays: Array) -> Array:
        return samples_for(compiled, (arrays, None)).x[:]

    source = "standard input"
    arrays = pipe.frames(sys.stdin.buffer, source)
    return pipe.samples(arrays, check, compiled.encoding.shape, source)


def _stored(samples: Samples, observer: Observer) -> Iterator[Array]:
    """Samples of data, one at a time."""
    from snn_compile.pluralize import pluralize

    text = pluralize(len(samples), "sample")
    with observer.progress("stream", text, len(samples)) as advance:
        for first in range(0, len(samples), AT_ONCE):
            for sample in samples.x[first : first + AT_ONCE]:
                yield sample
                advance(1)


def _answer_all(
    compiled: CompiledModel,
    stream: Stream,
    samples: Iterable[Array],
    outcome: Outcome,
    sinks: Sinks,
    *,
    live: bool,
) -> int:
    """Answer one sample after the other, and return their number.

    Args:
        compiled: the network.
        stream: answers.
        samples: one at a time.
        outcome: counts the answers.
        sinks: where they go.
        live: whether somebody reads each answer as soon as it is there.
    """
    import numpy as np

    from snn_compile.cli.run_pieces import output_arrays
    from snn_compile.sim.reference import join_runs

    done = 0
    waiting: list[Answer] = []

    def write() -> int:
        run = join_runs([answer.run for answer in waiting])
        values = [
            np.concatenate(parts) for parts in zip(*(one.values for one in waiting), strict=True)
        ]
        outcome.add(run, values)
        sinks.take_rows(done, values)
        if sinks.arrays is not None:
            sinks.take(output_arrays(compiled, run, values))
        if live:
            sys.stdout.flush()
        waiting.clear()
        return run.n_stimuli

    for sample in samples:
        waiting.append(stream.answer(sample))
        if live or len(waiting) == AT_ONCE:
            done += write()
    return done + write() if waiting else done

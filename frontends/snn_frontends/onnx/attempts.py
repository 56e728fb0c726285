"""Import of an ONNX graph, as a whole or up to a tail that is left to the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from snn_compile.errors import CompileError, raise_all
from snn_compile.passes import Finding
from snn_compile.plugins import Imported
from snn_frontends.onnx import decision
from snn_frontends.onnx.builder import MixesSamplesError
from snn_frontends.onnx.cut import Request
from snn_frontends.onnx.importer import Importer, Source
from snn_frontends.onnx.model_input import ModelInput, whole_input
from snn_frontends.onnx.values import Batch


def import_graph(
    model: onnx.ModelProto,
    file: str,
    opset: int,
    entries: Sequence[ModelInput],
    stated_opset: int,
    findings: Sequence[Finding],
    modules: Sequence[str],
    request: Request,
) -> Imported:
    """Import a model after the checks of its header and input.

    Args:
        model: the file's contents.
        file: the user's name of the file.
        opset: the operator set version to use.
        entries: the network's inputs, in order; all of one batch.
        stated_opset: the version in the file, which may be newer.
        findings: findings about the file so far.
        modules: source modules of its operators, by name; empty if unknown.
        request: where the network ends.

    Raises:
        CompileError: it is invalid, or no tail of it can be left to the host so that the rest is
            supported; all complaints at once.
    """
    nodes = list(model.graph.node)
    source = Source(model, nodes, file, opset, stated_opset, modules, request)
    importer = Importer(source, entries, findings)
    try:
        return _compared_on_host(importer, importer.run(), findings)
    except CompileError:
        batch = entries[0].batch
        fixed = batch.size > 1 and not batch.symbolic
        if not fixed or not any(isinstance(e, MixesSamplesError) for e in importer.errors):
            return _before_tail(importer, findings)
    one = Batch(1, symbolic=False)
    findings = [*findings, *(whole_input(file, entry) for entry in entries)]
    entries = [replace(entry, batch=one, whole=True) for entry in entries]
    importer = Importer(source, entries, findings)
    try:
        return _compared_on_host(importer, importer.run(), findings)
    except CompileError:
        return _before_tail(importer, findings)


def _before_tail(refused: Importer, findings: Sequence[Finding]) -> Imported:
    """Import what stands before the tail of a refused network.

    Raises:
        CompileError: the errors of the refused import, if it has no such tail.
    """
    cut = refused.tail()
    if cut is None:
        raise_all(refused.errors)
    return Importer(refused.source, refused.entries, findings, cut).run()


def _compared_on_host(whole: Importer, imported: Imported, findings: Sequence[Finding]) -> Imported:
    """A network whose outputs are no truth values, if it can end before they are made."""
    cut = None if whole.cut else decision.before_truths(whole.flow, whole.known())
    if cut is None:
        return imported
    try:
        return Importer(whole.source, whole.entries, findings, cut).run()
    except CompileError:
        return imported

"""``snn-compile check``: import and the target's rules, without data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snn_compile.cli import refused
from snn_compile.cli.console import as_json, common, results, show_json, show_table
from snn_compile.cli.failures import print_error
from snn_compile.cli.passes import AroundPasses, around_passes
from snn_compile.cli.settings import GroupedCommand, read_options, settings
from snn_compile.errors import CompileError, CompileErrors, UnsupportedError, exit_code
from snn_compile.printable import printable

if TYPE_CHECKING:
    from snn_compile.pipeline.finish import CheckResult


@click.command(
    "check", cls=GroupedCommand, short_help="Check whether a model can be compiled, without data."
)
@click.argument("model", type=click.Path(path_type=Path))
@settings
@around_passes
@as_json
@common
def command(
    model: Path, config: Path | None, passes: AroundPasses, as_json: bool, **given: Any
) -> int:
    """Import MODEL and apply the target's rules: fast, without data.

    Lists everything that is not supported at once. Exit code 4 if there is anything.
    """
    from snn_compile.pipeline.driver import check_model

    options = read_options(config, given)
    observer = passes.observer(as_json, quiet=True, no_progress=True)

    def checked() -> CheckResult:
        return check_model(model, options, observer, passes.instruments)

    try:
        if passes.handle_queries(model, options, as_json=as_json, with_data=False):
            return 0
        if passes.stop_after:
            passes.run_until_stop(checked)
            return 0
        result = checked()
    except CompileError as error:
        errors = error.errors if isinstance(error, CompileErrors) else (error,)
        if not any(isinstance(one, UnsupportedError) for one in errors):
            raise
        _show_refusals(model, errors, as_json)
        return exit_code(next(one for one in errors if isinstance(one, UnsupportedError)))
    _show_accepted(model, result, as_json)
    passes.show_times(result.timing)
    return 0


def _show_refusals(model: Path, errors: Sequence[CompileError], as_json: bool) -> None:
    unsupported = [error for error in errors if isinstance(error, UnsupportedError)]
    refusals, survey = refused.group_errors(unsupported), unsupported[0].survey
    if as_json:
        listed = [refused.as_dict(refusal) for refusal in refusals]
        document = {"model": str(model), "ok": False, "unsupported": listed}
        show_json({**document, **refused.survey_as_dict(survey)})
    else:
        nodes = f"{len(unsupported)} unsupported operator" + "s" * (len(unsupported) != 1)
        console = results()
        console.print(f"{printable(model.name)}: {nodes}\n")
        show_table(console, refused.table(refusals))
        if summary := refused.sentence(survey):
            console.print(f"\n{summary}")
    for error in errors:
        if not isinstance(error, UnsupportedError):
            print_error(error)


def _show_fixed(model: Path, result: Any) -> None:
    """A network in fixed point: its cores and, of samples, its cost."""
    from snn_compile.report import cost_figures

    console = results()
    nodes = result.imported.n_nodes
    console.print(
        f"{printable(model.name)}: {nodes} layers · all supported, in fixed point already"
    )
    for finding in result.findings:
        shown = f"warning[{finding.code}]: {finding}" if finding.warning else finding.message
        console.print(f"  {printable(shown)}", soft_wrap=True)
    if result.activity is not None:
        cost = cost_figures.cost({"cost": _cost(result)})
        console.print(f"  per inference {cost}", soft_wrap=True)


def _cost(result: Any) -> Any:
    """The report's entry on the cost of an inference."""
    from snn_compile.mapping import resources
    from snn_compile.report.bill import with_bill

    bare = {"layers": [], "resources": resources(result.mapped).as_dict()}
    return with_bill(bare, result.mapped, result.activity)["cost"]


def _show_accepted(model: Path, result: Any, as_json: bool) -> None:
    imported = result.imported
    from snn_compile.plugins import ImportedFixed

    fixed = isinstance(imported, ImportedFixed)
    network = getattr(imported, "ann", None) or (
        result.mapped.program if fixed else imported.network
    )
    folded = getattr(imported, "n_folded", 0)
    from snn_compile.fit import fit_findings

    warnings = [finding for finding in result.findings if finding.warning]
    if as_json:
        show_json(
            {
                "model": str(model),
                "ok": True,
                "nodes": imported.n_nodes,
                "folded": folded,
                "operators": len(network.graph),
                "unsupported": [],
                "findings": [
                    {"code": f.code, "message": f.message, "origin": str(f.origin or "")}
                    for f in result.findings
                ],
                **({"cores": result.mapped.cores, "cost": _cost(result)} if fixed else {}),
            }
        )
        return
    tail = getattr(imported, "tail", None)
    if fixed:
        _show_fixed(model, result)
        return
    on_host = len(tail.operators) if tail is not None and tail.cut else 0
    supported = imported.n_nodes - folded - on_host
    left = f" {on_host} left to the host ·" if on_host else ""
    console = results()
    console.print(
        f"{printable(model.name)}: {imported.n_nodes} nodes · {supported} supported ·"
        f" {folded} folded ·{left} 0 unsupported"
    )
    for finding in fit_findings(result.findings):
        if not finding.warning:
            console.print(f"  {finding.code}: {printable(finding.message)}")
    for finding in result.findings:
        if finding.code == "host-tail":
            console.print(f"  {finding.code}: {printable(finding.message)}")
    for finding in warnings:
        console.print(f"  warning[{finding.code}]: {finding}")

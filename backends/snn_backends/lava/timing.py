"""Schedule of layers and answers, for ``manifest.json``."""

from __future__ import annotations

from typing import Any

from snn_backends.lava.plan import Plan, PopulationPlan
from snn_compile.ir.quantized import Readout


def timing(plan: Plan) -> dict[str, Any]:
    """The rows of Lava's clock in which the first stimulus is handled; each later one follows.

    Row r is Lava's time step r + 1. Rows of stimulus 0 apply ``every`` rows later for
    the next one, while the last one is still on its way: rows are never spent waiting. Rows of a
    layer before its first one carry nothing that means anything.
    """
    program = plan.program
    n_steps = program.window.n_steps
    answers = [p for p in plan.populations if isinstance(p.node, Readout)]
    return {
        "row": "row r is Lava's time step r + 1",
        "every": n_steps,
        "latency": program.latency,
        "drain": plan.drain,
        "rows_of_one_stimulus": n_steps + plan.drain,
        "input": {"first_row": 0, "last_row": n_steps - 1},
        "layers": [
            {
                "name": p.name,
                "depth": p.depth,
                "first_row": p.first_row,
                "last_row": p.first_row + n_steps - 1,
            }
            for p in plan.populations
        ],
        "answers": [
            {
                "name": p.name,
                "row": answer_row(p, n_steps),
                "read": "v >> 6 after that row" if p.probed else "s_out in that row",
                "every": n_steps,
            }
            for p in answers
        ],
    }


def answer_row(plan: PopulationPlan, n_steps: int) -> int:
    """The first row in which a readout has the answer to stimulus 0.

    One that adds up a window has it in the last row of its own; one that hands over what it has
    collected, in the first.
    """
    at_once = plan.node.single_step
    return plan.first_row + (0 if at_once else n_steps - 1)

"""What a design rule finds."""

from __future__ import annotations

from dataclasses import dataclass

from snn_compile.errors import CapacityError, Origin


@dataclass(frozen=True)
class Violation:
    """One violation of one rule.

    Attributes:
        rule: name of the rule.
        message: the violation, with its numbers.
        origin: the operator concerned, if any.
        hint: the action to take.
        needed: the network's demand, for a rule with a number.
        limit: the target's capacity.
    """

    rule: str
    message: str
    origin: Origin | None = None
    hint: str = ""
    needed: int = 0
    limit: int = 0

    @property
    def error(self) -> CapacityError:
        """The violation as an error."""
        code = self.rule.replace("_", "-")
        error = CapacityError(self.message, code=code, origin=self.origin, hint=self.hint)
        error.needed, error.limit = self.needed, self.limit
        return error


def times(needed: int, limit: int) -> str:
    """The excess of a number over a limit."""
    if not limit:
        return "over"
    ratio = needed / limit
    return f"{ratio:.1f} times over" if ratio >= 1.05 else f"over by {needed - limit}"

"""Reading checkpoints: no code in one is executed, and its content is checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from snn_compile.errors import UsageError
from snn_compile.files.archives import Archive
from snn_compile.files.documents import DamagedError, check_size, reading
from snn_compile.files.typed import complaint

SCHEMA = 2
"""Schema of a checkpoint; raised by a change that older versions cannot read."""
State = Mapping[str, Tensor]


class _Epoch(TypedDict):
    epoch: int
    train_loss: Any
    held_out_loss: Any
    held_out_top1: Any
    merit: Any


class Content(TypedDict):
    """Content of a checkpoint."""

    schema: int
    fingerprint: str
    parameters: dict[str, Tensor]
    method: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor]
    averaged: int
    curve: list[_Epoch]
    best: int
    merit: Any
    best_state: dict[str, Tensor]


def read(path: Path, device: torch.device) -> Content:
    """The content of a checkpoint, type-checked.

    Raises:
        UsageError: it is damaged, or exceeds the memory budget.
    """
    with _reading(path):
        with Archive(path) as archive:
            check_size("the content of the checkpoint", archive.stored_bytes)
        try:
            content: Content = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:
            raise DamagedError(type(error).__name__) from error
        version = content.get("schema") if isinstance(content, dict) else None
        if isinstance(version, int):  # before what another version need not have
            _require(version == SCHEMA, f"schema {version}; this version reads {SCHEMA}")
        _require(not (wrong := complaint(content, Content, "checkpoint")), wrong)
        _require(0 <= content["best"] < len(content["curve"]), "its best epoch is not on its curve")
        _require(content["averaged"] >= 0, "an average of no steps")
        _require(all(map(_is_judged, content["curve"])), "an invalid curve")
        _require(isinstance(content["merit"], int | float), "no merit")
        _require(not isnan(content["merit"]), "no merit")
        return content


def _is_judged(epoch: _Epoch) -> bool:
    """Whether the entries of an epoch are numbers; after divergence they may be infinite."""
    if set(epoch) != set(_Epoch.__annotations__):
        return False
    judged = (epoch["held_out_loss"], epoch["held_out_top1"], epoch["merit"])
    numbers = (*judged, epoch["train_loss"] or 0.0)
    return all(isinstance(number, int | float) for number in numbers)


def require_fit(
    path: Path, content: Content, state: State, method: State, optimizer: torch.optim.Optimizer
) -> None:
    """Check that a checkpoint matches these tensors, before any of it is used.

    Raises:
        UsageError: it does not.
    """
    with _reading(path):
        for found in (content["parameters"], content["average"], content["best_state"]):
            _require_like(found, state)
        _require_like(content["method"], method)
        _require_optimizer(content["optimizer"], optimizer)


def _reading(path: Path) -> Any:
    hint = "remove it to start the training again"
    return reading(path, UsageError, "bad-checkpoint", "the checkpoint cannot be used", hint)


def _require(right: bool, wrong: str) -> None:
    if not right:
        raise DamagedError(wrong)


def _require_like(found: State, expected: State) -> None:
    _require(set(found) == set(expected), "its tensor names differ")
    for name, tensor in expected.items():
        _require_tensor(found[name], tensor, name)


def _require_tensor(found: Tensor, expected: Tensor, name: str) -> None:
    _require(found.shape == expected.shape and found.dtype == expected.dtype, f"'{name}' differs")
    _require(found.layout == expected.layout, f"the layout of '{name}' differs")
    _require(bool(torch.isfinite(found).all()), f"'{name}' is not finite")


def _require_optimizer(document: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Check that hyperparameters but the rate are equal, and that averages fit the parameters."""
    own = optimizer.state_dict()
    _require(set(document) == set(own), "its optimizer differs")
    _require(
        _without_rates(document["param_groups"]) == _without_rates(own["param_groups"]), "groups"
    )
    _require(isinstance(document["state"], dict), "it has no optimizer state")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, entries in document["state"].items():
        _require(isinstance(number, int) and 0 <= number < len(parameters), "its parameters differ")
        _require(isinstance(entries, dict), "it has no state of a parameter")
        expected = _after_a_step(optimizer, parameters[number])
        _require(set(entries) == set(expected), "its state of a parameter differs")
        for name, tensor in expected.items():
            _require(isinstance(entries[name], Tensor), f"'{name}' differs")
            _require_tensor(entries[name], tensor, name)


def _after_a_step(optimizer: torch.optim.Optimizer, parameter: Tensor) -> State:
    """The optimizer's state of a parameter after one step."""
    like = torch.zeros_like(parameter).requires_grad_()
    like.grad = torch.zeros_like(parameter)
    chosen = {name: v for name, v in optimizer.param_groups[0].items() if name != "params"}
    probe = type(optimizer)([{**chosen, "params": [like]}])
    probe.step()
    return {name: value for name, value in probe.state[like].items() if value is not None}


def _without_rates(groups: Any) -> list[dict[str, Any]]:
    _require(all(isinstance(group.pop("lr", None), float) for group in map(dict, groups)), "rates")
    return [{key: value for key, value in group.items() if key != "lr"} for group in groups]

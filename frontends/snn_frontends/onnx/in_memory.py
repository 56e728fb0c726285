"""Models that Python holds, written to a file: of onnx as they are, of torch exported.

Neither library is imported here: an object of theirs is only there if they are, too.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn_compile.errors import ModelError, UsageError
from snn_compile.files.documents import first_line

OPSET = 17
_EXAMPLE = (
    "give example_input: what the module takes for one sample or more, with the batch axis; a tuple"
    " of several inputs, or a mapping by the names that they are to have"
)


def written(model: object, example_input: object, folder: Path) -> Path | None:
    """The file of a model; None of anything else.

    Args:
        model: ``onnx.ModelProto`` or ``torch.nn.Module``.
        example_input: of a module.
        folder: to write into.

    Raises:
        UsageError: an example is missing, or is none.
        ModelError: torch cannot export the module, or it is too large for one file.
    """
    onnx, torch = (sys.modules.get(name) for name in ("onnx", "torch"))
    if onnx is not None and isinstance(model, onnx.ModelProto):
        if example_input is not None:
            hint = "leave it out"
            raise UsageError(
                "example_input is for modules of torch", code="bad-argument", hint=hint
            )
        path = folder / "ModelProto.onnx"
        try:
            path.write_bytes(model.SerializeToString(deterministic=True))
        except ValueError as error:  # of protobuf, beyond 2 GiB
            raise _too_large(error) from error
        return path
    if torch is not None and isinstance(model, torch.nn.Module):
        path = folder / f"{type(model).__name__}.onnx"
        _export(torch, model, example_input, path)
        return path
    return None


def _too_large(error: Exception) -> ModelError:
    return ModelError(
        f"the model cannot be one file: {first_line(error)}",
        code="too-large",
        hint="save it with external data, and give the path",
    )


def _export(torch: Any, model: Any, example_input: object, path: Path) -> None:
    names, tensors = _example(torch, model, example_input)
    was_training = model.training
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            torch.onnx.export(
                model.eval(),
                tensors,
                str(path),
                input_names=names,
                dynamic_axes={name: {0: "N"} for name in names},
                opset_version=OPSET,
                dynamo=False,  # the other exporter needs a package of its own
            )
    except Exception as error:
        raise ModelError(
            f"torch cannot export the module: {first_line(error)}",
            code="not-exported",
            hint="torch.onnx.export(module.eval(), example_input, 'model.onnx') says more; give the"
            " path of a file that it writes",
        ) from error
    finally:
        model.train(was_training)


def _example(torch: Any, model: Any, example: object) -> tuple[list[str], tuple[Any, ...]]:
    """Names of the inputs, and a tensor for each, where the module is."""
    if example is None:
        raise UsageError("a module of torch needs an example", code="bad-argument", hint=_EXAMPLE)
    if isinstance(example, Mapping):
        named = {str(name): value for name, value in example.items()}
    elif isinstance(example, tuple | list):
        named = {f"input{k}" if k else "input": value for k, value in enumerate(example)}
    else:
        named = {"input": example}
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        tensors = tuple(torch.as_tensor(value).to(place) for value in named.values())
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"example_input is no tensor: {first_line(error)}", code="bad-argument", hint=_EXAMPLE
        ) from error
    return [*named], tensors

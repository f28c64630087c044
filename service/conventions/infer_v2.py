"""The second protocol (Open Inference Protocol) of KServe, MLServer, Triton and others: tensors in, tensors out."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.conventions.outcomes import outcome
from service.conventions.predict_v1 import Fields, name_values
from service.conventions.tensors import Tensor, read_tensors
from service.conventions.unusable import Unusable


def rows(
    request: Mapping[str, Any],
    response: Mapping[str, Any],
    names: Sequence[str],
    task: str,
    tails: tuple[bytes, bytes] = (b"", b""),
) -> list[Fields]:
    """The rows of one exchange: `features`, what was predicted, and `model_version` where the server says one.

    Several input tensors are a feature each, by their names; a single one of shape [N, F] holds F features, named by
    `names` where there are as many, else f0, f1, ... An output of shape [N, C] holds scores; its parameter `classes`
    (a list, or text with commas) names them. `tails` are the binary parts of both bodies.

    Raises:
        Unusable: tensors are of another form, or inputs and outputs differ in their rows.
    """
    inputs = read_tensors(request.get("inputs"), "inputs", tails[0])
    outputs = read_tensors(response.get("outputs"), "outputs", tails[1])
    asked, answered = len(inputs[0].rows), len(outputs[0].rows)
    if asked != answered:
        raise Unusable("tensors", f"the inputs have {asked} rows, and the outputs {answered}")
    version = response.get("model_version")
    shared = {} if version in (None, "") else {"model_version": version}
    classes = next((found for tensor in outputs if (found := _classes(tensor))), ())
    return [
        {
            "features": _features(inputs, row, names),
            **outcome({tensor.name: tensor.rows[row] for tensor in outputs}, classes, task),
            **shared,
        }
        for row in range(asked)
    ]


def _features(inputs: Sequence[Tensor], row: int, names: Sequence[str]) -> Fields:
    if len(inputs) > 1:
        return {tensor.name: tensor.rows[row] for tensor in inputs}
    only = inputs[0]
    if only.width > 1:
        return name_values(only.rows[row], names)
    return {names[0] if len(names) == 1 else only.name: only.rows[row]}


def _classes(tensor: Tensor) -> tuple[str, ...]:
    told = tensor.parameters.get("classes")
    if isinstance(told, str):
        told = told.split(",")
    return tuple(str(each).strip() for each in told) if isinstance(told, list) else ()

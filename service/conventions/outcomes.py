"""What a model server answered for one row, as the fields `prediction`, `scores` and `confidence` of a row of ours."""

from collections.abc import Mapping, Sequence
from typing import Any

# Where a server answers with several values, the names by which they are known.
_PREDICTION = frozenset({"prediction", "predict", "predicted", "predicted_label", "label", "class", "output-0"})
_SURE = frozenset({"confidence", "score", "probability"})


def outcome(answer: Mapping[str, Any], classes: Sequence[str], task: str) -> dict[str, Any]:
    """The row's outcome; without a `prediction` where the answer has none, which the check of rows then says.

    A list of several numbers, or an object of numbers by class, are the scores of a classification; without a class of
    its own the best score says it. Classes are named by `classes` where there are as many, else 0, 1, 2 ...

    >>> outcome({"predict": 1.0, "confidence": 0.8}, (), "classification")
    {'prediction': 1, 'confidence': 0.8}
    >>> outcome({"": [0.1, 0.9]}, ("fit", "return"), "classification")
    {'prediction': 'return', 'scores': {'fit': 0.1, 'return': 0.9}}
    >>> outcome({"": [41.5]}, (), "regression")
    {'prediction': 41.5}
    """
    single: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, dict):
            scores = scores or value
        elif isinstance(value, list) and len(value) != 1:
            scores = scores or _by_class(value, classes)
        else:
            single[name] = value[0] if isinstance(value, list) else value
    found: dict[str, Any] = {}
    said, sure = _told_apart(single)
    if said is not None:
        found["prediction"] = whole(single[said]) if task == "classification" else single[said]
    elif scores and task == "classification" and all(_is_number(value) for value in scores.values()):
        found["prediction"] = max(scores, key=lambda name: float(scores[name]))
    if scores and task == "classification":
        found["scores"] = scores
    if sure is not None and task == "classification":
        found["confidence"] = single[sure]
    return found


def whole(value: Any) -> Any:  # noqa: ANN401  whatever JSON holds
    """A class that a tensor of floats spells 1.0, as labels spell it: 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _told_apart(single: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The names of the prediction and of the confidence. A value that is alone is the prediction, whatever its name."""
    sure = next((name for name in single if name.lower() in _SURE), None) if len(single) > 1 else None
    others = [name for name in single if name != sure]
    said = next((name for name in others if name.lower() in _PREDICTION), others[0] if others else None)
    return said, sure


def _by_class(values: list[Any], classes: Sequence[str]) -> dict[str, Any]:
    names = classes if len(classes) == len(values) else [str(number) for number in range(len(values))]
    return dict(zip(names, values, strict=True))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""KServe's first protocol, which is TensorFlow Serving's: `instances` in, `predictions` out."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.conventions.outcomes import outcome
from service.conventions.unusable import Unusable

Fields = dict[str, Any]


def rows(request: Mapping[str, Any], response: Mapping[str, Any], names: Sequence[str], task: str) -> list[Fields]:
    """The rows of one exchange: `features`, and what was predicted.

    An instance is a list of values, an object, a list of objects (rows), a text, or a number. Lists are named by
    `names` where there are as many, else f0, f1, ... KServe reads an object as a table: a list of n values under each
    name is n rows, and lists of one are single values.

    Raises:
        Unusable: it is of another form, or the instances are not as many as the predictions.
    """
    answers = response.get("predictions")
    instances = request.get("instances", request.get("inputs"))
    if not isinstance(answers, list) or not isinstance(instances, list):
        raise Unusable("tensors", "a request has a list `instances`, and its response a list `predictions`")
    found = [features for instance in instances for features in _features(instance, names)]
    if len(found) != len(answers):
        found = [features for one in found for features in _spread(one)]
    if len(found) != len(answers):
        raise Unusable("tensors", f"{len(found)} instances were asked for, and {len(answers)} predictions answered")
    named = [answer if isinstance(answer, dict) else {"": answer} for answer in answers]
    return [
        {"features": {name: _single(value) for name, value in features.items()}, **outcome(answer, (), task)}
        for features, answer in zip(found, named, strict=True)
    ]


def name_values(values: Sequence[Any], names: Sequence[str]) -> Fields:
    """The values under their names, or where the count differs under f0, f1, ...; many under one name are a list.

    >>> name_values([1, 2], ["a", "b"]), name_values([1, 2], []), name_values([1, 2], ["embedding"])
    ({'a': 1, 'b': 2}, {'f0': 1, 'f1': 2}, {'embedding': [1, 2]})
    """
    if len(names) == 1 and len(values) > 1:
        return {names[0]: list(values)}
    known = names if len(names) == len(values) else [f"f{place}" for place in range(len(values))]
    return dict(zip(known, values, strict=True))


def _features(instance: Any, names: Sequence[str]) -> list[Fields]:  # noqa: ANN401  whatever JSON holds
    if isinstance(instance, dict):
        return [instance]
    if not isinstance(instance, list):
        text = names[0] if len(names) == 1 else "text"
        return [{text: instance} if isinstance(instance, str) else name_values([instance], names)]
    if instance and all(isinstance(each, dict) for each in instance):
        return list(instance)
    if any(isinstance(each, list | dict) for each in instance):
        raise Unusable("tensors", "an instance is a list of lists: only one value for each feature can be counted")
    return [name_values(instance, names)]


def _spread(features: Fields) -> list[Fields]:
    lengths = {len(value) if isinstance(value, list) else -1 for value in features.values()}
    if len(lengths) != 1 or -1 in lengths:
        return [features]
    return [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]


def _single(value: Any) -> Any:  # noqa: ANN401  same
    return value[0] if isinstance(value, list) and len(value) == 1 else value

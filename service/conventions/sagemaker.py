"""SageMaker's data capture: what went into an endpoint and what came out, an object a line.

The format is that of the developer guide ("Interpret captured data"); `eventMetadata.inferenceId` is the id that the
caller chose, under which ground truth comes.
"""

import base64
import binascii
import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from service.conventions import predict_v1
from service.conventions.logs import Options, Row, Told
from service.conventions.unusable import Unusable

_ONE_ROW = ("features", "data")


def rows(told: Iterable[Told], options: Options) -> Iterator[Row]:
    """The rows of all captures; a line that gives none has a problem."""
    for each in told:
        if each.problem:
            yield Row(each.place, {}, each.problem)
            continue
        try:
            yield from (Row(each.place, fields) for fields in _capture(each.fields, options))
        except Unusable as problem:
            yield Row(each.place, {}, str(problem))


def _capture(fields: Mapping[str, Any], options: Options) -> list[dict[str, Any]]:
    data, about = fields.get("captureData"), fields.get("eventMetadata")
    if not isinstance(data, dict) or not isinstance(about, dict):
        raise Unusable("unreadable", "captureData and eventMetadata: a line of data capture has both")
    asked, answered = (_payload(data, side) for side in ("endpointInput", "endpointOutput"))
    instances, answers = _instances(asked), _answers(answered, options.prediction)
    if len(answers) == 1 and isinstance(answers[0], list) and len(answers[0]) == len(instances) > 1:
        answers = answers[0]  # the predictions of several rows, in one line with commas
    found = predict_v1.rows({"instances": instances}, {"predictions": answers}, options.columns, "classification")
    identity, at = about.get("inferenceId") or about.get("eventId"), about.get("inferenceTime")
    if not identity:
        raise Unusable("unreadable", "eventMetadata.eventId: is missing")
    ids = [str(identity)] if len(found) == 1 else [f"{identity}/{place}" for place in range(len(found))]
    return [{"prediction_id": i, "timestamp": at, **row} for i, row in zip(ids, found, strict=True)]


def _payload(data: Mapping[str, Any], side: str) -> Any:  # noqa: ANN401  whatever the endpoint takes
    """JSON as it is, CSV as a list of rows."""
    told = data.get(side)
    text = told.get("data") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(text, str):
        raise Unusable("unreadable", f"captureData.{side}.data: is missing; capture both Input and Output")
    kind = str(told.get("observedContentType", "")).lower()
    encoding = str(told.get("encoding", "")).upper()
    if encoding == "BASE64":
        encoding = "JSON" if "json" in kind else "CSV" if "csv" in kind else kind
        text = _text_of(text, side)
    if encoding == "CSV":
        return [[_value(word) for word in line] for line in csv.reader(text.splitlines()) if line]
    if encoding != "JSON":
        raise Unusable("unreadable", f"captureData.{side}: {encoding or 'no encoding'} is neither CSV nor JSON")
    try:
        lines = text.splitlines() if "lines" in kind else [text]
        found = [msgspec.json.decode(line) for line in lines if line.strip()]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unusable("unreadable", f"captureData.{side}.data: is no JSON: {error}") from error
    return found if "lines" in kind else found[0] if found else None


def _text_of(data: str, side: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unusable("unreadable", f"captureData.{side}.data: is no text in base64: {error}") from error


def _instances(asked: Any) -> list[Any]:  # noqa: ANN401  same
    if isinstance(asked, dict):
        inner = asked.get("instances")
        asked = inner if isinstance(inner, list) else [asked]
    if not isinstance(asked, list):
        return [asked]
    if asked and not any(isinstance(each, list | dict) for each in asked):
        asked = [asked]
    return [_only(each) for each in asked]


def _only(instance: Any) -> Any:  # noqa: ANN401  same
    """The values of an instance that says nothing else, as built-in algorithms take them."""
    if isinstance(instance, dict) and len(instance) == 1:
        name, values = next(iter(instance.items()))
        if name in _ONE_ROW and isinstance(values, list):
            return values
    return instance


def _answers(answered: Any, field: str) -> list[Any]:  # noqa: ANN401  same
    if isinstance(answered, dict):
        name = field if field in answered else "predictions"
        answered = answered.get(name, answered)
    answers = answered if isinstance(answered, list) else [answered]
    return [_answer(each, field) if isinstance(each, dict) else each for each in answers]


def _answer(told: dict[str, Any], field: str) -> Any:  # noqa: ANN401  same
    score, label = told.get("score"), told.get("predicted_label")
    if field in told:
        return told[field]
    if label in (0, 1) and isinstance(score, float) and 0 <= score <= 1:
        # The linear learner's score of two classes is that of class 1, whichever it predicts.
        return {"predicted_label": label, "scores": {"0": 1 - score, "1": score}}
    return told


def _value(word: str) -> Any:  # noqa: ANN401  a number where it is one
    word = word.strip()
    try:
        value = float(word)
    except ValueError:
        return word or None
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124  NaN alone differs from itself
        return None
    return int(word) if word.lstrip("+-").isdecimal() else value

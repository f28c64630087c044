"""A fitted estimator in the manner of scikit-learn, whose predictions are logged."""

from __future__ import annotations

import json
import operator
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from tidegate_client import tables
from tidegate_client.batches import PREDICTIONS
from tidegate_client.client import Client
from tidegate_client.errors import BadRow
from tidegate_client.queue import Entry
from tidegate_client.rows import Row

METHODS = ("predict", "predict_proba")


def wrap(
    estimator: Any,  # noqa: ANN401  whatever has predict
    client: Client,
    *,
    feature_names: Sequence[str] | None = None,
    methods: Collection[str] = METHODS,
    model_version: str | None = None,
) -> Monitored:
    """The estimator, logging a row for each prediction that it makes.

    Args:
        estimator: a fitted classifier, regressor or pipeline.
        client: where its predictions go.
        feature_names: names of the input's columns; else those of the input, else those the estimator was fitted with,
            else `x0`, `x1`, …
        methods: which of `predict` and `predict_proba` log. Leave one out where your service calls both for a row.
        model_version: the version of this estimator, where it is not the client's.
    """
    return Monitored(estimator, client, feature_names, frozenset(methods), model_version)


def new_ids(count: int) -> list[str]:
    """Fresh prediction ids, to give to `predict` and to keep for the labels."""
    begin = uuid.uuid4().hex
    return [f"{begin}.{number}" for number in range(count)]


class Monitored:
    """An estimator that answers as before, and logs. What else it has is the estimator's own.

    A copy is the plain estimator: pickled, cloned or deep-copied it holds no address and no access key, and loads where
    this package is not installed.
    """

    def __init__(
        self,
        estimator: Any,  # noqa: ANN401  whatever has predict
        client: Client,
        feature_names: Sequence[str] | None,
        methods: frozenset[str],
        model_version: str | None,
    ) -> None:
        self.estimator = estimator
        self._client = client
        self._feature_names = feature_names
        self._methods = methods
        self._model_version = model_version

    def predict(self, X: Any, *, prediction_ids: Sequence[str] | None = None, **options: Any) -> Any:  # noqa: ANN401, N803  the estimator's own
        """What the estimator predicts. `prediction_ids`: one a row, else fresh ones, which no label will find."""
        predicted = self.estimator.predict(X, **options)
        if "predict" in self._methods:
            self._note(X, prediction_ids, predicted, None)
        return predicted

    def predict_proba(self, X: Any, *, prediction_ids: Sequence[str] | None = None, **options: Any) -> Any:  # noqa: ANN401, N803  same
        """The estimator's probabilities; logged as scores, with the likeliest class as the prediction."""
        scores = self.estimator.predict_proba(X, **options)
        if "predict_proba" in self._methods:
            self._note(X, prediction_ids, None, scores)
        return scores

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  the estimator's own
        return getattr(self.estimator, name)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return operator.getitem, ((self.estimator,), 0)

    def __sklearn_clone__(self) -> Any:  # noqa: ANN401  the estimator's own
        """What scikit-learn clones."""
        from sklearn.base import clone  # noqa: PLC0415  only scikit-learn calls this

        return clone(self.estimator)

    def _note(self, table: Any, ids: Sequence[str] | None, predicted: Any, scores: Any) -> None:  # noqa: ANN401  arrays
        count = 1
        try:
            count = len(predicted if scores is None else scores)
            named = _named(ids, count)
            # What the caller does with its arrays afterwards must not change what is sent.
            rows = self._rows(_copy(table), named, _copy(predicted), _copy(scores), time.time())
            self._client.take(Entry(PREDICTIONS, count, rows))
        except Exception as error:  # noqa: BLE001  a prediction is worth more than its row
            self._client.unusable(error, count)

    def _rows(self, table: Any, ids: list[str], predicted: Any, scores: Any, now: float) -> Iterator[Row]:  # noqa: ANN401  same
        """Made in the background, while they are packed."""
        outputs = _outputs(predicted) if scores is None else _scored(scores, self.estimator.classes_)
        version = self._model_version or self._client.options.model_version
        for prediction_id, output, features in zip(ids, outputs, self._features(table), strict=True):
            row = {"prediction_id": prediction_id, "timestamp": now, "features": features, **output}
            yield row if version is None else {**row, "model_version": version}

    def _features(self, table: Any) -> Iterator[Mapping[str, object]]:  # noqa: ANN401  same
        names = self._feature_names
        if names is None:
            names = getattr(table, "columns", None)
        if names is None:
            names = getattr(self.estimator, "feature_names_in_", None)
        for values in tables.rows(table):
            yield dict(zip(names if names is not None else tables.names(values), values, strict=True))


def _named(ids: Sequence[str] | None, count: int) -> list[str]:
    if ids is not None and len(ids) != count:
        raise BadRow(f"{len(ids)} prediction_ids were given for {count} rows: none of them is logged")
    return new_ids(count) if ids is None else list(ids)


def _outputs(predicted: Any) -> Iterator[Row]:  # noqa: ANN401  same
    for value in tables.listed(predicted):
        if isinstance(value, list):
            raise BadRow("an estimator with several outputs cannot be logged: one row has one prediction")
        yield {"prediction": value}


def _scored(scores: Any, classes: Any) -> Iterator[Row]:  # noqa: ANN401  same
    values = tables.listed(classes)
    # A class that is no text is named as JSON writes it, as the service names predictions.
    names = [value if isinstance(value, str) else json.dumps(value) for value in values]
    for row in tables.listed(scores):
        yield {"prediction": values[row.index(max(row))], "scores": dict(zip(names, row, strict=True))}


def _copy(array: Any) -> Any:  # noqa: ANN401  same
    copy: Callable[[], Any] | None = getattr(array, "copy", None)
    return array if copy is None else copy()

"""Estimators that log: they answer as before, whatever they are given, and what they predicted arrives."""

import copy
import io
import json
import pickle
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import tidegate_client
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from tidegate_client import Client, new_ids, wrap
from tidegate_client.rows import encode

NOWHERE = "http://127.0.0.1:9"
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"price": RNG.normal(size=40), "channel": ["web", "shop"] * 20, "count": range(40)})
CLASSES = np.where(TABLE["price"] > 0, "fit", "returns")
NUMBERS = TABLE[["price", "count"]]


@pytest.fixture
def client() -> Iterator[Client]:
    """One that keeps what it is given, strictly."""
    with tidegate_client.connect(
        NOWHERE, "shop", spool=False, batch_seconds=600, batch_rows=10**6, exit_seconds=0, strict=True
    ) as client:
        yield client


def rows(client: Client) -> list[dict[str, Any]]:
    """What was logged, as it is sent."""
    entries = client.start()._queue.take()
    return [json.loads(encode(row)) for entry in entries for row in entry.rows]


def pipeline() -> Any:
    encoder = make_column_transformer((OneHotEncoder(), ["channel"]), remainder="passthrough")
    return make_pipeline(encoder, LogisticRegression()).fit(TABLE, CLASSES)


def test_a_frame_arrives_with_its_names_types_and_scores(client):
    plain = pipeline()
    monitored = wrap(plain, client, model_version="7")
    given = new_ids(40)
    np.testing.assert_array_equal(monitored.predict_proba(TABLE, prediction_ids=given), plain.predict_proba(TABLE))
    logged = rows(client)
    assert [row["prediction_id"] for row in logged] == given
    assert [row["prediction"] for row in logged] == plain.predict(TABLE).tolist()
    assert [row["features"] for row in logged] == TABLE.to_dict("records")
    assert {tuple(row["scores"]) for row in logged} == {("fit", "returns")}
    assert {row["model_version"] for row in logged} == {"7"}


@pytest.mark.parametrize(
    ("estimator", "table"),
    [
        (LogisticRegression().fit(NUMBERS, CLASSES), NUMBERS),
        (LogisticRegression().fit(NUMBERS.to_numpy(), CLASSES), NUMBERS.to_numpy()),
        (LogisticRegression().fit(NUMBERS.to_numpy(), CLASSES), NUMBERS.to_numpy().tolist()),
        (SVC().fit(NUMBERS.to_numpy(np.float32), CLASSES == "fit"), NUMBERS.to_numpy(np.float32)),
        (LinearRegression().fit(NUMBERS, TABLE["count"]), NUMBERS),
        (RandomForestRegressor(3).fit(NUMBERS, TABLE["count"]), NUMBERS),
        (make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TABLE["channel"], CLASSES), TABLE["channel"]),
        (make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TABLE["channel"], CLASSES), list(TABLE["channel"])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_estimator_and_input_answers_as_before_and_every_row_is_logged(client, estimator, table):
    plain = estimator.predict(table)
    predicted = wrap(estimator, client).predict(table)
    np.testing.assert_array_equal(predicted, plain)
    assert predicted.dtype == plain.dtype
    logged = rows(client)
    assert [row["prediction"] for row in logged] == plain.tolist()
    assert all(len(row["features"]) in {1, 2} for row in logged)
    assert len({row["prediction_id"] for row in logged}) == 40


def test_names_of_columns_come_from_the_user_the_table_or_the_fit_in_this_order(client):
    fitted = LinearRegression().fit(NUMBERS, TABLE["count"])
    bare = NUMBERS.to_numpy()[:1]
    with pytest.warns(UserWarning, match="feature names"):
        wrap(fitted, client).predict(bare)
    wrap(fitted, client, feature_names=["a", "b"]).predict(NUMBERS[:1])
    wrap(LinearRegression().fit(bare, [1]), client).predict(bare)
    assert [list(row["features"]) for row in rows(client)] == [["price", "count"], ["a", "b"], ["x0", "x1"]]


def test_classes_that_are_numbers_are_named_as_the_predictions_are(client):
    fitted = LogisticRegression().fit(NUMBERS, (TABLE["price"] > 0).astype(int))
    wrap(fitted, client).predict_proba(NUMBERS[:1])
    (row,) = rows(client)
    assert sorted(row["scores"]) == ["0", "1"]
    assert str(row["prediction"]) in row["scores"]


def test_what_the_caller_does_with_its_arrays_afterwards_is_not_sent(client):
    table = NUMBERS.to_numpy().copy()
    predicted = wrap(LinearRegression().fit(table, TABLE["count"]), client).predict(table)
    kept = predicted.copy()
    table[:] = 0
    predicted[:] = 0
    logged = rows(client)
    assert [row["prediction"] for row in logged] == kept.tolist()
    assert [row["features"]["x1"] for row in logged] == list(range(40))


def test_a_method_that_is_left_out_does_not_log(client):
    monitored = wrap(pipeline(), client, methods=["predict_proba"])
    monitored.predict(TABLE)
    assert rows(client) == []


def test_what_cannot_be_logged_is_counted_and_never_breaks_a_prediction():
    with tidegate_client.connect(NOWHERE, "shop", spool=False, exit_seconds=0) as client:
        texts = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TABLE["channel"], CLASSES)
        sparse = texts[0].transform(TABLE["channel"])
        assert len(wrap(texts[1], client).predict(sparse)) == 40
        two = LinearRegression().fit(NUMBERS, NUMBERS)
        assert wrap(two, client).predict(NUMBERS).shape == (40, 2)
        assert len(wrap(pipeline(), client).predict(TABLE, prediction_ids=["one"])) == 40
        assert len(wrap(pipeline(), client, feature_names=["one"]).predict(TABLE)) == 40
        client.flush(0.1)
        assert client.counts().unusable == client.counts().logged == 160


def test_the_errors_of_an_estimator_are_its_own(client):
    with pytest.raises(ValueError, match="missing"):
        wrap(pipeline(), client).predict(TABLE[["price"]])


def test_it_has_what_the_estimator_has(client):
    monitored = wrap(pipeline(), client)
    assert monitored.classes_.tolist() == ["fit", "returns"]
    assert monitored.score(TABLE, CLASSES) > 0.9
    assert list(monitored.named_steps) == ["columntransformer", "logisticregression"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = monitored.nothing
    assert not hasattr(wrap(LinearRegression(), client), "classes_")


def test_a_copy_is_the_plain_estimator(client):
    plain = pipeline()
    monitored = wrap(plain, client)
    kept = io.BytesIO()
    joblib.dump(monitored, kept)
    kept.seek(0)
    pickled = pickle.dumps(monitored)
    assert b"tidegate" not in pickled
    for other in (pickle.loads(pickled), copy.deepcopy(monitored), joblib.load(kept)):  # noqa: S301  our own
        assert type(other) is type(plain)
        np.testing.assert_array_equal(other.predict(TABLE), plain.predict(TABLE))
    assert type(clone(monitored)) is type(plain)

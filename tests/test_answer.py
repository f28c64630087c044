"""What a trainer leaves behind: taken where every row has one sound answer, and refused in words where not."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from service.retraining import answer as answers
from service.retraining.answer import BadAnswer, check_predictions, read_answer
from service.training.model_files import write_model
from service.training.trainers import refit
from service.training.training_errors import TrainingError

IDS = [f"p{number}" for number in range(12)]
ASKED, VALIDATION = (pa.table({"prediction_id": ids}) for ids in (IDS[:8], IDS[8:]))


def said(ids=IDS, **columns) -> pa.Table:
    return pa.table({"prediction_id": pa.array(ids, pa.string()), "prediction": ["yes"] * len(ids), **columns})


def left(folder: Path, table: pa.Table, words: str = "") -> Path:
    (folder / "answer").mkdir(parents=True)
    parquet.write_table(table, folder / "answer" / "predictions.parquet")
    if words:
        (folder / "answer" / "answer.json").write_text(words)
    return folder


@given(st.permutations(IDS), st.lists(st.sampled_from(["yes", "no", "é"]), min_size=12, max_size=12), st.data())
def test_answers_in_any_order_and_of_any_text_type_are_put_in_the_order_that_was_asked(order, labels, data):
    kind = data.draw(st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]))
    by_id = dict(zip(order, labels, strict=True))
    table = pa.table({"prediction_id": pa.array(order), "prediction": pa.array(labels, pa.string()).cast(kind)})
    checked = check_predictions(table, pa.array(IDS), "classification")
    assert checked.column("prediction_id").to_pylist() == IDS
    assert checked.column("prediction").to_pylist() == [by_id[each] for each in IDS]
    assert checked.schema.field("prediction").type == pa.string()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=12, max_size=12))
def test_a_regression_is_answered_by_finite_numbers_or_not_at_all(values):
    table = pa.table({"prediction_id": IDS, "prediction": pa.array(values, pa.float64())})
    if np.isfinite(values).all():
        assert check_predictions(table, pa.array(IDS), "regression").column("prediction").to_pylist() == values
    else:
        with pytest.raises(BadAnswer, match="finite"):
            check_predictions(table, pa.array(IDS), "regression")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (said(IDS[1:]), "1 of 12 rows have no prediction, the first is 'p0'"),
        (said([*IDS, "p99"]), "for rows that nobody asked about, like 'p99'"),
        (said([*IDS, "p3"], confidence=[0.5] * 12 + [0.6]), "each prediction_id once"),
        (said().drop_columns("prediction"), "no column prediction;"),
        (said().drop_columns("prediction_id"), "no column prediction_id;"),
        (said().set_column(1, "prediction", [["yes"] * 11 + [None]]), "1 predictions are empty"),
        (said().set_column(1, "prediction", [pa.array([0.5] * 12)]), "expected are class names"),
        (said().set_column(1, "prediction", [pa.array([True] * 12)]), "expected are class names"),
        (said(confidence=[1.5] + [0.5] * 11), "confidence is from 0 to 1"),
        (said(confidence=[float("nan")] * 12), "confidence is from 0 to 1"),
        (said(score_yes=["high"] * 12), "score_yes has the type string"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said(tmp_path, table, words):
    with pytest.raises(BadAnswer, match=words):
        read_answer(left(tmp_path, table), "classification", ASKED, VALIDATION)


def test_predictions_are_split_into_what_was_asked_and_what_was_known(tmp_path):
    words = json.dumps({"uri": "s3://m/7", "digest": "abc", "metrics": {"accuracy": 1}, "more": 1})
    found = read_answer(left(tmp_path, said(), words), "classification", ASKED, VALIDATION)
    assert found.predictions.column("prediction_id").to_pylist() == IDS[:8]
    assert found.honest.column("prediction_id").to_pylist() == IDS[8:]
    assert (found.model, found.uri, found.digest, found.claims) == (None, "s3://m/7", "abc", {"accuracy": 1})


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_other_forms_say_the_same(tmp_path, form):
    table, file = said(IDS), tmp_path / "answer" / f"predictions.{form}"
    file.parent.mkdir()
    if form == "csv":
        csv.write_csv(table, file)
    else:
        file.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    found = read_answer(tmp_path, "classification", ASKED, VALIDATION)
    assert found.predictions.column("prediction").to_pylist() == ["yes"] * 8


def test_no_answer_two_answers_and_an_answer_of_another_kind_of_file_are_refused(tmp_path):
    (tmp_path / "answer").mkdir()
    with pytest.raises(BadAnswer, match="neither is in"):
        read_answer(tmp_path, "classification", ASKED, VALIDATION)
    os.mkfifo(tmp_path / "answer" / "predictions.parquet")
    with pytest.raises(BadAnswer, match="neither is in"):
        read_answer(tmp_path, "classification", ASKED, VALIDATION)
    (tmp_path / "answer" / "predictions.csv").write_bytes(b"\x00\xff")
    with pytest.raises(BadAnswer, match=r"predictions\.csv"):
        read_answer(tmp_path, "classification", ASKED, VALIDATION)
    parquet.write_table(said(), tmp_path / "answer" / "predictions.ndjson")
    with pytest.raises(BadAnswer, match=r"csv and answer/predictions\.ndjson"):
        read_answer(tmp_path, "classification", ASKED, VALIDATION)


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "MOST_ANSWER_BYTES", 100)
    with pytest.raises(BadAnswer, match="at most 100 are read"):
        read_answer(left(tmp_path / "a", said()), "classification", ASKED, VALIDATION)
    monkeypatch.undo()
    long = left(tmp_path / "b", said(), json.dumps({"uri": "x" * 3000}))
    with pytest.raises(BadAnswer, match="length"):
        read_answer(long, "classification", ASKED, VALIDATION)
    monkeypatch.setattr(answers, "MOST_MODEL_BYTES", 100)
    with pytest.raises(BadAnswer, match="keep the model outside"):
        read_answer(model_folder(tmp_path / "c"), "classification", ASKED, VALIDATION)


def model_folder(folder: Path, task: str = "classification") -> Path:
    labels = pa.array([0.0, 1.0] * 6) if task == "regression" else pa.array(["yes", "no"] * 6)
    rows = pa.table({"prediction_id": IDS, "feature_x": [1.0, -1.0] * 6, "label": labels})
    model = refit(rows, task=task, step=1)
    from datetime import UTC, datetime

    write_model(
        folder / "model", model, name="m", version="2", created=datetime(2026, 1, 1, tzinfo=UTC), rows_digest=""
    )
    return folder


def test_a_model_is_asked_and_needs_no_outcome_beside_it(tmp_path):
    asked = ASKED.append_column("feature_x", [[1.0, -1.0] * 4])
    found = read_answer(model_folder(tmp_path), "classification", asked, VALIDATION)
    assert found.predictions.column("prediction").to_pylist() == ["yes", "no"] * 4
    assert (found.checkpoint, found.training_rows, found.honest.num_rows) == (None, None, 0)
    assert found.size_bytes == sum(file.stat().st_size for file in (tmp_path / "model").iterdir())


def test_a_model_for_another_task_or_changed_or_half_there_is_refused(tmp_path):
    with pytest.raises(BadAnswer, match="the model is for a regression"):
        read_answer(model_folder(tmp_path / "a", "regression"), "classification", ASKED, VALIDATION)
    half = model_folder(tmp_path / "b")
    (half / "model" / "model.skops").write_bytes(b"changed")
    with pytest.raises(TrainingError, match="sha256"):
        read_answer(half, "classification", ASKED, VALIDATION)
    (half / "model" / "model.skops").unlink()
    with pytest.raises(BadAnswer, match=r"model\.skops is missing"):
        read_answer(half, "classification", ASKED, VALIDATION)


def test_an_outcome_that_is_none_is_refused(tmp_path):
    folder = model_folder(tmp_path)
    (folder / "result.json").write_text('{"candidate": 1}')
    with pytest.raises(TrainingError, match=r"result\.json"):
        read_answer(folder, "classification", ASKED, VALIDATION)

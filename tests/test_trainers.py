import math
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.training.checkpoints import Checkpoint
from service.training.features import encode, learn_blocks
from service.training.models import model_from
from service.training.trainers import out_of_fold, refit, train
from service.training.training_errors import (
    BadLabels,
    LossNotFinite,
    NoFeatures,
    NoTrainingRows,
    OneClassOnly,
    TrainingCancelled,
    TrainingData,
)

STREAMS = Path(os.environ.get("TIDEGATE_STREAMS", Path(__file__).parents[2] / "shared" / "data"))
WORDS = {
    "fit": "shoe size too small wide tight",
    "returns": "send back refund return label",
    "shipping": "parcel courier late tracking arrive",
}


def table_rows(n: int, seed: int = 0) -> pa.Table:
    """Two numbers, a category and a boolean; the label follows the first number and the category."""
    rng = np.random.default_rng(seed)
    size, noise, shop = rng.normal(size=n), rng.normal(size=n), rng.choice(["web", "app"], n)
    label = np.where(size + (shop == "web") + rng.normal(scale=0.3, size=n) > 0.5, "yes", "no")
    columns = {"size": size, "noise": noise, "shop": shop, "member": rng.random(n) > 0.5}
    return pa.table({**{f"feature_{k}": v for k, v in columns.items()}, "label": label})


def text_rows(n: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    labels = rng.choice(list(WORDS), n)
    texts = [" ".join([*rng.choice(WORDS[label].split(), 3), "please", str(rng.integers(1000))]) for label in labels]
    return pa.table({"feature_text": texts, "feature_value": rng.normal(size=n), "label": labels})


def vector_rows(n: int, seed: int = 0, length: int = 24) -> pa.Table:
    """An embedding that says the label, now and then missing or of another length."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["a", "b", "c"], n)
    flat = np.eye(length)[np.searchsorted(["a", "b", "c"], labels)] * 6 + rng.normal(size=(n, length))
    vectors = [None if i % 50 == 0 else row[: length - (i % 50 == 1)].tolist() for i, row in enumerate(flat)]
    lists = pa.array(vectors, pa.list_(pa.float32()))
    return pa.table({"feature_vector": lists, "feature_value": rng.normal(size=n), "label": labels})


def accuracy(predicted: pa.Table, rows: pa.Table) -> float:
    return float(np.mean(predicted["prediction"].to_numpy() == rows["label"].to_numpy()))


def stream(name: str, label: str = "label") -> pa.Table:
    file = STREAMS / f"{name}.parquet"
    if not file.exists():
        pytest.skip(f"{file.name} is not beside the project (TIDEGATE_STREAMS names its folder)")
    table = pq.read_table(file).drop_columns(["timestamp"])
    table = table.drop_columns([c for c in ("phase", "domain") if c in table.column_names])
    target = table[label].cast(pa.string() if label == "label" else pa.float64())
    features = {f"feature_{c}": table[c] for c in table.column_names if c != label}
    return pa.table({**features, "label": target})


def test_a_table_is_learned_and_its_kinds_are_inferred() -> None:
    rows = table_rows(1200)
    model = train(rows.slice(0, 800), rows.slice(800, 200), task="classification")
    assert model.columns == {"size": "number", "noise": "number", "shop": "category", "member": "category"}
    assert model.classes == ("no", "yes")
    assert accuracy(model.predict(rows.slice(1000)), rows.slice(1000)) > 0.85


def test_texts_and_numbers_are_learned_together() -> None:
    rows = text_rows(600)
    model = train(rows.slice(0, 400), rows.slice(400, 100), task="classification")
    assert model.columns == {"text": "text", "value": "number"}
    assert accuracy(model.predict(rows.slice(500)), rows.slice(500)) > 0.97


def test_a_regression_is_learned_and_has_no_confidence() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=900)
    rows = pa.table({"feature_x": x, "label": 50 * np.maximum(x, 0) + rng.normal(size=900)})
    seen: list[Checkpoint] = []
    model = train(rows.slice(0, 600), rows.slice(600, 100), task="regression", on_checkpoint=seen.append)
    predicted = model.predict(rows.slice(700))
    assert predicted.schema.types == [pa.float64(), pa.float64()]
    assert predicted["confidence"].null_count == 200
    assert np.abs(predicted["prediction"].to_numpy() - rows["label"].to_numpy()[700:]).mean() < 2.5
    assert set(seen[-1].metrics["all"]) == {"rows", "mae", "rmse"}


def test_every_checkpoint_is_scored_for_every_segment_and_the_best_one_is_kept() -> None:
    rows = text_rows(500)
    validation = rows.slice(400)
    segments = {f"intent={name}": validation["label"].to_numpy() == name for name in WORDS}
    seen: list[Checkpoint] = []
    model = train(rows.slice(0, 400), validation, task="classification", segments=segments, on_checkpoint=seen.append)
    assert [c.step for c in seen] == list(range(1, len(seen) + 1))
    for checkpoint in seen:
        assert set(checkpoint.metrics) == {"all", *segments}
        assert sum(checkpoint.metrics[name]["rows"] for name in segments) == 100
    best = min(seen, key=lambda c: c.validation_loss or math.inf)
    assert best.is_best
    assert model.step == best.step
    kept = accuracy(model.predict(validation), validation)
    assert kept == pytest.approx(best.metrics["all"]["accuracy"])


def test_segments_may_be_one_name_for_each_row() -> None:
    rows = table_rows(300)
    names = [*["a"] * 60, *["b"] * 30, *[None] * 10]
    seen: list[Checkpoint] = []
    train(rows.slice(0, 200), rows.slice(200), task="classification", segments=names, on_checkpoint=seen.append)
    assert {name: scores["rows"] for name, scores in seen[0].metrics.items()} == {"all": 100, "a": 60, "b": 30}


def test_training_ends_early_when_validation_no_longer_gains() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([f"w{i}" for i in range(300)], 6)) for _ in range(400)]
    rows = pa.table({"feature_text": texts, "label": rng.choice(["a", "b"], 400)})
    seen: list[Checkpoint] = []
    model = train(rows.slice(0, 300), rows.slice(300), task="classification", on_checkpoint=seen.append)
    assert len(seen) < 5
    assert seen[-1].loss < seen[-1].validation_loss
    assert model.step <= len(seen)


@pytest.mark.parametrize("length", [24, 700])
def test_an_embedding_is_learned_from_and_a_broken_one_fails_no_row(length: int) -> None:
    rows = vector_rows(1000, length=length)
    model = train(rows.slice(0, 700), rows.slice(700, 100), task="classification")
    assert model.columns["vector"] == "embedding"
    assert accuracy(model.predict(rows.slice(800)), rows.slice(800)) > 0.9
    for broken in (
        pa.array(["x"] * 10),
        pa.array([[1.0]] * 10),
        pa.array([[float("inf")] * length] * 10),
        pa.nulls(10),
    ):
        assert model.predict(pa.table({"feature_vector": broken})).num_rows == 10


@pytest.mark.parametrize("make", [table_rows, text_rows, vector_rows])
def test_the_same_rows_and_seed_give_the_same_model(make: type) -> None:
    rows = make(400)
    first, second = (train(rows.slice(0, 300), rows.slice(300), task="classification", seed=7) for _ in range(2))
    assert first.fingerprint() == second.fingerprint()
    one, two = (out_of_fold(rows, task="classification", seed=7) for _ in range(2))
    assert one.equals(two)


def test_a_model_of_its_parts_predicts_the_same() -> None:
    for rows in (table_rows(200), text_rows(200), vector_rows(200)):
        model = train(rows, rows.slice(0, 0), task="classification")
        assert model_from(model.parts()).predict(rows).equals(model.predict(rows))


def test_prediction_stands_missing_extra_and_mistyped_columns() -> None:
    rows = table_rows(500)
    model = train(rows, rows.slice(0, 0), task="classification")
    n = 20
    variants = [
        rows.slice(0, n).drop_columns(["feature_size"]),
        rows.slice(0, n).append_column("feature_new", pa.array(["x"] * n)),
        pa.table({"feature_size": ["broken"] * n, "feature_shop": [3.0] * n}),
        pa.table({"feature_size": pa.array([None] * n, pa.null()), "feature_member": [None, "true"] * 10}),
        pa.table({"feature_size": [math.inf, -math.inf] * 10, "feature_noise": [math.nan, 1e308] * 10}),
        pa.table({"feature_size": pa.array([[1.0]] * n), "feature_noise": pa.array([0] * n, pa.timestamp("us"))}),
    ]
    for variant in variants:
        predicted = model.predict(variant)
        assert predicted.num_rows == n
        assert predicted["prediction"].null_count == 0
        assert np.isfinite(predicted["confidence"].to_numpy()).all()


def test_no_rows_give_no_predictions_of_the_same_types() -> None:
    for rows in (table_rows(200), text_rows(200), vector_rows(200)):
        model = train(rows, rows.slice(0, 0), task="classification")
        for nothing in (rows.slice(0, 0), rows.schema.empty_table()):
            assert model.predict(nothing).num_rows == 0
            assert model.predict(nothing).schema == model.predict(rows).schema


def test_a_string_of_digits_in_a_number_column_is_read_as_the_number() -> None:
    rows = table_rows(500)
    model = train(rows, rows.slice(0, 0), task="classification")
    index = rows.column_names.index("feature_size")
    as_text = rows.set_column(index, "feature_size", rows["feature_size"].cast(pa.string()))
    assert accuracy(model.predict(as_text), rows) == pytest.approx(accuracy(model.predict(rows), rows), abs=0.005)


def test_a_text_model_stands_empty_cut_missing_and_foreign_texts() -> None:
    rows = text_rows(400)
    model = train(rows, rows.slice(0, 0), task="classification")
    odd = pa.table({"feature_text": ["", None, "  ", "!!!", "ref", "退貨"], "feature_value": [None] * 6})
    predicted = model.predict(odd)
    assert predicted["prediction"].null_count == 0
    assert np.isfinite(predicted["confidence"].to_numpy()).all()


def test_overrides_leave_columns_out_and_change_kinds() -> None:
    rows = table_rows(300)
    overrides = {"size": "category", "noise": "ignore", "shop": "tag"}
    rows = rows.set_column(0, "feature_size", pa.array(np.arange(300) % 3))
    model = train(rows, rows.slice(0, 0), task="classification", columns=overrides)
    assert model.columns == {"size": "category", "member": "category"}
    with pytest.raises(TrainingData, match="'noise': kind 'emoji'"):
        train(rows, rows.slice(0, 0), task="classification", columns={"noise": "emoji"})


def test_a_time_becomes_its_hour_of_day() -> None:
    hours = np.arange(480) % 24
    stamps = np.datetime64("2026-01-05T00:30:00", "us") + hours.astype("timedelta64[h]")
    rows = pa.table({"feature_at": stamps, "label": np.where((hours >= 8) & (hours < 20), "day", "night")})
    model = train(rows, rows.slice(0, 0), task="classification")
    assert model.columns == {"at": "time"}
    assert accuracy(model.predict(rows), rows) > 0.9


def test_an_all_missing_column_is_left_out_and_missing_values_are_a_feature() -> None:
    rng = np.random.default_rng(0)
    gone = rng.random(600) < 0.4
    rows = pa.table(
        {
            "feature_empty": pa.nulls(600, pa.float64()),
            "feature_never": ["" for _ in range(600)],
            "feature_price": pa.array(rng.normal(size=600), mask=gone),
            "label": np.where(gone, "guest", "member"),
        }
    )
    model = train(rows, rows.slice(0, 0), task="classification", columns={"never": "text"})
    assert model.columns == {"price": "number"}
    assert accuracy(model.predict(rows), rows) == 1.0


def test_rows_without_a_label_are_not_used() -> None:
    rows = table_rows(300)
    labels = pa.array([None if i % 2 else v for i, v in enumerate(rows["label"].to_pylist())])
    half = rows.set_column(rows.column_names.index("label"), "label", labels)
    kept = rows.filter(pa.array(np.arange(300) % 2 == 0))
    seen: list[Checkpoint] = []
    model = train(half, half, task="classification", on_checkpoint=seen.append)
    assert model.fingerprint() == train(kept, kept, task="classification").fingerprint()
    assert seen[0].metrics["all"]["rows"] == 150
    assert out_of_fold(half, task="classification").num_rows == 300


def test_what_cannot_be_learned_is_refused_by_name() -> None:
    rows, nothing = table_rows(100), table_rows(0)
    label = rows.column_names.index("label")
    unlabelled = rows.set_column(label, "label", pa.nulls(100, pa.string()))
    one_class = rows.set_column(label, "label", pa.array(["yes"] * 100))
    with pytest.raises(NoTrainingRows):
        train(nothing, nothing, task="classification")
    with pytest.raises(NoTrainingRows, match="100 rows seen"):
        train(unlabelled, nothing, task="classification")
    with pytest.raises(OneClassOnly, match="'yes'"):
        train(one_class, nothing, task="classification")
    with pytest.raises(NoFeatures):
        train(rows.select(["label"]), nothing, task="classification")
    with pytest.raises(BadLabels, match="numbers as labels"):
        train(rows, nothing, task="regression")
    with pytest.raises(BadLabels, match="no column `label`"):
        train(rows.drop_columns(["label"]), nothing, task="classification")
    with pytest.raises(TrainingData, match="'ranking'"):
        train(rows, nothing, task="ranking")


def test_a_validation_label_never_trained_on_counts_as_wrong() -> None:
    rows = text_rows(400)
    new = pa.table({"feature_text": ["warranty claim"] * 50, "feature_value": [0.0] * 50, "label": ["warranty"] * 50})
    seen: list[Checkpoint] = []
    validation = pa.concat_tables([rows.slice(350), new])
    model = train(rows.slice(0, 350), validation, task="classification", on_checkpoint=seen.append)
    assert "warranty" not in model.classes
    assert seen[-1].metrics["all"]["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert seen[-1].metrics["all"]["macro_f1"] < 0.75
    assert math.isfinite(seen[-1].validation_loss or math.nan)


def test_training_stops_when_asked() -> None:
    rows = table_rows(200)
    with pytest.raises(TrainingCancelled, match="checkpoint 1"):
        train(rows, rows, task="classification", should_stop=lambda: True)


def test_labels_beyond_reach_are_a_named_error() -> None:
    rows = pa.table({"feature_x": [float(i) for i in range(20)], "label": [1e308, -1e308] * 10})
    with pytest.raises(LossNotFinite):
        train(rows, rows, task="regression")


def test_out_of_fold_is_honest_about_labels_that_cannot_be_learned() -> None:
    rng = np.random.default_rng(1)
    texts = [f"word{i} only once" for i in range(300)]
    rows = pa.table({"feature_text": texts, "label": rng.choice(["a", "b"], 300)})
    fitted = train(rows, rows.slice(0, 0), task="classification")
    assert accuracy(fitted.predict(rows), rows) > 0.9
    assert accuracy(out_of_fold(rows, task="classification"), rows) < 0.6


def test_out_of_fold_keeps_the_order_of_the_rows_and_stands_a_rare_label() -> None:
    rows = table_rows(501)
    honest = out_of_fold(rows, task="classification", folds=3)
    assert honest.num_rows == 501
    assert accuracy(honest, rows) > 0.85
    label = rows.column_names.index("label")
    rare = rows.set_column(label, "label", pa.array(["odd", *["even"] * 500]))
    assert out_of_fold(rare, task="classification")["prediction"].null_count == 0


def test_a_refit_ends_at_the_step_it_is_given() -> None:
    rows = table_rows(300)
    model = train(rows, rows.slice(0, 0), task="classification")
    assert refit(rows, task="classification", step=model.step).fingerprint() == model.fingerprint()
    assert refit(rows, task="classification", step=1).step == 1


def test_hinges_let_a_linear_model_bend() -> None:
    x = np.linspace(-3, 3, 1000)
    rows = pa.table({"feature_x": x, "label": np.where(np.abs(x) > 1.5, "far", "near")})
    model = train(rows, rows.slice(0, 0), task="classification")
    assert accuracy(model.predict(rows), rows) > 0.95


def test_a_wide_category_is_a_sparse_matrix_and_a_rare_value_is_nothing() -> None:
    shops = [f"s{i % 100}" for i in range(1000)]
    rows = pa.table({"feature_shop": [*shops[:-1], "once"], "feature_x": np.arange(1000.0)})
    blocks = learn_blocks(rows, {})
    matrix = encode(blocks, rows)
    assert matrix.shape == (1000, 4 + 100)
    assert matrix[:, 4:].sum() == 999


@pytest.mark.parametrize(
    ("name", "rows", "never"),
    [
        ("elec2", 2000, 0.674),
        ("mixed_abrupt", 2000, 0.478),
        ("sea_abrupt", 2000, 0.7727),
        ("noaa_weather", 2000, 0.7633),
        ("clinc150_stream", 4000, 0.7361),
    ],
)
def test_a_model_that_is_never_retrained_is_as_good_as_logistic_regression(name: str, rows: int, never: float) -> None:
    table = stream(name)
    model = train(table.slice(0, rows), table.slice(0, 0), task="classification")
    assert accuracy(model.predict(table.slice(rows)), table.slice(rows)) > never - 0.005


def test_training_and_prediction_take_little_processor_time() -> None:
    rows = table_rows(2060)
    train(rows.slice(0, 100), rows.slice(100, 100), task="classification")
    before = time.process_time()
    model = train(rows.slice(0, 1600), rows.slice(1600, 400), task="classification")
    trained = time.process_time()
    for _ in range(20):
        model.predict(rows.slice(2000))
    assert trained - before < 0.6, "a table of 2,000 rows takes .03 s on an idle core"
    assert (time.process_time() - trained) / 20 < 0.01, "60 rows take .7 ms on an idle core"

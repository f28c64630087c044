from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from service.demo.phrases import AMBIGUOUS, INSTANT_EXCHANGE, PHRASES, SLOTS
from service.demo.traffic import INTENTS, PHASES, STORY, rows, story
from service.training.models import Model
from service.training.trainers import out_of_fold, refit, train

START = datetime(2026, 11, 2, tzinfo=UTC)
STEP = timedelta(minutes=5)


@cache
def told(seed: int) -> dict[str, pa.Table]:
    return {chapter.phase: table for chapter, table in story(START, step=STEP, seed=seed)}


@cache
def first_model(seed: int) -> Model:
    history = told(seed)["history"]
    return train(history.slice(0, 3200), history.slice(3200), task="classification")


def accuracies(model: Model, table: pa.Table) -> dict[str, float]:
    """Overall, and per intent as it is served: the segment of a prediction is what was predicted."""
    predicted = model.predict(table)["prediction"].to_numpy()
    right = predicted == table["label"].to_numpy()
    return {"all": float(right.mean()), **{i: float(right[predicted == i].mean()) for i in INTENTS}}


def test_the_first_model_is_good_and_stays_good_while_nothing_changes() -> None:
    honest = out_of_fold(told(7)["history"], task="classification")["prediction"].to_numpy()
    assert 0.93 < np.mean(honest == told(7)["history"]["label"].to_numpy()) < 0.98
    stable = accuracies(first_model(7), told(7)["stable"])
    assert all(value > 0.9 for value in stable.values())


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_instant_exchange_spoils_returns_and_leaves_fit_and_shipping(seed: int) -> None:
    before = accuracies(first_model(seed), told(seed)["stable"])
    changed = pa.concat_tables([told(seed)["drift"], told(seed)["recovered"]])
    after = accuracies(first_model(seed), changed)
    assert before["returns"] - after["returns"] > 0.15
    assert before["all"] - after["all"] > 0.08
    for intent in ("fit", "shipping"):
        assert before[intent] - after[intent] < 0.05


def test_a_model_of_the_new_world_is_good_in_it_and_after_the_broken_feed() -> None:
    drift, recovered = told(7)["drift"], told(7)["recovered"]
    model = refit(drift.slice(0, 500), task="classification", step=2)
    for table in (drift.slice(500), recovered):
        assert all(value > 0.9 for value in accuracies(model, table).values())
    assert accuracies(first_model(7), recovered)["returns"] < 0.8


def test_the_broken_feed_loses_order_values_and_texts_but_not_the_truth() -> None:
    broken, recovered = told(7)["broken"], told(7)["recovered"]
    assert 0.4 < broken["feature_order_value"].null_count / broken.num_rows < 0.6
    lengths = np.asarray([len(text) for text in broken["feature_text"].to_pylist()])
    assert 0.1 < np.mean(lengths == 0) < 0.2
    assert 0.3 < np.mean(lengths < 12) < 0.5
    share = [np.mean(t["label"].to_numpy() == "returns") for t in (broken, recovered)]
    assert abs(share[0] - share[1]) < 0.06
    assert recovered["feature_order_value"].null_count / recovered.num_rows < 0.03


def test_the_story_is_the_same_for_the_same_seed_and_its_chapters_follow_each_other() -> None:
    again = dict(zip(PHASES, (table for _, table in story(START, step=STEP, seed=7)), strict=True))
    assert again.keys() == told(7).keys()
    assert all(again[phase].equals(told(7)[phase]) for phase in PHASES)
    assert not told(8)["stable"].equals(told(7)["stable"])
    everything = pa.concat_tables(again.values())
    moments = everything["timestamp"].to_pylist()
    assert {later - earlier for earlier, later in pairwise(moments)} == {STEP}
    assert everything.num_rows == sum(chapter.rows for chapter in STORY)
    assert len(set(everything["prediction_id"].to_pylist())) == everything.num_rows


def test_rows_have_the_shape_of_a_batch_without_predictions() -> None:
    table = rows("stable", 50, START, STEP, np.random.default_rng(0))
    assert table.schema == pa.schema(
        {
            "prediction_id": pa.string(),
            "timestamp": pa.timestamp("us", tz="UTC"),
            "feature_text": pa.string(),
            "feature_channel": pa.string(),
            "feature_order_value": pa.float64(),
            "feature_customer_tenure_days": pa.float64(),
            "tag_market": pa.string(),
            "label": pa.string(),
        }
    )
    assert table["timestamp"][0].as_py() == START
    assert rows("drift", 0, START, STEP, np.random.default_rng(0)).equals(table.schema.empty_table())


def test_every_phrase_can_be_filled() -> None:
    groups = [AMBIGUOUS, *PHRASES.values(), *INSTANT_EXCHANGE.values()]
    assert set(PHRASES) == set(INSTANT_EXCHANGE) == set(INTENTS)
    for phrase in (phrase for group in groups for phrase in group):
        assert "{" not in phrase.format(**{slot: values[0] for slot, values in SLOTS.items()})


def test_texts_are_varied() -> None:
    texts = told(7)["history"]["feature_text"].to_pylist()
    assert len(set(texts)) / len(texts) > 0.9

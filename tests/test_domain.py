from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from streams import predictions

from monitors.columns.column import Column
from monitors.columns.inference import infer
from monitors.reading.domain import ROWS, VALUES, DomainReading, auc, tell_apart
from monitors.reading.pairs import draw_pairs

ROWS_NOW = 1_000
SEEDS = range(30)
WORDS = [f"word{i}" for i in range(3_000)]


def batch(
    rows: int = ROWS_NOW, *, seed: int, shift: float = 0.0, correlation: float = 0.0, web: float = 0.5
) -> pa.Table:
    """Five numbers of mean 0 and deviation 1 each, and a category; `shift` moves c, `correlation` ties b to a."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, rows))
    values[1] = correlation * values[0] + np.sqrt(1 - correlation**2) * values[1]
    values[2] += shift
    channel = np.where(rng.random(rows) < web, "web", "app").tolist()
    columns = {f"feature_{name}": x for name, x in zip("abcde", values, strict=True)}
    return pa.table(
        {"prediction": rng.choice(["fit", "returns"], rows).tolist(), "feature_channel": channel, **columns}
    )


def columns_of(table: pa.Table) -> list[Column]:
    return infer(table, {}, "classification")


def read(before: pa.Table, now: pa.Table, seed: int = 0) -> DomainReading:
    found = tell_apart(before, now, columns_of(before), np.random.default_rng(seed))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def steady() -> list[DomainReading]:
    return [read(batch(300, seed=1_000 + seed), batch(300, seed=2_000 + seed), seed) for seed in SEEDS]


def test_rows_of_one_distribution_cannot_be_told_apart(steady):
    assert np.mean([each.auc for each in steady]) == pytest.approx(0.5, abs=0.02)
    assert max(each.evidence_ln for each in steady) < np.log(20)
    assert all(each.together == () and each.together_auc == 0.5 for each in steady)


def test_evidence_is_on_average_at_most_one_while_nothing_changes(steady):
    assert np.mean([np.exp(each.evidence_ln) for each in steady]) <= 1


def test_answers_are_fair_coins_while_nothing_changes(steady):
    wins, losses = sum(each.wins for each in steady), sum(each.losses for each in steady)
    assert wins + losses == sum(each.rows // 2 for each in steady)
    assert abs(wins - losses) < 3 * np.sqrt(wins + losses)


def test_texts_with_many_rare_words_are_not_told_from_texts_of_the_same_kind():
    def texts(seed: int) -> pa.Table:
        drawn = np.random.default_rng(seed).zipf(1.3, (800, 8)) % len(WORDS)
        rows = [" ".join(WORDS[w] for w in row) for row in drawn]
        return pa.table({"prediction": ["fit"] * 800, "feature_text": rows})

    found = [read(texts(seed), texts(100 + seed), seed) for seed in range(5)]
    assert max(each.evidence_ln for each in found) < np.log(20)
    assert np.mean([each.auc for each in found]) == pytest.approx(0.5, abs=0.03)


def test_values_that_happened_to_be_frequent_in_the_baseline_give_no_side_away():
    def ids(seed: int) -> pa.Table:
        values = np.random.default_rng(seed).integers(0, 60, 600)
        return pa.table({"prediction": ["fit"] * 600, "feature_item": [f"item{v}" for v in values]})

    found = [read(ids(seed), ids(100 + seed), seed) for seed in range(5)]
    assert max(each.evidence_ln for each in found) < np.log(20)
    assert np.mean([each.auc for each in found]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("seed", range(2))
def test_a_column_that_moved_comes_first_and_alone(seed):
    found = read(batch(seed=10 + seed), batch(seed=20 + seed, shift=1.0), seed)
    assert found.columns[0].column == "c"
    assert found.together == ("c",)
    assert found.evidence_ln > np.log(20)
    assert found.together_auc == pytest.approx(0.76, abs=0.05)  # P(x + 1 > y) of normal x and y
    assert found.columns[0].alone == found.together_auc


@pytest.mark.parametrize("seed", range(2))
def test_two_columns_that_broke_apart_are_found_together_though_neither_moved(seed):
    found = read(batch(seed=30 + seed, correlation=0.9), batch(seed=40 + seed), seed)
    assert set(found.together) == {"a", "b"}
    assert found.auc > 0.6
    assert found.evidence_ln > np.log(20)
    alone = {part.column: part.alone for part in found.columns if part.column in "ab"}
    assert all(value == pytest.approx(0.5, abs=0.06) for value in alone.values())


def test_a_change_of_three_columns_of_which_one_moved_and_two_broke_apart_names_all_three():
    found = read(batch(seed=1, correlation=0.9), batch(seed=2, shift=1.0))
    assert set(found.together) == {"a", "b", "c"}


def test_a_category_that_moved_is_found():
    found = read(batch(seed=1), batch(seed=2, web=0.9))
    assert found.together == ("channel",)


def test_new_values_of_a_category_are_found():
    now = batch(seed=2)
    shops = pa.array(["phone" if i % 3 else "web" for i in range(now.num_rows)])
    found = read(batch(seed=1), now.set_column(1, "feature_channel", shops))
    assert found.columns[0].column == "channel"


def test_values_that_went_missing_are_found():
    now = batch(seed=2)
    thinned = pa.array(now["feature_d"].to_numpy(), mask=np.random.default_rng(0).random(now.num_rows) < 0.5)
    found = read(batch(seed=1), now.set_column(now.column_names.index("feature_d"), "feature_d", thinned))
    assert found.together[0] == found.columns[0].column == "d"
    assert found.columns[0].alone == pytest.approx(0.75, abs=0.04)  # half of the rows give themselves away


def test_new_words_of_a_text_are_found_by_what_is_derived_from_it():
    now = predictions(ROWS_NOW, seed=2)
    texts = pa.array([f"{text} voucher {i}" for i, text in enumerate(now["feature_text"].to_pylist())])
    found = read(
        predictions(ROWS_NOW, seed=1), now.set_column(now.column_names.index("feature_text"), "feature_text", texts)
    )
    assert found.columns[0].column.startswith("text.")
    assert found.auc > 0.9


def test_the_same_generator_gives_the_same_reading():
    before, now = batch(300, seed=1), batch(300, seed=2, shift=1.0)
    assert read(before, now, 7) == read(before, now, 7)
    assert read(before, now, 7) != read(before, now, 8)


def test_no_more_rows_are_used_than_are_allowed():
    before, now = batch(ROWS + 500, seed=1), batch(ROWS + 300, seed=2)
    assert read(before, now).rows == ROWS
    many = [replace(columns_of(before)[-1], name=f"copy{i}") for i in range(100)]
    found = tell_apart(before, now, many, np.random.default_rng(0))
    assert found is not None
    assert found.rows == VALUES // 100


def test_rows_that_teach_are_in_no_pair():
    table = predictions(1_000, seed=1)
    pairs = draw_pairs(table, table.slice(0, 900), columns_of(table), 10_000, np.random.default_rng(0))
    assert pairs.values.shape[1] == 500


@pytest.mark.parametrize("rows", [0, 1, 99])
def test_too_few_rows_give_no_reading(rows):
    few, many = batch(rows, seed=1), batch(500, seed=2)
    columns = columns_of(many)
    assert tell_apart(few, many, columns, np.random.default_rng(0)) is None
    assert tell_apart(many, few, columns, np.random.default_rng(0)) is None


def test_columns_without_two_values_give_no_reading():
    plain = pa.table({"prediction": ["fit"] * 300, "feature_x": [1.0] * 300, "feature_y": pa.nulls(300, pa.float64())})
    columns = [Column("x", "feature_x", "number", ""), Column("y", "feature_y", "number", "")]
    assert tell_apart(plain, plain, columns, np.random.default_rng(0)) is None
    assert tell_apart(plain, plain, [], np.random.default_rng(0)) is None


def test_constant_empty_absent_and_infinite_columns_are_read_past():
    before, now = batch(seed=1), batch(seed=2, shift=1.0)
    odd = {
        "feature_empty": pa.nulls(ROWS_NOW),
        "feature_same": pa.array([1.0] * ROWS_NOW),
        "feature_wild": pa.array(np.resize([np.inf, -np.inf, np.nan, 1.0], ROWS_NOW)),
    }
    sides = [pa.table({**dict(zip(t.column_names, t.columns, strict=True)), **odd}) for t in (before, now)]
    columns = [
        *columns_of(before),
        *(
            Column(name.removeprefix("feature_"), name, "number", "", edges=(0.0,))
            for name in odd
            if "empty" not in name
        ),
        Column("empty", "feature_empty", "category", ""),
        Column("absent", "feature_absent", "number", "", edges=(0.0,)),
    ]
    found = tell_apart(*sides, columns, np.random.default_rng(0))
    assert found is not None
    assert found.together == ("c",)
    assert {"empty", "same", "absent"}.isdisjoint(part.column for part in found.columns)


def test_a_column_that_went_empty_is_all_that_is_needed():
    now = batch(seed=2)
    gone = now.set_column(now.column_names.index("feature_e"), "feature_e", pa.nulls(now.num_rows, pa.float64()))
    found = read(batch(seed=1), gone)
    assert found.together == ("e",)
    assert found.auc > 0.99


def test_auc_is_the_chance_of_the_right_order():
    rng = np.random.default_rng(0)
    before, now = rng.integers(0, 9, 40).astype(float), rng.integers(2, 11, 50).astype(float)
    pairs = now[:, None] - before[None, :]
    assert auc(before, now) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
